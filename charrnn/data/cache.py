"""The cache on disk: large texts as ids, so that each is encoded once and need not fit into memory.

An entry is a file of ids and a JSON object beside it, which describes the ids and is written last. The entry is valid
while the files of the text, and the ids, have the sizes and modification times that the object says; otherwise it is
made again. So a kill at any moment leaves a complete entry or none. A lock lets one process at a time make entries.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import smallest_type
from charrnn.data.text import CHUNK, Encoder, Text
from charrnn.errors import MAY_PASS, CharRNNError, CorpusError
from charrnn.system.atomic import InUseError, lock, replacing, writing

FORMAT_VERSION = 2
MAX_ENTRY = 1 << 28  # bytes of the JSON object that are read: a million files and all of Unicode take fewer
VARIABLE = "CHARRNN_CACHE"
_REMEDY = f"set the environment variable {VARIABLE} to a folder for the cache"


class NoCacheError(CharRNNError):
    """There is no home folder, it cannot be written, or its file system has no locks."""


class Stamp(NamedTuple):
    """Size and modification time of a file when it was read: bytes, and nanoseconds since 1970."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> Stamp:
        """Return the stamp of a file now.

        Raises:  CorpusError if the file is missing.
        """
        try:
            stat = os.stat(path)
        except OSError as error:
            raise CorpusError.of(error, f"cannot read {path}") from error
        return cls(os.path.realpath(path), stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class Entry:
    """A text in the cache.

    path    of the JSON object
    built   when it was made, in seconds since 1970
    stamps  of the files that the text was read from, in order
    """

    path: Path
    built: float
    stamps: tuple[Stamp, ...]
    text: Text

    @property
    def paths(self) -> set[str]:
        """Return the real paths of the files, with links resolved."""
        return {stamp.path for stamp in self.stamps}

    @property
    def valid(self) -> bool:
        """Return whether the files are unchanged."""
        try:
            return self.stamps == tuple(Stamp.of(stamp.path) for stamp in self.stamps)
        except CorpusError:
            return False


def folder() -> Path | None:
    """Return the folder of the cache: CHARRNN_CACHE, or `charrnn` in the user's folder for caches.

    Returns None if neither the variable nor a home folder is set.
    """
    if path := os.environ.get(VARIABLE):
        return Path(path)
    try:
        if os.name == "nt":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(base) / "charrnn"


def obstacle() -> str | None:
    """Return why texts cannot be cached, with a remedy; None if they can.

    Raises:  CharRNNError if CHARRNN_CACHE names a folder that cannot be written.
    """
    try:
        with _locked(wait=False):
            return None
    except NoCacheError as error:
        return str(error)
    except InUseError:
        return None


def entries() -> list[Entry]:
    """Return all readable entries, the newest first."""
    readable = filter(None, map(_open, _files("*.json")))
    return sorted(readable, key=lambda entry: entry.built, reverse=True)


def remove(paths: Iterable[Path] | None = None) -> None:
    """Remove the entries with these paths; if None, empty the cache, damaged files included.

    Raises:  CharRNNError if the system refuses.
    """
    if folder() is None:
        return
    with _locked():
        for path in _files("*.json") if paths is None else paths:
            _unlink(path)
        _remove_leftovers()


def read_through(paths: Sequence[str], pieces: Callable[[], Iterable[str]], settings: str = "") -> Text:
    """Return the text of these files from the cache; if it is not there, read it and add it.

    If there can be no cache, the text is held in memory; `obstacle` says why.

    pieces:   reads the text
    settings: how the text is read; each way has an entry of its own
    Raises:  CharRNNError if the cache cannot be written; all errors of `pieces`.
    """
    names = [*map(os.path.realpath, paths), *filter(None, [settings])]
    key = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    if place := folder():
        path = place / f"{key}.json"
        if (entry := _open(path)) and entry.valid:
            return entry.text
        with suppress(NoCacheError), _locked():
            return _make(path, paths, pieces, settings)
    return Text.gather(pieces())


def _make(path: Path, paths: Sequence[str], pieces: Callable[[], Iterable[str]], settings: str) -> Text:
    """Return the text of the entry with this path, and make the entry if need be. Needs the lock."""
    if (entry := _open(path)) and entry.valid:  # another process may have made it
        return entry.text
    entry = None  # some systems cannot remove a file that is mapped into memory
    _unlink(path)
    _remove_leftovers()
    files = [Stamp.of(name)._asdict() for name in paths]  # first: a file that changes while it is read is stale
    with replacing(path.with_suffix(".ids"), _REMEDY) as file:
        encoder = _write_ids(file, pieces())
    description = {
        "format_version": FORMAT_VERSION,
        "files": files,
        "settings": settings,
        "sha256": encoder.sha256,
        "symbols": encoder.alphabet.symbols,
        "chars": encoder.chars,
        "ids": _identity(path.with_suffix(".ids").stat()),
    }
    with replacing(path, _REMEDY) as file:
        file.write(json.dumps(description, indent=1).encode())
    if (entry := _open(path)) is None:
        raise CharRNNError(f"{path} cannot be read back, though it was written: {_REMEDY}", MAY_PASS)
    return entry.text


@contextmanager
def _locked(*, wait: bool = True) -> Iterator[None]:
    """Lock the cache.

    wait: True: block until no other process has locked it
    Raises:  NoCacheError if there can be no cache; CharRNNError if CHARRNN_CACHE names a folder that cannot be written;
             InUseError if another process has locked it.
    """
    if (place := folder()) is None:
        raise NoCacheError(f"there is no home folder: {_REMEDY}")
    try:
        place.mkdir(parents=True, exist_ok=True)
        file = open(place / ".lock", "w")
    except OSError as error:
        kind = CharRNNError if os.environ.get(VARIABLE) else NoCacheError
        raise kind.of(error, f"cannot write {place}", _REMEDY) from error
    with file:
        with writing(place, _REMEDY):
            is_locked = lock(file, wait=wait)
        if not is_locked:  # two processes could write the same entry at the same time
            raise NoCacheError(f"the file system of {place} has no locks: {_REMEDY}")
        yield


def _files(pattern: str) -> Iterator[Path]:
    """Return the files in the cache's folder that match a pattern."""
    return place.glob(pattern) if (place := folder()) else iter(())


def _unlink(path: Path) -> None:
    with writing(path, _REMEDY):
        path.unlink(missing_ok=True)


def _remove_leftovers() -> None:
    """Remove files that belong to no entry, such as those of a process that was killed. Needs the lock."""
    for path in (*_files(".*.tmp"), *_files("*.ids")):
        if not path.with_suffix(".json").exists():
            _unlink(path)


def _identity(stat: os.stat_result) -> list[int]:
    """Return size and modification time, which change when the file does: bytes, and nanoseconds since 1970."""
    return [stat.st_size, stat.st_mtime_ns]


def _write_ids(file: BinaryIO, pieces: Iterable[str]) -> Encoder:
    """Encode the pieces and write their ids; return the encoder."""
    encoder, dtype = Encoder(), smallest_type(0)
    for piece in pieces:
        before = encoder.chars
        ids = encoder.encode(piece)
        if encoder.dtype != dtype:
            _widen(file, before, dtype, encoder.dtype)
            dtype = encoder.dtype
        file.write(_little_endian(ids).data)
    return encoder


def _little_endian(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the ids in the byte order of the file, which is the same on every machine."""
    return ids.astype(ids.dtype.newbyteorder("<"), copy=False)


def _widen(file: BinaryIO, chars: int, old: np.dtype[Any], new: np.dtype[Any]) -> None:
    """Rewrite the ids in the file as a larger type, in place: from the end, so that none is overwritten unread."""
    for at in reversed(range(0, chars, CHUNK)):
        file.seek(at * old.itemsize)
        ids = np.frombuffer(file.read(min(CHUNK, chars - at) * old.itemsize), old.newbyteorder("<"))
        file.seek(at * new.itemsize)
        file.write(_little_endian(ids.astype(new)).data)
    file.seek(chars * new.itemsize)


def _open(path: Path) -> Entry | None:
    """Return the entry in a file, its ids mapped into memory; None if it is missing, damaged or of another kind."""
    try:
        if path.stat().st_size > MAX_ENTRY:
            return None
        what = json.loads(path.read_bytes())
        if what["format_version"] != FORMAT_VERSION:
            return None
        symbols, stamps = what["symbols"], tuple(Stamp(**stamp) for stamp in what["files"])
        with open(path.with_suffix(".ids"), "rb") as file:
            stat, dtype = os.fstat(file.fileno()), smallest_type(len(symbols)).newbyteorder("<")
            if _identity(stat) != what["ids"] or stat.st_size != what["chars"] * dtype.itemsize:
                return None
            ids = np.memmap(file, dtype, "r", 0, (what["chars"],)).view(np.ndarray)
        return Entry(path, path.stat().st_mtime, stamps, Text(ids, symbols, what["sha256"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
