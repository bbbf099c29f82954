"""The runs that a command names, or the newest one; and their logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.insight.log import Log
    from charrnn.training.catalog import RunSummary


def chosen_runs(names: Sequence[str]) -> list[RunSummary]:
    """Return the runs with these names, as `find_runs` finds them, or the newest run; note what is damaged.

    Raises:  CheckpointError if a name matches no run, or none is left.
    """
    from charrnn.training import catalog

    return undamaged(catalog.find_runs(names)) if names else undamaged(catalog.runs())[:1]


def undamaged(found: Sequence[RunSummary]) -> list[RunSummary]:
    """Return the runs whose checkpoints can be read; print a note for each of the others.

    Raises:  CheckpointError if there is none.
    """
    from charrnn.cli._console import note
    from charrnn.errors import CheckpointError
    from charrnn.training.folder import RUNS

    if not found:
        raise CheckpointError(f"no run under ./{RUNS}: train some with `charrnn train`, or name their folders")
    if len(found) == 1 and found[0].damage:
        raise CheckpointError(found[0].damage)
    for run in found:
        if run.damage:
            note(f"Note: left out: {run.damage}")
    runs = [run for run in found if not run.damage]
    if not runs:
        raise CheckpointError("none of these runs can be read: see the notes above")
    return runs


def logs_of(runs: Sequence[RunSummary]) -> dict[str, Log]:
    """Return the logs of runs by path; print a note for each that cannot be read.

    Raises:  CharRNNError if there is none.
    """
    from charrnn.cli._console import note
    from charrnn.errors import CharRNNError
    from charrnn.insight.log import read_log

    logs = {}
    for run in runs:
        try:
            logs[run.path] = log = read_log(Path(run.path))
        except CharRNNError as error:
            if len(runs) == 1:
                raise
            note(f"Note: left out: {error}")
            continue
        if log.unreadable:
            note(f"Note: {run.name}: damaged lines of its log that are left out: {log.unreadable:,}")
    if not logs:
        raise CharRNNError("none of these runs has a log that can be read: see the notes above")
    return logs
