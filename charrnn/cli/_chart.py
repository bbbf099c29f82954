"""Curves on a terminal: plotille draws them in braille dots, rich colours them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

from charrnn.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.text import Text

#: One for each curve; the order is that of the Okabe-Ito palette as far as a terminal's eight colours allow.
STYLES = ("bright_blue", "yellow", "cyan", "magenta", "green", "red")
_EMPTY = 0x2800  # braille without a dot; the bits above it are the dots
_FEWEST_ROWS, _FEWEST_COLUMNS = 3, 10  # of the dots
_ROWS_A_TICK, _COLUMNS_A_TICK = 2.5, 14
_SHARE = 3  # the legend takes at most one in so many rows
_NARROWEST = 16  # columns of an entry of the legend, if there are several


class Curve(NamedTuple):
    """A curve of a chart: points (x, y) in the order in which they are joined; style as rich names it.

    A point whose x or y is nan is left out, and the curve has a gap there. The legend shows the label after the
    character; it leaves out a curve without a label.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str
    character: str = "●"


class Mark(NamedTuple):
    """A single point of a chart that is shown as a character."""

    x: float
    y: float
    character: str
    style: str


class _Window(NamedTuple):
    """The part of the plane that a chart shows, both ends included, and its cells, each of 2 by 4 dots."""

    left: float
    low: float
    right: float
    high: float
    columns: int
    rows: int

    @property
    def dot_width(self) -> float:
        return (self.right - self.left) / (2 * self.columns - 1)

    @property
    def dot_height(self) -> float:
        return (self.high - self.low) / (4 * self.rows - 1)

    def column(self, x: float) -> int:
        return round((x - self.left) / self.dot_width) // 2

    def row(self, y: float) -> int:
        return self.rows - 1 - round((y - self.low) / self.dot_height) // 4


