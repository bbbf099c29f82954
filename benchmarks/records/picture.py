"""Draw the learning curves: validation loss against training time, with the targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.records.rows import SHAKESPEARE, Row
from benchmarks.records.runs import Run, counting, median_run

COLOURS = ("#e09f2b", "#d9602c", "#b8336a", "#7b2d8b", "#2d1e5f")  # darker for longer times
ONE, TEST, INK, PALE = "#2171b5", "#b2182b", "#333333", "#8c8c8c"
BESIDE = {"7-gram, whole": 1.5165, "nanoGPT on an A100, windows": 1.4697}  # of `OTHERS`
TICKS = {10: "10 s", 60: "1 min", 180: "3 min", 600: "10 min", 1800: "30 min"}
TALL, LOW = 4.4, 2.8  # inches: heights of the two figures
STYLE = {
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "records",  # the same runs make the same bytes
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_BITS = 1 / math.log(2)
_POINTS: dict[str, Any] = {"textcoords": "offset points", "size": 8}
_ABOVE: dict[str, Any] = _POINTS | {"xycoords": ("axes fraction", "data"), "color": PALE}  # a line


def draw(rows: Sequence[Row], runs: Sequence[Run], path: Path) -> None:
    """Write the picture: tiny Shakespeare above, the texts with a test split below; no file without runs.

    Raises:  ModuleNotFoundError if matplotlib is not installed.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    yardstick = [row for row in rows if row.text == SHAKESPEARE and row.compiled and counting(row, runs)]
    tested = [row for row in rows if "test" in row.scores and counting(row, runs)]
    heights = [TALL] * bool(yardstick) + [LOW] * bool(tested)
    if not heights:
        return
    with rc_context(STYLE):
        figure = Figure(figsize=(9, sum(heights)), layout="constrained")
        parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
        if yardstick:
            _draw_times(parts.pop(0).subplots(), yardstick, runs)
        if tested:
            for axes, row in zip(parts.pop(0).subplots(1, len(tested), squeeze=False)[0], tested, strict=True):
                _draw_tested(axes, row, counting(row, runs))
        figure.savefig(path, metadata={"Date": None})


def _draw_times(axes: Any, rows: Sequence[Row], runs: Sequence[Run]) -> None:
    """Draw all times into one frame; a short dashed line marks each time's target."""
    ends = [run for row in rows for run in counting(row, runs)]
    lowest = min(*BESIDE.values(), *(_with_memory(run, "whole", "nats_per_char") or run.loss for run in ends))
    low, high = lowest - 0.08, 1.9
    label = high
    for row, colour in zip(rows, COLOURS, strict=False):
        found, due = counting(row, runs), row.minutes * 60
        _draw_curves(axes, found, colour, 1.0)
        axes.hlines(row.bars["whole"], due / 1.25, due * 1.25, colors=colour, linestyles=(0, (2, 1.5)), linewidth=1.3)
        chosen = median_run(found)
        memory = _with_memory(chosen, "whole", "nats_per_char")
        text = f"{row.name.partition(', ')[2]}: {chosen.loss:.4f}"
        if memory is not None:
            axes.plot(chosen.training_seconds, memory, "o", color=colour, markersize=4)
            text += f" ({memory:.4f})"
        label = min(chosen.loss, label - (high - low) / 20)  # downwards, so that labels never overlap
        axes.text(1.01, label, text, **_beside(axes), color=colour)
    for name, loss in BESIDE.items():
        axes.axhline(loss, color=PALE, linewidth=0.6, zorder=0)
        axes.annotate(f"{name} {loss:.4f}", (0, loss), **_ABOVE, xytext=(3, 3))
    _frame(axes, (8, rows[-1].minutes * 60 * 1.3), (low, high), "nats per character")
    axes.set_title("Tiny Shakespeare, validation split; dashed: targets; points: with memory", loc="left", size=10)


def _draw_tested(axes: Any, row: Row, runs: Sequence[Run]) -> None:
    """Draw the runs of one text, points for its test split and a dashed line for the n-gram model."""
    chosen = median_run(runs)
    test, end = chosen.scores["test"], chosen.training_seconds
    ngram, n = test["baselines"]["ngram"]["bpc"], test["baselines"]["n"]
    _draw_curves(axes, runs, ONE, _BITS)
    axes.plot(end, test["bpc"], "o", color=TEST, markersize=4)
    axes.annotate(f"test {test['bpc']:.3f}", (end, test["bpc"]), xytext=(6, -3), **_POINTS, color=TEST)
    memory = _with_memory(chosen, "test", "bpc")
    if memory is not None:
        axes.plot(end, memory, "o", color=TEST, markersize=4, fillstyle="none")
        axes.annotate(f"with memory {memory:.3f}", (end, memory), xytext=(-6, -3), ha="right", **_POINTS, color=TEST)
    axes.axhline(ngram, color=PALE, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    axes.annotate(f"{n}-gram, test {ngram:.3f}", (1, ngram), **_ABOVE, xytext=(0, 3), ha="right")
    least = min(ngram, memory or ngram, test["bpc"], *(loss * _BITS for run in runs for _, loss in run.curve))
    _frame(axes, (8, end * 3.2), (0.96 * least, max(1.45 * least, 1.1 * ngram)), "bits per character")
    axes.set_title(row.name, loc="left", size=10)


def _with_memory(run: Run, score: str, unit: str) -> float | None:
    """Return a figure with the memory; None if the memory is off, or the run is of a version without memories."""
    return run.figure(score, unit, memory=True) if run.scores[score].get("memory") else None


def _draw_curves(axes: Any, runs: Sequence[Run], colour: str, scale: float) -> None:
    """Draw each seed's curve, the median seed's thicker."""
    for run in runs:
        seconds, losses = zip(*run.curve, strict=True)
        width = 1.8 if run is median_run(runs) else 0.7
        axes.plot(seconds, [scale * loss for loss in losses], color=colour, linewidth=width)


def _beside(axes: Any) -> dict[str, Any]:
    """Return the options that put a text right of the frame, at a height in data units."""
    return {"transform": axes.get_yaxis_transform(), "va": "center", "weight": "bold", "size": 9}


def _frame(axes: Any, seconds: tuple[float, float], losses: tuple[float, float], unit: str) -> None:
    shown = {tick: text for tick, text in TICKS.items() if seconds[0] <= tick <= seconds[1]}
    axes.set_xscale("log")
    axes.set_xticks(list(shown), list(shown.values()))
    axes.minorticks_off()
    axes.set_xlim(*seconds)
    axes.set_ylim(*losses)
    axes.set_xlabel("training time")
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
