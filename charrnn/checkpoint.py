"""Checkpoints: everything a model or a run is, in one `.npz` file of plain arrays and one JSON string.

Arrays stand under `params/…`, `opt/…` and `state`; `meta` holds the rest. `best.npz` has what inference needs;
`last.npz` has also the optimizer's state, the hidden state and the progress that resuming needs. There is no clock time
in either, so that the same settings give the same bytes. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import platform
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.arrays import Array, Params
from charrnn.config import (
    ModelConfig,
    TextConfig,
    TrainConfig,
    build,
    from_dict,
    text_and_train_configs,
    text_and_train_settings,
)
from charrnn.data.corpus import Source
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError, CheckpointError
from charrnn.nn import compiled, model
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.system.atomic import replacing, uninterrupted
from charrnn.system.blas import blas
from charrnn.version import __version__

FORMAT_VERSION = 1
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


def current_versions() -> dict[str, str]:
    """Return what computes here, which a checkpoint records: versions, and the BLAS with its kernel where known."""
    library = blas()
    found = {
        "charrnn": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "blas": " ".join(filter(None, (library.name, library.version))),
        "kernel": library.kernel,
        "numba": compiled.numba_version(),
    }
    return {name: version for name, version in found.items() if version}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model with its history, and, where a run can go on from it, all that the run needs.

    step       updates done
    averaged   whether the params are the running mean of those that training ended with
    source     the corpus it was trained on; val_source where validation had a file of its own
    init_from  the checkpoint whose weights the run began with, or None for random ones
    earlier_totals  the lengths that the run had, in steps, before a resume raised them
    history    one record for each evaluation, or, of very many, for some: step, epoch, loss, val_loss, learning_rate,
               grad_norm, clipped
    progress   plain numbers that a run carries from step to step, by name
    opt_state  the optimizer's arrays; empty where only inference is served
    state      the hidden state (L, S, B, H) of the lanes, or None likewise
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
    text_config: TextConfig = field(default_factory=TextConfig)
    versions: dict[str, str] = field(default_factory=current_versions)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint so that `path` holds either the old file or the new one, whole, at any moment.

    Raises:  CharRNNError where the file cannot be written.
    """
    meta = {
        "format": "charrnn",
        "format_version": FORMAT_VERSION,
        "versions": checkpoint.versions,
        "model": asdict(checkpoint.model_config),
        "train": text_and_train_settings(checkpoint.text_config, checkpoint.train_config),
        "vocab": checkpoint.vocab.to_dict(),
        "step": checkpoint.step,
        "source": asdict(checkpoint.source),
        "val_source": asdict(checkpoint.val_source) if checkpoint.val_source else None,
        "init_from": checkpoint.init_from,
        "earlier_totals": checkpoint.earlier_totals,
        "history": checkpoint.history,
        "progress": checkpoint.progress,
        "averaged": checkpoint.averaged,
    }
    arrays: dict[str, Any] = {"meta": np.array(json.dumps(meta))}
    arrays |= {f"params/{name}": array for name, array in checkpoint.params.items()}
    arrays |= {f"opt/{name}": array for name, array in checkpoint.opt_state.items()}
    if checkpoint.state is not None:
        arrays["state"] = checkpoint.state
    with uninterrupted(), replacing(path) as file:
        np.savez(file, **arrays)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, checked in every part before it is used.

    Raises:  CheckpointError where the file is missing, damaged, no checkpoint, of a newer format, or holds wrong
             shapes, numbers that are not finite, or pickled objects (which are refused, never executed).
    """
    arrays = _read_arrays(path)
    meta = _checked_meta(path, arrays.pop("meta"))
    try:
        text_config, train_config = text_and_train_configs(meta["train"])
        checkpoint = Checkpoint(
            model_config=from_dict(ModelConfig, meta["model"]),
            train_config=train_config,
            text_config=text_config,
            vocab=Vocab.from_dict(meta["vocab"]),
            params=_take("params/", arrays),
            step=meta["step"],
            source=_source(meta["source"]),
            val_source=_source(meta["val_source"]) if meta["val_source"] else None,
            init_from=meta["init_from"],
            earlier_totals=meta["earlier_totals"],
            history=meta["history"],
            progress=meta["progress"],
            opt_state=_take("opt/", arrays),
            state=arrays.pop("state", None),
            averaged=bool(meta.get("averaged")),
            versions=meta["versions"],
        )
    except (KeyError, TypeError, ValueError, CharRNNError) as error:
        raise _senseless(path, error) from error
    if arrays:
        raise CheckpointError(f"{path} is damaged: what is this: {', '.join(sorted(arrays))}; use another copy")
    _check_arrays(path, checkpoint)
    return checkpoint


def read_meta(path: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself, as `save` wrote it; its arrays are neither read nor checked.

    Raises:  CheckpointError as for `load`.
    """
    return _checked_meta(path, _read_arrays(path, only="meta")["meta"])


