"""The panel of `train --live`: what is known of a run, as lines that fill a terminal of any size."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from charrnn.cli._chart import STYLES, Curve, Mark, chart
from charrnn.cli._console import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

TRAINING, VALIDATION, BEST = STYLES[0], STYLES[1], "green"
_MOST_POINTS = 512  # of a curve; a chart of 120 columns shows 240
_STEEP = 0.1  # share of the steps that is left out: there the loss falls so far that the rest would look flat
_WIDE = 100  # columns from which on the sample is beside the curves
_ROOMY = 20  # rows from which on there are gaps, all figures, and notes
_CHART = 6  # rows below which curves show nothing
_TILE, _WIDEST_TILE = 11, 16  # columns of a figure
_GAP = 3  # columns between the curves and the sample


class Trace:
    """A curve of any length in a bounded number of points: if there are too many, every second one goes."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []
        self._every = 1

    def add(self, step: int, value: float) -> None:
        """Add a point after all others."""
        if step % self._every == 0:
            self.steps.append(step)
            self.values.append(value)
        if len(self.steps) > _MOST_POINTS:
            self._every *= 2
            del self.steps[1::2], self.values[1::2]

    def cut(self, step: int) -> None:
        """Remove the points after a step."""
        end = bisect_right(self.steps, step)
        del self.steps[end:], self.values[end:]

    def curve(self, label: str, style: str, first: float) -> Curve:
        """Return the curve from a step on."""
        begin = bisect_left(self.steps, first)
        return Curve(label, self.steps[begin:], self.values[begin:], style)


@dataclass(eq=False)
class View:
    """What the panel shows of a run.

    status   what the run is doing, or how much time is left
    figures  names and values, the most important first
    best     step and loss of the best evaluation
    sample   the step of the newest sample and its text
    said     notes, and what happened, the newest last
    """

    title: str
    total: int
    step: int = 0
    status: str = ""
    figures: dict[str, str] = field(default_factory=dict)
    training: Trace = field(default_factory=Trace)
    validation: Trace = field(default_factory=Trace)
    best: tuple[int, float] | None = None
    sample: tuple[int, str] | None = None
    said: list[Text] = field(default_factory=list)


def panel(view: View, console: Console, curves: Callable[[int, int], Text]) -> Text:
    """Return the panel for the size of this console: no more lines than it has rows, and none wider.

    curves  returns a chart of so many columns and rows
    """
    from rich.text import Text

    columns, rows = console.size
    roomy = rows >= _ROOMY
    gap = [Text()] if roomy else []
    tiles = _tiles(view.figures, columns, every=roomy)
    lines = [*_head(view, columns), *gap, *tiles, *gap]
    left = max(0, rows - len(lines))
    said = _said(view, console, columns, left // 6 if roomy else 0)
    left -= len(said)
    if columns >= _WIDE:
        right = columns // 3
        chart, sample = _rows(curves, columns - right - _GAP, left), _sample(view, console, right, left)
        lines += _beside(chart, sample, columns - right)
    else:
        below = left // 3 if left >= _CHART + 2 else 0
        lines += _rows(curves, columns, left - below) + _sample(view, console, columns, below)
    lines = [*lines, *said][:rows]
    for line in lines:
        line.truncate(columns, overflow="crop")
    return Text("\n", no_wrap=True, end="").join(lines)


def curves(view: View, columns: int, rows: int) -> Text:
    """Return the chart of both losses; the first few steps are left out."""
    first = _STEEP * view.step
    losses = [
        view.training.curve("training", TRAINING, first),
        view.validation.curve("validation", VALIDATION, first),
    ]
    marks = [Mark(*view.best, "★", BEST)] if view.best else []
    return chart(
        [curve for curve in losses if curve.x], width=columns, height=rows, x_label="steps", y_label="nats", marks=marks
    )


def _head(view: View, columns: int) -> list[Text]:
    """Return the title with the status at the other end, and the bar."""
    from rich.text import Text

    status = Text(view.status, "cyan")
    title = Text(printable(view.title), "bold")
    title.truncate(max(0, columns - len(status) - 2), overflow="ellipsis", pad=True)
    done = min(1.0, view.step / view.total)
    count = f"  {view.step:>{len(f'{view.total:,}')},}/{view.total:,} steps {done:4.0%}"
    length = max(0, columns - len(count))
    full = int(done * length)
    return [
        Text.assemble(title, "  ", status),
        Text.assemble(("━" * full, "green"), ("─" * (length - full), "dim"), count),
    ]


def _tiles(figures: dict[str, str], columns: int, *, every: bool) -> list[Text]:
    """Return the names of the figures with their values below; as many as fit side by side, or all."""
    from rich.text import Text

    count = max(1, columns // _TILE)
    names = [*figures]
    rows = [names[at : at + count] for at in range(0, len(names) if every else 1, count)]
    width = min(_WIDEST_TILE, columns // max(map(len, rows)))
    styles = {"training": f"bold {TRAINING}", "validation": f"bold {VALIDATION}", "best": f"bold {BEST}"}
    lines = []
    for row in rows:
        lines.append(Text("".join(f"{name:<{width}}" for name in row), "dim"))
        lines.append(Text.assemble(*((f"{figures[name]:<{width}}", styles.get(name, "bold")) for name in row)))
    return lines


def _rows(curves: Callable[[int, int], Text], columns: int, rows: int) -> list[Text]:
    """Return this many rows of curves; empty ones if there is no room."""
    from rich.text import Text

    lines = [*curves(columns, rows).split("\n")] if rows >= _CHART else []
    return [*lines, *(Text() for _ in range(rows))][:rows]


def _sample(view: View, console: Console, columns: int, rows: int) -> list[Text]:
    """Return this many rows of the newest sample, with a heading."""
    from rich.text import Text

    step, text = view.sample or (0, "")
    heading = f"sample after step {step:,} " if view.sample else "no sample yet "
    lines = [Text(heading + "─" * max(0, columns - len(heading)), "dim")]
    for line in text.expandtabs(4).split("\n"):
        lines += Text(printable(line)).wrap(console, columns, overflow="fold")
    return [*lines, *(Text() for _ in range(rows))][:rows]


def _said(view: View, console: Console, columns: int, rows: int) -> list[Text]:
    """Return the newest of what was said that fits into so many rows; the newest one may be cut off."""
    lines: list[Text] = []
    for text in reversed(view.said):
        more = [*text.wrap(console, columns)]
        if lines and len(lines) + len(more) > rows:
            break
        lines = more[:rows] + lines
    return lines


def _beside(left: list[Text], right: list[Text], columns: int) -> list[Text]:
    """Return two blocks of lines side by side; columns: where the right one begins."""
    for line in left:
        line.truncate(columns, pad=True)
    return [line.append_text(other) for line, other in zip(left, right, strict=True)]
