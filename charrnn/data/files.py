"""Find and open the files of a text: files, folders, globs and standard input, unpacked if they are compressed.

A folder means its files by name, then those of its subfolders by name. Hidden files and folders are skipped, also in
an archive, and so is anything but a regular file. Folders of training runs are left out. No folder is read twice, so
links may form circles. The same applies to globs. All data is read in pieces.
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import IO, Any, NamedTuple, NoReturn

from charrnn.config import STDIN
from charrnn.errors import CorpusError

PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
CHUNK = 1 << 20  # bytes read at once
_ALWAYS_ALLOWED, _MOST_RATIO = 64 << 20, 200  # a file may unpack to this many bytes or times its size
_PACKED_CHUNK = 1 << 10  # packed bytes that are unpacked at once: each may become 32,000
#: The files of a training run, as `training.folder` names them.
RUN_FILES = ("best.npz", "last.npz", "log.jsonl")
_STDIN_NAMES = (STDIN, "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
_DESCRIPTOR = re.compile(r"/dev/stdin|(/dev|/proc/self)/fd/\d+")
_URL = re.compile("([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_MOST_NAMED = 3  # runs in a note


def describe_path(path: str) -> str:
    """Return the name of a path in errors."""
    return "standard input" if path == STDIN else path


def describe_paths(paths: Sequence[str]) -> str:
    """Return the name of several paths in errors: the first one and the number of others."""
    return describe_path(paths[0]) + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def is_packed(path: str) -> bool:
    """Return whether the name of a file says that it is compressed."""
    return path.lower().endswith(PACKED)


def stem(path: str) -> str:
    """Return the name of a file without its folder, its suffix and the suffix of its compression."""
    name = Path(path).stem
    return Path(name).stem if is_packed(path) else name


def size(path: str) -> int:
    """Return the size of a file in bytes; 0 for standard input and for anything but a regular file."""
    return os.path.getsize(path) if path != STDIN and os.path.isfile(path) else 0


def is_once(path: str) -> bool:
    """Return whether a path can be read only once: standard input, a pipe, a terminal, or a file by its descriptor."""
    if path == STDIN or _DESCRIPTOR.fullmatch(path):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def lasting_path(path: str) -> str:
    """Return the path by which a text is remembered: STDIN for one that can be read only once."""
    return STDIN if is_once(path) else path


class Found(NamedTuple):
    """The files at some paths, and the folders of training runs that were left out."""

    files: list[str]
    runs: list[str]

    @property
    def notes(self) -> list[str]:
        """Return sentences for the user about what was left out."""
        return [f"left out {_describe_runs(self.runs)}"] if self.runs else []


def find_files(paths: Sequence[str]) -> Found:
    """Find all files at these paths, those of folders and globs included, in the order of the paths.

    Raises:  CorpusError if a path leads to no file or is a URL, or if one that can be read only once is named twice.
    """
    if not paths:
        raise CorpusError("no file to read: name one")
    once = [STDIN if path in _STDIN_NAMES else path for path in paths if is_once(path)]
    for path in once:
        if once.count(path) > 1:
            raise CorpusError(f"{describe_path(path)} can be read only once: name it once")
    found = [*map(_files_at, paths)]
    return Found([file for one in found for file in one.files], [run for one in found for run in one.runs])


def list_files(paths: Sequence[str]) -> list[str]:
    """Return the files that `find_files` finds."""
    return find_files(paths).files


def _describe_runs(runs: Sequence[str]) -> str:
    names = ", ".join(runs[:_MOST_NAMED]) + (", …" if len(runs) > _MOST_NAMED else "")
    return f"1 run: {names}" if len(runs) == 1 else f"{len(runs):,} runs: {names}"


def _files_at(path: str) -> Found:
    """Return the files at one path, and the runs that were left out."""
    if is_once(path):
        return Found([path], [])
    if os.path.isdir(path):
        found = _leave_out_runs(_walk(path, set()), path)
        missing = "is a folder without any file to read: name another, or a file"
    elif os.path.lexists(path) or not (glob.has_magic(path) or _URL.match(path)):
        return Found([path], [])
    else:
        _refuse_url(path)
        found = _leave_out_runs(_matching_files(path), str(Path(*takewhile(_is_literal, Path(path).parts))))
        missing = "matches no file: check the pattern"
    if found.runs and not found.files:
        what = "is a run, not a text" if found.runs == [path] else f"has no text, only {_describe_runs(found.runs)}"
        missing = f"{what}: name a text file; -m uses the model of a run"
    if not found.files:
        raise CorpusError(f"{path} {missing}")
    return found


def _is_literal(part: str) -> bool:
    return not glob.has_magic(part)


def _refuse_url(path: str) -> None:
    if match := _URL.match(path):
        scheme, name = match[1].lower(), PurePosixPath(re.sub("[?#].*", "", path[match.end() :]).partition("/")[2]).name
        if scheme not in ("http", "https", "ftp"):
            raise CorpusError(f"{path} is a URL: copy the file to this machine, then give its path")
        option, name = ("-LO", name) if name else ("-Lo text.txt", "text.txt")
        raise CorpusError(f"{path} is a URL: download it with `curl {option} {quote(path)}`, then name {name}")


def _leave_out_runs(files: Iterable[str], start: str) -> Found:
    """Return the files without those in folders of training runs; of a run in `start` itself, leave out its own files.

    start: the folder where the search began
    """
    found = Found([], [])

    @cache
    def run_of(folder: str) -> str | None:
        """Return the folder of the run that this folder is in, or is."""
        if Path(folder) == Path(start) or folder == os.path.dirname(folder):
            return None
        return folder if _is_run(folder) else run_of(os.path.dirname(folder))

    begins_in_run = _is_run(start)
    for file in files:
        folder, name = os.path.split(file)
        run = run_of(folder)
        if begins_in_run and name in RUN_FILES and Path(folder) == Path(start):
            run = start
        if run is None:
            found.files.append(file)
        elif run not in found.runs:
            found.runs.append(run)
    return found


def _is_run(folder: str) -> bool:
    """Return whether a folder holds a checkpoint of a training run, or its log."""
    best, last, log = (os.path.join(folder, name) for name in RUN_FILES)
    if os.path.isfile(best) or os.path.isfile(last):
        return True
    with suppress(OSError, ValueError, RecursionError), open(log, "rb") as file:
        record = json.loads(file.readline(CHUNK))
        return isinstance(record, dict) and {"step", "seconds"} <= record.keys()
    return False


def _matching_files(pattern: str) -> list[str]:
    """Return the files that match a glob, and the files in matching folders, each once."""
    visited, files = set[tuple[int, int]](), dict[tuple[str, str], str]()
    for match in sorted(_matches(pattern)):
        for file in _walk(match, visited) if os.path.isdir(match) else filter(os.path.isfile, [match]):
            folder, name = os.path.split(file)
            files.setdefault((os.path.realpath(folder), name), file)
    return list(files.values())


def _matches(pattern: str) -> Iterator[str]:
    """Yield the paths that match a glob; the part after `**` is looked for once in each folder."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    at, visited = parts.index("**"), set[tuple[int, int]]()
    for start in filter(os.path.isdir, glob.glob(os.path.join(*parts[:at])) if at else [os.curdir]):
        for folder, _ in _folders(start, visited):
            yield from _matches(str(Path(glob.escape(folder), *parts[at + 1 :])))


