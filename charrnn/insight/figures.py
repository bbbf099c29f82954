"""Figures by matplotlib: made without a display, saved as a file, or put into a page as SVG that follows its theme."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import ConfigError, MissingExtraError
from charrnn.system.atomic import output_file, replacing

if TYPE_CHECKING:  # under these names also for the modules that draw
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure

#: Colours that people with any kind of colour vision can tell apart, on light and dark paper (Okabe & Ito 2008).
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
FORMATS = ("png", "svg", "pdf")
#: What a page draws in its own colours: black becomes that of its text, white that of its paper.
_THEME = {"#000000": "var(--ink)", "#ffffff": "transparent"}
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "charrnn",  # the same figure is the same bytes
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": f"cycler('color', {list(COLORS)})",
}


def figure(width: float = 6.4, height: float = 3.6) -> tuple[Figure, Axes]:
    """Return an empty figure of this size in inches, and its axes.

    Raises:  MissingExtraError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("a picture", "matplotlib", "plot") from None
    with _style():
        made = Figure(figsize=(width, height), layout="constrained")
        return made, made.subplots()


@contextmanager
def _style() -> Iterator[None]:
    """Draw in our style; a character that the font lacks becomes a box, without a warning."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def plain(value: float, _: float = 0) -> str:
    """Return the label of a tick at this number: a whole one with commas, and none as a power of ten."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:g}"


def save(made: Figure, path: Path) -> None:
    """Write a figure to a file, whose ending chooses the format.

    Raises:  ConfigError for an ending other than those of `FORMATS`, and as `output_file` does; CharRNNError if the
             system refuses.
    """
    kind, target = check_name(path)
    with _style(), replacing(target) as file:
        made.savefig(file, format=kind, dpi=150, metadata={"CreationDate" if kind == "pdf" else "Date": None})


def check_name(path: Path) -> tuple[str, Path]:
    """Return the format of a picture and the file to write.

    Raises:  ConfigError as `save` does.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise ConfigError(f"{path}: a picture is {', '.join(f'.{each}' for each in FORMATS)}: end the name in one")
    return kind, output_file(path)


def inline_svg(made: Figure) -> str:
    """Return a figure as an SVG element for a page, with the page's font and its colours of text and paper."""
    text = io.StringIO()
    with _style():
        made.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub("|".join(_THEME), lambda found: _THEME[found[0]], svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"(/?)>', r"<g\1>", svg)  # a page may have several figures
    return re.sub(  # as wide as its place, and its text, which has no colour of its own, in that of the page
        r'^<svg ([^>]*?)width="[^"]*" height="[^"]*"', r'<svg \1fill="var(--ink)"', svg
    )
