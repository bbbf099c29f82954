"""Filters: what becomes of logits before an id is drawn.

They are applied in this order, each to what the one before has left:

constraint mask -> repetition penalty -> temperature -> top-k -> top-p -> min-p

The mask is `constraint`'s; the others are here. All take B streams at once, and what they do to a stream does not
depend on the streams beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.config import MOST_WINDOW
from charrnn.errors import ConfigError

_MANY = 512  # symbols from which on it pays to sort out most weights before the others are sorted
_SORTED = 1024  # weights that are sorted more quickly than they are summed up by their size
_DIGITS = 49  # bits of a float64 behind its exponent and three binary digits; without them, it is the number of a bin
_BIN_OF_1, _BIN_OF_LEAST = 1023 << 3, (1023 - 24) << 3  # all that is below 2**-24 goes with it
_LEAST_TEMPERATURE = 1e-200  # a colder one differs in nothing, but quotients would overflow


class Left(NamedTuple):
    """What is left of the weights of B streams.

    Shapes:  weights (B, M) · ids (B, M), whose they are, in order, and of no meaning beside a 0; None: all V, in order
    """

    weights: Array
    ids: npt.NDArray[np.intp] | None = None

    def ids_at(self, columns: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return the id that stands in a column of each row: (B,) for (B,)."""
        return columns if self.ids is None else self.ids[np.arange(len(columns)), columns]


