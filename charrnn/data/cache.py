"""The cache on disk: the ids of large corpora, so that a text is encoded once and never has to fit into memory.

An entry is a file of ids, as they are, and a JSON object beside it that is written last and says what they are. It is
used while the corpus has the size and the modification time that it had when it was read, and the ids have theirs;
otherwise it is made anew. So a kill at any moment leaves a whole entry or none. One process at a time makes entries.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import smallest_type
from charrnn.data.text import CHUNK, Encoder, Text
from charrnn.errors import CharRNNError, CorpusError
from charrnn.system.atomic import lock, replacing, writing

FORMAT_VERSION = 2
MAX_ENTRY = 1 << 28  # bytes of the JSON object that are read: a million files and all of Unicode take fewer
VARIABLE = "CHARRNN_CACHE"
_REMEDY = f"name another folder for the cache by the environment variable {VARIABLE}"


class Stamp(NamedTuple):
    """A file as it was when it was read: bytes, and nanoseconds since 1970."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> Stamp:
        """Return the stamp of a file as it is now.

        Raises:  CorpusError where there is none.
        """
        try:
            found = os.stat(path)
        except OSError as error:
            raise CorpusError(f"cannot read {path}: {error.strerror}") from error
        return cls(os.path.realpath(path), found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Entry:
    """A text in the cache.

    path    the JSON object
    built   when it was made, in seconds since 1970
    stamps  the files that the text was read from, one after the other
    """

    path: Path
    built: float
    stamps: tuple[Stamp, ...]
    text: Text

    @property
    def paths(self) -> set[str]:
        """Return the files' paths, free of links."""
        return {stamp.path for stamp in self.stamps}

    @property
    def valid(self) -> bool:
        """Return whether the files are still as they were."""
        try:
            return self.stamps == tuple(Stamp.of(stamp.path) for stamp in self.stamps)
        except CorpusError:
            return False


def folder() -> Path:
    """Return the cache's folder: CHARRNN_CACHE, or `charrnn` where this system keeps the caches of its users."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "charrnn"


def entries() -> list[Entry]:
    """Return all entries that can be read, the newest first."""
    found = filter(None, map(_open, folder().glob("*.json")))
    return sorted(found, key=lambda entry: entry.built, reverse=True)


def remove(chosen: Iterable[Path] | None = None) -> None:
    """Remove the entries of these paths, or, if None, whatever is in the cache, damaged or left behind by a kill.

    Raises:  CharRNNError where the system refuses.
    """
    with _locked():
        for path in folder().glob("*.json") if chosen is None else chosen:
            _unlink(path)
        _sweep()


def text_of(paths: Sequence[str], pieces: Callable[[], Iterable[str]], settings: str = "") -> Text:
    """Return the text of files that can be read, one after the other, from the cache; put it there if it is not.

    pieces:   reads them
    settings: what else the text depends on; each has an entry of its own
    Raises:  CharRNNError where the cache cannot be written; whatever `pieces` raises.
    """
    names = [*map(os.path.realpath, paths), *filter(None, [settings])]
    key = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    path = folder() / f"{key}.json"
    if (entry := _open(path)) and entry.valid:
        return entry.text
    with _locked():
        if (entry := _open(path)) and entry.valid:  # another process has made it meanwhile
            return entry.text
        entry = None  # some systems remove no file that is mapped into memory
        _unlink(path)
        _sweep()
        files = [Stamp.of(name)._asdict() for name in paths]  # first, so that what changes while it is read is stale
        with replacing(path.with_suffix(".ids"), _REMEDY) as file:
            encoder = _write(file, pieces())
        what = {
            "format_version": FORMAT_VERSION,
            "files": files,
            "settings": settings,
            "sha256": encoder.sha256,
            "symbols": encoder.alphabet.symbols,
            "chars": encoder.chars,
            "ids": _identity(path.with_suffix(".ids").stat()),
        }
        with replacing(path, _REMEDY) as file:
            file.write(json.dumps(what, indent=1).encode())
        if (entry := _open(path)) is None:
            raise CharRNNError(f"{path} cannot be read back, though it was written: {_REMEDY}")
        return entry.text


@contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock of the cache; wait while another process does."""
    with writing(folder(), _REMEDY):
        folder().mkdir(parents=True, exist_ok=True)
        file = open(folder() / ".lock", "w")
    with file:
        with writing(folder(), _REMEDY):
            lock(file, wait=True)
        yield


def _unlink(path: Path) -> None:
    with writing(path, _REMEDY):
        path.unlink(missing_ok=True)


def _sweep() -> None:
    """Remove what belongs to no entry, such as what a kill cut short; whoever holds the lock may."""
    for path in (*folder().glob(".*.tmp"), *folder().glob("*.ids")):
        if not path.with_suffix(".json").exists():
            _unlink(path)


def _identity(found: os.stat_result) -> list[int]:
    """Return what tells whether a file is still the same: bytes, and nanoseconds since 1970."""
    return [found.st_size, found.st_mtime_ns]


def _write(file: BinaryIO, pieces: Iterable[str]) -> Encoder:
    """Write the ids of the pieces; return what encoded them."""
    encoder, dtype = Encoder(), smallest_type(0)
    for piece in pieces:
        before = encoder.chars
        ids = encoder.encode(piece)
        if encoder.dtype != dtype:
            _widen(file, before, dtype, encoder.dtype)
            dtype = encoder.dtype
        file.write(_little(ids).data)
    return encoder


def _little(ids: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the ids with their least byte first, as they stand on disk everywhere."""
    return ids.astype(ids.dtype.newbyteorder("<"), copy=False)


def _widen(file: BinaryIO, chars: int, old: np.dtype[Any], new: np.dtype[Any]) -> None:
    """Give the ids that are written a larger type, from the end to the beginning, where they stand."""
    for at in reversed(range(0, chars, CHUNK)):
        file.seek(at * old.itemsize)
        ids = np.frombuffer(file.read(min(CHUNK, chars - at) * old.itemsize), old.newbyteorder("<"))
        file.seek(at * new.itemsize)
        file.write(_little(ids.astype(new)).data)
    file.seek(chars * new.itemsize)


def _open(path: Path) -> Entry | None:
    """Return the entry in a file, its ids mapped into memory; None where it is missing, damaged or of another kind."""
    try:
        if path.stat().st_size > MAX_ENTRY:
            return None
        what = json.loads(path.read_bytes())
        if what["format_version"] != FORMAT_VERSION:
            return None
        symbols, stamps = what["symbols"], tuple(Stamp(**stamp) for stamp in what["files"])
        with open(path.with_suffix(".ids"), "rb") as file:
            found, dtype = os.fstat(file.fileno()), smallest_type(len(symbols)).newbyteorder("<")
            if _identity(found) != what["ids"] or found.st_size != what["chars"] * dtype.itemsize:
                return None
            ids = np.memmap(file, dtype, "r", 0, (what["chars"],)).view(np.ndarray)
        return Entry(path, path.stat().st_mtime, stamps, Text(ids, symbols, what["sha256"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
