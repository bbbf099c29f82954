"""The LSTM with layer normalisation.

LN(v) = (v - mean(v)) / sqrt(mean((v - mean(v))^2) + 1e-5)
[a_i a_f a_g a_o] = gain_x * LN(x_t W_xh) + gain_h * LN(h_{t-1} W_hh) + b_h
i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
c_t = f * c_{t-1} + i * g
a_c = gain_c * LN(c_t) + b_c
h_t = o * tanh(a_c)

The mean is over all 4H numbers of a product, or over the H of c. With n = LN(v) and its scale 1 / sqrt(...):
dv = scale * (d - mean(d)), where d = dn - n * mean(dn * n)
The mean of v W equals v times the means of the columns of W. So both matrices are centred once, in `prepare`, and their
gradients once, after the last step; within the loop only c has a mean to subtract.

Shapes:  W_xh (D, 4H) · W_hh (H, 4H) · gain_x, gain_h, b_h (4H,) · gain_c, b_c (H,) · gates in the order i f g o
         state (2, B, H) = (h, c)
Source:  Ba, Kiros & Hinton 2016, where all gains start at 1; here gain_x starts at 2 (docs/choices.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.nn import compiled
from charrnn.nn.cells.base import SIGMOID, TANH, Cell, blocks, by_gate, carry_mask, read_steps
from charrnn.nn.cells.lstm import activate, slopes
from charrnn.nn.functional import project, sum_rows
from charrnn.nn.initializers import Init

#: The backward pass of the inputs: da (T, B, 4H) -> dx or None, grads.
InputsBackprop: TypeAlias = Callable[[Array], tuple[Array | None, Params]]
#: The backward pass of the recurrence: (dh (T, B, H), dstate (2, B, H)) -> da (T, B, 4H), dstate0 (2, B, H), grads.
RecurrenceBackprop: TypeAlias = Callable[[Array, Array], tuple[Array, Array, Params]]

_EPSILON = 1e-5  # PyTorch's value; the paper gives none


def init_params(D: int, H: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights of one layer; gains start at one, gain_x at two; biases at zero, the forget gate's at one."""
    b_h = np.zeros(4 * H)
    b_h[H : 2 * H] = 1
    return {
        "W_xh": np.hstack([init.inputs(rng, D, H) for _ in range(4)]),
        "W_hh": np.hstack([init.recurrent(rng, H, H) for _ in range(4)]),
        "gain_x": np.full(4 * H, 2.0),
        "gain_h": np.ones(4 * H),
        "b_h": b_h,
        "gain_c": np.ones(H),
        "b_c": np.zeros(H),
    }


def prepare(params: Params) -> Params:
    """Add the centred matrices, the normalised rows of W_xh, and the halves that let one tanh serve all gates.

    The halves are explained in `lstm.prepare`. `n_rows` is LN(x W_xh) for each id.
    """
    H = len(params["W_hh"])
    half = np.repeat(np.array([[0.5, 0.5, 1, 0.5]], params["b_h"].dtype), H, axis=1)
    weights = params | {f"{name}_half": params[name] * half for name in ("gain_x", "gain_h", "b_h")}
    weights |= {f"{name}_centred": centred(params[name]) for name in ("W_xh", "W_hh")}
    weights |= compiled.packed(W_hh=weights["W_hh_centred"])
    weights["n_rows"] = weights["W_xh_centred"].copy()
    weights["scale_rows"] = normalise(weights["n_rows"])
    weights["rows_half"] = weights["n_rows"] * weights["gain_x_half"]
    return weights | {"slope": half, "shift": 1 - half, "share": np.full_like(params["b_c"], 1 / H)}


def forward(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Array, Backprop]:
    """Run one layer over a window: the inputs, then the recurrence; see `cells.base` for the contract."""
    b_h = weights["b_h"]
    gates = scratch.empty("gates", (*x.shape[:2], len(b_h)), b_h.dtype)
    inputs_backprop = inputs(weights, x, gates, scratch)
    h, state, recurrence_backprop = recurrence(weights, gates, state, carry_mask(reset), scratch)

    def backprop(dh: Array, dstate: Array) -> tuple[Array | None, Array, Params]:
        da, dstate0, grads = recurrence_backprop(dh, dstate)
        dx, input_grads = inputs_backprop(da)
        return dx, dstate0, grads | input_grads

    return h, state, backprop


