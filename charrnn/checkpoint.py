"""Save and load checkpoints: a model, or a whole run, in one `.npz` file of plain arrays and one JSON string.

The arrays are named `params/…`, `opt/…` and `state`; everything else is in the JSON string `meta`. `best.npz` has what
inference needs; `last.npz` also has what resuming needs: the optimizer's state, the model's state and the progress. If
that is not the last good state, to which a run goes back when it diverges, `good/…` has the arrays of the good one.
The cache that was fitted to a trained model has `cache/…`, and the n-grams of a classifier `ngrams/…`.
Neither records a time of day, so the same settings give the same bytes. Nothing is ever pickled.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.arrays import Array, Params
from charrnn.config import (
    MOST_MEMORY,
    ClassifierConfig,
    ModelConfig,
    TextConfig,
    TrainConfig,
    build,
    from_dict,
    how_to_register,
    text_and_train_configs,
    text_and_train_settings,
)
from charrnn.data.source import Source
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError, CheckpointError, UnknownCellError
from charrnn.memory.cache import Cache
from charrnn.nn import classifier, compiled, model
from charrnn.system.atomic import REMEDY, replacing, uninterrupted
from charrnn.system.npz import Header, Npz, PickledError
from charrnn.version import __version__

FORMAT_VERSION = 1
MAX_META = 1 << 26  # limit of the characters of `meta`; a vocabulary of all of Unicode takes about half
_SHOWN = 5  # names in an error
_BEGINNING = 1 << 16  # bytes that say what a file is
_META_TYPES = {
    "versions": dict,
    "model": dict,
    "train": dict,
    "vocab": dict,
    "step": int,
    "source": dict,
    "earlier_totals": list,
    "history": list,
    "progress": dict,
}
_CACHE_ARRAYS = ("mean", "projection")
_CACHE_TYPES = {"size": int, "sharpness": float, "gates": list, "fitted_to": str}
_NGRAM_TYPES = {"ngrams/keys": "uint64", "ngrams/weights": "float32"}
_GOOD_TYPES = {"step": int, "history": list, "progress": dict}
#: Settings of a model that only its training uses.
_IN_TRAINING = ("dropout", "input_dropout", "weight_drop", "init")


def current_versions() -> dict[str, str]:
    """Return the versions that a checkpoint records, and the BLAS with its kernel if known."""
    import platform

    from charrnn.system.blas import blas

    library = blas()
    versions = {
        "charrnn": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "blas": " ".join(filter(None, (library.name, library.version))),
        "kernel": library.kernel,
        "core": compiled.variant(),
    }
    return {name: version for name, version in versions.items() if version}


@dataclass(frozen=True, eq=False, repr=False)
class Checkpoint:
    """A model with its history, and with everything that resuming its run needs, unless it serves inference only.

    step            updates done
    averaged        True: params are the running mean of the weights, not the weights that training ended with
    validated       characters that each evaluation of its run scores; None if it was written by version 0.2.0 or before
    source          the training corpus; val_source, if validation has a file of its own
    init_from       the checkpoint that the run's weights came from; None for random weights
    earlier_totals  the run's lengths in steps before a resume raised them
    history         a record of each evaluation: step, epoch, loss, val_loss, learning_rate, grad_norm, clipped; of a
                    long history, some records are left out
    progress        plain numbers that a run carries from step to step, by name
    opt_state       the optimizer's arrays; empty for inference
    state           the state of the batch rows, with the memory of attention; None for inference
    good            the run at its last good state; None if this is it, and for inference
    cache           the memory that was fitted to the model when its training ended; None before that
    classifier      the labels and other settings of a classifier; None for a language model
    ngrams          the n-grams of a classifier's labels, `keys` (K,) and `weights` (K, C); empty without them
    """

    model_config: ModelConfig
    train_config: TrainConfig
    vocab: Vocab
    params: Params
    step: int
    source: Source
    val_source: Source | None = None
    init_from: str | None = None
    earlier_totals: list[int] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, Any] = field(default_factory=dict)
    opt_state: Params = field(default_factory=dict)
    state: Array | None = None
    averaged: bool = False
    validated: int | None = None
    text_config: TextConfig = field(default_factory=TextConfig)
    versions: dict[str, str] = field(default_factory=current_versions)
    good: Checkpoint | None = None
    cache: Cache | None = None
    classifier: ClassifierConfig | None = None
    ngrams: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """Return cell, size, symbols and loss: "lstm 1x128, 66 characters, val loss 1.4470"."""
        config, loss = self.model_config, self.history[-1]["val_loss"] if self.history else None
        size = f"{config.cell} {config.num_layers}x{config.hidden_size}, {self.vocab.summary}"
        if self.classifier is not None:
            size = f"classifier of {len(self.classifier.labels):,} labels, {size}"
        size += ", reads backwards" * self.vocab.reverse
        return size if loss is None else f"{size}, val loss {loss:.4f}"

    @property
    def tab(self) -> int | None:
        """Return the id of the tab, after which a document's characters were learned; None if all of it was learned."""
        return self.vocab.tab if self.text_config.context else None

    @property
    def is_imported(self) -> bool:
        """Return whether the weights come from another library, so that how they were trained is unknown."""
        return self.step == 0 and self.state is None

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the settings of "Model", "Text" and "Training" by name; None where an import left them unknown."""
        model, train = asdict(self.model_config), asdict(self.train_config)
        if self.is_imported:
            model, train = model | dict.fromkeys(_IN_TRAINING), dict.fromkeys(train)
        return {"Model": model, "Text": asdict(self.text_config), "Training": train}

    def __repr__(self) -> str:
        return f"Checkpoint(step {self.step:,}: {self.summary})"


def save(path: Path, checkpoint: Checkpoint, remedy: str = REMEDY) -> None:
    """Write a checkpoint; at any moment, `path` is either the old file or the new one, complete.

    remedy: what to do if `path` cannot be written

    Raises:  CharRNNError if the file cannot be written.
    """
    meta = {
        "format": "charrnn",
        "format_version": FORMAT_VERSION,
        "versions": checkpoint.versions,
        "model": asdict(checkpoint.model_config),
        "train": text_and_train_settings(checkpoint.text_config, checkpoint.train_config),
        "vocab": checkpoint.vocab.to_dict(),
        "step": checkpoint.step,
        "source": checkpoint.source._asdict(),
        "val_source": checkpoint.val_source._asdict() if checkpoint.val_source else None,
        "init_from": checkpoint.init_from,
        "earlier_totals": checkpoint.earlier_totals,
        "history": checkpoint.history,
        "progress": checkpoint.progress,
        "averaged": checkpoint.averaged,
        "validated": checkpoint.validated,
    }
    if checkpoint.classifier is not None:
        meta["classifier"] = asdict(checkpoint.classifier)
    arrays = _arrays(checkpoint) | {f"ngrams/{name}": array for name, array in checkpoint.ngrams.items()}
    if cache := checkpoint.cache:
        meta["cache"] = {
            "size": cache.size,
            "sharpness": cache.sharpness,
            "gates": cache.gates.tolist(),
            "fitted_to": cache.fitted_to,
        }
        arrays |= {f"cache/{name}": getattr(cache, name) for name in _CACHE_ARRAYS}
    if good := checkpoint.good:
        meta["good"] = {name: getattr(good, name) for name in _GOOD_TYPES}
        arrays |= {f"good/{name}": array for name, array in _arrays(good).items()}
    with uninterrupted(), replacing(path, remedy) as file:
        np.savez(file, **{"meta": np.array(json.dumps(meta))} | arrays)


def _arrays(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the arrays of a checkpoint by their names in the file."""
    arrays = {f"params/{name}": array for name, array in checkpoint.params.items()}
    arrays |= {f"opt/{name}": array for name, array in checkpoint.opt_state.items()}
    return arrays if checkpoint.state is None else arrays | {"state": checkpoint.state}


