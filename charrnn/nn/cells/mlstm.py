"""The multiplicative LSTM (mLSTM), in which each symbol has a recurrent matrix of its own, in factors.

[W_xa W_xm] = W_xh   [W_ma W_hm] = W_hh
m_t = (x_t W_xm) * (h_{t-1} W_hm)
[a_i a_f a_g a_o] = x_t W_xa + m_t W_ma + b_h
i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
c_t = f * c_{t-1} + i * g
h_t = o * tanh(c_t)

So the matrix from h_{t-1} to the gates is W_hm diag(x_t W_xm) W_ma.

Shapes:  W_xh (D, 5H) · W_hh (H, 5H) · b_h (4H,) · in the order i f g o m · state (2, B, H) = (h, c)
Source:  Krause et al. 2016. The xLSTM's cell of the same name (Beck et al. 2024) is another.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch, times
from charrnn.nn.cells import lstm
from charrnn.nn.cells.base import SIGMOID, TANH, Cell, blocks, carry_mask, multiply_by_gate, read_steps
from charrnn.nn.functional import project, project_backward
from charrnn.nn.initializers import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer: those of an LSTM, and then those of m.

    The inputs' share of m is drawn at half the size: with the loud rows of symbols, m then is about as long as h.
    """
    params = lstm.init_params(D, H, rng, init)
    params["W_xh"] = np.hstack((params["W_xh"], init.inputs(rng, D, H) / 2))
    params["W_hh"] = np.hstack((params["W_hh"], init.recurrent(rng, H, H)))
    return params


