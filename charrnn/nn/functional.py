"""Small pure functions over arrays: the products that take ids as well as floats, the softmax and the loss."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from charrnn.arrays import Array, Ids, Mask
from charrnn.nn import compiled

#: Up to this many symbols a one-hot matrix product sums rows faster than sorting them (measured at 3,200 rows).
ONE_HOT_LIMIT = 512


def bits(nats: float) -> float:
    """Convert nats to bits."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Return exp(nats), the effective number of characters a model chooses among; infinity if it overflows."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)), elementwise, without overflow at either end.

    sigmoid(a) = tanh(a / 2) / 2 + 1/2
    """
    result: Array = 0.5 * np.tanh(0.5 * a) + 0.5
    return result


def log_prob(logits: Array, targets: Ids) -> tuple[Array, Mask]:
    """Return the log-probability of each target, and whether it is the likeliest symbol (of equals, the first).

    log p = z[target] - max(z) - log(sum(exp(z - max(z))))
    Shapes:  logits (N, V), which are overwritten · targets (N,) · returns (N,), (N,)
    Units:   nats.
    """
    rows = np.arange(len(targets))
    best = logits.argmax(axis=-1)
    logits -= logits[rows, best, None]
    picked = logits[rows, targets]
    np.exp(logits, out=logits)
    log_probs: Array = picked - np.log(logits.sum(axis=-1))
    return log_probs, best == targets


def cross_entropy(logits: Array, targets: Ids, of: int | None = None) -> tuple[float, Array]:
    """Return the mean loss over all predictions and its gradient with respect to the logits.

    of: how many predictions the mean is over, where these are a part of them; the parts' losses then add up to it

    loss = -mean(log(softmax(logits)[target]));  dlogits = (softmax(logits) - onehot(target)) / N
    Shapes:  logits (..., V) · targets (...) · returns loss, dlogits (..., V), with N the number of targets, or `of`
    Units:   nats per character.
    """
    flat = logits.reshape(-1, logits.shape[-1])
    rows = np.arange(len(flat))
    dlogits = flat - flat.max(axis=-1, keepdims=True)
    picked = dlogits[rows, targets.reshape(-1)]
    np.exp(dlogits, out=dlogits)
    total = dlogits.sum(axis=-1, keepdims=True)
    of = of or len(flat)
    loss = float(np.log(total).sum(dtype=np.float64) - picked.sum(dtype=np.float64)) / of
    dlogits /= total * of
    dlogits[rows, targets.reshape(-1)] -= 1 / of
    return loss, dlogits.reshape(logits.shape)


def project(x: Array | Ids, W: Array, b: Array, out: Array) -> Array:
    """Write x W + b into `out` and return it; where x holds ids, the rows of W are gathered instead.

    Shapes:  x (T, B, D) float or (T, B) ids · W (D, K) · b (K,) · out (T, B, K)
    """
    if x.dtype.kind in "iu":
        rows = W + b if len(W) < x.size else W  # the bias is added where there is less to add it to
        rows.take(cast(Ids, x), axis=0, out=out, mode="clip")  # "raise" would need a buffer; ids are in range
        if rows is not W:
            return out
    else:
        np.dot(x.reshape(-1, x.shape[-1]), W, out=out.reshape(-1, W.shape[1]))
    out += b
    return out


def project_backward(x: Array | Ids, W: Array, da: Array) -> tuple[Array | None, Array, Array]:
    """Return dx (None where x holds ids), dW and db of `project`, given da (T, B, K)."""
    flat_da = da.reshape(-1, da.shape[-1])
    if x.dtype.kind in "iu":
        dW = sum_rows(cast(Ids, x.reshape(-1)), flat_da, len(W))
        return None, dW, dW.sum(axis=0)  # every step has one id, so its sum over ids is the sum over steps
    flat_x = x.reshape(-1, x.shape[-1])
    return (flat_da @ W.T).reshape(x.shape), flat_x.T @ flat_da, flat_da.sum(axis=0)


def sum_rows(ids: Ids, rows: Array, size: int) -> Array:
    """Return the sum of the rows that belong to each id: the gradient of gathering.

    Shapes:  ids (N,) · rows (N, K) · returns (size, K)
    """
    if (add := compiled.machine_code(compiled.add_rows, ids.dtype, rows.dtype)) is not None:
        total = np.zeros((size, rows.shape[1]), rows.dtype)
        add(ids, rows, total)
        return total
    if size <= ONE_HOT_LIMIT:
        one_hot = np.zeros((len(ids), size), rows.dtype)
        one_hot[np.arange(len(ids)), ids] = 1
        return one_hot.T @ rows
    total = np.zeros((size, rows.shape[1]), rows.dtype)
    order = np.argsort(ids, kind="stable")
    present, first = np.unique(ids[order], return_index=True)
    total[present] = np.add.reduceat(rows[order], first, axis=0)
    return total
