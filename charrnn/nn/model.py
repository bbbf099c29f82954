"""The model: ids -> one-hot or embedding -> stacked cells -> readout (-> attention) -> logits, and the backward pass.

Parameters are one flat dict: `embed.W_e` (V, E), `layer0.W_xh` and others named by the cell, `out.W_hy` (H, V),
`out.b_y` (V,). With a tied embedding, the readout is `out.W_he` (H, E) followed by the transposed `embed.W_e`, and
there is no `out.W_hy`. Forward passes read `Weights`, which `prepare` makes from the parameters whenever they change.

The state is one array, whose third axis is the batch: (L, S, B, H), the hidden state. With attention, it is
(1, 1, B, L S H + M (K + 1)), for each batch row the hidden state and then the memory of `nn.attention`; `hidden_state`
and `_memory` are views of the two. So whatever carries, copies, selects or saves batch rows of a state does so for both
alike, and zeros are the start of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np

from charrnn.arrays import FRESH, Array, Ids, Mask, Params, Scratch
from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.nn import attention, compiled
from charrnn.nn.attention import Attention, Looks
from charrnn.nn.cells import cell_of
from charrnn.nn.cells.base import Cell
from charrnn.nn.compiled import Net
from charrnn.nn.dropout import NO_DROPOUT, Masks
from charrnn.nn.functional import log_prob, sum_rows
from charrnn.nn.initializers import INITS, Init, blank

#: The backward pass of the hidden layers: (dh (T, B, H), dstate (L, S, B, H)) -> dstate0 (L, S, B, H), grads.
HiddenBackprop: TypeAlias = Callable[[Array, Array], tuple[Array, Params]]
#: The backward pass of the readout: dlogits (T, B, V) -> dh (T, B, H), grads.
ReadoutBackprop: TypeAlias = Callable[[Array], tuple[Array, Params]]
#: The backward pass of the whole model: (dlogits (T, B, V), dstate) -> dstate0, grads. The gradients of the state have
#: its shape; a memory is a constant, so dstate is not used there, and dstate0 is zero.
ModelBackprop: TypeAlias = Callable[[Array, Array], tuple[Array, Params]]

_BLOCK = 2**18  # logits scored at once: a megabyte of float32
_LEAST_STEPS = 16  # time steps of such a block with attention, at least: each block copies the memory


@dataclass(frozen=True, eq=False)
class Weights:
    """The parameters in the form that forward passes read: split by layer, with arrays that the cells derive."""

    cell: Cell
    embed: Array | None  # (V, E), the input rows of the first layer
    layers: tuple[Params, ...]
    W_he: Array | None  # (H, E), only with a tied embedding
    W_hy: Array  # (H, V); tied: (E, V), the transposed embedding
    b_y: Array  # (V,)
    attention: Attention | None = None

    @cached_property
    def net(self) -> Net | None:
        """Return the net without attention in the compiled core, made at the first use; None if NumPy computes."""
        layer, core = self.cell.layer, compiled.core()
        if layer is None or not core or len(self.layers) > core.MOST_LAYERS:
            return None
        x = np.arange(len(self.b_y))[:, None] if self.embed is None else self.embed[:, None]
        layers = [layer(own, None if number else x) for number, own in enumerate(self.layers)]
        return Net(layers, self.W_he, self.W_hy, self.b_y)


class Held(NamedTuple):
    """A unit of the hidden state that keeps its value, whatever the model reads: state[layer, part, :, unit]."""

    layer: int
    part: int
    unit: int
    value: float


def init_params(config: ModelConfig, rng: np.random.Generator) -> Params:
    """Draw the parameters and return them in the order in which they were drawn.

    They are drawn in float64 and cast once, so that both precisions start from the same values.
    """
    return {name: array.astype(config.dtype) for name, array in _drawn(config, rng, INITS[config.init]).items()}


def param_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, without drawing any."""
    drawn = _drawn(config, np.random.default_rng(0), Init(blank, blank, blank, blank))
    return {name: array.shape for name, array in drawn.items()}


