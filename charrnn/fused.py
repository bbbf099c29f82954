"""Loops over single numbers, compiled by Numba where it is installed: `pip install ".[fast]"`.

NumPy's functions are the reference, and what everything can do without Numba. A cell may write the elementwise work of
one time step as loops as well, which read and write each number once; `compiled` turns them into machine code. Short
loops over one lane's row, one for each result, are what the compiler turns into vector instructions.

The environment variable CHARRNN_FUSED=0 switches this off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np

Loops = TypeVar("Loops", bound=Callable[..., None])

_LIMIT = np.float32(8)  # from here on tanh is 1 to less than the error of the rational function
_P1, _P2, _P3, _P4 = map(np.float32, (1.340216100e-1, 3.520756727e-3, 2.102733560e-5, 1.394553628e-8))
_Q1, _Q2, _Q3, _Q4 = map(np.float32, (4.673548340e-1, 2.597254514e-2, 3.326951409e-4, 8.015776984e-7))
_1 = np.float32(1)


def tanh(a: Any) -> Any:
    """Return tanh(a) of one number: in compiled float32 loops by a rational function that vectorises."""
    return np.tanh(a)


def _tanh_of(a: Any) -> Any:
    """Return the tanh of a number's type; Numba wants the same argument, annotated alike, in all three."""
    return _rational_tanh if str(a) == "float32" else _exact_tanh


def _exact_tanh(a: Any) -> Any:
    return np.tanh(a)


def _rational_tanh(a: Any) -> Any:
    """Return tanh(a) in float32 to 4e-7; NaN stays NaN.

    tanh(a) = a P(a^2) / Q(a^2)
    Source:  the coefficients are those of Eigen.
    """
    s = a * a
    p = _1 + s * (_P1 + s * (_P2 + s * (_P3 + s * _P4)))
    q = _1 + s * (_Q1 + s * (_Q2 + s * (_Q3 + s * _Q4)))
    return _1 if a > _LIMIT else (-_1 if a < -_LIMIT else a * p / q)


def _probe(a: Any) -> None:
    a[0] = tanh(a[0])


@cache
def _compiler() -> tuple[Callable[[Any], Any], str] | None:
    """Return what compiles loops, and Numba's version; None where it is off, absent, or does not work."""
    if os.environ.get("CHARRNN_FUSED") == "0":
        return None
    try:
        import numba
        from numba.extending import overload

        if numba.config.DISABLE_JIT:  # the loops would run in Python
            return None
        # Of the fast-math liberties only a * b + c in one rounding: the others would lose NaN, by which a run that
        # diverges is found.
        overload(tanh, jit_options={"fastmath": {"contract"}})(_tanh_of)
        compiler = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
        compiler(_probe)(np.zeros(1, np.float32))
    except Exception:  # whatever ails it: NumPy does the same work
        return None
    return compiler, str(numba.__version__)


@cache
def compiled(loops: Loops) -> Loops | None:
    """Return the loops as machine code, which is made at the first call and kept on disk; None without Numba."""
    compiler = _compiler()
    return compiler[0](loops) if compiler else None


def numba_version() -> str | None:
    """Return the version of the Numba that compiles here, or None where NumPy does all the work."""
    compiler = _compiler()
    return compiler[1] if compiler else None
