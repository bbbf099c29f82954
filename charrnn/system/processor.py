"""The processor, as Linux tells of it, and the OpenBLAS kernels that serve it best. Imports no NumPy."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_AVX512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}  # what the SkylakeX kernels compute with
_ZEN4, _ZEN5 = "25", "26"  # families; Zen 3 is of the first as well, without AVX-512
#: The models of Zen 5 that compute AVX-512 at full width: EPYC, Threadripper, desktop. The small mobile ones do not.
_FULL_WIDTH = {str(model) for model in (*range(0x20), *range(0x40, 0x50))}


def cpu_facts() -> dict[str, str]:
    """Return what Linux tells of the first processor, by its names; nothing on another system."""
    try:
        with open(CPUINFO, encoding="utf-8", errors="replace") as file:
            lines = takewhile(str.strip, file)  # up to the second processor: a large machine has hundreds
            return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    except OSError:
        return {}


def best_kernel(cpu: dict[str, str]) -> str | None:
    """Return the OpenBLAS kernels that are best on this processor; None where OpenBLAS had better choose by itself.

    Source:  measured. Zen 5: a large product at 465 GFLOP/s with SkylakeX, at 250 with Haswell. Zen 4, which computes
             AVX-512 at half width: steps of an LSTM of 384 and 512 units take about a tenth longer with SkylakeX.
    """
    if cpu.get("vendor_id") != "AuthenticAMD" or not _AVX512 <= set(cpu.get("flags", "").split()):
        return None
    if cpu.get("cpu family") == _ZEN4:
        return "Haswell"
    return "SkylakeX" if cpu.get("cpu family") == _ZEN5 and cpu.get("model") in _FULL_WIDTH else None