def _walk(folder: str, visited: set[tuple[int, int]]) -> Iterator[str]:
    """Yield the files in a folder and its subfolders."""
    for parent, names in _folders(folder, visited):
        paths = (os.path.join(parent, name) for name in sorted(names) if not _is_hidden(name))
        yield from filter(os.path.isfile, paths)


def _folders(folder: str, visited: set[tuple[int, int]]) -> Iterator[tuple[str, list[str]]]:
    """Yield a folder and its subfolders, with the names of their files; skip those visited, and add the others."""

    def refuse(error: OSError) -> NoReturn:
        raise CorpusError.of(error, f"cannot read the folder {error.filename}") from error

    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        stat = os.stat(parent)
        if (stat.st_dev, stat.st_ino) in visited:
            folders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield parent, files


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


class Input(NamedTuple):
    """An open file, or one in an archive.

    name    its name in errors
    suffix  the suffix of its format in lower case, without the suffix of a compression
    data    its unpacked bytes, in pieces
    """

    name: str
    suffix: str
    data: Iterator[bytes]


def open_inputs(path: str, progress: Callable[[int], object]) -> Iterator[Input]:
    """Yield the file at a path, or each file in a zip archive, by name. Read one to its end before you take the next.

    progress: called with the bytes read from the file so far
    Raises:   CorpusError if the file is missing, unreadable, damaged or protected by a password, or if it unpacks to
              more than 64 MiB and 200 times its size.
    """
    with ExitStack() as stack:
        with refusing(path):
            if path == STDIN and sys.stdin is None:
                raise CorpusError("standard input is closed: name a file, or pipe a text in")
            raw: Any = sys.stdin.buffer if path == STDIN else stack.enter_context(open(path, "rb"))
        if not is_packed(path):
            data = _count_bytes(read_chunks(path, raw.read1, CHUNK), progress)
            yield Input(describe_path(path), Path(path).suffix.lower(), data)
            return
        allowance = _Allowance(path)
        for item in _unpacked_inputs(path, raw, stack):
            yield item._replace(data=_limit(item.data, raw, allowance, progress))


def read_chunks(path: str, read: Callable[[int], bytes], amount: int) -> Iterator[bytes]:
    """Yield all bytes of a file, this many at a time.

    read: the method of the open file
    """
    while True:
        with refusing(path):
            data = read(amount)
        if not data:
            return
        yield data


