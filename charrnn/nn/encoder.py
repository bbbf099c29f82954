"""The encoder: a net that reads whole texts, forwards or in both directions, from the same cells as the language model.

Texts of different lengths are padded to a batch (T, B), each followed by its padding. The second direction reads the
batch reversed in time, so there the padding comes first, and the state is reset at each text's last character:

    forwards    t e x t . . .        backwards   . . . t x e t
    longer      p a d d i n g        longer      g n i d d a p

So the padding changes neither a text's outputs nor, if its own gradient is zero, any gradient.

Parameters are named as in the language model, with `reverse0.W_xh` and others beside `layer0.W_xh` for the second
direction. Each layer reads the outputs of all directions of the layer below: (T, B, D H), D directions.

Source:  Schuster & Paliwal 1997 (bidirectional nets), Graves & Schmidhuber 2005 (bidirectional LSTM).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.config import ModelConfig
from charrnn.nn import compiled
from charrnn.nn.cells import cell_of
from charrnn.nn.cells.base import Cell
from charrnn.nn.compiled import Net
from charrnn.nn.dropout import NO_DROPOUT, Masks
from charrnn.nn.functional import sum_rows
from charrnn.nn.initializers import Init

#: The prefix of each direction's parameters, before the number of the layer.
DIRECTIONS = ("layer", "reverse")

#: The lengths (B,) of the texts of a batch.
Lengths: TypeAlias = npt.NDArray[np.integer]
#: The backward pass: dh (T, B, D H), zero on the padding -> grads.
EncoderBackprop: TypeAlias = Callable[[Array], Params]


@dataclass(frozen=True, eq=False)
class Encoder:
    """The parameters in the form that forward passes read.

    embed   (V, E), the input rows of the first layer; None for one-hot rows
    layers  for each layer, what the cell prepared for each direction
    """

    cell: Cell
    embed: Array | None
    layers: tuple[tuple[Params, ...], ...]
    hidden_size: int
    dtype: str

    @property
    def directions(self) -> int:
        """Return D, the number of directions."""
        return len(self.layers[0])

    @cached_property
    def nets(self) -> list[Net] | None:
        """Return the first layer's directions in the compiled core, made at the first use; None if NumPy computes."""
        layer = self.cell.layer
        if layer is None or not compiled.core():
            return None
        x = np.arange(len(self.layers[0][0]["W_xh"]))[:, None] if self.embed is None else self.embed[:, None]
        return [Net.of_layer(layer(own, x), self.hidden_size) for own in self.layers[0]]


def init_params(config: ModelConfig, directions: int, rng: np.random.Generator, init: Init) -> Params:
    """Draw the parameters in float64; those of the first direction come first in each layer.

    Shapes:  embed.W_e (V, E), if there is an embedding, and those of the cell for each layer and direction
    """
    params: Params = {}
    input_size = config.vocab_size
    if config.embed_size:
        params["embed.W_e"] = init.symbols(rng, config.vocab_size, config.embed_size)
        input_size = config.embed_size
    for layer in range(config.num_layers):
        own = init._replace(inputs=init.symbols) if layer == 0 and not config.embed_size else init
        for direction in DIRECTIONS[:directions]:
            drawn = cell_of(config.cell).init_params(input_size, config.hidden_size, rng, own)
            params |= {f"{direction}{layer}.{name}": array for name, array in drawn.items()}
        input_size = directions * config.hidden_size
    return params


def prepare(params: Params, config: ModelConfig, directions: int, masks: Masks = NO_DROPOUT) -> Encoder:
    """Return the encoder with these parameters, with dropped weights at zero; valid until params change."""
    cell = cell_of(config.cell)
    params = params | {name: params[name] * mask for name, mask in (masks.weights or {}).items()}

    def prepared(prefix: str) -> Params:
        own = {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}
        return cell.prepare(own)

    layers = tuple(
        tuple(prepared(f"{direction}{layer}.") for direction in DIRECTIONS[:directions])
        for layer in range(config.num_layers)
    )
    return Encoder(cell, params.get("embed.W_e"), layers, config.hidden_size, config.dtype)


def padding_resets(lengths: Lengths, T: int) -> Mask | None:
    """Return where the state is zero when a batch is read reversed in time: before each text's last character.

    None if no text is padded, and for an empty text nothing.
    Shapes:  lengths (B,) · returns (T, B)
    """
    if (lengths == T).all():
        return None
    resets: Mask = np.arange(T)[:, None] == T - lengths
    return resets


