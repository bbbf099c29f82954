"""A text as ids: how a corpus is kept, in memory or on disk, and how it is encoded in one pass.

A text arrives in pieces, and each new symbol gets the next free id. These ids are positions in `Text.symbols`. A model
has its own ids for the same symbols; they are looked up as the text is read, so the corpus is never copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, IdSource, smallest_type
from charrnn.errors import CorpusError

CHUNK = 1 << 20  # characters processed at once: bounds memory, and is fastest between 2^16 and 2^20
#: The mark before, between and after documents: a lone surrogate, which no file can contain.
END = "\ud800"
_SHOWN = 30  # characters in the `repr` of a text
_BLOCK = 1 << 12  # characters in a block of the index of `_Filtered`; divides CHUNK


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points of a text, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def from_code_points(points: npt.NDArray[np.uint32]) -> str:
    """Return the text with these code points."""
    return points.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")


def split_string(text: str) -> Iterator[str]:
    """Yield a string in pieces of CHUNK characters."""
    return (text[at : at + CHUNK] for at in range(0, len(text), CHUNK))


class Alphabet:
    """Symbols in the order of their ids, and a table from code points to ids.

    absent  the id of every other character
    dtype   the smallest type for all ids, `absent` included
    """

    def __init__(self, symbols: str = "") -> None:
        self.symbols = symbols
        self.absent = len(symbols)
        self.dtype = smallest_type(self.absent + 1)
        points = code_points(symbols)
        # The last entry of the table serves all larger code points.
        self._table: Ids = np.full(max(128, int(points.max(initial=0)) + 2), self.absent, self.dtype)
        self._table[points] = np.arange(len(symbols))
        self._ascii = bytes(self._table[:128]) + bytes(128) if self.dtype == np.uint8 else None

    def encode(self, piece: str) -> Ids:
        """Return the ids of a piece of text.

        Shapes:  returns (N,)
        """
        if self._ascii and piece.isascii():
            return np.frombuffer(bytearray(piece, "ascii").translate(self._ascii), np.uint8)
        return self._table.take(code_points(piece), mode="clip")

    def extended(self, points: npt.NDArray[np.uint32]) -> Alphabet:
        """Return the alphabet followed by the characters of these code points, which it lacks."""
        return Alphabet(self.symbols + from_code_points(np.unique(points)))


class Encoder:
    """Encodes a text piece by piece: extends the alphabet, counts the characters and computes the SHA-256."""

    def __init__(self) -> None:
        from hashlib import sha256

        self.alphabet = Alphabet()
        self.chars = 0
        self._sha256 = sha256()

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Return the smallest type for the ids so far."""
        return smallest_type(len(self.alphabet.symbols))

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the UTF-8 bytes so far, in hexadecimal digits."""
        return self._sha256.hexdigest()

    def encode(self, piece: str) -> Ids:
        """Return the ids of the next piece, in the smallest type for all ids so far."""
        self._sha256.update(piece.encode("utf-8", "surrogatepass"))
        self.chars += len(piece)
        ids = self.alphabet.encode(piece)
        missing = ids == self.alphabet.absent
        if missing.any():
            self.alphabet = self.alphabet.extended(code_points(piece)[missing])
            ids = self.alphabet.encode(piece)
        return ids.astype(self.dtype, copy=False)


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    """A text: its k-th character is `symbols[ids[k]]`.

    ids      (N,), in memory or in a file that is mapped into memory
    symbols  in the order of their ids: by the piece in which each first occurs, then by code point
    digest   the SHA-256 of the UTF-8 bytes, if known
    """

    ids: Ids
    symbols: str
    digest: str | None = None

    @classmethod
    def of(cls, text: str | Text) -> Text:
        """Encode a string; return a `Text` unchanged.

        Raises:  CorpusError if it is neither.
        """
        if isinstance(text, Text):
            return text
        if not isinstance(text, str):
            raise CorpusError(f"the text must be a string or come from charrnn.read_text, got {type(text).__name__}")
        return cls.gather(split_string(text))

    @classmethod
    def gather(cls, pieces: Iterable[str]) -> Text:
        """Encode pieces into one text in memory."""
        encoder = Encoder()
        ids = np.concatenate([np.empty(0, np.uint8), *map(encoder.encode, pieces)])
        return cls(ids, encoder.alphabet.symbols, encoder.sha256)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, span: slice) -> Text:
        """Return a slice of the text, which shares its ids."""
        return Text(self.ids[span], self.symbols)

    def backwards(self) -> Text:
        """Return the text from its end to its beginning, which shares its ids."""
        return Text(self.ids[::-1], self.symbols)

    def __str__(self) -> str:
        return "".join(self.pieces())

    def __repr__(self) -> str:
        begin = str(self[:_SHOWN])
        return f"Text({len(self):,} characters: {begin!r}{'…' if len(self) > _SHOWN else ''})"

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of CHUNK characters."""
        points = code_points(self.symbols)
        return (from_code_points(points[ids]) for ids in self.chunks())

    def chunks(self, overlap: int = 0) -> Iterator[Ids]:
        """Yield the ids in pieces of CHUNK, each with the first `overlap` ids of the next piece."""
        return (self.ids[at : at + CHUNK + overlap] for at in range(0, len(self.ids), CHUNK))

    @cached_property
    def sha256(self) -> str:
        """Return the SHA-256 of the text's UTF-8 bytes, in hexadecimal digits."""
        if self.digest is not None:
            return self.digest
        from hashlib import sha256

        digest = sha256()
        for piece in self.pieces():
            digest.update(piece.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def counts(self) -> npt.NDArray[np.intp]:
        """Return how often each symbol occurs in the text.

        Shapes:  returns (len(symbols),)
        """
        counts = np.zeros(len(self.symbols), np.intp)
        for ids in self.chunks():
            counts += np.bincount(ids, minlength=len(counts))
        return counts

    def starts(self) -> npt.NDArray[np.intp]:
        """Return how often each symbol begins a line.

        Shapes:  returns (len(symbols),)
        """
        newline, carriage_return = self.symbols.find("\n"), self.symbols.find("\r")
        starts = np.bincount(self.ids[:1], minlength=len(self.symbols))
        for ids in self.chunks(overlap=1):
            before, after = ids[:-1], ids[1:]
            begins = (before == newline) | ((before == carriage_return) & (after != newline))
            starts += np.bincount(after[begins], minlength=len(starts))
        return starts

    @property
    def documents(self) -> int:
        """Return the number of documents; 0 if the text was not split into documents."""
        mark = self.symbols.find(END)
        return max(0, sum(int(np.count_nonzero(ids == mark)) for ids in self.chunks()) - 1) if mark >= 0 else 0

    def mark(self, number: int) -> int:
        """Return the position of the mark after this number of documents.

        Raises:  IndexError if there are fewer documents.
        """
        mark, before = self.symbols.find(END), 0
        for at, ids in enumerate(self.chunks()):
            positions = np.flatnonzero(ids == mark)
            if number < before + len(positions):
                return at * CHUNK + int(positions[number - before])
            before += len(positions)
        raise IndexError(number)

    def marks(self) -> npt.NDArray[np.intp]:
        """Return the positions of all marks: one more than there are documents, or none."""
        mark = self.symbols.find(END)
        chunks = enumerate(self.chunks() if mark >= 0 else ())
        positions = [np.flatnonzero(ids == mark) + at * CHUNK for at, ids in chunks]
        return np.concatenate([np.empty(0, np.intp), *positions])

    def translate(self, table: Ids, absent: int) -> IdSource:
        """Return the text's ids, translated by a table as they are read, without those that become `absent`.

        Shapes:  table (len(symbols),), the new id of each symbol
        """
        if not (table == absent).any():
            return self.ids if (table == np.arange(len(table))).all() else _Translated(self.ids, table)
        return _Filtered(self.ids, table, absent)


class _Translated:
    """Ids that a table translates as they are read."""

    def __init__(self, ids: Ids, table: Ids) -> None:
        self.ids, self.table = ids, table

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, positions: npt.NDArray[np.intp]) -> Ids:
        ids: Ids = self.table[self.ids[positions]]
        return ids


class _Filtered:
    """Translated ids without those that become `absent`; `_ends` counts the ids kept up to the end of each block."""

    def __init__(self, ids: Ids, table: Ids, absent: int) -> None:
        self.ids, self.table, self.absent = ids, table, absent

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, positions: npt.NDArray[np.intp]) -> Ids:
        result = np.empty(positions.shape, self.table.dtype)
        blocks = np.searchsorted(self._ends, positions, side="right")
        for block in np.unique(blocks).tolist():
            here = blocks == block
            ids = self.table[self.ids[block * _BLOCK : (block + 1) * _BLOCK]]
            kept = ids[ids != self.absent]
            result[here] = kept[positions[here] - (self._ends[block] - len(kept))]
        return result

    @cached_property
    def _ends(self) -> npt.NDArray[np.intp]:
        counts = [
            np.add.reduceat(self.table[ids] != self.absent, np.arange(0, len(ids), _BLOCK), dtype=np.intp)
            for ids in Text(self.ids, "").chunks()
        ]
        return np.cumsum(np.concatenate([np.empty(0, np.intp), *counts]))
