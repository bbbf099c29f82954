"""The plain recurrent net (Elman net), with tanh.

a_t = x_t W_xh + h_{t-1} W_hh + b_h
h_t = tanh(a_t)

Shapes:  W_xh (D, H) · W_hh (H, H) · b_h (H,) · state (1, B, H) = (h,)
Source:  Elman 1990.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.nn import compiled
from charrnn.nn.cells.base import Cell, blocks, carry_mask, input_table, read_steps
from charrnn.nn.functional import project, project_backward
from charrnn.nn.initializers import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer; the bias starts at zero."""
    return {"W_xh": init.inputs(rng, D, H), "W_hh": init.recurrent(rng, H, H), "b_h": np.zeros(H)}


def prepare(params: Params) -> Params:
    """Add what the compiled core reads."""
    return params | compiled.packed(W_hh=params["W_hh"])


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xh, W_hh, b_h = weights["W_xh"], weights["W_hh"], weights["b_h"]
    T, B = x.shape[:2]
    H, dtype = len(W_hh), W_hh.dtype
    a = project(x, W_xh, b_h, scratch.empty("a", (T, B, H), dtype))
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t] is the state before step t
    keep = carry_mask(reset)
    (h[0],) = state
    if not compiled.forward("rnn", (T, B, H), keep, weights.get("W_hh_packed"), a, h):
        recurrent = scratch.empty("recurrent", (B, H), dtype)
        for t in range(T):
            h_prev = h[t] if keep is None else h[t] * keep[t]
            np.matmul(h_prev, W_hh, out=recurrent)
            recurrent += a[t]
            np.tanh(recurrent, out=h[t + 1])

    def backprop(dh: Array, dstate: Array) -> tuple[Array | None, Array, Params]:
        """Apply the chain rule from the last step to the first.

        dh_t = dh[t] + dh_next
        da_t = dh_t * (1 - h_t^2)
        then, for step t - 1:   dh_next = da_t W_hh^T
        summed over the steps:  dW_xh = x_t^T da_t   dW_hh = h_{t-1}^T da_t   db_h = da_t
        """
        da = scratch.empty("da", (T, B, H), dtype)  # first 1 - h^2, for a block of steps at once; then da
        dh_next = dstate[0].copy()
        if not compiled.backward("rnn", (T, B, H), keep, W_hh, dh, h, dh_next, da):
            W_hh_T = np.ascontiguousarray(W_hh.T)  # with few rows, BLAS multiplies by a copy faster than by a view
            for block in reversed(blocks(T, B * H)):
                np.multiply(h[1:][block], h[1:][block], out=da[block])
                np.subtract(1, da[block], out=da[block])
                for t in reversed(range(T)[block]):
                    dh_next += dh[t]
                    da[t] *= dh_next
                    np.matmul(da[t], W_hh_T, out=dh_next)
                    if keep is not None:  # no gradient crosses a reset
                        dh_next *= keep[t]
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        dx, dW_xh, db_h = project_backward(x, W_xh, da)
        dW_hh = h_prev.reshape(-1, H).T @ da.reshape(-1, H)
        return dx, dh_next[None], {"W_xh": dW_xh, "W_hh": dW_hh, "b_h": db_h}

    return h[1:], h[T:].copy(), backprop


def read(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> Array:
    """Run one layer over a window, without a backward pass; see `cells.base` for the contract."""
    return read_steps(step, weights, x, weights["W_xh"], weights["b_h"], len(weights["W_hh"]), state, reset, scratch)


def step(weights: Params, a: Array, state: Array) -> None:
    """Take one step in place, given the inputs' share of a."""
    h = state[0]
    a = a[0]
    a += h.dot(weights["W_hh"])
    np.tanh(a, out=h)


def layer(weights: Params, x: Array | Ids | None) -> compiled.Layer:
    """Return what the compiled core reads; see `cells.base` for the contract."""
    W, b = weights["W_xh"], weights["b_h"]
    inputs = compiled.pack(W) if x is None else input_table(x, W, b)
    return compiled.Layer("rnn", inputs, b, weights["W_hh_packed"])


CELL = Cell(n_states=1, init_params=init_params, prepare=prepare, forward=forward, read=read, layer=layer)