def _with_arrays(checkpoint: Checkpoint, arrays: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint with these arrays, given their names in the file."""
    return replace(
        checkpoint,
        params=_with_prefix("params/", arrays),
        opt_state=_with_prefix("opt/", arrays),
        state=arrays.get("state"),
    )


def load(path: Path) -> Checkpoint:
    """Read a checkpoint. Sizes are checked before arrays are read, and everything is checked before it is used.

    Raises:  CheckpointError if the file is missing, damaged, not a checkpoint, or of a newer format; if shapes are
             wrong or numbers not finite; and for pickled objects, which are refused, never executed.
    """
    with _opened(path) as file:
        checkpoint = _without_arrays(path, _read_meta(path, file))
        config, shapes = checkpoint.model_config, _expected_shapes(path, checkpoint, file)
        for name, shape in shapes.items():
            _check_header(path, name, file.header(name), shape, config)
        arrays = {name: file.read(name) for name in file.names if name != "meta"}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise _damaged(path, f"{name} contains numbers that are not finite")
    if checkpoint.good is not None:
        good = _with_arrays(checkpoint.good, _with_prefix("good/", arrays))
        checkpoint = replace(checkpoint, good=good)
    if checkpoint.cache is not None:
        own: dict[str, Any] = _with_prefix("cache/", arrays)
        checkpoint = replace(checkpoint, cache=replace(checkpoint.cache, **own))
    checkpoint = replace(checkpoint, ngrams=_with_prefix("ngrams/", arrays))
    return _with_arrays(checkpoint, arrays)


def load_model(path: Path) -> Checkpoint:
    """Read the checkpoint of a language model.

    Raises:  CheckpointError as for `load`, and for a classifier.
    """
    checkpoint = load(path)
    if checkpoint.classifier is not None:
        raise CheckpointError(
            f"{path} is a classifier, not a language model: use it with `charrnn classify predict`, or name a run of "
            "`charrnn train`"
        )
    return checkpoint


def load_classifier(path: Path) -> Checkpoint:
    """Read the checkpoint of a classifier.

    Raises:  CheckpointError as for `load`, and for a language model.
    """
    checkpoint = load(path)
    if checkpoint.classifier is None:
        raise CheckpointError(
            f"{path} is a language model, not a classifier: train one with `charrnn classify train`, or compare "
            "language models with --by RUN=LABEL"
        )
    return checkpoint


def read_meta(path: Path) -> dict[str, Any]:
    """Read the settings and history of a checkpoint, as `save` wrote them; its arrays are neither read nor checked.

    Raises:  CheckpointError as for `load`.
    """
    with _opened(path) as file:
        return _read_meta(path, file)


def count_parameters(path: Path) -> int:
    """Return the number of parameters in a checkpoint, from the headers of its arrays.

    Raises:  CheckpointError as for `load`.
    """
    with _opened(path) as file:
        return sum(math.prod(file.header(name).shape) for name in file.names if name.startswith("params/"))


@contextmanager
def _opened(path: Path) -> Iterator[Npz]:
    """Open a checkpoint's arrays, and turn every error of reading them into a CheckpointError of one line."""
    try:
        with open(path, "rb") as file:
            if not file.seekable():
                raise CheckpointError(f"{path} can be read only once, and a checkpoint is read in parts: give a file")
            if file.read(2) != b"PK":
                raise _no_checkpoint(path)
            arrays = Npz(file)
            if "meta" not in arrays.names:
                raise _no_checkpoint(path)
            yield arrays
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist: train a model first, or name one that `charrnn list` shows"
        ) from None
    except OSError as error:
        raise CheckpointError.of(error, f"cannot read {path}") from error
    except PickledError:
        raise CheckpointError(
            f"{path} contains pickled objects, which could run code: not loaded; use another copy"
        ) from None
    except Exception as error:  # a damaged header can make zipfile and NumPy raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged or cut short ({reason}): use another copy") from error


