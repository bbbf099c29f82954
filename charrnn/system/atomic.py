"""Write files so that they are never half-written; everything worth keeping is written here."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from charrnn.errors import CharRNNError

_REMEDY = "choose another folder with --out"


@contextmanager
def writing(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Raise a CharRNNError that names the path and a remedy in place of an OSError."""
    try:
        yield
    except OSError as error:
        raise CharRNNError(
            f"cannot write {path}: {error.strerror or error}; files saved before are whole: "
            f"free space or rights there, or {remedy}"
        ) from error


def lock(file: IO[Any], *, wait: bool = False) -> None:
    """Lock an open file; the system releases the lock when the process ends, however it ends.

    wait: True: block until the lock is free
    Raises:  OSError if another process has the lock: at once, or with `wait` on Windows, after ten seconds.
    """
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def replacing(path: Path, remedy: str = _REMEDY) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path` when the block ends, once it is complete and on disk.

    Raises:  CharRNNError if the disk is full or the folder read-only; `path` is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path, remedy):
        try:
            with open(temporary, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM until the block ends; an interrupted zip write prints a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals in Python
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    earlier = {number: signal.signal(number, lambda caught, _: received.append(caught)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by a program that embeds Python
        for caught in received:
            signal.raise_signal(caught)


def _sync_folder(folder: Path) -> None:
    """Write the folder's new entry to disk; Windows has no way to."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
