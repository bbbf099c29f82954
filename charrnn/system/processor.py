"""The processor as Linux describes it, and the OpenBLAS kernels that are fastest on it. Imports no NumPy."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
KERNEL_VARIABLE = "OPENBLAS_CORETYPE"
_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}  # the instructions of the SkylakeX kernels
_ZEN4, _ZEN5 = "25", "26"  # CPU families; Zen 3 shares the first, without AVX-512
#: Zen 5 models that compute AVX-512 at full width: EPYC, Threadripper, desktop. The small mobile ones do not.
_FULL_WIDTH = {str(model) for model in (*range(0x20), *range(0x40, 0x50))}


def cpu_facts() -> dict[str, str]:
    """Return the fields of /proc/cpuinfo for the first processor; empty on systems other than Linux."""
    try:
        with open(CPUINFO, encoding="utf-8", errors="replace") as file:
            lines = takewhile(str.strip, file)  # up to the second processor: a large machine has hundreds
            return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    except OSError:
        return {}


def best_kernel(cpu: dict[str, str]) -> str | None:
    """Return the fastest OpenBLAS kernels for a processor; None if OpenBLAS should choose by itself.

    Source:  measured. Zen 5: a large product at 465 GFLOP/s with SkylakeX, at 250 with Haswell. Zen 4, which computes
             AVX-512 at half width: steps of an LSTM of 384 and 512 units take about a tenth longer with SkylakeX.
    """
    if cpu.get("vendor_id") != "AuthenticAMD" or not _AVX512 <= set(cpu.get("flags", "").split()):
        return None
    if cpu.get("cpu family") == _ZEN4:
        return "Haswell"
    return "SkylakeX" if cpu.get("cpu family") == _ZEN5 and cpu.get("model") in _FULL_WIDTH else None


def set_kernel() -> str | None:
    """Set OPENBLAS_CORETYPE to the fastest kernels and return them; call it before NumPy is imported.

    Changes nothing and returns None if NumPy is already loaded, the user has set the variable, NumPy does not bring
    its own OpenBLAS, or no better kernels are known.
    """
    if "numpy" in sys.modules or KERNEL_VARIABLE in os.environ:
        return None
    with suppress(Exception):  # import finders of other packages may raise anything, and this only serves speed
        kernel = best_kernel(cpu_facts())
        if kernel and _numpy_brings_openblas():
            os.environ[KERNEL_VARIABLE] = kernel
            return kernel
    return None


def _numpy_brings_openblas() -> bool:
    """Return whether NumPy was installed from a wheel with OpenBLAS in its folder of libraries."""
    spec = find_spec("numpy")
    if spec is None or spec.origin is None:
        return False
    return any((Path(spec.origin).parents[1] / "numpy.libs").glob("libscipy_openblas*"))
