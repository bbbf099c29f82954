"""The long short-term memory (LSTM) with a forget gate.

[a_i a_f a_g a_o] = x_t W_xh + h_{t-1} W_hh + b_h
i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
c_t = f * c_{t-1} + i * g
h_t = o * tanh(c_t)

Shapes:  W_xh (D, 4H) · W_hh (H, 4H) · b_h (4H,) · gates in the order i f g o · state (2, B, H) = (h, c)
Source:  Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Jozefowicz et al. 2015 (its bias starts at 1).
         PyTorch has a second, redundant bias; its gates are in the same order.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch, times
from charrnn.nn import compiled
from charrnn.nn.cells.base import (
    SIGMOID,
    TANH,
    Cell,
    blocks,
    by_gate,
    carry_mask,
    input_table,
    multiply_by_gate,
    read_steps,
)
from charrnn.nn.functional import project, project_backward
from charrnn.nn.initializers import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer; the forget gate's bias starts at one, the others at zero."""
    b_h = np.zeros(4 * H)
    b_h[H : 2 * H] = 1
    return {
        "W_xh": np.hstack([init.inputs(rng, D, H) for _ in range(4)]),
        "W_hh": np.hstack([init.recurrent(rng, H, H) for _ in range(4)]),
        "b_h": b_h,
    }


