"""The multiplicative LSTM with layer normalisation: `mlstm` with the gates of `lnlstm`.

LN(v) as in `lnlstm`
[W_xa W_xm] = W_xh   [W_ma W_hm] = W_hh
m_t = (x_t W_xm) * (h_{t-1} W_hm)
[a_i a_f a_g a_o] = gain_x * LN(x_t W_xa) + gain_h * LN(m_t W_ma) + b_h
i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
c_t = f * c_{t-1} + i * g
a_c = gain_c * LN(c_t) + b_c
h_t = o * tanh(a_c)

Shapes:  W_xh (D, 5H) · W_hh (H, 5H) · in the order i f g o m · gain_x, gain_h, b_h (4H,) · gain_c, b_c (H,)
         state (2, B, H) = (h, c)
Source:  Krause et al. 2016; Ba, Kiros & Hinton 2016. Their combination is measured in docs/ablations.md.
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.nn import compiled
from charrnn.nn.cells import lnlstm, mlstm
from charrnn.nn.cells.base import SIGMOID, TANH, Cell, blocks, carry_mask
from charrnn.nn.cells.lnlstm import centred, gain_gradient, normalise, remove_component
from charrnn.nn.cells.lstm import slopes
from charrnn.nn.functional import project, project_backward
from charrnn.nn.initializers import Init


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer: those of `mlstm`, with the gains and biases of `lnlstm`."""
    return lnlstm.init_params(D, H, rng, init) | mlstm.init_params(D, H, rng, init)


