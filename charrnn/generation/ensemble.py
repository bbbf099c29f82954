"""Models of one vocabulary that predict together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array, Ids, Scratch
from charrnn.config import ModelConfig
from charrnn.memory.cache import Cache, Entries
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
    entries of the memory, of one row; None without a memory
    """

    logits: Array
    states: tuple[Array, ...]
    recent: Ids
    entries: Entries | None = None


class Ensemble(NamedTuple):
    """Models of one vocabulary that predict the mean of their probabilities, weighted by their shares.

    cache  the memory of the only member; None without one
    first  what the memory begins with; None: nothing
    """

    members: tuple[Member, ...]
    cache: Cache | None = None
    first: Entries | None = None

    @property
    def net(self) -> Net | None:
        """Return the only model's net in the core; None for several models, attention, and where NumPy computes."""
        only = self.members[0].weights
        return only.net if len(self.members) == 1 and only.attention is None else None

    def cache_for(self, temperature: float) -> Cache | None:
        """Return the memory for samples that are drawn at this temperature."""
        return None if self.cache is None else self.cache.for_sampling(temperature)

    def read(self, ids: Ids, cache: Cache | None = None) -> Primed:
        """Read a prime from a zero state.

        cache  the memory to read it with, if it is not the ensemble's own
        Shapes:  ids (N,)
        """
        if self.cache is not None:
            return self._read_with(cache or self.cache, ids)
        logits, states = list[Array](), list[Array]()
        for member in self.members:
            state, scratch = model.zero_state(member.config, 1), Scratch()
            own: Array = np.zeros((1, member.config.vocab_size))
            for at in range(0, len(ids), _PRIME_WINDOW):
                own = model.predict(member.weights, ids[at : at + _PRIME_WINDOW, None], state, scratch=scratch)
            states.append(state)
            logits.append(own)
        return Primed(self._mean(logits), tuple(states), ids)

    def _read_with(self, cache: Cache, ids: Ids) -> Primed:
        """Read a prime with the only model and its memory."""
        (member,) = self.members
        entries, state = cache.entries(1, self.first), model.zero_state(member.config, 1)
        logits = np.zeros((1, 1, member.config.vocab_size), state.dtype)
        for at in range(0, len(ids), _PRIME_WINDOW):
            window = ids[at : at + _PRIME_WINDOW, None]
            h = model.outputs(member.weights, window, state)
            model.remember(member.weights, h[:-1], window[:-1], state)
            cache.recall(entries, window[:-1], h[:-1])
            logits = model.logits_after(member.weights, h[-1:], window[-1:], state)
            cache.recall(entries, window[-1:], h[-1:], logits)
        return Primed(logits[0], (state,), ids, entries)

    def step(
        self, ids: Ids, states: Sequence[Array], entries: Entries | None = None, cache: Cache | None = None
    ) -> Array:
        """Read one more id of each batch row, update states and entries in place, and return the logits.

        cache  as for `read`
        Shapes:  ids (B,) · returns (B, V)
        """
        pairs = zip(self.members, states, strict=True)
        logits = self._mean([model.step(member.weights, ids, state) for member, state in pairs])
        if self.cache is not None and entries is not None:
            h = model.hidden_state(self.members[0].weights, states[0])[-1, :1]
            (cache or self.cache).recall(entries, ids[None], h, logits[None])
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
