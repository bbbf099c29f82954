"""Pooling: from the outputs of an encoder at each character to one vector for each text, and the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from charrnn.arrays import Array
from charrnn.config import POOLS
from charrnn.nn.encoder import Lengths

#: The backward pass: dv (B, D H) -> dh (T, B, D H), zero on the padding.
PoolBackprop: TypeAlias = Callable[[Array], Array]


def pool(how: str, h: Array, lengths: Lengths, directions: int) -> tuple[Array, PoolBackprop]:
    """Return one vector for each text, of its outputs, and the backward pass; a text without characters has zeros.

    how  "last": the output of each direction at the last character that it reads; "mean" or "max" over the characters
    Shapes:  h (T, B, D H) · lengths (B,) · returns (B, D H)
    """
    assert how in POOLS, how
    return {"last": _last, "mean": _mean, "max": _max}[how](h, lengths, directions)


def _last(h: Array, lengths: Lengths, directions: int) -> tuple[Array, PoolBackprop]:
    B, H = h.shape[1], h.shape[2] // directions
    rows, present = np.arange(B), (lengths > 0)[:, None]
    at = [np.maximum(lengths - 1, 0), np.zeros(B, np.intp)][:directions]  # backwards, the first character is the last
    parts = [slice(number * H, (number + 1) * H) for number in range(directions)]
    pooled = np.concatenate([h[t, rows, part] for t, part in zip(at, parts, strict=True)], axis=1) * present

    def backprop(dv: Array) -> Array:
        dh = np.zeros_like(h)
        for t, part in zip(at, parts, strict=True):
            dh[t, rows, part] = dv[:, part] * present
        return dh

    return pooled, backprop


def _mean(h: Array, lengths: Lengths, directions: int) -> tuple[Array, PoolBackprop]:
    share = _present(h, lengths) / np.maximum(lengths, 1).astype(h.dtype)[:, None]

    def backprop(dv: Array) -> Array:
        return dv * share

    return np.einsum("tbh,tbk->bh", h, share), backprop


def _max(h: Array, lengths: Lengths, directions: int) -> tuple[Array, PoolBackprop]:
    full = int(lengths.min(initial=len(h)))  # up to here, no text is padded, and NumPy is three times as fast
    pooled = h[:full].max(axis=0, initial=-np.inf)
    if full < len(h):
        present = _present(h, lengths)[full:] > 0
        np.maximum(pooled, h[full:].max(axis=0, initial=-np.inf, where=present), out=pooled)
    pooled[lengths == 0] = 0

    def backprop(dv: Array) -> Array:
        """Give each gradient to the first character with the maximum; the padding is behind it."""
        dh, left = np.empty_like(h), dv * (lengths > 0)[:, None]
        for t in range(len(h)):
            np.multiply(left, h[t] == pooled, out=dh[t])
            left -= dh[t]
        return dh

    return pooled, backprop


def _present(h: Array, lengths: Lengths) -> Array:
    """Return 1 at each character and 0 on the padding, (T, B, 1)."""
    return (np.arange(len(h))[:, None] < lengths)[..., None].astype(h.dtype)
