"""`charrnn export-log`: write the logs of runs for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli._command import SectionedCommand, complete_files, section
from charrnn.cli._options import run_argument

if TYPE_CHECKING:
    from charrnn.training.catalog import RunSummary

_output = section("Output")


@click.command(cls=SectionedCommand)
@run_argument("names", several=True)
@_output(
    "--tensorboard",
    "folder",
    metavar="FOLDER",
    required=True,
    shell_complete=complete_files,
    help="Write events for TensorBoard into FOLDER/RUN.",
)
@_output("--force", is_flag=True, help="Replace events that are there already.")
def command(names: tuple[str, ...], folder: str, force: bool) -> None:
    """Write the logs of runs as events for TensorBoard.

    RUN is a run's name or folder, a quoted pattern such as 'names-*', or the folder of a sweep. Without RUN, charrnn
    exports the newest run.

    \b
    Examples:
      charrnn export-log --tensorboard events
      charrnn export-log names-sweep --tensorboard events
      charrnn export-log names --tensorboard events --force
    """
    from charrnn.cli._runs import chosen_runs, logs_of
    from charrnn.insight.export import to_tensorboard

    runs = chosen_runs(names)
    places, logs = _places(runs, Path(folder)), logs_of(runs)
    for place, run in places.items():
        if run.path in logs:
            click.echo(f"Wrote {to_tensorboard(logs[run.path], place, ended=run.changed, force=force)}")


def _places(runs: list[RunSummary], folder: Path) -> dict[Path, RunSummary]:
    """Return the runs by the folders to write them to, which have their names.

    Raises:  ConfigError for two runs of the same name.
    """
    from charrnn.errors import ConfigError

    places: dict[Path, RunSummary] = {}
    for run in runs:
        name = Path(run.name)
        place = folder / (name.name if name.is_absolute() or ".." in name.parts else name)
        if place in places:
            raise ConfigError(f"{places[place].path} and {run.path} have the same name: export them to two folders")
        places[place] = run
    return places