def _drawn(config: ModelConfig, rng: np.random.Generator, init: Init) -> Params:
    cell = cell_of(config.cell)
    params: Params = {}
    input_size = config.vocab_size
    if config.embed_size:
        draw = init.tied if config.tied else init.symbols
        params["embed.W_e"] = draw(rng, config.vocab_size, config.embed_size)
        input_size = config.embed_size
    for layer in range(config.num_layers):
        takes_symbols = layer == 0 and not config.embed_size
        own = init._replace(inputs=init.symbols) if takes_symbols else init
        drawn = cell.init_params(input_size, config.hidden_size, rng, own)
        params |= {f"layer{layer}.{name}": array for name, array in drawn.items()}
        input_size = config.hidden_size
    if config.tied:
        params["out.W_he"] = init.inputs(rng, config.hidden_size, config.embed_size)
    else:
        params["out.W_hy"] = init.inputs(rng, config.hidden_size, config.vocab_size)
    params["out.b_y"] = np.zeros(config.vocab_size)
    if config.attention:
        drawn = attention.init_params(config.hidden_size, config.attention, rng, init)
        params |= {f"attention.{name}": array for name, array in drawn.items()}
    return params


def state_shape(config: ModelConfig, batch_size: int) -> tuple[int, int, int, int]:
    """Return the shape of the state: (L, S, B, H), or (1, 1, B, L S H + M (K + 1)) with attention."""
    L, S, H = config.num_layers, cell_of(config.cell).n_states, config.hidden_size
    if config.attention:
        return 1, 1, batch_size, L * S * H + attention.memory_size(config.attention)
    return L, S, batch_size, H


def zero_state(config: ModelConfig, batch_size: int) -> Array:
    """Return the state before the first character: zeros, which are an empty memory too."""
    return np.zeros(state_shape(config, batch_size), config.dtype)


def hidden_state(weights: Weights, state: Array) -> Array:
    """Return the hidden state (L, S, B, H) within a state: the state itself, or a view."""
    if weights.attention is None:
        return state
    L, S, H = len(weights.layers), weights.cell.n_states, len(weights.attention.W)
    return state[0, 0, :, : L * S * H].reshape(-1, L, S, H).transpose(1, 2, 0, 3)


def _memory(of: Attention, state: Array) -> Array:
    """Return the memory (B, M (K + 1)) within a state: a view."""
    return state[0, 0, :, -attention.memory_size(of.reach) :]


def prepare(params: Params, config: ModelConfig, masks: Masks = NO_DROPOUT) -> Weights:
    """Return the weights that forward passes read, with dropped weights at zero; valid until params change."""
    cell = cell_of(config.cell)
    params = params | {name: params[name] * mask for name, mask in (masks.weights or {}).items()}
    layers = []
    for layer in range(config.num_layers):
        prefix = f"layer{layer}."
        own = {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}
        layers.append(cell.prepare(own))
    embed, b_y = params.get("embed.W_e"), params["out.b_y"]
    pointer = None
    if config.attention:
        own = {name: params[f"attention.{name}"] for name in ("W", "b", "log_scale")}
        pointer = Attention(**own, reach=config.attention)
    if embed is None or not config.tied:
        return Weights(cell, embed, tuple(layers), None, params["out.W_hy"], b_y, pointer)
    return Weights(cell, embed * _input_scale(embed), tuple(layers), params["out.W_he"], embed.T, b_y, pointer)


def _input_scale(embed: Array) -> float:
    """Return sqrt(E), the factor that scales a tied embedding when it is the input.

    Its rows start with a length of about 1, which suits the readout but is too small for inputs (docs/choices.md).
    Source:  Vaswani et al. 2017.
    """
    return math.sqrt(embed.shape[1])


