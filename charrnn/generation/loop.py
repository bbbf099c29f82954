"""The sampling loop: draws B samples side by side, one id each per step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.generation.ensemble import Ensemble, Primed
from charrnn.generation.filters import apply_filters
from charrnn.generation.rules import Rules, last_ids
from charrnn.generation.settings import Filters
from charrnn.nn.functional import log_prob

_LARGE = 1 << 15  # weights above which a running sum of all of them takes long
_BLOCK = 64  # ids whose weights are summed as one
_ROWS = ("samples", "ids", "recent", "lines", "rule_states", "logits")  # arrays of `Streams` with one row a sample
_CHUNK = 256  # uniform numbers that a sample draws at once


def draw(weights: Array, uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return one id for each batch row: the first whose cumulative weight exceeds this share of the row's sum.

    Shapes:  weights (B, V) · uniforms (B,), each in [0, 1) · returns (B,)
    """
    ids: npt.NDArray[np.intp]
    if len(weights) == 1:  # without this case, one sample takes 13 % longer
        sums = np.add.accumulate(weights[0])
        ids = (sums > uniforms[0] * sums[-1]).argmax(keepdims=True)
        return ids
    if weights.size > _LARGE:
        return _draw_by_blocks(weights, uniforms)
    sums = np.add.accumulate(weights, axis=-1)
    ids = (sums > (uniforms * sums[:, -1])[:, None]).argmax(axis=-1)
    return ids


