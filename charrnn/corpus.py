"""The corpus: text read from files or standard input, untouched, and parted into training and validation."""

from __future__ import annotations

import hashlib
import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from charrnn.config import STDIN
from charrnn.errors import CorpusError


@dataclass(frozen=True)
class Source:
    """Where a text came from, and the SHA-256 of its bytes; `path` is None for a text that was passed in."""

    path: str | None
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """A text in two parts, with the sources by which it can be found and recognised again.

    val_source: the file of the validation text, or None where it is the end of the corpus itself
    """

    train: str
    val: str
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
    def from_text(cls, text: str, val_fraction: float = 0.1) -> Corpus:
        """Return the corpus of a text at hand, parted as `split` does."""
        return cls(*split(text, val_fraction), Source(None, sha256(text)))

    @classmethod
    def read(cls, path: str, val_fraction: float = 0.1, val_path: str | None = None) -> Corpus:
        """Return the corpus in a file ("-": standard input), with the validation part from its end or another file.

        Raises:  CorpusError where a text cannot be read or has less than two characters, or all are the same.
        """
        text = read_text(path)
        if len(text) < 2:
            raise CorpusError(f"{describe(path)} has one character: there is nothing to predict; give a longer text")
        if len(set(text)) < 2:
            raise CorpusError(f"{describe(path)} repeats the one character {text[0]!r}: there is nothing to learn")
        source = Source(path, sha256(text))
        if val_path is None:
            return cls(*split(text, val_fraction), source)
        val = read_text(val_path)
        return cls(text, val, source, Source(val_path, sha256(val)))


def split(text: str, val_fraction: float) -> tuple[str, str]:
    """Return the first floor((1 - val_fraction) n) characters, and the rest."""
    at = math.floor(len(text) * (1 - Fraction(str(val_fraction))))
    return text[:at], text[at:]


def sha256(text: str) -> str:
    """Return the SHA-256 of the text's UTF-8 bytes, in hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def describe(path: str) -> str:
    """Return how errors name the source of a text."""
    return "standard input" if path == STDIN else path


def read_text(path: str) -> str:
    """Return the text of a file, or of standard input for "-"; line ends stay as they are.

    Raises:  CorpusError where it is missing, a folder, unreadable, empty, or not UTF-8 (the byte offset is named).
    """
    if path == STDIN and sys.stdin is None:
        raise CorpusError("standard input is closed: name a file, or pipe a text in")
    try:
        data = sys.stdin.buffer.read() if path == STDIN else Path(path).read_bytes()
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist: check the path") from None
    except IsADirectoryError:
        raise CorpusError(f"{path} is a folder: name a text file in it") from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"cannot read {describe(path)}: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise CorpusError(f"{describe(path)} is empty: give a text to read")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{describe(path)} is not UTF-8: byte {data[error.start]:#04x} at offset {error.start:,}; "
            "convert it first, for example with `iconv -f latin1 -t utf-8`"
        ) from None
