"""Learning curves of compared runs: read with notes on what is missing, and drawn for the terminal."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.cli._chart import Curve as Drawn
    from charrnn.cli._chart import Mark
    from charrnn.insight.curves import Best, Curve, Curves, Line
    from charrnn.training.compare import Comparison

_CHARACTERS = "●■▲◆★▼"  # of the curves, at their best losses
_MOST = len(_CHARACTERS)  # curves that a terminal can show
_TALLEST, _FLATTEST = 32, 4  # rows of a chart, and its columns for each row
_BELOW = 2  # rows that a terminal needs for the prompt


def read_curves(
    comparison: Comparison, *, by: str = "step", unit: str = "nats", smoothing: float | None = None
) -> Curves:
    """Return a curve for each row of a comparison, with notes on stderr; the arguments are those of `curves_of`.

    Raises:  CharRNNError if no run has a log or a history that can be read, or no loss is finite.
    """
    from charrnn.cli._runs import logs_of
    from charrnn.errors import CharRNNError
    from charrnn.insight.curves import curves_of

    rows = [row for group in comparison.groups for row in group.rows]
    logs = logs_of([run for row in rows for run in row.runs])
    curves = curves_of(rows, logs, by=by, unit=unit, smoothing=smoothing)
    if not math.isfinite(curves.top):
        raise CharRNNError("there is nothing to draw: no loss in these logs is finite")
    return curves


def chart_of(curves: Curves) -> str:
    """Return a chart as wide as the terminal: training and validation of one run, or the validation of several.

    Raises:  MissingExtraError without plotille.
    """
    from charrnn.cli._chart import chart
    from charrnn.cli._console import console, note, rendered

    columns, lines = shutil.get_terminal_size((80, 24))
    single, shown = len(curves.curves) == 1, curves.curves[:_MOST]
    drawn, marks = _one(shown[0]) if single else _several(shown)
    text = chart(
        [_cut(curve, curves.top) for curve in drawn],
        marks=marks,
        width=columns,
        height=min(lines - _BELOW, _TALLEST, columns // _FLATTEST),
        x_label=curves.x_label,
        y_label=f"{shown[0].label}: {curves.y_label}" if single else curves.y_label,
    )
    if len(shown) < len(curves.curves):
        others = "name fewer runs, or draw all of them with `charrnn plot RUN... --out FILE`"
        note(f"Note: the chart has the first {_MOST} of {len(curves.curves)} curves: {others}")
    return "\n".join(map(str.rstrip, rendered(console(width=columns), text).splitlines()))


def _one(curve: Curve) -> tuple[list[Drawn], list[Mark]]:
    """Return training and validation, each in a colour of its own."""
    training, _ = _drawn(curve.smoothed, "training", 0)
    if curve.best is None:
        return training, []
    validation, marks = _drawn(curve.validation, f"validation, {curve.best}", 1, curve.best)
    return training + validation, marks


def _several(curves: list[Curve]) -> tuple[list[Drawn], list[Mark]]:
    """Return the validation of each curve, or its training if nothing was validated."""
    drawn: list[Drawn] = []
    marks: list[Mark] = []
    for number, curve in enumerate(curves):
        line = curve.validation if curve.best else curve.smoothed
        lines, own = _drawn(line, f"{curve.label}, {curve.best or 'training'}", number, curve.best)
        drawn, marks = drawn + lines, marks + own
    return drawn, marks


def _drawn(line: Line, label: str, number: int, best: Best | None = None) -> tuple[list[Drawn], list[Mark]]:
    """Return a line in the colour with this number, with bars from the lowest to the highest of several runs."""
    from charrnn.cli._chart import STYLES, Mark
    from charrnn.cli._chart import Curve as Drawn

    style, character = STYLES[number], _CHARACTERS[number]
    drawn = [Drawn(label, line.x.tolist(), line.y.tolist(), style, character)]
    bars = [bar for bar in zip(line.x.tolist(), line.low.tolist(), line.high.tolist(), strict=True) if bar[1] < bar[2]]
    if bars:
        x = [value for at, _, _ in bars for value in (at, at, math.nan)]
        y = [value for _, low, high in bars for value in (low, high, math.nan)]
        drawn.append(Drawn("", x, y, style))
    return drawn, [Mark(best.x, best.loss, character, style)] if best else []


def _cut(curve: Drawn, top: float) -> Drawn:
    """Return a curve without the points above this loss."""
    return curve._replace(y=[y if y <= top else math.nan for y in curve.y])
