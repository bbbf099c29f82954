"""Truncated back-propagation through time: the loss and the gradient of one window, and the state after it.

Training reads a long text window by window. Each window starts from the state after the previous one, so a model can
remember for longer than a window. The gradient stays inside the window, so a step costs the same for any length of
text:

    state      0 -> [window 0] -> [window 1] -> [window 2] -> ...
    gradient        <---------    <---------    <---------

Batch rows are independent: the losses and gradients of groups of rows add up to those of the batch, so several
processes can share a step. If only some predictions of a window count, the loss is the mean over these, and 0 if there
are none; the model reads all of the window either way.

Source:  Williams & Peng 1990.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array, Mask, Params, Scratch, Window, aligned
from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.nn.dropout import draw_masks
from charrnn.nn.functional import cross_entropy


class Part(NamedTuple):
    """The rows of a window that has only some of a batch: the number of the first one, and what the loss is a mean of.

    of  the predictions that count in all rows of the batch
    """

    first: int
    of: int


class Learner:
    """Computes gradients and scores of batch rows, in buffers that it reuses from window to window.

    Call `set_params` first, and whenever the parameters change. All methods get the whole window and state, and return
    the results for the given rows.
    Shapes:  window (T, B) · state (L, S, B, H), or as `model` has it with attention; results have the number of rows in
             place of B
    """

    def __init__(self, config: ModelConfig, seed: int | None) -> None:
        self._config, self._seed, self._scratch = config, seed, Scratch()
        self._params: Params = {}
        self._weights: model.Weights | None = None

    def set_params(self, params: Params) -> None:
        """Use these parameters from now on."""
        self._params, self._weights = params, None

    def gradients(
        self, window: Window, state: Array, step: int, rows: slice, part: Part | None = None
    ) -> tuple[float, Array, Params]:
        """Return the rows' share of the batch's mean loss, their state after it, and the gradient of that share.

        part: which rows of the batch the window has; None for all
        """
        own, (first, of) = window.rows(rows), part or Part(0, window.predictions)
        masks = draw_masks(self._params, self._config, self._seed, step, slice(first + rows.start, first + rows.stop))
        weights = model.prepare(self._params, self._config, masks) if masks.weights else self._undropped()
        logits, last_state, backprop = model.forward(
            weights, own.inputs, state[:, :, rows], reset=own.reset, masks=masks, scratch=self._scratch
        )
        loss, dlogits = cross_entropy(logits, own.targets, of=of, counted=own.counted)
        # Back-propagation is truncated here, at both ends of the window. Later windows also depend on last_state, but
        # their gradient is taken to be zero. This window depends on earlier ones through `state`, but the gradient
        # with respect to `state` is dropped.
        from_later_windows = np.zeros_like(last_state)
        _to_earlier_windows, grads = backprop(dlogits, from_later_windows)
        return loss, last_state, grads

    def score(self, window: Window, state: Array, rows: slice) -> tuple[Array, Mask, Array]:
        """Return the targets' log-probabilities in nats, whether each was the most likely symbol, and the state.

        There may be no rows, in a process that a short text leaves none; attention cannot read that.
        """
        own, last_state = window.rows(rows), aligned(state[:, :, rows])
        if not own.inputs.size:
            return np.empty(own.inputs.shape, last_state.dtype), np.empty(own.inputs.shape, bool), last_state
        scores = model.score(
            self._undropped(), own.inputs, own.targets, last_state, reset=own.reset, scratch=self._scratch
        )
        return *scores, last_state

    def read(self, window: Window, state: Array, rows: slice) -> Array:
        """Return the state after the window, of any rows as in `score`; its targets are not used."""
        own, last_state = window.rows(rows), aligned(state[:, :, rows])
        if own.inputs.size:
            model.read(self._undropped(), own.inputs, last_state, reset=own.reset, scratch=self._scratch)
        return last_state

    def gates(self, window: Window, state: Array) -> list[dict[str, Array]]:
        """Return each layer's gates by name for all rows, (T, B, H) each; valid until the next window."""
        return model.gates(self._undropped(), window.inputs, state, self._scratch, reset=window.reset)

    def _undropped(self) -> model.Weights:
        """Return the prepared weights without weight-drop, made once for these parameters."""
        self._weights = self._weights or model.prepare(self._params, self._config)
        return self._weights
