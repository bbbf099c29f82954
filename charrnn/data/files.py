"""What a text is read from: files, folders, globs and standard input, in a stated order, as bytes that are unpacked.

A folder stands for the files in it, by name, then those of its folders, by name. What is hidden there or no regular
file is left out, and no folder is read twice, so links may lead round in circles. So it is with what a pattern matches;
of an archive, too, what is hidden is left out. Everything streams.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, NoReturn

from charrnn.config import STDIN
from charrnn.errors import CorpusError

PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
CHUNK = 1 << 20  # bytes read at once
_UNPACKED, _RATIO = 64 << 20, 200  # bytes that a file may always unpack to, and how many times its size beyond that
_SLIP = 1 << 10  # packed bytes handed over at once: one may become 32,000


def describe(path: str) -> str:
    """Return how errors name the source of a text."""
    return "standard input" if path == STDIN else path


def is_packed(path: str) -> bool:
    """Return whether a file is compressed, by its name."""
    return path.lower().endswith(PACKED)


def stem(path: str) -> str:
    """Return the name of what is in a file: without folder, suffix, and that of its compression."""
    name = Path(path)
    return Path(name.stem).stem if is_packed(path) else name.stem


def size(path: str) -> int:
    """Return the bytes of a file; 0 for what is none."""
    return os.path.getsize(path) if path != STDIN and os.path.isfile(path) else 0


def files_of(paths: Sequence[str]) -> list[str]:
    """Return the files that the paths name, folders and globs resolved, in the order of the paths.

    Raises:  CorpusError where one names nothing, or standard input is named twice.
    """
    if not paths:
        raise CorpusError("no file to read: name one")
    if paths.count(STDIN) > 1:
        raise CorpusError("standard input can be read once: name `-` once")
    return [file for path in paths for file in _files(path)]


def _files(path: str) -> list[str]:
    if path == STDIN:
        return [path]
    if os.path.isdir(path):
        if not (found := list(_walk(path, set()))):
            raise CorpusError(f"{path} is a folder without any file to read: name another, or a file")
        return found
    if os.path.lexists(path) or not glob.has_magic(path):
        return [path]
    seen, by_place = set[tuple[int, int]](), dict[tuple[str, str], str]()
    for match in sorted(_matches(path)):
        for file in _walk(match, seen) if os.path.isdir(match) else filter(os.path.isfile, [match]):
            folder, name = os.path.split(file)
            by_place.setdefault((os.path.realpath(folder), name), file)
    if not by_place:
        raise CorpusError(f"{path} matches no file: check the pattern")
    return list(by_place.values())


def _matches(pattern: str) -> Iterator[str]:
    """Yield what a pattern matches; what stands behind `**` is looked for once in each folder."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    at, seen = parts.index("**"), set[tuple[int, int]]()
    for start in filter(os.path.isdir, glob.glob(os.path.join(*parts[:at])) if at else [os.curdir]):
        for folder, _ in _folders(start, seen):
            yield from _matches(str(Path(glob.escape(folder), *parts[at + 1 :])))


