"""Filters: they turn logits into the weights that an id is drawn from.

They apply in this order, each to the result of the one before:

constraint mask -> repetition penalty -> temperature -> top-k -> top-p -> min-p

The mask is in `constraint`; the others are here. All take B samples at once, and treat each independently.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.generation.settings import Filters

_MANY = 512  # symbols above which it pays to discard most weights before the others are sorted
_SORTED = 1024  # weights up to which sorting is quicker than a histogram
_DIGITS = 49  # low bits of a float64; without them, exponent and three binary digits are the number of a bin
_BIN_OF_1, _BIN_OF_LEAST = 1023 << 3, (1023 - 24) << 3  # weights below 2**-24 share the last bin
LEAST_TEMPERATURE = 1e-200  # lower ones give the same result, but quotients would overflow


class Candidates(NamedTuple):
    """Weights of the ids that B samples may draw from.

    Shapes:  weights (B, M) · ids (B, M), ascending; meaningless where the weight is 0. None: all V ids
    """

    weights: Array
    ids: npt.NDArray[np.intp] | None = None

    def ids_at(self, columns: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return the id in the given column (B,) of each row, (B,)."""
        return columns if self.ids is None else self.ids[np.arange(len(columns)), columns]


def apply_filters(filters: Filters, logits: Array, recent: Ids) -> Candidates:
    """Return weights proportional to the probabilities; the largest is 1.

    Shapes:  logits (B, V), at least one finite in each row · recent (B, W), the last ids that were read or drawn,
             padded with -1; only the last `window` count
    """
    logits = logits.astype(np.float64)  # a copy, which becomes the weights
    if filters.window:
        penalise(logits, recent[:, -filters.window :], filters.repeat_penalty)
    if filters.temperature == 0:
        best = logits.argmax(axis=-1)
        logits.fill(0)
        logits[np.arange(len(logits)), best] = 1
        return Candidates(logits)
    weights = logits[0] if len(logits) == 1 else logits  # without this case, one sample takes 14 % longer
    one = weights.ndim == 1
    weights -= weights[weights.argmax()] if one else np.maximum.reduce(weights, axis=-1, keepdims=True)
    weights /= max(filters.temperature, LEAST_TEMPERATURE)
    np.exp(weights, out=weights)  # no `softmax`: drawing needs no sum, and a copy would take time
    candidates = Candidates(logits)
    if 0 < filters.top_k < logits.shape[1]:
        candidates = keep_top_k(candidates, filters.top_k)
    if filters.top_p < 1:
        candidates = keep_top_p(candidates, filters.top_p)
    if filters.min_p:
        _zero_below(candidates.weights, filters.min_p)  # the largest weight is 1
    return candidates


def penalise(logits: Array, recent: Ids, penalty: float) -> None:
    """Divide the probability of every id in `recent` by the penalty, once even if it occurs several times.

    Shapes:  logits (B, V), changed in place · recent (B, W), padded with -1
    """
    by = math.log(penalty)  # NumPy subtracts it once even where an index occurs twice
    rows, columns = (recent >= 0).nonzero()
    logits[rows, recent[rows, columns]] -= by


