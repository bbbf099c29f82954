"""`charrnn list`: list the runs under ./checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, section
from charrnn.cli._options import csv_option, json_option
from charrnn.cli._types import OneOf

if TYPE_CHECKING:
    from charrnn.training.catalog import RunSummary

_which = section("Runs")
#: The keys of `--sort`: each returns what a run is sorted by.
_KEYS: dict[str, Callable[[RunSummary], Any]] = {
    "changed": lambda run: -run.changed,
    "name": lambda run: run.name,
    "loss": lambda run: (run.best_loss is None, run.best_loss or 0.0),
    "steps": lambda run: -(run.step or 0),
    "size": lambda run: -run.bytes,
}
#: The columns of `--csv`.
_CSV = (
    *("name", "corpus", "cell", "num_layers", "hidden_size", "seed", "learning_rate", "step", "steps", "finished"),
    *("best_loss", "best_step", "parameters", "seconds", "signature", "changed", "bytes", "path"),
)


@click.command(
    cls=SectionedCommand,
    conflicts=(Conflict("--json and --csv cannot be combined: give one", ("as_json", "as_csv")),),
)
@_which(
    "--where",
    "conditions",
    metavar="SETTING=VALUE",
    multiple=True,
    help="List only runs with this setting, such as cell=lstm, hidden-size=64,128 or corpus=names.txt. If repeated, "
    "all must match.",
)
@_which(
    "--sort",
    "key",
    type=OneOf(tuple(_KEYS)),
    default="changed",
    show_default=True,
    help="changed: newest first. loss: lowest first, among runs validated on the same characters. steps, size: "
    "largest first.",
)
@csv_option
@json_option
def command(conditions: tuple[str, ...], key: str, as_csv: bool, as_json: bool) -> None:
    """List the runs under ./checkpoints: text, model, steps and best validation loss.

    Losses in the column "Best loss" were measured on the same characters and can be compared. Losses measured on other
    characters are in the column "Other loss", marked with a letter.

    Without -m, other commands use the newest run.

    \b
    Examples:
      charrnn list
      charrnn list --where cell=lstm --sort loss
      charrnn list --json | jq -r '.runs[].name'
    """
    from charrnn.cli._console import note, print_csv, print_json
    from charrnn.training import catalog
    from charrnn.training.compare import comparable
    from charrnn.training.folder import RUNS

    runs = sorted(catalog.where(catalog.runs(), conditions), key=_KEYS[key])
    groups = comparable([run for run in runs if run.best_loss is not None])
    if key == "loss":
        ranked = [run for group in groups for run in group]
        runs = ranked + [run for run in runs if run not in ranked]
    if as_json:
        print_json({"folder": str(RUNS), "runs": [_as_dict(run) for run in runs]})
        return
    if as_csv:
        print_csv(_CSV, [[_as_cell(_as_dict(run), name) for name in _CSV] for run in runs])
        return
    if runs:
        _print_runs(runs, groups)
    for run in runs:
        if run.damage:
            note(f"Note: {run.damage}")
    total = sum(run.bytes for run in runs) / 1e6
    which = f", where {' and '.join(conditions)}" if conditions else ""
    click.echo(f"{'1 run' if len(runs) == 1 else f'{len(runs)} runs'}, {total:,.1f} MB, in {RUNS}{which}")


def _as_dict(run: RunSummary) -> dict[str, Any]:
    """Return a run as `--json` prints it."""
    from dataclasses import asdict

    validation = run.validation and {
        "signature": run.validation.signature,
        "text": run.validation.text,
        "chars": run.validation.limit or run.validation.scored,
    }
    return asdict(run) | {"changed": _changed(run), "validation": validation}


def _as_cell(data: dict[str, Any], name: str) -> Any:
    """Return a cell of `--csv`."""
    if name == "signature":
        return data["validation"] and data["validation"]["signature"]
    return " ".join(data["corpus"] or ()) if name == "corpus" else data[name]


def _changed(run: RunSummary) -> str:
    """Return when a run was last changed, in ISO 8601 with a space."""
    from datetime import datetime

    return datetime.fromtimestamp(run.changed).astimezone().isoformat(" ", "seconds")


def _model(run: RunSummary) -> str:
    """Return cell, size and, of a classifier, the number of labels."""
    labels = "" if run.labels is None else f", {run.labels:,} labels"
    return f"{run.cell} {run.num_layers}x{run.hidden_size}{labels}"


def _print_runs(runs: list[RunSummary], groups: list[list[RunSummary]]) -> None:
    """Print the table: the losses of the largest group in one column, and those of other groups in another."""
    from charrnn.cli._console import print_table
    from charrnn.data.files import describe_paths
    from charrnn.training.validation import described

    marks = {run.path: mark for group, mark in zip(groups, _marks(), strict=False) for run in group}
    others = len(groups) > 1

    def row(run: RunSummary) -> list[str]:
        mark, loss = marks.get(run.path, ""), "-" if run.best_loss is None else f"{run.best_loss:.4f}"
        return [
            run.name,
            "-" if run.corpus is None else describe_paths(run.corpus) if run.corpus else "a text in memory",
            "damaged" if run.damage else _model(run),
            "-" if run.seed is None else str(run.seed),
            "-" if run.learning_rate is None else f"{run.learning_rate:g}",
            "-" if run.damage else f"{run.step:,} of {run.steps:,}" if run.steps else f"{run.step:,}",
            "" if mark else loss,
            *([f"{loss} {mark}" if mark else ""] if others else []),
            _changed(run)[:16],
            f"{run.bytes / 1e6:,.1f}",
        ]

    headings = ("Name", "Trained on", "Model", "Seed", "Rate", "Steps", "Best loss")
    headings += (*(("Other loss",) if others else ()), "Changed", "MB")
    columns = {heading: index for index, heading in enumerate(headings)}
    print_table(
        headings,
        list(map(row, runs)),
        right=[columns[name] for name in headings if name not in ("Name", "Trained on", "Model", "Changed")],
        drop=[columns[name] for name in ("MB", "Rate", "Seed", "Changed", "Trained on")],
    )
    if others:
        click.echo("Losses with different marks cannot be compared: they were measured on different characters:")
        validations = [group[0].validation for group in groups if group[0].validation]
        for mark, text in zip(_marks(), described(validations), strict=False):
            click.echo(f"  {mark or '-'}  {text}")


def _marks() -> Iterator[str]:
    """Yield the marks of the groups: none for the largest one, then a letter for each, and numbers after z."""
    from itertools import chain, count
    from string import ascii_lowercase

    return chain([""], ascii_lowercase, map(str, count(1)))