def inputs(weights: Params, x: Array | Ids, out: Array, scratch: Scratch) -> InputsBackprop:
    """Write gain_x * LN(x W_xh) + b_h into `out`, halved for the sigmoid gates; return the backward pass.

    For ids, the rows of W_xh are normalised instead of the products: there are fewer of them.
    Shapes:  x (T, B, D) float or (T, B) ids · out (T, B, 4H)
    """
    W_xh, gain, gain_half, b_half = (weights[name] for name in ("W_xh_centred", "gain_x", "gain_x_half", "b_h_half"))
    ids = cast(Ids, x.reshape(-1)) if x.dtype.kind in "iu" else None
    if ids is not None:
        n, scale = weights["n_rows"], weights["scale_rows"]
        project(x, weights["rows_half"], b_half, out)
    else:
        flat = out.reshape(-1, len(gain))
        n, scale = scratch.empty("n_x", flat.shape, out.dtype), scratch.empty("scale_x", (len(flat), 1), out.dtype)
        np.matmul(x.reshape(-1, len(W_xh)), W_xh, out=n)
        if core := compiled.core():
            core.normalise_rows(*n.shape, n, scale, gain_half, b_half, flat)
        else:
            for block in blocks(*n.shape):
                scale[block] = normalise(n[block])
                np.multiply(n[block], gain_half, out=flat[block])
                flat[block] += b_half

    def backprop(da: Array) -> tuple[Array | None, Params]:
        """Apply the chain rule, with n_x = LN(x W_xh) and q_x = x W_xh.

        dn_x = da * gain_x                  dgain_x = da * n_x      db_h = da
        dq_x = scale_x * (dn_x - n_x * mean(dn_x * n_x))
        dx = dq_x W_xh^T                    dW_xh = x^T dq_x, centred
        """
        da = da.reshape(-1, len(gain))
        if ids is not None:
            da = sum_rows(ids, da, len(W_xh))
        dq = scratch.empty("dq_x", da.shape, da.dtype)
        if core := compiled.core():
            core.normalise_rows_back(*dq.shape, da, n, scale, gain, dq)
        else:
            for block in blocks(*dq.shape):
                np.multiply(da[block], gain, out=dq[block])
                remove_component(dq[block], n[block])
                dq[block] *= scale[block]
        grads = {"gain_x": gain_gradient(da, n), "b_h": da.sum(axis=0)}
        if ids is not None:
            return None, grads | {"W_xh": centred(dq)}
        return (dq @ W_xh.T).reshape(x.shape), grads | {"W_xh": centred(x.reshape(-1, len(W_xh)).T @ dq)}

    return backprop


def recurrence(
    weights: Params, gates: Array, state: Array, keep: Mask | None, scratch: Scratch
) -> tuple[Array, Array, RecurrenceBackprop]:
    """Run the steps of a window; `gates` contains the inputs' share of a and is overwritten with i f g o.

    Shapes:  gates (T, B, 4H) · state (2, B, H) · keep (T, B, 1) or None · returns h (T, B, H), state (2, B, H)
    """
    W_hh, gain_h, gain_h_half = weights["W_hh_centred"], weights["gain_h"], weights["gain_h_half"]
    gain_c, b_c, share = weights["gain_c"], weights["b_c"], weights["share"]
    T, B = gates.shape[:2]
    H, dtype = len(W_hh), W_hh.dtype
    h = scratch.empty("h", (T + 1, B, H), dtype)  # h[t], c[t] are the state before step t
    c = scratch.empty("c", (T + 1, B, H), dtype)
    n_h, scale_h = scratch.empty("n_h", (T, B, 4 * H), dtype), scratch.empty("scale_h", (T, B, 1), dtype)
    n_c, scale_c = scratch.empty("n_c", (T, B, H), dtype), scratch.empty("scale_c", (T, B, 1), dtype)
    tanh_c = scratch.empty("tanh_c", (T, B, H), dtype)  # tanh(a_c)
    shape, normalised = (T, B, H), (n_h, scale_h, n_c, scale_c, tanh_c)
    h[0], c[0] = state
    if not compiled.forward(
        "lnlstm", shape, keep, weights.get("W_hh_packed"), gain_h_half, gain_c, b_c, gates, h, c, *normalised
    ):
        a = scratch.empty("a", (B, 4 * H), dtype)
        ig = scratch.empty("ig", (B, H), dtype)
        slope, shift = weights["slope"], weights["shift"]
        for t in range(T):
            h_prev = h[t]
            if keep is not None:
                h_prev = h_prev * keep[t]
                c[t] *= keep[t]
            np.matmul(h_prev, W_hh, out=n_h[t])
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

    def backprop(dh: Array, dstate: Array) -> tuple[Array, Array, Params]:
        """Apply the chain rule from the last step to the first, with n_h = LN(q), q = h_{t-1} W_hh and n_c = LN(c_t).

        dh_t = dh[t] + dh_next
        da_c = dh_t * o * (1 - tanh(a_c)^2)
        d    = da_c * gain_c - n_c * mean(da_c * gain_c * n_c)
        dc_t = dc_next + scale_c * (d - mean(d))
        da_i, da_f, da_g, da_o as in `lstm`, from dc_t and dh_t
        dn_h = da_t * gain_h
        dq   = scale_h * (dn_h - n_h * mean(dn_h * n_h))
        then, for step t - 1:   dh_next = dq W_hh^T   dc_next = dc_t * f
        summed over the steps:  dW_hh = h_{t-1}^T dq, centred   dgain_h = da * n_h   dgain_c = da_c * n_c   db_c = da_c
        """
        da = scratch.empty("da", (T, B, 4 * H), dtype)  # first the slopes of each gate, then da
        dq = scratch.empty("dq", (T, B, 4 * H), dtype)  # without the factor scale_h, which is cheaper to apply later
        da_c = scratch.empty("da_c", (T, B, H), dtype)  # first the slope of h over a_c, then da_c
        d = scratch.empty("d", (B, H), dtype)
        dh_next, dc = dstate[0].copy(), dstate[1].copy()
        if not compiled.backward(
            "lnlstm", shape, keep, W_hh, dh, gain_h, gain_c, gates, c, *normalised, dh_next, dc, da, dq, da_c, d
        ):
            W_hh_T = np.ascontiguousarray(W_hh.T)  # with few rows, BLAS multiplies by a copy faster than by a view
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
                    np.matmul(dq[t], W_hh_T, out=dh_next)
                    dh_next *= scale_h[t]
                    if keep is not None:  # no gradient crosses a reset
                        dh_next *= keep[t]
                        dc *= keep[t]
        scaled = h[:-1] * (scale_h if keep is None else scale_h * keep)
        dW_hh = scaled.reshape(-1, H).T @ dq.reshape(-1, 4 * H)
        grads = {"W_hh": centred(dW_hh), "gain_h": gain_gradient(da, n_h)}
        grads |= {"gain_c": gain_gradient(da_c, n_c), "b_c": da_c.sum(axis=(0, 1))}
        return da, np.stack((dh_next, dc)), grads

    return h[1:], np.array((h[T], c[T])), backprop


