"""Split a text into documents, piece by piece: at line ends, blank lines or a separator.

A mark, END, comes before the first document, between documents and after the last: END one END two END. A model learns
to predict each character from the one before. So it predicts a document's first character from a mark, and another
mark after the last character.

Documents of only white space are left out, and so are blank lines around a separator. Texts that were learned by
charrnn 0.2.0 or earlier keep its rules (`TextConfig.document_rules` 1), or their runs could not be resumed: blank lines
hold only spaces and tabs, only empty documents are left out, and a separator is all that is removed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from itertools import chain

from charrnn.config import TextConfig
from charrnn.data.escapes import unescaped
from charrnn.data.lines import LINE_END, replace_line_ends
from charrnn.data.text import END


def split_documents(pieces: Iterable[str], config: TextConfig) -> Iterator[str]:
    """Yield the text of one file with marks around its documents; empty documents leave several marks in a row."""
    yield END
    if config.separator is not None:
        yield from _split_at_separator(pieces, config)
    elif config.split_documents == "lines":
        yield from (replace_line_ends(piece, END) for piece in pieces)
    elif config.split_documents == "blank-lines":
        yield from _split_at_blank_lines(pieces, _blanks(config))
    else:  # the file is one document
        yield from pieces
    yield END


def drop_empty_documents(pieces: Iterable[str], config: TextConfig) -> Iterator[str]:
    """Yield the text without documents that are empty or white space, so that no two marks follow one another."""
    dropped = END if config.document_rules == 1 else END + "\r\n" + _blanks(config)
    return _change(pieces, dropped, partial(re.compile(f"{END}[{dropped}]*{END}").sub, END))


def _blanks(config: TextConfig) -> str:
    """Return the characters that a blank line may have beside its end; bytes above 127 are no characters."""
    if config.document_rules == 1:
        return " \t"
    return " \t\v\f" if config.bytes else _white_space()


@lru_cache(1)
def _white_space() -> str:
    """Return all characters of white space but those of line ends."""
    return "".join(char for char in map(chr, range(sys.maxunicode + 1)) if char.isspace() and char not in "\r\n")


def _change(pieces: Iterable[str], run: str, change: Callable[[str], str]) -> Iterator[str]:
    """Yield the changed text, wherever the pieces end: it is cut only after a character that is not one of `run`."""
    waiting: list[str] = []
    for piece in pieces:
        if text := piece.rstrip(run):
            yield change("".join([*waiting, text]))
            waiting.clear()
        waiting.append(piece[len(text) :])
    yield change("".join(waiting))


def _split_at_blank_lines(pieces: Iterable[str], blanks: str) -> Iterator[str]:
    """Replace blank lines by marks; the text is split as if blank lines came before and after it."""
    blank_lines = re.compile(f"{LINE_END}(?:[{blanks}]*{LINE_END})+")
    return _change(chain(["\n\n"], pieces, ["\n\n"]), f"\r\n{blanks}", partial(blank_lines.sub, END))


def _split_at_separator(pieces: Iterable[str], config: TextConfig) -> Iterator[str]:
    separator = unescaped(config.separator or "")
    if config.bytes:
        separator = separator.encode("utf-8", "surrogatepass").decode("latin-1")
    marked = _replace(separator, pieces)
    if config.document_rules == 1:
        return marked
    blanks = _blanks(config)
    return _change(
        chain([END], marked, [END]), f"{END}\r\n{blanks}", partial(_drop_blank_lines_at_marks, blanks=blanks)
    )


def _replace(separator: str, pieces: Iterable[str]) -> Iterator[str]:
    """Replace a separator by marks."""
    waiting, overlap = "", len(separator) - 1  # the last characters may begin a separator
    for piece in pieces:
        *documents, last = (waiting + piece).split(separator)
        cut = max(0, len(last) - overlap)
        yield END.join([*documents, last[:cut]])
        waiting = last[cut:]
    yield waiting


def _drop_blank_lines_at_marks(text: str, blanks: str) -> str:
    """Return the text without the blank lines before and after marks, and without the line ends next to marks."""
    first, *documents = text.split(END)
    if not documents:
        return text
    *complete, last = (_without_blank_start(document, blanks) for document in documents)
    return END.join([*(_without_blank_end(document, blanks) for document in (first, *complete)), last])


def _without_blank_start(text: str, blanks: str) -> str:
    space = text[: len(text) - len(text.lstrip(f"\r\n{blanks}"))]
    return text[len(space.rstrip(blanks)) :]


def _without_blank_end(text: str, blanks: str) -> str:
    space = text[len(text.rstrip(f"\r\n{blanks}")) :]
    return text[: len(text) - len(space.lstrip(blanks))]
