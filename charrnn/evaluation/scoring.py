"""Score many lines: the log-probability of each, read side by side in batch rows and returned in order.

A line is scored as it would appear in the training text: after a line end and with its own, or, if the model learned
documents, as a document, from start mark to end mark. A model that knows neither does not score a line's first
character. Each line starts from a zero state. A model that reads backwards reads a line from its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from charrnn.arrays import Array, Mask, Params, Window
from charrnn.config import ModelConfig
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError
from charrnn.evaluation.packing import ROWS, Line, PackedLines, run_sums
from charrnn.evaluation.recall import Carried, Recall, Recalling
from charrnn.evaluation.whole import Scorer, is_worth_sharing
from charrnn.nn.functional import bits
from charrnn.parallel.plan import Plan, others_can_help, threads_to_use
from charrnn.parallel.threads import Threads, in_order
from charrnn.parallel.workers import Remote, Workers

BLOCK = 1 << 20  # characters of lines that are taken together: equal ones are scored once
_PART = 1 << 17  # characters of lines that are packed together: fills all batch rows, bounds memory
#: Predictions of one forward pass: it takes as much memory as an evaluation; with few rows, its windows are longer.
_WINDOW = 1 << 12

T = TypeVar("T")
#: A function that gets the number of a block's different lines that are scored, and that of all of them.
Progress = Callable[[int, int], object]


class Scored(NamedTuple):
    """The score of one line.

    text     the line, or the text that follows a context
    chars    predictions that were scored: of its characters in the vocabulary, and of its end
    logprob  their log-probability in nats; None if nothing was scored
    unknown  characters of the text outside the vocabulary: left out, or scored as the unknown symbol
    bits     bits of each character and of the end, None for one that was not scored; None unless requested. Of a model
             that reads backwards, the end of its reading is the beginning of the line, and its bits come last, too
    """

    text: str
    chars: int
    logprob: float | None
    unknown: int
    bits: tuple[float | None, ...] | None = None

    @property
    def bpc(self) -> float | None:
        """Return bits per character, or None if nothing was scored."""
        return None if self.logprob is None else bits(-self.logprob) / self.chars


def _chars(line: str | bytes | tuple[str, str]) -> int:
    return sum(map(len, line)) if isinstance(line, tuple) else len(line)


def in_blocks(
    lines: Iterable[T], least: int | None = None, *, chars: Callable[[Any], int] = _chars
) -> Iterator[list[T]]:
    """Group lines into lists of at least this many characters, counting one for each line's end.

    Only the last list may be smaller. If reading fails, the lines read before the error come first.
    least: BLOCK if None
    chars: returns the number of characters of a line
    """
    block, size, least = list[T](), 0, BLOCK if least is None else least
    try:
        for line in lines:
            block.append(line)
            size += 1 + chars(line)
            if size >= least:
                yield block
                block, size = [], 0
    except CharRNNError:
        yield block
        raise
    if block:
        yield block


#: A block, and its parts with their future scores.
_Started: TypeAlias = tuple[Sequence[Line], list[tuple[Sequence[Line], Future[list[Scored]]]]]


def score_blocks(
    config: ModelConfig,
    params: Params,
    vocab: Vocab,
    blocks: Iterable[Sequence[Line]],
    *,
    per_char: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
    ahead: bool = False,
    recall: Recall | None = None,
    targets: bool = False,
) -> Generator[list[Scored], None, None]:
    """Yield the scores of each block's lines.

    A block is split into parts, which are scored side by side, each by one process. The parts do not depend on the
    number of processes, so the scores do not either.
    per_char: True: include the bits of each character
    progress: called whenever a part of a block is done, in order
    threads:  processes that score; all cores if None
    ahead:    True: take blocks while those before them are scored; False: yield the scores of a block before taking
              the next
    recall:   score with the model's memory, which is empty at the start of each line
    targets:  as for `PackedLines.of`
    Raises:   ConfigError, at once, if threads is out of range.
    """
    count = threads_to_use(threads)
    return _score_blocks(_Scorers(config, params, count, recall), vocab, blocks, per_char, progress, ahead, targets)


def _score_blocks(
    scorers: _Scorers,
    vocab: Vocab,
    blocks: Iterable[Sequence[Line]],
    per_char: bool,
    progress: Progress | None,
    ahead: bool,
    targets: bool,
) -> Generator[list[Scored], None, None]:
    def score(part: Sequence[Line]) -> list[Scored]:
        packed = PackedLines.of(vocab, part, targets)
        return _scores(packed, scorers.log_probs(packed), per_char)

    def start(block: Sequence[Line]) -> _Started:
        parts = [*in_blocks(dict.fromkeys(block), _PART)]  # scores equal lines once: a log has many
        scorers.expect(sum(len(part) + sum(map(_chars, part)) for part in parts))
        return block, [(part, scorers.submit(score, part)) for part in parts]

    def finish(started: _Started) -> list[Scored]:
        block, parts = started
        scores, done = dict[Line, Scored](), 0
        for part, scored in parts:
            scores.update(zip(part, scored.result(), strict=True))
            done += len(part)
            if progress is not None:
                progress(done, sum(len(own) for own, _ in parts))
        return [scores[line] for line in block]

    most = -(-2 * scorers.count * _PART // BLOCK) if ahead and scorers.count > 1 else 0
    with scorers:
        yield from in_order(blocks, start, finish, ahead=most)


class _Scorers:
    """What scores parts side by side: this process, and, once there is enough work for them, as many others as asked.

    Only then are there several threads, each of which drives one process; or, with a memory, does the work itself.
    Use it as a context manager.
    """

    def __init__(self, config: ModelConfig, params: Params, count: int, recall: Recall | None) -> None:
        self.count, self._recall = count, recall
        self._plan = Plan(config, None, ROWS, _WINDOW, processes=1, threads=1)
        self._params = params
        self._free: SimpleQueue[Scorer | Remote] = SimpleQueue()
        self._threads = Threads(1)
        self._chars = 0
        self._open = ExitStack()

    def __enter__(self) -> _Scorers:
        self._add(self._local())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _local(self) -> Scorer:
        return Workers(self._plan) if self._recall is None else Recalling(self._plan, self._recall, 1)

    def _add(self, scorer: Scorer | Remote) -> None:
        self._open.enter_context(scorer)
        scorer.set_params(self._params)
        self._free.put(scorer)

    def expect(self, chars: int) -> None:
        """Start the other processes if so many more characters are work enough for them."""
        self._chars += chars
        if self.count > self._threads.count and is_worth_sharing(self._chars, self._params):
            self._free.get()
            alone = self._recall is not None or not others_can_help(self._plan.config)
            for _ in range(self.count):
                self._add(self._local() if alone else Remote(self._plan))
            self._threads = self._open.enter_context(Threads(self.count))

    def submit(self, score: Callable[[Sequence[Line]], list[Scored]], part: Sequence[Line]) -> Future[list[Scored]]:
        """Return the future scores of a part."""
        return self._threads.submit(score, part)

    def log_probs(self, packed: PackedLines) -> Array:
        """Return the log-probability of each prediction, in packed order, as soon as a process is free.

        Shapes:  returns (P,)
        Units:   nats.
        """
        scorer = self._free.get()
        try:
            return _log_probs(scorer, packed)
        finally:
            self._free.put(scorer)


def _log_probs(scorer: Scorer | Remote, packed: PackedLines) -> Array:
    """Return the log-probability of each prediction, in packed order.

    Rows are read longest first, so that those still unfinished are always the first ones.
    Shapes:  returns (P,)
    Units:   nats.
    """
    lengths = np.bincount(packed.row, packed.pairs).astype(np.intp)
    longest = np.argsort(-lengths, kind="stable")
    starts, lengths = (lengths.cumsum() - lengths)[longest], lengths[longest]
    positions = np.zeros(len(lengths), np.intp)
    if isinstance(scorer, Recalling):
        state: Any = scorer.start(positions, int(packed.pairs.max(initial=0)))
    else:
        state = scorer.start(positions)
    log_probs = np.empty(len(packed.targets), scorer.plan.config.dtype)
    begin, end = 0, int(lengths.max(initial=0))
    while begin < end:
        rows = int((lengths > begin).sum())
        steps = np.arange(begin, min(begin + _WINDOW // rows, end))[:, None]
        inside = steps < lengths[:rows]
        indices = starts[:rows] + np.where(inside, steps, begin)
        window = Window(packed.inputs[indices], packed.targets[indices], packed.reset[indices])
        state = state.first(rows) if isinstance(state, Carried) else state[:, :, :rows]
        *scores, state = scorer.score(window, state)
        log_probs[indices[inside]] = scores[-2][inside]
        begin += len(steps)
    return log_probs


def _scores(packed: PackedLines, log_probs: Array, per_char: bool) -> list[Scored]:
    """Return the score of each line, in the order of `packed.lines`.

    Shapes:  log_probs (P,)
    """
    chars = run_sums(packed.counted, packed.pairs)
    chars *= chars > packed.ends  # a line without a known character has no score, though its end was predicted
    logprobs = run_sums(np.where(packed.counted, log_probs, 0), packed.pairs, np.float64)
    place = np.argsort(packed.order)
    columns = [column[place].tolist() for column in (chars, logprobs, packed.unknown)]
    bits_of = _bits(packed, log_probs, chars > 0) if per_char else [None] * len(place)
    return [
        Scored(line if isinstance(line, str) else line[1], count, logprob if count else None, unknown, own)
        for line, count, logprob, unknown, own in zip(packed.lines, *columns, bits_of, strict=True)
    ]


def _bits(packed: PackedLines, log_probs: Array, scored: Mask) -> list[tuple[float | None, ...]]:
    """Return the bits of each line's characters, in the order of `packed.lines`; None for one that was not scored.

    Shapes:  log_probs (P,) · scored (N,), which lines have a score
    """
    values = np.full(len(packed.predicted), np.nan)
    values[packed.predicted] = np.where(packed.counted, -log_probs / np.log(2), np.nan)
    ends = packed.sizes.sum(axis=1).cumsum()
    own = [values[ends[line] - packed.sizes[line, 1] : ends[line]].tolist() for line in range(len(ends))]
    if packed.reverse:
        lengths = (packed.sizes[:, 1] - packed.ends).tolist()
        own = [bits[:chars][::-1] + bits[chars:] for bits, chars in zip(own, lengths, strict=True)]
    return [
        tuple(value if scored[line] and value == value else None for value in own[line])
        for line in np.argsort(packed.order)
    ]
