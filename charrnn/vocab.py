"""The vocabulary: which symbols a model knows, and the way from text to ids to one-hot rows and back.

Ids 0 .. n-1 are the symbols of the text in the order of their code points; special symbols, which stand for no text,
follow them.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, IdSource
from charrnn.config import UNKNOWN_POLICIES
from charrnn.errors import VocabError
from charrnn.text import Alphabet, Text, code_points, from_code_points, pieces_of, smallest_type

KINDS = ("chars",)
_SHOWN = 5  # unknown characters named in an error


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


def _check_policy(unknown: str) -> None:
    if unknown not in UNKNOWN_POLICIES:
        raise VocabError(f"unknown={unknown!r} is not one of {', '.join(UNKNOWN_POLICIES)}")


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

    def counted(self, text: str | Text) -> Vocab:
        """Return the same vocabulary with the counts of this text, which is the training part.

        Raises:  VocabError where the text has characters that the vocabulary lacks.
        """
        text = Text.of(text)
        table = self._table(text, "error")
        known = table != self._alphabet.absent

        def by_id(numbers: npt.NDArray[np.intp]) -> tuple[int, ...]:
            mine = np.zeros(len(self.symbols), np.intp)
            mine[table[known]] = numbers[known]
            return tuple(mine.tolist())

        return replace(self, counts=by_id(text.counts()), starts=by_id(text.starts()))

    @property
    def size(self) -> int:
        """Return V, the number of ids, special symbols included."""
        return len(self.symbols) + len(self.specials)

    @property
    def entropy(self) -> float:
        """Return the loss of a model that knows how frequent each character is, no more; ln V if nobody counted.

        Units:   nats per character.
        """
        if not any(self.counts):
            return math.log(self.size)
        total = sum(self.counts)
        return -sum(count / total * math.log(count / total) for count in self.counts if count)

    @property
    def end(self) -> int | None:
        """Return the id of the mark with which documents end and begin, or None."""
        return None

    @property
    def unknown(self) -> int | None:
        """Return the id that stands for all characters without one, which is never written, or None."""
        return None

    @cached_property
    def _alphabet(self) -> Alphabet:
        return Alphabet(self.symbols)

    def encode(self, text: str, unknown: str = "error") -> Ids:
        """Return the ids of the text, in the smallest unsigned type that holds them.

        unknown: "error" refuses characters that the vocabulary lacks, "skip" leaves them out.
        Shapes:  returns (N,), with N the characters of the text less those skipped
        Raises:  VocabError, naming the unknown characters and where they stand.
        """
        _check_policy(unknown)
        ids, at = np.empty(len(text), self._alphabet.dtype), 0
        for piece in pieces_of(text):
            ids[at : at + len(piece)] = self._alphabet.encode(piece)
            at += len(piece)
        absent = ids == self._alphabet.absent
        if absent.any():
            if unknown == "error":
                raise VocabError(self._describe_unknown(Text.of(text)))
            ids = ids[~absent]
        return ids.astype(smallest_type(self.size), copy=False)

    def ids_of(self, text: Text, unknown: str = "error") -> IdSource:
        """Return the ids of the text as `encode` does, but looked up when they are read, so that nothing is copied."""
        return text.under(self._table(text, unknown), self._alphabet.absent)

    def _table(self, text: Text, unknown: str) -> Ids:
        """Return the ids here of the text's symbols; see that the text itself has none that are absent, if it must."""
        _check_policy(unknown)
        table = self._alphabet.encode(text.symbols)
        if unknown == "error" and (absent := table == self._alphabet.absent).any() and text.counts()[absent].any():
            raise VocabError(self._describe_unknown(text))
        return table

    def _describe_unknown(self, text: Text) -> str:
        first, unknown, at = dict[str, int](), 0, 0
        for piece in text.pieces():
            places = np.flatnonzero(self._alphabet.encode(piece) == self._alphabet.absent)
            for place in places.tolist():
                first.setdefault(piece[place], at + place)
                if len(first) > _SHOWN:
                    break
            unknown += len(places)
            at += len(piece)
        shown = [f"{char!r} (U+{ord(char):04X}) at position {at}" for char, at in list(first.items())[:_SHOWN]]
        more = ", …" if len(first) > _SHOWN else ""
        return (
            f"{unknown} of {len(text)} characters are not in the model's vocabulary: {', '.join(shown)}{more}; "
            "leave them out of the text, or skip them with --unknown skip"
        )

    def decode(self, ids: Ids | Sequence[int] | Iterable[int]) -> str:
        """Return the text of the ids; special symbols have none.

        Raises:  VocabError where an id is not of this vocabulary.
        """
        array = np.asarray(ids if isinstance(ids, (np.ndarray, Sequence)) else list(ids), dtype=np.int64).reshape(-1)
        if array.size and not (0 <= array.min() and array.max() < self.size):
            raise VocabError(f"ids run from 0 to {self.size - 1} here, not {array.min()} to {array.max()}")
        return from_code_points(code_points(self.symbols)[array[array < len(self.symbols)]])

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
