"""Filters: what becomes of logits before an id is drawn.

They are applied in this order, each to what the one before has left:

constraint mask -> repetition penalty -> temperature -> top-k -> top-p -> min-p

The mask is `constraint`'s; the others are here. All take B streams at once, and what they do to a stream does not
depend on the streams beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Array, Ids, Mask
from charrnn.config import MOST_WINDOW
from charrnn.errors import ConfigError

_MANY = 512  # symbols from which on it pays to sort out most weights before the others are sorted
_MUCH = 16  # one in so many weights is as quickly taken out as all are counted
_DIGITS = 48  # bits of a float64 behind its exponent and four binary digits; without them, it is the number of a bin
_BIN_OF_1, _BIN_OF_LEAST = 1023 << 4, (1023 - 24) << 4  # all that is below 2**-24 goes with it
_LEAST_TEMPERATURE = 1e-200  # a colder one differs in nothing, but quotients would overflow


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

    def __call__(self, logits: Array, recent: Ids) -> Array:
        """Return weights to which the probabilities are proportional; the largest is 1.

        Shapes:  logits (B, V), of which one at least is finite in each row · recent (B, W), the last ids that were
                 read or written, of which the last `window` count, and -1 where there were fewer · returns (B, V)
        """
        logits = logits.astype(np.float64)  # a copy, which becomes the weights
        if self.window:
            penalise(logits, recent[:, -self.window :], self.repeat_penalty)
        weights = logits[0] if len(logits) == 1 else logits  # NumPy is quicker with a row than with rows of one
        if self.temperature == 0:
            likeliest = weights.argmax(axis=-1)
            weights.fill(0)
            logits[np.arange(len(logits)), likeliest] = 1
            return logits
        one = weights.ndim == 1
        weights -= weights[weights.argmax()] if one else np.maximum.reduce(weights, axis=-1, keepdims=True)
        weights /= max(self.temperature, _LEAST_TEMPERATURE)
        np.exp(weights, out=weights)
        if 0 < self.top_k < weights.shape[-1]:
            keep_top_k(weights, self.top_k)
        if self.top_p < 1:
            keep_top_p(weights, self.top_p)
        if self.min_p:
            _cut(weights, self.min_p)  # the likeliest has 1
        return logits


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


def keep_top_k(weights: Array, k: int) -> None:
    """Set to 0 what is less than the k-th largest weight.

    Shapes:  weights (..., V), which are changed
    """
    V, some = weights.shape[-1], weights
    if V > _MANY and V >= 8 * k:
        # The k-th largest of the blocks' maxima is not above the k-th largest of all, and few weights are above it.
        maxima = np.maximum.reduceat(weights, np.arange(0, V, V // (4 * k)), axis=-1)
        values, rows = _taken(weights, weights >= np.partition(maxima, -k, axis=-1)[..., -k, None])
        some = _in_rows(values, rows, weights.shape)
    _cut(weights, np.partition(some, -k, axis=-1)[..., -k, None])


def keep_top_p(weights: Array, share: float) -> None:
    """Set to 0 what does not belong to the fewest of the largest weights that have this share of the sum.

    Shapes:  weights (..., V), none above 1, which are changed
    """
    V, some = weights.shape[-1], weights
    if V <= _MANY and weights.ndim == 1:  # the same, in half the time
        some = np.sort(weights)
        sums = np.add.accumulate(some)
        first = sums.searchsorted((1 - share) * sums[-1], side="right")
        _cut(weights, some[min(first, V - 1)])
        return
    total: Array = np.add.reduce(weights, axis=-1, keepdims=True)
    needed = share * total
    if V > _MANY:
        # What is below this is, all together, less than may go.
        values, rows = _taken(weights, weights >= (1 - share) * total / (2 * V))
        if len(values) * _MUCH > weights.size:
            values, rows, needed = _at_edge(values, rows, needed)
        some = _in_rows(values, rows, weights.shape)
    some = np.sort(some, axis=-1)
    sums = np.add.accumulate(some, axis=-1)
    kept = sums > sums[..., -1:] - needed
    kept[..., -1] = True  # even where so little is needed that the difference does not show it
    _cut(weights, np.minimum.reduce(some, axis=-1, keepdims=True, where=kept, initial=np.inf))


def _at_edge(values: Array, rows: Ids, needed: Array) -> tuple[Array, Ids, Array]:
    """Return the values among which the sum of a row's largest reaches what is needed, and how much they have to give.

    They are summed up by their binary exponents and first digits: that looks at each but once, and sorts none.
    Shapes:  values, rows (N,), with values from each of B rows, none above 1 · needed (..., 1), of B numbers ·
             returns (M,), (M,) and (..., 1)
    """
    each, size = np.arange(needed.size), _BIN_OF_1 - _BIN_OF_LEAST + 1
    bins = np.maximum(values.view(np.int64) >> _DIGITS, _BIN_OF_LEAST)
    bins += rows * size - _BIN_OF_LEAST
    mass = np.bincount(bins, values, needed.size * size).reshape(-1, size)[:, ::-1]
    sums = np.add.accumulate(mass, axis=-1)
    own = np.minimum(needed.reshape(-1), sums[:, -1])
    edge = (sums >= own[:, None]).argmax(axis=-1)
    own -= sums[each, edge] - mass[each, edge]
    at = np.flatnonzero(bins == ((each + 1) * size - 1 - edge)[rows])
    return values[at], rows[at], own.reshape(needed.shape)


def _taken(weights: Array, mask: Mask) -> tuple[Array, Ids]:
    """Return the weights where the mask is true, and the row of each.

    Shapes:  weights, mask (..., V) · returns (N,), (N,)
    """
    at = np.flatnonzero(mask)
    return weights.reshape(-1)[at], at // weights.shape[-1]


def _in_rows(values: Array, rows: Ids, shape: tuple[int, ...]) -> Array:
    """Return the values, and zeros to fill their rows: sorting few is quicker than all.

    Shapes:  values, rows (N,), the rows in order · returns (..., M) for a shape (..., V), M at the most V
    """
    if len(shape) == 1:
        return values
    counts = np.bincount(rows, minlength=shape[0])
    found = np.zeros((shape[0], counts.max()))
    found[rows, np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]] = values
    return found


def _cut(weights: Array, least: Array | float) -> None:
    """Set to 0 what is below `least`."""
    np.multiply(weights, weights >= least, out=weights)