def _draw_by_blocks(weights: Array, uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Draw as `draw` does: first a block of ids, then one of them, since plain sums are faster than running ones."""
    V, rows = weights.shape[1], np.arange(len(weights))
    blocks = np.add.reduceat(weights, np.arange(0, V, _BLOCK), axis=-1)
    sums = np.add.accumulate(blocks, axis=-1)
    shares = uniforms * sums[:, -1]
    chosen = (sums > shares[:, None]).argmax(axis=-1)
    shares -= sums[rows, chosen] - blocks[rows, chosen]
    ids = chosen[:, None] * _BLOCK + np.arange(_BLOCK)
    own = np.where(ids < V, weights[rows[:, None], np.minimum(ids, V - 1)], 0)
    sums = np.add.accumulate(own, axis=-1)
    shares = np.clip(shares, 0, np.nextafter(sums[:, -1], 0))  # rounding may leave this range
    drawn: npt.NDArray[np.intp] = ids[rows, (sums > shares[:, None]).argmax(axis=-1)]
    return drawn


def uniform_numbers(entropy: Sequence[int]) -> Iterator[float]:
    """Yield the random numbers of a sample, which depend only on its seed, index and redraw, never on its neighbours.

    entropy  seed, index, redraw; those left out are 0
    """
    seed, index, redraw = [*entropy, 0, 0][:3]
    rng = np.random.default_rng([seed % 2**32, index, redraw, seed >> 32])  # one 32-bit word for each
    while True:
        yield from rng.random(_CHUNK).tolist()


class Step(NamedTuple):
    """One more id of each sample that has not ended.

    samples    (B,) the number of each sample
    ids        (B,)
    log_probs  (B,) of the ids under the model, before any filter, in nats; None unless requested
    ended      (B,) "" for a sample that continues, else why it ended: length, stop, document or constraint
    """

    samples: npt.NDArray[np.intp]
    ids: npt.NDArray[np.intp]
    log_probs: Array | None
    ended: list[str]


@dataclass(eq=False)
class Streams:
    """Samples drawn side by side with the same rules and filters; others may join between steps.

    Shapes:  samples (B,), the number of each · logits (B, V) of the next id · states (L, S, B, H) of each member ·
             ids (B,), the last · recent (B, W) · lines (B,) · rule_states (B,), of the constraint · length (B,), or
             one number for all
    """

    rules: Rules
    filters: Filters
    samples: npt.NDArray[np.intp]
    uniforms: list[Iterator[float]]
    logits: Array
    states: list[Array]
    recent: npt.NDArray[np.intp]
    lines: npt.NDArray[np.intp]
    rule_states: npt.NDArray[np.intp]
    ids: npt.NDArray[np.intp]
    length: int | npt.NDArray[np.intp] = 0

    @classmethod
    def start(
        cls,
        primed: Sequence[Primed],
        entropy: Sequence[Sequence[int]],
        *,
        rules: Rules,
        filters: Filters,
        first: int = 0,
    ) -> Streams:
        """Return one empty sample for each primed state, numbered from `first`.

        entropy  of each sample: its seed, below 2^64, its index, and its redraw; trailing zeros change nothing
        """
        zeros = np.zeros(len(primed), np.intp)
        return cls(
            rules,
            filters,
            samples=np.arange(first, first + len(primed)),
            uniforms=[uniform_numbers(own) for own in entropy],
            logits=np.concatenate([one.logits for one in primed]),
            states=[np.concatenate(own, axis=2) for own in zip(*(one.states for one in primed), strict=True)],
            recent=last_ids([one.recent for one in primed], max([filters.window, *map(len, rules.stops)])),
            lines=zeros,
            rule_states=zeros,
            ids=zeros,
        )

    def __len__(self) -> int:
        return len(self.samples)

    def draw(self, scored: bool = False) -> Step:
        """Draw one more id of each sample. `advance` must read these before the next draw.

        scored  True: return log-probabilities too
        """
        uniforms = np.array([next(own) for own in self.uniforms])
        possible = self.rules.mask(self.logits, self.length, self.rule_states)
        candidates = apply_filters(self.filters, possible, self.recent)
        ids = candidates.ids_at(draw(candidates.weights, uniforms))
        # The same bits as `log_softmax`, which takes a quarter longer for 64 rows of 5,000 symbols.
        log_probs = log_prob(self.logits.copy(), ids)[0] if scored else None
        self.ids, self.length = ids, self.length + 1
        if self.recent.shape[1]:
            self.recent[:, :-1] = self.recent[:, 1:]
            self.recent[:, -1] = ids
        if self.rules.lines:
            self.lines = self.lines + (ids == self.rules.newline)
        self.rule_states = self.rules.follow(self.rule_states, ids)
        ended = self.rules.ended(self.length, ids, self.recent, self.lines, self.rule_states)
        return Step(self.samples, ids, log_probs, ended)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        for name in _ROWS:
            setattr(self, name, getattr(self, name)[rows])
        self.uniforms = [self.uniforms[row] for row in rows]
        self.states = [state[:, :, rows] for state in self.states]
        if not isinstance(self.length, int):
            self.length = self.length[rows]

    def join(self, other: Streams) -> None:
        """Add samples with the same rules and filters."""
        self.length = np.concatenate([np.full(len(own), own.length) for own in (self, other)])
        for name in _ROWS:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        self.uniforms = self.uniforms + other.uniforms
        self.states = [np.concatenate(own, axis=2) for own in zip(self.states, other.states, strict=True)]


def advance(ensemble: Ensemble, groups: Sequence[Streams]) -> None:
    """Read the last id of every sample in all groups, in one step of the models."""
    if len(groups) == 1:
        groups[0].logits = ensemble.step(groups[0].ids, groups[0].states)
        return
    states = [np.concatenate(own, axis=2) for own in zip(*(group.states for group in groups), strict=True)]
    logits, at = ensemble.step(np.concatenate([group.ids for group in groups]), states), 0
    for group in groups:
        rows = slice(at, at := at + len(group))
        group.logits, group.states = logits[rows], [state[:, :, rows] for state in states]


def generate(
    ensemble: Ensemble,
    primed: Sequence[Primed],
    entropy: Sequence[Sequence[int]],
    *,
    rules: Rules,
    filters: Filters,
    scored: bool = False,
) -> Iterator[Step]:
    """Continue each primed state, and yield step after step until every sample has ended.

    entropy  as for `Streams.start`
    scored   True: return log-probabilities too
    """
    if rules.length == 0:
        return
    streams = Streams.start(primed, entropy, rules=rules, filters=filters)
    while True:
        step = streams.draw(scored)
        yield step
        if any(step.ended):
            streams.keep([row for row, why in enumerate(step.ended) if not why])
            if not len(streams):
                return
        advance(ensemble, [streams])
