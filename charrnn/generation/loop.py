"""Sampling: the loop that writes B texts side by side, an id each at a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.generation.ensemble import Beginning, Nets
from charrnn.generation.filters import Filters
from charrnn.generation.rules import Rules, last_ids
from charrnn.nn.functional import log_prob

_LARGE = 1 << 15  # weights from which on a running sum of them all takes long
_BLOCK = 64  # ids whose weights are summed up as one
_DRAWN = 256  # uniform numbers that a stream draws at once


def draw(weights: Array, uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return one id for each of B streams: where the running sum of its weights passes its share of their sum.

    Shapes:  weights (B, V) · uniforms (B,), each in [0, 1) · returns (B,)
    """
    ids: npt.NDArray[np.intp]
    if len(weights) == 1:  # the same, in half the time: NumPy is quicker with single numbers than with rows of one
        sums = np.add.accumulate(weights[0])
        ids = (sums > uniforms[0] * sums[-1]).argmax(keepdims=True)
        return ids
    if weights.size > _LARGE:
        return _drawn_by_blocks(weights, uniforms)
    sums = np.add.accumulate(weights, axis=-1)
    ids = (sums > (uniforms * sums[:, -1])[:, None]).argmax(axis=-1)
    return ids


def _drawn_by_blocks(weights: Array, uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the same, a block of ids first and then one of them: a running sum takes longer than a plain one."""
    V, rows = weights.shape[1], np.arange(len(weights))
    blocks = np.add.reduceat(weights, np.arange(0, V, _BLOCK), axis=-1)
    sums = np.add.accumulate(blocks, axis=-1)
    shares = uniforms * sums[:, -1]
    chosen = (sums > shares[:, None]).argmax(axis=-1)
    shares -= sums[rows, chosen] - blocks[rows, chosen]
    ids = chosen[:, None] * _BLOCK + np.arange(_BLOCK)
    own = np.where(ids < V, weights[rows[:, None], np.minimum(ids, V - 1)], 0)
    sums = np.add.accumulate(own, axis=-1)
    shares = np.clip(shares, 0, np.nextafter(sums[:, -1], 0))  # which rounding may leave
    drawn: npt.NDArray[np.intp] = ids[rows, (sums > shares[:, None]).argmax(axis=-1)]
    return drawn


def uniform_numbers(entropy: Sequence[int]) -> Iterator[float]:
    """Yield the random numbers of a text: they depend on its seed and index, not on the texts beside it."""
    seed, index, drawn = [*entropy, 0, 0][:3]
    rng = np.random.default_rng([seed % 2**32, index, drawn, seed >> 32])  # numbers of 32 bits, each in its place
    while True:
        yield from rng.random(_DRAWN).tolist()


class Step(NamedTuple):
    """One more id of each text that has not ended.

    texts      (B,) which these are
    ids        (B,)
    log_probs  (B,) of the ids, by the model alone, in nats; None if nobody asked
    ended      (B,) "" for a text that goes on; else why it has ended: length, stop, document or constraint
    """

    texts: npt.NDArray[np.intp]
    ids: npt.NDArray[np.intp]
    log_probs: Array | None
    ended: list[str]


@dataclass(eq=False)
class Streams:
    """Texts that are written side by side by the same rules and filters; others may join between steps.

    Shapes:  texts (B,), what each is known by · logits (B, V) of the next id · states (L, S, B, H) of each net ·
             ids (B,), the last · recent (B, W) · lines, places (B,) · written (B,), or a number for all
    """

    rules: Rules
    filters: Filters
    texts: npt.NDArray[np.intp]
    sources: list[Iterator[float]]
    logits: Array
    states: list[Array]
    recent: npt.NDArray[np.intp]
    lines: npt.NDArray[np.intp]
    places: npt.NDArray[np.intp]
    ids: npt.NDArray[np.intp]
    written: int | npt.NDArray[np.intp] = 0

    @classmethod
    def begin(
        cls,
        beginnings: Sequence[Beginning],
        entropy: Sequence[Sequence[int]],
        *,
        rules: Rules,
        filters: Filters,
        first: int = 0,
    ) -> Streams:
        """Return texts that go on from the beginnings, known by numbers from `first` on.

        entropy  for each text what its random numbers come from: its seed, below 2^64, its index, and how often it was
                 drawn before; zeros at its end change nothing
        """
        zeros = np.zeros(len(beginnings), np.intp)
        return cls(
            rules,
            filters,
            texts=np.arange(first, first + len(beginnings)),
            sources=[uniform_numbers(own) for own in entropy],
            logits=np.concatenate([beginning.logits for beginning in beginnings]),
            states=[np.concatenate(own, axis=2) for own in zip(*(b.states for b in beginnings), strict=True)],
            recent=last_ids([b.recent for b in beginnings], max([filters.window, *map(len, rules.stops)])),
            lines=zeros,
            places=zeros,
            ids=zeros,
        )

    def __len__(self) -> int:
        return len(self.texts)

    def write(self, scored: bool = False) -> Step:
        """Draw one more id of each; `advance` has to read it before the next.

        scored  True: log-probabilities are told
        """
        uniforms = np.array([next(source) for source in self.sources])
        left = self.filters(self.rules.possible(self.logits, self.written, self.places), self.recent)
        ids = left.ids_at(draw(left.weights, uniforms))
        log_probs = log_prob(self.logits.copy(), ids)[0] if scored else None
        self.ids, self.written = ids, self.written + 1
        if self.recent.shape[1]:
            self.recent[:, :-1] = self.recent[:, 1:]
            self.recent[:, -1] = ids
        if self.rules.lines:
            self.lines = self.lines + (ids == self.rules.newline)
        self.places = self.rules.follow(self.places, ids)
        ended = self.rules.ended(self.written, ids, self.recent, self.lines, self.places)
        return Step(self.texts, ids, log_probs, ended)

    def keep(self, rows: Sequence[int]) -> None:
        """Let the other rows go."""
        for name in ("texts", "ids", "recent", "lines", "places", "logits"):
            setattr(self, name, getattr(self, name)[rows])
        self.sources = [self.sources[row] for row in rows]
        self.states = [state[:, :, rows] for state in self.states]
        if not isinstance(self.written, int):
            self.written = self.written[rows]

    def join(self, other: Streams) -> None:
        """Take in texts of the same rules and filters."""
        self.written = np.concatenate([np.full(len(own), own.written) for own in (self, other)])
        for name in ("texts", "ids", "recent", "lines", "places", "logits"):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        self.sources = self.sources + other.sources
        self.states = [np.concatenate(own, axis=2) for own in zip(self.states, other.states, strict=True)]


def advance(nets: Nets, groups: Sequence[Streams]) -> None:
    """Read the last id of every text in all the groups, in one step of the nets."""
    if len(groups) == 1:
        groups[0].logits = nets.step(groups[0].ids, groups[0].states)
        return
    states = [np.concatenate(own, axis=2) for own in zip(*(group.states for group in groups), strict=True)]
    logits, at = nets.step(np.concatenate([group.ids for group in groups]), states), 0
    for group in groups:
        rows = slice(at, at := at + len(group))
        group.logits, group.states = logits[rows], [state[:, :, rows] for state in states]


def generate(
    nets: Nets,
    beginnings: Sequence[Beginning],
    entropy: Sequence[Sequence[int]],
    *,
    rules: Rules,
    filters: Filters,
    scored: bool = False,
) -> Iterator[Step]:
    """Yield what is written after the beginnings, step by step, until all texts have ended.

    entropy  as for `Streams.begin`
    scored   True: log-probabilities are told
    """
    if rules.length == 0:
        return
    streams = Streams.begin(beginnings, entropy, rules=rules, filters=filters)
    while True:
        step = streams.write(scored)
        yield step
        if any(step.ended):
            streams.keep([row for row, why in enumerate(step.ended) if not why])
            if not len(streams):
                return
        advance(nets, [streams])
