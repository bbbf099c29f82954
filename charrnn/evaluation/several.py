"""Several models score the same lines: which of them is the best for each line, and by how much."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import TypeAlias, TypeVar

from charrnn.evaluation.scoring import Scored
from charrnn.nn.functional import bits

_UNKNOWN_BITS = math.log2(0x110000)  # of a character that a model does not know: any of Unicode, alike

T = TypeVar("T")
#: A function that yields the scores of each block of lines.
ScoreBlocks: TypeAlias = Callable[[Iterator[Sequence[T]]], Generator[list[Scored], None, None]]


def costs(scores: Sequence[Scored]) -> list[float]:
    """Return what several models' scores of one line cost.

    A model is charged for its log-probability and 20.1 bits for each character that it does not know: otherwise the
    model that skips most of a line would win.
    Units:   bits.
    """
    return [bits(-(scored.logprob or 0.0)) + scored.unknown * _UNKNOWN_BITS for scored in scores]


def best_of(scores: Sequence[Scored]) -> tuple[int, float | None]:
    """Return which of several models' scores of one line is best, and its margin; (0, None) if no model has a score.

    Units:   the margin over the second best model is in bits for each character of the line.
    """
    if all(scored.logprob is None for scored in scores):
        return 0, None
    charged = costs(scores)
    best, second = sorted(range(len(charged)), key=charged.__getitem__)[:2]
    return best, (charged[second] - charged[best]) / max(1, len(scores[best].text))


def score_by_each(
    models: Sequence[ScoreBlocks[T]], blocks: Iterable[Sequence[T]]
) -> Generator[tuple[Sequence[T], list[list[Scored]]], None, None]:
    """Yield each block of lines with the scores of each model; a block that all have read is freed."""
    *copies, present = _read_by_all(blocks, len(models) + 1)
    with ExitStack() as stack:  # however this ends, the processes of the models do
        scores = [stack.enter_context(closing(model(copy))) for model, copy in zip(models, copies, strict=True)]
        for own in zip(*scores, strict=True):
            yield next(present), [*own]


def _read_by_all(blocks: Iterable[T], count: int) -> list[Iterator[T]]:
    """Return iterators of the same blocks; one that all have read is freed, as `itertools.tee` does not promise."""
    queues, source = [deque[T]() for _ in range(count)], iter(blocks)

    def read(own: deque[T]) -> Iterator[T]:
        while True:
            if not own:
                more = [*islice(source, 1)]
                if not more:
                    return
                for queue in queues:
                    queue.extend(more)
                more.clear()
            yield own.popleft()

    return [*map(read, queues)]
