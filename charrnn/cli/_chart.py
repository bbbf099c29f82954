"""Curves on a terminal: plotille draws them in braille dots, rich colours them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from charrnn.errors import MissingExtraError

if TYPE_CHECKING:
    from rich.text import Text

#: One for each curve; the order is that of the Okabe-Ito palette as far as a terminal's eight colours allow.
STYLES = ("blue", "yellow", "cyan", "magenta", "green", "red")
_EMPTY = 0x2800  # braille without a dot; the bits above it are the dots
_TICKS = 7  # columns of the numbers beside the vertical axis
_FEWEST_ROWS = 3


class Curve(NamedTuple):
    """A curve of a chart: points (x, y) in the order in which they are joined; style as rich names it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str


class Mark(NamedTuple):
    """A single point of a chart that is shown as a character."""

    x: float
    y: float
    character: str
    style: str


def chart(
    curves: Sequence[Curve], *, width: int, height: int, x_label: str, y_label: str, marks: Sequence[Mark] = ()
) -> Text:
    """Return a chart of this many columns and rows, with axes and a legend; later curves lie above earlier ones.

    Raises:  MissingExtraError without plotille.
    """
    from rich.text import Text

    points = [(x, y) for curve in curves for x, y in zip(curve.x, curve.y, strict=True)]
    if not points:
        return Text("nothing to draw yet\n" + "\n" * (height - 2), style="dim")
    (left, right), (low, high) = (_limits(values) for values in zip(*points, strict=True))
    columns, rows = max(1, width - _TICKS - 1), max(_FEWEST_ROWS, height - 2)
    cells = [[(" ", "")] * columns for _ in range(rows)]
    for curve in curves:
        for r, line in enumerate(_dots(curve, columns, rows, (left, low, right, high))):
            for c, character in enumerate(line):
                if (dots := ord(character)) != _EMPTY:
                    below = cells[r][c][0]
                    dots |= 0 if below == " " else ord(below)
                    cells[r][c] = chr(dots), curve.style
    for mark in marks:
        c = round((mark.x - left) / (right - left) * (columns - 1))
        r = round((high - mark.y) / (high - low) * (rows - 1))
        if 0 <= c < columns and 0 <= r < rows:
            cells[r][c] = mark.character, mark.style
    text, numbered = Text(no_wrap=True), {0: high, (rows - 1) // 2: (high + low) / 2, rows - 1: low}
    for r, row in enumerate(cells):
        number = f"{numbered[r]:.4g}" if r in numbered else ""
        text.append(f"{number:>{_TICKS}} ", "dim")
        for character, style in row:
            text.append(character, style)
        text.append("\n")
    first, last = f"{left:,.6g}", f"{right:,.6g}"
    text.append(" " * (_TICKS + 1) + first + x_label.center(columns - len(first) - len(last)) + last + "\n", "dim")
    text.append(f"{y_label:>{_TICKS}} ", "dim")
    for curve in curves:
        text.append("● ", curve.style).append(f"{curve.label}  ")
    return text


def _dots(curve: Curve, columns: int, rows: int, limits: tuple[float, float, float, float]) -> list[str]:
    """Return the rows of a curve alone, from the top."""
    try:
        from plotille import Canvas
    except ImportError:
        raise MissingExtraError("curves on a terminal", "plotille", "plot") from None
    canvas = Canvas(columns, rows, *limits)
    points = list(zip(curve.x, curve.y, strict=True))
    for (x, y), (next_x, next_y) in zip(points, points[1:] or points, strict=False):
        canvas.line(x, y, next_x, next_y)
    drawn: str = canvas.plot()
    return drawn.split("\n")


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, which differ."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