def _read_meta(path: Path, file: Npz) -> dict[str, Any]:
    """Return the checked `meta` of a checkpoint."""
    shape, dtype = file.header("meta")
    if shape != () or dtype.kind != "U":
        raise _no_checkpoint(path)
    chars = dtype.itemsize // np.dtype("U1").itemsize
    if chars > MAX_META:
        raise _damaged(path, f"its settings have {chars:,} characters, more than {MAX_META:,}")
    return _checked_meta(path, str(file.read("meta")))


def _checked_meta(path: Path, text: str) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads(text)
        if meta["format"] != "charrnn":
            raise KeyError("format")
        version = meta["format_version"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise _no_checkpoint(path) from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}; charrnn {__version__} reads version {FORMAT_VERSION}: "
            "use the charrnn version that wrote it, or a newer one"
        )
    try:
        _check_types(meta, _META_TYPES)
        for name, types in (("good", _GOOD_TYPES), ("cache", _CACHE_TYPES)):
            if meta.setdefault(name, None) is not None:
                _check_types(meta[name], types)
    except (KeyError, TypeError, ValueError) as error:
        raise _senseless(path, error) from error
    return meta


def _check_types(values: dict[str, Any], types: dict[str, type]) -> None:
    """Raise an error if a value is missing or of another type, or a step or size is negative."""
    for name, kind in types.items():
        if type(values[name]) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    for name in ("step", "size"):
        if values.get(name, 0) < 0:
            raise ValueError(f"{name} {values[name]}")


