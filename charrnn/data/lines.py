r"""Lines: where they end, for all of charrnn; and lines of bytes from files, standard input or a growing file.

A line ends with \n, \r\n or a single \r, as in Python's universal newlines. Other characters that Unicode counts as
line breaks, such as \f and U+2028, are part of a line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from io import StringIO
from typing import AnyStr, BinaryIO

from charrnn.data.files import CHUNK, is_packed, list_files, open_inputs, read_chunks, refusing
from charrnn.data.kinds import texts_only
from charrnn.errors import CorpusError

LINE_END = "(?>\r\n|\r|\n)"  # a regular expression
_PAUSE = 0.2  # seconds between two checks of a file that grows


def replace_line_ends(text: str, by: str) -> str:
    """Return the text with each line end replaced."""
    return text.replace("\r\n", by).replace("\r", by).replace("\n", by)


def split_lines(text: str) -> list[str]:
    """Return the lines of a text without their ends; the last line needs none."""
    return replace_line_ends(text, "\n").removesuffix("\n").split("\n") if text else []


def complete_lines(pieces: Iterable[str]) -> Iterator[list[str]]:
    """Yield the lines, with their ends, that each piece of a text completes."""
    return _complete_lines(pieces, lambda text: [*StringIO(text, newline="")], "\r", "\n")


def read_lines(paths: Sequence[str], *, any_kind: bool = False) -> Iterator[list[bytes]]:
    """Yield the lines of files and standard input without their ends, as many at a time as have arrived.

    The last line of each file needs no end. Lines that end with `\\r\\n` keep the `\\r`, so that they can be written as
    they were; `strip_line` drops it.
    any_kind: read pictures, programs and the like too
    Raises:   CorpusError if a file cannot be read, or is not a text.
    """
    for path in list_files(paths):
        for source in open_inputs(path, lambda read: None):
            yield from _split_lines(source.data if any_kind else texts_only(source.name, source.data))


def follow_lines(path: str) -> Iterator[list[bytes]]:
    """Yield the lines of a file, and then each line that is written to it, without end.

    If the file is truncated or replaced, it is read from its beginning. Only then is a last line without an end
    yielded: until then, more of it may be written.
    Raises:  CorpusError if there is no such file, or it is compressed.
    """
    if is_packed(path):
        raise CorpusError(f"{path} is compressed and cannot be followed: unpack it first")
    if os.path.exists(path) and not os.path.isfile(path):
        raise CorpusError(f"{path} is not a file that can grow: name one")
    return _split_lines(_read_growing(path))


def _split_lines(data: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines that each piece of the data completes, without the last character of their ends."""
    for lines in _complete_lines(data, lambda piece: piece.splitlines(True), b"\r", b"\n"):
        yield [line[:-1] if line.endswith((b"\n", b"\r")) else line for line in lines]


def _complete_lines(
    pieces: Iterable[AnyStr], split: Callable[[AnyStr], list[AnyStr]], carriage_return: AnyStr, newline: AnyStr
) -> Iterator[list[AnyStr]]:
    """Yield the lines, with their ends, that each piece completes; the last line needs no end.

    split: returns the lines of a piece, with their ends
    """
    held = nothing = newline[:0]  # a \r at the end of a piece, which \n may follow
    waiting: list[AnyStr] = []  # the beginning of a line whose end has not come
    for piece in pieces:
        piece, held = held + piece, nothing
        if piece.endswith(carriage_return):
            piece, held = piece[:-1], carriage_return
        if not (lines := split(piece)):
            continue
        rest = nothing if lines[-1].endswith((newline, carriage_return)) else lines.pop()
        if lines:
            waiting.append(lines[0])
            lines[0] = nothing.join(waiting)
            yield lines
            waiting.clear()
        waiting.append(rest)
    waiting.append(held)
    if last := nothing.join(waiting):
        yield [last]


def _read_growing(path: str) -> Iterator[bytes]:
    """Yield the bytes of a file as it grows; end its last line when another file takes its place."""
    with refusing(path):
        file: BinaryIO = open(path, "rb")
    line_ended = True
    try:
        while True:
            successor = _successor(path, file)  # before the rest is read, so that nothing written in between is lost
            for data in read_chunks(path, file.read, CHUNK):
                yield data
                line_ended = data.endswith((b"\n", b"\r"))
            if successor is None:
                time.sleep(_PAUSE)
                continue
            if not line_ended:
                yield b"\n"
            file.close()
            file, line_ended = successor, True
    finally:
        file.close()


def _successor(path: str, file: BinaryIO) -> BinaryIO | None:
    """Open the path again if the file was cut short or replaced, else return None."""
    with suppress(OSError):  # the path may be missing until a new file comes
        stat = os.stat(path)
        if not os.path.samestat(stat, os.fstat(file.fileno())) or stat.st_size < file.tell():
            return open(path, "rb")
    return None