@dataclass(frozen=True)
class Filters:
    """What is done to logits, in numbers; as they stand here, nothing but a temperature.

    temperature     logits are divided by it; 0: only the likeliest is left
    top_k           only this many of the likeliest are left, and what is as likely as the last; 0: all
    top_p           only the fewest likeliest are left that have this share of the probability; 1: all
    min_p           what has less than this share of the likeliest's probability is left out
    repeat_penalty  the probability of what stands among the last `repeat_window` characters is divided by it
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_window: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf or self.top_k < 0:
            raise ConfigError("temperature is a finite number, at least 0, and top_k at least 0")
        if not (0 < self.top_p <= 1 and 0 <= self.min_p <= 1):
            raise ConfigError("top_p is more than 0 and at most 1, min_p at least 0 and at most 1")
        if not 0 < self.repeat_penalty < math.inf or not 1 <= self.repeat_window <= MOST_WINDOW:
            raise ConfigError(f"repeat_penalty is a finite number, more than 0, and repeat_window 1 to {MOST_WINDOW:,}")

    @property
    def window(self) -> int:
        """Return how many of the last ids the filters look at."""
        return self.repeat_window if self.repeat_penalty != 1 else 0

    def __call__(self, logits: Array, recent: Ids) -> Left:
        """Return weights to which the probabilities are proportional; the largest is 1.

        Shapes:  logits (B, V), of which one at least is finite in each row · recent (B, W), the last ids that were
                 read or written, of which the last `window` count, and -1 where there were fewer
        """
        logits = logits.astype(np.float64)  # a copy, which becomes the weights
        if self.window:
            penalise(logits, recent[:, -self.window :], self.repeat_penalty)
        if self.temperature == 0:
            likeliest = logits.argmax(axis=-1)
            logits.fill(0)
            logits[np.arange(len(logits)), likeliest] = 1
            return Left(logits)
        weights = logits[0] if len(logits) == 1 else logits  # NumPy is quicker with a row than with rows of one
        one = weights.ndim == 1
        weights -= weights[weights.argmax()] if one else np.maximum.reduce(weights, axis=-1, keepdims=True)
        weights /= max(self.temperature, _LEAST_TEMPERATURE)
        np.exp(weights, out=weights)
        left = Left(logits)
        if 0 < self.top_k < logits.shape[1]:
            left = keep_top_k(left, self.top_k)
        if self.top_p < 1:
            left = keep_top_p(left, self.top_p)
        if self.min_p:
            _cut(left.weights, self.min_p)  # the likeliest has 1
        return left


def penalise(logits: Array, recent: Ids, penalty: float) -> None:
    """Divide the probability of every id that stands in `recent` by the penalty, however often it stands there.

    Shapes:  logits (B, V), which are changed · recent (B, W), -1 for none
    """
    by = math.log(penalty)  # NumPy subtracts it once where an index stands twice
    if len(logits) == 1:  # the same, in half the time
        logits[0, recent[recent >= 0]] -= by
        return
    rows, places = (recent >= 0).nonzero()
    logits[rows, recent[rows, places]] -= by


def keep_top_k(left: Left, k: int) -> Left:
    """Return what is not less than the k-th largest weight of its row; the others become 0, or are no longer held."""
    V = left.weights.shape[1]
    if V > _MANY and V >= 8 * k:
        # The k-th largest of the blocks' maxima is not above the k-th largest of all, and few weights are above it.
        maxima = np.maximum.reduceat(left.weights, np.arange(0, V, V // (4 * k)), axis=-1)
        left = _Few.of(left, np.partition(maxima, -k, axis=-1)[:, -k, None]).in_rows()
    _cut(left.weights, np.partition(left.weights, -k, axis=-1)[:, -k, None])
    return left


def keep_top_p(left: Left, share: float) -> Left:
    """Return the fewest of the largest weights that have this share of their row's sum, and what equals the last.

    left  none above 1; the others become 0, or are no longer held
    """
    weights, V = left.weights, left.weights.shape[1]
    if V > _MANY:
        total: Array = np.add.reduce(weights, axis=-1)
        # What is below this is, all together, less than may go.
        few = _Few.of(left, ((1 - share) / V * total)[:, None])
        return few.not_below(few.least_needed(share * total)).in_rows()
    if len(weights) == 1:  # the same, in half the time
        some = np.sort(weights[0])
        sums = np.add.accumulate(some)
        first = sums.searchsorted((1 - share) * sums[-1], side="right")
        _cut(weights, some[min(first, V - 1)])
    else:
        _cut(weights, _least_needed(weights, share * np.add.reduce(weights, axis=-1))[:, None])
    return left


def _least_needed(weights: Array, needed: Array) -> Array:
    """Return the least of the largest weights that are needed for a sum.

    Shapes:  weights (B, M) · needed (B,) · returns (B,)
    """
    some = np.sort(weights, axis=-1)
    sums = np.add.accumulate(some, axis=-1)
    kept = sums > sums[:, -1:] - needed[:, None]
    kept[:, -1] = True  # even where so little is needed that the difference does not show it
    least: Array = np.minimum.reduce(some, axis=-1, where=kept, initial=np.inf)
    return least


def _cut(weights: Array, least: Array | float) -> None:
    """Set to 0 what is below `least`."""
    np.multiply(weights, weights >= least, out=weights)


class _Few(NamedTuple):
    """Weights of B rows, one row after the other, without those that are too small to matter.

    Shapes:  values, ids (N,) · counts (B,), how many are in each row
    """

    values: Array
    ids: npt.NDArray[np.intp]
    counts: Ids

    @classmethod
    def of(cls, left: Left, least: Array) -> _Few:
        """Return what is not below `least`, (B, 1)."""
        B, V = left.weights.shape
        at = np.flatnonzero(left.weights >= least)
        counts = _counts(at, np.arange(1, B + 1) * V)
        ids = at - np.repeat(np.arange(B) * V, counts) if left.ids is None else left.ids.reshape(-1)[at]
        return cls(left.weights.reshape(-1)[at], ids, counts)

    def at(self, places: Ids) -> _Few:
        """Return those in these places, which are in order."""
        return _Few(self.values[places], self.ids[places], _counts(places, np.add.accumulate(self.counts)))

    def not_below(self, least: Array) -> _Few:
        """Return what is not below its row's of `least`, (B,)."""
        return self.at(np.flatnonzero(self.values >= np.repeat(least, self.counts)))

    def least_needed(self, needed: Array) -> Array:
        """Return the least of each row's largest values that are needed for a sum: (B,) for (B,).

        Many are first summed up by their binary exponents and first digits: that looks at each but once.
        """
        if len(self.values) <= _SORTED:
            return _least_needed(self.in_rows().weights, needed)
        each, size = np.arange(len(needed)), _BIN_OF_1 - _BIN_OF_LEAST + 1
        bins = np.maximum(self.values.view(np.int64) >> _DIGITS, _BIN_OF_LEAST)
        bins += np.repeat(each * size - _BIN_OF_LEAST, self.counts)
        mass = np.bincount(bins, self.values, len(needed) * size).reshape(-1, size)[:, ::-1]
        sums = np.add.accumulate(mass, axis=-1)
        needed = np.minimum(needed, sums[:, -1])
        edge = (sums >= needed[:, None]).argmax(axis=-1)
        needed -= sums[each, edge] - mass[each, edge]
        at_edge = self.at(np.flatnonzero(bins == np.repeat((each + 1) * size - 1 - edge, self.counts)))
        return _least_needed(at_edge.in_rows().weights, needed)

    def in_rows(self) -> Left:
        """Return them row by row."""
        B = len(self.counts)
        if B == 1:
            return Left(self.values[None], self.ids[None])
        weights = np.zeros((B, self.counts.max()))
        ids = np.zeros(weights.shape, np.intp)
        first = np.add.accumulate(self.counts) - self.counts
        places = np.arange(len(self.values)) + np.repeat(np.arange(B) * weights.shape[1] - first, self.counts)
        weights.reshape(-1)[places], ids.reshape(-1)[places] = self.values, self.ids
        return Left(weights, ids)


def _counts(places: Ids, ends: Ids) -> Ids:
    """Return how many of the places, which are in order, are in each part; the parts end before `ends`."""
    counts = places.searchsorted(ends)
    counts[1:] -= counts[:-1]
    return counts
