"""A sweep: a run for each combination of settings, on the same text and with the same validation.

Each run is the one that `charrnn train` does with the same settings. `sweep.jsonl`, in the folder of the sweep, records
the command and the settings of each run, so that the same sweep can continue, and a larger one can use its runs.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from charrnn import checkpoint as ckpt
from charrnn.config import ModelConfig, flag_of, sort_settings
from charrnn.data.corpus import Corpus
from charrnn.data.files import is_once
from charrnn.data.reading import ReadProgress
from charrnn.errors import ConfigError, DivergedError, RunFolderError
from charrnn.system.atomic import writing
from charrnn.training.catalog import RunSummary, summary
from charrnn.training.finetune import adopt_text_form
from charrnn.training.folder import RUNS, SWEEP_RECORD, RunFolder
from charrnn.training.run import Run

SEED = 1  # of all runs, if none is given


def grid(settings: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return the settings of each run: all combinations of the values; the last setting varies fastest."""
    settings = dict(settings) | ({} if "seed" in settings else {"seed": (SEED,)})
    return [dict(zip(settings, values, strict=True)) for values in product(*settings.values())]


def varying(combinations: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the settings with several values."""
    return [name for name in combinations[0] if len({each[name] for each in combinations}) > 1]


def name_of(settings: dict[str, Any], names: Sequence[str]) -> str:
    """Return the name of a run, from these settings: `cell=gru,seed=2`."""
    return ",".join(f"{flag_of(name)[2:]}={_as_word(settings[name])}" for name in names)


def _as_word(value: Any) -> str:
    """Return a value for the name of a folder: a number as short as it may be, a text without separators of paths."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return re.sub(r"[^\w.+-]", "_", str(value))


class Planned(NamedTuple):
    """A run of a sweep; `settings` are those that it is given, by name."""

    name: str
    folder: RunFolder
    settings: dict[str, Any]

    def summary(self) -> RunSummary | None:
        """Return the run as it is on disk; None if it has not begun."""
        if self.folder.last.exists():
            with suppress(FileNotFoundError):
                return summary(self.folder, self.name)
        return None


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of a grid, in the order in which they are trained.

    names  the settings with several values
    """

    folder: Path
    corpus: Corpus
    runs: list[Planned]
    names: list[str]
    val_path: str | None = None
    init_from: Path | None = None

    @classmethod
    def plan(
        cls,
        paths: Sequence[str],
        settings: Mapping[str, tuple[Any, ...]],
        folder: Path | None = None,
        *,
        val_path: str | None = None,
        init_from: Path | None = None,
        reading: ReadProgress | None = None,
    ) -> Sweep:
        """Read the text and plan the runs; a run of an earlier sweep in the folder with the same settings is used.

        settings  values of each setting by name; without steps and epochs, each run chooses its own settings
        folder    the sweep's folder; ./checkpoints/<corpus name>-sweep if None
        Raises:   CharRNNError if settings conflict, the text cannot be read, or a folder is taken.
        """
        if any(map(is_once, paths)):
            raise ConfigError("a sweep reads its text again for each resumed run: give a file, not a pipe")
        combinations = grid(settings)
        if init_from is not None:
            vocab = ckpt.load_model(init_from).vocab
            combinations = [adopt_text_form(each, vocab) for each in combinations]
        names, first = varying(combinations), combinations[0]
        for each in combinations:
            model, _, _ = sort_settings(each)
            if init_from is None and not _by_time(each):  # otherwise the earlier model or the recipe completes it
                ModelConfig(1, **model)
        if "seed" in names and first.get("shuffle_documents") and val_path is None:
            raise ConfigError(
                "--shuffle-documents validates on other documents for each seed, so losses cannot be compared: "
                "give one --seed, or --val-file"
            )
        folder = folder or RUNS / f"{Corpus.name_of(paths[0])}-sweep"
        if RunFolder(folder).files():
            raise RunFolderError(f"{folder} is the folder of a single run: name another folder with --out")
        config = sort_settings(first).text
        corpus = Corpus.read(paths, config, val_path, seed=first["seed"], reading=reading)
        sweep = cls(folder, corpus, [], names, val_path, init_from)
        sweep.runs.extend(map(sweep._planned, combinations))
        return sweep

    def _planned(self, settings: dict[str, Any]) -> Planned:
        """Return the earlier run with these settings, or a new one."""
        for name, record in self._records().items():
            if record.get("settings") == settings and record.get("data") == self._data:
                return Planned(name, RunFolder(self.folder / name), settings)
        name = name_of(settings, self.names or ["seed"])
        run = Planned(name, RunFolder(self.folder / name), settings)
        if run.folder.files():
            raise RunFolderError(
                f"{run.folder.path} is a run with other settings or on another text: name another folder with --out, "
                "or give both values of the setting that differs, such as --steps 100,200"
            )
        return run

    @property
    def _data(self) -> dict[str, Any]:
        """Return what the runs begin with, besides their settings."""
        val = self.corpus.val_source
        return {
            "text": self.corpus.source.sha256,
            "val_text": val.sha256 if val else None,
            "init_from": str(self.init_from) if self.init_from else None,
        }

    def settings_of(self, run: Planned) -> dict[str, Any]:
        """Return all settings to train a run with: under a time budget, all runs validate as many characters.

        The recipe of the first run that is trained chooses that number.
        """
        if not _by_time(run.settings) or "val_chars" in run.settings:
            return run.settings
        begun = next((found for each in self.runs if (found := each.summary()) and not found.damage), None)
        return run.settings | ({"val_chars": begun.settings["val_chars"]} if begun else {})

    def options_of(self, run: Planned) -> dict[str, Any]:
        """Return the options of `charrnn train` that train the same run."""
        files = {"val_file": self.val_path, "init_from": self.init_from, "out": run.folder.path}
        return self.settings_of(run) | {name: value for name, value in files.items() if value is not None}

    def open(self, run: Planned, command: str) -> Run:
        """Start a run, or resume it if it was interrupted.

        command  the command line that trains the same run, which is recorded
        Raises:  CharRNNError as `Run.start` and `Run.resume` do.
        """
        if run.folder.last.exists():
            return Run.resume(run.folder.path, self.corpus.source.paths, self.val_path)
        began, settings = time.monotonic(), self.settings_of(run)
        self._record(run, command=command)
        return Run.start(self.corpus, run.folder.path, settings=settings, init_from=self.init_from, began=began)

    def record_divergence(self, run: Planned, error: DivergedError) -> None:
        """Record that a run diverged, which it would do again."""
        self._record(run, error=f"{error.cause} at step {error.step:,}")

    def divergence(self, run: Planned) -> str | None:
        """Return the error of a run that diverged; None if it did not, or has been removed since."""
        error: str | None = self._records().get(run.name, {}).get("error")
        return error if run.folder.files() else None

    @property
    def _log(self) -> Path:
        return self.folder / SWEEP_RECORD

    def _record(self, run: Planned, **facts: str) -> None:
        """Add a line to the record; the last line of a run counts."""
        line = {"run": run.name, "settings": run.settings, "data": self._data} | facts
        with writing(self._log):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self._log, "a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(line) + "\n")

    def _records(self) -> dict[str, dict[str, Any]]:
        """Return the last line of each run, by its name."""
        records: dict[str, dict[str, Any]] = {}
        if self._log.exists():
            for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, TypeError, KeyError):  # a line that a kill cut short
                    record = json.loads(line)
                    records[record["run"]] = record
        return records


def _by_time(settings: dict[str, Any]) -> bool:
    """Return whether a run has a time budget, so that the recipe chooses the settings that are not given."""
    return sort_settings(settings).train.minutes is not None