def _walk(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    """Yield the files in a folder and below."""
    for here, names in _folders(folder, seen):
        paths = (os.path.join(here, name) for name in sorted(names) if not _is_hidden(name))
        yield from filter(os.path.isfile, paths)


def _folders(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and those below that are not hidden, with what else is in each; remember which were read."""

    def refuse(error: OSError) -> NoReturn:
        raise CorpusError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for here, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        found = os.stat(here)
        if (found.st_dev, found.st_ino) in seen:
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield here, files


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


class Input(NamedTuple):
    """One text: how errors name it, the name of its format's suffix, and its bytes, piece by piece."""

    name: str
    suffix: str
    data: Iterator[bytes]


def inputs_of(path: str, progress: Callable[[int], object]) -> Iterator[Input]:
    """Yield the text in a file, or each that is not hidden in a zip archive, by name; unpacked by the file's suffix.

    Take the bytes of one before the next.
    progress: called with the bytes that were read from the file
    Raises:   CorpusError where the file is missing, unreadable, cut short, damaged, or needs a password, and where it
              unpacks to more than 64 MiB and 200 times its size.
    """
    with ExitStack() as holds:
        with refusing(path):
            if path == STDIN and sys.stdin is None:
                raise CorpusError("standard input is closed: name a file, or pipe a text in")
            raw: Any = sys.stdin.buffer if path == STDIN else holds.enter_context(open(path, "rb"))
        if not is_packed(path):
            yield Input(describe(path), Path(path).suffix.lower(), _told(chunks(path, raw.read1, CHUNK), progress))
            return
        room = _Room(path)
        for item in _members(path, raw, holds):
            yield item._replace(data=_unpacked(item.data, raw, room, progress))


def _told(pieces: Iterator[bytes], progress: Callable[[int], object]) -> Iterator[bytes]:
    read = 0
    for data in pieces:
        read += len(data)
        progress(read)
        yield data


def chunks(path: str, read: Callable[[int], bytes], amount: int) -> Iterator[bytes]:
    """Yield the bytes that a file's method reads, so many at once."""
    while True:
        with refusing(path):
            data = read(amount)
        if not data:
            return
        yield data


@contextmanager
def refusing(path: str) -> Iterator[None]:
    """Turn what goes wrong with a file into one line."""
    try:
        yield
    except CorpusError:
        raise
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist: check the path") from None
    except MemoryError:
        raise
    except NotImplementedError as error:  # of what is whole
        raise CorpusError(f"{path} is packed in a way that is not known here ({error}): unpack it first") from error
    except Exception as error:  # damaged data can make the modules that unpack raise almost anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if is_packed(path) and not getattr(error, "errno", None):
            raise CorpusError(f"{path} is cut short or damaged ({reason}): use another copy") from error
        raise CorpusError(f"cannot read {describe(path)}: {reason}") from error


class _Room:
    """What a packed file may still unpack to."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.left = max(_UNPACKED, _RATIO * size(path))

    def take(self, amount: int) -> None:
        """Refuse what is too much."""
        self.left -= amount
        if self.left < 0:
            raise CorpusError(
                f"{self.path} unpacks to more than {_RATIO} times its size, as no text does: unpack it first if it does"
            )


def _unpacked(
    pieces: Iterator[bytes], raw: IO[bytes], room: _Room, progress: Callable[[int], object]
) -> Iterator[bytes]:
    for data in pieces:
        room.take(len(data))
        progress(raw.tell() if raw.seekable() else 0)
        yield data


def _members(path: str, raw: IO[bytes], holds: ExitStack) -> Iterator[Input]:
    """Yield the texts in a packed file."""
    packing, inner = Path(path).suffix.lower(), Path(Path(path).stem).suffix.lower()
    if packing == ".zip":
        yield from _zipped(path, raw, holds)
    else:
        yield Input(path, inner, _UNPACKERS[packing](path, raw))


def _zipped(path: str, raw: IO[bytes], holds: ExitStack) -> Iterator[Input]:
    import zipfile

    def is_shown(item: zipfile.ZipInfo) -> bool:
        return not item.is_dir() and not any(map(_is_hidden, PurePosixPath(item.filename).parts))

    def member(item: zipfile.ZipInfo) -> Iterator[bytes]:
        with refusing(path):
            file = archive.open(item)
        yield from chunks(path, file.read, CHUNK)

    with refusing(path):
        archive = holds.enter_context(zipfile.ZipFile(raw))
    members = sorted(filter(is_shown, archive.infolist()), key=lambda item: item.filename)
    if not members:
        raise CorpusError(f"{path} is an archive without any file to read: name another")
    for item in members:
        if item.flag_bits & 1:
            raise CorpusError(f"{path} is protected by a password ({item.filename}): unpack it first")
        yield Input(f"{path}/{item.filename}", Path(item.filename).suffix.lower(), member(item))


def _gz(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    import gzip

    return chunks(path, gzip.GzipFile(fileobj=raw).read, CHUNK)


def _bz2(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    import bz2

    return _streams(path, raw, bz2.BZ2Decompressor)


def _xz(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    import lzma

    return _streams(path, raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), padding=b"\0")


def _zst(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    try:
        new = _zst_frame()
    except ImportError:
        raise CorpusError(
            f"{path} needs the package zstandard: pip install 'charrnn-numpy[zst]', or unpack it with `zstd -d`"
        ) from None
    return _streams(path, raw, new)


def _streams(path: str, raw: IO[bytes], new: Callable[[], Any], padding: bytes = b"") -> Iterator[bytes]:
    """Yield what the streams of a file hold, one after the other; see that the last one is whole.

    new:     makes what unpacks one stream; BZ2File and LZMAFile pass over whatever is none behind the first
    padding: may stand between streams
    """
    stream: Any = new()
    for packed in chunks(path, raw.read, _SLIP):
        while packed := packed if stream else packed.lstrip(padding):
            stream = stream or new()
            with refusing(path):
                data = stream.decompress(packed)
            packed = b""
            if stream.eof:
                packed, stream = stream.unused_data, None
            yield data
    if stream:
        raise CorpusError(f"{path} is cut short or damaged (its last part has no end): use another copy")


def _zst_frame() -> Callable[[], Any]:
    """Return what makes a decompressor of one frame: Python's from 3.14 on, or that of the extra `zst`."""
    new: Callable[[], Any]
    if sys.version_info >= (3, 14):
        from compression import zstd

        new = zstd.ZstdDecompressor
    else:
        from zstandard import ZstdDecompressor

        new = ZstdDecompressor().decompressobj
    return new


_UNPACKERS: dict[str, Callable[[str, IO[bytes]], Iterator[bytes]]] = {
    ".gz": _gz,
    ".bz2": _bz2,
    ".xz": _xz,
    ".zst": _zst,
}
