"""Bring text into a Unicode normal form or into lower case, piece by piece."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache


def normalize_text(text: str, form: str, lowercase: bool) -> str:
    """Return the text in a normal form of Unicode ("none" keeps it unchanged), and in lower case if asked.

    A capital sigma always becomes σ, never the ς at the end of a word: a piece may end inside a word.
    """
    if form != "none":
        text = unicodedata.normalize(form, text)  # type: ignore[arg-type,unused-ignore]
    if lowercase:
        text = text.replace("Σ", "σ").lower()
        return normalize_text(text, form, False)  # lower case can leave the normal form
    return text


def normalize_pieces(pieces: Iterable[str], form: str, lowercase: bool) -> Iterator[str]:
    """Yield the text of the pieces as `normalize_text` returns it for the whole.

    The text is cut only before characters that no normal form joins with those before them.
    """
    if form == "none":
        yield from (normalize_text(piece, form, lowercase) for piece in pieces)
        return
    waiting: list[str] = []  # the next piece may begin with characters that join with these
    for piece in pieces:
        cut = next((at for at in range(len(piece) - 1, -1, -1) if _never_joins(piece[at])), None)
        if cut is None:
            waiting.append(piece)
        else:
            yield normalize_text("".join([*waiting, piece[:cut]]), form, lowercase)
            waiting = [piece[cut:]]
    yield normalize_text("".join(waiting), form, lowercase)


def _never_joins(char: str) -> bool:
    """Return whether no normal form joins this character with those before it."""
    first = unicodedata.normalize("NFKD", char)[0]
    return not unicodedata.combining(first) and first not in _second_characters()


@lru_cache(1)
def _second_characters() -> frozenset[str]:
    """Return all characters that can be the second of two that become one."""
    pairs = (unicodedata.decomposition(chr(point)).split() for point in range(0x80, sys.maxunicode + 1))
    seconds = (chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<"))
    hangul = map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)])  # vowels and final consonants
    return frozenset(seconds).union(hangul)
