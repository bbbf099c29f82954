"""Kinds of files that are not text, recognised by their first bytes, and how to get text from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from shlex import quote
from typing import NamedTuple

from charrnn.errors import CorpusError


class Kind(NamedTuple):
    """A kind of file, and how to get text from it: FILE is its name, FILE.txt the same name with another suffix."""

    what: str
    remedy: str


_PICTURE = "name a text file"
_SOUND = "name a text file"
_PANDOC = "convert it with `pandoc FILE -t plain -o FILE.txt`, or save it as plain text"
_OFFICE = "save it as plain text, or convert it with `libreoffice --headless --convert-to txt FILE`"
_CALIBRE = "convert it with `ebook-convert FILE FILE.txt`"
_COLUMNS = "export it as FILE.csv, and name its column of text with --field"
_SQLITE = "export texts with `sqlite3 -csv -header FILE 'SELECT ...' > FILE.csv`, and name their column with --field"
_ARRAYS = "name a text file, or write the text to one from Python"
_PROGRAM = "name a text file; --bytes learns files of any kind"
_TAR = Kind("a tar archive", "unpack it with `tar -xf FILE`, and name the text files from it")

#: Kinds by the bytes at a position in the file.
_MARKS = (
    (0, b"%PDF-", Kind("a PDF", "convert it with `pdftotext FILE FILE.txt`")),
    (0, b"\x89PNG\r\n\x1a\n", Kind("a picture (PNG)", _PICTURE)),
    (0, b"\xff\xd8\xff", Kind("a picture (JPEG)", _PICTURE)),
    (0, b"GIF87a", Kind("a picture (GIF)", _PICTURE)),
    (0, b"GIF89a", Kind("a picture (GIF)", _PICTURE)),
    (0, b"BM", Kind("a picture (BMP)", _PICTURE)),
    (0, b"II*\0", Kind("a picture (TIFF)", _PICTURE)),
    (0, b"MM\0*", Kind("a picture (TIFF)", _PICTURE)),
    (0, b"\0\0\1\0", Kind("a picture (icon)", _PICTURE)),
    (0, b"8BPS", Kind("a picture (Photoshop)", _PICTURE)),
    (8, b"WEBP", Kind("a picture (WebP)", _PICTURE)),
    (4, b"ftypavif", Kind("a picture (AVIF)", _PICTURE)),
    (4, b"ftyphei", Kind("a picture (HEIC)", _PICTURE)),
    (0, b"AT&TFORM", Kind("a DjVu document", "convert it with `djvutxt FILE FILE.txt`")),
    (4, b"ftypM4A", Kind("a sound file (M4A)", _SOUND)),
    (4, b"ftyp", Kind("a video (MP4)", _SOUND)),
    (0, b"\x1aE\xdf\xa3", Kind("a video (Matroska or WebM)", _SOUND)),
    (8, b"AVI ", Kind("a video (AVI)", _SOUND)),
    (8, b"WAVE", Kind("a sound file (WAV)", _SOUND)),
    (0, b"ID3", Kind("a sound file (MP3)", _SOUND)),
    (0, b"\xff\xfb", Kind("a sound file (MP3)", _SOUND)),
    (0, b"fLaC", Kind("a sound file (FLAC)", _SOUND)),
    (0, b"OggS", Kind("a sound file (Ogg)", _SOUND)),
    (0, b"MThd", Kind("a sound file (MIDI)", "convert it to a notation of text, for example with `midi2abc FILE`")),
    (0, b"SQLite format 3\0", Kind("an SQLite database", _SQLITE)),
    (0, b"PAR1", Kind("a Parquet table", _COLUMNS)),
    (0, b"ARROW1", Kind("an Arrow table", _COLUMNS)),
    (0, b"ORC", Kind("an ORC table", _COLUMNS)),
    (0, b"Obj\1", Kind("an Avro table", _COLUMNS)),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", _ARRAYS)),
    (0, b"\x93NUMPY", Kind("a NumPy array", _ARRAYS)),
    (0, b"\x80\2", Kind("a pickle of Python objects", _ARRAYS)),
    (0, b"\x80\3", Kind("a pickle of Python objects", _ARRAYS)),
    (0, b"\x80\4", Kind("a pickle of Python objects", _ARRAYS)),
    (0, b"\x80\5", Kind("a pickle of Python objects", _ARRAYS)),
    (0, b"GGUF", Kind("a model (GGUF)", _PROGRAM)),
    (0, b"\xd0\xcf\x11\xe0", Kind("a document of an old office program, such as .doc or .xls", _OFFICE)),
    (60, b"BOOKMOBI", Kind("a Kindle book", _CALIBRE)),
    (0, b"7z\xbc\xaf", Kind("a 7z archive", "unpack it with `7z x FILE`, and name the text files from it")),
    (0, b"Rar!\x1a\7", Kind("a RAR archive", "unpack it with `unrar x FILE`, and name the text files from it")),
    (0, b"\x7fELF", Kind("a program", _PROGRAM)),
    (0, b"MZ", Kind("a program", _PROGRAM)),
    (0, b"\xcf\xfa\xed\xfe", Kind("a program", _PROGRAM)),
    (0, b"\xca\xfe\xba\xbe", Kind("a program", _PROGRAM)),
    (0, b"\0asm", Kind("a program", _PROGRAM)),
)
#: Compressions by the first bytes, with their suffix and the program that unpacks them.
_PACKINGS = (
    (b"\x1f\x8b\x08", ".gz", "gunzip"),
    (b"BZh", ".bz2", "bunzip2"),
    (b"\xfd7zXZ\0", ".xz", "unxz"),
    (b"\x28\xb5\x2f\xfd", ".zst", "unzstd"),
)
_PACKED_TARS = (".tgz", ".tbz", ".tbz2", ".txz", ".tzst")
#: The beginning of the settings in a checkpoint, as `checkpoint.save` writes them into an array.
_CHECKPOINT_META = '{"format": "charrnn"'.encode("utf-32-le")
#: Kinds of zip archives by the beginning of a file's name in them.
_ZIPPED = (
    ("word/", Kind("a Word document (.docx)", _PANDOC)),
    ("xl/", Kind("an Excel table (.xlsx)", _COLUMNS)),
    ("ppt/", Kind("a PowerPoint presentation (.pptx)", _OFFICE)),
    ("META-INF/container.xml", Kind("an EPUB book", _PANDOC)),
    ("content.xml", Kind("an OpenDocument file", _PANDOC)),
    ("[Content_Types].xml", Kind("a document of Microsoft Office", _PANDOC)),
    ("META-INF/MANIFEST.MF", Kind("a Java program", _PROGRAM)),
)
#: Kinds of zip archives by the media type that they begin with.
_MEDIA_TYPES = (
    (b"application/epub+zip", Kind("an EPUB book", _PANDOC)),
    (b"application/vnd.oasis.opendocument.text", Kind("an OpenDocument text (.odt)", _PANDOC)),
    (b"application/vnd.oasis.opendocument.spreadsheet", Kind("an OpenDocument table (.ods)", _COLUMNS)),
    (b"application/vnd.oasis.opendocument", Kind("an OpenDocument file", _OFFICE)),
)


def describe_kind(name: str, beginning: bytes) -> str | None:
    """Return what a file is and what to do with it, as the end of an error; None if it may be a text."""
    kind = _zipped(beginning) if beginning.startswith(b"PK\3\4") else _packed(name, beginning) or _marked(beginning)
    if kind is None:
        return None
    return f"{kind.what}: {fill_in(kind.remedy, name)}"


def texts_only(name: str, data: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a text.

    Raises:  CorpusError if the file is of another kind, such as a picture.
    """
    first = True
    for piece in data:
        if first and (kind := describe_kind(name, piece)):
            raise CorpusError(f"{name} is {kind}")
        first = False
        yield piece


