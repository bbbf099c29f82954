"""`charrnn rm`: remove runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from charrnn.cli._command import SectionedCommand, complete_runs, section

if TYPE_CHECKING:
    from charrnn.training.folder import RunFolder


@click.command(cls=SectionedCommand)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_runs)
@section("Removing")("--yes", is_flag=True, allow_from_autoenv=False, help="Remove without asking.")
def command(names: tuple[str, ...], yes: bool) -> None:
    """Remove runs. NAME is a run's name, as in `charrnn list`, its folder, or the folder of a sweep.

    Only a run's own files are removed: best.npz, last.npz and log.jsonl. Its folder is removed too if it is then
    empty. A run that is still training is kept.

    \b
    Examples:
      charrnn rm names
      charrnn rm first second --yes
      charrnn rm names-sweep
      charrnn rm /data/runs/third
    """
    from charrnn.errors import RunFolderError
    from charrnn.training.folder import find_runs, remove_sweep

    runs = {run.path.resolve(): run for name in names for run in find_runs(name)}.values()  # a run may be named twice
    if not (yes or _confirm(", ".join(map(_describe, runs)))):
        raise RunFolderError("nothing was removed: answer y, or give --yes")
    for run in runs:
        message = f"Removed {_describe(run)}"
        click.echo(message if run.remove() else f"{message}; its folder is kept, since it has other files")
    for folder in {run.path.parent for run in runs}:
        remove_sweep(folder)


def _describe(run: RunFolder) -> str:
    """Return the folder of a run and its size."""
    return f"{run.path} ({sum(stat.st_size for stat in run.stats()) / 1e6:,.1f} MB)"


def _confirm(runs: str) -> bool:
    """Ask on stderr whether to remove these runs; return whether the answer is yes."""
    from charrnn.cli._console import note

    note(f"Remove {runs}? [y/N]")
    return sys.stdin is not None and sys.stdin.buffer.readline().strip().lower() in (b"y", b"yes")
