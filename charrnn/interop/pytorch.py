"""Weights to and from PyTorch: one-hot inputs or an nn.Embedding, an nn.RNN, nn.LSTM or nn.GRU, and an nn.Linear.

embedding.weight (V, E)                 embed.W_e; with one-hot inputs, there is none
rnn.weight_ih_l0 (GH, D)                layer0.W_xh (D, GH), transposed; the gates are in the same order
rnn.weight_hh_l0 (GH, H)                layer0.W_hh (H, GH), transposed
rnn.bias_ih_l0, rnn.bias_hh_l0 (GH,)    layer0.b_h, their sum; in the n gate of a GRU, b_h and b_hn, which are not added
readout.weight (V, H)                   out.W_hy (H, V), transposed
readout.bias (V,)                       out.b_y

G is the number of gates: 1, 4 for an LSTM, 3 for a GRU. PyTorch is not imported: a state dict is a mapping of names to
anything that NumPy takes as an array, such as tensors on the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Params
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TextConfig, TrainConfig, flag_of, sort_settings
from charrnn.data.corpus import Corpus
from charrnn.data.source import UNKNOWN
from charrnn.data.vocab import Vocab
from charrnn.errors import CheckpointError, ConfigError, VocabError
from charrnn.wording import in_words

_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
_TAKEN = (
    "charrnn takes an nn.Embedding or one-hot inputs, one nn.RNN (tanh), nn.LSTM or nn.GRU in one direction and "
    "without a projection, and one nn.Linear"
)


def to_torch(config: ModelConfig, params: Params) -> Params:
    """Return the parameters by the names of PyTorch and in its layout, as copies.

    Where only the sum of two biases counts, bias_hh is zero.
    Raises:  ConfigError, naming the setting, if PyTorch's modules do not compute what the model does.
    """
    _refuse_others(config)
    weights = {"embedding.weight": params["embed.W_e"]} if config.embed_size else {}
    for layer in range(config.num_layers):
        W_xh, W_hh, b_h = (params[f"layer{layer}.{name}"] for name in ("W_xh", "W_hh", "b_h"))
        b_hh = np.zeros_like(b_h)
        if config.cell == "gru":
            b_hh[2 * config.hidden_size :] = params[f"layer{layer}.b_hn"]
        own = {"weight_ih": W_xh.T, "weight_hh": W_hh.T, "bias_ih": b_h, "bias_hh": b_hh}
        weights |= {f"rnn.{name}_l{layer}": array for name, array in own.items()}
    weights |= {"readout.weight": params["out.W_hy"].T, "readout.bias": params["out.b_y"]}
    return {name: np.array(array, order="C") for name, array in weights.items()}


def _refuse_others(config: ModelConfig) -> None:
    """Raise ConfigError if a setting of the model has no counterpart in PyTorch's modules."""
    if config.cell not in _GATES:
        raise ConfigError(
            f"--cell {config.cell} has no counterpart in PyTorch: train a model with --cell {in_words([*_GATES], 'or')}"
        )
    for name in ("tied", "attention"):
        if getattr(config, name):
            raise ConfigError(
                f"{flag_of(name)} has no counterpart in PyTorch's recurrent nets: train a model without it"
            )


