"""The floor: only the matrix products of the same work, by NumPy, into preallocated memory.

Per layer and time step h W_hh and da W_hh^T; once per layer h^T da; for layers above the first x W_xh, da W_xh^T and
x^T da; for the readout h W_hy, dlogits W_hy^T and h^T dlogits. The first layer's input selects rows instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.speed.cases import GATES, VOCAB_SIZE, Case, Work, text_to_encode


def variants(case: Case, threads: int) -> dict[str, Work]:
    """Return the ways to do the case: for the backward pass, transposed weights are a view or a copy."""
    if case.kind == "encode":  # every conversion must read the code points
        text = text_to_encode(case.cell)
        return {"": Work(lambda: text.encode("utf-32-le"))}
    if case.kind == "sample":  # each character needs the one before, so no product serves two steps
        step = _products(replace(case, steps=1), backward=False)
        return {"": Work(lambda: [step() for _ in range(case.steps)])}
    if case.kind == "evaluate":
        return {"": Work(_products(case, backward=False))}
    return {
        "transposed view": Work(_products(case, backward=True)),
        "transposed copy": Work(_products(case, backward=True, transpose=lambda W: np.ascontiguousarray(W.T))),
    }


def _products(
    case: Case, *, backward: bool, transpose: Callable[[np.ndarray], np.ndarray] = np.transpose
) -> Callable[[], None]:
    rng = np.random.default_rng(1)
    T, B, H, V, K = case.steps, case.batch, case.units, VOCAB_SIZE, GATES[case.cell] * case.units

    def drawn(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(0.1)

    h, dlogits = drawn(T, B, H), drawn(T * B, V)
    flat_h = h.reshape(-1, H)
    pre, dh = np.empty((B, K), np.float32), np.empty((B, H), np.float32)
    projected, dx, logits = np.empty((T * B, K), np.float32), np.empty((T * B, H), np.float32), np.empty_like(dlogits)
    W_hh, W_xh, W_hy = drawn(H, K), drawn(H, K), drawn(H, V)
    dW_hh, dW_xh, dW_hy = np.empty_like(W_hh), np.empty_like(W_xh), np.empty_like(W_hy)
    da = drawn(T, B, K) if backward else np.empty((0, B, K), np.float32)
    flat_da = da.reshape(-1, K)

    def run() -> None:
        for layer in range(case.layers):
            if layer:
                np.matmul(flat_h, W_xh, out=projected)
            for t in range(T):
                np.matmul(h[t], W_hh, out=pre)
        np.matmul(flat_h, W_hy, out=logits)
        if not backward:
            return
        np.matmul(dlogits, transpose(W_hy), out=dx)
        np.matmul(flat_h.T, dlogits, out=dW_hy)
        for layer in range(case.layers):
            W_back = transpose(W_hh)
            for t in reversed(range(T)):
                np.matmul(da[t], W_back, out=dh)
            np.matmul(flat_h.T, flat_da, out=dW_hh)
            if layer:
                np.matmul(flat_da, transpose(W_xh), out=dx)
                np.matmul(flat_h.T, flat_da, out=dW_xh)

    return run
