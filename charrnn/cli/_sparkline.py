"""A curve in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], columns: int = 24) -> str:
    """Return a block for each value, from the lowest "▁" to the highest "█"; of more values, as many as fit, evenly.

    The first and the last value are always among them.
    """
    last = len(values) - 1
    if last >= columns:
        values = [values[round(at * last / (columns - 1))] for at in range(columns)]
    low, high = min(values), max(values)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)


def is_printable(encoding: str | None) -> bool:
    """Return whether a stream of this encoding can show a sparkline."""
    try:
        _BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
