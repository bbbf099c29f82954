"""The sampling loop: draws B samples side by side, one id each per step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Mask
from charrnn.generation.ensemble import Ensemble, Primed
from charrnn.generation.filters import LEAST_TEMPERATURE, apply_filters
from charrnn.generation.rules import Rules, last_ids
from charrnn.generation.settings import Filters
from charrnn.memory.memory import Memory, Remembered
from charrnn.nn import compiled
from charrnn.nn.compiled import Drawing, Net
from charrnn.nn.functional import log_prob

_LARGE = 1 << 15  # weights above which a running sum of all of them takes long
_BLOCK = 64  # ids whose weights are summed as one
_ROWS = ("samples", "ids", "recent", "lines", "rule_states", "logits")  # arrays of `Streams` with one row a sample
_CHUNK = 256  # uniform numbers that a sample draws at once
_RUN = 64  # steps that the compiled core takes in one call at most
_RUN_PRODUCTS = 2**25  # products of one call at most: about five milliseconds, so that streamed text flows evenly


#: Samples that a thread draws side by side: few of a large model, so that every thread gets some; more of a small one,
#: whose steps take little longer for it. The number never depends on the threads, so the samples do not either.
_FEWEST, _MOST, _UNITS = 16, 64, 1 << 13


def group_size(ensemble: Ensemble) -> int:
    """Return how many samples one thread draws side by side, if there are several threads."""
    widest = max(member.config.hidden_size for member in ensemble.members)
    return max(_FEWEST, min(_MOST, _UNITS // widest))


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


class Uniforms:
    """The random numbers of B samples: those of each depend only on its seed, index and redraw, not on the others."""

    def __init__(self, entropy: Sequence[Sequence[int]]) -> None:
        """Begin the sequence of each sample.

        entropy  of each: seed, index, redraw; those left out are 0
        """
        each = ([*own, 0, 0][:3] for own in entropy)
        words = [[seed % 2**32, index, redraw, seed >> 32] for seed, index, redraw in each]  # each below 2^32
        self._rngs = [np.random.default_rng(own) for own in words]
        self._ahead = np.empty((len(words), 0))

    def ahead(self, count: int) -> npt.NDArray[np.float64]:
        """Return the next numbers, (B, count), without taking them."""
        if self._ahead.shape[1] < count:
            self._extend(count + _CHUNK)
        return self._ahead[:, :count]

    def take(self, count: int) -> None:
        """Take numbers that `ahead` has returned."""
        self._ahead = self._ahead[:, count:]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all samples but these."""
        self._rngs, self._ahead = [self._rngs[row] for row in rows], self._ahead[rows]

    def join(self, other: Uniforms) -> None:
        """Add samples."""
        size = max(own._ahead.shape[1] for own in (self, other))
        self._extend(size)
        other._extend(size)
        self._rngs = self._rngs + other._rngs
        self._ahead = np.concatenate([self._ahead, other._ahead])

    def _extend(self, size: int) -> None:
        """Draw as many numbers of each sample as are missing from this size."""
        fresh = [rng.random(size - self._ahead.shape[1]) for rng in self._rngs]
        self._ahead = np.concatenate([self._ahead, np.stack(fresh)], axis=1)


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
    memory      for these filters; None without one
    remembered  what it has read
    """

    rules: Rules
    filters: Filters
    samples: npt.NDArray[np.intp]
    uniforms: Uniforms
    logits: Array
    states: list[Array]
    recent: npt.NDArray[np.intp]
    lines: npt.NDArray[np.intp]
    rule_states: npt.NDArray[np.intp]
    ids: npt.NDArray[np.intp]
    length: int | npt.NDArray[np.intp] = 0
    memory: Memory | None = None
    remembered: Remembered | None = None

    @classmethod
    def start(
        cls,
        primed: Sequence[Primed],
        entropy: Sequence[Sequence[int]],
        *,
        rules: Rules,
        filters: Filters,
        first: int = 0,
        memory: Memory | None = None,
    ) -> Streams:
        """Return one empty sample for each primed state, numbered from `first`.

        entropy  of each sample: its seed, below 2^64, its index, and its redraw; trailing zeros change nothing
        """
        zeros = np.zeros(len(primed), np.intp)
        return cls(
            rules,
            filters,
            samples=np.arange(first, first + len(primed)),
            uniforms=Uniforms(entropy),
            logits=np.concatenate([one.logits for one in primed]),
            states=[np.concatenate(own, axis=2) for own in zip(*(one.states for one in primed), strict=True)],
            recent=last_ids([one.recent for one in primed], max([filters.window, *map(len, rules.stops)])),
            lines=zeros,
            rule_states=zeros,
            ids=zeros,
            memory=memory,
            remembered=_joined([one.remembered for one in primed]),
        )

    def __len__(self) -> int:
        return len(self.samples)

    def draw(self, scored: bool = False) -> Step:
        """Draw one more id of each sample. `advance` must read these before the next draw.

        scored  True: return log-probabilities too
        """
        return self.run(None, 1, scored)[0]

    def run(self, net: Net | None, most: int, scored: bool = False) -> list[Step]:
        """Draw one or more ids of each sample, up to the first step that ends one. `advance` must read the last.

        net   reads the others; without one, or where NumPy computes, there is only one step
        most  steps
        """
        if not compiled.core() or self.rules.constraint is not None:
            ids, log_probs = self._draw_by_numpy(scored)
        else:
            ids, log_probs = self._draw_compiled(net, most, scored)
        steps = len(ids)
        self.uniforms.take(steps)
        self.ids, self.length = ids[-1], self.length + steps
        if self.rules.lines:
            self.lines = self.lines + (self.ids == self.rules.newline)
        self.rule_states = self.rules.follow(self.rule_states, self.ids)
        ended = [[""] * len(self)] * (steps - 1)
        ended.append(self.rules.ended(self.length, self.ids, self.recent, self.lines, self.rule_states))
        scores = [None] * steps if log_probs is None else log_probs
        return [*map(Step, repeat(self.samples), ids, scores, ended)]

    def _draw_by_numpy(self, scored: bool) -> tuple[npt.NDArray[np.intp], Array | None]:
        """Draw one id of each sample, (1, B), and return its log-probability, (1, B)."""
        possible = self.rules.mask(self.logits, self.length, self.rule_states)
        candidates = apply_filters(self.filters, possible, self.recent)
        ids = candidates.ids_at(draw(candidates.weights, self.uniforms.ahead(1)[:, 0]))
        # The same bits as `log_softmax`, which takes a quarter longer for 64 rows of 5,000 symbols.
        log_probs = log_prob(self.logits.copy(), ids)[0][None] if scored else None
        if self.recent.shape[1]:
            self.recent[:, :-1] = self.recent[:, 1:]
            self.recent[:, -1] = ids
        return ids[None], log_probs

    def _draw_compiled(self, net: Net | None, most: int, scored: bool) -> tuple[npt.NDArray[np.intp], Array | None]:
        """Draw ids of each sample, (k, B), and return their log-probabilities, (k, B)."""
        state, limit = self.states[0], self.rules.length
        if net is None or self.logits.dtype != state.dtype:  # a prime's first logits may be of another type
            net, most = None, 1
        elif limit is not None and most > 1:
            most = min(most, limit - int(np.max(self.length)))
        return compiled.sample(
            net,
            self._drawing,
            None if self.memory is None or self.remembered is None else self.memory.in_core(self.remembered),
            logits=self.logits,
            state=None if net is None else state,
            uniforms=self.uniforms.ahead(most),
            recent=self.recent,
            halting=self._halting,
            scored=scored,
        )

    @cached_property
    def _drawing(self) -> Drawing:
        filters, never = self.filters, self.rules.never
        return Drawing(
            filters.temperature and max(filters.temperature, LEAST_TEMPERATURE),
            filters.top_p,
            filters.min_p,
            math.log(filters.repeat_penalty),
            -1 if never is None else never,
            min(filters.top_k, self.logits.shape[1]),
            filters.window,
        )

    @cached_property
    def _halting(self) -> Mask:
        return self.rules.halting(self.logits.shape[1])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these."""
        for name in _ROWS:
            setattr(self, name, getattr(self, name)[rows])
        self.uniforms.keep(rows)
        chosen = np.array(rows, np.intp)
        self.states = [state.take(chosen, axis=2) for state in self.states]  # indexing would change their order
        self.remembered = self.remembered and self.remembered.only(chosen)
        if not isinstance(self.length, int):
            self.length = self.length[rows]

    def join(self, other: Streams) -> None:
        """Add samples with the same rules and filters."""
        self.length = np.concatenate([np.full(len(own), own.length) for own in (self, other)])
        for name in _ROWS:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(other, name)]))
        self.uniforms.join(other.uniforms)
        self.states = [np.concatenate(own, axis=2) for own in zip(self.states, other.states, strict=True)]
        self.remembered = _joined([self.remembered, other.remembered])


def _joined(parts: Sequence[Remembered | None]) -> Remembered | None:
    """Return a copy of what all these samples remember; None without a memory."""
    some = [part for part in parts if part is not None]
    return Remembered.joined(some) if some else None


def advance(ensemble: Ensemble, groups: Sequence[Streams]) -> None:
    """Read the last id of every sample in all groups, in one step of the models."""
    if len(groups) == 1 or ensemble.memory is not None:
        for group in groups:
            group.logits = ensemble.step(group.ids, group.states, group.remembered, group.memory)
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
    memory, net = ensemble.memory_for(filters.temperature), ensemble.net
    streams = Streams.start(primed, entropy, rules=rules, filters=filters, memory=memory)
    while True:
        most = 1 if net is None else max(1, min(_RUN, _RUN_PRODUCTS // (net.products * len(streams))))
        yield from (steps := streams.run(net, most, scored))
        if any(steps[-1].ended):
            streams.keep([row for row, why in enumerate(steps[-1].ended) if not why])
            if not len(streams):
                return
        advance(ensemble, [streams])
