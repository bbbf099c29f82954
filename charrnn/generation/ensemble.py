"""Models of one vocabulary that predict together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array, Ids, Scratch
from charrnn.config import ModelConfig
from charrnn.memory.memory import Memory, Remembered
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
    remembered  by the model's memory, of one row; None without a memory
    """

    logits: Array
    states: tuple[Array, ...]
    recent: Ids
    remembered: Remembered | None = None


class Ensemble(NamedTuple):
    """Models of one vocabulary that predict the mean of their probabilities, weighted by their shares.

    memory  of the only member; None without one
    first   what the memory begins with; None: nothing
    held    units of the only member that keep their value, from the last id of a prime on
    """

    members: tuple[Member, ...]
    memory: Memory | None = None
    first: Remembered | None = None
    held: tuple[model.Held, ...] = ()

    @property
    def net(self) -> Net | None:
        """Return the net that the core can sample by itself: of one model, without attention, n-grams or clamps."""
        only = self.members[0].weights
        mixes = only.attention is not None or (self.memory is not None and self.memory.grams is not None)
        return only.net if len(self.members) == 1 and not (mixes or self.held) else None

    def memory_for(self, temperature: float) -> Memory | None:
        """Return the memory for samples that are drawn at this temperature."""
        return None if self.memory is None else self.memory.for_sampling(temperature)

    def read(self, ids: Ids, memory: Memory | None = None) -> Primed:
        """Read a prime from a zero state.

        memory  to read it with, if it is not the ensemble's own
        Shapes:  ids (N,)
        """
        if self.held and len(ids):
            before = self._replace(held=()).read(ids[:-1], memory)
            last = self.step(ids[-1:], before.states, before.remembered, memory)
            return before._replace(logits=last, recent=ids)
        if self.memory is not None:
            return self._read_with(memory or self.memory, ids)
        logits, states = list[Array](), list[Array]()
        for member in self.members:
            state, scratch = model.zero_state(member.config, 1), Scratch()
            own: Array = np.zeros((1, member.config.vocab_size))
            for at in range(0, len(ids), _PRIME_WINDOW):
                own = model.predict(member.weights, ids[at : at + _PRIME_WINDOW, None], state, scratch=scratch)
            states.append(state)
            logits.append(own)
        return Primed(self._mean(logits), tuple(states), ids)

    def _read_with(self, memory: Memory, ids: Ids) -> Primed:
        """Read a prime with the only model and its memory."""
        (member,) = self.members
        remembered, state = memory.start(1, self.first), model.zero_state(member.config, 1)
        logits = np.zeros((1, 1, member.config.vocab_size), state.dtype)
        for at in range(0, len(ids), _PRIME_WINDOW):
            window = ids[at : at + _PRIME_WINDOW, None]
            h = model.outputs(member.weights, window, state)
            model.remember(member.weights, h[:-1], window[:-1], state)
            memory.recall(remembered, window[:-1], h[:-1])
            logits = model.logits_after(member.weights, h[-1:], window[-1:], state)
            memory.recall(remembered, window[-1:], h[-1:], logits)
        return Primed(logits[0], (state,), ids, remembered)

    def step(
        self, ids: Ids, states: Sequence[Array], remembered: Remembered | None = None, memory: Memory | None = None
    ) -> Array:
        """Read one more id of each batch row, change states and what is remembered in place, and return the logits.

        memory  as for `read`
        Shapes:  ids (B,) · returns (B, V)
        """
        pairs = zip(self.members, states, strict=True)
        logits = self._mean([model.step(member.weights, ids, state, self.held) for member, state in pairs])
        if self.memory is not None and remembered is not None:
            h = model.hidden_state(self.members[0].weights, states[0])[-1, :1]
            (memory or self.memory).recall(remembered, ids[None], h, logits[None])
        return logits

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
