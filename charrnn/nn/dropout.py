"""Dropout: the random masks of one training step.

Masks are a function of seed, step and batch row. So a resumed run draws the same masks without a stored generator, and
the masks do not depend on the number of processes that share the batch rows.

Source:  Gal & Ghahramani 2016 (locked dropout: one mask for all time steps of a window);
         Merity et al. 2018 (weight-drop: dropped recurrent weights, the same for all batch rows).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Params
from charrnn.config import ModelConfig


class Masks(NamedTuple):
    """Factors that are 0 where something is dropped and 1 / (1 - rate) elsewhere; None where nothing is.

    inputs   (B, E), for the embedded inputs
    outputs  (L, B, H), for each layer's outputs; of an encoder of D directions, (L, B, D H)
    weights  for the recurrent matrices, under the names and in the shapes of the parameters
    """

    inputs: Array | None = None
    outputs: Array | None = None
    weights: Params | None = None


NO_DROPOUT = Masks()


def draw_masks(
    params: Params, config: ModelConfig, seed: int | None, step: int, rows: slice, directions: int = 1
) -> Masks:
    """Return the masks of a training step for these batch rows."""
    return Masks(*_draw_rows(config, seed, step, rows, directions), _draw_weights(params, config, seed, step) or None)


def _draw_rows(
    config: ModelConfig, seed: int | None, step: int, rows: slice, directions: int
) -> tuple[Array | None, Array | None]:
    """Return the masks of inputs and outputs, drawn row by row."""
    L, E, H = config.num_layers, config.embed_size, directions * config.hidden_size
    if not (config.dropout or config.input_dropout):
        return None, None
    source = np.random.PCG64([seed or 0, step])
    words = -(-(E + L * H) // 4)  # a word of 64 bits gives four draws; every row starts with a new word
    source.advance(rows.start * words)
    bits = _bits(source, (rows.stop - rows.start) * words).reshape(-1, 4 * words)
    for_layers = bits[:, E : E + L * H].reshape(-1, L, H).swapaxes(0, 1)
    return (
        dropout_mask(bits[:, :E], config.input_dropout, config.dtype) if config.input_dropout else None,
        dropout_mask(for_layers, config.dropout, config.dtype) if config.dropout else None,
    )


def _draw_weights(params: Params, config: ModelConfig, seed: int | None, step: int) -> Params:
    """Return the masks of the recurrent matrices; empty without weight-drop."""
    masks: Params = {}
    names = [f"{direction}{layer}.W_hh" for direction in ("layer", "reverse") for layer in range(config.num_layers)]
    for number, name in enumerate(names if config.weight_drop else ()):
        if (W_hh := params.get(name)) is None:  # a cell without recurrent weights, or one direction alone
            continue
        source = np.random.PCG64([seed or 0, step, 1 + number])  # 1 +, since NumPy ignores zeros at the end of a seed
        bits = _bits(source, -(-W_hh.size // 4))
        masks[name] = dropout_mask(bits[: W_hh.size].reshape(W_hh.shape), config.weight_drop, config.dtype)
    return masks


def _bits(source: np.random.PCG64, words: int) -> npt.NDArray[np.uint16]:
    """Return four draws of sixteen random bits for each word."""
    return source.random_raw(words).view(np.uint16)


def dropout_mask(bits: npt.NDArray[np.uint16], rate: float, dtype: npt.DTypeLike) -> Array:
    """Return a mask that is 0 with probability `rate` and 1 / (1 - rate) elsewhere, so its mean is 1.

    The rate is rounded to a multiple of 2^-16: sixteen random bits are drawn four times faster than a float.
    """
    limit = round(rate * 2**16)
    mask: Array = (bits >= limit).astype(dtype)
    mask *= 2**16 / (2**16 - limit)
    return mask
