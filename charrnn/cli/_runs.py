"""The runs that a command names, or the newest one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

    for run in found:
        if run.damage:
            note(f"Note: left out: {run.damage}")
    runs = [run for run in found if not run.damage]
    if not runs:
        raise CheckpointError(f"no run under ./{RUNS}: train some with `charrnn train`, or name their folders")
    return runs
