"""The corpus: text read from files or standard input, untouched, and parted into training, validation and test."""

from __future__ import annotations

import codecs
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from charrnn import cache
from charrnn.config import STDIN
from charrnn.errors import CorpusError
from charrnn.text import CHUNK, Text

#: Bytes from which on texts go through the cache: below, reading takes a fifth of a second and memory has room.
CACHED_FROM = 32 << 20

#: What is called while a text is put into the cache, with the bytes that have been read and those there are.
Reading = Callable[[int, int], object]


@dataclass(frozen=True)
class Source:
    """Where a text came from, and the SHA-256 of its bytes; `path` is None for a text that was passed in."""

    path: str | None
    sha256: str


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text in three parts, with the sources by which it can be found and recognised again.

    val         what models are chosen on; may be empty
    test        what nothing is chosen on; may be empty
    val_source  the file of the validation text, or None where it is a part of the corpus itself
    """

    train: Text
    val: Text
    test: Text
    source: Source
    val_source: Source | None = None

    @property
    def name(self) -> str:
        """Return the name of the corpus: its file's, without folder and suffix."""
        return self.name_of(self.source.path)

    @staticmethod
    def name_of(path: str | None) -> str:
        """Return the name of a corpus at this path."""
        return "text" if path is None else "stdin" if path == STDIN else Path(path).stem

    @classmethod
    def from_text(cls, text: str | Text, val_fraction: float = 0.1, test_fraction: float = 0.0) -> Corpus:
        """Return the corpus of a text at hand, parted as `split` does."""
        text = Text.of(text)
        return cls(*split(text, val_fraction, test_fraction), Source(None, text.sha256))

    @classmethod
    def read(
        cls,
        path: str,
        val_fraction: float = 0.1,
        val_path: str | None = None,
        test_fraction: float = 0.0,
        *,
        reading: Reading | None = None,
    ) -> Corpus:
        """Return the corpus in a file ("-": standard input), with the validation part from its end or another file.

        reading: as for `read_text`
        Raises:  CorpusError where a text cannot be read or has less than two characters, or all are the same.
        """
        text = read_text(path, reading=reading)
        if len(text) < 2:
            raise CorpusError(f"{describe(path)} has one character: there is nothing to predict; give a longer text")
        if len(text.symbols) < 2:
            raise CorpusError(f"{describe(path)} repeats the one character {text.symbols!r}: there is nothing to learn")
        source = Source(path, text.sha256)
        if val_path is None:
            return cls(*split(text, val_fraction, test_fraction), source)
        val = read_text(val_path, reading=reading)
        train, _, test = split(text, 0.0, test_fraction)
        return cls(train, val, test, source, Source(val_path, val.sha256))


def split(text: Text, val_fraction: float, test_fraction: float = 0.0) -> tuple[Text, Text, Text]:
    """Return the first floor((1 - val_fraction - test_fraction) n) characters, what is validated, and the end.

    The end begins at floor((1 - test_fraction) n).
    """
    val, test = Fraction(str(val_fraction)), Fraction(str(test_fraction))
    val_at, test_at = (math.floor(len(text) * (1 - held_back)) for held_back in (val + test, test))
    return text[:val_at], text[val_at:test_at], text[test_at:]


def describe(path: str) -> str:
    """Return how errors name the source of a text."""
    return "standard input" if path == STDIN else path


def read_text(*paths: str, reading: Reading | None = None) -> Text:
    """Return the text of files, or of standard input for "-", read as one; line ends stay as they are.

    Large files are held in the cache on disk, not in memory.
    reading: called with the bytes read and those there are, while a large text is encoded for the cache
    Raises:  CorpusError where one is missing, a folder, unreadable, empty, or not UTF-8 (the byte offset is named);
             CharRNNError where the cache cannot be written.
    """
    total = sum(map(_size, paths))
    if STDIN in paths or total < CACHED_FROM:
        return Text.gather(_pieces(paths, lambda read: None))
    return cache.text_of(paths, lambda: _pieces(paths, lambda read: reading and reading(read, total)))


def _size(path: str) -> int:
    """Return the bytes of a file; 0 for what is none."""
    return os.path.getsize(path) if path != STDIN and os.path.isfile(path) else 0


def _pieces(paths: tuple[str, ...], progress: Callable[[int], object]) -> Iterator[str]:
    """Yield the texts of the files one after the other; tell how many bytes have been read."""
    read = 0
    for path in paths:
        offset, pending = 0, b""  # of the bytes that are still to be decoded, and those
        for data in _read(path):
            pending += data
            try:
                piece, length = codecs.utf_8_decode(pending, "strict", not data)
            except UnicodeDecodeError as error:
                raise CorpusError(
                    f"{describe(path)} is not UTF-8: byte {pending[error.start]:#04x} at offset "
                    f"{offset + error.start:,}; convert it first, for example with `iconv -f latin1 -t utf-8`"
                ) from None
            offset, pending = offset + length, pending[length:]
            read += len(data)
            progress(read)
            yield piece
        if not offset:
            raise CorpusError(f"{describe(path)} is empty: give a text to read")


def _read(path: str) -> Iterator[bytes]:
    """Yield the bytes of a file, and at its end none."""
    if path == STDIN and sys.stdin is None:
        raise CorpusError("standard input is closed: name a file, or pipe a text in")
    try:
        with nullcontext(sys.stdin.buffer) if path == STDIN else open(path, "rb") as file:
            while data := file.read(CHUNK):
                yield data
        yield b""
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist: check the path") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder: name a text file in it") from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"cannot read {describe(path)}: {getattr(error, 'strerror', None) or error}") from error
