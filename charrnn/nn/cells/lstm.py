"""The long short-term memory with a forget gate.

[a_i a_f a_g a_o] = x_t W_xh + h_{t-1} W_hh + b_h
i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
c_t = f * c_{t-1} + i * g
h_t = o * tanh(c_t)

Shapes:  W_xh (D, 4H) · W_hh (H, 4H) · b_h (4H,) · gates in the order i f g o · state (2, B, H) = (h, c)
Source:  Hochreiter & Schmidhuber 1997; Gers et al. 2000 (forget gate); Jozefowicz et al. 2015 (its bias begins at 1).
         PyTorch's LSTM has a second bias, which adds nothing; the gates' order is the same.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.nn import compiled
from charrnn.nn.cells.base import SIGMOID, TANH, Cell, blocks_back, kept, lstm_slopes
from charrnn.nn.functional import project, project_backward
from charrnn.nn.initializers import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer; biases begin at zero, but the forget gate's at one."""
    b_h = np.zeros(4 * H)
    b_h[H : 2 * H] = 1
    return {
        "W_xh": np.hstack([init.inputs(rng, D, H) for _ in range(4)]),
        "W_hh": np.hstack([init.recurrent(rng, H, H) for _ in range(4)]),
        "b_h": b_h,
    }


def prepare(params: Params) -> Params:
    """Add copies of the weights with the sigmoid gates' half of `sigmoid(a) = tanh(a / 2) / 2 + 1/2` folded in.

    One tanh over all four gates then does the work of three sigmoids and a tanh. Biases, slope and shift are rows
    (1, 4H), because NumPy adds a row to a single one three times as fast as a vector.
    """
    H = len(params["W_hh"])
    half = np.repeat(np.array([[0.5, 0.5, 1, 0.5]], params["b_h"].dtype), H, axis=1)
    scaled = {f"{name}_half": array * half for name, array in params.items()}
    return params | scaled | {"slope": half, "shift": 1 - half}


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xh, W_hh, W_hh_half = weights["W_xh"], weights["W_hh"], weights["W_hh_half"]
    T, B = x.shape[:2]
    H, dtype = len(W_hh), W_hh.dtype
    gates = scratch.empty("gates", (T, B, 4 * H), dtype)  # first the pre-activations, then i f g o
    project(x, weights["W_xh_half"], weights["b_h_half"], gates)
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t], c[t] are the state before step t
    c = scratch.empty("c", (T + 1, B, H), dtype)
    tanh_c = scratch.empty("tanh_c", (T, B, H), dtype)
    recurrent = scratch.empty("recurrent", (B, 4 * H), dtype)
    ig = scratch.empty("ig", (B, H), dtype)
    slope, shift = weights["slope"], weights["shift"]
    keep = kept(reset)
    step, step_back = compiled.step_pair(T, B, dtype, compiled.lstm_step, compiled.lstm_step_back)
    h[0], c[0] = state
    for t in range(T):
        h_prev = h[t]
        if keep is not None:
            h_prev = h_prev * keep[t]
            c[t] *= keep[t]
        np.matmul(h_prev, W_hh_half, out=recurrent)
        if step is not None:
            step(t, recurrent, gates, c, tanh_c, h)
            continue
        recurrent += gates[t]
        np.tanh(recurrent, out=recurrent)
        recurrent *= slope  # 1/2 and 1/2 make tanh(a / 2) the sigmoid; 1 and 0 leave g as it is
        np.add(recurrent, shift, out=gates[t])
        i, f, g, o = gates[t].reshape(B, 4, H).swapaxes(0, 1)
        np.multiply(f, c[t], out=c[t + 1])
        np.multiply(i, g, out=ig)
        c[t + 1] += ig
        np.tanh(c[t + 1], out=tanh_c[t])
        np.multiply(o, tanh_c[t], out=h[t + 1])

    def backprop(dh: Array, dstate: Array) -> tuple[Array | None, Array, Params]:
        da = scratch.empty("da", (T, B, 4 * H), dtype)  # first the slopes by which dc and dh reach each gate
        through = scratch.empty("through", (T, B, H), dtype)  # the slope by which dh reaches dc
        d = scratch.empty("d", (B, H), dtype)
        W_hh_T = np.ascontiguousarray(W_hh.T)  # BLAS multiplies few rows by it faster than by a transposed view
        dh_next, dc = dstate[0].copy(), dstate[1].copy()
        for block in blocks_back(T, B * 4 * H):
            if step_back is None:
                lstm_slopes(gates[block], c[block], tanh_c[block], h[1:][block], da[block], through[block])
            for t in reversed(range(T)[block]):
                if step_back is not None:
                    step_back(t, dh, dh_next, dc, gates, c, tanh_c, da)
                else:
                    dh_next += dh[t]
                    np.multiply(dh_next, through[t], out=d)
                    dc += d
                    da_ifg, da_o = da[t, :, : 3 * H].reshape(B, 3, H), da[t, :, 3 * H :]
                    da_ifg *= dc[:, None]
                    da_o *= dh_next
                    dc *= gates[t, :, H : 2 * H]
                np.matmul(da[t], W_hh_T, out=dh_next)
                if keep is not None:
                    dh_next *= keep[t]
                    dc *= keep[t]
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        dx, dW_xh, db_h = project_backward(x, W_xh, da)
        dW_hh = h_prev.reshape(-1, H).T @ da.reshape(-1, 4 * H)
        return dx, np.stack((dh_next, dc)), {"W_xh": dW_xh, "W_hh": dW_hh, "b_h": db_h}

    return h[1:], np.array((h[T], c[T])), backprop


def step(weights: Params, x: Array | Ids, state: Array) -> None:
    """Take one step without a way back; see `cells.base` for the contract."""
    h, c = state[0], state[1]
    B, H = h.shape
    gates = project(x, weights["W_xh_half"], weights["b_h_half"], np.empty((B, 4 * H), h.dtype))
    gates += h.dot(weights["W_hh_half"])
    np.tanh(gates, out=gates)
    gates *= weights["slope"]
    gates += weights["shift"]
    i, f, g, o = gates[:, :H], gates[:, H : 2 * H], gates[:, 2 * H : 3 * H], gates[:, 3 * H :]
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
    step=step,
    gates={"i": SIGMOID, "f": SIGMOID, "g": TANH, "o": SIGMOID},
)
