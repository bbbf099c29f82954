"""The log of a run as arrays: its losses, rates, norms and times, without what a kill or a divergence undid."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn import checkpoint as ckpt
from charrnn.arrays import Array
from charrnn.errors import RunFolderError
from charrnn.training.folder import RunFolder

#: The figures of a report; a log of an early version lacks some, and the history in a checkpoint has no times.
_FIGURES = (
    *("epoch", "seconds", "loss", "val_loss", "val_accuracy"),
    *("learning_rate", "grad_norm", "clipped", "chars_per_second"),
)


class Recovery(NamedTuple):
    """Training diverged at `step` and continued from `back_to` at a lower base rate."""

    step: int
    back_to: int
    cause: str
    learning_rate: float


@dataclass(frozen=True, eq=False)
class Log:
    """What the log of a run says about each of its N reports, in the order of the steps; nan where it is unknown.

    step              (N,) int: updates done
    epoch, seconds    (N,): passes over the text; time of training, with that of steps that a recovery undid
    chars             (N,): characters trained on, from the speed and the time: to about 0.1%
    loss, val_loss    (N,): nats per character, of a classifier per text; val_loss is nan for reports without an
                      evaluation
    val_accuracy      (N,): share of the validation texts that a classifier labels right; of a language model, nan
    learning_rate, grad_norm, chars_per_second   (N,)
    clipped           (N,): share of steps whose gradients a limit shortened
    grad_norms        (N,) by layer
    saturation        (N, 2) by layer and gate, as in "layer0.f": shares of activations near the gate's lowest and
                      highest value; nan for reports without an evaluation
    samples           texts that the run wrote while it trained, each with its step
    reasons           sentences on why the recipe chose its settings
    unreadable        lines that were left out, other than a last one that a kill cut short
    """

    step: np.ndarray[Any, np.dtype[np.int64]]
    epoch: Array
    seconds: Array
    chars: Array
    loss: Array
    val_loss: Array
    val_accuracy: Array
    learning_rate: Array
    grad_norm: Array
    clipped: Array
    chars_per_second: Array
    grad_norms: dict[str, Array]
    saturation: dict[str, Array]
    recoveries: list[Recovery]
    samples: list[tuple[int, str]]
    reasons: list[str]
    unreadable: int = 0

    @property
    def best(self) -> int | None:
        """Return the index of the report on the best model; None if nothing was validated."""
        badness = self.val_loss if np.isnan(self.val_accuracy).all() else 1 - self.val_accuracy
        return None if np.isnan(badness).all() else int(np.nanargmin(badness))

    @property
    def best_step(self) -> int | None:
        """Return the step of that report."""
        return None if self.best is None else int(self.step[self.best])


def read_log(folder: Path) -> Log:
    """Read the log of a run; if it has none, the history in its checkpoint, which has no times and no samples.

    Raises:  RunFolderError if neither has a figure, or the log cannot be read; CheckpointError if the checkpoint is
             damaged.
    """
    run = RunFolder(folder)
    try:
        lines = run.log.read_bytes().splitlines()
    except FileNotFoundError:
        return _from_history(run)
    except OSError as error:
        raise RunFolderError.of(error, f"cannot read {run.log}") from error
    parsed = _Lines()
    for line in lines:
        parsed.add(line)
    if not parsed.reports and parsed.unreadable:
        raise RunFolderError(f"{run.log} is damaged, and no figure in it can be read: restore it from a copy")
    if not parsed.reports:
        raise RunFolderError(f"{run.log} has no figures yet: the first appear after --log-every steps")
    try:
        return parsed.log()
    except (ValueError, TypeError):
        raise RunFolderError(f"{run.log} is damaged: a figure in it is not a number; restore it from a copy") from None


def _from_history(run: RunFolder) -> Log:
    """Return what a checkpoint remembers of its evaluations."""
    if (model := run.model()) is None:
        raise RunFolderError(f"{run.path} is not the folder of a run: name one that `charrnn list` shows")
    parsed, newest = _Lines(), run.last if run.last.exists() else model
    for record in ckpt.read_meta(newest)["history"]:
        parsed.add_report(record)
    if not parsed.reports:
        raise RunFolderError(f"{run.log} is missing, and {newest.name} has no evaluation: nothing to show")
    return parsed.log()


@dataclass(eq=False)
class _Lines:
    """The lines of a log so far.

    reports  those that still count: step, figures, and the norms and saturation in nested dicts
    marked   seconds at which the newest report or recovery was written
    torn     1 if the newest line cannot be read
    """

    reports: list[tuple[int, tuple[float | None, ...], dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    samples: list[tuple[int, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    marked: float = 0.0
    torn: int = 0
    unreadable: int = 0

    def add(self, line: bytes) -> None:
        """Add a line; one that cannot be read is counted, unless it is the last one, which a kill may cut short."""
        self.unreadable, self.torn = self.unreadable + self.torn, 0
        try:
            record = json.loads(line)
            if "loss" in record:
                self.add_report(record)
            elif "back_to" in record:
                self._go_back(record)
            elif "sample" in record:
                self.samples.append((int(record["step"]), str(record["sample"])))
            elif "reasons" in record:
                self.reasons = [str(reason) for reason in record["reasons"]]
        except (ValueError, TypeError, KeyError, AttributeError):
            self.torn = 1

    def add_report(self, record: dict[str, Any]) -> None:
        """Add a report, in place of those of the same step and later: a log may be put together from two."""
        step = int(record["step"])
        seconds, speed = record.get("seconds", math.nan), record.get("chars_per_second")
        chars = None if speed is None else speed * (seconds - self.marked)
        self.marked = seconds
        self._forget(step - 1)
        figures = (*map(record.get, _FIGURES), chars)
        self.reports.append((step, figures, record.get("grad_norms") or {}, record.get("saturation") or {}))

    def _go_back(self, record: dict[str, Any]) -> None:
        recovery = Recovery(*(record[name] for name in Recovery._fields))
        self.recoveries.append(recovery)
        self._forget(recovery.back_to)
        self.samples = [(step, text) for step, text in self.samples if step <= recovery.back_to]
        self.marked = float(record["seconds"])

    def _forget(self, step: int) -> None:
        """Remove the reports after this step."""
        while self.reports and self.reports[-1][0] > step:
            self.reports.pop()

    def log(self) -> Log:
        """Return the reports as arrays; there must be one."""
        steps, rows, norms, saturation = zip(*self.reports, strict=True)
        *figures, chars = np.array(rows, dtype=float).T
        return Log(
            np.array(steps),
            **dict(zip(_FIGURES, figures, strict=True)),
            chars=np.cumsum(chars).round(),
            grad_norms=_by_name(norms, ()),
            saturation=_by_name([_flat(each) for each in saturation], (2,)),
            recoveries=self.recoveries,
            samples=self.samples,
            reasons=self.reasons,
            unreadable=self.unreadable,
        )


def _flat(saturation: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{layer}.{gate}": shares for layer, gates in saturation.items() for gate, shares in gates.items()}


def _by_name(records: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> dict[str, Array]:
    """Return the values of each name, (N, *shape), from N records of which any may lack it."""
    found: dict[str, Array] = {}
    for index, record in enumerate(records):
        for name, value in record.items():
            if name not in found:
                found[name] = np.full((len(records), *shape), math.nan)
            found[name][index] = value
    return found
