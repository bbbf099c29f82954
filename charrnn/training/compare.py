"""Compare runs: the settings in which they differ, and the mean loss over the seeds of each combination of settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from charrnn.training.catalog import RunSummary, fact_name, fact_names
from charrnn.training.validation import Validation

#: Settings that make no two rows: they change a loss by chance or by rounding, or belong to the validation.
_NO_CAUSE = ("seed", "threads", "log_every", "save_every", "val_chars")


@dataclass(frozen=True)
class Row:
    """Runs with equal settings, but for their seeds.

    settings  the values of each setting in which the compared runs differ; several values if these runs differ too
    loss      the mean of their best validation losses, in nats per character; None if nothing was validated
    deviation the standard deviation of these losses (of a sample: n - 1); None for a single one
    """

    settings: dict[str, tuple[Any, ...]]
    runs: list[RunSummary]

    @property
    def losses(self) -> list[float]:
        """Return the best validation loss of each run that has one."""
        return [run.best_loss for run in self.runs if run.best_loss is not None]

    @property
    def loss(self) -> float | None:
        """Return the mean of the losses."""
        return fmean(self.losses) if self.losses else None

    @property
    def deviation(self) -> float | None:
        """Return the standard deviation of the losses."""
        return stdev(self.losses) if len(self.losses) > 1 else None

    def mean(self, figure: Callable[[RunSummary], float | None]) -> float | None:
        """Return the mean of a figure over the runs that have it."""
        figures = [value for run in self.runs if (value := figure(run)) is not None]
        return fmean(figures) if figures else None


@dataclass(frozen=True)
class Group:
    """Rows whose losses can be compared, the lowest first; validation is None for runs that validated nothing."""

    validation: Validation | None
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """Compared runs.

    names   the settings in which they differ; the first are those that the rows are grouped by
    groups  the largest first: losses of different groups cannot be compared
    """

    names: list[str]
    groups: list[Group]


def comparable(found: Sequence[RunSummary]) -> list[list[RunSummary]]:
    """Return the runs in groups whose losses can be compared, the largest group first; damaged ones are left out."""
    groups: dict[str | None, list[RunSummary]] = {}
    for run in found:
        if not run.damage:
            groups.setdefault(run.validation.signature if run.validation else None, []).append(run)
    return sorted(groups.values(), key=lambda group: (group[0].validation is None, -len(group)))


def compare(found: Sequence[RunSummary], by: Sequence[str] = ()) -> Comparison:
    """Compare runs; those that differ only in their seeds make one row.

    by  settings to group by, whatever else differs; by default, all settings in which the runs differ
    Raises:  ConfigError if `by` names no setting.
    """
    chosen = list(dict.fromkeys(map(fact_name, by)))
    groups = comparable(found)
    everyone = [run for group in groups for run in group]
    differing = [name for name in fact_names() if len({_identity(run, name) for run in everyone}) > 1]
    names = chosen + [name for name in differing if name not in (*chosen, *_NO_CAUSE)]
    return Comparison(names, [Group(group[0].validation, _rows(group, names, chosen or names)) for group in groups])


def _rows(group: list[RunSummary], names: list[str], by: list[str]) -> list[Row]:
    """Return a row for each combination of the settings in `by`, the lowest loss first."""
    rows: dict[tuple[Any, ...], list[RunSummary]] = {}
    for run in group:
        rows.setdefault(tuple(_identity(run, name) for name in by), []).append(run)
    found = [Row({name: _values(runs, name) for name in names}, runs) for runs in rows.values()]
    return sorted(found, key=lambda row: (row.loss is None, row.loss or 0.0))


def _identity(run: RunSummary, name: str) -> Any:
    """Return what makes a fact of a run another one: the same text may lie under several paths."""
    return run.sha256 if name == "corpus" else run.fact(name)


def _values(runs: list[RunSummary], name: str) -> tuple[Any, ...]:
    """Return the different values of a setting."""
    return tuple({_identity(run, name): run.fact(name) for run in reversed(runs)}.values())
