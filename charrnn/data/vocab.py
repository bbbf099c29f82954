"""The vocabulary: which symbols a model knows, and the way from text to ids to one-hot rows and back.

Ids 0 .. n-1 are the symbols of the text in the order of their code points; special symbols, which stand for no text,
follow them: first `end`, which stands where documents begin and end, then `unknown`, which stands for every character
that the vocabulary lacks.
"""

from __future__ import annotations

import codecs
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, IdSource, Mask, smallest_type
from charrnn.config import NORMAL_FORMS, UNKNOWN_POLICIES
from charrnn.data.normalize import in_form
from charrnn.data.text import END, Alphabet, Text, code_points, from_code_points, pieces_of
from charrnn.errors import VocabError

KINDS = ("chars", "bytes")
SPECIALS = ("end", "unknown")  # in the order of their ids
_NO_MARK = "\udbff"  # another lone surrogate
_SHOWN = 5  # unknown characters named in an error
_MOST_BYTES = 4  # of a character


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


def _named(char: str) -> str:
    """Return how errors name a character, or the byte that was none."""
    is_byte = "\udc80" <= char <= "\udcff"  # Python's sign for one that is no UTF-8
    return f"the byte 0x{ord(char) - 0xDC00:02x}" if is_byte else f"{char!r} (U+{ord(char):04X})"


def _check_policy(unknown: str) -> None:
    if unknown not in UNKNOWN_POLICIES:
        raise VocabError(f"unknown={unknown!r} is not one of {', '.join(UNKNOWN_POLICIES)}")


