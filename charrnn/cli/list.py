"""`charrnn list`: list the runs under ./checkpoints."""

from __future__ import annotations

import click

from charrnn.cli._command import SectionedCommand
from charrnn.cli._options import json_option


@click.command(cls=SectionedCommand, section="Runs and texts", short_help="List runs.")
@json_option
def command(as_json: bool) -> None:
    """List the runs under ./checkpoints, the newest first: what they were trained on, how far, and how good they are.

    The first is the model that other commands take where -m names none.

    \b
    Examples:
      charrnn list
      charrnn list --json | jq -r '.runs[].name'
      charrnn list --json | jq '[.runs[].bytes] | add'
    """
    from dataclasses import asdict
    from datetime import datetime

    from charrnn.cli._console import note, print_json, print_table
    from charrnn.data.files import describe_paths
    from charrnn.training import catalog
    from charrnn.training.folder import RUNS

    runs = catalog.runs()
    changed = [datetime.fromtimestamp(run.changed).astimezone().isoformat(" ", "seconds") for run in runs]
    if as_json:
        rows = [asdict(run) | {"changed": when} for run, when in zip(runs, changed, strict=True)]
        print_json({"folder": str(RUNS), "runs": rows})
        return
    if runs:
        print_table(
            ("Name", "Trained on", "Model", "Steps", "Best loss", "Changed", "MB"),
            [
                (
                    run.name,
                    "-" if run.corpus is None else describe_paths(run.corpus) if run.corpus else "a text in memory",
                    "damaged" if run.damage else f"{run.cell} {run.num_layers}x{run.hidden_size}",
                    "-" if run.damage else f"{run.step:,} of {run.steps:,}" if run.steps else f"{run.step:,}",
                    "-" if run.best_loss is None else f"{run.best_loss:.4f}",
                    when[:16],
                    f"{run.bytes / 1e6:,.1f}",
                )
                for run, when in zip(runs, changed, strict=True)
            ],
            right=(3, 4, 6),
        )
    for run in runs:
        if run.damage:
            note(f"Note: {run.damage}")
    total = sum(run.bytes for run in runs) / 1e6
    click.echo(f"{'1 run' if len(runs) == 1 else f'{len(runs)} runs'}, {total:,.1f} MB, in {RUNS}")
