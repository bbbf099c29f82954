"""From bytes to the characters that are learned: decoded, taken from their fields, brought into form, and parted into
documents. Everything goes piece by piece, with results that do not depend on where the pieces end.

Documents stand one after the other with a mark, END, before, between and behind them: END one END two END. What is
learned are the pairs of a symbol and its successor, so the mark is the start that a document's first character is
predicted from, and the end that is predicted behind its last one.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from charrnn.data.text import CHUNK, END
from charrnn.errors import CorpusError

_BLANK_LINES = re.compile("(?>\r\n|\r|\n)(?:[ \t]*(?>\r\n|\r|\n))+")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_UNSHOWN = re.compile("[\x00-\x1f\\\\\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # controls, line ends, halves of a pair
#: Byte order marks, with the encodings that begin so; the first begins with another one.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_SHOWN = 8  # columns or fields that an error names


def decoded(name: str, data: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Yield the characters that the bytes stand for, without a byte order mark at their beginning.

    Raises:  CorpusError, naming byte and offset, for what the encoding lacks and for NUL bytes.
    """
    decoder, read, first = codecs.getincrementaldecoder(encoding)("strict"), 0, True
    for piece, final in _with_end(data):
        before = decoder.getstate()
        read += len(piece)
        try:
            text = decoder.decode(piece, final)
            if wrong := _wrong(text):
                decoder.setstate(before)
                at = read - len(piece) + _place(wrong, decoder, piece)
                what = "a NUL byte" if wrong == "\0" else "a lone surrogate"
                raise CorpusError(
                    f"{name} has {what} at offset {at:,}, as no text does: train with its --encoding, or with --bytes "
                    "to learn it as it is"
                )
        except UnicodeError as error:
            wanted = codecs.lookup(encoding).name
            what_to_do = _what_to_do(piece if first else b"", wanted)
            raise CorpusError(f"{name} is not {wanted.upper()}: {_reason(error, read)}; {what_to_do}") from None
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        yield text


def _wrong(text: str) -> str:
    """Return a character that no text has, NUL or half a surrogate pair, if there is one."""
    if "\0" in text:
        return "\0"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return ""


def _what_to_do(beginning: bytes, encoding: str) -> str:
    """Return what makes a text readable that begins so, and that is not of the encoding."""
    for mark, marked in _MARKS.items():
        if beginning.startswith(mark) and not encoding.startswith(marked):
            return f"it begins as {marked.upper()} does: train with --encoding {marked}"
    return "convert it, for example with `iconv -f latin1 -t utf-8`, or train with its --encoding, or with --bytes"


def _reason(error: UnicodeError, read: int) -> str:
    """Return why bytes could not be decoded, so many of them in all having been read."""
    if not isinstance(error, UnicodeDecodeError):  # of a whole that does not begin as it should, for example
        return escaped(str(error))
    at = read - len(error.object) + error.start
    return f"byte 0x{error.object[error.start : error.start + 1].hex()} at offset {at:,}"


def _place(char: str, decoder: codecs.IncrementalDecoder, data: bytes) -> int:
    """Return where in the data the bytes begin that stand for a character; below 0 where they began before it."""
    for at in range(len(data)):
        begun = len(decoder.getstate()[0])
        if char in decoder.decode(data[at : at + 1]):
            return at - begun
    return len(data)


def line_encoding(encoding: str) -> str:
    """Return the encoding of lines, by its usual name: that of the corpus, or UTF-8 where that has other line ends."""
    return codecs.lookup(encoding if "\n".encode(encoding) == b"\n" else "utf-8").name


def line_decoder(encoding: str, known: str = "") -> Callable[[bytes], str]:
    """Return what makes a line's bytes the text that they stand for beside a corpus in this encoding.

    It is bare but for what is `known`. What is no text becomes characters that no vocabulary has.
    """
    used = line_encoding(encoding)
    errors = "surrogateescape" if used == "utf-8" else "replace"
    return lambda line: bare(line.decode(used, errors), known)