def prepare(params: Params) -> Params:
    """Split the matrices: W_xa and W_ma become those of an `lnlstm`, with what that adds."""
    K = 4 * len(params["W_hh"])
    gates, m = ({name: params[name][:, part] for name in ("W_xh", "W_hh")} for part in (np.s_[:K], np.s_[K:]))
    return lnlstm.prepare(params | gates) | {"W_xm": m["W_xh"], "W_hm": m["W_hh"]} | compiled.packed(W_hm=m["W_hh"])


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window; see `cells.base` for the contract."""
    W_xm, W_hm, W_ma = weights["W_xm"], weights["W_hm"], weights["W_hh_centred"]
    gain_h, gain_h_half, gain_c, b_c = (weights[name] for name in ("gain_h", "gain_h_half", "gain_c", "b_c"))
    T, B = x.shape[:2]
    H, dtype, share = len(W_ma), W_ma.dtype, weights["share"]
    gates = scratch.empty("gates", (T, B, 4 * H), dtype)  # first the inputs' share of a, then i f g o
    inputs_backprop = lnlstm.inputs(weights, x, gates, scratch)
    from_x = project(x, W_xm, None, scratch.empty("from_x", (T, B, H), dtype))  # x_t W_xm
    from_h = scratch.empty("from_h", (T, B, H), dtype)  # h_{t-1} W_hm
    m = scratch.empty("m", (T, B, H), dtype)
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t], c[t] are the state before step t
    c = scratch.empty("c", (T + 1, B, H), dtype)
    n_h, scale_h = scratch.empty("n_h", (T, B, 4 * H), dtype), scratch.empty("scale_h", (T, B, 1), dtype)
    n_c, scale_c = scratch.empty("n_c", (T, B, H), dtype), scratch.empty("scale_c", (T, B, 1), dtype)
    tanh_c = scratch.empty("tanh_c", (T, B, H), dtype)  # tanh(a_c)
    shape, normalised = (T, B, H), (n_h, scale_h, n_c, scale_c, tanh_c)
    keep = carry_mask(reset)
    h[0], c[0] = state
    W_ma_packed, W_hm_packed = weights.get("W_hh_packed"), weights.get("W_hm_packed", W_hm)
    if not compiled.forward(
        "lnmlstm",
        shape,
        keep,
        W_ma_packed,
        *(W_hm_packed, gain_h_half, gain_c, b_c),
        *(gates, from_x, h, c, from_h, m, *normalised),
    ):
        a = scratch.empty("a", (B, 4 * H), dtype)
        ig = scratch.empty("ig", (B, H), dtype)
        slope, shift = weights["slope"], weights["shift"]
        for t in range(T):
            h_prev = h[t]
            if keep is not None:
                h_prev = h_prev * keep[t]
                c[t] *= keep[t]
            np.matmul(h_prev, W_hm, out=from_h[t])
            np.multiply(from_x[t], from_h[t], out=m[t])
            np.matmul(m[t], W_ma, out=n_h[t])
            scale_h[t] = normalise(n_h[t])
            np.multiply(n_h[t], gain_h_half, out=a)
            a += gates[t]
            np.tanh(a, out=a)
            a *= slope  # 1/2 for the sigmoids, and 1 for g
            np.add(a, shift, out=gates[t])  # likewise 1/2, and 0
            i, f, g, o = gates[t].reshape(B, 4, H).swapaxes(0, 1)
            np.multiply(f, c[t], out=c[t + 1])
            np.multiply(i, g, out=ig)
            c[t + 1] += ig
            np.subtract(c[t + 1], np.vecdot(c[t + 1], share)[:, None], out=n_c[t])
            scale_c[t] = normalise(n_c[t])
            np.multiply(n_c[t], gain_c, out=tanh_c[t])
            tanh_c[t] += b_c
            np.tanh(tanh_c[t], out=tanh_c[t])
            np.multiply(o, tanh_c[t], out=h[t + 1])

    def backprop(dh: Array, dstate: Array) -> tuple[Array | None, Array, Params]:
        """Apply the chain rule from the last step to the first.

        From dh[t] to dq, the gradient of m_t W_ma, as in `lnlstm`; then
        dm_t      = dq W_ma^T
        dfrom_x_t = dm_t * from_h_t         dfrom_h_t = dm_t * from_x_t
        for step t - 1:         dh_next = dfrom_h_t W_hm^T   dc_next = dc_t * f
        summed over the steps:  dW_ma = m_t^T dq, centred   dW_xm = x_t^T dfrom_x_t   dW_hm = h_{t-1}^T dfrom_h_t
        """
        da = scratch.empty("da", (T, B, 4 * H), dtype)  # first the slopes of each gate, then da
        dq = scratch.empty("dq", (T, B, 4 * H), dtype)  # without the factor scale_h, which is cheaper to apply later
        da_c = scratch.empty("da_c", (T, B, H), dtype)  # first the slope of h over a_c, then da_c
        dfrom_x, dfrom_h = scratch.empty("dfrom_x", (T, B, H), dtype), scratch.empty("dfrom_h", (T, B, H), dtype)
        d = scratch.empty("d", (B, H), dtype)
        dh_next, dc = dstate[0].copy(), dstate[1].copy()
        given = (gain_h, gain_c, gates, c, from_x, from_h, *normalised)
        written = (dh_next, dc, da, dq, da_c, d, dfrom_x, dfrom_h)
        packed = compiled.packed(W_hm_T=W_hm.T).values()
        if not compiled.backward("lnmlstm", shape, keep, W_ma, dh, *packed, *given, *written):
            W_ma_T, W_hm_T = np.ascontiguousarray(W_ma.T), np.ascontiguousarray(W_hm.T)
            for block in reversed(blocks(T, B * 4 * H)):
                slopes(gates[block], c[block], tanh_c[block], h[1:][block], da[block], da_c[block])
                for t in reversed(range(T)[block]):
                    dh_next += dh[t]
                    da_c[t] *= dh_next
                    np.multiply(da_c[t], gain_c, out=d)
                    remove_component(d, n_c[t])
                    d -= np.vecdot(d, share)[:, None]
                    d *= scale_c[t]
                    dc += d
                    da_ifg, da_o = da[t, :, : 3 * H].reshape(B, 3, H), da[t, :, 3 * H :]
                    da_ifg *= dc[:, None]
                    da_o *= dh_next
                    dc *= gates[t, :, H : 2 * H]
                    np.multiply(da[t], gain_h, out=dq[t])
                    remove_component(dq[t], n_h[t])
                    np.matmul(dq[t], W_ma_T, out=d)
                    d *= scale_h[t]  # dm_t
                    np.multiply(d, from_h[t], out=dfrom_x[t])
                    np.multiply(d, from_x[t], out=dfrom_h[t])
                    np.matmul(dfrom_h[t], W_hm_T, out=dh_next)
                    if keep is not None:  # no gradient crosses a reset
                        dh_next *= keep[t]
                        dc *= keep[t]
        dx, grads = inputs_backprop(da)
        more_dx, dW_xm, _ = project_backward(x, W_xm, dfrom_x)
        if dx is not None and more_dx is not None:
            dx += more_dx
        h_prev = h[:-1] if keep is None else h[:-1] * keep
        dW_ma = centred((m * scale_h).reshape(-1, H).T @ dq.reshape(-1, 4 * H))
        dW_hm = h_prev.reshape(-1, H).T @ dfrom_h.reshape(-1, H)
        grads |= {"W_xh": np.hstack((grads["W_xh"], dW_xm)), "W_hh": np.hstack((dW_ma, dW_hm))}
        grads |= {"gain_h": gain_gradient(da, n_h), "gain_c": gain_gradient(da_c, n_c), "b_c": da_c.sum(axis=(0, 1))}
        return dx, np.stack((dh_next, dc)), grads

    return h[1:], np.array((h[T], c[T])), backprop


def layer(weights: Params, x: Array | Ids | None) -> compiled.Layer:
    """Return what the compiled core reads; see `cells.base` for the contract."""
    W_xm = weights["W_xm"]
    inputs_m = (
        compiled.pack(W_xm) if x is None else project(x, W_xm, None, np.empty((len(x), 1, W_xm.shape[1]), W_xm.dtype))
    )
    return lnlstm.layer(weights, x)._replace(cell="lnmlstm", inputs_m=inputs_m, W_hm=weights["W_hm_packed"])


CELL = Cell(
    n_states=2,
    init_params=init_params,
    prepare=prepare,
    forward=forward,
    layer=layer,
    gates={"i": SIGMOID, "f": SIGMOID, "g": TANH, "o": SIGMOID},
)
