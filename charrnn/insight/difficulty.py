"""Difficulty: how well a model predicts each class of characters, and which characters it takes for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array, Ids, IdSource
from charrnn.config import ModelConfig
from charrnn.data.stream import window_at
from charrnn.evaluation.whole import rows_for, warm_up_of
from charrnn.nn import model
from charrnn.nn.functional import bits, log_prob

_ROWS = 8  # batch rows: one pass is then three times as fast as with one row
_WINDOW = 128  # time steps of one forward pass: bounds memory, changes no result


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

    def __len__(self) -> int:
        return len(self.actual)


def guess(weights: model.Weights, config: ModelConfig, ids: IdSource, *, end: int | None = None) -> Guesses:
    """Return the guesses of a net at every character of a text but the first, without its memory.

    The text is read in several batch rows, as `evaluate` does under the protocol `lanes`.
    end: id of the end mark between documents, each of which is read from a zero state
    Shapes:  ids (N + 1,)
    """
    total = max(0, len(ids) - 1)
    actual, guessed = np.empty(total, np.int64), np.empty(total, np.int64)
    surprise = np.empty(total, np.float32)
    rows = rows_for(config, total, _ROWS)
    length = -(-total // rows)
    state = model.zero_state(config, rows)
    starts = np.arange(rows) * length
    for begin in range(-warm_up_of(config) if rows > 1 else 0, length, _WINDOW):
        within = np.arange(begin, min(begin + _WINDOW, length))[:, None]
        at = starts + within
        window = window_at(ids, at.clip(0, total - 1), end)
        h = model.outputs(weights, window.inputs, state, reset=window.reset)
        logits = model.logits_after(weights, h, window.inputs, state, reset=window.reset)
        scored = (within >= 0) & (at < total)
        logits, targets = logits[scored], window.targets[scored]
        actual[at[scored]], guessed[at[scored]] = targets, logits.argmax(axis=-1)
        surprise[at[scored]] = -bits(1) * log_prob(logits, targets)[0]
    return Guesses(actual, guessed, surprise)


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
