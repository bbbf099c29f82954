"""The vocabulary: which symbols a model knows, and the way from text to ids to one-hot rows and back.

Ids 0 .. n-1 are the symbols of the text in the order of their code points; special symbols, which stand for no text,
follow them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.config import UNKNOWN_POLICIES
from charrnn.errors import VocabError

KINDS = ("chars",)
_CODE_POINTS = 0x110000
_SHOWN = 5  # unknown characters named in an error


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points of the text; lone surrogates, which a broken argument may hold, pass through."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def describe_symbol(symbol: str) -> dict[str, str]:
    """Return a character, how it can be shown, its code point and its Unicode name."""
    control = {"\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\t": "CHARACTER TABULATION"}
    return {
        "char": symbol,
        "shown": symbol
        if symbol.isprintable() and not symbol.isspace()
        else repr(symbol)[1:-1]
        if symbol != " "
        else "' '",
        "code_point": f"U+{ord(symbol):04X}",
        "name": unicodedata.name(symbol, control.get(symbol, f"({unicodedata.category(symbol)})")),
    }


@dataclass(frozen=True)
class Vocab:
    """The symbols of a model, with what was counted in its training text.

    symbols   the characters, sorted by code point
    counts    how often each stands in the training part of the corpus; empty if nobody counted
    starts    how often each begins a line there; empty if nobody counted
    specials  names of symbols that stand for no text; their ids follow the characters'
    kind      what a symbol is: "chars"
    """

    symbols: str
    counts: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    specials: tuple[str, ...] = ()
    kind: str = "chars"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise VocabError(f"a vocabulary of kind {self.kind!r} is not known here: use one of {', '.join(KINDS)}")
        if not self.symbols or list(self.symbols) != sorted(set(self.symbols)):
            raise VocabError("a vocabulary needs at least one symbol, each once and in the order of code points")
        for name in ("counts", "starts"):
            if len(getattr(self, name)) not in (0, len(self.symbols)):
                raise VocabError(f"a vocabulary of {len(self.symbols)} symbols has {len(getattr(self, name))} {name}")

    @classmethod
    def from_text(cls, *texts: str) -> Vocab:
        """Return the vocabulary of all the texts together."""
        return cls("".join(sorted(set().union(*texts))))

    def counted(self, text: str) -> Vocab:
        """Return the same vocabulary with the counts of this text, which is the training part."""
        ids = self.encode(text)
        newline = self.symbols.find("\n")
        begins = np.concatenate((ids[:1], ids[1:][ids[:-1] == newline])) if newline >= 0 else ids[:1]
        n = len(self.symbols)
        return Vocab(
            self.symbols,
            tuple(np.bincount(ids, minlength=n).tolist()),
            tuple(np.bincount(begins, minlength=n).tolist()),
            self.specials,
            self.kind,
        )

    @property
    def size(self) -> int:
        """Return V, the number of ids, special symbols included."""
        return len(self.symbols) + len(self.specials)

    @cached_property
    def _table(self) -> npt.NDArray[np.int32]:
        """The id of each code point, -1 where there is none."""
        table = np.full(_CODE_POINTS, -1, np.int32)
        table[_code_points(self.symbols)] = np.arange(len(self.symbols))
        return table

    def encode(self, text: str, unknown: str = "error") -> Ids:
        """Return the ids of the text, in the smallest unsigned type that holds them.

        unknown: "error" refuses characters that the vocabulary lacks, "skip" leaves them out.
        Shapes:  returns (N,), with N the characters of the text less those skipped
        Raises:  VocabError, naming the unknown characters and where they stand.
        """
        if unknown not in UNKNOWN_POLICIES:
            raise VocabError(f"unknown={unknown!r} is not one of {', '.join(UNKNOWN_POLICIES)}")
        ids = self._table[_code_points(text)]
        absent = ids < 0
        if absent.any():
            if unknown == "error":
                raise VocabError(self._describe_unknown(text, np.flatnonzero(absent)))
            ids = ids[~absent]
        return ids.astype(np.min_scalar_type(self.size - 1))

    @staticmethod
    def _describe_unknown(text: str, positions: npt.NDArray[np.intp]) -> str:
        first = dict[str, int]()
        for position in positions.tolist():
            first.setdefault(text[position], position)
            if len(first) > _SHOWN:
                break
        shown = [f"{char!r} (U+{ord(char):04X}) at position {at}" for char, at in list(first.items())[:_SHOWN]]
        more = ", …" if len(first) > _SHOWN else ""
        return (
            f"{len(positions)} of {len(text)} characters are not in the model's vocabulary: {', '.join(shown)}{more}; "
            "leave them out of the text, or skip them with --unknown skip"
        )

    def decode(self, ids: Ids | Sequence[int] | Iterable[int]) -> str:
        """Return the text of the ids; special symbols have none.

        Raises:  VocabError where an id is not of this vocabulary.
        """
        array = np.asarray(ids if isinstance(ids, (np.ndarray, Sequence)) else list(ids), dtype=np.int64).reshape(-1)
        if array.size and not (0 <= array.min() and array.max() < self.size):
            raise VocabError(f"ids run from 0 to {self.size - 1} here, not {array.min()} to {array.max()}")
        points = _code_points(self.symbols)[array[array < len(self.symbols)]]
        return points.tobytes().decode("utf-32-le", "surrogatepass")

    def one_hot(self, ids: Ids, dtype: npt.DTypeLike = np.float32) -> Array:
        """Return one row for each id, 1 at the id and 0 elsewhere.

        Shapes:  ids (...) · returns (..., V)
        """
        rows: Array = np.eye(self.size, dtype=dtype)[ids]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "kind": self.kind,
            "symbols": self.symbols,
            "specials": list(self.specials),
            "counts": list(self.counts),
            "starts": list(self.starts),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Vocab:
        """Return the vocabulary that `to_dict` wrote."""
        return cls(data["symbols"], tuple(data["counts"]), tuple(data["starts"]), tuple(data["specials"]), data["kind"])
