"""Scoring: lines of requests that wait at the same time are scored together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from charrnn.api import LanguageModel
from charrnn.evaluation.scoring import Scored, in_blocks

_BLOCK = 50_000  # characters scored at once, before other requests have their turn and disconnects are noticed


@dataclass(eq=False)
class _Pending:
    """Lines that a request waits for, and in the end their scores.

    begun  whether they are being scored, by this request or another
    ended  is set when that has ended
    """

    lines: Sequence[str]
    per_char: bool
    scored: list[Scored] | None = None
    begun: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _size(self.lines)


class Scorer:
    """Scores the lines of all waiting requests with one model, side by side.

    in_thread  calls a function in another thread
    cores      acquired while a block is scored: one semaphore for all models
    """

    def __init__(
        self,
        model: LanguageModel,
        in_thread: Callable[[Callable[[], list[Scored]]], Awaitable[list[Scored]]],
        cores: asyncio.Semaphore,
    ) -> None:
        self._model, self._in_thread, self._cores = model, in_thread, cores
        self._waiting: list[_Pending] = []

    async def score(self, lines: Sequence[str], per_char: bool) -> list[Scored]:
        """Return the score of each line.

        Raises:  VocabError for a line that the model cannot read.
        """
        for line in lines:  # so that an error in one request does not reach the others
            self._model.checkpoint.vocab.in_form(line)
        return [scored for block in in_blocks(lines, _BLOCK) for scored in await self._block(_Pending(block, per_char))]

    async def _block(self, own: _Pending) -> list[Scored]:
        """Return the scores of these lines, computed here or by another request that had a core."""
        self._waiting.append(own)
        try:
            while own.scored is None:
                async with self._cores:
                    if not (own.begun or own.scored):
                        await self._score_together(own)
                if own.begun:
                    await own.ended.wait()
        finally:
            self._waiting = [pending for pending in self._waiting if pending is not own]
        assert own.scored is not None
        return own.scored

    async def _score_together(self, own: _Pending) -> None:
        """Score these lines, and with them as many waiting ones as fit into a block."""
        block, size = [own], own.size
        for pending in self._waiting:
            if not (pending is own or pending.begun or pending.scored) and size + pending.size <= _BLOCK:
                block.append(pending)
                size += pending.size
        lines = [line for pending in block for line in pending.lines]
        per_char = any(pending.per_char for pending in block)
        for pending in block:
            pending.begun = True
            pending.ended.clear()
        try:
            scored = iter(await self._in_thread(lambda: list(self._model.score(lines, per_char=per_char, threads=1))))
            for pending in block:
                pending.scored = [next(scored) for _ in pending.lines]
        finally:  # if this request is cancelled, the others score their own lines
            for pending in block:
                pending.begun = False
                pending.ended.set()


def _size(lines: Iterable[str]) -> int:
    """Return how many characters are scored, including the end of each line."""
    return sum(len(line) + 1 for line in lines)