def encode(
    encoder: Encoder,
    ids: Ids,
    lengths: Lengths,
    *,
    rows: Array | None = None,
    masks: Masks = NO_DROPOUT,
    scratch: Scratch = FRESH,
) -> tuple[Array, EncoderBackprop]:
    """Return the last layer's outputs, and the backward pass. The outputs on the padding are of no meaning.

    rows  for the first layer to read in place of those of the ids; the backward pass then returns their gradient, as
          "rows", and none of the embedding
    Shapes:  ids (T, B) · lengths (B,) · rows (T, B, E) · returns h (T, B, D H), in scratch memory
    """
    resets = padding_resets(lengths, len(ids))
    x: Array | Ids = ids if rows is None else rows
    if rows is None and encoder.embed is not None:
        x = encoder.embed[ids]
        if masks.inputs is not None:
            x *= masks.inputs
    backprops = []
    for layer in range(len(encoder.layers)):
        h, backprop_layer = _both_directions(encoder, layer, x, resets, scratch.scope(f"layer{layer}"))
        if masks.outputs is not None:
            h *= masks.outputs[layer]
        backprops.append(backprop_layer)
        x = h

    def backprop(dh: Array) -> Params:
        grads: Params = {}
        dx: Array | None = dh
        for layer in reversed(range(len(backprops))):
            assert dx is not None  # only ids have no gradient, and only the first layer reads them
            if masks.outputs is not None:
                dx = dx * masks.outputs[layer]
            dx, own = backprops[layer](dx)
            grads |= own
        if rows is not None and dx is not None:
            grads["rows"] = dx
        elif encoder.embed is not None and dx is not None:
            if masks.inputs is not None:
                dx *= masks.inputs
            grads["embed.W_e"] = sum_rows(ids.reshape(-1), dx.reshape(-1, dx.shape[-1]), len(encoder.embed))
        for name, mask in (masks.weights or {}).items():
            grads[name] *= mask
        return grads

    return h, backprop


def _both_directions(
    encoder: Encoder, layer: int, x: Array | Ids, resets: Mask | None, scratch: Scratch
) -> tuple[Array, Callable[[Array], tuple[Array | None, Params]]]:
    """Return the outputs (T, B, D H) of one layer, and its backward pass: dh -> dx (None for ids), grads."""
    (T, B), D, H = x.shape[:2], encoder.directions, encoder.hidden_size
    h = scratch.empty("both", (T, B, D * H), encoder.dtype)
    zero = np.zeros((encoder.cell.n_states, B, H), encoder.dtype)
    backprops: list[Backprop] = []
    for number, own in enumerate(encoder.layers[layer]):
        step, part = _time(number), slice(number * H, (number + 1) * H)
        outputs, _, own_backprop = encoder.cell.forward(
            own, x[::step], zero, reset=resets if number else None, scratch=scratch.scope(DIRECTIONS[number])
        )
        h[..., part] = outputs[::step]
        backprops.append(own_backprop)

    def backprop(dh: Array) -> tuple[Array | None, Params]:
        dx: Array | None = None
        grads: Params = {}
        for number, own_backprop in enumerate(backprops):
            step, part = _time(number), slice(number * H, (number + 1) * H)
            own_dx, _, own_grads = own_backprop(dh[::step, :, part], zero)
            grads |= {f"{DIRECTIONS[number]}{layer}.{name}": grad for name, grad in own_grads.items()}
            if own_dx is not None:
                dx = own_dx[::step] if dx is None else dx + own_dx[::step]
        return dx, grads

    return h, backprop


def _time(direction: int) -> int:
    """Return the step of a slice that puts a batch into the order in which this direction reads it."""
    return -1 if direction else 1


def read(encoder: Encoder, ids: Ids, lengths: Lengths, *, scratch: Scratch = FRESH) -> list[Array]:
    """Return the outputs of each layer, without what only the backward pass needs.

    Shapes:  ids (T, B) · lengths (B,) · returns (T, B, D H) for each layer, in scratch memory
    """
    resets, outputs = padding_resets(lengths, len(ids)), list[Array]()
    shape = (*ids.shape, encoder.directions * encoder.hidden_size)
    for layer in range(len(encoder.layers)):
        own, x = scratch.scope(f"layer{layer}"), outputs[-1] if outputs else ids
        sides = [_read_direction(encoder, layer, number, x, resets, own) for number in range(encoder.directions)]
        both = sides[0] if len(sides) == 1 else np.concatenate(sides, 2, own.empty("both", shape, encoder.dtype))
        outputs.append(both)
    return outputs


def _read_direction(
    encoder: Encoder, layer: int, number: int, x: Array | Ids, resets: Mask | None, scratch: Scratch
) -> Array:
    """Return the outputs of one direction of one layer, (T, B, H)."""
    step, buffers = _time(number), scratch.scope(DIRECTIONS[number])
    x, reset = x[::step], resets if number else None
    cell, weights = encoder.cell, encoder.layers[layer][number]
    state = np.zeros((cell.n_states, x.shape[1], encoder.hidden_size), encoder.dtype)
    if layer == 0 and encoder.nets is not None:
        return encoder.nets[number].outputs(cast(Ids, x), state[None], reset, buffers)[::step]
    if layer == 0 and encoder.embed is not None:
        x = encoder.embed[cast(Ids, x)]
    if cell.read is None or encoder.nets is not None:  # the core's forward pass is faster than NumPy's read
        return cell.forward(weights, x, state, reset=reset, scratch=buffers)[0][::step]
    return cell.read(weights, x, state, reset=reset, scratch=buffers)[::step]
