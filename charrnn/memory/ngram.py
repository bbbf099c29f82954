"""The n-gram model: predicts a character from counts of what followed the same context in a text.

Interpolated modified Kneser-Ney. An n-gram, or gram, is a context h and the character w that follows it; h' is h
without its first character. The empty context backs off to the uniform distribution, so no character has probability 0:

p(w | h) = (c(h w) - D(c(h w))) / c(h) + rest(h) p(w | h');    p(w | h') if h never occurs before a character
rest(h) = sum_w D(c(h w)) / c(h);    c(h) = sum_w c(h w)

For the longest order, c(g) is the number of times that gram g occurs in the text; for a shorter one, the number of
different characters that occur before g. D has three values in each order: for counts of 1, of 2, and of 3 or more.
Source:  Chen & Goodman 1999, An empirical study of smoothing techniques for language modeling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, IdSource

LONGEST = 10  # the largest n: up to 20, others gain at most 0.005 nats on texts of 0.2 to 1 MB
_PIECE = 1 << 16  # characters scored at once: bounds memory, changes no result
_FALLBACK = (0.5, 1.0, 1.5)  # discounts for an order with too few counts to estimate them: KenLM's --discount_fallback


class Shares(NamedTuple):
    """The discounted probabilities and back-off weights of an order's contexts.

    kept  (G + 1,) the probability of each gram's character, given its context
    rest  (contexts + 1,) the probability that each context leaves to the order below
    The last elements, 0 and 1, are for index -1: a gram or a context that does not occur in the text.
    """

    kept: Array
    rest: Array


class Order(NamedTuple):
    """The G distinct grams of n characters in a text, numbered by their keys.

    keys   (G,) the number of the context in the order below, times V, plus the id of the last character; ascending
    top    probabilities if this is the longest order of a model
    lower  probabilities if it is not
    """

    keys: Ids
    top: Shares
    lower: Shares


@dataclass(frozen=True, eq=False)
class NGrams:
    """The n-gram models of a text, one for each n from 1 to the longest."""

    vocab_size: int
    orders: list[Order]

    @classmethod
    def of(cls, ids: Ids, vocab_size: int, longest: int = LONGEST) -> NGrams:
        """Count the grams of a text, up to `longest` characters or as many as the text has.

        Shapes:  ids (N,)
        """
        orders: list[Order] = []
        context, suffix = np.zeros(len(ids), np.intp), np.empty(0, np.intp)
        for n in range(1, min(longest, len(ids)) + 1):
            keys, gram, counts = np.unique(context * vocab_size + ids[n - 1 :], return_inverse=True, return_counts=True)
            if orders:
                below = orders[-1]
                endings = np.empty(len(keys), np.intp)  # the shorter gram at the end of each gram
                endings[gram] = suffix
                preceded = np.bincount(endings, minlength=len(below.keys))
                orders[-1] = below._replace(lower=_shares(preceded, below.keys // vocab_size, len(below.lower.rest)))
            shares = _shares(counts, keys // vocab_size, len(orders[-1].keys) + 1 if orders else 2)
            orders.append(Order(keys, shares, shares))  # the next order replaces `lower`; the longest needs none
            context, suffix = gram[:-1], gram[1:]
        return cls(vocab_size, orders)

    def up_to(self, n: int) -> NGrams:
        """Return the models of orders 1 to n."""
        return NGrams(self.vocab_size, self.orders[:n])

    def best_on(self, ids: IdSource) -> NGrams:
        """Return the models up to the n whose loss on a text is lowest."""
        return self.up_to(int(self.nats(ids).argmin()) + 1)

    def log_probs(self, ids: Ids) -> Array:
        """Return the log-probability of each character but the first, in one row for each n.

        Near the beginning, contexts are shorter than n - 1 characters, because the text before is not known.
        Shapes:  ids (N,) · returns (longest, N - 1)
        Units:   nats.
        """
        probs, context = np.full(len(ids), 1 / self.vocab_size), np.zeros(len(ids), np.intp)
        rows = np.empty((len(self.orders), len(ids)))
        for row, order in zip(rows, self.orders, strict=True):
            keys = context * self.vocab_size + ids
            nearest = np.searchsorted(order.keys, keys).clip(max=len(order.keys) - 1)
            gram = np.where(order.keys[nearest] == keys, nearest, -1)
            np.log(order.top.kept[gram] + order.top.rest[context] * probs, out=row)
            probs = order.lower.kept[gram] + order.lower.rest[context] * probs
            context = np.concatenate(([-1], gram))[:-1]
        return rows[:, 1:]

    def nats(self, ids: IdSource) -> Array:
        """Return the loss summed over all characters of a text but the first, for each n.

        Shapes:  ids (N,) · returns (longest,)
        Units:   nats.
        """
        sums, before = np.zeros(len(self.orders)), len(self.orders)
        for begin in range(1, len(ids), _PIECE):
            indices = np.arange(max(0, begin - before), min(begin + _PIECE, len(ids)))
            sums -= self.log_probs(ids[indices])[:, indices[1:] >= begin].sum(axis=1)
        return sums


def _shares(counts: npt.NDArray[np.intp], contexts: Ids, size: int) -> Shares:
    """Return an order's probabilities, in float32 since they are most of a model's memory.

    Shapes:  counts (G,) · contexts (G,), the number of each gram's context · returns (G + 1,), (size,)
    """
    discount = discounts(counts)[counts.clip(max=3)]
    total = np.bincount(contexts, counts, size)
    left = np.bincount(contexts, discount, size)
    unfollowed = total == 0
    left[unfollowed] = total[unfollowed] = 1
    kept = np.append((counts - discount) / total[contexts], 0)
    return Shares(kept.astype(np.float32), (left / total).astype(np.float32))


def discounts(counts: npt.NDArray[np.intp]) -> Array:
    """Return the discounts D for counts of 0, 1, 2, and 3 or more.

    D(k) = k - (k + 1) Y n_(k+1) / n_k;  Y = n_1 / (n_1 + 2 n_2), with n_k the number of grams that have count k
    Shapes:  counts (G,) · returns (4,)
    """
    n1, n2, n3, n4 = np.bincount(counts.clip(max=5), minlength=5)[1:5].tolist()
    estimated = [0.0]
    if n1 and n2 and n3:
        Y = n1 / (n1 + 2 * n2)
        estimated = [1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3]
    return np.array([0.0, *(estimated if min(estimated) > 0 else _FALLBACK)])
