"""The table, the JSON and the CSV of a comparison of runs, which `compare` and `sweep` print."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from charrnn.training.catalog import RunSummary
    from charrnn.training.compare import Comparison, Group, Row


def print_comparison(comparison: Comparison) -> None:
    """Print a table for each group of comparable losses, and notes on stderr."""
    from charrnn.cli._console import note
    from charrnn.training.validation import described

    several = len(comparison.groups) > 1
    texts = described([group.validation for group in comparison.groups if group.validation])
    for number, group in enumerate(comparison.groups):  # those that validated nothing come last
        click.echo(("\n" if number else "") + f"Validated on {texts[number] if group.validation else 'nothing'}")
        _print_group(group, comparison.names)
    for sentence in _notes(comparison):
        note(f"Note: {sentence}")
    if several:
        note(f"Note: losses in different tables cannot be compared {why_apart(comparison)}")


def _print_group(group: Group, names: list[str]) -> None:
    """Print a group: a row for each combination of settings or, where those do not fit the terminal, a column."""
    from charrnn.cli._console import print_table, table_fits

    single, many = (any((len(row.runs) > 1) == several for row in group.rows) for several in (False, True))
    settings = list(map(_title, names))
    figures = ["Loss", "Best step", *["Steps"] * ("steps" not in names), "Parameters", "Seconds"]
    headings = [*["Run"] * single, *settings, *["n"] * many, *figures]
    cells = [_cells(row) for row in group.rows]
    rows = [[row[name] for name in headings] for row in cells]
    drop = [headings.index(name) for name in ("Seconds", "Best step", "Parameters")]
    if single and names:
        drop.append(0)
    least = [index for index in range(len(headings)) if index not in drop]
    if table_fits([headings[index] for index in least], [[row[index] for index in least] for row in rows]):
        print_table(headings, rows, right=range(single + len(names), len(headings)), drop=drop)
        return
    turned = list(zip(headings, *rows, strict=True))
    print_table(turned[0], turned[1:], right=range(1, len(rows) + 1))


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _cells(row: Row) -> dict[str, str]:
    """Return the cells of a row by their headings."""
    loss = "-" if row.loss is None else f"{row.loss:.4f}"
    if row.deviation is not None:
        loss += f" ± {row.deviation:.4f}"

    def mean(figure: Callable[[RunSummary], float | None], form: str = ",.0f") -> str:
        value = row.mean(figure)
        return "-" if value is None else format(value, form)

    return {
        "Run": row.runs[0].name if len(row.runs) == 1 else "",
        "n": str(len(row.runs)),
        "Loss": loss,
        "Best step": mean(lambda run: run.best_step),
        "Steps": mean(lambda run: run.step),
        "Parameters": mean(lambda run: run.parameters),
        "Seconds": mean(lambda run: run.seconds, ",.1f"),
        **{_title(name): ", ".join(map(_shown, values)) for name, values in row.settings.items()},
    }


def _shown(value: Any) -> str:
    """Return a setting's value for the table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _notes(comparison: Comparison) -> list[str]:
    """Return what a reader has to know about the losses within a group."""
    everyone = [run for group in comparison.groups for row in group.rows for run in row.runs]
    notes = []
    if unfinished := [run.name for run in everyone if run.finished is False]:
        notes.append(f"not finished: {', '.join(unfinished)}")
    characters = [group for group in comparison.groups if group.validation and not group.validation.texts]
    if any(len({run.fact("batch_size") for row in group.rows for run in row.runs}) > 1 for group in characters):
        notes.append("batch sizes differ, and validation uses as many rows: this changes a loss by at most about 0.002")
    if any(len(values) > 1 for group in comparison.groups for row in group.rows for values in row.settings.values()):
        notes.append("a row with several values of a setting is the mean over all of them")
    return notes


def why_apart(comparison: Comparison) -> str:
    """Return why the losses of the groups cannot be compared, in brackets, and what to do about language models."""
    from charrnn.training.validation import differences

    validations = [group.validation for group in comparison.groups]
    reasons: dict[str, str] = {}
    for other in validations[1:]:
        if validations[0] is None or other is None:
            reasons["no validation"] = "--val-fraction"
        else:
            reasons |= differences(validations[0], other)
    if any(each is not None and each.texts for each in validations):
        return f"({', '.join(reasons)})"
    one, two = (shlex.quote(group.rows[0].runs[0].name) for group in comparison.groups[:2])
    remedy = f"train with the same {' and '.join(dict.fromkeys(reasons.values()))}"
    if set(reasons) == {"different numbers of characters"}:  # without TEXT, `eval` scores all of the validation split
        remedy += f", or score all of the split with `charrnn eval -m {one}` and `charrnn eval -m {two}`"
    elif "different unknown characters" not in reasons:
        remedy += f", or score one text with `charrnn eval -m {one} TEXT` and `charrnn eval -m {two} TEXT`"
    return f"({', '.join(reasons)}): {remedy}"


def print_comparison_json(comparison: Comparison) -> None:
    """Print a comparison as JSON."""
    from charrnn.cli._console import print_json

    print_json(
        {
            "settings": comparison.names,
            "groups": [
                {
                    "signature": group.validation and group.validation.signature,
                    "validated_on": group.validation and group.validation.in_words(),
                    "rows": [_record(row) for row in group.rows],
                }
                for group in comparison.groups
            ],
        }
    )


def print_comparison_csv(comparison: Comparison) -> None:
    """Print a comparison as CSV: a line for each row, with the signature of its validation."""
    from charrnn.cli._console import print_csv

    lines = []
    for group in comparison.groups:
        for row in group.rows:
            record = _record(row)
            settings = [" ".join(map(str, values)) for values in record.pop("settings").values()]
            names = " ".join(record.pop("runs"))
            lines.append([*settings, *record.values(), group.validation and group.validation.signature, names])
    figures = ("n", "loss", "deviation", "lowest_loss", "best_step", "step", "parameters", "seconds")
    print_csv([*comparison.names, *figures, "signature", "runs"], lines)


def _record(row: Row) -> dict[str, Any]:
    """Return the figures of a row, means over its runs."""
    return {
        "settings": {name: list(values) for name, values in row.settings.items()},
        "runs": [run.name for run in row.runs],
        "n": len(row.runs),
        "loss": row.loss,
        "deviation": row.deviation,
        "lowest_loss": min(row.losses, default=None),
        "best_step": row.mean(lambda run: run.best_step),
        "step": row.mean(lambda run: run.step),
        "parameters": row.mean(lambda run: run.parameters),
        "seconds": row.mean(lambda run: run.seconds),
    }
