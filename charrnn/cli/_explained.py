"""Texts whose characters are coloured by how much they speak for the label, or against it. Imports no NumPy."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from charrnn.cli._scored import Printer

if TYPE_CHECKING:
    from charrnn.classification.explanation import Explanation
    from charrnn.cli._predictor import Opened
    from charrnn.data.items import Item

_BLOCK = 1 << 12  # characters of lines that are explained together: each line is read as often as it has characters
_EDGES = (0.2, 0.5, 0.8)  # of the text's greatest contribution, at which the levels begin
#: A style for each level, for and against, on terminals with 256 colours and with 8: blue and orange, which people with
#: any kind of colour vision can tell apart.
_STYLES: dict[bool, tuple[dict[str, Any], ...]] = {
    True: ({"bg": 153, "fg": 16}, {"bg": 75, "fg": 16}, {"bg": 25, "fg": 231, "bold": True}),
    False: ({"bg": 223, "fg": 16}, {"bg": 215, "fg": 16}, {"bg": 166, "fg": 231, "bold": True}),
}
_FEW_STYLES: dict[bool, tuple[dict[str, Any], ...]] = {
    True: (*[{"bg": "cyan", "fg": "black"}] * 2, {"bg": "blue", "fg": "white", "bold": True}),
    False: (*[{"bg": "yellow", "fg": "black"}] * 2, {"bg": "red", "fg": "white", "bold": True}),
}


class _Row(NamedTuple):
    """An item, and what moved the decision about it."""

    item: Item
    own: Explanation


def print_explanations(
    opened: Opened, pieces: Iterable[list[Item]], *, threads: int | None, as_json: bool, at_once: bool
) -> None:
    """Print the label of each line and what each character of the line contributed to it, in colours or as numbers.

    at_once: print each line before the next one is taken
    """
    from charrnn.classification.explanation import explain_blocks
    from charrnn.cli._console import note
    from charrnn.data.decoding import line_encoding
    from charrnn.data.items import text_reader
    from charrnn.evaluation.scoring import in_blocks
    from charrnn.evaluation.several import read_by_all

    used = opened.checkpoint.text_config.encoding
    read, out, coloured = text_reader(used, opened.checkpoint.vocab), sys.stdout.buffer, in_colour() and not as_json
    columns = [*["line"] * as_json, "label", "probability", "contributions", *["text"] * as_json]
    paths = ["item.line" if name == "line" else f"own.{name}" for name in columns]
    printer = Printer[_Row](columns, attrgetter(*paths), False, as_json, line_encoding(used))
    blocks = pieces if at_once else in_blocks(chain.from_iterable(pieces), _BLOCK, chars=lambda item: len(item.text))
    items, texts = read_by_all(blocks, 2)
    beginnings = ([read(item.text)[: opened.max_chars] for item in block] for block in texts)
    for explained in explain_blocks(opened.predictor, beginnings, threads=threads):
        for row in map(_Row, next(items), explained):
            out.write(_in_colours(row.own) if coloured else printer.show(row))
        if at_once:
            out.flush()
    if coloured:
        note(legend())


def explain_lines(model_path: str | None, texts: tuple[str, ...], *, as_json: bool) -> None:
    """Print what moved a classifier's decision about each line of the texts, or of standard input."""
    from charrnn.cli._lines import open_items
    from charrnn.cli._predictor import open_predictor

    opened = open_predictor(model_path, ())
    encoding, any_kind = opened.checkpoint.text_config.encoding, opened.checkpoint.vocab.kind == "bytes"
    _, pieces = open_items(texts, None, encoding, follow=False, any_kind=any_kind).open()
    print_explanations(opened, pieces, threads=None, as_json=as_json, at_once=False)


def _in_colours(own: Explanation) -> bytes:
    """Return a line for a terminal."""
    probability = "" if own.probability is None else f"{own.probability:.6f}"
    return f"{own.label or ''}\t{probability}\t{painted(own.text, own.contributions)}\n".encode("utf-8", "replace")


def in_colour() -> bool:
    """Return whether characters are coloured: on terminals, or as `--color` says."""
    color = click.get_current_context().color
    return sys.stdout.isatty() if color is None else color


def painted(text: str, contributions: Sequence[float]) -> str:
    """Return a text with a background for each character that moved the decision."""
    from charrnn.cli._console import printable

    styles, parts, greatest = _styles(), [], max(map(abs, contributions), default=0.0)
    levels = [sum(abs(own) >= edge * greatest > 0 for edge in _EDGES) for own in contributions]
    cells = zip(levels, contributions, text, strict=True)
    for (level, speaks_for), run in groupby(cells, lambda cell: (cell[0], cell[1] > 0)):
        shown = printable("".join(char for *_, char in run))
        parts.append(click.style(shown, **styles[speaks_for][level - 1]) if level else shown)
    return "".join(parts)


def legend() -> str:
    """Return what the colours mean."""
    shown = [
        "".join(click.style(f" {edge:.0%} ", **style) for edge, style in zip(_EDGES, own, strict=True))
        for own in _styles().values()
    ]
    return f"Share of the text's greatest contribution, or more: for the label {shown[0]}, against it {shown[1]}"


def _styles() -> dict[bool, tuple[dict[str, Any], ...]]:
    """Return the styles that the terminal can show."""
    many = "256" in os.environ.get("TERM", "") or os.environ.get("COLORTERM")
    return _STYLES if many else _FEW_STYLES
