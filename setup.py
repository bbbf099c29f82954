"""Build the compiled core, in C. It is optional: where it cannot be built, charrnn computes with NumPy."""

import sysconfig
from pathlib import Path

from setuptools import Extension, setup

CORE = Path("charrnn/nn/core")
VERSION = Path("charrnn/version.py").read_text().split('"')[-2]
# The limited API of Python 3.11, so that one build serves all later versions; free-threaded Python has none yet.
LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    ext_modules=[
        Extension(
            "charrnn.nn._core",
            sources=[str(CORE / f"{name}.c") for name in ("core", "baseline", "avx2", "avx512")],
            depends=[str(path) for path in CORE.glob("*.h")],
            define_macros=[("VERSION", f'"{VERSION}"')] + [("Py_LIMITED_API", "0x030B0000")] * LIMITED,
            # NaN must stay NaN, so no -ffast-math; a * b + c in one rounding, and sums that say so in any order.
            extra_compile_args=[
                "-O3",
                "-fno-math-errno",
                "-fno-trapping-math",
                "-ffp-contract=fast",
                "-fopenmp-simd",
                "-Wno-psabi",
                "-g0",
            ],
            py_limited_api=LIMITED,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {},
)
