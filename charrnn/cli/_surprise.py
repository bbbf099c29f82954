"""A text whose characters are coloured by how much they surprise a model, or have digits under them where colours lack.

Each colour is a background with its own foreground, so that it can be read on dark and on light terminals, and spaces
have one too. They go from none over blue and orange to red, which people with any kind of colour vision can tell apart.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from charrnn.insight.reading import Reading

_EDGES = (2, 4, 6, 8)  # bits at which the levels above the lowest one begin
#: A style for each level, on terminals with 256 colours and with 8.
_STYLES: tuple[dict[str, Any], ...] = (
    {},
    {"bg": 110, "fg": 16},
    {"bg": 222, "fg": 16},
    {"bg": 208, "fg": 16},
    {"bg": 124, "fg": 231, "bold": True},
)
_FEW_STYLES: tuple[dict[str, Any], ...] = (
    {},
    {"bg": "cyan", "fg": "black"},
    {"bg": "yellow", "fg": "black"},
    {"bg": "magenta", "fg": "white"},
    {"bg": "red", "fg": "white", "bold": True},
)
_LINE_ENDS = {"\n": "\u21b5", "\u2404": "\u2404"}  # what is shown for them if they are surprising; the last one always
_TAB = 8  # columns
_SURPRISES = 20  # rows of the table of the greatest ones
_CONTEXT = 24  # characters of its line that are shown before each of them


def print_reading(reading: Reading, *, is_bytes: bool) -> None:
    """Print a text in colours, or with digits under it, and the greatest surprises if predictions are there."""
    from charrnn.cli._console import columns, note

    shown = cells(reading, is_bytes=is_bytes)
    color = click.get_current_context().color
    if sys.stdout.isatty() if color is None else color:
        painted = coloured(shown)
        click.echo(painted, nl=not painted.endswith("\n"))
        note(legend())
    else:
        click.echo(with_digits(shown, columns()))
        note("Digits: the bits of the character above, rounded down; a dot is less than 1, and 9 is 9 or more.")
    if reading.bits_per_char is not None:
        memory = ", with the model's memory" if "memory" in reading.looks else ""
        note(f"Mean: {reading.bits_per_char:.4f} bits per character over {reading.predicted:,} characters{memory}")
    if reading.top_ids.shape[1] and reading.predicted:
        click.echo()
        _print_surprises(reading, is_bytes)


def _print_surprises(reading: Reading, is_bytes: bool) -> None:
    """Print a row for each of the greatest surprises, in the order of the text."""
    from charrnn.cli._console import print_table
    from charrnn.data.vocab import describe_symbol

    def name(symbol: str) -> str:
        return _visible(symbol if len(symbol) > 1 else describe_symbol(symbol)["shown"], is_bytes)

    bits = reading.bits.tolist()
    greatest = sorted((t for t, own in enumerate(bits) if own == own), key=lambda t: -bits[t])[:_SURPRISES]
    rows = []
    for t in sorted(greatest):
        before = reading.text[:t]
        line = before.rpartition("\n")[2]
        guesses = "  ".join(f"{name(symbol)} {share:.0%}" for symbol, share in reading.expected(t))
        place = f"{before.count(chr(10)) + 1}:{len(line) + 1}"
        rows.append(
            (
                place,
                _visible(line, is_bytes)[-_CONTEXT:],
                name(reading.symbols[reading.ids[t]]),
                f"{bits[t]:.1f}",
                guesses,
            )
        )
    print_table(("Line:column", "Text", "Surprise", "Bits", "Expected instead"), rows, right=(0, 1, 3))


class Cell(NamedTuple):
    """What a character looks like on a terminal; `ends`: a line ends behind it."""

    shown: str
    bits: float
    ends: bool

    @property
    def level(self) -> int:
        """Return the number of edges that its bits reach; 0 for a character that nothing predicts."""
        return sum(self.bits >= edge for edge in _EDGES)


def cells(reading: Reading, *, is_bytes: bool) -> Iterator[Cell]:
    """Yield each character as a terminal can show it: visible, harmless, and a tab as wide as it is there."""
    from rich.cells import cell_len

    column = 0
    for char, bits in zip(reading.text, reading.bits.tolist(), strict=True):
        if char in _LINE_ENDS:
            shown = _LINE_ENDS[char] if bits >= _EDGES[0] or char != "\n" else ""
        elif char == "\t":
            shown = "\u2192".ljust(_TAB - column % _TAB)
        else:
            shown = _visible(char, is_bytes)
        yield Cell(shown, bits, char in _LINE_ENDS)
        column = 0 if char in _LINE_ENDS else column + cell_len(shown)


def _visible(text: str, is_bytes: bool) -> str:
    """Return a text with invisible characters escaped, and, of a model of bytes, those from 0x80 on."""
    from charrnn.cli._console import printable

    return "".join(f"\\x{ord(char):02x}" if is_bytes and char >= "\x80" else printable(char) for char in text)


def coloured(text: Iterable[Cell]) -> str:
    """Return the text with a background for each character that is surprising."""
    styles, parts = _styles(), []
    for (level, ends), run in groupby(text, lambda cell: (cell.level, cell.ends)):
        for shown in ["".join(cell.shown for cell in run)] if not ends else [cell.shown for cell in run]:
            parts.append((click.style(shown, **styles[level]) if level else shown) + "\n" * ends)
    return "".join(parts)


def with_digits(text: Iterable[Cell], width: int) -> str:
    """Return the text in lines of this many columns at most, with a line of digits under each: the bits."""
    from rich.cells import cell_len

    lines, above, below = list[str](), "", ""
    for cell in text:
        own = cell_len(cell.shown)
        if above and cell_len(above) + own > width:
            lines += [above, below.rstrip()]
            above = below = ""
        above += cell.shown
        below += _digit(cell.bits).ljust(own)[:own]
        if cell.ends:
            lines += [above, *[below.rstrip()] * bool(above)]
            above = below = ""
    return "\n".join([*lines, *([above, below.rstrip()] if above else [])])


def _digit(bits: float) -> str:
    return " " if math.isnan(bits) else "." if bits < 1 else str(min(9, int(bits)))


def legend() -> str:
    """Return what the colours mean."""
    bounds = [f"{low}\u2013{high}" for low, high in pairwise(_EDGES)]
    words = [f"under {_EDGES[0]}", *bounds, f"{_EDGES[-1]} or more"]
    shown = (click.style(f" {each} ", **style) for each, style in zip(words, _styles(), strict=True))
    return f"Bits: {''.join(shown)}"


def _styles() -> tuple[dict[str, Any], ...]:
    """Return the styles that the terminal can show."""
    many = "256" in os.environ.get("TERM", "") or os.environ.get("COLORTERM")
    return _STYLES if many else _FEW_STYLES
