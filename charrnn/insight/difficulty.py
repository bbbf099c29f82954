"""Difficulty: how well a model predicts each class of characters, and which characters it takes for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array, Ids
from charrnn.insight.reading import Reading


@dataclass(frozen=True, eq=False)
class Guesses:
    """What a model predicted at each of N characters of a text.

    actual   (N,), the ids that came
    guessed  (N,), those that were most likely
    bits     (N,), the surprise of those that came
    """

    actual: Ids
    guessed: Ids
    bits: Array

    @classmethod
    def of(cls, reading: Reading) -> Guesses:
        """Return the guesses in a reading, which has none at a first character without any before."""
        predicted = ~np.isnan(reading.bits)
        return cls(reading.ids[predicted], reading.top_ids[predicted, 0], reading.bits[predicted])


class Difficulty(NamedTuple):
    """How hard the characters of a class are.

    kind      the number of the class; chars: how many characters of the text are in it
    bits      their mean surprise; accuracy: the share of them that were the most likely character
    share     their share of the whole text's loss
    """

    kind: int
    chars: int
    bits: float
    accuracy: float
    share: float


def difficulty(guesses: Guesses, classes: Ids) -> list[Difficulty]:
    """Return the difficulty of each class that occurs, in the order of the classes.

    Shapes:  classes (V,), the class of each id
    """
    kinds, right = classes[guesses.actual], guesses.actual == guesses.guessed
    counts = np.bincount(kinds)
    losses, hits = np.bincount(kinds, guesses.bits), np.bincount(kinds, right)
    total = max(float(losses.sum()), np.finfo(float).tiny)
    return [
        Difficulty(kind, int(n), float(losses[kind] / n), float(hits[kind] / n), float(losses[kind] / total))
        for kind, n in enumerate(counts)
        if n
    ]


class Confusion(NamedTuple):
    """A character that a model took for another one.

    times  how often; share: of all occurrences of the actual one
    """

    actual: int
    guessed: int
    times: int
    share: float


def confusions(guesses: Guesses, most: int = 15) -> list[Confusion]:
    """Return the most frequent confusions, by falling count."""
    wrong = guesses.actual != guesses.guessed
    pairs, counts = np.unique(np.stack([guesses.actual[wrong], guesses.guessed[wrong]]), axis=1, return_counts=True)
    occurrences = np.bincount(guesses.actual)
    first = np.argsort(-counts, kind="stable")[:most]
    return [
        Confusion(int(actual), int(guessed), int(n), float(n / occurrences[actual]))
        for (actual, guessed), n in zip(pairs[:, first].T, counts[first], strict=True)
    ]


class ConfusionTable(NamedTuple):
    """What was predicted instead of the most frequent characters.

    ids     (K,), the characters, by falling frequency
    shares  (K, K), [i, j]: at which share of the occurrences of ids[i] the most likely character was ids[j]
    """

    ids: Ids
    shares: Array


def confusion_table(guesses: Guesses, most: int = 25) -> ConfusionTable:
    """Return the confusions of the most frequent characters of the text."""
    occurrences = np.bincount(guesses.actual)
    order = np.argsort(-occurrences, kind="stable")[:most]
    ids = order[occurrences[order] > 0]
    shares = np.zeros((len(ids), len(ids)))
    for row, id_ in enumerate(ids):
        shares[row] = np.bincount(guesses.guessed[guesses.actual == id_], minlength=ids.max() + 1)[ids]
        shares[row] /= occurrences[id_]
    return ConfusionTable(ids, shares)