def prepare(params: Params) -> Params:
    """Add copies of the weights in which those of the sigmoid gates are halved: sigmoid(a) = tanh(a / 2) / 2 + 1/2.

    One tanh over all four gates then replaces three sigmoids and a tanh: gate = slope * tanh(a_half) + shift. Bias,
    slope and shift are rows (1, 4H), because NumPy adds a row to a single row three times as fast as a vector.
    """
    H = len(params["W_hh"])
    half = np.repeat(np.array([[0.5, 0.5, 1, 0.5]], params["b_h"].dtype), H, axis=1)
    scaled = {f"{name}_half": times(array, half) for name, array in params.items()}
    packed = compiled.packed(W_hh=scaled["W_hh_half"])
    return params | scaled | packed | {"slope": half, "shift": 1 - half}


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xh, W_hh, W_hh_half = weights["W_xh"], weights["W_hh"], weights["W_hh_half"]
    T, B = x.shape[:2]
    H, dtype = len(W_hh), W_hh.dtype
    gates = scratch.empty("gates", (T, B, 4 * H), dtype)  # first x_t W_xh + b_h, then i f g o
    project(x, weights["W_xh_half"], weights["b_h_half"], gates)
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t], c[t] are the state before step t
    c = scratch.empty("c", (T + 1, B, H), dtype)
    tanh_c = scratch.empty("tanh_c", (T, B, H), dtype)
    keep = carry_mask(reset)
    h[0], c[0] = state
    if not compiled.forward("lstm", (T, B, H), keep, weights.get("W_hh_packed"), gates, h, c, tanh_c):
        recurrent = scratch.empty("recurrent", (B, 4 * H), dtype)
        ig = scratch.empty("ig", (B, H), dtype)
        slope, shift = weights["slope"], weights["shift"]
        for t in range(T):
            h_prev = h[t]
            if keep is not None:
                h_prev = h_prev * keep[t]
                c[t] *= keep[t]
            np.matmul(h_prev, W_hh_half, out=recurrent)
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

        dh_t = dh[t] + dh_next
        dc_t = dc_next + dh_t * o * (1 - tanh(c_t)^2)
        da_i = dc_t * g * i * (1 - i)       da_f = dc_t * c_{t-1} * f * (1 - f)
        da_g = dc_t * i * (1 - g^2)         da_o = dh_t * tanh(c_t) * o * (1 - o)
        then, for step t - 1:   dh_next = da_t W_hh^T   dc_next = dc_t * f
        summed over the steps:  dW_xh = x_t^T da_t   dW_hh = h_{t-1}^T da_t   db_h = da_t

        All factors but dh_t and dc_t are known beforehand: `slopes` writes them, for a block of steps at once.
        """
        da = scratch.empty("da", (T, B, 4 * H), dtype)  # first the slopes of each gate, then da
        dh_next, dc = dstate[0].copy(), dstate[1].copy()
        if not compiled.backward("lstm", (T, B, H), keep, W_hh, dh, gates, c, tanh_c, dh_next, dc, da):
            dh_dc = scratch.empty("dh_dc", (T, B, H), dtype)
            d = scratch.empty("d", (B, H), dtype)
            W_hh_T = np.ascontiguousarray(W_hh.T)  # with few rows, BLAS multiplies by a copy faster than by a view
            for block in reversed(blocks(T, B * 4 * H)):
                slopes(gates[block], c[block], tanh_c[block], h[1:][block], da[block], dh_dc[block])
                for t in reversed(range(T)[block]):
                    dh_next += dh[t]
                    np.multiply(dh_next, dh_dc[t], out=d)
                    dc += d
                    da_ifg, da_o = da[t, :, : 3 * H].reshape(B, 3, H), da[t, :, 3 * H :]
                    da_ifg *= dc[:, None]
                    da_o *= dh_next
                    dc *= gates[t, :, H : 2 * H]
                    np.matmul(da[t], W_hh_T, out=dh_next)
                    if keep is not None:  # no gradient crosses a reset
                        dh_next *= keep[t]
                        dc *= keep[t]
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        dx, dW_xh, db_h = project_backward(x, W_xh, da)
        dW_hh = h_prev.reshape(-1, H).T @ da.reshape(-1, 4 * H)
        return dx, np.stack((dh_next, dc)), {"W_xh": dW_xh, "W_hh": dW_hh, "b_h": db_h}

    return h[1:], np.array((h[T], c[T])), backprop


def slopes(gates: Array, c_prev: Array, tanh_c: Array, h: Array, da: Array, dh_dc: Array) -> None:
    """Write the derivatives that the backward pass multiplies by dc and dh, for several steps at once.

    dc/da_i = g * i * (1 - i)           dc/da_f = c_{t-1} * f * (1 - f)
    dc/da_g = i * (1 - g^2)             dh/da_o = tanh(c) * o * (1 - o)
    dh/dc   = o * (1 - tanh(c)^2) = o - h * tanh(c)

    The first four go side by side into `da`. `lnlstm` uses this too; there the tanh is not of c itself but of its
    normalised value, and `dh_dc` is the derivative with respect to that.
    Shapes:  gates, da (T, B, 4H) · c_prev, tanh_c, h, dh_dc (T, B, H)
    """
    H = c_prev.shape[-1]
    i, _, g, o = (gates[..., k * H : (k + 1) * H] for k in range(4))
    d_i, d_f, d_g, d_o = (da[..., k * H : (k + 1) * H] for k in range(4))
    np.multiply(gates, gates, out=da)
    np.subtract(gates[..., : 2 * H], da[..., : 2 * H], out=da[..., : 2 * H])  # i - i^2 and f - f^2
    np.subtract(1, d_g, out=d_g)  # 1 - g^2
    np.subtract(o, d_o, out=d_o)  # o - o^2
    for slope, factor in ((d_i, g), (d_f, c_prev), (d_g, i), (d_o, tanh_c)):
        slope *= factor
    np.multiply(h, tanh_c, out=dh_dc)
    np.subtract(o, dh_dc, out=dh_dc)


def read(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> Array:
    """Run one layer over a window, without a backward pass; see `cells.base` for the contract."""
    W, b = weights["W_xh_half"], weights["b_h_half"]
    return read_steps(step, weights, x, W, b, len(weights["W_hh"]), state, reset, scratch)


def step(weights: Params, a: Array, state: Array) -> None:
    """Take one step in place, given the inputs' share of a."""
    h, c = state[0], state[1]
    a += multiply_by_gate(h, weights["W_hh_half"])
    activate(weights, a)
    i, f, g, o = a
    c *= f
    i *= g
    c += i
    np.tanh(c, out=h)
    h *= o


def activate(weights: Params, a: Array) -> None:
    """Turn pre-activations a (4, B, H), halved for the sigmoid gates, into the gates, in place."""
    slope, shift = weights["slope"], weights["shift"]
    if a.shape[1] == 1:
        slope, shift = slope.reshape(a.shape), shift.reshape(a.shape)
    else:  # NumPy repeats a number for each gate faster than a row for each batch row
        slope, shift = by_gate(slope, a.shape[2])[..., :1], by_gate(shift, a.shape[2])[..., :1]
    np.tanh(a, out=a)
    a *= slope
    a += shift


def layer(weights: Params, x: Array | Ids | None) -> compiled.Layer:
    """Return what the compiled core reads; see `cells.base` for the contract."""
    W, b = weights["W_xh_half"], weights["b_h_half"]
    inputs = compiled.pack(W) if x is None else input_table(x, W, b)
    return compiled.Layer("lstm", inputs, b, weights["W_hh_packed"])


CELL = Cell(
    n_states=2,
    init_params=init_params,
    prepare=prepare,
    forward=forward,
    read=read,
    layer=layer,
    gates={"i": SIGMOID, "f": SIGMOID, "g": TANH, "o": SIGMOID},
)