def _without_arrays(path: Path, meta: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint that `meta` describes, its arrays still missing."""
    try:
        text_config, train_config = text_and_train_configs(meta["train"])
        checkpoint = Checkpoint(
            model_config=from_dict(ModelConfig, meta["model"]),
            train_config=train_config,
            text_config=text_config,
            vocab=Vocab.from_dict(meta["vocab"]),
            params={},
            step=meta["step"],
            source=_source(meta["source"]),
            val_source=_source(meta["val_source"]) if meta["val_source"] else None,
            init_from=meta["init_from"],
            earlier_totals=meta["earlier_totals"],
            history=meta["history"],
            progress=meta["progress"],
            averaged=bool(meta.get("averaged")),
            validated=meta.get("validated"),
            versions=meta["versions"],
            classifier=_classifier(meta),
        )
    except UnknownCellError:
        cell = meta["model"]["cell"]
        raise CheckpointError(
            f"{path}: the cell {cell[:60]!r} is not registered: {how_to_register(cell[:60])}"
        ) from None
    except (KeyError, TypeError, ValueError, CharRNNError) as error:
        raise _senseless(path, error) from error
    symbols, expected = checkpoint.vocab.size, checkpoint.model_config.vocab_size
    if symbols != expected:
        raise _damaged(path, f"it has {symbols} symbols for a model of {expected}")
    if cache := meta["cache"]:
        checkpoint = replace(checkpoint, cache=_cache(path, checkpoint.model_config, cache))
    if good := meta["good"]:
        checkpoint = replace(checkpoint, good=replace(checkpoint, **{name: good[name] for name in _GOOD_TYPES}))
    return checkpoint


def _classifier(meta: dict[str, Any]) -> ClassifierConfig | None:
    """Return the settings of a classifier that `meta` has; None for a language model."""
    if (data := meta.get("classifier")) is None:
        return None
    labels = data["labels"]
    are_texts = type(labels) is list and all(isinstance(label, str) for label in labels)
    if not are_texts or not 2 <= len(labels) == len(set(labels)):
        raise ValueError("labels are not at least two different texts")
    return from_dict(ClassifierConfig, data | {"labels": tuple(labels)})


def _cache(path: Path, config: ModelConfig, data: dict[str, Any]) -> Cache:
    """Return the cache that `meta` describes, its arrays still missing."""
    unfitted = Cache.unfitted(config.hidden_size, config.dtype)
    try:
        gates = np.array(data["gates"], np.float64)
    except (TypeError, ValueError) as error:
        raise _senseless(path, error) from error
    if gates.shape != unfitted.gates.shape or not np.isfinite(gates).all():
        raise _damaged(path, f"the gates of its memory are not {' by '.join(map(str, unfitted.gates.shape))} numbers")
    if data["size"] > MOST_MEMORY:
        raise _damaged(path, f"its memory reaches back {data['size']:,} characters, more than {MOST_MEMORY:,}")
    if not math.isfinite(data["sharpness"]):
        raise _damaged(path, f"the sharpness of its memory is {data['sharpness']}")
    return replace(unfitted, **data | {"gates": gates})


def _source(data: dict[str, Any]) -> Source:
    return Source(data["path"], data["sha256"], tuple(data.get("also", ())))


def _expected_shapes(path: Path, checkpoint: Checkpoint, file: Npz) -> dict[str, tuple[int, ...]]:
    """Return the shape that the settings imply for each array; refuse a file with arrays of other names."""
    config, own, rows = checkpoint.model_config, checkpoint.classifier, checkpoint.train_config.batch_size
    _check_sizes(path, config, own, file)
    params = model.param_shapes(config) if own is None else classifier.param_shapes(config, own)
    expected = {f"params/{name}": shape for name, shape in params.items()}
    if "state" in file.names:
        expected["state"] = model.state_shape(config, rows) if own is None else (1, 1, rows, 0)
        from charrnn.nn.optimizers import OPTIMIZERS

        for slot in build(OPTIMIZERS[checkpoint.train_config.optimizer], checkpoint.train_config).state_names:
            expected |= {f"opt/{slot}/{name}": shape for name, shape in params.items()}
        if checkpoint.good is not None:
            expected |= {f"good/{name}": shape for name, shape in expected.items()}
    if (cache := checkpoint.cache) is not None:
        expected |= {f"cache/{name}": getattr(cache, name).shape for name in _CACHE_ARRAYS}
    if own is not None and own.ngrams and own.ngram_factor is not None:
        K = math.prod(file.header("ngrams/keys").shape) if "ngrams/keys" in file.names else 0
        if not K:
            raise _damaged(path, "it has no n-grams")
        expected |= {"ngrams/keys": (K,), "ngrams/weights": (K, len(own.labels))}
    if wrong := sorted(expected.keys() ^ file.names - {"meta"}):
        more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        raise _damaged(
            path, f"arrays missing or unknown: {', '.join(ascii(name[:60])[1:-1] for name in wrong[:_SHOWN])}{more}"
        )
    return expected


def _check_sizes(path: Path, config: ModelConfig, own: ClassifierConfig | None, file: Npz) -> None:
    """Refuse settings with other sizes than the arrays: `param_shapes` takes time and memory in proportion to them."""
    H, E, V = config.hidden_size, config.embed_size, config.vocab_size
    shapes = {"out.W_he": (H, E)} if config.tied else {"out.W_hy": (H, V)}
    directions, prefixes = 1, tuple[str, ...](("",))
    if own is not None:
        directions, prefixes = own.directions, own.prefixes
        shapes = {"out.W_hy": (directions * H, len(own.labels))}
    if E:
        shapes["embed.W_e"] = (V, E)
    for name, shape in ((f"{prefix}{name}", shape) for prefix in prefixes for name, shape in shapes.items()):
        if f"params/{name}" not in file.names or file.header(f"params/{name}").shape != shape:
            raise _damaged(path, f"{name} does not have shape {shape}")
    small = replace(config, vocab_size=5, hidden_size=4, embed_size=E and 5, num_layers=1)
    matrix = "W_hh" if "layer0.W_hh" in model.param_shapes(small) else "W_xh"  # a cell has at least one of them
    names = [name for name in file.names if name.startswith("params/") and name.endswith(f".{matrix}")]
    if len(names) != config.num_layers * directions * len(prefixes):
        raise _damaged(path, f"it does not have the {config.num_layers} layers of its settings")
    for name in names:
        rows = H
        if matrix == "W_xh":
            rows = E or V if name.endswith(("layer0.W_xh", "reverse0.W_xh")) else directions * H
        if file.header(name).shape[:1] != (rows,):
            raise _damaged(path, f"{name} has shape {file.header(name).shape}; its first axis must be {rows}")


def _check_header(path: Path, name: str, header: Header, shape: tuple[int, ...], config: ModelConfig) -> None:
    """Refuse an array whose shape or type is not the one that the settings imply."""
    if header.shape != shape:
        raise _damaged(path, f"{name} has shape {header.shape}, not {shape}")
    dtype = _NGRAM_TYPES.get(name, config.dtype)
    if header.dtype != np.dtype(dtype):
        raise _damaged(path, f"{name} is {header.dtype}, not {dtype}")


def _with_prefix(prefix: str, arrays: dict[str, Any]) -> Params:
    """Return the arrays whose names begin with the prefix, by their names without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _no_checkpoint(path: Path) -> CheckpointError:
    """Return the error for a file that is something else: what it is, and what to do."""
    from shlex import quote

    from charrnn.data.kinds import describe_kind

    with open(path, "rb") as file:
        beginning = file.read(_BEGINNING)
    remedy = "name a run or a .npz file that `charrnn train` wrote"
    kind = describe_kind(str(path), beginning)
    if kind is None and _is_text(beginning):
        kind = "a text"
        if path.suffix != ".npz":
            remedy = f"train a model on it with `charrnn train {quote(str(path))}`, or {remedy}"
    what = "not a charrnn checkpoint" if kind is None else f"{kind.partition(':')[0]}, not a charrnn checkpoint"
    return CheckpointError(f"{path} is {what}: {remedy}")


def _is_text(beginning: bytes) -> bool:
    """Return whether the first bytes of a file are UTF-8 without NUL, and some."""
    try:
        return bool(beginning) and "\0" not in codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: {what}; use another copy")


def _senseless(path: Path, error: Exception) -> CheckpointError:
    return _damaged(path, f"its settings do not make sense ({error})")
