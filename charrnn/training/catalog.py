"""The runs in a folder, summarised from their checkpoints without reading arrays; and runs found by name or pattern."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charrnn import checkpoint as ckpt
from charrnn.config import ClassifierConfig, setting_fields, total_steps
from charrnn.data.source import Source
from charrnn.errors import CheckpointError, ConfigError
from charrnn.training.folder import RUNS, RunFolder, find_model, run_names
from charrnn.training.validation import Validation, badness_of
from charrnn.wording import did_you_mean, likely

#: Facts of a run that can be compared like its settings.
_ORIGINS = ("corpus", "init_from")
_LOG_TAIL = 1 << 16  # bytes at the end of a log, which have its last line


@dataclass(frozen=True)
class RunSummary:
    """A run at a glance. If its checkpoint is damaged, only name, path, changed, bytes and damage are known.

    corpus      the paths that it was trained on; empty for a text in memory
    step        updates done, out of `steps`
    best_loss   the validation loss of the best model, measured at best_step, in nats per character or, of a classifier,
                per text; None if nothing was validated
    best_accuracy  the share of the validation texts that a classifier labels right
    labels      the number of a classifier's labels; None for a language model
    changed     when one of its files was last written, in seconds since 1970
    bytes       of all its files
    damage      the error of its checkpoint, or None
    finished    whether no step is left; None if that is unknown, since there is no last.npz
    seconds     time of training, from its log; None if there is no log
    settings    all settings by name, and `init_from`
    validation  what its losses were measured on; None if nothing was validated
    sha256      the hash of its corpus
    """

    name: str
    path: str
    corpus: tuple[str, ...] | None
    cell: str | None
    num_layers: int | None
    hidden_size: int | None
    step: int | None
    steps: int | None
    best_loss: float | None
    changed: float
    bytes: int
    damage: str | None
    seed: int | None = None
    learning_rate: float | None = None
    best_step: int | None = None
    finished: bool | None = None
    parameters: int | None = None
    seconds: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    validation: Validation | None = None
    sha256: str | None = None
    labels: int | None = None
    best_accuracy: float | None = None

    def fact(self, name: str) -> Any:
        """Return a setting of the run, or where it began: `corpus`, `init_from`."""
        return ", ".join(self.corpus or ()) if name == "corpus" else self.settings.get(name)


def runs(folder: Path = RUNS) -> list[RunSummary]:
    """Return the runs in a folder, the newest first."""
    return _summaries((RunFolder(folder / name), name) for name in run_names(folder))


def find_runs(names: Sequence[str]) -> list[RunSummary]:
    """Return the runs with these names, the newest first; each only once.

    names: runs under ./checkpoints or their folders, checkpoints, patterns, and folders whose subfolders are runs
    Raises:  CheckpointError if a name or a pattern matches no run.
    """
    found = {run.path.resolve(): run for name in names for run in _matches(name)}
    return _summaries((run, _name_of(run)) for run in found.values())


def _matches(name: str) -> list[RunFolder]:
    """Return the runs that a name or a pattern matches, here or under ./checkpoints."""
    for place in (Path(name), RUNS / name):
        if os.path.isdir(place) and not RunFolder(place).model() and (inside := run_names(place)):
            return [RunFolder(place / each) for each in inside]
        if glob.has_magic(name) and not os.path.lexists(place):
            paths = map(Path, sorted(glob.glob(str(place))))
            if matched := [RunFolder(path) for path in paths if RunFolder(path).model()]:
                return matched
    if glob.has_magic(name) and not any(os.path.lexists(place) for place in (name, RUNS / name)):
        raise CheckpointError(f"no run matches {name!r}, here or under ./{RUNS}: `charrnn list` lists the runs")
    run = RunFolder(find_model(name).parent)
    if not run.model():
        raise CheckpointError(f"{name} is not a run: name one that `charrnn list` shows, or its folder")
    return [run]


def _name_of(run: RunFolder) -> str:
    """Return the shortest name of a run that commands accept."""
    return run.path.relative_to(RUNS).as_posix() if run.path.is_relative_to(RUNS) else str(run.path)


def _summaries(found: Iterable[tuple[RunFolder, str]]) -> list[RunSummary]:
    summaries = []
    for run, name in found:
        with suppress(FileNotFoundError):  # it was removed meanwhile
            summaries.append(summary(run, name))
    return sorted(summaries, key=lambda run: run.changed, reverse=True)


def fact_names() -> tuple[str, ...]:
    """Return the names of what can be compared and filtered by: all settings, `corpus` and `init_from`."""
    return (*_ORIGINS, *(item.name for item in setting_fields(ClassifierConfig)))


def fact_name(name: str) -> str:
    """Return the name of a setting, typed as a flag or as the field of a config.

    Raises:  ConfigError if there is no such setting.
    """
    wanted, names = name.strip().removeprefix("--").replace("-", "_"), fact_names()
    if wanted in names:
        return wanted
    remedy = did_you_mean(likely(wanted, names)) or "`charrnn train --help-all` lists the settings"
    raise ConfigError(f"{name!r} is not a setting of a run: {remedy}")


def where(found: Sequence[RunSummary], conditions: Sequence[str]) -> list[RunSummary]:
    """Return the runs that meet every condition, such as `cell=lstm,gru`, `hidden-size=64` or `corpus=names.txt`.

    A corpus matches by its path or by the name of its file. A damaged run meets no condition.
    Raises:  ConfigError if a condition is not of this form, or names no setting.
    """
    wanted = []
    for condition in conditions:
        name, equals, values = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where {condition!r} is not a condition: write SETTING=VALUE, such as cell=lstm")
        name, typed = fact_name(name), [value.strip() for value in values.split(",")]
        wanted.append((name, {os.path.normpath(each) for each in typed} if name == "corpus" else set(typed)))
    return [run for run in found if not wanted or (not run.damage and _meets(run, wanted))]


def _meets(run: RunSummary, wanted: list[tuple[str, set[str]]]) -> bool:
    """Return whether each of these facts of a run has one of the typed values."""
    return all(any(_equals(value, own) for value in values for own in _forms(run, name)) for name, values in wanted)


def _forms(run: RunSummary, name: str) -> list[Any]:
    """Return the forms of a fact that a condition may give."""
    if name != "corpus":
        return [run.fact(name)]
    return [form for path in run.corpus or () for form in (os.path.normpath(path), os.path.basename(path))]


def _equals(typed: str, value: Any) -> bool:
    """Return whether a value is the one that was typed: numbers by their value, words in any case."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(typed) == value
        except ValueError:
            return False
    return typed.lower() == str(value).lower()


