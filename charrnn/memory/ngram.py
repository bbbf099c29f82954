"""The n-gram model: what counting alone learns of a text, and so the bar that a net has to pass.

Interpolated modified Kneser-Ney. A gram is a context h and the character w that follows it; h' is h without its first
character. Below the empty context stands the uniform distribution, so that no character has probability 0:

p(w | h) = (c(h w) - D(c(h w))) / c(h) + rest(h) p(w | h');    where nothing follows h in the text, p(w | h')
rest(h) = sum_w D(c(h w)) / c(h);    c(h) = sum_w c(h w)

c counts how often a gram of the longest order stands in the text; for a shorter one it counts the different characters
that stand before it. D has three values in each order: for counts of 1, of 2, and of 3 or more.
Source:  Chen & Goodman 1999, An empirical study of smoothing techniques for language modeling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, IdSource

LONGEST = 10  # the largest n: those up to 20 gain 0.005 nats at the most on texts of 0.2 to 1 MB
_PIECE = 1 << 16  # characters scored at once: bounds memory, changes no result
_FALLBACK = (0.5, 1.0, 1.5)  # discounts of an order whose counts give none: those of KenLM's --discount_fallback


class Shares(NamedTuple):
    """What each gram has of its context's probability, and what each context leaves to the order below.

    Both have one more element at their end, so that -1 stands for a gram that the text lacks: 0 and 1.
    """

    kept: Array
    rest: Array


class Order(NamedTuple):
    """The different grams of a text that have n characters, for one n; their numbers are their places here.

    keys   (G,) V times the number of the context, a gram of the order below, plus the last character; ascending
    top    their shares where this is the longest order
    lower  their shares where it is not
    """

    keys: Ids
    top: Shares
    lower: Shares


@dataclass(frozen=True, eq=False)
class NGrams:
    """The n-gram models of a text, for each n from 1 to the longest."""

    vocab_size: int
    orders: list[Order]

    @classmethod
    def of(cls, ids: Ids, vocab_size: int, longest: int = LONGEST) -> NGrams:
        """Return the models of a text; a text of fewer than `longest` characters has as many as characters.

        Shapes:  ids (N,)
        """
        orders: list[Order] = []
        context, suffix = np.zeros(len(ids), np.intp), np.empty(0, np.intp)
        for n in range(1, min(longest, len(ids)) + 1):
            keys, gram, counts = np.unique(context * vocab_size + ids[n - 1 :], return_inverse=True, return_counts=True)
            if orders:
                below = orders[-1]
                ends = np.empty(len(keys), np.intp)  # the gram below with which each ends
                ends[gram] = suffix
                preceded = np.bincount(ends, minlength=len(below.keys))
                orders[-1] = below._replace(lower=_shares(preceded, below.keys // vocab_size, len(below.lower.rest)))
            shares = _shares(counts, keys // vocab_size, len(orders[-1].keys) + 1 if orders else 2)
            orders.append(Order(keys, shares, shares))  # `lower` is made with the next order; the longest needs none
            context, suffix = gram[:-1], gram[1:]
        return cls(vocab_size, orders)

    def up_to(self, n: int) -> NGrams:
        """Return the models for each n up to this one."""
        return NGrams(self.vocab_size, self.orders[:n])

    def log_probs(self, ids: Ids) -> Array:
        """Return the log-probability of each character but the first, a row for each n.

        The first characters have shorter contexts: nothing is known of what stood before the text.
        Shapes:  ids (N,) · returns (longest, N - 1)
        Units:   nats.
        """
        probs, context = np.full(len(ids), 1 / self.vocab_size), np.zeros(len(ids), np.intp)
        rows = np.empty((len(self.orders), len(ids)))
        for row, order in zip(rows, self.orders, strict=True):
            keys = context * self.vocab_size + ids
            places = np.searchsorted(order.keys, keys).clip(max=len(order.keys) - 1)
            gram = np.where(order.keys[places] == keys, places, -1)
            np.log(order.top.kept[gram] + order.top.rest[context] * probs, out=row)
            probs = order.lower.kept[gram] + order.lower.rest[context] * probs
            context = np.concatenate(([-1], gram))[:-1]
        return rows[:, 1:]

    def nats(self, ids: IdSource) -> Array:
        """Return the sum over all characters of a text but the first, for each n.

        Shapes:  ids (N,) · returns (longest,)
        """
        sums, before = np.zeros(len(self.orders)), len(self.orders)
        for begin in range(1, len(ids), _PIECE):
            places = np.arange(max(0, begin - before), min(begin + _PIECE, len(ids)))
            sums -= self.log_probs(ids[places])[:, places[1:] >= begin].sum(axis=1)
        return sums


def _shares(counts: npt.NDArray[np.intp], contexts: Ids, size: int) -> Shares:
    """Return the shares of an order's grams, in the smaller float: they are most of what a model needs of memory.

    Shapes:  counts (G,) · contexts (G,), the number of each gram's · returns (G + 1,), (size,)
    """
    off = discounts(counts)[counts.clip(max=3)]
    total = np.bincount(contexts, counts, size)
    left = np.bincount(contexts, off, size)
    unfollowed = total == 0
    left[unfollowed] = total[unfollowed] = 1
    kept = np.append((counts - off) / total[contexts], 0)
    return Shares(kept.astype(np.float32), (left / total).astype(np.float32))


def discounts(counts: npt.NDArray[np.intp]) -> Array:
    """Return what is taken off the count of a gram, by that count: for 0, 1, 2, and 3 or more.

    D(k) = k - (k + 1) Y n_(k+1) / n_k;  Y = n_1 / (n_1 + 2 n_2), with n_k the number of grams whose count is k
    Shapes:  counts (G,) · returns (4,)
    """
    n1, n2, n3, n4 = np.bincount(counts.clip(max=5), minlength=5)[1:5].tolist()
    found = [0.0]
    if n1 and n2 and n3:
        Y = n1 / (n1 + 2 * n2)
        found = [1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3]
    return np.array([0.0, *(found if min(found) > 0 else _FALLBACK)])
