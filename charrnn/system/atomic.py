"""Files that are never half-written: the one place where anything of value is put on disk."""

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
    """Turn the operating system's refusals to write into one line that names the path and, beside others, a remedy."""
    try:
        yield
    except OSError as error:
        raise CharRNNError(
            f"cannot write {path}: {error.strerror or error}; files saved before are whole: "
            f"free space or rights there, or {remedy}"
        ) from error


def lock(file: IO[Any], *, wait: bool = False) -> None:
    """Take the lock of an open file, which the system takes back when the process ends, however it ends.

    Raises:  OSError where another process holds it, at once or, on Windows, after waiting for ten seconds.
    """
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def replacing(path: Path, remedy: str = _REMEDY) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of `path` once it is complete and on the disk, and not before.

    Raises:  CharRNNError where the disk is full or the folder read-only; what stood at `path` is then untouched.
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
    """Let Ctrl-C and SIGTERM wait until this is over, which takes a moment: an archive that is cut short laments."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    earlier = {number: signal.signal(number, lambda caught, _: came.append(caught)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: of a program that Python is a part of
        for caught in came:
            signal.raise_signal(caught)


def _sync_folder(folder: Path) -> None:
    """Put the folder's new entry on the disk, where the system can (Windows cannot)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
