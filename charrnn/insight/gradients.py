"""How the loss of one character depends on what the model read before: gradients with respect to its input rows.

They come from the backward passes that training uses, so what is shown is what the model learned by. A window is read
from the state before it; the gradient is that of the loss of the character after the window alone, where training adds
up all of them. With attention, it includes the keys and the query of the window; what was in the memory before is a
constant, and that a symbol is copied because it was read is not a matter of its row.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from charrnn.arrays import FRESH, Array, Ids, Mask, Scratch
from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.nn.functional import cross_entropy

_NUMBERS = 2**22  # of all arrays that the windows of a block need, about: 16 MiB of float32; more is slower
_PER_UNIT = 14  # arrays of H numbers that a layer keeps for each step, about: gates, slopes, states


class OwnScratch(threading.local):
    """A scratch for each thread: new arrays would take a fifth of the time."""

    def __init__(self) -> None:
        self.scratch = Scratch()


def loss_gradients(
    weights: model.Weights,
    ids: Ids,
    targets: Ids,
    state: Array,
    *,
    reset: Mask | None = None,
    scratch: Scratch = FRESH,
) -> tuple[Array, Array]:
    """Return the input rows of a window, and the gradient of the loss of the character after it.

    Shapes:  ids, reset (T, B) · targets (B,) · state, before the window, as `model` has it · returns (T, B, D) twice
    Units:   nats, for each unit of a row.
    """
    rows = model.input_rows(weights, ids)
    if weights.attention is not None:
        logits, last, backprop = model.forward(weights, ids, state, rows=rows, reset=reset, scratch=scratch)
        dlogits = np.zeros_like(logits)
        _, dlogits[-1] = cross_entropy(logits[-1], targets, of=1)
        _, grads = backprop(dlogits, np.zeros_like(last))
    else:  # only the last step needs logits
        h, last, hidden_backprop = model.hidden(weights, ids, state, rows=rows, reset=reset, scratch=scratch)
        logits, readout_backprop = model.readout(weights, h[-1:])
        _, dlogits = cross_entropy(logits, targets[None], of=1)
        dh = np.zeros_like(h)
        dh[-1:], _ = readout_backprop(dlogits)
        _, grads = hidden_backprop(dh, np.zeros_like(last))
    return rows, grads["rows"]


def windows_at_once(weights: model.Weights, config: ModelConfig, steps: int) -> int:
    """Return how many windows of so many steps fit a block, so that memory is bounded."""
    V, H, L = config.vocab_size, config.hidden_size, config.num_layers
    D = config.embed_size or V
    a_step = 2 * D + _PER_UNIT * L * H + (4 * V + H if config.attention else 0)
    return max(1, _NUMBERS // (steps * a_step + math.prod(model.state_shape(config, 1))))