def _with_end(data: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for piece in data:
        yield piece, False
    yield b"", True


def as_bytes(data: Iterable[bytes]) -> Iterator[str]:
    """Yield the bytes as the characters of the same numbers."""
    return (piece.decode("latin-1") for piece in data)


def in_form(text: str, normalize: str, lowercase: bool) -> str:
    """Return the text in a normal form of Unicode, or as it is for "none", and in lower case.

    A capital sigma always becomes σ: whether a word ends behind it may not depend on where a piece does.
    """
    if normalize != "none":
        text = unicodedata.normalize(normalize, text)  # type: ignore[arg-type,unused-ignore]
    if lowercase:
        text = text.replace("Σ", "σ").lower()
        return in_form(text, normalize, False)  # of which lower case may have made another form
    return text


def bare(line: str, known: str = "") -> str:
    """Return a line without a byte order mark before it and the `\\r` of its end, unless they are known."""
    if "\ufeff" not in known:
        line = line.removeprefix("\ufeff")
    return line if "\r" in known else line.removesuffix("\r")


def formed(pieces: Iterable[str], normalize: str, lowercase: bool) -> Iterator[str]:
    """Yield the pieces as `in_form` makes them one whole; cut where no character joins with those before."""
    if normalize == "none":
        yield from (in_form(piece, normalize, lowercase) for piece in pieces)
        return
    pending = ""
    for piece in pieces:
        cut = next((at for at in range(len(piece) - 1, -1, -1) if _begins_anew(piece[at])), None)
        if cut is None:
            pending += piece
        else:
            yield in_form(pending + piece[:cut], normalize, lowercase)
            pending = piece[cut:]
    yield in_form(pending, normalize, lowercase)


def _begins_anew(char: str) -> bool:
    """Return whether no normal form joins this character with what stands before it."""
    first = unicodedata.normalize("NFKD", char)[0]
    return not unicodedata.combining(first) and first not in _joining()


@lru_cache(1)
def _joining() -> frozenset[str]:
    """Return the characters that may be the second of two that become one."""
    pairs = (unicodedata.decomposition(chr(point)).split() for point in range(0x80, sys.maxunicode + 1))
    seconds = (chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<"))
    return frozenset(seconds).union(map(chr, [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]))  # Hangul's parts


def unescaped(text: str) -> str:
    r"""Return the text with \\n, \\r, \\t, \\\\ and \\uXXXX for what they stand for."""

    def char(match: re.Match[str]) -> str:
        name = match[1]
        return chr(int(name[1:], 16)) if name[0] == "u" else _ESCAPES[name]

    return re.sub(r"\\([nrt\\]|u[0-9a-fA-F]{4})", char, text)


def escaped(text: str) -> str:
    r"""Return the text in one line: what ends lines, controls a terminal or is no character as `unescaped` reads it."""
    names = {char: name for name, char in _ESCAPES.items()}
    return _UNSHOWN.sub(lambda match: "\\" + names.get(match[0], f"u{ord(match[0]):04x}"), text)


def parted(pieces: Iterable[str], way: str) -> Iterator[str]:
    """Yield one file's text with marks before and behind it, and in the place of what parts it; some twice.

    way: lines, blank-lines, files, or a separator
    """
    yield END
    if way == "lines":
        yield from (piece.replace("\r\n", "\n").replace("\r", "\n").replace("\n", END) for piece in pieces)
    elif way == "blank-lines":
        yield from _at_blank_lines(pieces)
    elif way == "files":
        yield from pieces
    else:
        yield from _at_separators(pieces, way)
    yield END


def _at_blank_lines(pieces: Iterable[str]) -> Iterator[str]:
    pending = "\n\n"  # as if blank lines stood before the text and behind it
    for piece in pieces:
        pending += piece
        kept = len(pending.rstrip(" \t\r\n"))
        yield _BLANK_LINES.sub(END, pending[:kept])
        pending = pending[kept:]
    yield _BLANK_LINES.sub(END, pending + "\n\n")


def _at_separators(pieces: Iterable[str], separator: str) -> Iterator[str]:
    pending, more = "", len(separator) - 1  # characters that may be the beginning of a separator
    for piece in pieces:
        *documents, last = (pending + piece).split(separator)
        kept = max(0, len(last) - more)
        yield END.join([*documents, last[:kept]])
        pending = last[kept:]
    yield pending


def marked(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces with one mark in the place of several in a row, so that no document is empty."""
    ended = False
    for piece in pieces:
        piece = re.sub(f"{END}{{2,}}", END, piece)
        if ended:
            piece = piece.removeprefix(END)
        if piece:
            ended = piece[-1] == END
            yield piece


def gathered(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the same text in pieces of CHUNK characters or more, the last one aside."""
    waiting, chars = [], 0
    for piece in pieces:
        waiting.append(piece)
        chars += len(piece)
        if chars >= CHUNK:
            yield "".join(waiting)
            waiting, chars = [], 0
    yield "".join(waiting)


def records(name: str, suffix: str, pieces: Iterable[str], field: str) -> Iterator[str]:
    """Yield a field of each record with marks around it: of .csv and .tsv by column, of all else as lines of JSON.

    Raises:  CorpusError, naming the line, for what is no record, or lacks the field.
    """
    values = _cells if suffix in (".csv", ".tsv") else _members
    for number, value in values(name, suffix, _lines(pieces), field):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has half a surrogate pair: mend it") from None
        if "\0" in value:
            raise CorpusError(f"{name}, line {number:,}: {field!r} has a NUL character, as no text does: leave it out")
        yield f"{END}{value}{END}"


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the lines of the text, with their ends."""
    waiting: list[str] = []
    for piece in pieces:
        *whole, rest = piece.split("\n")
        for line in whole:
            yield "".join([*waiting, line, "\n"])
            waiting = []
        waiting.append(rest)
    if last := "".join(waiting):
        yield last


def _cells(name: str, suffix: str, lines: Iterator[str], field: str) -> Iterator[tuple[int, str]]:
    csv.field_size_limit(2**31 - 1)  # the most that all systems take
    reader, begun = csv.reader(lines, delimiter="\t" if suffix == ".tsv" else ",", strict=True), 1
    try:
        columns = next(reader, [])
        if field not in columns:
            raise CorpusError(f"{name} has no column {field!r}: it has {_some(columns)}")
        if columns.count(field) > 1:
            raise CorpusError(f"{name} has {columns.count(field)} columns {field!r}: rename all but one")
        place, begun = columns.index(field), reader.line_num + 1
        for row in reader:
            if row and len(row) <= place:
                raise CorpusError(f"{name}, line {reader.line_num:,}: {len(row)} columns, so {field!r} is missing")
            if row:
                yield reader.line_num, row[place]
            begun = reader.line_num + 1
    except csv.Error as error:
        raise CorpusError(f"{name}, in the record that begins in line {begun:,}: {error}: mend its quotes") from None


def _members(name: str, suffix: str, lines: Iterator[str], field: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        where = f"{name}, line {number:,}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0]
            raise CorpusError(f"{where} is no JSON ({reason}): mend it, or name a .csv or .tsv file") from None
        if not isinstance(record, dict) or field not in record:
            has = _some(record) if isinstance(record, dict) else f"a {type(record).__name__}, no object"
            raise CorpusError(f"{where} has no field {field!r}: it has {has}")
        if not isinstance(record[field], str):
            raise CorpusError(f"{where}: {field!r} is {type(record[field]).__name__}, no string")
        yield number, record[field]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "") if names else "none"
