"""The classifier: an encoder, pooling over each text, and a readout to the logits of C labels.

h = encode(ids);  v = pool(h);  logits = v W_hy + b_y
Shapes:  ids (T, B) · h (T, B, D H) · v (B, D H) · W_hy (D H, C) · b_y (C,)

There may be several nets, which differ in their initial weights and dropout. Their probabilities are averaged; their
parameters are named `net0.layer0.W_xh` and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from charrnn.arrays import FRESH, Array, Ids, Params, Scratch
from charrnn.config import ClassifierConfig, ModelConfig
from charrnn.nn import auxiliary, encoder
from charrnn.nn.dropout import NO_DROPOUT, Masks
from charrnn.nn.encoder import Encoder, Lengths, Tap
from charrnn.nn.functional import softmax
from charrnn.nn.initializers import INITS, Init, blank
from charrnn.nn.pooling import pool

_LEAST = 1e-30  # a probability, at least: its logarithm is finite in float32

#: The backward pass: dlogits (B, C) -> grads.
ClassifierBackprop: TypeAlias = Callable[[Array], Params]


@dataclass(frozen=True, eq=False)
class Weights:
    """The parameters in the form that forward passes read."""

    encoder: Encoder
    pool: str
    W_hy: Array  # (D H, C)
    b_y: Array  # (C,)


def init_params(config: ModelConfig, classifier: ClassifierConfig, rng: np.random.Generator) -> Params:
    """Draw the parameters in float64 and cast them once."""
    return {
        name: array.astype(config.dtype) for name, array in _drawn(config, classifier, rng, INITS[config.init]).items()
    }


def param_shapes(config: ModelConfig, classifier: ClassifierConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, without drawing any."""
    drawn = _drawn(config, classifier, np.random.default_rng(0), Init(blank, blank, blank, blank))
    return {name: array.shape for name, array in drawn.items()}


def _drawn(config: ModelConfig, classifier: ClassifierConfig, rng: np.random.Generator, init: Init) -> Params:
    D, C = classifier.directions, len(classifier.labels)
    params: Params = {}
    for prefix in classifier.prefixes:
        own = encoder.init_params(config, D, rng, init)
        own |= {"out.W_hy": init.inputs(rng, D * config.hidden_size, C), "out.b_y": np.zeros(C)}
        own |= auxiliary.init_params(config, D, rng, init) if classifier.next_weight else {}
        params |= {f"{prefix}{name}": array for name, array in own.items()}
    return params


def own_params(params: Params, prefix: str) -> Params:
    """Return the parameters of one net, given its prefix, by their names without it."""
    return {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}


def prepare_all(params: Params, config: ModelConfig, classifier: ClassifierConfig) -> tuple[Weights, ...]:
    """Return the weights of each net in the form that forward passes read; valid until params change."""
    return tuple(prepare(own_params(params, prefix), config, classifier) for prefix in classifier.prefixes)


def prepare(params: Params, config: ModelConfig, classifier: ClassifierConfig, masks: Masks = NO_DROPOUT) -> Weights:
    """Return the weights of one net in the form that forward passes read; valid until params change."""
    net = encoder.prepare(params, config, classifier.directions, masks)
    return Weights(net, classifier.pool, params["out.W_hy"], params["out.b_y"])


def forward(
    weights: Weights,
    ids: Ids,
    lengths: Lengths,
    *,
    rows: Array | None = None,
    masks: Masks = NO_DROPOUT,
    tap: Tap | None = None,
    scratch: Scratch = FRESH,
) -> tuple[Array, ClassifierBackprop]:
    """Return the logits of each text, and the backward pass.

    rows, tap  as for `encoder.encode`
    Shapes:  ids (T, B) · lengths (B,) · returns (B, C)
    """
    h, encoder_backprop = encoder.encode(
        weights.encoder, ids, lengths, rows=rows, masks=masks, tap=tap, scratch=scratch
    )
    v, pool_backprop = pool(weights.pool, h, lengths, weights.encoder.directions)

    def backprop(dlogits: Array) -> Params:
        grads = {"out.W_hy": v.T @ dlogits, "out.b_y": dlogits.sum(axis=0)}
        return grads | encoder_backprop(pool_backprop(dlogits @ weights.W_hy.T))

    return v @ weights.W_hy + weights.b_y, backprop


def logits(weights: Weights, ids: Ids, lengths: Lengths, *, scratch: Scratch = FRESH) -> Array:
    """Return the logits of each text, without what only the backward pass needs.

    Shapes:  ids (T, B) · lengths (B,) · returns (B, C)
    """
    h = encoder.read(weights.encoder, ids, lengths, scratch=scratch)[-1]
    v, _ = pool(weights.pool, h, lengths, weights.encoder.directions)
    result: Array = v @ weights.W_hy + weights.b_y
    return result


def mean_logits(nets: Sequence[Weights], ids: Ids, lengths: Lengths, *, scratch: Scratch = FRESH) -> Array:
    """Return the logits of the mean of the nets' probabilities: of one net, its own.

    Shapes:  ids (T, B) · lengths (B,) · returns (B, C)
    """
    if len(nets) == 1:
        return logits(nets[0], ids, lengths, scratch=scratch)
    mean = sum(softmax(logits(net, ids, lengths, scratch=scratch)) for net in nets) / len(nets)
    result: Array = np.log(np.maximum(mean, _LEAST)).astype(nets[0].b_y.dtype)
    return result
