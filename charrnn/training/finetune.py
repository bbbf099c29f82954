"""Fine-tuning: a run that begins with the weights of an earlier model, on a text that may have new symbols."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from charrnn.arrays import Params
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, default_of, flag_of, sort_settings
from charrnn.data.vocab import SPECIALS, Vocab
from charrnn.errors import ConfigError
from charrnn.nn import model

#: The settings of a model that change no shape, so that fine-tuning may set them anew.
FREE = ("dropout", "input_dropout", "weight_drop", "init")
_SHOWN = 40  # characters that a note or an error names


class Pretrained(NamedTuple):
    """The start of a fine-tuning run; the notes are sentences for the user."""

    vocab: Vocab
    model_config: ModelConfig
    params: Params
    notes: list[str]


def adopt_text_form(settings: dict[str, Any], earlier: Vocab) -> dict[str, Any]:
    """Return the settings with the earlier model's settings of bytes, normal form, lower case and direction.

    Raises:  ConfigError, naming the setting, if one of them is given and differs.
    """
    form: dict[str, Any] = {name: getattr(earlier, name) for name in ("normalize", "lowercase", "reverse")}
    form["bytes"] = earlier.kind == "bytes"
    for name, value in form.items():
        if settings.get(name, value) != value:
            raise ConfigError(
                f"{flag_of(name)} contradicts the model of --init-from, which read its text differently "
                f"({name} {value}): leave the option out; a Corpus must be read with the same settings"
            )
    return settings | {name: value for name, value in form.items() if value != default_of(name)}


def pretrained(earlier: Checkpoint, text_vocab: Vocab, settings: dict[str, Any]) -> Pretrained:
    """Return vocabulary, model settings and weights of a run that begins with an earlier model.

    text_vocab  the vocabulary of the new text
    Raises:     ConfigError if a setting contradicts the earlier model, or the text has symbols that it lacks.
    """
    model_settings, _, config = sort_settings(settings)
    vocab, vocab_notes = merge_vocabs(earlier.vocab, text_vocab, config.extend_vocab)
    model_config = same_model(earlier.model_config, vocab, model_settings)
    params, params_notes = grow_params(earlier, vocab, model_config)
    return Pretrained(vocab, model_config, params, vocab_notes + params_notes)


def same_model(earlier: ModelConfig, vocab: Vocab, settings: dict[str, Any]) -> ModelConfig:
    """Return the earlier model's settings for this vocabulary, with the new values of the free ones."""
    for name, value in settings.items():
        if name not in FREE and value != getattr(earlier, name):
            raise ConfigError(
                f"{flag_of(name)} {value} contradicts the model of --init-from, which has {getattr(earlier, name)}: "
                "leave the option out"
            )
    free = {name: value for name, value in settings.items() if name in FREE}
    return replace(earlier, vocab_size=vocab.size, **free)


def merge_vocabs(earlier: Vocab, text_vocab: Vocab, extend: bool) -> tuple[Vocab, list[str]]:
    """Return the earlier vocabulary, extended by the symbols of a new text if asked, and notes.

    If it is not extended, its unknown symbol replaces new characters, and a note names them.
    Raises:  ConfigError if the text has symbols that the result lacks, or if only the earlier model knows documents: it
             would still end its samples with a mark that the new text never shows.
    """
    if "end" in earlier.specials and "end" not in text_vocab.specials:
        raise ConfigError(
            "the model of --init-from learned document ends, and this text is not split into documents: give "
            "--split-documents, --separator or --field; `--split-documents files` makes each file a document"
        )
    new = sorted(set(text_vocab.symbols) - set(earlier.symbols))
    specials = tuple(name for name in SPECIALS if name in earlier.specials + text_vocab.specials)
    if extend:
        symbols = "".join(sorted(new + list(earlier.symbols)))
        return replace(earlier, symbols=symbols, specials=specials, counts=(), starts=()), []
    lacking = f"the text has {_named(new)} that the model of --init-from lacks"
    if new and earlier.unknown is None:
        raise ConfigError(f"{lacking}: add them with --extend-vocab")
    if specials != earlier.specials:
        names = ", ".join(name for name in specials if name not in earlier.specials)
        raise ConfigError(f"the model of --init-from has no symbol for {names}: add it with --extend-vocab")
    notes = [f"{lacking}, learned as unknown: --extend-vocab adds them"] if new else []
    return replace(earlier, counts=(), starts=()), notes


def grow_params(earlier: Checkpoint, vocab: Vocab, model_config: ModelConfig) -> tuple[Params, list[str]]:
    """Return the earlier weights with rows for the symbols that are new in this vocabulary, and notes.

    A new row is the mean of the old ones. Then k new symbols of n in all take about k / n of the probability, whatever
    the logits of the old ones are; a random row may take nearly all of it.
    Source:  Hewitt 2021, Initializing New Word Embeddings for Pretrained Language Models.
    """
    before = earlier.vocab
    if (vocab.symbols, vocab.specials) == (before.symbols, before.specials):
        return earlier.params, []
    new = sorted(set(vocab.symbols) - set(before.symbols))
    names = [_named(new)] if new else []
    names += [f"the {name} symbol" for name in vocab.specials if name not in before.specials]
    new_ids = {symbol: id_ for id_, symbol in enumerate([*vocab.symbols, *vocab.specials])}
    kept = [new_ids[symbol] for symbol in [*before.symbols, *before.specials]]
    params: Params = {}
    for name, shape in model.param_shapes(model_config).items():
        old = params[name] = earlier.params[name]
        if old.shape != shape:  # one axis is the vocabulary's
            axis = next(axis for axis in range(old.ndim) if old.shape[axis] != shape[axis])
            params[name] = np.broadcast_to(old.mean(axis, keepdims=True), shape).copy()
            params[name][(slice(None),) * axis + (kept,)] = old
    return params, [f"new to the model, starting at the mean of its other symbols: {', '.join(names)}"]


def _named(characters: list[str]) -> str:
    """Return how notes and errors name characters: how many, and the first of them."""
    return f"{len(characters):,} character{'s' * (len(characters) != 1)} ({''.join(characters)[:_SHOWN]!r})"
