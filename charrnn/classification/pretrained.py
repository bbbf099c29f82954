"""Begin a classifier with the weights of language models: one that reads forwards, one backwards, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.arrays import Params
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, flag_of
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.nn.encoder import DIRECTIONS

#: The settings that a classifier shares with the language models it begins with.
_SHARED = ("cell", "hidden_size", "num_layers", "embed_size", "dtype")
_FORM = ("normalize", "lowercase")


def vocab_and_settings(
    earlier: Sequence[Checkpoint], settings: dict[str, Any], directions: int
) -> tuple[Vocab, dict[str, Any]]:
    """Return the language models' vocabulary, which the classifier keeps, and the settings that it takes from them.

    Raises:  ConfigError if they differ from each other or from the given settings, or have one direction twice.
    """
    first = earlier[0]
    for other in earlier[1:]:
        if _symbols(other.vocab) != _symbols(first.vocab):
            raise ConfigError("the models of --init-from have different vocabularies: train both on the same text")
    read = [int(saved.text_config.reverse) for saved in earlier]
    if len(set(read)) < len(read):
        raise ConfigError(
            "--init-from names two models that read in the same direction: give one forwards, one of --reverse"
        )
    if max(read) >= directions:
        raise ConfigError("--init-from names a model that reads backwards: leave out --no-bidirectional")
    taken = {name: getattr(first.model_config, name) for name in _SHARED}
    taken |= {name: getattr(first.text_config, name) for name in (*_FORM, "bytes")}
    for saved in earlier:
        values = vars(saved.model_config) | vars(saved.text_config)
        for name, value in taken.items():
            if values[name] != value or settings.get(name, value) != value:
                raise ConfigError(
                    f"{flag_of(name)} {settings.get(name, values[name])} contradicts a model of --init-from, which has "
                    f"{value}: leave the option out, or choose models that agree"
                )
    return first.vocab, taken


def _symbols(vocab: Vocab) -> tuple[str, tuple[str, ...], str]:
    return vocab.symbols, vocab.specials, vocab.kind


def params_of(earlier: Sequence[Checkpoint], drawn: Params, config: ModelConfig) -> Params:
    """Return the parameters that come from the language models, in the shapes of those drawn.

    A layer above the first also reads the other direction, which the language model did not: those rows begin at
    zero, so at first each direction computes exactly what its language model does.
    """
    params: Params = {}
    for saved in earlier:
        own = int(saved.text_config.reverse)
        for name, array in saved.params.items():
            if name == "embed.W_e":
                params.setdefault(name, array)
            elif name.startswith("layer"):
                params[f"{DIRECTIONS[own]}{name.removeprefix('layer')}"] = array
                into = f"{DIRECTIONS[own]}{name.removeprefix('layer')}"
                if (shape := drawn[into].shape) != array.shape:
                    params[into] = np.zeros(shape, array.dtype)
                    params[into][own * config.hidden_size :][: len(array)] = array
    return params
