"""The compiled core: time steps in C, which cells use instead of NumPy's functions where it is installed.

The cells compute with NumPy; those passes are the reference. The core in `charrnn/nn/core/` repeats their loops over
time in C: a whole window of a cell in one call, with matrix products of its own that need no packing at each step. The
results agree to rounding. Installing charrnn builds the core if there is a C compiler; without it, NumPy computes.

CHARRNN_COMPILED=0 in the environment switches the core off; `baseline`, `avx2` or `avx512` chooses a slower variant
than the fastest that the processor can run.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from charrnn.arrays import Array, Mask
from charrnn.version import __version__

_ALIGNMENT = 64  # bytes: a line of the processor's cache, and the longest vector


@cache
def core() -> Any:
    """Return the module of the core; None if NumPy computes instead, for a reason that `missing` gives."""
    return None if missing() else _loaded()


@cache
def _loaded() -> Any:
    """Return the module of the core, computing with the variant that the environment names; or an ImportError."""
    try:
        _core = import_module("charrnn.nn._core")
    except ImportError as error:  # not built; built for another platform; or damaged
        return error
    wanted = os.environ.get("CHARRNN_COMPILED")
    if wanted in _core.variants():
        _core.select(wanted)
    return _core


@cache
def missing() -> str:
    """Return why NumPy computes, and what to do; "" if the core does."""
    wanted = os.environ.get("CHARRNN_COMPILED", "")
    if wanted == "0":
        return "switched off by CHARRNN_COMPILED=0"
    core = _loaded()
    if isinstance(core, ImportError):
        return f"not built ({core}): install a C compiler, then charrnn again"
    if core.VERSION != __version__:
        return f"built for charrnn {core.VERSION}: install charrnn {__version__} again"
    if wanted and wanted not in core.variants():
        return f"CHARRNN_COMPILED={wanted} is none of 0, {', '.join(core.variants())}, which this processor can run"
    return ""


def variant() -> str | None:
    """Return the name of the variant that computes here: avx512, avx2 or baseline; None if NumPy does."""
    return core() and str(core().variant())


def packed(**matrices: Array) -> dict[str, Array]:
    """Return the matrices (K, N) as the core reads them, under the same names with `_packed`; empty without a core."""
    return {f"{name}_packed": pack(matrix) for name, matrix in matrices.items()} if core() else {}


def pack(matrix: Array) -> Array:
    """Return a matrix (K, N) as the core reads it."""
    size = core().packed_size(matrix.itemsize, *matrix.shape)
    result = aligned(size, matrix.dtype)
    core().pack(*matrix.shape, np.ascontiguousarray(matrix), result)
    return result


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Return an uninitialised vector that begins at a line of the cache."""
    spare = _ALIGNMENT // dtype.itemsize
    memory = np.empty(size + spare, dtype)
    first = -memory.ctypes.data % _ALIGNMENT // dtype.itemsize
    return memory[first : first + size]


def forward(
    cell: str, shape: tuple[int, int, int], keep: Mask | None, W_hh_packed: Array | None, *arrays: Array
) -> bool:
    """Run a layer's recurrence over a window with the core; without one or packed weights, return False at once.

    shape   (T, B, H)
    keep    (T, B, 1), False where the state is zero before the step; None if nowhere
    arrays  the others of the cell's forward pass in `core/cells.h`, in its order; contiguous
    """
    if W_hh_packed is None or not core():
        return False
    core().forward(cell, *shape, _contiguous(keep), W_hh_packed, *arrays)
    return True


def backward(cell: str, shape: tuple[int, int, int], keep: Mask | None, W_hh: Array, dh: Array, *arrays: Array) -> bool:
    """Run the backward pass of `forward`, likewise.

    arrays  the others of the cell's backward pass in `core/cells.h`, in its order; contiguous
    """
    if not core():
        return False
    core().backward(cell, *shape, _contiguous(keep), pack(W_hh.T), np.ascontiguousarray(dh), *arrays)
    return True


def _contiguous(keep: Mask | None) -> Mask | None:
    return None if keep is None else np.ascontiguousarray(keep)