def keep_top_k(candidates: Candidates, k: int) -> Candidates:
    """Keep the k largest weights of each row, and ties with the last; the others become 0, or are removed."""
    V = candidates.weights.shape[1]
    if V > _MANY and V >= 8 * k:
        # The k-th largest of the blocks' maxima is at most the k-th largest of all, and few weights exceed it.
        maxima = np.maximum.reduceat(candidates.weights, np.arange(0, V, V // (4 * k)), axis=-1)
        candidates = _Sparse.of(candidates, np.partition(maxima, -k, axis=-1)[:, -k, None]).in_rows()
    _zero_below(candidates.weights, np.partition(candidates.weights, -k, axis=-1)[:, -k, None])
    return candidates


def keep_top_p(candidates: Candidates, share: float) -> Candidates:
    """Keep the fewest of the largest weights that have this share of their row's sum, and ties with the last.

    candidates  weights of at most 1; those not kept become 0, or are removed
    """
    weights, V = candidates.weights, candidates.weights.shape[1]
    if V > _MANY:
        total: Array = np.add.reduce(weights, axis=-1)
        # All weights below this add up to less than the share that may be dropped.
        few = _Sparse.of(candidates, ((1 - share) / V * total)[:, None])
        return few.at_least(few.threshold(share * total)).in_rows()
    if len(weights) == 1:  # without this case, one sample takes 22 % longer
        some = np.sort(weights[0])
        sums = np.add.accumulate(some)
        first = sums.searchsorted((1 - share) * sums[-1], side="right")
        _zero_below(weights, some[min(first, V - 1)])
    else:
        _zero_below(weights, _threshold(weights, share * np.add.reduce(weights, axis=-1))[:, None])
    return candidates


def _threshold(weights: Array, needed: Array) -> Array:
    """Return the smallest of the largest weights that are needed for a sum.

    Shapes:  weights (B, M) · needed (B,) · returns (B,)
    """
    some = np.sort(weights, axis=-1)
    sums = np.add.accumulate(some, axis=-1)
    kept = sums > sums[:, -1:] - needed[:, None]
    kept[:, -1] = True  # even if so little is needed that the difference rounds to the whole sum
    least: Array = np.minimum.reduce(some, axis=-1, where=kept, initial=np.inf)
    return least


def _zero_below(weights: Array, least: Array | float) -> None:
    """Set weights below `least` to 0."""
    np.multiply(weights, weights >= least, out=weights)


class _Sparse(NamedTuple):
    """Weights of B rows, row after row, without those that are too small to matter.

    Shapes:  values, ids (N,) · counts (B,), how many each row has
    """

    values: Array
    ids: npt.NDArray[np.intp]
    counts: Ids

    @classmethod
    def of(cls, candidates: Candidates, least: Array) -> _Sparse:
        """Return the weights of at least `least`, (B, 1)."""
        B, V = candidates.weights.shape
        at = np.flatnonzero(candidates.weights >= least)
        counts = _counts(at, np.arange(1, B + 1) * V)
        ids = at - np.repeat(np.arange(B) * V, counts) if candidates.ids is None else candidates.ids.reshape(-1)[at]
        return cls(candidates.weights.reshape(-1)[at], ids, counts)

    def take(self, indices: Ids) -> _Sparse:
        """Return the weights at these ascending indices."""
        return _Sparse(self.values[indices], self.ids[indices], _counts(indices, np.add.accumulate(self.counts)))

    def at_least(self, least: Array) -> _Sparse:
        """Return the weights of at least their row's value of `least`, (B,)."""
        return self.take(np.flatnonzero(self.values >= np.repeat(least, self.counts)))

    def threshold(self, needed: Array) -> Array:
        """Return the smallest of each row's largest weights that are needed for a sum: (B,) for (B,).

        Many weights are first summed in bins by exponent and leading digits, which takes a single pass.
        """
        if len(self.values) <= _SORTED:
            return _threshold(self.in_rows().weights, needed)
        each, size = np.arange(len(needed)), _BIN_OF_1 - _BIN_OF_LEAST + 1
        bins = np.maximum(self.values.view(np.int64) >> _DIGITS, _BIN_OF_LEAST)
        bins += np.repeat(each * size - _BIN_OF_LEAST, self.counts)
        mass = np.bincount(bins, self.values, len(needed) * size).reshape(-1, size)[:, ::-1]
        sums = np.add.accumulate(mass, axis=-1)
        needed = np.minimum(needed, sums[:, -1])
        edge = (sums >= needed[:, None]).argmax(axis=-1)
        needed -= sums[each, edge] - mass[each, edge]
        at_edge = self.take(np.flatnonzero(bins == np.repeat((each + 1) * size - 1 - edge, self.counts)))
        return _threshold(at_edge.in_rows().weights, needed)

    def in_rows(self) -> Candidates:
        """Return the weights as a padded array, one row for each sample."""
        B = len(self.counts)
        if B == 1:  # without it, one sample of 2,220 symbols takes 18 % longer
            return Candidates(self.values[None], self.ids[None])
        weights = np.zeros((B, self.counts.max()))
        ids = np.zeros(weights.shape, np.intp)
        first = np.add.accumulate(self.counts) - self.counts
        indices = np.arange(len(self.values)) + np.repeat(np.arange(B) * weights.shape[1] - first, self.counts)
        weights.reshape(-1)[indices], ids.reshape(-1)[indices] = self.values, self.ids
        return Candidates(weights, ids)


def _counts(indices: Ids, ends: Ids) -> Ids:
    """Return how many of the ascending indices are in each row; the rows end before `ends`."""
    counts = indices.searchsorted(ends)
    counts[1:] -= counts[:-1]
    return counts
