"""The n-grams of each class: what naive Bayes says of a text, to be added to what the net says.

Counting sees rare but telling endings at once, which a net needs many texts for; a net sees order and distance. Both
together make fewer errors than either (docs/results.md).

log p(text | label) = sum over its n-grams g of log p(g | label) = log((count(g, label) + a) / (count(label) + a K))

for the K n-grams of the training split of 1 to n characters, with the marks around each text; others are left out.
Source:  McCallum & Nigam 1998 (multinomial naive Bayes).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.classification.texts import Texts
from charrnn.data.padding import batches

_SMOOTHING = 0.1  # a: measured in docs/results.md
_MOST, _MOST_NUMBERS = 1 << 17, 1 << 22  # n-grams that are kept, and numbers of their table: 16 MiB
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # an odd number without a pattern in its bits: 2^64 / golden ratio
_COUNTED = 1 << 21  # characters whose n-grams are counted, at most: some seconds
_READ_TEXTS, _READ_CHARS = 1024, 1 << 18  # of a batch whose n-grams are counted at once
_ADDED = 1 << 18  # numbers that are looked up at once: 1 MiB

_Keys = npt.NDArray[np.uint64]
_Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ClassNGrams:
    """K n-grams, each a hash of 64 bits, and what each says for C labels.

    keys     (K,) ascending
    weights  (K, C) log p(n-gram | label), less the mean over the labels
    longest  n
    """

    keys: _Keys
    weights: Array
    longest: int

    @classmethod
    def of(cls, texts: Texts, labels: _Numbers, classes: int, longest: int) -> ClassNGrams:
        """Count the n-grams of the first texts, up to `_COUNTED` characters; of too many, the most frequent are kept.

        Shapes:  labels (N,)
        """
        within = texts.lengths.cumsum() <= _COUNTED
        found = [_count(texts, np.flatnonzero(within & (labels == label)), longest) for label in range(classes)]
        keys, place = np.unique(np.concatenate([own for own, _ in found]), return_inverse=True)
        counts = np.concatenate([own for _, own in found])
        label = np.repeat(np.arange(classes), [len(own) for own, _ in found])
        most = max(1, min(_MOST, _MOST_NUMBERS // classes))
        kept = np.sort(np.argsort(-np.bincount(place, counts, len(keys)), kind="stable")[:most])
        rows, table = np.full(len(keys), -1), np.zeros((len(kept), classes), np.float32)
        rows[kept] = np.arange(len(kept))
        inside = rows[place] >= 0
        table[rows[place][inside], label[inside]] = counts[inside]
        weights = np.log((table + _SMOOTHING) / (table.sum(axis=0) + _SMOOTHING * len(kept)))
        return cls(keys[kept], weights - weights.mean(axis=1, keepdims=True), longest)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name, as a checkpoint keeps them."""
        return {"keys": self.keys, "weights": self.weights}

    def scores(self, ids: Ids, lengths: _Numbers) -> Array:
        """Return what the n-grams of each text say for each label, in nats.

        Shapes:  ids (T, B) · lengths (B,) · returns (B, C)
        """
        keys, sizes = _keys_of(ids, lengths, self.longest)
        order = np.argsort(keys)  # in this order, the search stays in the processor's cache
        place = np.empty_like(order)
        place[order] = np.minimum(np.searchsorted(self.keys, keys[order]), len(self.keys) - 1)
        known = np.flatnonzero(self.keys[place] == keys)
        place, text = place[known], np.repeat(np.arange(len(lengths)), sizes)[known]
        C = self.weights.shape[1]
        scores, most = np.zeros((len(lengths), C), np.float32), max(1, _ADDED // C)
        for begin in range(0, len(known), most):
            some = slice(begin, begin + most)
            starts = np.flatnonzero(np.diff(text[some], prepend=-1))
            scores[text[some][starts]] += np.add.reduceat(self.weights[place[some]], starts, axis=0)
        return scores


def _count(texts: Texts, indices: _Numbers, longest: int) -> tuple[_Keys, _Numbers]:
    """Return the different n-grams of these texts, ascending, and how many times each occurs."""
    parts = batches(texts.lengths[indices], _READ_TEXTS, _READ_CHARS)
    found = [_keys_of(*texts.padded(indices[part]), longest)[0] for part in parts]
    return np.unique(np.concatenate(found or [np.empty(0, np.uint64)]), return_counts=True)


def _keys_of(ids: Ids, lengths: _Numbers, longest: int) -> tuple[_Keys, _Numbers]:
    """Return the hashes of all n-grams, text by text, and how many each text has.

    Shapes:  ids (T, B) · lengths (B,) · returns (M,), (B,)
    """
    symbols = ids.T.astype(np.uint64) + np.uint64(1)  # (B, T)
    found, present = list[_Keys](), list[npt.NDArray[np.bool_]]()
    key, T = symbols * _FACTOR, symbols.shape[1]
    for n in range(1, min(longest, T) + 1):
        if n > 1:
            key = (key[:, :-1] ^ (key[:, :-1] >> np.uint64(29))) * _FACTOR + symbols[:, n - 1 :]
        found.append(key)
        present.append(np.arange(T - n + 1) < (lengths - n + 1)[:, None])
    keep = np.concatenate(present, axis=1)
    return np.concatenate(found, axis=1)[keep], keep.sum(axis=1)
