"""The gated recurrent unit (GRU), in the variant of cuDNN and PyTorch.

[a_r a_z a_n] = x_t W_xh + b_h          [q_r q_z q_n] = h_{t-1} W_hh          q_n = q_n + b_hn
r = sigmoid(a_r + q_r)   z = sigmoid(a_z + q_z)   n = tanh(a_n + r * q_n)
h_t = (1 - z) * n + z * h_{t-1}

Shapes:  W_xh (D, 3H) · W_hh (H, 3H) · b_h (3H,) · b_hn (H,) · gates in the order r z n · state (1, B, H) = (h,)
Source:  Cho et al. 2014. There r multiplies h before the matrix product; here r multiplies the product, so that one
         product serves all gates. PyTorch also has a second, redundant bias for r and z.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch, times
from charrnn.nn import compiled
from charrnn.nn.cells.base import SIGMOID, TANH, Cell, blocks, carry_mask, input_table, multiply_by_gate, read_steps
from charrnn.nn.functional import project, project_backward
from charrnn.nn.initializers import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer; biases start at zero."""
    return {
        "W_xh": np.hstack([init.inputs(rng, D, H) for _ in range(3)]),
        "W_hh": np.hstack([init.recurrent(rng, H, H) for _ in range(3)]),
        "b_h": np.zeros(3 * H),
        "b_hn": np.zeros(H),
    }


def prepare(params: Params) -> Params:
    """Add copies of the weights in which those of the sigmoid gates are halved: sigmoid(a) = tanh(a / 2) / 2 + 1/2.

    The bias becomes a row (1, 3H), because NumPy adds a row to a single row three times as fast as a vector.
    """
    H = len(params["W_hh"])
    half = np.repeat(np.array([[0.5, 0.5, 1]], params["b_h"].dtype), H, axis=1)
    scaled = {f"{name}_half": times(params[name], half) for name in ("W_xh", "W_hh", "b_h")}
    return params | scaled | compiled.packed(W_hh=scaled["W_hh_half"])


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xh, W_hh, W_hh_half, b_hn = weights["W_xh"], weights["W_hh"], weights["W_hh_half"], weights["b_hn"]
    T, B = x.shape[:2]
    H, dtype = len(W_hh), W_hh.dtype
    gates = scratch.empty("gates", (T, B, 3 * H), dtype)  # first x_t W_xh + b_h, then r z n
    project(x, weights["W_xh_half"], weights["b_h_half"], gates)
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t] is the state before step t
    q_n = scratch.empty("q_n", (T, B, H), dtype)  # b_hn included
    recurrent = scratch.empty("recurrent", (B, 3 * H), dtype)
    keep = carry_mask(reset)
    (h[0],) = state
    if not compiled.forward("gru", (T, B, H), keep, weights.get("W_hh_packed"), b_hn, gates, h, q_n, recurrent):
        product = scratch.empty("product", (B, H), dtype)
        for t in range(T):
            h_prev = h[t] if keep is None else h[t] * keep[t]
            np.matmul(h_prev, W_hh_half, out=recurrent)
            r_z, n = gates[t, :, : 2 * H], gates[t, :, 2 * H :]
            r, z = r_z[:, :H], r_z[:, H:]
            r_z += recurrent[:, : 2 * H]
            np.tanh(r_z, out=r_z)
            r_z *= 0.5
            r_z += 0.5
            np.add(recurrent[:, 2 * H :], b_hn, out=q_n[t])
            np.multiply(r, q_n[t], out=product)
            n += product
            np.tanh(n, out=n)
            np.subtract(h_prev, n, out=product)
            product *= z
            np.add(n, product, out=h[t + 1])

    def backprop(dh: Array, dstate: Array) -> tuple[Array | None, Array, Params]:
        """Apply the chain rule from the last step to the first.

        dh_t = dh[t] + dh_next
        da_n = dh_t * (1 - z) * (1 - n^2)     dq_n = da_n * r
        da_z = dq_z = dh_t * (h_{t-1} - n) * z * (1 - z)
        da_r = dq_r = da_n * q_n * r * (1 - r)
        then, for step t - 1:   dh_next = dq_t W_hh^T + dh_t * z
        summed over the steps:  dW_hh = h_{t-1}^T dq_t   db_hn = dq_n   dW_xh = x_t^T da_t   db_h = da_t

        All factors but dh_t are known beforehand: `slopes` writes them, for a block of steps at once.
        """
        dq = scratch.empty("dq", (T, B, 3 * H), dtype)  # first the slopes of h over q, then dq
        da_n = scratch.empty("da_n", (T, B, H), dtype)  # first the slope of h over a_n, then da_n
        dh_direct = scratch.empty("dh_direct", (B, H), dtype)  # dh_t * z, which reaches h_{t-1} past the weights
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        dh_next = dstate[0].copy()
        if not compiled.backward("gru", (T, B, H), keep, W_hh, dh, gates, h_prev, q_n, dh_next, dq, da_n, dh_direct):
            W_hh_T = np.ascontiguousarray(W_hh.T)  # with few rows, BLAS multiplies by a copy faster than by a view
            for block in reversed(blocks(T, B * 3 * H)):
                slopes(gates[block], h_prev[block], q_n[block], dq[block], da_n[block])
                for t in reversed(range(T)[block]):
                    dh_next += dh[t]
                    da_n[t] *= dh_next
                    dq_t = dq[t].reshape(B, 3, H)
                    dq_t *= dh_next[:, None]
                    np.multiply(dh_next, gates[t, :, H : 2 * H], out=dh_direct)
                    np.matmul(dq[t], W_hh_T, out=dh_next)
                    dh_next += dh_direct
                    if keep is not None:  # no gradient crosses a reset
                        dh_next *= keep[t]
        dW_hh = h_prev.reshape(-1, H).T @ dq.reshape(-1, 3 * H)
        db_hn = dq[:, :, 2 * H :].sum(axis=(0, 1))
        da = dq  # the same memory: da differs from dq in n only
        da[:, :, 2 * H :] = da_n
        dx, dW_xh, db_h = project_backward(x, W_xh, da)
        return dx, dh_next[None], {"W_xh": dW_xh, "W_hh": dW_hh, "b_h": db_h, "b_hn": db_hn}

    return h[1:], h[T:].copy(), backprop


