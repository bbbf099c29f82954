"""Models of one vocabulary that predict together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array, Ids, Scratch
from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.nn.compiled import Net
from charrnn.nn.functional import softmax

_PRIME_WINDOW = 256  # characters of the prime that are read at once, which bounds the memory for a long prime


class Member(NamedTuple):
    """A model of an ensemble, with its share of the predictions."""

    weights: model.Weights
    config: ModelConfig
    share: float = 1.0


class Primed(NamedTuple):
    """The state of an ensemble that has read a prime, from which any number of samples can start.

    logits  (1, V) of the next id
    states  of each member, for one batch row
    recent  (N,) the last ids that were read
    """

    logits: Array
    states: tuple[Array, ...]
    recent: Ids


class Ensemble(NamedTuple):
    """Models of one vocabulary that predict the mean of their probabilities, weighted by their shares."""

    members: tuple[Member, ...]

    @property
    def net(self) -> Net | None:
        """Return the only model's net in the compiled core; None for several models, and where NumPy computes."""
        return self.members[0].weights.net if len(self.members) == 1 else None

    def read(self, ids: Ids) -> Primed:
        """Read a prime from a zero state.

        Shapes:  ids (N,)
        """
        logits, states = list[Array](), list[Array]()
        for member in self.members:
            state, scratch = model.zero_state(member.config, 1), Scratch()
            own: Array = np.zeros((1, member.config.vocab_size))
            for at in range(0, len(ids), _PRIME_WINDOW):
                own = model.predict(member.weights, ids[at : at + _PRIME_WINDOW, None], state, scratch=scratch)
            states.append(state)
            logits.append(own)
        return Primed(self._mean(logits), tuple(states), ids)

    def step(self, ids: Ids, states: Sequence[Array]) -> Array:
        """Read one more id of each batch row, update the states in place, and return the logits.

        Shapes:  ids (B,) · returns (B, V)
        """
        pairs = zip(self.members, states, strict=True)
        return self._mean([model.step(member.weights, ids, state) for member, state in pairs])

    def _mean(self, logits: list[Array]) -> Array:
        """Return the logits of the members' mean probabilities."""
        if len(logits) == 1:
            return logits[0]
        mean: Array = np.zeros(logits[0].shape)
        for member, own in zip(self.members, logits, strict=True):
            mean += softmax(own, member.share)
        with np.errstate(divide="ignore"):
            return np.log(mean)


def start_logits(starts: tuple[int, ...], size: int) -> Array:
    """Return logits that draw a first character as often as it starts a line; uniform if lines were not counted.

    Shapes:  returns (1, V) for V = `size`
    """
    counts = np.zeros(size)
    counts[: len(starts)] = starts
    if not counts.any():
        return np.zeros((1, size))
    with np.errstate(divide="ignore"):
        return np.log(counts)[None]
