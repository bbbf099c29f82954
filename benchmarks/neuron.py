"""Draw a text whose characters are coloured by the activation of one unit, as docs/neuron.svg shows it.

    python -m benchmarks.neuron checkpoints/alice layer0.c[25] alice29.txt docs/neuron.svg

The model reads the test split of the text, the last tenth, from its beginning. The picture has lines from the middle of
it. A cell c is shown as tanh(c), which is what leaves the cell.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
from matplotlib import rc_context

import charrnn
from charrnn.arrays import Array
from charrnn.data.corpus import split_characters
from charrnn.data.text import Text
from charrnn.insight.figures import figure

UNIT = re.compile(r"layer(\d+)\.([hc])\[(\d+)\]")
LINES = 12
SIZE = 9  # of the letters, in points
ADVANCE, HEIGHT = 0.602 * SIZE / 72, 1.55 * SIZE / 72  # of a letter of DejaVu Sans Mono, in inches


def activation(model: charrnn.LanguageModel, unit: str, text: str) -> Array:
    """Return the activation of a unit after each character of a text (T,), between -1 and 1."""
    if not (found := UNIT.fullmatch(unit)):
        raise click.BadParameter(f"{unit} is no output or cell: give one such as layer0.c[25]")
    layer, state, number = int(found[1]), "hc".index(found[2]), int(found[3])
    values = model.read(text).states[:, layer, state, number]
    return np.tanh(values) if state else values


def middle(text: str, lines: int = LINES) -> slice:
    """Return where this many lines in the middle of a text are; the first of them begins a paragraph."""
    begin = text.index("\n\n", len(text) // 2) + 2
    end = begin
    for _ in range(lines):
        end = text.index("\n", end) + 1
    return slice(begin, end)


def grid(text: str, values: Array) -> Array:
    """Return the values as lines of characters, NaN behind the end of a line."""
    lines = text.splitlines(keepends=True)
    found = np.full((len(lines), max(map(len, lines))), np.nan)
    at = 0
    for row, line in zip(found, lines, strict=True):
        row[: len(line)] = values[at : at + len(line)]
        at += len(line)
    return found


def draw(text: str, values: Array, unit: str, path: Path) -> None:
    """Write the picture of a text, coloured by values (T,) between -1 and 1."""
    colours = grid(text, values)
    rows, columns = colours.shape
    made, axes = figure(columns * ADVANCE, (rows + 1.2) * HEIGHT)
    made.set_layout_engine("none")
    axes.set_position((0, 0, 1, rows / (rows + 1.2)))
    axes.imshow(colours, cmap="RdBu_r", vmin=-1.6, vmax=1.6, aspect="auto", interpolation="nearest")  # no dark colours
    for row, line in enumerate(text.splitlines()):
        axes.text(-0.5, row, line, family="DejaVu Sans Mono", size=SIZE, va="center_baseline", parse_math=False)
    axes.set_title(f" {unit}: blue -1, red 1", size=SIZE, loc="left", pad=3)
    axes.axis("off")
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "charrnn"}):  # the same on every reader's machine
        made.savefig(path, format="svg", metadata={"Date": None})


@click.command(help=__doc__)
@click.argument("model")
@click.argument("unit")
@click.argument("text", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def main(model: str, unit: str, text: Path, path: Path) -> None:
    """Read the test split and write the picture."""
    held_out = str(split_characters(Text.of(text.read_text(encoding="utf-8")), 0.1, 0.1)[2])
    shown = middle(held_out)
    values = activation(charrnn.load(model), unit, held_out[: shown.stop])
    draw(held_out[shown], values[shown], unit, path)


if __name__ == "__main__":
    main()
