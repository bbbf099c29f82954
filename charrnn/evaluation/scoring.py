"""Scoring: how likely each of many lines is, read many side by side and told in their order.

A line is scored as it would stand in the text that the model learned: behind a line end and with its own, or, where the
model learned documents, as one of them, from the start mark to the end mark. Models that know neither predict nothing
of a line's first character. The state is zero before each line.

Lines are laid end to end into lanes of about the same length, and windows run down all lanes at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

import numpy as np

from charrnn.arrays import Array, Mask, Params
from charrnn.config import ModelConfig
from charrnn.data.stream import Window
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError
from charrnn.evaluation.packing import LANES, Line, Tape, sums
from charrnn.evaluation.whole import bits, lanes_of
from charrnn.nn import model
from charrnn.parallel.processes import Lanes

BLOCK = 1 << 20  # characters of lines that wait for one another: fills all lanes, bounds memory
_WINDOW = 1 << 12  # predictions taken at once: takes the memory of an evaluation, and few lanes go far with it

_Sized = TypeVar("_Sized", str, bytes, Line)


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


def in_blocks(lines: Iterable[_Sized], least: int | None = None) -> Iterator[list[_Sized]]:
    """Yield the lines in lists that have, with an end each, so many characters or more, the last one aside.

    Where there is an error in reading on, the lines before it come first.
    least: characters of a list; BLOCK if None
    """
    block, size, least = list[_Sized](), 0, BLOCK if least is None else least
    try:
        for line in lines:
            block.append(line)
            size += 1 + (sum(map(len, line)) if isinstance(line, tuple) else len(line))
            if size >= least:
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
            tape = Tape.of(vocab, [*dict.fromkeys(block)])  # equal lines once: a log has many
            seen += len(tape.targets)
            wider = lanes_of(config, params, seen, LANES, _WINDOW)
            if wider.plan.shares > lanes.plan.shares:  # what there is to do pays for other processes
                lanes = holds.enter_context(wider)
                lanes.take(params)
            found = dict(zip(tape.lines, _told(tape, _log_probs(lanes, tape), per_char), strict=True))
            yield [found[line] for line in block]


def _log_probs(lanes: Lanes, tape: Tape) -> Array:
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


def _told(tape: Tape, log_probs: Array, per_char: bool) -> list[Scored]:
    """Return what the log-probabilities (P,) of the predictions say of each line, in the order in which they came."""
    chars = sums(tape.counted, tape.pairs)
    chars *= chars > tape.ends  # where no character is known, nothing is scored
    nats = sums(np.where(tape.counted, log_probs, 0), tape.pairs, np.float64)
    place = np.argsort(tape.order)
    columns = [column[place].tolist() for column in (chars, nats, tape.unknown)]
    each = _bits(tape, log_probs, chars > 0) if per_char else [None] * len(place)
    return [
        Scored(line if isinstance(line, str) else line[1], count, total if count else None, unknown, own)
        for line, count, total, unknown, own in zip(tape.lines, *columns, each, strict=True)
    ]


def _bits(tape: Tape, log_probs: Array, scored: Mask) -> list[tuple[float | None, ...]]:
    """Return the bits of each line's characters, likewise."""
    found = np.full(len(tape.predicted), np.nan)
    found[tape.predicted] = np.where(tape.counted, -log_probs / np.log(2), np.nan)
    ends = tape.sizes.sum(axis=1).cumsum()
    own = [found[ends[line] - tape.sizes[line, 1] : ends[line]].tolist() for line in range(len(ends))]
    return [
        tuple(number if scored[line] and number == number else None for number in own[line])
        for line in np.argsort(tape.order)
    ]
