"""Loops over single numbers, compiled by Numba where it is installed: `pip install ".[fast]"`.

NumPy's functions are the reference, and what every cell can do without Numba. Here stands the elementwise work of one
time step once more, for those cells that gain by it, as loops that take each number once; they give the same results to
rounding. Short loops over one lane's row, one for each result, are what the compiler makes vector instructions of. All
loops are in this file because Numba keeps the compiled code until the file changes that a function is in.

The environment variable CHARRNN_FUSED=0 switches this off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Loops: TypeAlias = Callable[..., None]

_LIMIT = np.float32(8)  # from here on tanh is 1 to less than the error of the rational function
_P1, _P2, _P3, _P4 = map(np.float32, (1.340216100e-1, 3.520756727e-3, 2.102733560e-5, 1.394553628e-8))
_Q1, _Q2, _Q3, _Q4 = map(np.float32, (4.673548340e-1, 2.597254514e-2, 3.326951409e-4, 8.015776984e-7))
_1 = np.float32(1)


def steps(T: int, B: int, forward: Loops, backward: Loops) -> tuple[Loops | None, Loops | None]:
    """Return the loops of a step and of the way back, compiled; None where there is no Numba, or one step or one lane.

    Those who sample or read a prompt so save the quarter of a second that Numba needs to load.
    """
    return (None, None) if min(T, B) == 1 else (compiled(forward), compiled(backward))


@cache
def compiled(loops: Loops) -> Loops | None:
    """Return the loops as machine code, made at the first call and kept on disk; None where there is no Numba."""
    found = _compiler()
    return found[0](loops) if found else None


def numba_version() -> str | None:
    """Return the version of the Numba that compiles here, or None where NumPy does all the work."""
    found = _compiler()
    return found[1] if found else None


@cache
def _compiler() -> tuple[Callable[[Loops], Loops], str] | None:
    """Return what compiles loops, and Numba's version; None where it is off, absent, or does not work."""
    if os.environ.get("CHARRNN_FUSED") == "0":
        return None
    try:
        import numba
        from numba.extending import overload

        if numba.config.DISABLE_JIT:  # the loops would run in Python
            return None
        # Of the fast-math liberties only a * b + c in one rounding: others would lose NaN, which shows divergence.
        overload(tanh, jit_options={"fastmath": {"contract"}})(_tanh_of)
        compiler = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})

        def compile_loops(loops: Loops) -> Loops:
            return _keep(compiler(loops))

        compile_loops(_probe)(np.zeros(1, np.float32))
        return compile_loops, str(numba.__version__)
    except Exception:  # whatever ails it: NumPy does the same work
        return None


def _keep(loops: Any) -> Loops:
    """Return compiled loops whose code Numba keeps on disk; where it finds no folder, each process compiles anew."""
    with suppress(Exception):
        loops.enable_caching()
        loops._cache = _Kept(loops._cache)
    kept: Loops = loops
    return kept


class _Kept:
    """Numba's files of one function's code; where one fails, the code is compiled, and no more comes of it.

    Numba alone would raise, from within the first call. Several processes may read and write the files at once.
    """

    def __init__(self, files: Any) -> None:
        self._files = files

    def load_overload(self, types: Any, target: Any) -> Any:
        """Return the code for arguments of these types, or None; files that mislead are forgotten."""
        with suppress(Exception):
            code = self._files.load_overload(types, target)
            if code is None or code.signature.args == types:  # two processes can have given one name to two files
                return code
        with suppress(Exception):
            self._files.flush()
        return None

    def save_overload(self, types: Any, code: Any) -> None:
        """Write the code, where that can be done."""
        with suppress(Exception):
            self._files.save_overload(types, code)


def _probe(a: Array) -> None:
    a[0] = tanh(a[0])


def tanh(a: Any) -> Any:
    """Stand for the tanh of one number, in loops that are compiled."""
    return np.tanh(a)


def _tanh_of(a: Any) -> Any:
    """Return the tanh of a Numba type; Numba wants the same signature of all."""
    return _rational_tanh if str(a) == "float32" else _exact_tanh


def _exact_tanh(a: Any) -> Any:
    return np.tanh(a)


def _rational_tanh(a: Any) -> Any:
    """Return tanh(a) in float32, by what vectorises; the error is at most 4e-7, and NaN stays NaN.

    tanh(a) = a P(a^2) / Q(a^2)
    Source:  the coefficients are those of Eigen.
    """
    s = a * a
    p = _1 + s * (_P1 + s * (_P2 + s * (_P3 + s * _P4)))
    q = _1 + s * (_Q1 + s * (_Q2 + s * (_Q3 + s * _Q4)))
    return _1 if a > _LIMIT else (-_1 if a < -_LIMIT else a * p / q)


def add_rows(ids: Array, rows: Array, total: Array) -> None:
    """Add each row to the total of its id."""
    for n in range(len(ids)):
        row, its_total = rows[n], total[ids[n]]
        for k in range(len(row)):
            its_total[k] += row[k]


def lstm_step(t: int, recurrent: Array, gates: Array, c: Array, tanh_c: Array, h: Array) -> None:
    """Make gates[t], c[t + 1], tanh_c[t] and h[t + 1] of the pre-activations' two parts and c[t]."""
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
    """Make da[t] of dh[t] and of what comes from step t + 1: dh_next, and dc, which becomes that of c[t]."""
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
    """Make gates[t], q_n[t] and h[t + 1] of the pre-activations' two parts and h_prev."""
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
    total: Array,
    slope_n: Array,
    dq: Array,
    through: Array,
) -> None:
    """Make total[t], slope_n[t], dq[t] and through of dh[t] and of dh_next, which comes from step t + 1."""
    B, H = dh_next.shape
    one = gates.dtype.type(1)
    for b in range(B):
        r, z, n, h_from, q_n_t = gates[t, b, :H], gates[t, b, H : 2 * H], gates[t, b, 2 * H :], h_prev[t, b], q_n[t, b]
        dq_r, dq_z, dq_n, dh_t = dq[t, b, :H], dq[t, b, H : 2 * H], dq[t, b, 2 * H :], dh[t, b]
        dh_later, dh_all, slope, straight = dh_next[b], total[t, b], slope_n[t, b], through[b]
        for k in range(H):
            dh_all[k] = dh_later[k] + dh_t[k]
        for k in range(H):
            straight[k] = dh_all[k] * z[k]
        for k in range(H):
            slope[k] = (one - z[k]) * (one - n[k] * n[k])
        for k in range(H):
            dq_z[k] = straight[k] * (h_from[k] - n[k]) * (one - z[k])
        for k in range(H):
            dq_n[k] = dh_all[k] * slope[k] * r[k]
        for k in range(H):
            dq_r[k] = dq_n[k] * q_n_t[k] * (one - r[k])
