"""A model's memory: its cache, and n-gram models that are mixed with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.memory.cache import LOG_MASS, Cache, Entries, Rows
from charrnn.nn import compiled
from charrnn.nn.functional import log_softmax

if TYPE_CHECKING:  # not loaded unless there are n-gram models, so that samples start quickly
    from charrnn.memory.grams import Context, Grams

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Remembered:
    """What B rows have read, as the cache and the n-gram models keep it; None for those that there are not."""

    entries: Entries | None
    context: Context | None

    def only(self, rows: Rows) -> Remembered:
        """Return these rows, none of them twice; their memory is shared."""
        return Remembered(_of(self.entries, lambda own: own.only(rows)), _of(self.context, lambda own: own.only(rows)))

    def copies(self, rows: Rows) -> Remembered:
        """Return copies of these rows."""
        return Remembered(
            _of(self.entries, lambda own: own.copies(rows)), _of(self.context, lambda own: own.copies(rows))
        )

    @staticmethod
    def joined(parts: Sequence[Remembered]) -> Remembered:
        """Return copies of all rows of these parts, in order."""
        entries = [part.entries for part in parts if part.entries is not None]
        contexts = [part.context for part in parts if part.context is not None]
        return Remembered(
            Entries.joined(entries) if entries else None, contexts[0].joined(contexts) if contexts else None
        )


class Mixed(NamedTuple):
    """What predictions with a memory are made of; the rest is that of the n-gram models.

    net    (T, B) the share of the net
    cache  (T, B) the share of the cache
    mass   (T, B) log sum_i exp(sharpness key_t key_i), by which the cache's positions are weighted
    """

    net: Array
    cache: Array
    mass: Array


def _of(own: T | None, function: Callable[[T], R]) -> R | None:
    return None if own is None else function(own)


@dataclass(frozen=True, eq=False)
class Memory:
    """The cache and the n-gram models of a model; None for those that it has not."""

    cache: Cache | None
    grams: Grams | None = None

    @property
    def size(self) -> int:
        """Return how many characters the cache looks back."""
        return self.cache.size if self.cache else 0

    @property
    def counts(self) -> bool:
        """Return whether all that is read is counted, so that it matters however long ago it was."""
        return self.grams is not None and self.grams.adaptive is not None

    def start(self, rows: int, first: Remembered | None = None, longest: int | None = None) -> Remembered:
        """Return what rows remember at their beginning: nothing, or the text that one row has read.

        longest  the most characters that a row will read between two resets, if that is known
        """
        entries, context = (None, None) if first is None else (first.entries, first.context)
        return Remembered(
            _of(self.cache, lambda cache: cache.entries(rows, entries, longest)),
            _of(self.grams, lambda grams: grams.start(rows, context)),
        )

    def for_sampling(self, temperature: float) -> Memory:
        """Return the memory for samples that are drawn at this temperature."""
        return Memory(
            _of(self.cache, lambda cache: cache.for_sampling(temperature)),
            _of(self.grams, lambda grams: grams.for_sampling(temperature)),
        )

    def recall(
        self,
        remembered: Remembered,
        ids: Ids,
        h: Array,
        logits: Array | None = None,
        *,
        reset: Mask | None = None,
        folds: npt.NDArray[np.intp] | None = None,
    ) -> None:
        """Remember a window; replace the logits by those of the mixture.

        ids     read by the net; the first one follows the last position of the window before
        h       the outputs of the last layer after these ids
        logits  of the net; None to remember only
        folds   of the predictions, in the text that the gates were fitted to; None: this is another text
        Shapes:  ids, reset, folds (T, B) · h (T, B, H) · logits (T, B, V)
        """
        cache, entries, context = self.cache, remembered.entries, remembered.context
        if logits is not None and folds is not None:
            self.mix(remembered, ids, h, logits, reset=reset, folds=folds)
            return
        if cache is not None and entries is not None:
            cache.recall(entries, ids, h, logits, reset=reset)
        if self.grams is not None and context is not None:
            if logits is None:
                self.grams.learn(context, ids, reset)
            else:
                self.grams.mix(context, ids, logits, reset=reset)

    def mix(
        self,
        remembered: Remembered,
        ids: Ids,
        h: Array,
        logits: Array,
        *,
        reset: Mask | None = None,
        folds: npt.NDArray[np.intp] | None = None,
    ) -> Mixed:
        """Do what `recall` does, and return the shares of the mixture; arguments as for `recall`."""
        cache, entries, context = self.cache, remembered.entries, remembered.context
        of_cache: Array = np.zeros(ids.shape)
        mass: Array = of_cache
        left: Array = np.ones(ids.shape)
        if cache is not None and entries is not None:
            q = logits.copy()
            features = cache.recall(entries, ids, h, q, reset=reset, fitting=True)
            assert features is not None
            logits[...] = cache.mixed(log_softmax(logits), q, features, folds)
            of_cache, mass = cache.share(q, features, folds), features[..., LOG_MASS]
        if self.grams is not None and context is not None:
            left = self.grams.mix(context, ids, logits, reset=reset, folds=folds)
        return Mixed((1 - of_cache) * left, of_cache * left, mass)

    def in_core(self, remembered: Remembered) -> compiled.Memory | None:
        """Return the cache as the compiled core reads it; None without one."""
        if self.cache is None or remembered.entries is None:
            return None
        return self.cache.in_core(remembered.entries)
