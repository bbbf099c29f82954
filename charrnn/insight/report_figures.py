"""The figures of a report as SVG for a page: how a run went, what a model confuses, and the map of its symbols."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.insight.curves import curves_of, learning_curves
from charrnn.insight.difficulty import ConfusionTable
from charrnn.insight.figures import COLORS, figure, inline_svg, plain
from charrnn.insight.log import Log
from charrnn.insight.symbols import CLASSES, SymbolMap
from charrnn.training.catalog import RunSummary
from charrnn.training.compare import Row

_LEAST = 0.005  # share of a character's occurrences that a confusion needs to be drawn
_POINTS = 600  # of a curve, at most: as many as a page has pixels for


def curve(x: npt.NDArray[Any], y: Array, x_label: str, y_label: str, *, log: bool = False) -> str:
    """Return a small figure of one curve.

    Shapes:  x, y (N,); points that are not finite are left out
    """
    made, axes = figure(4.2, 2.4)
    kept = np.flatnonzero(np.isfinite(y))
    chosen = kept[np.linspace(0, len(kept) - 1, min(_POINTS, len(kept))).astype(int)]
    axes.plot(x[chosen], y[chosen], linewidth=1, marker="." if len(chosen) == 1 else None)
    axes.set(xlabel=x_label, ylabel=y_label)
    if log:
        axes.set_yscale("log", subs=[2, 5])
        axes.yaxis.set_minor_formatter(plain)
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    return inline_svg(made)


def losses(run: RunSummary, log: Log) -> str:
    """Return the figure of training and validation loss by step."""
    return inline_svg(learning_curves(curves_of([Row({}, [run])], {run.path: log}), width=7.2))


def confusion_map(table: ConfusionTable, names: Sequence[str]) -> str:
    """Return a map with a row for each character and a square for each that was predicted in its place.

    The stronger the square, the more often; its area is the same, so that its colour alone counts.
    """
    count = len(table.ids)
    made, axes = figure(6.0, 6.0)
    rows, columns = np.nonzero(table.shares >= _LEAST)
    shares = table.shares[rows, columns]
    for wrong, color in ((False, COLORS[2]), (True, COLORS[5])):
        own = (rows != columns) == wrong
        axes.scatter(columns[own], rows[own], s=130, marker="s", c=color, alpha=np.sqrt(shares[own]), linewidths=0)
    labels = [names[id_] for id_ in table.ids]
    axes.set(xlim=(-0.6, count - 0.4), ylim=(count - 0.4, -0.6), xlabel="predicted", ylabel="actual", aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(range(count), labels, parse_math=False)
        axis.set_tick_params(length=0)
    for label in axes.get_xticklabels():
        label.set_rotation(90 if len(label.get_text()) > 2 else 0)
    return inline_svg(made)


def symbol_figure(found: SymbolMap, names: Sequence[str], classes: Ids) -> str:
    """Return the map of the symbols: each is written where it lies, in the colour of its class."""
    made, axes = figure(6.4, 5.0)
    kinds = classes[found.ids]
    palette = (*COLORS, "black")
    colors = {int(kind): palette[number % len(palette)] for number, kind in enumerate(np.unique(kinds))}
    for kind, color in colors.items():
        own = kinds == kind
        axes.plot(*found.points[own].T, color=color, linestyle="", label=CLASSES[kind])  # for the legend and the limits
        for (x, y), id_ in zip(found.points[own], found.ids[own], strict=True):
            axes.text(x, y, names[id_], color=color, ha="center", va="center", fontsize=10, parse_math=False)
    first, second = (f"{share:.0%} of the variance" for share in found.explained)
    axes.set(xlabel=f"first component: {first}", ylabel=f"second component: {second}")
    axes.margins(0.06)
    made.legend(loc="outside lower center", ncols=3, frameon=False, handlelength=0, labelcolor=list(colors.values()))
    return inline_svg(made)
