"""Read lines of bytes from files and standard input, or from a file that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO

from charrnn.data.files import CHUNK, is_packed, list_files, open_inputs, read_chunks, refusing
from charrnn.errors import CorpusError

_PAUSE = 0.2  # seconds between two checks of a file that grows


def read_lines(paths: Sequence[str]) -> Iterator[list[bytes]]:
    """Yield the lines of files and standard input without their ends, as many at a time as have arrived.

    The last line of each file needs no end.
    Raises:  CorpusError if a file cannot be read.
    """
    for path in list_files(paths):
        for source in open_inputs(path, lambda read: None):
            yield from _split_lines(source.data)


def follow_lines(path: str) -> Iterator[list[bytes]]:
    """Yield the lines of a file, and then each line that is written to it, without end.

    If the file is cut short or replaced, it is read from its beginning. A last line without an end is yielded only
    then; until then, more of it may be written.
    Raises:  CorpusError if there is no such file, or it is compressed.
    """
    if is_packed(path):
        raise CorpusError(f"{path} is compressed, and cannot be followed: unpack it first")
    if os.path.exists(path) and not os.path.isfile(path):
        raise CorpusError(f"{path} is no file that grows: name one")
    return _split_lines(_read_growing(path))


def _split_lines(data: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the lines that each piece of the data completes."""
    waiting: list[bytes] = []  # the beginning of a line whose end has not come
    for piece in data:
        first, *more = piece.split(b"\n")
        waiting.append(first)
        if more:
            *complete, rest = more
            yield [b"".join(waiting), *complete]
            waiting = [rest]
    if last := b"".join(waiting):
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
                line_ended = data.endswith(b"\n")
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
