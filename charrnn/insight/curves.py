"""Learning curves: losses by step, epoch, time or characters; runs that differ only in their seeds share one curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from charrnn.arrays import Array
from charrnn.errors import ConfigError
from charrnn.insight.figures import COLORS, figure, plain
from charrnn.insight.log import Log
from charrnn.nn.functional import bits
from charrnn.training.compare import Row

if TYPE_CHECKING:
    from charrnn.insight.figures import Axes, Figure

#: What a curve can be drawn over, each with the name of its axis.
AXES = {"step": "steps", "epoch": "epochs", "seconds": "seconds", "chars": "characters trained on"}
#: Units of a loss, each with its size in nats.
UNITS = {"nats": 1.0, "bits": 1 / bits(1.0)}
_POINTS = 100  # points of a training curve that are not smoothed by default: more look like noise
_MARKERS = "osD^vP"  # of the first six curves; with the colours' own turn, 36 pairs differ
_DRAWN = 1000  # points of a line in a figure: more change nothing but the size of the file
_LONGEST = 48  # characters of a label in a figure's legend
_LETTERS, _HANDLE, _LEGEND_ROW = 14, 8, 0.2  # of a legend: letters an inch, letters as wide as a line, inches a row
_MARGIN = 0.05  # of the axis above and below the losses
_BEGINNING = 0.1  # of a curve, whose high losses would hide the differences of the rest


class Line(NamedTuple):
    """The points of a curve: the mean over runs, and the lowest and the highest; each (N,), and N may be 0."""

    x: Array
    y: Array
    low: Array
    high: Array


class Best(NamedTuple):
    """The lowest validation loss and where it was measured; means if a curve has several runs."""

    x: float
    loss: float

    def __str__(self) -> str:
        return f"best {self.loss:.4f} at " + (f"{self.x:,.0f}" if self.x >= 100 else f"{self.x:.3g}")


@dataclass(frozen=True, eq=False)
class Curve:
    """The losses of one run, or of several that differ only in their seeds.

    label       the run's name, or the settings of the runs
    runs        their names
    training    the mean loss since the previous report; smoothed: its moving average
    validation  without points if nothing was validated; then best is None
    """

    label: str
    runs: tuple[str, ...]
    training: Line
    smoothed: Line
    validation: Line
    best: Best | None


@dataclass(frozen=True, eq=False)
class Curves:
    """Learning curves with their common axes.

    by         the name of x, of `AXES`; unit: that of the losses, of `UNITS`
    per        what a loss is the mean over: a "character", a "text", or a "prediction" if these runs differ
    smoothing  weight of the past in the moving average; 0: the smoothed losses are the raw ones
    """

    curves: list[Curve]
    by: str
    unit: str
    smoothing: float
    per: str = "character"

    @property
    def top(self) -> float:
        """Return the highest loss to show: that of the curves without their first tenth; -inf if none is finite."""
        return max(map(_top, self.curves), default=-np.inf)

    @property
    def x_label(self) -> str:
        """Return the name of the horizontal axis."""
        return AXES[self.by]

    @property
    def y_label(self) -> str:
        """Return the name of the vertical axis."""
        return f"loss in {self.unit} per {self.per}"


def smoothed(values: Array, weight: float) -> Array:
    """Return the moving average of values (N,), in which the past has this weight at each step, 0 <= weight < 1.

    It is divided by the weight of the values so far, so that the first ones count fully.
    Source:  the bias correction of Adam, Kingma & Ba 2015.
    """
    totals = list(accumulate(values.tolist(), lambda total, value: weight * total + (1 - weight) * value, initial=0.0))
    weights: Array = 1 - weight ** np.arange(1, len(values) + 1)
    return np.array(totals[1:]) / weights


def curves_of(
    rows: Sequence[Row],
    logs: Mapping[str, Log],
    *,
    by: str = "step",
    unit: str = "nats",
    smoothing: float | None = None,
) -> Curves:
    """Return a curve for each row of a comparison.

    logs       of the runs, by path; runs without one are left out
    smoothing  as in `Curves`; None: by the number of points, so that up to a hundred are not smoothed
    Raises:    ConfigError if a log lacks the times that `by` needs.
    """
    if smoothing is None:
        smoothing = max(0.0, 1 - _POINTS / max((len(log.step) for log in logs.values()), default=1))
    drawn = []
    for row in rows:
        found = {run.name: logs[run.path] for run in row.runs if run.path in logs}
        if found:
            drawn.append(_curve(_label(row, list(found)), found, by, UNITS[unit], smoothing))
    per = {"character" if run.labels is None else "text" for row in rows for run in row.runs}
    return Curves(drawn, by, unit, smoothing, per.pop() if len(per) == 1 else "prediction")


def _curve(label: str, logs: dict[str, Log], by: str, nats: float, smoothing: float) -> Curve:
    raw, smooth, validation, best = [], [], [], []
    for name, log in logs.items():
        x, loss, val_loss = getattr(log, by).astype(float), log.loss / nats, log.val_loss / nats
        if np.isnan(x).any():
            raise ConfigError(f"{name} has no log of its {AXES[by]}: use --by step or --by epoch")
        raw.append((x, loss))
        smooth.append((x, smoothed(loss, smoothing)))
        if log.best is not None:
            measured = ~np.isnan(val_loss)
            validation.append((x[measured], val_loss[measured]))
            best.append((x[log.best], val_loss[log.best]))
    mark = Best(*map(float, np.mean(best, axis=0))) if best else None
    return Curve(label, tuple(logs), _mean(raw), _mean(smooth), _mean(validation), mark)


def _mean(lines: list[tuple[Array, Array]]) -> Line:
    """Return the mean of lines, where all of them have values: at each point of one, the others are interpolated."""
    if not lines:
        return Line(*np.zeros((4, 0)))
    first, last = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    points = np.unique(np.concatenate([x for x, _ in lines]))
    points = points[(first <= points) & (points <= last)]
    values = np.stack([np.interp(points, x, y) for x, y in lines])
    return Line(points, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _top(curve: Curve) -> float:
    """Return the highest loss after the first tenth of a curve."""
    x = curve.smoothed.x
    begin = x[0] + _BEGINNING * np.ptp(x) if len(x) else 0.0
    highs = np.concatenate([line.high[line.x >= begin] for line in (curve.smoothed, curve.validation)])
    return float(highs[np.isfinite(highs)].max(initial=-np.inf))


def _label(row: Row, names: list[str]) -> str:
    """Return the name of a single run; of several, the settings that they share and those of other rows do not."""
    if len(names) == 1:
        return names[0]
    common = {name: values[0] for name, values in row.settings.items() if len(values) == 1}
    settings = ", ".join(f"{name.replace('_', '-')}={value}" for name, value in common.items())
    return f"{settings or names[0]} ({len(names)} runs)"


def learning_curves(curves: Curves, *, width: float = 6.4, height: float = 3.6) -> Figure:
    """Return a figure: validation losses with the best ones marked, and training losses; seeds as a band.

    width, height  in inches, without the legend below
    Raises:        MissingExtraError without matplotlib.
    """
    made, axes = figure(width, height)
    if len(curves.curves) == 1:
        _draw_one(axes, curves.curves[0], raw=curves.smoothing > 0)
    else:
        _draw_several(axes, curves.curves)
    low, high = axes.dataLim.y0, min(axes.dataLim.y1, curves.top)
    if low < high:
        axes.set_ylim(low - _MARGIN * (high - low), high + _MARGIN * (high - low))
    axes.set_xlabel(curves.x_label)
    axes.set_ylabel(curves.y_label)
    axes.xaxis.set_major_formatter(plain)
    axes.grid(alpha=0.1, color="black")
    if labels := axes.get_legend_handles_labels()[1]:
        columns = max(1, int(_LETTERS * width / (max(map(len, labels)) + _HANDLE)))
        made.set_figheight(height + _LEGEND_ROW * -(-len(labels) // columns))
        made.legend(loc="outside lower center", ncols=columns, frameon=False)
    return made


def _draw_one(axes: Axes, curve: Curve, *, raw: bool) -> None:
    """Draw training and validation in two colours, below the name of the run."""
    axes.set_title(_name(curve), loc="left", fontsize="medium")
    if raw:
        _plot(axes, curve.training, color=COLORS[0], alpha=0.3, linewidth=0.8)
    _draw(axes, curve.smoothed, COLORS[0], label="training")
    if curve.best:
        _draw(axes, curve.validation, COLORS[1], label=f"validation, {curve.best}", marker=_MARKERS[0])
        _mark(axes, curve.best, COLORS[1], _MARKERS[0])


def _draw_several(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw each curve in a colour of its own: validation as a thick line, training as a thin one."""
    for number, curve in enumerate(curves):
        color, marker = COLORS[number % len(COLORS)], _MARKERS[(number + number // len(COLORS)) % len(_MARKERS)]
        name = _name(curve)
        if curve.best is None:
            _draw(axes, curve.smoothed, color, label=f"{name}, training")
            continue
        _plot(axes, curve.smoothed, color=color, alpha=0.8, linewidth=0.8, linestyle="--")
        _draw(axes, curve.validation, color, label=f"{name}, {curve.best}", marker=marker)
        _mark(axes, curve.best, color, marker)
    if any(curve.best for curve in curves):
        axes.plot([], [], color="black", alpha=0.8, linewidth=0.8, linestyle="--", label="training")


def _draw(axes: Axes, line: Line, color: str, *, label: str, marker: str | None = None) -> None:
    """Draw a line and, for several runs, the band from the lowest to the highest; only the legend has the marker."""
    _plot(axes, line, color=color, label=label, marker=marker, markevery=[] if marker else None)
    if (line.low < line.high).any():
        axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.2, linewidth=0)


def _plot(axes: Axes, line: Line, **style: Any) -> None:
    """Draw the means of a line, at most `_DRAWN` of its points; a single point as a dot."""
    if len(line.x) == 1:
        style |= {"marker": style.get("marker") or ".", "markevery": None}
    chosen = np.linspace(0, len(line.x) - 1, min(_DRAWN, len(line.x))).astype(int)
    axes.plot(line.x[chosen], line.y[chosen], **style)


def _mark(axes: Axes, best: Best, color: str, marker: str) -> None:
    axes.plot([best.x], [best.loss], color=color, marker=marker, markersize=7, linestyle="")


def _name(curve: Curve) -> str:
    """Return the label, shortened in the middle, for matplotlib: it hides names with a first _ and reads $ as TeX."""
    name, half = curve.label, _LONGEST // 2
    if len(name) > _LONGEST:
        name = f"{name[: half - 1]}…{name[-half:]}"
    return (f" {name}" if name.startswith("_") else name).replace("$", r"\$")