def prepare(params: Params) -> Params:
    """Add copies of the weights in which those of the sigmoid gates are halved, as in `lstm.prepare`.

    `b_h_half` is a row (1, 5H), whose share of m is zero.
    """
    H = len(params["W_hh"])
    half = np.repeat(np.array([[0.5, 0.5, 1, 0.5, 1]], params["b_h"].dtype), H, axis=1)
    weights = params | {f"{name}_half": times(params[name], half) for name in ("W_xh", "W_hh")}
    weights["b_h_half"] = np.hstack((params["b_h"] * half[:, : 4 * H], np.zeros_like(half[:, :H])))
    return weights | {"slope": half[:, : 4 * H], "shift": 1 - half[:, : 4 * H]}


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xh, W_hh, W_xh_half, W_hh_half = (weights[name] for name in ("W_xh", "W_hh", "W_xh_half", "W_hh_half"))
    T, B = x.shape[:2]
    H, dtype = len(W_hh), W_hh.dtype
    W_ma, W_ma_half, W_xm, W_hm = (*(W[:, : 4 * H] for W in (W_hh, W_hh_half)), *(W[:, 4 * H :] for W in (W_xh, W_hh)))
    gates = scratch.empty("gates", (T, B, 4 * H), dtype)  # first x_t W_xa + b_h, then i f g o
    project(x, W_xh_half[:, : 4 * H], weights["b_h_half"][:, : 4 * H], gates)
    from_x = project(x, W_xm, None, scratch.empty("from_x", (T, B, H), dtype))  # x_t W_xm
    from_h = scratch.empty("from_h", (T, B, H), dtype)  # h_{t-1} W_hm
    m = scratch.empty("m", (T, B, H), dtype)
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t], c[t] are the state before step t
    c = scratch.empty("c", (T + 1, B, H), dtype)
    tanh_c = scratch.empty("tanh_c", (T, B, H), dtype)
    recurrent = scratch.empty("recurrent", (B, 4 * H), dtype)
    ig = scratch.empty("ig", (B, H), dtype)
    slope, shift = weights["slope"], weights["shift"]
    keep = carry_mask(reset)
    h[0], c[0] = state
    for t in range(T):
        h_prev = h[t]
        if keep is not None:
            h_prev = h_prev * keep[t]
            c[t] *= keep[t]
        np.matmul(h_prev, W_hm, out=from_h[t])
        np.multiply(from_x[t], from_h[t], out=m[t])
        np.matmul(m[t], W_ma_half, out=recurrent)
        recurrent += gates[t]
        np.tanh(recurrent, out=recurrent)
        recurrent *= slope  # 1/2 for the sigmoids, and 1 for g
        np.add(recurrent, shift, out=gates[t])  # likewise 1/2, and 0
        i, f, g, o = gates[t].reshape(B, 4, H).swapaxes(0, 1)
        np.multiply(f, c[t], out=c[t + 1])
        np.multiply(i, g, out=ig)
        c[t + 1] += ig
        np.tanh(c[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=h[t + 1])

    def backprop(dh: Array, dstate: Array) -> tuple[Array | None, Array, Params]:
        """Apply the chain rule from the last step to the first.

        dh_t, dc_t and da_t as in `lstm`
        dm_t      = da_t W_ma^T
        dfrom_x_t = dm_t * from_h_t         dfrom_h_t = dm_t * from_x_t
        then, for step t - 1:   dh_next = dfrom_h_t W_hm^T   dc_next = dc_t * f
        summed over the steps:  dW_xa = x_t^T da_t   dW_ma = m_t^T da_t   db_h = da_t
                                dW_xm = x_t^T dfrom_x_t   dW_hm = h_{t-1}^T dfrom_h_t
        """
        da = scratch.empty("da", (T, B, 4 * H), dtype)  # first the slopes of each gate, then da
        dfrom_x, dfrom_h = scratch.empty("dfrom_x", (T, B, H), dtype), scratch.empty("dfrom_h", (T, B, H), dtype)
        dh_dc = scratch.empty("dh_dc", (T, B, H), dtype)
        d = scratch.empty("d", (B, H), dtype)
        W_ma_T, W_hm_T = np.ascontiguousarray(W_ma.T), np.ascontiguousarray(W_hm.T)  # BLAS is faster with copies
        dh_next, dc = dstate[0].copy(), dstate[1].copy()
        for block in reversed(blocks(T, B * 4 * H)):
            lstm.slopes(gates[block], c[block], tanh_c[block], h[1:][block], da[block], dh_dc[block])
            for t in reversed(range(T)[block]):
                dh_next += dh[t]
                np.multiply(dh_next, dh_dc[t], out=d)
                dc += d
                da_ifg, da_o = da[t, :, : 3 * H].reshape(B, 3, H), da[t, :, 3 * H :]
                da_ifg *= dc[:, None]
                da_o *= dh_next
                dc *= gates[t, :, H : 2 * H]
                np.matmul(da[t], W_ma_T, out=d)  # dm_t
                np.multiply(d, from_h[t], out=dfrom_x[t])
                np.multiply(d, from_x[t], out=dfrom_h[t])
                np.matmul(dfrom_h[t], W_hm_T, out=dh_next)
                if keep is not None:  # no gradient crosses a reset
                    dh_next *= keep[t]
                    dc *= keep[t]
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        dW_ma, dW_hm = m.reshape(-1, H).T @ da.reshape(-1, 4 * H), h_prev.reshape(-1, H).T @ dfrom_h.reshape(-1, H)
        dx, dW_xa, db_h = project_backward(x, W_xh[:, : 4 * H], da)
        more_dx, dW_xm, _ = project_backward(x, W_xm, dfrom_x)
        if dx is not None and more_dx is not None:
            dx += more_dx
        grads = {"W_xh": np.hstack((dW_xa, dW_xm)), "W_hh": np.hstack((dW_ma, dW_hm)), "b_h": db_h}
        return dx, np.stack((dh_next, dc)), grads

    return h[1:], np.array((h[T], c[T])), backprop


def read(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> Array:
    """Run one layer over a window, without a backward pass; see `cells.base` for the contract."""
    W, b = weights["W_xh_half"], weights["b_h_half"]
    return read_steps(step, weights, x, W, b, len(weights["W_hh"]), state, reset, scratch)


def step(weights: Params, a: Array, state: Array) -> None:
    """Take one step in place, given the inputs' shares of a and, after them, of m."""
    h, c = state[0], state[1]
    gates, m = a[:4], a[4]
    W_hh_half, K = weights["W_hh_half"], 4 * len(weights["W_hh"])
    m *= h.dot(W_hh_half[:, K:])
    gates += multiply_by_gate(m, W_hh_half[:, :K])
    lstm.activate(weights, gates)
    i, f, g, o = gates
    c *= f
    i *= g
    c += i
    np.tanh(c, out=h)
    h *= o


CELL = Cell(
    n_states=2,
    init_params=init_params,
    prepare=prepare,
    forward=forward,
    read=read,
    gates={"i": SIGMOID, "f": SIGMOID, "g": TANH, "o": SIGMOID},
)