def input_rows(weights: Weights, ids: Ids) -> Array:
    """Return what the first layer reads for each id: its row of the embedding, or its one-hot row.

    Shapes:  ids (T, B) · returns (T, B, D)
    """
    if weights.embed is not None:
        return weights.embed[ids]
    rows = np.zeros((*ids.shape, len(weights.b_y)), weights.b_y.dtype)
    np.put_along_axis(rows, ids[..., None].astype(np.intp), 1, axis=-1)
    return rows


def hidden(
    weights: Weights,
    ids: Ids,
    state: Array,
    *,
    rows: Array | None = None,
    reset: Mask | None = None,
    masks: Masks = NO_DROPOUT,
    scratch: Scratch = FRESH,
) -> tuple[Array, Array, HiddenBackprop]:
    """Return the last layer's outputs, the state after the window, and the backward pass.

    rows  for the first layer to read, such as `input_rows`, in place of those of the ids, and without their dropout.
          The backward pass then returns their gradient, as "rows", and none of the embedding
    Shapes:  ids (T, B) · state (L, S, B, H) · rows (T, B, D) · reset (T, B) · returns h (T, B, H), state (L, S, B, H)
    """
    x: Array | Ids = ids if rows is None else rows
    if rows is None and weights.embed is not None:
        x = weights.embed[ids]
        if masks.inputs is not None:
            x *= masks.inputs
    states, backprops = [], []
    for layer, own in enumerate(weights.layers):
        buffers = scratch.scope(f"layer{layer}")
        h, layer_state, layer_backprop = weights.cell.forward(own, x, state[layer], reset=reset, scratch=buffers)
        if masks.outputs is not None:
            h = np.multiply(h, masks.outputs[layer], out=buffers.empty("dropped", h.shape, h.dtype))
        x = h
        states.append(layer_state)
        backprops.append(layer_backprop)

    def backprop(dh: Array, dstate: Array) -> tuple[Array, Params]:
        grads: Params = {}
        dstate0 = np.empty_like(dstate)
        dx: Array | None = dh
        for layer in reversed(range(len(backprops))):
            assert dx is not None  # only ids have no gradient, and only the first layer reads them
            if masks.outputs is not None:
                dx = dx * masks.outputs[layer]
            dx, dstate0[layer], own = backprops[layer](dx, dstate[layer])
            grads |= {f"layer{layer}.{name}": grad for name, grad in own.items()}
        if rows is not None and dx is not None:
            grads["rows"] = dx
        elif weights.embed is not None and dx is not None:
            if masks.inputs is not None:
                dx *= masks.inputs
            d_embed = grads["embed.W_e"] = sum_rows(ids.reshape(-1), dx.reshape(-1, dx.shape[-1]), len(weights.embed))
            if weights.W_he is not None:
                d_embed *= _input_scale(d_embed)
        for name, mask in (masks.weights or {}).items():
            grads[name] *= mask
        return dstate0, grads

    return h, np.array(states), backprop


def layers(
    weights: Weights, ids: Ids, state: Array, scratch: Scratch, *, reset: Mask | None = None
) -> Iterator[tuple[Array, Array, dict[str, Array]]]:
    """Read a window; yield of each layer, from the first, its outputs, the state after it, and its gates by name.

    A layer is read when it is asked for. Outputs and gates are in scratch memory, so valid until the next forward.
    Shapes:  ids (T, B) · reset (T, B) · yields (T, B, H), (S, B, H), and (T, B, H) for each gate
    """
    x: Array | Ids = ids if weights.embed is None else weights.embed[ids]
    for layer, (own, before) in enumerate(zip(weights.layers, hidden_state(weights, state), strict=True)):
        buffers = scratch.scope(f"layer{layer}")
        h, after, _ = weights.cell.forward(own, x, before, reset=reset, scratch=buffers)
        yield h, after, weights.cell.gates_of(h, buffers)
        x = h


def gates(
    weights: Weights, ids: Ids, state: Array, scratch: Scratch, *, reset: Mask | None = None
) -> list[dict[str, Array]]:
    """Return the gates of each layer in a window by name; in scratch memory, so valid until the next forward.

    Shapes:  ids (T, B) · reset (T, B) · returns (T, B, H) for each gate
    """
    return [own for _, _, own in layers(weights, ids, state, scratch, reset=reset)]


