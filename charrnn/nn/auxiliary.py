"""An auxiliary loss of an encoder: each direction also predicts the next character that it reads.

So a classifier learns from every character, not from labels alone. The readouts serve training only; their parameters
are `next0.W_hy` (H, V) and `next0.b_y` (V,) of the first direction, and `next1` of the second. They read the outputs of
the first layer, as higher layers have seen the next character in the other direction.

Source:  Rei 2017 (Semi-supervised Multitask Learning for Sequence Labeling).
"""

from __future__ import annotations

import numpy as np

from charrnn.arrays import Array, Ids, Params
from charrnn.config import ModelConfig
from charrnn.nn.encoder import Lengths
from charrnn.nn.functional import cross_entropy
from charrnn.nn.initializers import Init


def init_params(config: ModelConfig, directions: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the parameters in float64."""
    params: Params = {}
    for number in range(directions):
        params[f"next{number}.W_hy"] = init.inputs(rng, config.hidden_size, config.vocab_size)
        params[f"next{number}.b_y"] = np.zeros(config.vocab_size)
    return params


class NextCharacters:
    """The loss on a batch of texts: call it with the first layer's outputs, then read `loss` and `grads`.

    share  the factor of the loss: its weight, and the share that these texts have of the batch's characters
    """

    def __init__(self, params: Params, ids: Ids, lengths: Lengths, share: float) -> None:
        self._params, self._ids, self._lengths, self._share = params, ids, lengths, share
        self.loss = 0.0
        self.grads: Params = {}

    def __call__(self, h: Array) -> Array:
        """Return the gradient with respect to the outputs.

        loss = share mean over directions and predictions of -log p(next character)
        Shapes:  h (T, B, D H) · returns (T, B, D H)
        """
        T, directions = len(h), sum(name.endswith("b_y") for name in self._params)
        H, dh = h.shape[2] // directions, np.zeros_like(h)
        present = np.arange(1, T)[:, None] < self._lengths  # a pair of neighbours, both of the text
        if not present.any():
            self.grads = {name: np.zeros_like(array) for name, array in self._params.items()}
            return dh
        for number in range(directions):
            W, b = self._params[f"next{number}.W_hy"], self._params[f"next{number}.b_y"]
            read, next_ = (slice(1, None), slice(-1)) if number else (slice(-1), slice(1, None))
            part = slice(number * H, (number + 1) * H)
            own = h[read, :, part][present]
            loss, dlogits = cross_entropy(own @ W + b, self._ids[next_][present])
            dlogits *= self._share / directions
            self.loss += self._share / directions * loss
            self.grads[f"next{number}.W_hy"], self.grads[f"next{number}.b_y"] = own.T @ dlogits, dlogits.sum(axis=0)
            dh[read, :, part][present] = dlogits @ W.T
        return dh
