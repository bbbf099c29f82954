"""Loops over single numbers, compiled by Numba if it is installed: `pip install ".[fast]"`.

The cells compute with NumPy's functions; those are the reference and need no Numba. For the cells that gain by it, this
file repeats the elementwise work of one time step as loops that read each number once. The results agree to rounding.
Each loop is short, runs over one batch row and writes one result, because the compiler can vectorise that. All loops
are in one file because Numba recompiles a function only when the file that defines it changes.

CHARRNN_FUSED=0 in the environment switches this off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Loops: TypeAlias = Callable[..., None]

_FAST_MATH = {"contract"}  # a * b + c in one rounding; other options lose NaN, which shows that training diverged
_LIMIT = np.float32(8)  # from here on, tanh is 1 to within the error of the rational function
_P1, _P2, _P3, _P4 = map(np.float32, (1.340216100e-1, 3.520756727e-3, 2.102733560e-5, 1.394553628e-8))
_Q1, _Q2, _Q3, _Q4 = map(np.float32, (4.673548340e-1, 2.597254514e-2, 3.326951409e-4, 8.015776984e-7))
_1 = np.float32(1)


def step_pair(
    T: int, B: int, dtype: np.dtype[Any], forward: Loops, backward: Loops
) -> tuple[Loops | None, Loops | None]:
    """Return the compiled loops of a forward and a backward step; None without Numba, or if T or B is 1.

    So sampling, and reading a prompt, do not wait the quarter of a second that Numba takes to load.
    """
    return (None, None) if min(T, B) == 1 else (machine_code(forward, dtype), machine_code(backward, dtype))


@cache
def machine_code(loops: Loops, *dtypes: np.dtype[Any]) -> Loops | None:
    """Return the loops for arrays of these types, compiled at the first call; None without Numba."""
    numba = _numba()
    return numba and _compile(numba.njit, loops, *dtypes)


def numba_version() -> str | None:
    """Return the version of the Numba that compiles here, or None if NumPy does all the work."""
    numba = _numba()
    return numba and str(numba.__version__)


@cache
def _numba() -> Any:
    """Return the module numba, or None if it is switched off, missing or broken."""
    if os.environ.get("CHARRNN_FUSED") == "0":
        return None
    try:
        import numba
        from numba.extending import overload

        if numba.config.DISABLE_JIT:  # the loops would run in Python
            return None
        overload(tanh, jit_options={"fastmath": _FAST_MATH})(_tanh_of)
        _compile(numba.njit, _probe)(np.zeros(1, np.float32))
        return numba
    except Exception:  # Numba is broken, and NumPy does the same work
        return None


def _compile(njit: Callable[..., Any], loops: Loops, *dtypes: np.dtype[Any]) -> Loops:
    """Return the loops compiled, with the machine code cached on disk if Numba finds a folder for it.

    Each combination of types gets a name, and so a cache file, of its own. Under one name, two processes that compile
    for different types at the same time could each read the other's code.
    """
    assert isinstance(loops, FunctionType)
    named = FunctionType(loops.__code__, loops.__globals__, loops.__name__)
    named.__qualname__ = "_".join([loops.__name__, *map(str, dtypes)])
    options = {"nogil": True, "error_model": "numpy", "fastmath": _FAST_MATH}
    run: Loops
    try:
        run = cached = njit(named, cache=True, **options)
    except RuntimeError:  # no folder can be written to
        run = njit(named, **options)
        return run

    def call(*args: Any) -> None:
        nonlocal run
        try:
            run(*args)
        except Exception:
            # A damaged or unreadable cache raises here, before the loops run.
            if run is not cached:
                raise
            _clear(cached, named)
            run = njit(named, **options)
            run(*args)

    return call


def _clear(cached: Any, named: FunctionType) -> None:
    """Remove the cache files of a function, so that the next process writes new ones."""
    with suppress(OSError):
        for path in Path(cached.stats.cache_path).glob(f"*.{named.__qualname__}-*"):
            path.unlink()


def _probe(a: Array) -> None:
    a[0] = tanh(a[0])


def tanh(a: Any) -> Any:
    """Return the tanh of one number; in compiled loops, Numba replaces this by `_tanh_of` its type."""
    return np.tanh(a)


def _tanh_of(a: Any) -> Any:
    """Return the function that computes tanh for a Numba type; Numba requires the signature of `tanh`."""
    return _rational_tanh if str(a) == "float32" else _exact_tanh


def _exact_tanh(a: Any) -> Any:
    return np.tanh(a)


def _rational_tanh(a: Any) -> Any:
    """Return tanh(a) in float32 by operations that vectorise; the relative error is at most 4e-7, and NaN stays NaN.

    tanh(a) = a P(a^2) / Q(a^2)
    Source:  Eigen, for the coefficients.
    """
    s = a * a
    p = _1 + s * (_P1 + s * (_P2 + s * (_P3 + s * _P4)))
    q = _1 + s * (_Q1 + s * (_Q2 + s * (_Q3 + s * _Q4)))
    return _1 if a > _LIMIT else (-_1 if a < -_LIMIT else a * p / q)


def add_rows(ids: Array, rows: Array, total: Array) -> None:
    """Add each row to the total of its id: total[ids[n]] += rows[n]."""
    for n in range(len(ids)):
        row, its_total = rows[n], total[ids[n]]
        for k in range(len(row)):
            its_total[k] += row[k]


def lstm_step(t: int, recurrent: Array, gates: Array, c: Array, tanh_c: Array, h: Array) -> None:
    """Compute gates[t], c[t + 1], tanh_c[t] and h[t + 1], where gates[t] + recurrent is a_t; see `cells.lstm`."""
    B, H = recurrent.shape[0], recurrent.shape[1] // 4
    half = gates.dtype.type(0.5)
    for b in range(B):
        a, q = gates[t, b], recurrent[b]
        i, f, g, o = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
        c_prev, c_next, tanh_c_next, h_next = c[t, b], c[t + 1, b], tanh_c[t, b], h[t + 1, b]
        for k in range(2 * H):
            a[k] = half * tanh(a[k] + q[k]) + half
        for k in range(2 * H, 3 * H):
            a[k] = tanh(a[k] + q[k])
        for k in range(3 * H, 4 * H):
            a[k] = half * tanh(a[k] + q[k]) + half
        for k in range(H):
            c_next[k] = f[k] * c_prev[k] + i[k] * g[k]
        for k in range(H):
            tanh_c_next[k] = tanh(c_next[k])
        for k in range(H):
            h_next[k] = o[k] * tanh_c_next[k]


def lstm_step_back(
    t: int, dh: Array, dh_next: Array, dc: Array, gates: Array, c: Array, tanh_c: Array, da: Array
) -> None:
    """Compute da[t]; dh_next and dc come from step t + 1, and dc becomes the gradient of c[t]; see `cells.lstm`."""
    B, H = dc.shape
    one = gates.dtype.type(1)
    for b in range(B):
        i, f, g, o = gates[t, b, :H], gates[t, b, H : 2 * H], gates[t, b, 2 * H : 3 * H], gates[t, b, 3 * H :]
        da_i, da_f, da_g, da_o = da[t, b, :H], da[t, b, H : 2 * H], da[t, b, 2 * H : 3 * H], da[t, b, 3 * H :]
        c_prev, tanh_c_next, dh_t, total, dc_b = c[t, b], tanh_c[t, b], dh[t, b], dh_next[b], dc[b]
        for k in range(H):
            total[k] += dh_t[k]
        for k in range(H):
            dc_b[k] += total[k] * o[k] * (one - tanh_c_next[k] * tanh_c_next[k])
        for k in range(H):
            da_i[k] = dc_b[k] * g[k] * i[k] * (one - i[k])
        for k in range(H):
            da_f[k] = dc_b[k] * c_prev[k] * f[k] * (one - f[k])
        for k in range(H):
            da_g[k] = dc_b[k] * i[k] * (one - g[k] * g[k])
        for k in range(H):
            da_o[k] = total[k] * tanh_c_next[k] * o[k] * (one - o[k])
        for k in range(H):
            dc_b[k] *= f[k]


def gru_step(t: int, recurrent: Array, b_hn: Array, gates: Array, q_n: Array, h_prev: Array, h: Array) -> None:
    """Compute gates[t], q_n[t] and h[t + 1] from a_t, which is in gates[t], and q_t = recurrent; see `cells.gru`."""
    B, H = h_prev.shape
    half = gates.dtype.type(0.5)
    for b in range(B):
        a, q, q_n_t, h_from, h_to = gates[t, b], recurrent[b], q_n[t, b], h_prev[b], h[t + 1, b]
        z, n, q_last = a[H : 2 * H], a[2 * H :], q[2 * H :]
        for k in range(2 * H):
            a[k] = half * tanh(a[k] + q[k]) + half
        for k in range(H):
            q_n_t[k] = q_last[k] + b_hn[k]
        for k in range(H):
            n[k] = tanh(n[k] + a[k] * q_n_t[k])
        for k in range(H):
            h_to[k] = n[k] + z[k] * (h_from[k] - n[k])


def gru_step_back(
    t: int,
    dh: Array,
    dh_next: Array,
    gates: Array,
    h_prev: Array,
    q_n: Array,
    dh_total: Array,
    dh_da_n: Array,
    dq: Array,
    dh_direct: Array,
) -> None:
    """Compute dh_total[t], dh_da_n[t], dq[t] and dh_direct; dh_next comes from step t + 1; see `cells.gru`."""
    B, H = dh_next.shape
    one = gates.dtype.type(1)
    for b in range(B):
        r, z, n, h_from, q_n_t = gates[t, b, :H], gates[t, b, H : 2 * H], gates[t, b, 2 * H :], h_prev[t, b], q_n[t, b]
        dq_r, dq_z, dq_n, dh_t = dq[t, b, :H], dq[t, b, H : 2 * H], dq[t, b, 2 * H :], dh[t, b]
        dh_later, total, slope, direct = dh_next[b], dh_total[t, b], dh_da_n[t, b], dh_direct[b]
        for k in range(H):
            total[k] = dh_later[k] + dh_t[k]
        for k in range(H):
            direct[k] = total[k] * z[k]
        for k in range(H):
            slope[k] = (one - z[k]) * (one - n[k] * n[k])
        for k in range(H):
            dq_z[k] = direct[k] * (h_from[k] - n[k]) * (one - z[k])
        for k in range(H):
            dq_n[k] = total[k] * slope[k] * r[k]
        for k in range(H):
            dq_r[k] = dq_n[k] * q_n_t[k] * (one - r[k])
