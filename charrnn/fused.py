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

#: tanh(x) = x P(x^2) / Q(x^2) to 4e-7 in float32, the lowest power first, and the x from which on it is 1; from Eigen.
_P = (4.89352455891786e-3, 6.37261928875436e-4, 1.48572235717979e-5, 5.12229709037114e-8, -8.60467152213735e-11)
_P_HIGH = (2.00018790482477e-13, -2.76076847742355e-16)
_Q = (4.89352518554385e-3, 2.26843463243900e-3, 1.18534705686654e-4, 1.19825839466702e-6)
_LIMIT = np.float32(7.90531110763549805)
_P0, _P1, _P2, _P3, _P4, _P5, _P6 = (np.float32(factor) for factor in _P + _P_HIGH)
_Q0, _Q1, _Q2, _Q3 = (np.float32(factor) for factor in _Q)


def tanh(a: Any) -> Any:
    """Return tanh(a) of one number: in compiled float32 loops by a rational function that vectorises."""
    return np.tanh(a)


def _tanh_of(a: Any) -> Any:
    """Return the tanh of a number's type; Numba wants the same argument, annotated alike, in all three."""
    return _rational_tanh if str(a) == "float32" else _exact_tanh


def _exact_tanh(a: Any) -> Any:
    return np.tanh(a)


def _rational_tanh(a: Any) -> Any:
    x = _LIMIT if a > _LIMIT else (-_LIMIT if a < -_LIMIT else a)  # NaN stays NaN
    s = x * x
    p = _P0 + s * (_P1 + s * (_P2 + s * (_P3 + s * (_P4 + s * (_P5 + s * _P6)))))
    return x * p / (_Q0 + s * (_Q1 + s * (_Q2 + s * _Q3)))


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