def from_torch(weights: Mapping[str, Any]) -> tuple[ModelConfig, Params]:
    """Return the settings and the parameters of a net, from its state dict.

    The modules may have any names. Numbers of half precision become float32.
    Raises:  CheckpointError if something is missing, unknown, of a wrong shape or not finite.
    """
    arrays = _arrays(weights)
    modules = _modules(arrays)
    config = _config(arrays, modules)
    own = {name: arrays[given] for name, given in _checked_names(arrays, modules, config).items()}
    params = {"embed.W_e": own["embedding.weight"]} if config.embed_size else {}
    H = config.hidden_size
    for layer in range(config.num_layers):
        W_ih, W_hh, b_ih, b_hh = (
            own[f"rnn.{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        of_layer = {"W_xh": W_ih.T, "W_hh": W_hh.T, "b_h": b_ih + b_hh}
        if config.cell == "gru":
            of_layer["b_h"][2 * H :] = b_ih[2 * H :]
            of_layer["b_hn"] = b_hh[2 * H :]
        params |= {f"layer{layer}.{name}": array for name, array in of_layer.items()}
    params |= {"out.W_hy": own["readout.weight"].T, "out.b_y": own["readout.bias"]}
    return config, {name: np.array(array, order="C") for name, array in params.items()}


def _arrays(weights: Mapping[str, Any]) -> Params:
    """Return the weights as arrays of one type, float32 or float64.

    Raises:  CheckpointError if one is not an array of finite floating-point numbers.
    """
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"from_torch needs a state dict, got {type(weights).__name__}: pass net.state_dict()")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, value in weights.items():
        try:
            arrays[name] = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:  # on a GPU, of a type that NumPy lacks, with a gradient
            reason = str(error).partition("\n")[0]
            raise CheckpointError(
                f"{name} cannot be read as an array ({reason}): pass net.float().cpu().state_dict()"
            ) from None
        if arrays[name].dtype.kind != "f":
            raise CheckpointError(f"{name} is {arrays[name].dtype}: pass floating-point weights")
        if not np.isfinite(arrays[name]).all():
            raise CheckpointError(f"{name} contains numbers that are not finite: use weights from before it diverged")
    is_double = any(array.dtype.itemsize > 4 for array in arrays.values())
    return {name: array.astype(np.float64 if is_double else np.float32) for name, array in arrays.items()}


def _modules(arrays: Params) -> dict[str, str]:
    """Return what the names of each module's weights begin with: of rnn, readout and, if there is one, embedding.

    The modules are found by their weights, since they may have any names.
    Raises:  CheckpointError if one is missing, or there are several.
    """
    weights_of: dict[str, set[str]] = {}
    for name in arrays:
        begin = name.rfind(".") + 1
        weights_of.setdefault(name[:begin], set()).add(name[begin:])

    def with_matrix(*names: str) -> list[str]:
        return [module for module, own in weights_of.items() if own == {*names} and arrays[f"{module}weight"].ndim == 2]

    found = {
        "rnn": [module for module, own in weights_of.items() if "weight_hh_l0" in own],
        "readout": with_matrix("weight", "bias"),
        "embedding": with_matrix("weight"),
    }
    for kind, needed in (("rnn", "nn.RNN, nn.LSTM or nn.GRU"), ("readout", "nn.Linear with a bias")):
        if not found[kind]:
            raise CheckpointError(f"the weights have no {needed}: {_TAKEN}")
    for kind, modules in found.items():
        if len(modules) > 1:
            names = in_words([module.rstrip(".") for module in modules], "and")
            raise CheckpointError(f"{names} could each be the {kind}: {_TAKEN}")
    return {kind: modules[0] for kind, modules in found.items() if modules}


def _config(arrays: Params, modules: dict[str, str]) -> ModelConfig:
    """Return the settings that the shapes imply.

    Raises:  CheckpointError if no cell has such shapes.
    """
    rnn = modules["rnn"]
    first = f"{rnn}weight_hh_l0"
    shape, V = arrays[first].shape, len(arrays[f"{modules['readout']}weight"])
    cells = [cell for cell, gates in _GATES.items() if len(shape) == 2 and shape == (gates * shape[1], shape[1])]
    if not cells or 0 in (V, *shape):
        raise CheckpointError(
            f"{first} has shape {shape}, which is (GH, H) for no G of 1 (nn.RNN), 3 (nn.GRU) or 4 (nn.LSTM): {_TAKEN}"
        )
    return ModelConfig(
        V,
        cell=cells[0],
        hidden_size=shape[1],
        num_layers=sum(re.fullmatch(rf"{re.escape(rnn)}weight_hh_l\d+", name) is not None for name in arrays),
        embed_size=arrays[f"{modules['embedding']}weight"].shape[1] if "embedding" in modules else 0,
        dropout=0.0,
        dtype=str(arrays[first].dtype),
    )


def _checked_names(arrays: Params, modules: dict[str, str], config: ModelConfig) -> dict[str, str]:
    """Return the given name of each weight.

    Raises:  CheckpointError if a weight is missing, unknown or of a wrong shape.
    """
    given, shapes = {}, _shapes(config)
    for name in shapes:
        module, _, weight = name.partition(".")
        given[name] = modules[module] + weight
    for name in given.values():
        if name not in arrays:
            raise CheckpointError(
                f"{name} is missing: pass the whole state dict; of a module without biases, add zeros"
            )
    if unknown := [name for name in arrays if name not in given.values()]:
        raise CheckpointError(f"{unknown[0]} has no counterpart here: {_TAKEN}")
    for name, shape in shapes.items():
        if (actual := arrays[given[name]].shape) != shape:
            inputs = f"an embedding of {config.embed_size}" if config.embed_size else "one-hot inputs"
            raise CheckpointError(
                f"{given[name]} has shape {actual}, not {shape}: the other weights are those of {config.cell} "
                f"{config.num_layers}x{config.hidden_size} with {config.vocab_size} symbols and {inputs}; pass the "
                "weights of one net"
            )
    return given


def _shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight by its name in `to_torch`."""
    V, E, H, G = config.vocab_size, config.embed_size, config.hidden_size, _GATES[config.cell]
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (V, E)} if E else {}
    for layer in range(config.num_layers):
        D = H if layer else E or V
        own = {"weight_ih": (G * H, D), "weight_hh": (G * H, H), "bias_ih": (G * H,), "bias_hh": (G * H,)}
        shapes |= {f"rnn.{name}_l{layer}": shape for name, shape in own.items()}
    return shapes | {"readout.weight": (V, H), "readout.bias": (V,)}


def checkpoint_of(
    weights: Mapping[str, Any], characters: str | Sequence[str] | Vocab, corpus: Corpus | None = None
) -> Checkpoint:
    """Return a checkpoint with the weights of a state dict.

    characters  in the order of the rows; those of the checkpoint are sorted, and its weights with them
    corpus      what the net was trained on, for all that reads it again
    Raises:     CheckpointError as for `from_torch`; VocabError if characters and rows, or vocabulary and corpus, do not
                go together; ConfigError if the corpus is something else.
    """
    config, params = from_torch(weights)
    vocab = characters if isinstance(characters, Vocab) else _vocab(characters)
    if vocab.size != config.vocab_size:
        raise VocabError(
            f"{vocab.size} symbols for {config.vocab_size} rows of the readout: give one for each row, in their order"
        )
    if not isinstance(characters, Vocab):
        params = _in_order(params, sorted(range(len(characters)), key=characters.__getitem__))
    if corpus is None:
        if vocab.end is not None:
            raise VocabError("a vocabulary with the end of documents needs the corpus that was split into documents")
        text_config = TextConfig(
            bytes=vocab.kind == "bytes",
            normalize=vocab.normalize,
            lowercase=vocab.lowercase,
            reverse=vocab.reverse,
            val_fraction=0.0,
        )
        return Checkpoint(config, TrainConfig(), vocab, params, 0, UNKNOWN, text_config=text_config)
    if not isinstance(corpus, Corpus):
        raise ConfigError(f"corpus must be a charrnn.Corpus, got {corpus!r}: pass charrnn.Corpus.read(path)")
    _, text_config, train_config = sort_settings(corpus.settings)
    corpus = corpus.read_as(text_config, train_config.seed)
    for name, of_vocab, of_corpus in (
        ("bytes", vocab.kind == "bytes", text_config.bytes),
        ("documents", vocab.end is not None, text_config.has_documents),
    ):
        if of_vocab != of_corpus:
            has, lacks = ("vocabulary", "corpus") if of_vocab else ("corpus", "vocabulary")
            raise VocabError(f"the {has} is one of {name}, and the {lacks} is not: make both the same")
    vocab = replace(vocab, normalize=text_config.normalize, lowercase=text_config.lowercase).counted(corpus.train)
    return Checkpoint(config, train_config, vocab, params, 0, corpus.source, corpus.val_source, text_config=text_config)


def _vocab(characters: str | Sequence[str]) -> Vocab:
    """Return the vocabulary of these characters, which may be in any order.

    Raises:  VocabError if something else than single characters is among them, or one of them twice.
    """
    if not isinstance(characters, Sequence):
        kind = type(characters).__name__
        raise VocabError(f"the characters must be a string, a list in the order of the rows or a Vocab, got {kind}")
    seen = set[str]()
    for row, char in enumerate(characters):
        if not isinstance(char, str) or len(char) != 1:
            raise VocabError(f"row {row} is {char!r}, which is not one character: train without such symbols")
        if char in seen:
            raise VocabError(f"{char!r} occurs twice, the second time for row {row}: give each character once")
        seen.add(char)
    return Vocab("".join(sorted(seen)))


def _in_order(params: Params, rows: list[int]) -> Params:
    """Return the parameters with the symbols in this order."""

    def ordered(name: str, axis: int) -> dict[str, Array]:
        return {name: np.ascontiguousarray(params[name].take(rows, axis))}

    first = "embed.W_e" if "embed.W_e" in params else "layer0.W_xh"
    return params | ordered(first, 0) | ordered("out.W_hy", 1) | ordered("out.b_y", 0)