def _checked_meta(path: Path, array: Any) -> dict[str, Any]:
    try:
        meta: dict[str, Any] = json.loads(str(array))
        if meta["format"] != "charrnn":
            raise KeyError("format")
        version = meta["format_version"]
    except (KeyError, ValueError, TypeError, RecursionError):
        raise CheckpointError(f"{path} is no charrnn checkpoint: name a .npz that `charrnn train` wrote") from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} is of format version {version}; charrnn {__version__} reads version {FORMAT_VERSION}: "
            "use the charrnn that wrote it, or a newer one"
        )
    try:
        for name, kind in _META_TYPES.items():
            if type(meta[name]) is not kind:
                raise TypeError(f"{name} is no {kind.__name__}")
        if meta["step"] < 0:
            raise ValueError(f"step {meta['step']}")
    except (KeyError, TypeError, ValueError) as error:
        raise _senseless(path, error) from error
    return meta


def _senseless(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: its settings do not make sense ({error}); use another copy")


def _source(data: dict[str, Any]) -> Source:
    return Source(data["path"], data["sha256"], tuple(data.get("also", ())))


def _read_arrays(path: Path, only: str | None = None) -> dict[str, Any]:
    """Return all arrays of the file by name, `meta` among them; or the one of this name."""
    no_checkpoint = CheckpointError(f"{path} is no charrnn checkpoint: name a .npz that `charrnn train` wrote")
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                raise no_checkpoint
            with zipfile.ZipFile(file) as archive:
                if "meta.npy" not in archive.namelist():
                    raise no_checkpoint
                names = archive.namelist() if only is None else [f"{only}.npy"]
                return {name.removesuffix(".npy"): _read_array(archive, name) for name in names}
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: train a model first, or name another with -m") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged header can make zipfile and NumPy raise almost anything
        if "Object arrays" in str(error):
            raise CheckpointError(
                f"{path} holds pickled objects, which could run code: refused, none was run"
            ) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged or cut short ({reason}): use another copy") from error


def _read_array(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(name) as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        member.read()  # to the end, where the checksum is compared
        return array


def _take(prefix: str, arrays: dict[str, Any]) -> Params:
    """Remove the arrays whose names begin with the prefix, and return them without it."""
    names = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays.pop(name) for name in names}


def _check_arrays(path: Path, checkpoint: Checkpoint) -> None:
    """Refuse arrays that are not what the settings say, before anything computes with them."""

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"{path} is damaged: {what}; use another copy")

    config, params = checkpoint.model_config, checkpoint.params
    if config.vocab_size != checkpoint.vocab.size:
        raise refuse(f"it has {checkpoint.vocab.size} symbols for a model of {config.vocab_size}")
    H, E, V = config.hidden_size, config.embed_size, config.vocab_size
    bounds = {"out.W_he": (H, E)} if config.tied else {"out.W_hy": (H, V)}  # before sizes are trusted
    if E:
        bounds["embed.W_e"] = (V, E)
    for name, shape in bounds.items():
        if name not in params or params[name].shape != shape:
            raise refuse(f"{name} is not of shape {shape}")
    if sum(name.endswith(".W_hh") for name in params) != config.num_layers:
        raise refuse(f"it does not have the {config.num_layers} layers that its settings name")
    expected = {f"params/{name}": shape for name, shape in model.param_shapes(config).items()}
    found: Params = {f"params/{name}": array for name, array in params.items()}
    if checkpoint.state is not None:
        batch_size = checkpoint.train_config.batch_size
        expected["state"] = model.state_shape(config, batch_size)
        found["state"] = checkpoint.state
        for slot in build(OPTIMIZERS[checkpoint.train_config.optimizer], checkpoint.train_config).state_names:
            expected |= {f"opt/{slot}/{name}": array.shape for name, array in params.items()}
    found |= {f"opt/{name}": array for name, array in checkpoint.opt_state.items()}
    if expected.keys() != found.keys():
        raise refuse(f"arrays missing or unknown: {', '.join(sorted(expected.keys() ^ found.keys()))}")
    for name, array in found.items():
        if array.shape != expected[name]:
            raise refuse(f"{name} has shape {array.shape}, not {expected[name]}")
        if array.dtype != np.dtype(config.dtype):
            raise refuse(f"{name} is {array.dtype}, not {config.dtype}")
        if not np.isfinite(array).all():
            raise refuse(f"{name} holds numbers that are not finite")
