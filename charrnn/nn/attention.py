"""A pointer into the recent past: attention over the last M positions, which copies the symbols that followed them.

The net squeezes all it has read into a few hundred numbers. The pointer compares the present with each of the last M
positions, and gives the symbol that followed a similar one a share of the probability:

[u s] = h_t W
k_t   = u / |u|                                           a key of length 1; it serves as query and as key
s_i   = exp(log_scale) k_t . k_i                          for each position i < t that t can see
s_0   = s + b                                             for the net's own prediction
a     = softmax over s_0 and all s_i
p     = a_0 softmax(z_t) + sum_i a_i onehot(x_{i+1})      z_t: the readout's logits

a_0 depends on all similarities, and is 1 where there is nothing to see, so p always adds up to 1.

The memory of a batch row is the keys and ids of its last M positions. It is part of the state that the model carries
from window to window, and a constant for the gradient, as truncated back-propagation through time has it. The ids are
stored plus 1, so that a zero state is an empty memory; a reset empties it. The model uses the outputs h before dropout,
since a key is compared with keys of other windows, which dropped other units.

Shapes:  W (H, K + 1) · b, log_scale (1,) · memory (B, M (K + 1)): keys, then ids + 1; oldest first
Source:  Merity et al. 2017 (pointer sentinel mixture models). There, the key is h_i itself and the query a projection;
         one projection for both, keys of length 1 and a learned scale are those of Grave, Joulin & Usunier 2017 (who
         learn none) and Henry et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask, Params
from charrnn.nn.functional import softmax, sum_rows
from charrnn.nn.initializers import Init

# Chosen by the validation loss of irish_abc after 300 steps (LSTM of 192 units, M 300).
KEY_SIZE = 64  # K: with 32, the loss is 0.015 nats higher
_SCALE = 16.0  # exp(log_scale) at first: with 8 and 30, the loss is 0.06 and 0.02 nats higher
_LEAST = 1e-6  # added to the square of a key's length: outputs of zero have no direction
_STEPS = 128  # time steps of a block, at most
_BLOCK = 2**16  # numbers in a block's similarities, unless one batch row has more: they fit a core's cache

#: The backward pass: dlog_probs (T, B, V) -> dh (T, B, H), dlogits (T, B, V), grads.
AttentionBackprop: TypeAlias = Callable[[Array], tuple[Array, Array, Params]]


class Attention(NamedTuple):
    """The pointer's weights, and how many positions it looks back."""

    W: Array
    b: Array
    log_scale: Array
    reach: int


class Looks(NamedTuple):
    """What the pointer looks at when it predicts the symbol after each position.

    weights  (T, B, M), the share of the prediction that is copied from the id read m steps before
    ids      (T, B, M), that id; -1 where there is none
    net      (T, B), the net's own share: net and weights add up to 1
    """

    weights: Array
    ids: npt.NDArray[np.intp]
    net: Array


