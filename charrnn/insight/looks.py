"""Where a model looks: the earlier characters of a text that attention or the memory copy, with their shares.

A prediction is a mixture: of the net's own probabilities, and of earlier characters, each of which is copied with a
share. The shares here are those in the final prediction, after all that is mixed with the net.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.memory.cache import Cache
from charrnn.nn import model

MOST = 10  # positions that are kept of each prediction: J


@dataclass(frozen=True, eq=False)
class Looks:
    """Which earlier characters of a text a prediction copies; those with the largest shares first.

    at     (T, J) positions in the text; -1: none
    share  (T, J) of the prediction, from 0 to 1; 0 where there is no position
    """

    at: npt.NDArray[np.intp]
    share: Array

    @classmethod
    def empty(cls, size: int) -> Looks:
        """Return looks at nothing, of so many predictions."""
        return cls(np.full((size, MOST), -1), np.zeros((size, MOST), np.float32))

    def fill(self, begin: int, at: npt.NDArray[np.intp], share: Array) -> None:
        """Set n predictions, from that of position `begin` on, to those with the largest shares among N positions.

        Shapes:  at (n, N) · share (n, N), 0 for a position that is not seen
        """
        chosen = largest(share, MOST)
        kept, rows = np.take_along_axis(share, chosen, axis=1), slice(begin, begin + len(share))
        self.share[rows, : kept.shape[1]] = kept
        self.at[rows, : kept.shape[1]] = np.where(kept > 0, np.take_along_axis(at, chosen, axis=1), -1)

    def without_first(self, skipped: int) -> Looks:
        """Return the looks in a text that begins so many characters later."""
        at = self.at[skipped:]
        return Looks(np.where(at >= skipped, at - skipped, -1), self.share[skipped:])

    def backwards(self) -> Looks:
        """Return the looks in a text that was read from its end, in the order of the text."""
        at = self.at[::-1]
        return Looks(np.where(at >= 0, len(at) - 1 - at, -1), self.share[::-1])


def largest(values: Array, most: int) -> npt.NDArray[np.intp]:
    """Return the indices of the largest values of each row, the largest first.

    Shapes:  values (n, N) · returns (n, min(most, N))
    """
    if most >= values.shape[1]:
        return np.argsort(-values, axis=1, kind="stable")
    order = np.argpartition(-values, most, axis=1)[:, :most]
    best = np.argsort(-np.take_along_axis(values, order, axis=1), axis=1, kind="stable")
    return np.take_along_axis(order, best, axis=1)


def by_attention(
    weights: model.Weights, ids: Ids, state: Array, begin: int, reset: Mask
) -> tuple[npt.NDArray[np.intp], Array]:
    """Return what attention copies after each character of a window, which begins at this position of the text.

    Shapes:  ids, reset (n, 1) · returns positions (n, M), and their shares (n, M)
    """
    found = model.looks(weights, ids, state, reset=reset)
    share = found.weights[:, 0]
    return begin + np.arange(len(ids))[:, None] - np.arange(share.shape[1]), share


class CacheKeys:
    """The keys of a text that a cache has read so far, by position.

    first  (N,) the first position that is remembered at each position
    """

    def __init__(self, cache: Cache, first: npt.NDArray[np.intp]) -> None:
        self.cache = cache
        self.first = np.maximum(first, np.arange(len(first)) - cache.size)
        self._keys = np.empty((len(first), cache.projection.shape[1]), cache.projection.dtype)

    def look(self, h: Array, begin: int, mass: Array) -> tuple[npt.NDArray[np.intp], Array]:
        """Read a window; return what the cache copies after each of its characters, with shares in the cache's part.

        mass  the logarithm by which the weights are divided (`memory.Mixed`), with those of an earlier text
        Shapes:  h (n, H) · mass (n,) · returns positions (n, N), and their shares (n, N)
        """
        end = begin + len(h)
        queries, self._keys[begin:end] = self.cache.keys(h)
        entry = np.arange(self.first[begin], end)
        now, first = np.arange(begin, end)[:, None], self.first[begin:end, None]
        similar = queries @ self._keys[entry[0] : end].T
        seen = (entry >= first) & (entry < now)
        share = np.exp(np.where(seen, self.cache.sharpness * similar - mass[:, None], -np.inf))
        return np.broadcast_to(entry + 1, share.shape), share  # what followed an entry is copied
