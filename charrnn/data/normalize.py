"""The form of a text: Unicode normal forms and lower case, piece by piece."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache


def in_form(text: str, normalize: str, lowercase: bool) -> str:
    """Return the text in a normal form of Unicode, or as it is for "none", and in lower case.

    A capital sigma always becomes σ: whether a word ends behind it may not depend on where a piece does.
    """
    if normalize != "none":
        text = unicodedata.normalize(normalize, text)  # type: ignore[arg-type,unused-ignore]
    if lowercase:
        text = text.replace("Σ", "σ").lower()
        return in_form(text, normalize, False)  # of which lower case may have made another form
    return text


def formed(pieces: Iterable[str], normalize: str, lowercase: bool) -> Iterator[str]:
    """Yield the pieces as `in_form` makes them one whole; cut where no character joins with those before."""
    if normalize == "none":
        yield from (in_form(piece, normalize, lowercase) for piece in pieces)
        return
    waiting: list[str] = []  # characters that the next ones may join with
    for piece in pieces:
        cut = next((at for at in range(len(piece) - 1, -1, -1) if _begins_anew(piece[at])), None)
        if cut is None:
            waiting.append(piece)
        else:
            yield in_form("".join([*waiting, piece[:cut]]), normalize, lowercase)
            waiting = [piece[cut:]]
    yield in_form("".join(waiting), normalize, lowercase)


def _begins_anew(char: str) -> bool:
    """Return whether no normal form joins this character with what stands before it."""
    first = unicodedata.normalize("NFKD", char)[0]
    return not unicodedata.combining(first) and first not in _joining()


@lru_cache(1)
def _joining() -> frozenset[str]:
    """Return the characters that may be the second of two that become one."""
    pairs = (unicodedata.decomposition(chr(point)).split() for point in range(0x80, sys.maxunicode + 1))
    seconds = (chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<"))
    return frozenset(seconds).union(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))  # Hangul's parts