def slopes(gates: Array, h_prev: Array, q_n: Array, dq: Array, da_n: Array) -> None:
    """Write the derivatives that the backward pass multiplies by dh, for several steps at once.

    dh/da_n = (1 - z) * (1 - n^2)       dh/dq_n = dh/da_n * r
    dh/dq_z = (h_{t-1} - n) * z * (1 - z)
    dh/dq_r = dh/dq_n * q_n * (1 - r)

    Those over q go side by side into `dq`.
    Shapes:  gates, dq (T, B, 3H) · h_prev, q_n, da_n (T, B, H)
    """
    H = h_prev.shape[-1]
    r, z, n = (gates[..., k * H : (k + 1) * H] for k in range(3))
    d_r, d_z, d_n = (dq[..., k * H : (k + 1) * H] for k in range(3))
    np.subtract(1, z, out=da_n)
    np.subtract(h_prev, n, out=d_z)
    d_z *= z
    d_z *= da_n  # still 1 - z
    np.multiply(n, n, out=d_n)
    np.subtract(1, d_n, out=d_n)
    da_n *= d_n
    np.multiply(da_n, r, out=d_n)
    np.subtract(1, r, out=d_r)
    d_r *= d_n
    d_r *= q_n


def read(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> Array:
    """Run one layer over a window, without a backward pass; see `cells.base` for the contract."""
    return read_steps(
        step, weights, x, weights["W_xh_half"], weights["b_h_half"], len(weights["W_hh"]), state, reset, scratch
    )


def step(weights: Params, a: Array, state: Array) -> None:
    """Take one step in place, given the inputs' share of a."""
    h = state[0]
    q = multiply_by_gate(h, weights["W_hh_half"])
    r_z, n, q_n = a[:2], a[2], q[2]
    r_z += q[:2]
    np.tanh(r_z, out=r_z)
    r_z *= 0.5
    r_z += 0.5
    r, z = r_z
    q_n += weights["b_hn"][None]
    q_n *= r
    n += q_n
    np.tanh(n, out=n)
    h -= n
    h *= z
    h += n


def layer(weights: Params, x: Array | Ids | None) -> compiled.Layer:
    """Return what the compiled core reads; see `cells.base` for the contract."""
    W, b = weights["W_xh_half"], weights["b_h_half"]
    inputs = compiled.pack(W) if x is None else input_table(x, W, b)
    return compiled.Layer("gru", inputs, b, weights["W_hh_packed"], b_hn=weights["b_hn"])


CELL = Cell(
    n_states=1,
    init_params=init_params,
    prepare=prepare,
    forward=forward,
    read=read,
    layer=layer,
    gates={"r": SIGMOID, "z": SIGMOID, "n": TANH},
)