@dataclass(frozen=True)
class Vocab:
    """The symbols of a model, with what was counted in its training text.

    symbols   the characters, sorted by code point
    counts    how often each stands in the training part of the corpus; empty if nobody counted
    starts    how often each begins a line there; empty if nobody counted
    specials  names of symbols that stand for no text, of SPECIALS; their ids follow the characters'
    kind      what a symbol is: "chars", or "bytes", which are held as the characters of the same numbers
    normalize, lowercase  the form that a text is brought into before it is encoded
    """

    symbols: str
    counts: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    specials: tuple[str, ...] = ()
    kind: str = "chars"
    normalize: str = "none"
    lowercase: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise VocabError(f"a vocabulary of kind {self.kind!r} is not known here: use one of {', '.join(KINDS)}")
        if not self.symbols or list(self.symbols) != sorted(set(self.symbols)):
            raise VocabError("a vocabulary needs at least one symbol, each once and in the order of code points")
        if self.kind == "bytes" and len(self.symbols) != 256:
            raise VocabError(f"a vocabulary of bytes has 256 symbols, not {len(self.symbols)}")
        if self.normalize not in NORMAL_FORMS:
            raise VocabError(f"a vocabulary in the form {self.normalize!r} is not known here")
        if list(self.specials) != [name for name in SPECIALS if name in self.specials]:
            raise VocabError(f"special symbols {', '.join(self.specials)} are none of {', '.join(SPECIALS)}, in order")
        for name in ("counts", "starts"):
            if len(getattr(self, name)) not in (0, len(self.symbols)):
                raise VocabError(f"a vocabulary of {len(self.symbols)} symbols has {len(getattr(self, name))} {name}")

    @classmethod
    def from_text(cls, *texts: str) -> Vocab:
        """Return the vocabulary of all the texts together, with an end where one has marks between documents."""
        symbols = set().union(*texts)
        return cls("".join(sorted(symbols - {END})), specials=("end",) if END in symbols else ())

    def counted(self, text: str | Text) -> Vocab:
        """Return the same vocabulary with the counts of this text, which is the training part.

        Raises:  VocabError where the text has characters that the vocabulary lacks.
        """
        text = Text.of(text)
        table = self._table(text, "error")
        known = table < len(self.symbols)

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
        """Return the id that stands where documents begin and end, or None."""
        return len(self.symbols) if "end" in self.specials else None

    @property
    def unknown(self) -> int | None:
        """Return the id that stands for all characters that the vocabulary lacks, or None."""
        return self.size - 1 if "unknown" in self.specials else None

    @cached_property
    def _alphabet(self) -> Alphabet:
        """Return symbols and end; what is absent has the next id, which is that of the unknown symbol."""
        return Alphabet(self.symbols + END * ("end" in self.specials))

    def in_form(self, text: str) -> str:
        """Return the text in the form that the model was trained on, bytes as the characters of the same numbers.

        What would be the mark between documents is a character that no vocabulary has.
        Raises:  VocabError where a bytes model is given what is no text.
        """
        if self.kind == "chars":
            formed = in_form(text, self.normalize, self.lowercase)
            return formed.replace(END, _NO_MARK) if "end" in self.specials else formed
        try:
            return text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError as error:
            raise VocabError(f"half a surrogate pair at position {error.start} has no bytes: leave it out") from None

    def encode(self, text: str, unknown: str = "error") -> Ids:
        """Return the ids of the text, brought into form, in the smallest unsigned type that holds them.

        unknown: "error" refuses characters that the vocabulary lacks, "skip" leaves them out; where there is an
                 unknown symbol, it stands for them, and this does not matter.
        Shapes:  returns (N,), with N the characters of the text less those skipped
        Raises:  VocabError, naming the unknown characters and where they stand.
        """
        _check_policy(unknown)
        text = self.in_form(text)
        ids, absent = self.look_up(text)
        if self.unknown is None and absent.any():
            if unknown == "error":
                raise VocabError(self._describe_unknown(Text.of(text)))
            ids = ids[~absent]
        return ids.astype(smallest_type(self.size), copy=False)

    def look_up(self, text: str) -> tuple[Ids, Mask]:
        """Return an id for each character of a text in form, and which of them the vocabulary lacks.

        Those have the id of the unknown symbol, or one that no symbol has.
        Shapes:  returns (N,), (N,)
        """
        ids, at = np.empty(len(text), self._alphabet.dtype), 0
        for piece in pieces_of(text):
            ids[at : at + len(piece)] = self._alphabet.encode(piece)
            at += len(piece)
        return ids, ids == self._alphabet.absent

    def ids_of(self, text: Text, unknown: str = "error") -> IdSource:
        """Return the ids of the text as `encode` does, but looked up when they are read, so that nothing is copied."""
        return text.under(self._table(text, unknown), self._alphabet.absent if self.unknown is None else self.size)

    def _table(self, text: Text, unknown: str) -> Ids:
        """Return the ids here of the text's symbols; see that the text itself has none that are absent, if it must."""
        _check_policy(unknown)
        table = self._alphabet.encode(text.symbols)
        if self.unknown is not None:
            return table
        if unknown == "error" and (absent := table == self._alphabet.absent).any() and text.counts()[absent].any():
            raise VocabError(self._describe_unknown(text))
        return table

    def count_unknown(self, text: Text) -> int:
        """Return how many characters of the text the vocabulary lacks."""
        return int(text.counts()[self._alphabet.encode(text.symbols) == self._alphabet.absent].sum())

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
        shown = [f"{_named(char)} at position {at}" for char, at in list(first.items())[:_SHOWN]]
        more = ", …" if len(first) > _SHOWN else ""
        return (
            f"{unknown} of {len(text)} characters are not in the model's vocabulary: {', '.join(shown)}{more}; "
            "leave them out of the text, or skip them with --unknown skip"
        )

    def decode(self, ids: Ids | Sequence[int] | Iterable[int]) -> str:
        """Return the text of the ids; special symbols have none, and bytes that are no UTF-8 become U+FFFD.

        Raises:  VocabError where an id is not of this vocabulary.
        """
        return self.to_bytes(ids).decode("utf-8", "surrogatepass" if self.kind == "chars" else "replace")

    def decoder(self, behind: str = "") -> Callable[[str], str]:
        """Return what turns characters in form into text, in pieces: of bytes, a character comes with its last one.

        behind: the text that they go on from, which may end inside a character
        """
        if self.kind == "chars":
            return str
        decode = _bytes_decoder(self.in_form(behind[-_MOST_BYTES:])).decode
        return lambda piece: decode(piece.encode("latin-1"))

    def finished(self, text: str) -> str:
        """Return the text without the first bytes of a character, each half a pair, if it ends with some.

        What goes on from the text, and passes through its `decoder`, begins with that character whole.
        """
        if self.kind == "chars":
            return text
        begun, _ = _bytes_decoder(self.in_form(text[-_MOST_BYTES:])).getstate()
        return text[: len(text) - len(begun)]

    def characters(self, ids: Ids | Sequence[int] | Iterable[int], specials: str = "") -> str:
        """Return the text in form of the ids, a character each: of bytes those of the same numbers.

        specials: the characters that stand for the special symbols, in their order; none if empty
        Raises:  VocabError where an id is not of this vocabulary.
        """
        array = np.asarray(ids if isinstance(ids, (np.ndarray, Sequence)) else list(ids), dtype=np.int64).reshape(-1)
        if array.size and not (0 <= array.min() and array.max() < self.size):
            raise VocabError(f"ids run from 0 to {self.size - 1} here, not {array.min()} to {array.max()}")
        shown = code_points(self.symbols + specials)
        return from_code_points(shown[array[array < len(shown)]])

    def to_bytes(self, ids: Ids | Sequence[int] | Iterable[int], specials: str = "") -> bytes:
        """Return the UTF-8 bytes of the text of the ids, or, of bytes, these themselves.

        specials and errors: as for `characters`
        """
        text = self.characters(ids, specials)
        return text.encode("latin-1") if self.kind == "bytes" else text.encode("utf-8", "surrogatepass")

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
            "normalize": self.normalize,
            "lowercase": self.lowercase,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Vocab:
        """Return the vocabulary that `to_dict` wrote."""
        return cls(
            data["symbols"],
            tuple(data["counts"]),
            tuple(data["starts"]),
            tuple(data["specials"]),
            data["kind"],
            data.get("normalize", "none"),
            bool(data.get("lowercase")),
        )


def _bytes_decoder(behind: str) -> codecs.IncrementalDecoder:
    """Return what decodes UTF-8 in pieces, having read these bytes: the characters of the same numbers."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(behind.encode("latin-1"))
    return decoder