def readout(weights: Weights, h: Array) -> tuple[Array, ReadoutBackprop]:
    """Return the logits and the backward pass.

    logits = h W_hy + b_y, or h W_he W_e^T + b_y with a tied embedding
    Shapes:  h (T, B, H) · returns logits (T, B, V)
    Source:  Press & Wolf 2017, Inan et al. 2017 (tied embeddings).
    """
    W_he, W_hy, b_y = weights.W_he, weights.W_hy, weights.b_y
    flat_h = h.reshape(-1, h.shape[-1])
    e = flat_h if W_he is None else flat_h @ W_he
    logits = e @ W_hy
    logits += b_y

    def backprop(dlogits: Array) -> tuple[Array, Params]:
        flat = dlogits.reshape(-1, len(b_y))
        db_y, de = flat.sum(axis=0), flat @ W_hy.T
        if W_he is None:
            return de.reshape(h.shape), {"out.W_hy": e.T @ flat, "out.b_y": db_y}
        grads = {"embed.W_e": flat.T @ e, "out.W_he": flat_h.T @ de, "out.b_y": db_y}
        return (de @ W_he.T).reshape(h.shape), grads

    return logits.reshape(*h.shape[:2], len(b_y)), backprop


def forward(
    weights: Weights,
    ids: Ids,
    state: Array,
    *,
    rows: Array | None = None,
    reset: Mask | None = None,
    masks: Masks = NO_DROPOUT,
    scratch: Scratch = FRESH,
) -> tuple[Array, Array, ModelBackprop]:
    """Return the logits (T, B, V), the state after the window, and the backward pass: `hidden`, then `readout`.

    With attention, the logits are the log-probabilities of the mixture.
    rows  as for `hidden`
    """
    if weights.attention is not None:
        return _forward_with_attention(weights, weights.attention, ids, state, rows, reset, masks, scratch)
    h, state, hidden_backprop = hidden(weights, ids, state, rows=rows, reset=reset, masks=masks, scratch=scratch)
    logits, readout_backprop = readout(weights, h)

    def backprop(dlogits: Array, dstate: Array) -> tuple[Array, Params]:
        dh, grads = readout_backprop(dlogits)
        dstate0, more = hidden_backprop(dh, dstate)
        if weights.W_he is not None and rows is None:
            more["embed.W_e"] += grads["embed.W_e"]
        return dstate0, grads | more

    return logits, state, backprop


def _forward_with_attention(
    weights: Weights,
    pointer: Attention,
    ids: Ids,
    state: Array,
    rows: Array | None,
    reset: Mask | None,
    masks: Masks,
    scratch: Scratch,
) -> tuple[Array, Array, ModelBackprop]:
    """Return what `forward` does. The readout gets the last layer's outputs with dropout, attention without."""
    last_mask = None
    if masks.outputs is not None:
        last_mask, others = masks.outputs[-1], masks.outputs.copy()
        others[-1] = 1
        masks = masks._replace(outputs=others)
    h, hidden_after, hidden_backprop = hidden(
        weights, ids, hidden_state(weights, state), rows=rows, reset=reset, masks=masks, scratch=scratch
    )
    z, readout_backprop = readout(weights, h if last_mask is None else h * last_mask)
    logits, memory, attention_backprop = attention.forward(pointer, h, z, ids, _memory(pointer, state), reset=reset)
    after = np.empty_like(state)
    hidden_state(weights, after)[...], _memory(pointer, after)[...] = hidden_after, memory

    def backprop(dlogits: Array, dstate: Array) -> tuple[Array, Params]:
        dh, dz, own = attention_backprop(dlogits)
        dh_readout, grads = readout_backprop(dz)
        if last_mask is not None:
            dh_readout *= last_mask
        dh += dh_readout
        dhidden, more = hidden_backprop(dh, hidden_state(weights, dstate))
        if weights.W_he is not None and rows is None:
            more["embed.W_e"] += grads["embed.W_e"]
        dstate0 = np.zeros_like(dstate)
        hidden_state(weights, dstate0)[...] = dhidden
        return dstate0, grads | more | {f"attention.{name}": grad for name, grad in own.items()}

    return logits, after, backprop