def _count_bytes(data: Iterator[bytes], progress: Callable[[int], object]) -> Iterator[bytes]:
    read = 0
    for piece in data:
        read += len(piece)
        progress(read)
        yield piece


@contextmanager
def refusing(path: str) -> Iterator[None]:
    """Turn every error of a file, except a lack of memory, into a CorpusError of one line."""
    try:
        yield
    except CorpusError:
        raise
    except FileNotFoundError:
        raise CorpusError(f"{path} does not exist: check the path") from None
    except MemoryError:
        raise
    except NotImplementedError as error:  # the file is not damaged
        raise CorpusError(f"{path} is compressed in an unknown way ({error}): unpack it first") from error
    except Exception as error:  # decompressors raise almost anything on damaged data
        if isinstance(error, OSError) and (error.errno or not is_packed(path)):
            raise CorpusError.of(error, f"cannot read {describe_path(path)}") from error
        reason = str(error) or type(error).__name__
        if is_packed(path):
            raise CorpusError(f"{path} is cut short or damaged ({reason}): use another copy") from error
        raise CorpusError(f"cannot read {describe_path(path)}: {reason}") from error


class _Allowance:
    """The number of bytes that a packed file may still unpack to."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.left = max(_ALWAYS_ALLOWED, _MOST_RATIO * size(path))

    def take(self, amount: int) -> None:
        """Subtract these bytes; refuse the file if none are left."""
        self.left -= amount
        if self.left < 0:
            raise CorpusError(
                f"{self.path} unpacks to more than {_MOST_RATIO} times its size, which is rare for text: "
                "unpack it first if you trust it"
            )


def _limit(
    data: Iterator[bytes], raw: IO[bytes], allowance: _Allowance, progress: Callable[[int], object]
) -> Iterator[bytes]:
    for piece in data:
        allowance.take(len(piece))
        progress(raw.tell() if raw.seekable() else 0)
        yield piece


def _unpacked_inputs(path: str, raw: IO[bytes], stack: ExitStack) -> Iterator[Input]:
    """Yield the file inside a compressed file, or those inside an archive."""
    packing, suffix = Path(path).suffix.lower(), Path(Path(path).stem).suffix.lower()
    if packing == ".zip":
        yield from _zip_inputs(path, raw, stack)
    else:
        yield Input(path, suffix, _UNPACKERS[packing](path, raw))


def _zip_inputs(path: str, raw: IO[bytes], stack: ExitStack) -> Iterator[Input]:
    import zipfile

    def is_shown(item: zipfile.ZipInfo) -> bool:
        return not item.is_dir() and not any(map(_is_hidden, PurePosixPath(item.filename).parts))

    def read_member(item: zipfile.ZipInfo) -> Iterator[bytes]:
        with refusing(path):
            file = archive.open(item)
        yield from read_chunks(path, file.read, CHUNK)

    with refusing(path):
        archive = stack.enter_context(zipfile.ZipFile(raw))
    members = sorted(filter(is_shown, archive.infolist()), key=lambda item: item.filename)
    if not members:
        raise CorpusError(f"{path} is an archive without any file to read: name another")
    for item in members:
        if item.flag_bits & 1:
            raise CorpusError(f"{path} is protected by a password ({item.filename}): unpack it first")
        yield Input(f"{path}/{item.filename}", Path(item.filename).suffix.lower(), read_member(item))


def _gz(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    import gzip

    return read_chunks(path, gzip.GzipFile(fileobj=raw).read, CHUNK)


def _bz2(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    import bz2

    return _unpack_streams(path, raw, bz2.BZ2Decompressor)


def _xz(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    import lzma

    return _unpack_streams(path, raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), padding=b"\0")


def _zst(path: str, raw: IO[bytes]) -> Iterator[bytes]:
    try:
        new = _zst_frame()
    except ImportError:
        raise CorpusError(
            f"{path} needs the package zstandard: pip install 'charrnn-numpy[zst]', or unpack it with `zstd -d`"
        ) from None
    return _unpack_streams(path, raw, new)


def _unpack_streams(path: str, raw: IO[bytes], new: Callable[[], Any], padding: bytes = b"") -> Iterator[bytes]:
    """Unpack a file of one or more compressed streams; refuse it if the last one is cut short.

    Python's BZ2File and LZMAFile ignore damaged data after the first stream.
    new:     makes a decompressor for one stream
    padding: bytes that may come between streams
    """
    stream: Any = new()
    for packed in read_chunks(path, raw.read, _PACKED_CHUNK):
        while packed := packed if stream else packed.lstrip(padding):
            stream = stream or new()
            with refusing(path):
                data = stream.decompress(packed)
            packed = b""
            if stream.eof:
                packed, stream = stream.unused_data, None
            yield data
    if stream:
        raise CorpusError(f"{path} is cut short or damaged (its end is missing): use another copy")


def _zst_frame() -> Callable[[], Any]:
    """Return a function that makes a decompressor for one frame: from Python 3.14 on, Python's own."""
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
