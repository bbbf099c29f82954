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

_SMOOTHING = 0.1  # a: measured in docs/results.md
_MOST, _MOST_NUMBERS = 1 << 17, 1 << 22  # n-grams that are kept, and numbers of their table: 16 MiB
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # an odd number without a pattern in its bits: 2^64 / golden ratio
_READ = 1 << 18  # characters whose n-grams are counted at once

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
        """Count the n-grams of labelled texts; of too many, the most frequent are kept.

        Shapes:  labels (N,)
        """
        counted: dict[int, tuple[_Keys, _Numbers]] = {}
        for label in range(classes):
            own = np.flatnonzero(labels == label)
            parts = [_keys_of(*texts.padded(part), longest)[0] for part in _in_parts(texts, own)]
            counted[label] = np.unique(np.concatenate(parts or [np.empty(0, np.uint64)]), return_counts=True)
        keys, place = np.unique(np.concatenate([keys for keys, _ in counted.values()]), return_inverse=True)
        number = np.repeat(np.arange(classes), [len(keys) for keys, _ in counted.values()])
        counts = np.concatenate([counts for _, counts in counted.values()])
        total = np.bincount(place, counts, len(keys))
        most = max(1, min(_MOST, _MOST_NUMBERS // classes))
        kept = np.sort(np.argsort(-total, kind="stable")[:most])
        rows, table = np.full(len(keys), -1), np.zeros((len(kept), classes), np.float32)
        rows[kept] = np.arange(len(kept))
        inside = rows[place] >= 0
        table[rows[place][inside], number[inside]] = counts[inside]
        weights = np.log((table + _SMOOTHING) / (table.sum(axis=0) + _SMOOTHING * len(kept)))
        return cls(keys[kept], weights - weights.mean(axis=1, keepdims=True), longest)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name, as a checkpoint keeps them."""
        return {"keys": self.keys, "weights": self.weights}

    def scores(self, ids: Ids, lengths: _Numbers) -> Array:
        """Return what the n-grams of each text say for each label, in nats.

        Shapes:  ids (T, B) · lengths (B,) · returns (B, C)
        """
        keys, count = _keys_of(ids, lengths, self.longest)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = self.keys[place] == keys
        column = np.repeat(np.arange(len(lengths)), count)
        runs = np.bincount(column[known], minlength=len(lengths))
        scores, some = np.zeros((len(lengths), self.weights.shape[1]), np.float32), runs > 0
        scores[some] = np.add.reduceat(self.weights[place[known]], (runs.cumsum() - runs)[some], axis=0)
        return scores


def _in_parts(texts: Texts, indices: _Numbers) -> list[_Numbers]:
    """Return the indices in parts of similar lengths, which are not too large when they are padded."""
    order = indices[np.argsort(texts.lengths[indices], kind="stable")]
    parts, begin = list[_Numbers](), 0
    while begin < len(order):
        end = begin + max(1, _READ // max(1, int(texts.lengths[order[min(len(order), begin + 1024) - 1]])))
        end = min(end, begin + 1024)
        parts.append(order[begin:end])
        begin = end
    return parts


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
