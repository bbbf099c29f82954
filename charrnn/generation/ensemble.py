"""Models of one vocabulary that read and guess together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array, Ids, Scratch
from charrnn.config import ModelConfig
from charrnn.nn import model

_PRIME_WINDOW = 256  # characters of the prime that are read at once: bounds the memory of a long one


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


@dataclass(frozen=True, eq=False)
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
        return self._mixed([model.step(net.weights, ids, state) for net, state in zip(self.nets, states, strict=True)])

    def _mixed(self, logits: list[Array]) -> Array:
        if len(logits) == 1:
            return logits[0]
        mixed: Array = np.zeros(logits[0].shape)
        for net, own in zip(self.nets, logits, strict=True):
            weights = np.exp(own - own.max(axis=-1, keepdims=True), dtype=np.float64)
            mixed += net.share * weights / weights.sum(axis=-1, keepdims=True)
        with np.errstate(divide="ignore"):
            return np.log(mixed)


def start_logits(starts: tuple[int, ...], size: int) -> Array:
    """Return logits (1, V) for a first character that is drawn as often as it begins a line; all alike if uncounted."""
    counts = np.zeros(size)
    counts[: len(starts)] = starts
    if not counts.any():
        return np.zeros((1, size))
    with np.errstate(divide="ignore"):
        return np.log(counts)[None]
