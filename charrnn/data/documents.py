"""Split a text into documents, piece by piece: at line ends, blank lines or a separator.

A mark, END, comes before the first document, between documents and after the last: END one END two END. A model learns
to predict each character from the one before. So it predicts a document's first character from a mark, and another
mark after the last character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from charrnn.data.text import END

_BLANKS = " \t\r\n"
_BLANK_LINES = re.compile("(?>\r\n|\r|\n)(?:[ \t]*(?>\r\n|\r|\n))+")
_MARKS = re.compile(f"{END}{{2,}}")


def split_documents(pieces: Iterable[str], separator: str) -> Iterator[str]:
    """Yield the text of one file with marks around its documents; empty documents leave several marks in a row.

    separator: "lines", "blank-lines", "files" (the file is one document), or the text between documents
    """
    yield END
    if separator == "lines":
        yield from (piece.replace("\r\n", "\n").replace("\r", "\n").replace("\n", END) for piece in pieces)
    elif separator == "blank-lines":
        yield from _split_at_blank_lines(pieces)
    elif separator == "files":
        yield from pieces
    else:
        yield from _split_at(separator, pieces)
    yield END


def drop_empty_documents(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces with one mark in place of several in a row."""
    ends_with_mark = False
    for piece in pieces:
        piece = _MARKS.sub(END, piece)
        if ends_with_mark:
            piece = piece.removeprefix(END)
        if piece:
            ends_with_mark = piece[-1] == END
            yield piece


def _split_at_blank_lines(pieces: Iterable[str]) -> Iterator[str]:
    waiting = ["\n\n"]  # blanks before the next character; the text is split as if blank lines came before and after it
    for piece in pieces:
        if text := piece.rstrip(_BLANKS):
            yield _BLANK_LINES.sub(END, "".join([*waiting, text]))
            waiting.clear()
        waiting.append(piece[len(text) :])
    yield _BLANK_LINES.sub(END, "".join([*waiting, "\n\n"]))


def _split_at(separator: str, pieces: Iterable[str]) -> Iterator[str]:
    waiting, overlap = "", len(separator) - 1  # the last characters may begin a separator
    for piece in pieces:
        *documents, last = (waiting + piece).split(separator)
        cut = max(0, len(last) - overlap)
        yield END.join([*documents, last[:cut]])
        waiting = last[cut:]
    yield waiting