def centred(W: Array) -> Array:
    """Return the matrix minus the mean of each row."""
    result: Array = W - W.mean(axis=1, keepdims=True)
    return result


def normalise(v: Array) -> Array:
    """Divide rows of mean zero by their standard deviation, in place; return the factors, (..., 1)."""
    scale: Array = 1 / np.sqrt(np.vecdot(v, v) / v.shape[-1] + _EPSILON)[..., None]
    v *= scale
    return scale


def remove_component(dn: Array, n: Array) -> None:
    """Subtract n * mean(dn * n) from dn, in place: LN(v) does not depend on the length of v."""
    dn -= n * (np.vecdot(dn, n) / n.shape[-1])[..., None]


def gain_gradient(da: Array, n: Array) -> Array:
    """Return da * n summed over all steps and batch rows."""
    K = n.shape[-1]
    result: Array = np.einsum("nk,nk->k", da.reshape(-1, K), n.reshape(-1, K))
    return result


def read(
    weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> Array:
    """Run one layer over a window, without a backward pass; see `cells.base` for the contract."""
    if x.dtype.kind in "iu":
        return read_steps(
            step, weights, x, weights["rows_half"], weights["b_h_half"], len(weights["b_h"]), state, reset, scratch
        )
    return read_steps(
        step_from_product, weights, x, weights["W_xh_centred"], None, len(weights["b_h"]), state, reset, scratch
    )


def step(weights: Params, a: Array, state: Array) -> None:
    """Take one step in place, given the inputs' share of a."""
    h, c = state[0], state[1]
    H = h.shape[1]
    a = a[0]
    recurrent = h.dot(weights["W_hh_centred"])
    normalise(recurrent)
    recurrent *= weights["gain_h_half"]
    a += recurrent
    gates = np.ascontiguousarray(by_gate(a, H))
    activate(weights, gates)
    i, f, g, o = gates
    c *= f
    i *= g
    c += i
    np.subtract(c, np.vecdot(c, weights["share"])[:, None], out=h)
    normalise(h)
    h *= weights["gain_c"]
    h += weights["b_c"]
    np.tanh(h, out=h)
    h *= o


def step_from_product(weights: Params, q_x: Array, state: Array) -> None:
    """Take one step in place, given x W_xh."""
    normalise(q_x)
    q_x *= weights["gain_x_half"]
    q_x += weights["b_h_half"]
    step(weights, q_x, state)


def layer(weights: Params, x: Array | Ids | None) -> compiled.Layer:
    """Return what the compiled core reads; see `cells.base` for the contract."""
    if x is None:
        table = compiled.pack(weights["W_xh_centred"])
    else:
        table = np.empty((len(x), 1, len(weights["b_h"])), weights["b_h"].dtype)
        inputs(weights, x, table, FRESH)
    return compiled.Layer(
        cell="lnlstm",
        inputs=table,
        bias=weights["b_h_half"],
        W_hh=weights["W_hh_packed"],
        gain_x=weights["gain_x_half"],
        gain_h=weights["gain_h_half"],
        gain_c=weights["gain_c"],
        b_c=weights["b_c"],
    )


CELL = Cell(
    n_states=2,
    init_params=init_params,
    prepare=prepare,
    forward=forward,
    read=read,
    layer=layer,
    gates={"i": SIGMOID, "f": SIGMOID, "g": TANH, "o": SIGMOID},
)
