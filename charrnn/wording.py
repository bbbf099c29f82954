"""Words for messages: the limit that a number breaks, names as a list in a sentence, the names nearest to a typo."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def broken_limit(
    number: float, low: float | None, high: float | None, *, open_low: bool = False, open_high: bool = False
) -> str | None:
    """Return in words what a number must be, if it is not finite or breaks a limit; else None.

    open_low, open_high: the limit itself is not allowed
    """
    if number != number or abs(number) == math.inf:
        return "a finite number"
    if low is not None and (number <= low if open_low else number < low):
        return f"greater than {_plain(low)}" if open_low else f"at least {_plain(low)}"
    if high is not None and (number >= high if open_high else number > high):
        return f"less than {_plain(high)}" if open_high else f"at most {_plain(high)}"
    return None


def _plain(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def in_words(names: Sequence[str], last: str) -> str:
    """Return names as a list in a sentence; `last`, such as "or", joins the last two."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def nearest(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the known names that are spelled most like this one, the nearest first."""
    from difflib import get_close_matches  # it loads slowly, and only errors need it

    return get_close_matches(word, list(known), most, cutoff=0.6)
