"""Build the compiled core, in C. It is optional: where it cannot be built, charrnn computes with NumPy."""

from pathlib import Path

from setuptools import Extension, setup

CORE = Path("charrnn/nn/core")
VERSION = Path("charrnn/version.py").read_text().split('"')[-2]

setup(
    ext_modules=[
        Extension(
            "charrnn.nn._core",
            sources=[str(CORE / f"{name}.c") for name in ("core", "baseline", "avx2", "avx512")],
            depends=[str(path) for path in CORE.glob("*.h")],
            define_macros=[("VERSION", f'"{VERSION}"')],
            # NaN must stay NaN, so no -ffast-math; a * b + c in one rounding, and sums that say so in any order.
            extra_compile_args=[
                "-O3",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-ffp-contract=fast",
                "-fopenmp-simd",
                "-Wno-psabi",
            ],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
