"""Sampling: the loop that writes B texts side by side, an id each at a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn import model
from charrnn.arrays import Array, Ids, Mask, Scratch
from charrnn.config import ModelConfig
from charrnn.constraint import NEVER, Constraint
from charrnn.filters import Filters
from charrnn.functional import log_prob

_PRIME_WINDOW = 256  # characters of the prime that are read at once: bounds the memory of a long one
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
    sums = np.add.accumulate(weights, axis=-1)
    ids = (sums > (uniforms * sums[:, -1])[:, None]).argmax(axis=-1)
    return ids


def uniform_numbers(seed: int, index: int) -> Iterator[float]:
    """Yield the random numbers of a text: they depend on the seed and on its index, not on the texts beside it."""
    rng = np.random.default_rng([seed, index])
    while True:
        yield from rng.random(_DRAWN).tolist()


def start_logits(starts: tuple[int, ...], size: int) -> Array:
    """Return logits (1, V) for a first character that is drawn as often as it begins a line; all alike if uncounted."""
    counts = np.zeros(size)
    counts[: len(starts)] = starts
    if not counts.any():
        return np.zeros((1, size))
    with np.errstate(divide="ignore"):
        return np.log(counts)[None]


class Net(NamedTuple):
    """A model as the loop uses it, and its share among those that write together."""

    weights: model.Weights
    config: ModelConfig
    share: float = 1.0


class Beginning(NamedTuple):
    """What a text goes on from.

    logits  (1, V) of the next id
    states  (L, S, 1, H) of each net
    recent  (N,) the last ids that were read
    """

    logits: Array
    states: tuple[Array, ...]
    recent: Ids


@dataclass(frozen=True)
class Nets:
    """Models of one vocabulary that write together: by the mean of their probabilities, weighted by their shares."""

    nets: tuple[Net, ...]

    def read(self, ids: Ids) -> Beginning:
        """Return what follows a prime.

        Shapes:  ids (N,)
        """
        logits, states = list[Array](), list[Array]()
        for net in self.nets:
            state, scratch = model.zero_state(net.config, 1), Scratch()
            logits.append(np.zeros((1, net.config.vocab_size)))
            for at in range(0, len(ids), _PRIME_WINDOW):
                h, state, _ = model.hidden(net.weights, ids[at : at + _PRIME_WINDOW, None], state, scratch=scratch)
                logits[-1] = model.readout(net.weights, h[-1:])[0][0]
            states.append(state)
        return Beginning(self._mixed(logits), tuple(states), ids)

    def step(self, ids: Ids, states: Sequence[Array]) -> Array:
        """Return the logits after one more id of each stream, and write the states over.

        Shapes:  ids (B,) · states: (L, S, B, H) of each net · returns (B, V)
        """
        return self._mixed(
            [model.step(net.weights, ids, state) for net, state in zip(self.nets, states, strict=True)]
        )

    def _mixed(self, logits: list[Array]) -> Array:
        if len(logits) == 1:
            return logits[0]
        mixed: Array = np.zeros(logits[0].shape)
        for net, own in zip(self.nets, logits, strict=True):
            weights = np.exp(own - own.max(axis=-1, keepdims=True), dtype=np.float64)
            mixed += net.share * weights / weights.sum(axis=-1, keepdims=True)
        with np.errstate(divide="ignore"):
            return np.log(mixed)


@dataclass(frozen=True)
class Until:
    """What ends a text; whichever comes first.

    length      characters written; None: any number
    lines       line ends written; 0: any number
    newline     the id of a line end
    stops       ids in a row with which it ends
    end         the id of the end mark
    constraint  what all of it has to match
    """

    length: int | None
    lines: int = 0
    newline: int | None = None
    stops: tuple[Ids, ...] = ()
    end: int | None = None
    constraint: Constraint | None = None

    def left(self, written: int) -> int:
        """Return how many characters may still be written."""
        return NEVER if self.length is None else self.length - written


class Step(NamedTuple):
    """One id of each of B texts.

    index      (B,) which texts these are
    ids        (B,)
    log_probs  (B,) of the ids, by the model alone; in nats; None if nobody asked
    ended      (B,) "" for a text that goes on, else why it ended: length, stop, document or constraint
    """

    index: npt.NDArray[np.intp]
    ids: npt.NDArray[np.intp]
    log_probs: Array | None
    ended: list[str]


def generate(
    nets: Nets,
    beginnings: Sequence[Beginning],
    *,
    until: Until,
    filters: Filters,
    seed: int,
    first_index: int = 0,
    never: int | None = None,
    scored: bool = False,
) -> Iterator[Step]:
    """Yield what is written after the beginnings, a step at a time, until all texts have ended.

    first_index  that of the first text; with the seed it decides the text's random numbers
    never        an id that is never written
    scored       True: log-probabilities are told
    """
    index = np.arange(len(beginnings) if until.length != 0 else 0)
    sources = [uniform_numbers(seed, first_index + at) for at in index]
    logits = np.concatenate([beginning.logits for beginning in beginnings])
    states = [np.concatenate(own, axis=2) for own in zip(*(b.states for b in beginnings), strict=True)]
    recent = _recent([beginning.recent for beginning in beginnings], max(filters.window, *map(len, until.stops), 0))
    places = np.zeros(len(index), np.intp)  # of the constraint
    lines = np.zeros(len(index), np.intp)
    written = 0
    while len(index):
        possible = logits
        if until.constraint is not None:
            possible = np.where(until.constraint.allowed(places, until.left(written)), logits, -np.inf)
        if never is not None:
            possible = possible.copy()
            possible[:, never] = -np.inf
        ids = draw(filters(possible, recent), np.array([next(source) for source in sources]))
        log_probs = log_prob(logits.copy(), ids)[0] if scored else None
        written += 1
        ...