def looks(weights: Weights, ids: Ids, state: Array, *, reset: Mask | None = None) -> Looks:
    """Read a window from a state, which is not changed, and return what attention looks at.

    Shapes:  ids, reset (T, B)
    Raises:  ConfigError if the model has no attention.
    """
    if weights.attention is None:
        raise ConfigError("the model has no attention to show: train one with --attention")
    h, _, _ = hidden(weights, ids, hidden_state(weights, state), reset=reset)
    memory = _memory(weights.attention, state)
    return attention.looks(weights.attention, h, ids, memory, len(weights.b_y), reset=reset)


def read(weights: Weights, ids: Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH) -> None:
    """Read a window without a backward pass: only the state changes, in place.

    Shapes:  ids (T, B) · reset (T, B)
    """
    if weights.net is not None and weights.attention is None:
        weights.net.read(ids, state, reset)
    else:
        h = outputs(weights, ids, state, reset=reset, scratch=scratch)
        remember(weights, h, ids, state, reset=reset)


def outputs(weights: Weights, ids: Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH) -> Array:
    """Read a window as `read` does; return the last layer's outputs (T, B, H), valid until the next forward pass.

    Only the hidden state changes: for the memory of attention, each id then goes to `remember` or `logits_after`.
    """
    state = hidden_state(weights, state)
    if weights.net is not None:
        return weights.net.outputs(ids, state, reset)
    return _outputs(weights, ids, state, reset, scratch)


def remember(weights: Weights, h: Array, ids: Ids, state: Array, *, reset: Mask | None = None) -> None:
    """Add ids that `outputs` has read, with its outputs h, to the memory of attention, if the model has it.

    Shapes:  h (T, B, H) · ids, reset (T, B)
    """
    if weights.attention is not None and len(ids):
        memory = _memory(weights.attention, state)
        memory[...] = attention.remember(weights.attention, h, ids, memory, reset=reset)


def logits_after(weights: Weights, h: Array, ids: Ids, state: Array, *, reset: Mask | None = None) -> Array:
    """Return the logits (T, B, V) after ids that `outputs` has read, given its outputs h; `remember` them, too."""
    logits, _ = readout(weights, h)
    if weights.attention is not None:
        memory = _memory(weights.attention, state)
        logits, memory[...], _ = attention.forward(weights.attention, h, logits, ids, memory, reset=reset)
    return logits


def logits_by_row(weights: Weights, h: Array, ids: Ids, state: Array, *, reset: Mask | None = None) -> Array:
    """Do what `logits_after` does for each batch row by itself, so that no bit of a row depends on those beside it."""
    rows = []
    for b in range(h.shape[1]):
        own = slice(b, b + 1)
        forgets = None if reset is None else reset[:, own]
        rows.append(logits_after(weights, h[:, own], ids[:, own], state[:, :, own], reset=forgets))
    return np.concatenate(rows, axis=1)


def predict(weights: Weights, ids: Ids, state: Array, *, scratch: Scratch = FRESH) -> Array:
    """Read a window as `read` does, and return the logits of the next id.

    Shapes:  ids (T, B) · returns (B, V)
    """
    if weights.attention is None:
        read(weights, ids, state, scratch=scratch)
        logits, _ = readout(weights, state[-1:, 0])
    else:
        h = outputs(weights, ids, state, scratch=scratch)
        remember(weights, h[:-1], ids[:-1], state)
        logits = logits_after(weights, h[-1:], ids[-1:], state)
    last: Array = logits[0]
    return last


