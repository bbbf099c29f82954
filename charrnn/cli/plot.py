"""`charrnn plot`: draw the learning curves of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._options import run_argument
from charrnn.cli._types import Number, OneOf

if TYPE_CHECKING:
    from charrnn.insight.curves import Curves, Line
    from charrnn.training.compare import Comparison

_curves, _output = section("Curves"), section("Output")
_AXES = ("step", "epoch", "seconds", "chars")
_MOST_SMOOTHING = 0.9999
#: The lines of a curve, by their names in `--json` and `--csv`.
_LINES = ("training", "smoothed", "validation")


@click.command(
    cls=SectionedCommand,
    conflicts=(
        Conflict("--json and --csv cannot be combined: give one", ("as_json", "as_csv")),
        Conflict("--out writes a picture, so it cannot be combined with --json: give one", ("out", "as_json")),
        Conflict("--out writes a picture, so it cannot be combined with --csv: give one", ("out", "as_csv")),
    ),
)
@run_argument("names", several=True)
@_curves(
    "--by",
    type=OneOf(_AXES),
    metavar="AXIS",
    default="step",
    show_default=True,
    help="What the horizontal axis counts: step, epoch, seconds or chars.",
)
@_curves("--bits", is_flag=True, help="Show losses in bits per character instead of nats.")
@_curves(
    "--smooth",
    "smoothing",
    type=Number(0, _MOST_SMOOTHING),
    metavar="X",
    help="Weight of the past in the moving average of the training loss; 0: as logged. [default: 0 for up to 100 "
    "points, more for long runs]",
)
@_output(
    "--out",
    metavar="FILE",
    shell_complete=complete_files,
    help="Write a picture that ends in .png, .svg or .pdf, instead of drawing on the terminal.",
)
@_output("--csv", "as_csv", is_flag=True, help="Print the points as CSV instead of drawing them.")
@_output("--json", "as_json", is_flag=True, help="Print the points as one JSON object instead of drawing them.")
def command(
    names: tuple[str, ...],
    by: str,
    bits: bool,
    smoothing: float | None,
    out: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Draw the learning curves of runs, on the terminal or as a picture.

    RUN is a run's name or folder, a quoted pattern such as 'names-*', or the folder of a sweep. Without RUN, charrnn
    draws the newest run.

    Of one run, it draws the training and the validation loss; of several, the validation losses, with the training
    losses as thin lines in pictures. A mark shows the lowest validation loss. Runs that differ only in the seed share
    a curve: their mean, and a band from the lowest to the highest.

    \b
    Examples:
      charrnn plot
      charrnn plot first second --by seconds
      charrnn plot names-sweep --bits --out curves.png
      charrnn plot names --csv > points.csv
    """
    from charrnn.cli._curves import chart_of, read_curves
    from charrnn.cli._runs import chosen_runs
    from charrnn.training.compare import compare

    comparison = compare(chosen_runs(names))
    curves = read_curves(comparison, by=by, unit="bits" if bits else "nats", smoothing=smoothing)
    _note_apart(comparison)
    if as_json:
        _print_json(curves)
    elif as_csv:
        _print_csv(curves)
    elif out is None:
        click.echo(chart_of(curves))
    else:
        _write(curves, Path(out))


def _note_apart(comparison: Comparison) -> None:
    """Print a note if some validation losses cannot be compared."""
    from charrnn.cli._comparison import why_apart
    from charrnn.cli._console import note

    validated = [group for group in comparison.groups if group.validation]
    if len(validated) > 1:
        why = why_apart(replace(comparison, groups=validated))
        note(f"Note: some of these validation losses cannot be compared {why}")


def _write(curves: Curves, path: Path) -> None:
    """Write the picture, and say where it is."""
    from charrnn.insight.curves import learning_curves
    from charrnn.insight.figures import save

    save(learning_curves(curves), path)
    click.echo(f"Wrote {path}")


def _print_json(curves: Curves) -> None:
    from charrnn.cli._console import print_json

    records = [
        {"label": curve.label, "runs": list(curve.runs)}
        | {name: _points(getattr(curve, name)) for name in _LINES}
        | {"best": curve.best and {"x": _whole(curve.best.x), "loss": curve.best.loss}}
        for curve in curves.curves
    ]
    print_json({"by": curves.by, "unit": curves.unit, "smoothing": curves.smoothing, "curves": records})


def _print_csv(curves: Curves) -> None:
    """Print a line for each point of each line of each curve, and one for its best loss."""
    from charrnn.cli._console import print_csv

    rows: list[list[Any]] = []
    for curve in curves.curves:
        for name in _LINES:
            points = zip(*_points(getattr(curve, name)).values(), strict=True)
            rows += [[curve.label, name, *point] for point in points]
        if curve.best:
            rows.append([curve.label, "best", _whole(curve.best.x), curve.best.loss, None, None])
    print_csv(["curve", "line", curves.by, "loss", "lowest", "highest"], rows)


def _points(line: Line) -> dict[str, list[float]]:
    """Return the points of a line by column."""
    x, *losses = (values.tolist() for values in line)
    return {"x": list(map(_whole, x)), **dict(zip(("loss", "lowest", "highest"), losses, strict=True))}


def _whole(value: float) -> float:
    """Return a number without its point if it is whole."""
    return int(value) if value.is_integer() else value
