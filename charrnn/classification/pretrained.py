"""Begin a classifier with the weights of language models: one that reads forwards, one backwards, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from charrnn.arrays import Params
from charrnn.checkpoint import Checkpoint
from charrnn.config import flag_of, option_words
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.nn import model
from charrnn.nn.encoder import DIRECTIONS

#: The settings that a classifier shares with the language models it begins with.
_SHARED = ("cell", "hidden_size", "num_layers", "embed_size", "dtype")
_FORM = ("bytes", "normalize", "lowercase")


def settings_of(earlier: Sequence[Checkpoint], settings: dict[str, Any], directions: int) -> dict[str, Any]:
    """Return the settings that a classifier takes from the language models.

    Two models have an embedding each, so the classifier's is as wide as both.
    Raises:  ConfigError if they differ from each other or from the given settings, or have one direction twice.
    """
    first = earlier[0]
    if any(_symbols(other.vocab) != _symbols(first.vocab) for other in earlier):
        raise ConfigError("the models of --init-from have different vocabularies: train both on the same text")
    read = [int(saved.vocab.reverse) for saved in earlier]
    if len(set(read)) < len(read):
        raise ConfigError(
            "--init-from names two models that read in the same direction: give one forwards, one of --reverse"
        )
    if max(read) >= directions:
        raise ConfigError("--init-from names a model that reads backwards: leave out --no-bidirectional")
    found = [vars(saved.model_config) | vars(saved.text_config) for saved in earlier]
    taken = {name: found[0][name] for name in (*_SHARED, *_FORM)}
    for values in found:
        for name, value in taken.items():
            if values[name] != value:
                raise ConfigError(
                    f"the models of --init-from differ in {flag_of(name)}, {value} and {values[name]}: choose models "
                    "that agree"
                )
    taken["embed_size"] *= len(earlier)
    for name, value in taken.items():
        if settings.get(name, value) != value:
            raise ConfigError(
                f"{' '.join(option_words(name, settings[name]))} contradicts --init-from, with which it is {value}: "
                "leave it out"
            )
    return taken


def _symbols(vocab: Vocab) -> tuple[str, tuple[str, ...], str]:
    return vocab.symbols, vocab.specials, vocab.kind


def vocab_of(earlier: Sequence[Checkpoint]) -> Vocab:
    """Return the vocabulary of the language models, for texts that are encoded in their own order."""
    return replace(earlier[0].vocab, reverse=False)


def params_of(earlier: Sequence[Checkpoint], drawn: Params) -> Params:
    """Return copies of the parameters that come from the language models, in the shapes of those drawn.

    A direction reads its own columns of the embedding and, above the first layer, its own outputs: the rows of weights
    for those of the other direction begin at zero. So at first each direction computes exactly what its language model
    does. The readouts of the next character read the first layer, so they come from models of one layer.
    """
    params: Params = {}
    for saved in earlier:
        own = int(saved.vocab.reverse)
        for name, array in saved.params.items():
            if name == "embed.W_e":
                E = array.shape[1]
                at = own * E if len(earlier) > 1 else 0
                params.setdefault(name, np.zeros_like(drawn[name]))
                params[name][:, at : at + E] = model.prepare(saved.params, saved.model_config).embed  # scaled, if tied
            elif name.startswith("layer"):
                into = f"{DIRECTIONS[own]}{name.removeprefix('layer')}"
                params[into] = array.copy()  # each of several nets has its own
                if (shape := drawn[into].shape) != array.shape:
                    params[into] = np.zeros(shape, array.dtype)
                    params[into][own * len(array) :][: len(array)] = array
            elif name in ("out.W_hy", "out.b_y") and saved.model_config.num_layers == 1 and "out.W_hy" in saved.params:
                params[f"next{own}.{name.removeprefix('out.')}"] = array
    return {name: array.copy() for name, array in params.items() if name in drawn}
