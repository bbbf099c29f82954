"""The gated recurrent unit, in the variant of cuDNN and PyTorch.

[a_r a_z a_n] = x_t W_xh + b_h          [q_r q_z q_n] = h_{t-1} W_hh
r = sigmoid(a_r + q_r)   z = sigmoid(a_z + q_z)   n = tanh(a_n + r * (q_n + b_hn))
h_t = (1 - z) * n + z * h_{t-1}

Shapes:  W_xh (D, 3H) · W_hh (H, 3H) · b_h (3H,) · b_hn (H,) · gates in the order r z n · state (1, B, H) = (h,)
Source:  Cho et al. 2014. There r multiplies h before the product; here the product's result, so that one product
         serves all gates. PyTorch has a second bias for r and z too, which adds nothing.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.cells.base import Cell, kept
from charrnn.functional import project, project_backward
from charrnn.fused import compiled, tanh
from charrnn.init import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer; biases begin at zero."""
    return {
        "W_xh": np.hstack([init.inputs(rng, D, H) for _ in range(3)]),
        "W_hh": np.hstack([init.recurrent(rng, H, H) for _ in range(3)]),
        "b_h": np.zeros(3 * H),
        "b_hn": np.zeros(H),
    }


def prepare(params: Params) -> Params:
    """Add copies of the weights with the sigmoid gates' half of `sigmoid(a) = tanh(a / 2) / 2 + 1/2` folded in."""
    H = len(params["W_hh"])
    half = np.repeat(np.array([0.5, 0.5, 1], params["b_h"].dtype), H)
    return params | {f"{name}_half": params[name] * half for name in ("W_xh", "W_hh", "b_h")}


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xh, W_hh, W_hh_half, b_hn = weights["W_xh"], weights["W_hh"], weights["W_hh_half"], weights["b_hn"]
    T, B = x.shape[:2]
    H, dtype = len(W_hh), W_hh.dtype
    gates = scratch.empty("gates", (T, B, 3 * H), dtype)  # first the inputs' part, then r z n
    project(x, weights["W_xh_half"], weights["b_h_half"], gates)
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t] is the state before step t
    q_n = scratch.empty("q_n", (T, B, H), dtype)  # the recurrent part of n, bias included
    recurrent = scratch.empty("recurrent", (B, 3 * H), dtype)
    product = scratch.empty("product", (B, H), dtype)
    keep = kept(reset)
    fused = min(T, B) > 1  # a single stream earns no compiler's start
    step, step_back = (compiled(loops) if fused else None for loops in (step_loops, step_back_loops))
    (h[0],) = state
    for t in range(T):
        h_prev = h[t] if keep is None else h[t] * keep[t]
        np.matmul(h_prev, W_hh_half, out=recurrent)
        if step is not None:
            step(t, recurrent, b_hn, gates, q_n, h_prev, h)
            continue
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
        da = scratch.empty("da", (T, B, 3 * H), dtype)  # the gradient of the inputs' part
        dq = scratch.empty("dq", (T, B, 3 * H), dtype)  # of the recurrent part: differs from da in n
        through = scratch.empty("through", (B, H), dtype)
        slope = scratch.empty("slope", (B, 2 * H), dtype)
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        W_hh_T = np.ascontiguousarray(
            W_hh.T
        )  # BLAS multiplies few rows by it a quarter faster than by a transposed view
        dh_next = dstate[0].copy()
        for t in reversed(range(T)):
            if step_back is not None:
                step_back(t, dh, dh_next, through, gates, q_n, h_prev, da, dq)
            else:
                r_z, n = gates[t, :, : 2 * H], gates[t, :, 2 * H :]
                r, z = r_z[:, :H], r_z[:, H:]
                da_rz, da_n = da[t, :, : 2 * H], da[t, :, 2 * H :]
                dh_next += dh[t]
                np.multiply(dh_next, z, out=through)  # what goes straight on to h_prev
                np.subtract(h_prev[t], n, out=da_rz[:, H:])
                da_rz[:, H:] *= dh_next
                dh_next -= through  # dh * (1 - z) = dn
                np.multiply(n, n, out=da_n)
                np.subtract(1, da_n, out=da_n)
                da_n *= dh_next
                np.multiply(da_n, q_n[t], out=da_rz[:, :H])
                np.multiply(r_z, r_z, out=slope)
                np.subtract(r_z, slope, out=slope)
                da_rz *= slope
                dq[t, :, : 2 * H] = da_rz
                np.multiply(da_n, r, out=dq[t, :, 2 * H :])
            np.matmul(dq[t], W_hh_T, out=dh_next)
            dh_next += through
            if keep is not None:
                dh_next *= keep[t]
        dx, dW_xh, db_h = project_backward(x, W_xh, da)
        dW_hh = h_prev.reshape(-1, H).T @ dq.reshape(-1, 3 * H)
        db_hn = dq[:, :, 2 * H :].sum(axis=(0, 1))
        return dx, dh_next[None], {"W_xh": dW_xh, "W_hh": dW_hh, "b_h": db_h, "b_hn": db_hn}

    return h[1:], h[T:].copy(), backprop


def step_loops(t: int, recurrent: Array, b_hn: Array, gates: Array, q_n: Array, h_prev: Array, h: Array) -> None:
    """Do the elementwise work of step t, as loops to be compiled."""
    B, H = h_prev.shape
    half = gates.dtype.type(0.5)
    for b in range(B):
        a, q, q_n_t = gates[t, b], recurrent[b], q_n[t, b]
        z, n, q_of_n = a[H : 2 * H], a[2 * H :], q[2 * H :]
        h_from, h_to = h_prev[b], h[t + 1, b]
        for k in range(2 * H):
            a[k] = half * tanh(a[k] + q[k]) + half
        for k in range(H):
            q_n_t[k] = q_of_n[k] + b_hn[k]
        for k in range(H):
            n[k] = tanh(n[k] + a[k] * q_n_t[k])
        for k in range(H):
            h_to[k] = n[k] + z[k] * (h_from[k] - n[k])


def step_back_loops(
    t: int, dh: Array, dh_next: Array, through: Array, gates: Array, q_n: Array, h_prev: Array, da: Array, dq: Array
) -> None:
    """Do the elementwise work of step t on the way back, as loops to be compiled."""
    B, H = dh_next.shape
    one = gates.dtype.type(1)
    for b in range(B):
        r, z, n, q_n_t, h_from = gates[t, b, :H], gates[t, b, H : 2 * H], gates[t, b, 2 * H :], q_n[t, b], h_prev[t, b]
        da_r, da_z, da_n, dq_n = da[t, b, :H], da[t, b, H : 2 * H], da[t, b, 2 * H :], dq[t, b, 2 * H :]
        da_rz, dq_rz, dh_t, d_h, straight = da[t, b, : 2 * H], dq[t, b, : 2 * H], dh[t, b], dh_next[b], through[b]
        for k in range(H):
            d_h[k] += dh_t[k]
        for k in range(H):
            straight[k] = d_h[k] * z[k]
        for k in range(H):
            da_z[k] = straight[k] * (h_from[k] - n[k]) * (one - z[k])
        for k in range(H):
            da_n[k] = (d_h[k] - straight[k]) * (one - n[k] * n[k])
        for k in range(H):
            dq_n[k] = da_n[k] * r[k]
        for k in range(H):
            da_r[k] = dq_n[k] * q_n_t[k] * (one - r[k])
        for k in range(2 * H):
            dq_rz[k] = da_rz[k]


CELL = Cell(n_states=1, init_params=init_params, prepare=prepare, forward=forward)
