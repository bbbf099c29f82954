"""A trace: the states and predictions of a model at each character of a text, as arrays to plot or to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charrnn.arrays import Array, Ids
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.nn import model
from charrnn.nn.functional import log_softmax

MOST_BYTES = 2**30  # of the arrays of a trace


@dataclass(frozen=True, eq=False)
class Trace:
    """The states and predictions of a model after each of T ids.

    ids        (T,), what was read
    symbols    V strings, what each id means: symbols[ids[t]] was read at step t, log_probs[t, v] predicts symbols[v]
    log_probs  (T, V), after each id, the log-probability of every symbol as the next one, in nats
    states     (T, L, S, H), the state of each layer after each id: S is 1 for (h,), 2 for (h, c)
    state      the state at the end, (L, S, 1, H) without attention; pass it to `LanguageModel.read` to continue
    """

    ids: Ids
    symbols: tuple[str, ...]
    log_probs: Array
    states: Array
    state: Array

    def __repr__(self) -> str:
        return f"Trace({len(self.ids):,} ids: states {self.states.shape}, log_probs {self.log_probs.shape})"

    def __len__(self) -> int:
        return len(self.ids)


def trace(config: ModelConfig, weights: model.Weights, ids: Ids, symbols: tuple[str, ...], state: Array) -> Trace:
    """Read ids (T,) from a state of one batch row, which is not changed, and return all that is computed.

    Raises:  ConfigError if the arrays would take more than `MOST_BYTES`, or the state is not one of this model.
    """
    shape = model.state_shape(config, 1)
    if np.shape(state) != shape:
        raise ConfigError(f"the state must have shape {shape}, got {np.shape(state)}: pass a trace's state")
    L, S, H = config.num_layers, weights.cell.n_states, config.hidden_size
    size = len(ids) * (L * S * H + config.vocab_size) * np.dtype(config.dtype).itemsize
    if size > MOST_BYTES:
        raise ConfigError(
            f"the arrays of {len(ids):,} characters would take {size / 2**30:.1f} GiB: read the text in pieces of at "
            f"most {len(ids) * MOST_BYTES // size:,} characters, each from the state after the piece before"
        )
    states = np.empty((len(ids), L, S, H), config.dtype)
    logits = np.empty((len(ids), config.vocab_size), config.dtype)
    state = np.array(state, config.dtype)
    for t in range(len(ids)):
        logits[t] = model.step(weights, ids[t : t + 1], state)[0]
        states[t] = model.hidden_state(weights, state)[:, :, 0]
    return Trace(ids, symbols, log_softmax(logits), states, state)