def summary(run: RunFolder, name: str | None = None) -> RunSummary:
    """Return the summary of a run, under this name; by default, under that of its folder.

    Raises:  FileNotFoundError if it was removed meanwhile.
    """
    if not (stats := run.stats()):
        raise FileNotFoundError(run.path)
    facts: dict[str, Any] = dict.fromkeys(("corpus", "cell", "num_layers", "hidden_size", "step", "steps", "best_loss"))
    damage, newest = None, run.last if run.last.exists() else run.best
    try:
        meta, parameters = ckpt.read_meta(newest), ckpt.count_parameters(newest)
        facts |= _facts(meta, resumable=newest == run.last) | {"parameters": parameters}
    except CheckpointError as error:
        if run.model() is None:
            raise FileNotFoundError(run.path) from None
        damage = str(error)
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        damage = f"{newest} is damaged: its settings do not make sense ({error}); use another copy"
    return RunSummary(
        name=name or run.path.name,
        path=str(run.path),
        changed=max(stat.st_mtime for stat in stats),
        bytes=sum(stat.st_size for stat in stats),
        damage=damage,
        seconds=_seconds(run),
        **facts,
    )


def _facts(meta: dict[str, Any], *, resumable: bool) -> dict[str, Any]:
    history = [line for line in meta["history"] if line["val_loss"] is not None]
    best = min(history, key=badness_of, default={"val_loss": None, "step": None})
    defaults = {item.name: item.default for item in setting_fields()}  # of settings newer than the checkpoint
    own = dict(meta.get("classifier") or {})
    labels = own.pop("labels", None)
    settings = defaults | meta["model"] | meta["train"] | own | {"init_from": meta.get("init_from")}
    del settings["vocab_size"]
    total = total_steps(settings["steps"], settings["length_changes"])
    progress = meta["progress"]
    done = meta["step"] >= (total or 0) or 0 < settings["patience"] <= progress.get("stale", 0)
    done = done and progress.get("reported") == meta["step"] and not progress.get("high")
    return {
        "corpus": Source(meta["source"]["path"], "", tuple(meta["source"].get("also", ()))).paths,
        **{name: settings[name] for name in ("cell", "num_layers", "hidden_size", "seed", "learning_rate")},
        "step": meta["step"],
        "steps": total,
        "best_loss": best["val_loss"],
        "best_step": best["step"],
        "finished": done if resumable else None,
        "settings": settings,
        "validation": Validation.of(meta),
        "sha256": meta["source"]["sha256"],
        "labels": labels and len(labels),
        "best_accuracy": best.get("val_accuracy"),
    }


def _seconds(run: RunFolder) -> float | None:
    """Return the seconds of training in the last whole line of a run's log."""
    try:
        with open(run.log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        with suppress(ValueError, TypeError, KeyError):  # a line that a kill cut short
            return float(json.loads(line)["seconds"])
    return None
