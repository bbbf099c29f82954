"""Connections: which characters moved the prediction of a later one, as gradient x input.

connections[t, k] = (x_{t-1-k} - mean) . d log p(ids[t]) / d x_{t-1-k}

x are the input rows of the first layer, and mean is their mean over the text. The product is how much log p would fall,
to first order, if the character were an average one: positive where it made ids[t] more likely, in nats. The products
need not add up to log p, or to its change.

Source:  Simonyan, Vedaldi & Zisserman 2013 (the gradient with respect to the input); Shrikumar et al. 2016 (times the
         input, less a reference). Zero is no reference here: a layer norm ignores the length of a row, so a row's own
         direction never has a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from charrnn.arrays import Array, Ids
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.insight.gradients import OwnScratch, loss_gradients, windows_at_once
from charrnn.insight.windows import Positions, windows
from charrnn.nn import model
from charrnn.parallel.plan import threads_to_use
from charrnn.parallel.threads import side_by_side


def connections(
    weights: model.Weights, config: ModelConfig, ids: Ids, *, longest: int = 50, end: int | None = None
) -> Array:
    """Return the gradient x input of each of the characters before each character of a text, for its log-probability.

    longest  characters back; the model reads them from its true state before
    end      the id that begins a document, if the model learned documents: nothing before it counts
    Shapes:  ids (T,) · returns (T, longest): [t, k] of character t - 1 - k; 0 where there is none
    Units:   nats.
    Raises:  ConfigError if longest is less than 1.
    """
    if longest < 1:
        raise ConfigError(f"longest must be at least 1, got {longest}")
    mean, own = mean_row(weights, ids), OwnScratch()

    def moved(block: tuple[Positions, Array]) -> Array:
        targets, states = block
        read, reset = windows(ids, targets - longest, longest, end)
        rows, grads = loss_gradients(weights, read, ids[targets], states, reset=reset, scratch=own.scratch)
        products: Array = -np.einsum("tbd,tbd->bt", rows - mean, grads)[:, ::-1]
        return products

    blocks = _blocks(weights, config, ids, longest, end)
    first: Array = np.zeros((min(1, len(ids)), longest), config.dtype)
    return np.concatenate([first, *side_by_side(moved, blocks, threads_to_use(None))])


def _blocks(
    weights: model.Weights, config: ModelConfig, ids: Ids, longest: int, end: int | None
) -> Iterator[tuple[Positions, Array]]:
    """Yield all positions but the first in blocks, with the state before the window of each."""
    state, at_once = model.zero_state(config, 1), windows_at_once(weights, config, longest)
    for begin in range(1, len(ids), at_once):
        targets = np.arange(begin, min(begin + at_once, len(ids)))
        states = model.zero_state(config, len(targets))
        for row, start in enumerate(targets - longest):
            if start > 0:
                last = ids[start - 1 : start, None]
                model.read(weights, last, state, reset=last == end)
                states[:, :, row] = state[:, :, 0]
        yield targets, states


def mean_row(weights: model.Weights, ids: Ids) -> Array:
    """Return the mean of the input rows of a text, (D,): for a model without an embedding, the symbols' shares."""
    shares = np.bincount(ids, minlength=len(weights.b_y)) / max(1, len(ids))
    mean: Array = (shares if weights.embed is None else shares @ weights.embed).astype(weights.b_y.dtype)
    return mean
