"""The kernels of NumPy's own OpenBLAS, set for the command's processor before NumPy loads. Imports no NumPy."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from charrnn.system.processor import best_kernel, cpu_facts

VARIABLE = "OPENBLAS_CORETYPE"


def set_kernel() -> str | None:
    """Set OPENBLAS_CORETYPE to the best kernels and return them; None where they are left as they are.

    They are where NumPy is loaded already, the user has set the variable, NumPy does not bring its own OpenBLAS, or
    nothing better is known.
    """
    if "numpy" in sys.modules or VARIABLE in os.environ:
        return None
    with suppress(Exception):  # finders that others put in may raise anything, and no command is to fail for speed
        kernel = best_kernel(cpu_facts())
        if kernel and _numpy_brings_openblas():
            os.environ[VARIABLE] = kernel
            return kernel
    return None


def _numpy_brings_openblas() -> bool:
    """Return whether a wheel's folder of libraries stands beside NumPy, with OpenBLAS in it."""
    spec = find_spec("numpy")
    if spec is None or spec.origin is None:
        return False
    return any((Path(spec.origin).parents[1] / "numpy.libs").glob("libscipy_openblas*"))
