"""Decode bytes to characters, piece by piece; the result does not depend on where the pieces end."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from charrnn.data.encodings import is_damaged_utf8, likely_encoding
from charrnn.data.escapes import escaped
from charrnn.data.kinds import fill_in, texts_only
from charrnn.errors import CorpusError

#: Python's reasons for errors at the end of a text that lacks bytes.
_CUT_SHORT = ("truncated data", "unexpected end of data", "incomplete multibyte sequence")
_SAMPLE = 1 << 16  # bytes from which an encoding is guessed
#: Byte order marks and their encodings. The mark of UTF-16 begins that of UTF-32, so UTF-32 comes first.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode_pieces(name: str, data: Iterable[bytes], encoding: str) -> Iterator[str]:
    """Decode the bytes of a text; drop a byte order mark at its beginning.

    name:   the name of the text in errors
    Raises: CorpusError if the file is of another kind, such as a picture; with byte and offset if the bytes are not in
            this encoding, or contain a NUL.
    """
    decoder, read, first = codecs.getincrementaldecoder(encoding)("strict"), 0, True
    decoded_others = False  # characters beyond ASCII, in earlier pieces
    used = codecs.lookup(encoding).name
    for piece, is_last in _flag_last(texts_only(name, data)):
        before = decoder.getstate()
        read += len(piece)
        try:
            text = decoder.decode(piece, is_last)
        except UnicodeError as error:
            remedy = fill_in(_remedy(piece if first else b"", error, used, decoded_others), name)
            raise CorpusError(f"{name} is not {used.upper()}: {_reason(error, read)}; {remedy}") from None
        if invalid := _invalid_char(text):
            decoder.setstate(before)
            offset = read - len(piece) + _offset_of(invalid, decoder, piece)
            what = "a NUL byte" if invalid == "\0" else "a lone surrogate"
            likely = likely_encoding(piece[:_SAMPLE], used)
            remedy = "name a text file, or learn any file with --bytes"
            if likely:
                remedy = fill_in(_suggest(likely, used), name)
            raise CorpusError(f"{name} has {what} at offset {offset:,}, which {used.upper()} text never has: {remedy}")
        decoded_others = decoded_others or not text.isascii()
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        yield text


def bytes_as_characters(data: Iterable[bytes]) -> Iterator[str]:
    """Yield each byte as the character with its number, so that bytes are learned like characters."""
    return (piece.decode("latin-1") for piece in data)


def line_encoding(encoding: str) -> str:
    """Return the encoding in which lines are read: that of the corpus, or UTF-8 if its line ends are not one byte."""
    return codecs.lookup(encoding if "\n".encode(encoding) == b"\n" else "utf-8").name


@dataclass(frozen=True)
class LineCodec:
    """Decodes lines for a model whose corpus has an encoding, and encodes what is written in their place.

    corpus_encoding  that of the corpus
    known            the characters that the model knows
    """

    corpus_encoding: str
    known: str = ""

    @cached_property
    def encoding(self) -> str:
        """Return the encoding of lines."""
        return line_encoding(self.corpus_encoding)

    @property
    def _errors(self) -> str:
        """Return how invalid bytes are decoded, to characters that no vocabulary has, and encoded again."""
        return "surrogateescape" if self.encoding == "utf-8" else "replace"

    def decode(self, line: bytes) -> str:
        """Return a line as the model reads it, stripped as `strip_line` does."""
        return strip_line(line.decode(self.encoding, self._errors), self.known)

    def encode(self, text: str, line: bytes = b"") -> bytes:
        """Return the bytes of a text that takes the place of a line, with what `decode` has stripped from that."""
        whole = line.decode(self.encoding, self._errors)
        stripped = strip_line(whole, self.known)
        before = whole[: whole.index(stripped)] if stripped else ""
        return (before + text + whole[len(before) + len(stripped) :]).encode(self.encoding, self._errors)


def line_decoder(encoding: str, known: str = "") -> Callable[[bytes], str]:
    """Return a function that decodes a line as `LineCodec` does."""
    return LineCodec(encoding, known).decode


def strip_line(line: str, known: str = "") -> str:
    """Drop a byte order mark at the start of a line and a `\\r` at its end, unless the model knows these characters."""
    if "\ufeff" not in known:
        line = line.removeprefix("\ufeff")
    return line if "\r" in known else line.removesuffix("\r")


def _flag_last(data: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for piece in data:
        yield piece, False
    yield b"", True


def _invalid_char(text: str) -> str:
    """Return the NUL or the lone surrogate in a text, else the empty string: some encodings decode to them."""
    if "\0" in text:
        return "\0"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return text[error.start]
    return ""


def _remedy(beginning: bytes, error: UnicodeError, encoding: str, decoded_others: bool) -> str:
    """Return what the user can do about a text that is not in this encoding.

    beginning       the first bytes of the text, if they are in the piece with the error
    decoded_others  whether characters beyond ASCII were decoded in earlier pieces
    """
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if beginning.startswith(mark) and not encoding.startswith(marked):
            return f"it starts like {marked.upper()}: train with --encoding {marked}"
    data, at = (error.object, error.start) if isinstance(error, UnicodeDecodeError) else (beginning, 0)
    sample = data[0 if at < _SAMPLE else data.rfind(b"\n", 0, at) + 1 :][:_SAMPLE]
    if encoding == "utf-8":
        if decoded_others or is_damaged_utf8(sample):
            command = "iconv -c -f utf-8 -t utf-8 FILE > FILE.utf8"
            return f"the rest is UTF-8: correct the file there, or drop such bytes with `{command}`"
    elif isinstance(error, UnicodeDecodeError) and error.reason in _CUT_SHORT:
        return "it ends inside a character: use a complete copy, or name its encoding with --encoding"
    if likely := likely_encoding(sample, encoding):
        return _suggest(likely, encoding)
    if b"\0" in sample:
        return "it has NUL bytes, which text never has: name a text file, or learn any file with --bytes"
    return "name its encoding with --encoding, or learn any file with --bytes"


def _suggest(likely: str, encoding: str) -> str:
    convert = f"convert it with `iconv -f {likely} -t utf-8 FILE > FILE.utf8`, or " if encoding == "utf-8" else ""
    return f"it looks like {likely}: {convert}train with --encoding {likely}"


def _reason(error: UnicodeError, read: int) -> str:
    """Return the byte that could not be decoded and its offset.

    read: the bytes read so far
    """
    if not isinstance(error, UnicodeDecodeError):  # about the whole text, such as a missing byte order mark
        return escaped(str(error))
    offset = read - len(error.object) + error.start
    return f"byte 0x{error.object[error.start : error.start + 1].hex()} at offset {offset:,}"


def _offset_of(char: str, decoder: codecs.IncrementalDecoder, data: bytes) -> int:
    """Return where the bytes of a character begin in the data; a negative offset if they begin before it."""
    for offset in range(len(data)):
        pending = len(decoder.getstate()[0])
        if char in decoder.decode(data[offset : offset + 1]):
            return offset - pending
    return len(data)
