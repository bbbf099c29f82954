"""Lines of bytes: from files and standard input in bounded memory, and from a file that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from charrnn.data.files import CHUNK, chunks, files_of, inputs_of, is_packed, refusing
from charrnn.errors import CorpusError

_PAUSE = 0.2  # seconds between two looks at a file that grows


def read_lines(paths: Sequence[str]) -> Iterator[list[bytes]]:
    """Yield the lines of files and standard input, without their ends, as many at a time as there are to be read.

    The last line of each needs no end.
    Raises:  CorpusError as `inputs.files_of` and `inputs.inputs_of` do.
    """
    for path in files_of(paths):
        for source in inputs_of(path, lambda read: None):
            yield from _lines(source.data)


def follow_lines(path: str) -> Iterator[list[bytes]]:
    """Yield the lines of a file likewise, and those that are written to it from then on, without end.

    A file that is cut short, or replaced by another, is read from its beginning. A last line without an end is waited
    for; where its file is cut short or replaced, it is a line.
    Raises:  CorpusError where there is no such file, or it is compressed.
    """
    if is_packed(path):
        raise CorpusError(f"{path} is compressed, and cannot be followed: unpack it first")
    if os.path.exists(path) and not os.path.isfile(path):
        raise CorpusError(f"{path} is no file that grows: name one")
    return _lines(_growing(path))


def _lines(data: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines that are whole with each piece of the data."""
    begun: list[bytes] = []  # pieces of a line whose end is still to come
    for piece in data:
        first, *more = piece.split(b"\n")
        begun.append(first)
        if more:
            *whole, rest = more
            yield [b"".join(begun), *whole]
            begun = [rest]
    if last := b"".join(begun):
        yield [last]


def _growing(path: str) -> Iterator[bytes]:
    """Yield the bytes of a file as it grows, and a line end where one is lacking when another file takes its place."""
    with refusing(path):
        file: BinaryIO = open(path, "rb")
    ended = True
    try:
        while True:
            successor = _successor(path, file)  # before the rest is read, so that nothing is missed
            for data in chunks(path, file.read, CHUNK):
                yield data
                ended = data.endswith(b"\n")
            if successor is None:
                time.sleep(_PAUSE)
                continue
            if not ended:
                yield b"\n"
            file.close()
            file, ended = successor, True
    finally:
        file.close()


def _successor(path: str, file: BinaryIO) -> BinaryIO | None:
    """Return the file anew where it was cut short or another is in its place, else None."""
    with suppress(OSError):  # it was taken away, and another may come
        found = os.stat(path)
        if not os.path.samestat(found, os.fstat(file.fileno())) or found.st_size < file.tell():
            return open(path, "rb")
    return None
