"""The minimal gated recurrent unit (minGRU), whose gate and candidate depend on the input alone.

[a_z a_n] = x_t W_xh + b_h
z = sigmoid(a_z)   n = a_n
h_t = (1 - z) * h_{t-1} + z * n

There is no matrix product within the loop over time, so nothing recurrent for weight-drop to drop. A single layer
cannot combine what it read before with what it reads now; give it more layers (docs/ablations.md).

Shapes:  W_xh (D, 2H) · b_h (2H,) · in the order z n · state (1, B, H) = (h,)
Source:  Feng et al. 2024.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch, times
from charrnn.nn.cells.base import SIGMOID, Cell, blocks, carry_mask, read_steps
from charrnn.nn.functional import project, project_backward
from charrnn.nn.initializers import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer; biases start at zero."""
    return {"W_xh": np.hstack([init.inputs(rng, D, H) for _ in range(2)]), "b_h": np.zeros(2 * H)}


def prepare(params: Params) -> Params:
    """Add copies of the weights in which those of the gate are halved: sigmoid(a) = tanh(a / 2) / 2 + 1/2."""
    half = np.repeat(np.array([[0.5, 1]], params["b_h"].dtype), len(params["b_h"]) // 2, axis=1)
    return params | {f"{name}_half": times(array, half) for name, array in params.items()}


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xh, b_half = weights["W_xh"], weights["b_h_half"]
    (T, B), H, dtype = x.shape[:2], W_xh.shape[1] // 2, W_xh.dtype
    a = project(x, weights["W_xh_half"], b_half, scratch.empty("a", (T, B, 2 * H), dtype))
    spare, n = a[..., :H], a[..., H:]  # a_z is needed only for z
    z = scratch.empty("gates", (T, B, H), dtype)
    carried = scratch.empty("carried", (T, B, H), dtype)  # the share of h_{t-1} in h_t: 1 - z, or 0 at a reset
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t] is the state before step t
    keep = carry_mask(reset)
    (h[0],) = state
    for block in blocks(T, B * 2 * H):
        np.tanh(spare[block], out=z[block])
        z[block] *= 0.5
        z[block] += 0.5
        np.subtract(1, z[block], out=carried[block])
        if keep is not None:
            carried[block] *= keep[block]
        np.multiply(z[block], n[block], out=h[1:][block])
        for t in range(T)[block]:
            np.multiply(carried[t], h[t], out=spare[t])
            h[t + 1] += spare[t]

    def backprop(dh: Array, dstate: Array) -> tuple[Array | None, Array, Params]:
        """Apply the chain rule from the last step to the first.

        dh_t = dh[t] + dh_next
        da_n = dh_t * z                     da_z = dh_t * (n - h_{t-1}) * z * (1 - z)
        then, for step t - 1:   dh_next = dh_t * (1 - z)
        summed over the steps:  dW_xh = x_t^T da_t   db_h = da_t
        """
        da = scratch.empty("da", (T, B, 2 * H), dtype)
        dh_next = dstate[0].copy()
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        for block in reversed(blocks(T, B * 2 * H)):
            da_z, da_n = da[block, :, :H], da[block, :, H:]
            for t in reversed(range(T)[block]):
                np.add(dh[t], dh_next, out=da[t, :, H:])  # dh_t
                np.multiply(da[t, :, H:], carried[t], out=dh_next)
            np.subtract(n[block], h_prev[block], out=da_z)
            da_z *= da_n
            da_n *= z[block]
            da_z *= z[block]
            np.subtract(1, z[block], out=spare[block])
            da_z *= spare[block]
        dx, dW_xh, db_h = project_backward(x, W_xh, da)
        return dx, dh_next[None], {"W_xh": dW_xh, "b_h": db_h}

    return h[1:], h[T:].copy(), backprop


def read(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> Array:
    """Run one layer over a window, without a backward pass; see `cells.base` for the contract."""
    return read_steps(
        step, weights, x, weights["W_xh_half"], weights["b_h_half"], state.shape[2], state, reset, scratch
    )


def step(weights: Params, a: Array, state: Array) -> None:
    """Take one step in place, given a."""
    h = state[0]
    z, n = a
    np.tanh(z, out=z)
    z *= 0.5
    z += 0.5
    n -= h
    n *= z
    h += n


CELL = Cell(n_states=1, init_params=init_params, prepare=prepare, forward=forward, read=read, gates={"z": SIGMOID})
