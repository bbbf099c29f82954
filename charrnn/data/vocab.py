"""The vocabulary: the symbols that a model knows, and their ids; text becomes ids, one-hot rows, and text again.

Ids 0 .. n-1 are the symbols of the text, sorted by code point. Special symbols follow, which have no text: `end` marks
where documents begin and end, `unknown` replaces every character that the vocabulary lacks.
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
from charrnn.data.normalize import normalize_text
from charrnn.data.text import END, Alphabet, Text, code_points, from_code_points, split_string
from charrnn.errors import VocabError

KINDS = ("chars", "bytes")
SPECIALS = ("end", "unknown")  # in the order of their ids
_NO_MARK = "\udbff"  # replaces the mark between documents in a text: a lone surrogate that no vocabulary has
_MOST_NAMED = 5  # unknown characters in an error
_SHOWN = 30  # symbols in the `repr` of a vocabulary
_MOST_BYTES = 4  # bytes of a character in UTF-8
_CONTINUING_BYTES = bytes(range(0x80, 0xC0))  # which never start a character
_CONTINUING = _CONTINUING_BYTES.decode("ascii", "surrogateescape")


def describe_symbol(symbol: str) -> dict[str, str]:
    """Return a character, a printable form of it, its code point and its Unicode name."""
    control = {"\n": "LINE FEED", "\r": "CARRIAGE RETURN", "\t": "CHARACTER TABULATION"}
    visible = symbol.isprintable() and not symbol.isspace()
    return {
        "char": symbol,
        "shown": symbol if visible else "' '" if symbol == " " else repr(symbol)[1:-1],
        "code_point": f"U+{ord(symbol):04X}",
        "name": unicodedata.name(symbol, control.get(symbol, f"({unicodedata.category(symbol)})")),
    }


def _describe_char(char: str) -> str:
    """Return the name in errors of a character, or of the byte that Python decoded to a lone surrogate."""
    is_byte = "\udc80" <= char <= "\udcff"
    return f"the byte 0x{ord(char) - 0xDC00:02x}" if is_byte else f"{char!r} (U+{ord(char):04X})"


def _check_policy(unknown: str) -> None:
    if unknown not in UNKNOWN_POLICIES:
        raise VocabError(f"unknown must be {' or '.join(UNKNOWN_POLICIES)}, got {unknown!r}")


@dataclass(frozen=True, repr=False)
class Vocab:
    """The symbols of a model, with their counts in its training text.

    symbols   the characters, sorted by code point
    counts    how often each occurs in the training split; empty if not counted
    starts    how often each begins a line there, as it is read; empty if not counted
    specials  names of special symbols, from SPECIALS
    kind      "chars", or "bytes": each byte is then represented by the character with its number
    normalize, lowercase  how a text is normalized before it is encoded
    reverse   True: the model reads a text from its end to its beginning, so its ids are in that order
    """

    symbols: str
    counts: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    specials: tuple[str, ...] = ()
    kind: str = "chars"
    normalize: str = "none"
    lowercase: bool = False
    reverse: bool = False

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
        """Return the vocabulary of these texts, with the symbol `end` if one has marks between documents."""
        symbols = set().union(*texts)
        return cls("".join(sorted(symbols - {END})), specials=("end",) if END in symbols else ())

    def counted(self, text: str | Text) -> Vocab:
        """Return the vocabulary with the counts of this text, the training split.

        Raises:  VocabError if the text has characters that the vocabulary lacks.
        """
        text = Text.of(text)
        table = self._table(text, "error")
        known = table < len(self.symbols)

        def by_id(numbers: npt.NDArray[np.intp]) -> tuple[int, ...]:
            counts = np.zeros(len(self.symbols), np.intp)
            counts[table[known]] = numbers[known]
            return tuple(counts.tolist())

        return replace(self, counts=by_id(text.counts()), starts=by_id(self._as_read(text).starts()))

    @property
    def summary(self) -> str:
        """Return the number of symbols in words: "66 characters", or "256 bytes and end"."""
        kind = "bytes" if self.kind == "bytes" else "characters"
        return " and ".join((f"{len(self.symbols):,} {kind}", *self.specials))

    def __repr__(self) -> str:
        shown = f"{self.symbols[:_SHOWN]}…" if len(self.symbols) > _SHOWN else self.symbols
        return f"Vocab({self.summary}: {shown!r})"

    @property
    def size(self) -> int:
        """Return V, the number of ids, special symbols included."""
        return len(self.symbols) + len(self.specials)

    @property
    def entropy(self) -> float:
        """Return the loss of a model that knows only the frequency of each character; ln V if they were not counted.

        Units:   nats per character.
        """
        if not any(self.counts):
            return math.log(self.size)
        total = sum(self.counts)
        return -sum(count / total * math.log(count / total) for count in self.counts if count)

    @property
    def mark(self) -> str:
        """Return the character before and after each text that is read by itself.

        The document mark, a line end, or nothing: the first that the vocabulary has.
        """
        return END if self.end is not None else "\n" if "\n" in self.symbols else ""

    @property
    def end(self) -> int | None:
        """Return the id of the mark where documents begin and end, or None."""
        return len(self.symbols) if "end" in self.specials else None

    @property
    def unknown(self) -> int | None:
        """Return the id that replaces all characters that the vocabulary lacks, or None."""
        return self.size - 1 if "unknown" in self.specials else None

    @property
    def tab(self) -> int | None:
        """Return the id of the tab, or None."""
        return self.symbols.index("\t") if "\t" in self.symbols else None

    @cached_property
    def _alphabet(self) -> Alphabet:
        """Return the symbols and `end`; other characters get the next id, that of the unknown symbol."""
        return Alphabet(self.symbols + END * ("end" in self.specials))

    def in_form(self, text: str) -> str:
        """Normalize a text as the model's corpus was; for a model of bytes, return its bytes as characters.

        A mark between documents is replaced by a character that no vocabulary has.
        Raises:  VocabError for half a surrogate pair, if the model is one of bytes.
        """
        if self.kind == "chars":
            normalized = normalize_text(text, self.normalize, self.lowercase)
            return normalized.replace(END, _NO_MARK) if "end" in self.specials else normalized
        try:
            return text.encode("utf-8", "surrogateescape").decode("latin-1")
        except UnicodeEncodeError as error:
            raise VocabError(f"half a surrogate pair at position {error.start} has no bytes: leave it out") from None

    def turned(self, text: str) -> str:
        """Return a text in the order in which the model reads it; or, from that order, in the order of the text."""
        return text[::-1] if self.reverse else text

    def _as_read(self, text: Text) -> Text:
        return text.backwards() if self.reverse else text

    def encode(self, text: str, unknown: str = "error") -> Ids:
        """Return the ids of the text, after it is normalized, in the smallest unsigned type.

        They are in the order in which the model reads them: one that reads backwards begins with the last character.

        unknown: "error" refuses characters that the vocabulary lacks, "skip" leaves them out; a vocabulary with an
                 unknown symbol always uses that
        Shapes:  returns (N,), one id for each character that is not skipped
        Raises:  VocabError, with the unknown characters and their positions.
        """
        _check_policy(unknown)
        if not isinstance(text, str):
            raise VocabError(f"the text must be a string, got {type(text).__name__}")
        text = self.in_form(text)
        ids, absent = self.look_up(self.turned(text))
        if self.unknown is None and absent.any():
            if unknown == "error":
                raise VocabError(self._describe_unknown(Text.of(text)))
            ids = ids[~absent]
        return ids.astype(smallest_type(self.size), copy=False)

    def look_up(self, text: str) -> tuple[Ids, Mask]:
        """Return the id of each character of a text from `in_form`, and a mask of the characters that have none.

        Those get the id of the unknown symbol, or, without one, an id that is not in the vocabulary.
        Shapes:  returns (N,), (N,)
        """
        ids, at = np.empty(len(text), self._alphabet.dtype), 0
        for piece in split_string(text):
            ids[at : at + len(piece)] = self._alphabet.encode(piece)
            at += len(piece)
        return ids, ids == self._alphabet.absent

    def ids_of(self, text: Text, unknown: str = "error") -> IdSource:
        """Return the ids of the text as `encode` does, but look them up when they are read: nothing is copied."""
        absent = self._alphabet.absent if self.unknown is None else self.size
        return self._as_read(text).translate(self._table(text, unknown), absent)

    def _table(self, text: Text, unknown: str) -> Ids:
        """Return the id of each symbol of the text; refuse unknown symbols that occur in it, if unknown is "error"."""
        _check_policy(unknown)
        table = self._alphabet.encode(text.symbols)
        if self.unknown is not None:
            return table
        if unknown == "error" and (absent := table == self._alphabet.absent).any() and text.counts()[absent].any():
            raise VocabError(self._describe_unknown(text))
        return table

    def count_unknown(self, text: Text) -> int:
        """Return how many characters of the text are not in the vocabulary."""
        return int(text.counts()[self._alphabet.encode(text.symbols) == self._alphabet.absent].sum())

    def _describe_unknown(self, text: Text) -> str:
        first, unknown, at = dict[str, int](), 0, 0
        for piece in text.pieces():
            positions = np.flatnonzero(self._alphabet.encode(piece) == self._alphabet.absent)
            for position in positions.tolist():
                first.setdefault(piece[position], at + position)
                if len(first) > _MOST_NAMED:
                    break
            unknown += len(positions)
            at += len(piece)
        shown = [f"{_describe_char(char)} at position {at}" for char, at in list(first.items())[:_MOST_NAMED]]
        more = ", …" if len(first) > _MOST_NAMED else ""
        return (
            f"{unknown} of {len(text)} characters are not in the model's vocabulary: {', '.join(shown)}{more}; "
            "leave them out of the text, or skip them with --unknown skip"
        )

    def decode(self, ids: Ids | Sequence[int] | Iterable[int]) -> str:
        """Return the text of ids from `encode`, without special symbols; bytes that are not UTF-8 become U+FFFD.

        Raises:  VocabError if an id is not in this vocabulary.
        """
        text = self.turned(self.characters(ids))
        return text if self.kind == "chars" else text.encode("latin-1").decode("utf-8", "replace")

    def decoder(self, behind: str = "") -> Callable[[str], str]:
        """Return a function that decodes the output of `characters` piece by piece.

        For a model of bytes it returns each character with the piece that completes it.
        behind: the text before the first piece, which may end inside a character
        """
        if self.kind == "chars":
            return str
        decode = _utf8_decoder(self.in_form(behind[-_MOST_BYTES:])).decode
        return lambda piece: decode(piece.encode("latin-1"))

    def finished(self, text: str) -> str:
        """Return the text without an incomplete character at its end, which only a model of bytes can generate.

        Each byte of it is half a surrogate pair. A `decoder` that continues the text returns the complete character.
        If the model reads backwards, the end that it continues is the beginning.
        """
        if self.kind == "chars":
            return text
        if self.reverse:
            return text.lstrip(_CONTINUING)
        incomplete, _ = _utf8_decoder(self.in_form(text[-_MOST_BYTES:])).getstate()
        return text[: len(text) - len(incomplete)]

    def continuation(self, prime: str, ids: Ids | Sequence[int]) -> str:
        """Return the text of ids that were drawn after a prime; if the model reads backwards, it leads to the prime.

        For a model of bytes it includes all of a character that the prime has a part of, as for `finished`.
        """
        characters = self.characters(ids)
        if not self.reverse:
            return self.decoder(prime)(characters)
        if self.kind == "chars":
            return characters[::-1]
        shared = self.in_form(prime[: len(prime) - len(self.finished(prime))])
        return (characters[::-1] + shared).encode("latin-1").lstrip(_CONTINUING_BYTES).decode("utf-8", "replace")

    def characters(self, ids: Ids | Sequence[int] | Iterable[int], specials: str = "") -> str:
        """Return the symbols of these ids, in their order, as a string; of bytes, one character for each byte.

        specials: characters that represent the special symbols, in their order; if empty, those are left out
        Raises:  VocabError if an id is not in this vocabulary.
        """
        array = np.asarray(ids if isinstance(ids, (np.ndarray, Sequence)) else list(ids), dtype=np.int64).reshape(-1)
        if array.size and not (0 <= array.min() and array.max() < self.size):
            raise VocabError(f"ids must be from 0 to {self.size - 1}, got {array.min()} to {array.max()}")
        shown = code_points(self.symbols + specials)
        return from_code_points(shown[array[array < len(shown)]])

    def to_bytes(self, ids: Ids | Sequence[int] | Iterable[int], specials: str = "") -> bytes:
        """Return the text of these ids in UTF-8; for a model of bytes, the bytes themselves.

        specials and errors: as for `characters`
        """
        text = self.characters(ids, specials)
        return text.encode("latin-1") if self.kind == "bytes" else text.encode("utf-8", "surrogatepass")

    def one_hot(self, ids: Ids, dtype: npt.DTypeLike = np.float32) -> Array:
        """Return a row for each id, with 1 at the id and 0 elsewhere.

        Shapes:  ids (...) · returns (..., V)
        """
        rows: Array = np.eye(self.size, dtype=dtype)[ids]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the vocabulary as a dict for JSON."""
        return {
            "kind": self.kind,
            "symbols": self.symbols,
            "specials": list(self.specials),
            "counts": list(self.counts),
            "starts": list(self.starts),
            "normalize": self.normalize,
            "lowercase": self.lowercase,
            "reverse": self.reverse,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Vocab:
        """Return the vocabulary of a dict from `to_dict`."""
        return cls(
            data["symbols"],
            tuple(data["counts"]),
            tuple(data["starts"]),
            tuple(data["specials"]),
            data["kind"],
            data.get("normalize", "none"),
            bool(data.get("lowercase")),
            bool(data.get("reverse")),
        )


def _utf8_decoder(before: str) -> codecs.IncrementalDecoder:
    """Return a UTF-8 decoder that has already read these bytes, given as characters."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(before.encode("latin-1"))
    return decoder