def chart(
    curves: Sequence[Curve], *, width: int, height: int, x_label: str, y_label: str, marks: Sequence[Mark] = ()
) -> Text:
    """Return a chart of this many columns and rows, with a legend and axes; later curves lie above earlier ones.

    No line is wider, and there are at least five. The legend has the first line, and more for many curves.

    Raises:  MissingExtraError without plotille.
    """
    from rich.text import Text

    points = [point for curve in curves for segment in _segments(curve) for point in segment]
    text = Text(no_wrap=True)
    if not points:
        return text.append("nothing to draw yet" + "\n" * (height - 1), "dim")
    legend = _legend(curves, y_label, width, max(1, height // _SHARE))
    (left, right), (low, high) = (_limits(values) for values in zip(*points, strict=True))
    rows = max(_FEWEST_ROWS, height - len(legend) - 1)
    ticks = _ticks(low, high, max(2, int(rows / _ROWS_A_TICK)))
    margin = max(len(number) for number in ticks.values()) + 1
    window = _Window(left, low, right, high, max(_FEWEST_COLUMNS, width - margin), rows)
    for line in legend:
        text.append_text(line).append("\n")
    numbers = {window.row(value): number for value, number in ticks.items()}
    for row, cells in enumerate(_cells(curves, marks, window)):
        text.append(f"{numbers[row]:>{margin - 1}}┤" if row in numbers else "│".rjust(margin), "dim")
        for style, run in groupby(cells, key=lambda cell: cell[1]):
            text.append("".join(character for character, _ in run), style)
        text.append("\n")
    return text.append(" " * margin + _x_axis(window, x_label), "dim")


def _cells(curves: Sequence[Curve], marks: Sequence[Mark], window: _Window) -> list[list[tuple[str, str]]]:
    """Return character and style of each cell, by rows from the top."""
    cells = [[(" ", "")] * window.columns for _ in range(window.rows)]
    for curve in curves:
        for row, line in enumerate(_dots(curve, window)):
            for column, character in enumerate(line):
                if (dots := ord(character)) != _EMPTY:
                    below = cells[row][column][0]
                    cells[row][column] = chr(dots | (0 if below == " " else ord(below))), curve.style
    for mark in marks:
        if window.left <= mark.x <= window.right and window.low <= mark.y <= window.high:
            cells[window.row(mark.y)][window.column(mark.x)] = mark.character, mark.style
    return cells


def _dots(curve: Curve, window: _Window) -> list[str]:
    """Return the rows of a curve alone, from the top."""
    try:
        from plotille import Canvas
    except ImportError:
        raise MissingExtraError("a chart on the terminal", "plotille", "plot") from None
    right, above = window.right + window.dot_width, window.high + window.dot_height  # which it leaves out
    canvas = Canvas(window.columns, window.rows, window.left, window.low, right, above)
    for segment in _segments(curve):
        segment = _thinned(segment, 4 * window.columns)
        for (x, y), (next_x, next_y) in pairwise(segment if len(segment) > 1 else segment * 2):
            canvas.line(x, y, next_x, next_y)
    drawn: str = canvas.plot()
    return drawn.split("\n")


def _segments(curve: Curve) -> Iterator[list[tuple[float, float]]]:
    """Yield the stretches of a curve between its gaps."""
    points = zip(map(float, curve.x), map(float, curve.y), strict=True)
    for finite, stretch in groupby(points, key=lambda point: all(map(math.isfinite, point))):
        if finite:
            yield list(stretch)


def _thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return at most about so many of the points, the ends included: more than the dots show cost time only."""
    every = -(-len(points) // most)
    return points if every < 2 else [*points[:-1:every], points[-1]]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, which differ."""
    low, high = min(values), max(values)
    around = abs(high) / 10 or 1.0
    return (low, high) if high > low else (low - around, high + around)


def _ticks(low: float, high: float, most: int) -> dict[float, str]:
    """Return at most so many round numbers between the ends, at equal distances, each as it is written."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    decimals = max(0, -math.floor(math.log10(step)) + (0 if (step / power) != 2.5 else 1))
    values = [index * step for index in range(first, last + 1)] or [low]
    return {value: f"{value:,.{decimals}f}" for value in values}


def _x_axis(window: _Window, label: str) -> str:
    """Return the line below the cells: numbers under their columns, and the label where it fits last."""
    line = [" "] * window.columns
    end = window.columns - len(label)
    for value, number in _ticks(window.left, window.right, max(2, window.columns // _COLUMNS_A_TICK)).items():
        start = min(max(0, window.column(value) - len(number) // 2), window.columns - len(number))
        before = line[max(0, start - 1) : start + len(number) + 1]
        if start >= 0 and start + len(number) < end and not "".join(before).strip():
            line[start : start + len(number)] = number
    line[max(0, end) :] = label[: window.columns]
    return "".join(line)


def _legend(curves: Sequence[Curve], y_label: str, width: int, most: int) -> list[Text]:
    """Return the lines above the cells: what y is, and the label of each curve, shortened to fit into so many lines."""
    from rich.text import Text

    lines = [Text.assemble((_fitting(y_label, width), "dim"))]
    labelled = [curve for curve in curves if curve.label]
    widest = max(_NARROWEST, (most * width) // max(1, len(labelled)) - 4)
    for number, curve in enumerate(labelled):
        label = _fitting(curve.label, min(widest, width - 2))
        entry = Text.assemble((curve.character, curve.style), f" {label}")
        if lines[-1].cell_len + 2 + entry.cell_len > width:
            if len(lines) == most:
                more = f" +{len(labelled) - number}"
                lines[-1].truncate(width - len(more))
                lines[-1].append(more, "dim")
                break
            lines.append(entry)
        else:
            lines[-1].append("  ").append_text(entry)
    return lines


def _fitting(text: str, columns: int) -> str:
    """Return a text in at most so many columns of one line: its beginning and its end, with an ellipsis between."""
    from rich.cells import cell_len, chop_cells

    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    if cell_len(text) <= columns:
        return text
    half = (columns - 1) // 2
    tail = chop_cells(text[::-1], max(1, half))[0][::-1]
    return chop_cells(text, max(1, columns - 1 - half))[0] + "…" + tail