def init_params(H: int, reach: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the weights. At first, the net has half of the probability at least, even if all keys are equal."""
    return {
        "W": np.hstack([init.inputs(rng, H, KEY_SIZE), np.zeros((H, 1))]),
        "b": np.array([_SCALE + math.log(reach)]),
        "log_scale": np.array([math.log(_SCALE)]),
    }


def memory_size(reach: int) -> int:
    """Return how many numbers the memory of a batch row has."""
    return reach * (KEY_SIZE + 1)


class _Past(NamedTuple):
    """What the positions of a window can see: slots for the M positions before the window, then for its own.

    keys     (B, M+T, K)
    ids      (B, M+T), the id read at each slot plus 1; 0 where there is none
    first    (B, T+1), the first slot that each position, and the one after the window, sees
    lengths  (T, B, 1), |u|
    s_0      (T, B)
    """

    keys: Array
    ids: npt.NDArray[np.intp]
    first: npt.NDArray[np.intp]
    lengths: Array
    s_0: Array


class _Block(NamedTuple):
    """Some time steps of some batch rows, and the slots that they see.

    Shapes:  similarities (R, N, t), -inf where a position does not see a slot · symbols (R N,), the id that followed
             each slot, plus V for each row before it
    """

    rows: slice
    steps: slice
    slots: slice
    similarities: Array
    symbols: npt.NDArray[np.intp]


def forward(
    weights: Attention, h: Array, logits: Array, ids: Ids, memory: Array, *, reset: Mask | None = None
) -> tuple[Array, Array, AttentionBackprop]:
    """Return the log-probabilities of the mixture, the memory after the window, and the backward pass.

    Shapes:  h (T, B, H) · logits (T, B, V) · ids, reset (T, B) · memory (B, M (K + 1)) ·
             returns log_probs (T, B, V), memory (B, M (K + 1))
    """
    T, B, V = logits.shape
    past = _past(weights, h, ids, memory, reset)
    scale = np.exp(weights.log_scale)
    queries = past.keys[:, weights.reach :] * scale  # (B, T, K)
    total = np.empty((T, B), h.dtype)  # the logarithm of the softmax's denominator
    copied = np.empty((T, B, V), h.dtype)
    for block in _blocks(past, queries, V):
        here = block.steps, block.rows
        weights_of, own = block.similarities, past.s_0[here].T
        highest = np.maximum(weights_of.max(axis=1, initial=-np.inf), own)  # (R, t)
        weights_of -= highest[:, None]
        np.exp(weights_of, out=weights_of)
        sums = weights_of.sum(axis=1) + np.exp(own - highest)
        by_symbol = sum_rows(block.symbols, weights_of.reshape(-1, sums.shape[1]), V * len(sums))
        copied[here] = (by_symbol.reshape(-1, V, sums.shape[1]) / sums[:, None]).transpose(2, 0, 1)
        total[here] = (highest + np.log(sums)).T
    net = np.exp(past.s_0 - total)[..., None]
    own_p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    own_p /= own_p.sum(axis=-1, keepdims=True)
    p = net * own_p + copied
    np.maximum(p, np.finfo(p.dtype).tiny, out=p)

    def backprop(dlog_probs: Array) -> tuple[Array, Array, Params]:
        """Apply the chain rule; the weights a are computed again, so that memory is bounded.

        With f_i the onehot that a_i weighs, f_0 = softmax(z), and p = sum_i a_i f_i:
        dp   = dlog_probs / p                     ds_i = a_i (f_i - p) . dp
        dz   = a_0 softmax(z) (dp - f_0 . dp)     dlog_scale = sum_i s_i ds_i
        du   = (dk - k (k . dk)) / |u|
        """
        dp = dlog_probs / p
        p_dp = dlog_probs.sum(axis=-1)
        net_dp = (own_p * dp).sum(axis=-1, keepdims=True)
        dlogits = dp - net_dp
        dlogits *= own_p
        dlogits *= net
        ds_0 = net[..., 0] * (net_dp[..., 0] - p_dp)
        dqueries, dk = np.empty_like(queries), np.zeros_like(queries)
        for block in _blocks(past, queries, V):
            here = block.steps, block.rows
            a = block.similarities
            a -= total[here].T[:, None]
            np.exp(a, out=a)
            by_symbol = dp[here].transpose(1, 2, 0).reshape(-1, a.shape[2])  # (R V, t)
            ds = by_symbol[block.symbols].reshape(a.shape)
            ds -= p_dp[here].T[:, None]
            ds *= a
            dqueries[block.rows, block.steps] = ds.swapaxes(1, 2) @ past.keys[block.rows, block.slots]
            older = max(0, weights.reach - block.slots.start)  # slots of the memory, which is a constant
            own = slice(block.slots.start + older - weights.reach, block.slots.stop - weights.reach)
            dk[block.rows, own] += ds[:, older:] @ queries[block.rows, block.steps]
        dk += dqueries * scale
        k, dk = past.keys[:, weights.reach :].swapaxes(0, 1), dk.swapaxes(0, 1)
        du = np.empty((T * B, weights.W.shape[1]), h.dtype)
        du_of_keys = du[:, :-1].reshape(T, B, -1)
        np.multiply(k, (k * dk).sum(axis=-1, keepdims=True), out=du_of_keys)
        np.subtract(dk, du_of_keys, out=du_of_keys)
        du_of_keys /= past.lengths
        du[:, -1] = ds_0.reshape(-1)
        grads = {
            "W": h.reshape(-1, h.shape[-1]).T @ du,
            "b": ds_0.sum().reshape(1),
            "log_scale": np.vdot(queries, dqueries).reshape(1),
        }
        return (du @ weights.W.T).reshape(h.shape), dlogits, grads

    return np.log(p), _memory_after(past, weights.reach), backprop


def remember(weights: Attention, h: Array, ids: Ids, memory: Array, *, reset: Mask | None = None) -> Array:
    """Return the memory after a window, without any prediction; arguments as for `forward`."""
    return _memory_after(_past(weights, h, ids, memory, reset), weights.reach)


def looks(weights: Attention, h: Array, ids: Ids, memory: Array, V: int, *, reset: Mask | None = None) -> Looks:
    """Return what each position looks at; arguments as for `forward`, with the number of symbols V."""
    (T, B), M = ids.shape, weights.reach
    past = _past(weights, h, ids, memory, reset)
    queries = past.keys[:, M:] * np.exp(weights.log_scale)
    similar = np.empty((T, B, M + 1), h.dtype)  # the last to the net's own prediction
    similar[..., M] = past.s_0
    symbols = np.empty((T, B, M), np.intp)
    for block in _blocks(past, queries, V):
        here, steps = (block.steps, block.rows), np.arange(block.similarities.shape[2])
        slots = steps + np.arange(M)[::-1, None]  # (M, t), those that each position sees, the nearest first
        seen = block.similarities[:, slots, steps].transpose(2, 0, 1)
        similar[here][..., :M] = seen
        followed = block.symbols.reshape(seen.shape[1], -1)[:, slots].transpose(2, 0, 1)
        symbols[here] = np.where(np.isneginf(seen), -1, followed % V)
    shares = softmax(similar)
    return Looks(shares[..., :M], symbols, shares[..., M])


def _past(weights: Attention, h: Array, ids: Ids, memory: Array, reset: Mask | None) -> _Past:
    """Return what the positions of a window can see."""
    (T, B), M = ids.shape, weights.reach
    projected = (h.reshape(-1, h.shape[-1]) @ weights.W).reshape(T, B, -1)
    u = projected[..., :-1]
    lengths = np.sqrt((u * u).sum(axis=-1, keepdims=True) + _LEAST)
    keys = np.empty((B, M + T, KEY_SIZE), h.dtype)
    keys[:, :M] = memory[:, : M * KEY_SIZE].reshape(B, M, KEY_SIZE)
    np.divide(u, lengths, out=keys[:, M:].swapaxes(0, 1))
    read = np.empty((B, M + T), np.intp)
    read[:, :M] = memory[:, M * KEY_SIZE :]
    read[:, M:] = ids.T + 1
    first = np.maximum(np.arange(T + 1), M - np.count_nonzero(read[:, :M], axis=1)[:, None])
    if reset is not None:
        at = np.where(reset.T, M + np.arange(T), 0)
        first[:, :T] = np.maximum(first[:, :T], np.maximum.accumulate(at, axis=1))
        first[:, T] = np.maximum(first[:, T], at.max(axis=1))
    return _Past(keys, read, first, lengths, projected[..., -1] + weights.b)


def _memory_after(past: _Past, reach: int) -> Array:
    """Return the last M slots, as the next window gets them."""
    keys, ids = past.keys[:, -reach:], past.ids[:, -reach:]
    memory = np.empty((len(keys), memory_size(reach)), keys.dtype)
    memory[:, :-reach].reshape(keys.shape)[...] = keys
    memory[:, -reach:] = ids
    forgotten = past.first[:, -1] - (past.ids.shape[1] - reach)
    for row in np.flatnonzero(forgotten > 0):
        memory[row, : forgotten[row] * KEY_SIZE] = 0
        memory[row, -reach:][: forgotten[row]] = 0
    return memory


def _blocks(past: _Past, queries: Array, V: int) -> Iterator[_Block]:
    """Yield the similarities of a window in blocks, so that they are never all in memory."""
    B, T = queries.shape[:2]
    M = past.ids.shape[1] - T
    starts_late = past.first[:, :-1] > np.arange(T)  # after a reset, or while the memory fills
    for begin in range(0, T, _STEPS):
        steps = slice(begin, min(begin + _STEPS, T))
        slots = slice(begin, M + steps.stop - 1)
        slot = np.arange(slots.start, slots.stop)[:, None]
        distance = M + np.arange(begin, steps.stop) - slot  # (N, t), how far before each position a slot is
        outside = np.where((distance > 0) & (distance <= M), 0, -np.inf).astype(queries.dtype)
        count = max(1, _BLOCK // outside.size)
        for row in range(0, B, count):
            rows = slice(row, min(row + count, B))
            similarities = past.keys[rows, slots] @ queries[rows, steps].swapaxes(1, 2)
            similarities += outside
            if starts_late[rows, steps].any():
                np.copyto(similarities, -np.inf, where=slot < past.first[rows, None, steps])
            symbols = past.ids[rows, slots.start + 1 : slots.stop + 1] - 1
            symbols = symbols.clip(0, V - 1) + V * np.arange(len(symbols))[:, None]
            yield _Block(rows, steps, slots, similarities, symbols.reshape(-1))
