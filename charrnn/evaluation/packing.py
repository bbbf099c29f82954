"""Pack many lines end to end into batch rows of about the same length, so that they are scored side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Mask
from charrnn.data.vocab import Vocab

ROWS = 128  # batch rows

#: A line; or a context and the text that is read after it, which is scored: without an end, unless it is a target. A
#: model that reads backwards reads the context first, too: it is what follows the text.
Line: TypeAlias = str | tuple[str, str]
_Numbers: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class PackedLines:
    """N lines, sorted by batch row: C characters, K of them in the vocabulary, P predictions.

    Each line is packed as a head (a start mark, or a start mark and a context) and its text. A whole line has an end.

    lines    as the caller gave them; every array below is in packed order
    order    (N,) index in `lines` of each packed line
    row      (N,) batch row of each
    sizes    (N, 2) characters of each line's head, and of its text with its end
    ends     (N,) characters of each line's end
    kept     (C,) which characters have an id; all of them if the vocabulary has an unknown symbol
    ids      (K,) their ids
    unknown  (N,) characters of each text that the vocabulary lacks
    reverse  whether lines are packed from their ends to their beginnings
    """

    lines: Sequence[Line]
    order: _Numbers
    row: _Numbers
    sizes: _Numbers
    ends: _Numbers
    kept: Mask
    ids: Ids
    unknown: _Numbers
    reverse: bool

    @classmethod
    def of(cls, vocab: Vocab, lines: Sequence[Line], targets: bool = False) -> PackedLines:
        """Encode and pack the lines; characters without an id are left out.

        targets: True: a tab separates a context from its text, which has an end
        """
        marked = _marked(vocab, lines, targets)
        sizes = np.array([[len(head), len(text)] for head, text, _ in marked], np.intp).reshape(-1, 2)
        order, row = _assign_rows(sizes.sum(axis=1))
        sizes = sizes[order]
        ids, absent = vocab.look_up("".join(chain.from_iterable(marked[line][:2] for line in order.tolist())))
        unknown = run_sums(absent & ~_heads(sizes), sizes.sum(axis=1))
        kept = ~absent if vocab.unknown is None else np.ones_like(absent)
        ends = np.array([end for *_, end in marked], np.intp)[order]
        return cls(lines, order, row, sizes, ends, kept, ids[kept], unknown, vocab.reverse)

    @cached_property
    def _lengths(self) -> _Numbers:
        """Return (N,), the number of ids of each line."""
        return run_sums(self.kept, self.sizes.sum(axis=1))

    @cached_property
    def _first(self) -> Mask:
        """Return a mask (K,) of the ids that begin a line."""
        first = np.zeros(len(self.ids), bool)
        first[(self._lengths.cumsum() - self._lengths)[self._lengths > 0]] = True
        return first

    @cached_property
    def pairs(self) -> _Numbers:
        """Return (N,), the number of predictions in each line: one for each id but the first."""
        return np.maximum(self._lengths - 1, 0)

    @cached_property
    def inputs(self) -> Ids:
        """Return (P,), the input id of each prediction."""
        return self.ids[~np.roll(self._first, -1)]

    @cached_property
    def targets(self) -> Ids:
        """Return (P,), the target id of each prediction."""
        return self.ids[~self._first]

    @cached_property
    def reset(self) -> Mask:
        """Return a mask (P,) of the predictions that start from a zero state."""
        return self._first[~np.roll(self._first, -1)]

    @cached_property
    def counted(self) -> Mask:
        """Return a mask (P,) of the predictions that count towards a line's score: those of its text and end."""
        return ~_heads(self.sizes)[self.kept][~self._first]

    @cached_property
    def predicted(self) -> Mask:
        """Return a mask (C,) of the characters that are predicted."""
        predicted = self.kept.copy()
        predicted[self.kept] = ~self._first
        return predicted


def _marked(vocab: Vocab, lines: Sequence[Line], targets: bool) -> list[tuple[str, str, int]]:
    """Return each line's head, its text with its end, and the number of characters of that end."""
    mark, end = vocab.mark, len(vocab.mark)
    tab, last = ("\t", mark) if targets else ("", "")

    def form(text: str) -> str:
        return vocab.turned(vocab.in_form(text))

    return [
        (mark, form(line) + mark, end)
        if isinstance(line, str)
        else (mark + form(line[0]) + tab, form(line[1]) + last, len(last))
        for line in lines
    ]


def _assign_rows(sizes: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return the lines sorted by batch row, and the row of each.

    Lines are dealt out longest first, one to each row in turn: the longest of a turn to the shortest row.
    Shapes:  sizes (N,) · returns (N,), (N,)
    """
    order = np.argsort(-sizes, kind="stable")
    row, lengths = np.empty_like(order), np.zeros(min(ROWS, len(order)), np.intp)
    for begin in range(0, len(order), ROWS):
        turn = sizes[order[begin : begin + ROWS]]
        shortest = np.argsort(lengths, kind="stable")[: len(turn)]
        row[begin : begin + ROWS] = shortest
        lengths[shortest] += turn
    by_row = np.argsort(row, kind="stable")
    return order[by_row], row[by_row]


def _heads(sizes: _Numbers) -> Mask:
    """Return (C,), which characters belong to the head of their line."""
    return np.repeat(np.tile([True, False], len(sizes)), sizes.reshape(-1))


def run_sums(values: npt.NDArray[Any], lengths: _Numbers, dtype: npt.DTypeLike = np.intp) -> npt.NDArray[Any]:
    """Return the sum of each run of values, given the lengths of consecutive runs; an empty run sums to 0."""
    sums, some = np.zeros(len(lengths), dtype), lengths > 0
    sums[some] = np.add.reduceat(values, (lengths.cumsum() - lengths)[some], dtype=dtype)
    return sums