def fill_in(remedy: str, name: str) -> str:
    """Return a remedy with the name of a file for FILE, and for FILE.suffix with this suffix."""
    on_disk = os.path.isfile(name)  # in an archive, or on standard input, it has no name that a program could open
    file = PurePath(name if on_disk else "FILE")

    def named(match: re.Match[str]) -> str:
        if match[1] is None:
            return quote(str(file))
        other = file.with_suffix(match[1])
        return quote(f"{file}{match[1]}" if other == file else str(other))

    return re.sub(r"FILE([.][a-z0-9]+)?", named, remedy)


def _marked(beginning: bytes) -> Kind | None:
    """Return the kind that the first bytes say; a mark that could begin a text counts only where NUL bytes follow."""
    for position, mark, kind in _MARKS:
        if beginning.startswith(mark, position) and (not mark.isascii() or mark == b"%PDF-" or b"\0" in beginning):
            return kind
    import tarfile  # it loads slowly, and only new texts need it

    try:
        tarfile.TarInfo.frombuf(beginning[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None
    return _TAR


def _packed(name: str, beginning: bytes) -> Kind | None:
    """Return the kind of a compressed file whose name does not say so: the others are unpacked."""
    for mark, suffix, program in _PACKINGS:
        if beginning.startswith(mark) and not beginning.isascii():
            if name.lower().endswith(_PACKED_TARS):
                return _TAR
            return Kind("compressed", f"unpack it with `{program}`, or let its name end in {suffix}")
    return None


def _zipped(beginning: bytes) -> Kind:
    """Return the kind of a zip archive whose name does not say so, from the first names in it."""
    names = []
    for header in re.finditer(rb"PK\x03\x04.{22}(..)..", beginning, re.DOTALL):
        end = header.end() + int.from_bytes(header[1], "little")
        names.append(beginning[header.end() : end].decode("utf-8", "replace"))
    if names[:1] == ["meta.npy"] and _CHECKPOINT_META in beginning:
        return Kind("a checkpoint", "name a text; --init-from FILE trains its model further, and -m FILE uses it")
    if any(name.endswith(".npy") for name in names):
        return Kind("a NumPy archive of arrays", _ARRAYS)
    if any(name.endswith("/data.pkl") for name in names):
        return Kind("a PyTorch file", _ARRAYS)
    kinds = [kind for media_type, kind in _MEDIA_TYPES if names[:1] == ["mimetype"] and media_type in beginning[:200]]
    kinds += [kind for start, kind in _ZIPPED if any(name.startswith(start) for name in names)]
    return kinds[0] if kinds else Kind("a zip archive", "let its name end in .zip, or unpack it with `unzip FILE`")