def score(
    weights: Weights, ids: Ids, targets: Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
) -> tuple[Array, Mask]:
    """Read a window as `read` does; return each target's log-probability, and whether it is the most likely symbol.

    With NumPy, logits are computed in blocks that fit the processor's cache; with a large vocabulary, all at once could
    exceed memory.
    Shapes:  ids, targets, reset (T, B) · returns (T, B), (T, B)
    Units:   nats.
    """
    if weights.net is not None and weights.attention is None:
        return weights.net.score(ids, targets, state, reset)
    h = outputs(weights, ids, state, reset=reset, scratch=scratch)
    if weights.attention is not None:
        return _score_with_attention(weights, h, ids, targets, state, reset)
    flat_h, flat = h.reshape(-1, h.shape[-1]), targets.reshape(-1)
    log_probs, correct = np.empty(flat.shape, h.dtype), np.empty(flat.shape, bool)
    size = max(1, _BLOCK // len(weights.b_y))
    for at in range(0, len(flat), size):
        block = slice(at, at + size)
        logits, _ = readout(weights, flat_h[block, None])
        log_probs[block], correct[block] = log_prob(logits[:, 0], flat[block])
    return log_probs.reshape(targets.shape), correct.reshape(targets.shape)


def _score_with_attention(
    weights: Weights, h: Array, ids: Ids, targets: Ids, state: Array, reset: Mask | None
) -> tuple[Array, Mask]:
    """Return what `score` does for outputs h (T, B, H), and change the memory; a block is some time steps."""
    log_probs, correct = np.empty(ids.shape, h.dtype), np.empty(ids.shape, bool)
    size = max(_LEAST_STEPS, _BLOCK // (len(weights.b_y) * ids.shape[1]))
    for at in range(0, len(ids), size):
        block = slice(at, at + size)
        own = None if reset is None else reset[block]
        logits = logits_after(weights, h[block], ids[block], state, reset=own)
        found = log_prob(logits.reshape(-1, logits.shape[-1]), targets[block].reshape(-1))
        log_probs[block], correct[block] = (of.reshape(targets[block].shape) for of in found)
    return log_probs, correct


def step(weights: Weights, ids: Ids, state: Array, held: Sequence[Held] = ()) -> Array:
    """Read one id per batch row, change the state in place, and return the next logits.

    held  units that have their value from the end of this step on. A held output is what the layer above and the
          readout get at this step; a held cell value acts when the next id is read. NumPy computes such a step
    Shapes:  ids (B,) · returns logits (B, V)
    """
    if held:
        h = _outputs(weights, ids[None], hidden_state(weights, state), None, FRESH, held)
        logits: Array = logits_after(weights, h, ids[None], state)[0]
        return logits
    if weights.attention is not None:
        return predict(weights, ids[None], state)
    if weights.net is not None:
        return weights.net.step(ids, state)
    x = _outputs(weights, ids[None], state, None, FRESH)[0]
    if weights.W_he is not None:
        x = x.dot(weights.W_he)
    logits = x.dot(weights.W_hy)
    logits += weights.b_y[None]
    return logits


def _outputs(
    weights: Weights, ids: Ids, state: Array, reset: Mask | None, scratch: Scratch, held: Sequence[Held] = ()
) -> Array:
    """Read a window with NumPy, change the hidden state in place, and return the last layer's outputs, (T, B, H).

    The outputs are valid until the next read on the same scratch or the next change of the state.
    held  as for `step`, in a window of one step
    """
    x: Array | Ids = ids if weights.embed is None else weights.embed.take(ids, axis=0)
    cell = weights.cell
    for layer, own in enumerate(weights.layers):
        buffers = scratch.scope(f"layer{layer}")
        if cell.read is None:
            h, state[layer], _ = cell.forward(own, x, state[layer], reset=reset, scratch=buffers)
        else:
            h = cell.read(own, x, state[layer], reset=reset, scratch=buffers)
        for unit in held:
            if unit.layer == layer:
                state[layer, unit.part, :, unit.unit] = unit.value
                h = state[layer, :1]
        x = h
    return h
