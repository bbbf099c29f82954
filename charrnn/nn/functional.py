"""Small pure functions of arrays: the softmax and the loss, and matrix products that take ids as well as floats."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from charrnn.arrays import Array, Ids, Mask
from charrnn.nn import compiled

#: Up to this many symbols, a one-hot matrix product sums rows faster than sorting does (measured at 3,200 rows).
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


def softmax(logits: Array, total: float = 1.0) -> Array:
    """Return the probabilities of each row in float64, scaled to add up to `total`.

    Shapes:  logits (..., V) · returns (..., V)
    """
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    probabilities: Array = total * weights / weights.sum(axis=-1, keepdims=True)
    return probabilities


def log_softmax(logits: Array) -> Array:
    """Return the log-probabilities of each row, in nats.

    log p = z - max(z) - log(sum(exp(z - max(z))))
    Shapes:  logits (..., V) · returns (..., V)
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs


def log_prob(logits: Array, targets: Ids) -> tuple[Array, Mask]:
    """Return the log-probability of each target, and whether it is the most likely symbol (the first, if several are).

    log p = z[target] - max(z) - log(sum(exp(z - max(z))))
    Shapes:  logits (N, V), which are overwritten · targets (N,) · returns (N,), (N,)
    Units:   nats.
    """
    best = logits.argmax(axis=-1)
    logits -= logits[np.arange(len(best)), best, None]
    picked, total = _exponentiate(logits, targets)
    log_probs: Array = picked - np.log(total)
    return log_probs, best == targets


def cross_entropy(
    logits: Array, targets: Ids, of: int | None = None, counted: Mask | None = None
) -> tuple[float, Array]:
    """Return the mean loss over all predictions that count, and its gradient with respect to the logits.

    loss = -mean(log(softmax(z)[target]));  dlogits = (softmax(z) - onehot(target)) / N, 0 where a prediction does not
    count; both are 0 if none does
    of:       N, if these are only some of the N predictions of the mean; the losses of all groups then add up to it
    counted:  which predictions count; None: all
    Shapes:   logits z (..., V) · targets, counted (...) · returns loss, dlogits (..., V)
    Units:    nats per character.
    """
    flat, flat_targets = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    if counted is not None:
        chosen, dlogits = counted.reshape(-1), np.zeros_like(flat)
        loss, dlogits[chosen] = cross_entropy(flat[chosen], flat_targets[chosen], of)
        return loss, dlogits.reshape(logits.shape)
    N = of or len(flat) or 1
    if core := compiled.core():
        dlogits = flat.copy()
        loss = core.cross_entropy(*flat.shape, dlogits, flat_targets.astype(np.int32), 1 / N) / N
        return loss, dlogits.reshape(logits.shape)
    dlogits = flat - flat.max(axis=-1, keepdims=True)
    picked, total = _exponentiate(dlogits, flat_targets)
    loss = float(np.log(total).sum(dtype=np.float64) - picked.sum(dtype=np.float64)) / N
    dlogits /= (total * N)[:, None]
    dlogits[np.arange(len(flat)), flat_targets] -= 1 / N
    return loss, dlogits.reshape(logits.shape)


def _exponentiate(shifted: Array, targets: Ids) -> tuple[Array, Array]:
    """Replace rows z - max(z) by their exp; return each target's earlier element, and the sum of each row.

    Subtracting max(z) changes no probability and keeps exp from overflowing.
    Shapes:  shifted (N, V) · targets (N,) · returns (N,), (N,)
    """
    picked = shifted[np.arange(len(targets)), targets]
    np.exp(shifted, out=shifted)
    return picked, np.einsum("nv->n", shifted)  # four times as fast as a sum over the last axis


def project(x: Array | Ids, W: Array, b: Array | None, out: Array) -> Array:
    """Write x W + b into `out` and return it; ids in x select rows of W instead.

    Shapes:  x (T, B, D) float or (T, B) ids · W (D, K) · b (K,) or None · out (T, B, K)
    """
    if x.dtype.kind in "iu":
        rows = W + b if b is not None and len(W) < x.size else W  # add the bias to whichever has fewer rows
        rows.take(cast(Ids, x), axis=0, out=out, mode="clip")  # "raise" needs a buffer; all ids are in range
        if rows is not W:
            return out
    else:
        np.dot(x.reshape(-1, x.shape[-1]), W, out=out.reshape(-1, W.shape[1]))
    if b is not None:
        out += b
    return out


def project_backward(x: Array | Ids, W: Array, da: Array) -> tuple[Array | None, Array, Array]:
    """Return dx (None for ids), dW and db of `project`, given da (T, B, K)."""
    flat_da = da.reshape(-1, da.shape[-1])
    if x.dtype.kind in "iu":
        dW = sum_rows(cast(Ids, x.reshape(-1)), flat_da, len(W))
        return None, dW, dW.sum(axis=0)  # each da belongs to one id, so both sums are over all of da
    flat_x = x.reshape(-1, x.shape[-1])
    return (flat_da @ W.T).reshape(x.shape), flat_x.T @ flat_da, flat_da.sum(axis=0)


def sum_rows(ids: Ids, rows: Array, size: int) -> Array:
    """Sum the rows that belong to each id: the gradient of selecting rows by id.

    Shapes:  ids (N,) · rows (N, K) · returns (size, K)
    """
    total = np.zeros((size, rows.shape[1]), rows.dtype)
    if core := compiled.core():
        core.add_rows(*rows.shape, size, ids.astype(np.int32), np.ascontiguousarray(rows), total)
        return total
    if size <= ONE_HOT_LIMIT:
        one_hot = np.zeros((len(ids), size), rows.dtype)
        one_hot[np.arange(len(ids)), ids] = 1
        return one_hot.T @ rows
    order = np.argsort(ids, kind="stable")
    present, first = np.unique(ids[order], return_index=True)
    total[present] = np.add.reduceat(rows[order], first, axis=0)
    return total
