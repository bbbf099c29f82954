"""Scores that requests wait for at the same time, computed together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from charrnn.api import LanguageModel
from charrnn.evaluation.scoring import Scored, in_blocks

_BLOCK = 50_000  # characters that are scored before others have their turn, and before it is seen who has left


@dataclass(eq=False)
class _Asked:
    """Lines that a request waits for, and in the end how likely each is."""

    lines: Sequence[str]
    per_char: bool
    scored: list[Scored] | None = None
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = _size(self.lines)


class Scoring:
    """Scores by one model the lines of all requests that wait, side by side.

    aside  calls a function in a thread
    turn   is held while that goes on, since it may take all cores; one for all models
    """

    def __init__(
        self,
        model: LanguageModel,
        aside: Callable[[Callable[[], list[Scored]]], Awaitable[list[Scored]]],
        turn: asyncio.Lock,
    ) -> None:
        self._model, self._aside, self._turn = model, aside, turn
        self._waiting: list[_Asked] = []

    async def score(self, lines: Sequence[str], per_char: bool) -> list[Scored]:
        """Return how likely each line is.

        Raises:  VocabError for a line that the model cannot read.
        """
        for line in lines:  # what one request has wrong is told to nobody else
            self._model.checkpoint.vocab.in_form(line)
        return [scored for block in in_blocks(lines, _BLOCK) for scored in await self._block(_Asked(block, per_char))]

    async def _block(self, own: _Asked) -> list[Scored]:
        """Return how likely these lines are, scored by who has the turn: itself, or one that took them along."""
        self._waiting.append(own)
        try:
            async with self._turn:
                if own.scored is None:
                    await self._together(own)
        finally:
            self._waiting = [asked for asked in self._waiting if asked is not own]
        assert own.scored is not None
        return own.scored

    async def _together(self, own: _Asked) -> None:
        """Score these lines, and with them those that wait, as many as make up a block."""
        together, size = [own], own.size
        for asked in self._waiting:
            if asked is not own and asked.scored is None and size + asked.size <= _BLOCK:
                together.append(asked)
                size += asked.size
        lines = [line for asked in together for line in asked.lines]
        per_char = any(asked.per_char for asked in together)
        scored = iter(await self._aside(lambda: list(self._model.score(lines, per_char=per_char))))
        for asked in together:
            asked.scored = [next(scored) for _ in asked.lines]


def _size(lines: Iterable[str]) -> int:
    """Return how many characters there are to score, with an end to each line."""
    return sum(len(line) + 1 for line in lines)
