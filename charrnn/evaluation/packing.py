"""The tape: many lines laid end to end into lanes, as what is predicted from, and what is predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Mask
from charrnn.data.text import END
from charrnn.data.vocab import Vocab

LANES = 128  # that are read side by side

#: A line; or a context and the text that continues it, which is scored without an end.
Line: TypeAlias = str | tuple[str, str]
_Numbers: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Tape:
    """N lines, lane after lane, and in each line after line: C characters, of which K are read, and P predictions.

    lines    in the order in which they came; all else stands in that of the tape
    order    (N,) which of them stands where
    lane     (N,) the lane of each
    sizes    (N, 2) characters of each: of its start and context, and of its text and end
    ends     (N,) how many of these are of its end
    kept     (C,) which of all these characters are read
    ids      (K,) of those
    unknown  (N,) characters of each text that the vocabulary lacks
    """

    lines: Sequence[Line]
    order: _Numbers
    lane: _Numbers
    sizes: _Numbers
    ends: _Numbers
    kept: Mask
    ids: Ids
    unknown: _Numbers

    @classmethod
    def of(cls, vocab: Vocab, lines: Sequence[Line]) -> Tape:
        """Return the lines, laid into lanes; what the vocabulary lacks is left out, unless it has a symbol for that."""
        parts = _parts(vocab, lines)
        sizes = np.array([[len(head), len(tail)] for head, tail, _ in parts], np.intp).reshape(-1, 2)
        order, lane = _dealt(sizes.sum(axis=1))
        sizes = sizes[order]
        ids, absent = vocab.look_up("".join(chain.from_iterable(parts[line][:2] for line in order.tolist())))
        unknown = sums(absent & ~_heads(sizes), sizes.sum(axis=1))
        kept = ~absent if vocab.unknown is None else np.ones_like(absent)
        ends = np.array([end for *_, end in parts], np.intp)[order]
        return cls(lines, order, lane, sizes, ends, kept, ids[kept], unknown)

    @cached_property
    def _read(self) -> _Numbers:
        """Return (N,), how many characters of each line are read."""
        return sums(self.kept, self.sizes.sum(axis=1))

    @cached_property
    def _first(self) -> Mask:
        """Return (K,), which characters begin a line."""
        first = np.zeros(len(self.ids), bool)
        first[(self._read.cumsum() - self._read)[self._read > 0]] = True
        return first

    @cached_property
    def pairs(self) -> _Numbers:
        """Return (N,), how many predictions there are in each line: what is read but for the first character."""
        return np.maximum(self._read - 1, 0)

    @cached_property
    def inputs(self) -> Ids:
        """Return (P,), what is predicted from."""
        return self.ids[~np.roll(self._first, -1)]

    @cached_property
    def targets(self) -> Ids:
        """Return (P,), what is predicted."""
        return self.ids[~self._first]

    @cached_property
    def reset(self) -> Mask:
        """Return (P,), where the state is zero before."""
        return self._first[~np.roll(self._first, -1)]

    @cached_property
    def counted(self) -> Mask:
        """Return (P,), which predictions are of a text or its end."""
        return ~_heads(self.sizes)[self.kept][~self._first]

    @cached_property
    def predicted(self) -> Mask:
        """Return (C,), which of all characters are predicted."""
        predicted = self.kept.copy()
        predicted[self.kept] = ~self._first
        return predicted


def _parts(vocab: Vocab, lines: Sequence[Line]) -> list[tuple[str, str, int]]:
    """Return what stands before each line's text, the text with its end, and how many characters the end has."""
    mark = END if vocab.end is not None else "\n" if "\n" in vocab.symbols else ""
    form, end = vocab.in_form, len(mark)
    return [
        (mark, form(line) + mark, end) if isinstance(line, str) else (mark + form(line[0]), form(line[1]), 0)
        for line in lines
    ]


def _dealt(sizes: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Return the order of the lines on the tape, and their lanes: the longest of those left goes to the shortest lane.

    So many at a time as there are lanes, one to each.
    Shapes:  sizes (N,) · returns (N,), (N,)
    """
    order = np.argsort(-sizes, kind="stable")
    lane, lengths = np.empty_like(order), np.zeros(min(LANES, len(order)), np.intp)
    for at in range(0, len(order), LANES):
        row = sizes[order[at : at + LANES]]
        shortest = np.argsort(lengths, kind="stable")[: len(row)]
        lane[at : at + LANES] = shortest
        lengths[shortest] += row
    by_lane = np.argsort(lane, kind="stable")
    return order[by_lane], lane[by_lane]


def _heads(sizes: _Numbers) -> Mask:
    """Return (C,), which characters stand before the text of their line."""
    return np.repeat(np.tile([True, False], len(sizes)), sizes.reshape(-1))


def sums(values: npt.NDArray[Any], lengths: _Numbers, dtype: npt.DTypeLike = np.intp) -> npt.NDArray[Any]:
    """Return the sum of each run of values, where runs of these lengths stand one behind the other."""
    found, some = np.zeros(len(lengths), dtype), lengths > 0
    found[some] = np.add.reduceat(values, (lengths.cumsum() - lengths)[some], dtype=dtype)
    return found
