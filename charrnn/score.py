"""Scoring: how likely each of many lines is, read many side by side and told in their order.

A line is scored as it would stand in the text that the model learned: behind a line end and with its own, or, where the
model learned documents, as one of them, from the start mark to the end mark. Models that know neither predict nothing
of a line's first character. The state is zero before each line.

Lines are laid end to end into lanes of about the same length, and windows run down all lanes at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from charrnn import model
from charrnn.arrays import Array, Ids, Mask, Params
from charrnn.config import ModelConfig
from charrnn.errors import CharRNNError
from charrnn.evaluate import bits, lanes_of
from charrnn.lanes import Lanes
from charrnn.stream import Window
from charrnn.text import END
from charrnn.vocab import Vocab

LANES = 128  # that are read side by side
BLOCK = 1 << 20  # characters of lines that wait for one another: fills all lanes, bounds memory
_WINDOW = 1 << 12  # predictions taken at once: takes the memory of an evaluation, and few lanes go far with it

#: A line; or a context and the text that continues it, which is scored without an end.
Line: TypeAlias = str | tuple[str, str]
_Sized = TypeVar("_Sized", bytes, Line)
_Numbers: TypeAlias = npt.NDArray[np.intp]


class Scored(NamedTuple):
    """How likely a line is.

    text     the line, or what continues a context
    chars    the predictions that were scored: of its characters, but those left out, and of its end
    logprob  the log-probability of all these in nats; None where nothing was scored
    unknown  characters of the text that the vocabulary lacks: left out, or scored as the unknown symbol
    bits     of each character, and of the end; None in the place of those not scored, and if nobody asked
    """

    text: str
    chars: int
    logprob: float | None
    unknown: int
    bits: tuple[float | None, ...] | None = None

    @property
    def bpc(self) -> float | None:
        """Return bits per character, or None where nothing was scored."""
        return None if self.logprob is None else bits(-self.logprob) / self.chars


def in_blocks(lines: Iterable[_Sized]) -> Iterator[list[_Sized]]:
    """Yield the lines in lists that have, with an end each, BLOCK characters or more, the last one aside.

    Where there is an error in reading on, the lines before it come first.
    """
    block, size = list[_Sized](), 0
    try:
        for line in lines:
            block.append(line)
            size += 1 + (sum(map(len, line)) if isinstance(line, tuple) else len(line))
            if size >= BLOCK:
                yield block
                block, size = [], 0
    except CharRNNError:
        yield block
        raise
    if block:
        yield block


def score_blocks(
    config: ModelConfig, params: Params, vocab: Vocab, blocks: Iterable[Sequence[Line]], *, per_char: bool = False
) -> Iterator[list[Scored]]:
    """Yield how likely the lines of each block are, before the next block is asked for.

    per_char: True: the bits of each character are told
    """
    seen, lanes = 0, lanes_of(config, params, 0, LANES, _WINDOW)
    with ExitStack() as holds:
        holds.enter_context(lanes).take(params)
        for block in blocks:
            tape = _Tape.of(vocab, [*dict.fromkeys(block)])  # equal lines once: a log has many
            seen += len(tape.targets)
            wider = lanes_of(config, params, seen, LANES, _WINDOW)
            if wider.plan.shares > lanes.plan.shares:  # what there is to do pays for other processes
                lanes = holds.enter_context(wider)
                lanes.take(params)
            found = dict(zip(tape.lines, tape.told(_log_probs(lanes, tape), per_char), strict=True))
            yield [found[line] for line in block]


def _log_probs(lanes: Lanes, tape: _Tape) -> Array:
    """Return the log-probability of each prediction on the tape.

    Shapes:  returns (P,)
    Units:   nats.
    """
    lengths = np.bincount(tape.lane, tape.pairs).astype(np.intp)
    longest = np.argsort(-lengths, kind="stable")
    starts, lengths = (lengths.cumsum() - lengths)[longest], lengths[longest]
    state = model.zero_state(lanes.plan.config, len(lengths))
    found = np.empty(len(tape.targets), state.dtype)
    begin, end = 0, int(lengths.max(initial=0))
    while begin < end:
        going = int((lengths > begin).sum())  # lanes that have not ended: the first ones
        steps = np.arange(begin, min(begin + _WINDOW // going, end))[:, None]
        own = steps < lengths[:going]
        places = starts[:going] + np.where(own, steps, begin)
        window = Window(tape.inputs[places], tape.targets[places], tape.reset[places])
        log_probs, _, state = lanes.score(window, state[:, :, :going])
        found[places[own]] = log_probs[own]
        begin += len(steps)
    return found


@dataclass(frozen=True, eq=False)
class _Tape:
    """N different lines, in another order: lane after lane, in each line after line; K characters, P predictions.

    lines    in the order in which they came
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
    def of(cls, vocab: Vocab, lines: Sequence[Line]) -> _Tape:
        """Return the lines, laid into lanes; what the vocabulary lacks is left out, unless it has a symbol for that."""
        parts = _parts(vocab, lines)
        sizes = np.array([[len(head), len(tail)] for head, tail, _ in parts], np.intp).reshape(-1, 2)
        order, lane = _dealt(sizes.sum(axis=1))
        sizes = sizes[order]
        ids, absent = vocab.look_up("".join(chain.from_iterable(parts[line][:2] for line in order.tolist())))
        unknown = _sums(absent & ~_heads(sizes), sizes.sum(axis=1))
        kept = ~absent if vocab.unknown is None else np.ones_like(absent)
        ends = np.array([end for *_, end in parts], np.intp)[order]
        return cls(lines, order, lane, sizes, ends, kept, ids[kept], unknown)

    @cached_property
    def _read(self) -> _Numbers:
        """Return (N,), how many characters of each line are read."""
        return _sums(self.kept, self.sizes.sum(axis=1))

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
    def _counted(self) -> Mask:
        """Return (P,), which predictions are of a text or its end."""
        return ~_heads(self.sizes)[self.kept][~self._first]

    def told(self, log_probs: Array, per_char: bool) -> list[Scored]:
        """Return what the predictions' log-probabilities (P,) say of each line, in the order of `lines`."""
        chars = _sums(self._counted, self.pairs)
        chars *= chars > self.ends  # where no character is known, nothing is scored
        nats = _sums(np.where(self._counted, log_probs, 0), self.pairs, np.float64)
        place = np.argsort(self.order)
        columns = [column[place].tolist() for column in (chars, nats, self.unknown)]
        each = self._bits(log_probs, chars > 0) if per_char else repeat(None)
        return [
            Scored(line if isinstance(line, str) else line[1], count, total if count else None, unknown, own)
            for line, count, total, unknown, own in zip(self.lines, *columns, each)  # noqa: B905  `repeat` has no end
        ]

    def _bits(self, log_probs: Array, scored: Mask) -> Iterator[tuple[float | None, ...]]:
        """Yield the bits of each line's characters, in the order of `lines`."""
        predicted = self.kept.copy()
        predicted[self.kept] = ~self._first
        found = np.full(len(predicted), np.nan)
        found[predicted] = np.where(self._counted, -log_probs / np.log(2), np.nan)
        ends = self.sizes.sum(axis=1).cumsum()
        for line in np.argsort(self.order):
            own = found[ends[line] - self.sizes[line, 1] : ends[line]].tolist()
            yield tuple(number if scored[line] and number == number else None for number in own)


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


def _sums(values: npt.NDArray[Any], lengths: _Numbers, dtype: npt.DTypeLike = np.intp) -> npt.NDArray[Any]:
    """Return the sum of each run of values, where runs of these lengths stand one behind the other."""
    sums, some = np.zeros(len(lengths), dtype), lengths > 0
    sums[some] = np.add.reduceat(values, (lengths.cumsum() - lengths)[some], dtype=dtype)
    return sums
