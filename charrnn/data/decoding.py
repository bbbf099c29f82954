"""From bytes to characters: decoded piece by piece, with results that do not depend on where the pieces end."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator

from charrnn.data.escapes import escaped
from charrnn.errors import CorpusError

#: Byte order marks, with the encodings that begin so; the first begins with another one.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


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


def bare(line: str, known: str = "") -> str:
    """Return a line without a byte order mark before it and the `\\r` of its end, unless they are known."""
    if "\ufeff" not in known:
        line = line.removeprefix("\ufeff")
    return line if "\r" in known else line.removesuffix("\r")
