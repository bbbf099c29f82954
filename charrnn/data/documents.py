"""Documents: a text parted at lines, blank lines or separators, piece by piece.

Documents stand one after the other with a mark, END, before, between and behind them: END one END two END. What is
learned are the pairs of a symbol and its successor, so the mark is the start that a document's first character is
predicted from, and the end that is predicted behind its last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from charrnn.data.text import END

_BLANKS = " \t\r\n"
_BLANK_LINES = re.compile("(?>\r\n|\r|\n)(?:[ \t]*(?>\r\n|\r|\n))+")


def parted(pieces: Iterable[str], way: str) -> Iterator[str]:
    """Yield one file's text with marks before and behind it, and in the place of what parts it; some twice.

    way: lines, blank-lines, files, or a separator
    """
    yield END
    if way == "lines":
        yield from (piece.replace("\r\n", "\n").replace("\r", "\n").replace("\n", END) for piece in pieces)
    elif way == "blank-lines":
        yield from _at_blank_lines(pieces)
    elif way == "files":
        yield from pieces
    else:
        yield from _at_separators(pieces, way)
    yield END


def _at_blank_lines(pieces: Iterable[str]) -> Iterator[str]:
    waiting = ["\n\n"]  # blanks, joined once when the text behind them is known: as if the text began with blank lines
    for piece in pieces:
        if text := piece.rstrip(_BLANKS):
            yield _BLANK_LINES.sub(END, "".join([*waiting, text]))
            waiting.clear()
        waiting.append(piece[len(text) :])
    yield _BLANK_LINES.sub(END, "".join([*waiting, "\n\n"]))


def _at_separators(pieces: Iterable[str], separator: str) -> Iterator[str]:
    pending, more = "", len(separator) - 1  # characters that may be the beginning of a separator
    for piece in pieces:
        *documents, last = (pending + piece).split(separator)
        kept = max(0, len(last) - more)
        yield END.join([*documents, last[:kept]])
        pending = last[kept:]
    yield pending


def marked(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces with one mark in the place of several in a row, so that no document is empty."""
    ended = False
    for piece in pieces:
        piece = re.sub(f"{END}{{2,}}", END, piece)
        if ended:
            piece = piece.removeprefix(END)
        if piece:
            ended = piece[-1] == END
            yield piece
