"""Write files so that they are never half-written; everything worth keeping is written here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

from charrnn.errors import MAY_PASS, CharRNNError, ConfigError

REMEDY = "choose another folder with --out"
#: Errors by which a file system says that it cannot do something: NFS, Lustre, CIFS, FUSE and WSL lack locks or fsync.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def writing(path: Path, remedy: str = REMEDY, comfort: str = "") -> Iterator[None]:
    """Raise a CharRNNError in place of an OSError: it names the path, cause and remedy, and adds the comfort."""
    try:
        yield
    except OSError as error:
        raise CharRNNError.of(error, f"cannot write {path}", remedy, comfort) from error


class InUseError(CharRNNError):
    """A file that another process has locked."""


def lock(file: IO[Any], *, wait: bool = False) -> bool:
    """Lock an open file; the system releases the lock when the process ends, however it ends.

    wait: True: block until the lock is free
    Returns False if the file system has no locks; the file is then not locked.
    Raises:  InUseError if another process has the lock: at once, or with `wait` on Windows, after ten seconds.
    """
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):  # on Windows, EDEADLK after ten seconds
            raise InUseError(f"another process has locked {file.name}: wait for it", MAY_PASS) from error
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


@contextmanager
def replacing(path: Path, remedy: str = REMEDY) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path` when the block ends, once it is complete and on disk.

    A file system without fsync writes it to disk later, so that a power cut can lose it.

    Raises:  CharRNNError if the disk is full or the folder read-only; `path` is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with writing(path, remedy, "; files saved before are complete"):
        try:
            with open(temporary, "w+b") as file:
                yield file
                file.flush()
                _sync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def output_file(name: str | Path, remedy: str = "name another file") -> Path:
    """Return the file that a user wants written, behind a link if it is one; `replacing` can then write it.

    Raises:  ConfigError if it is a folder or in no folder; if it is "-"; or a device or a pipe, which would be
             replaced, so that root would lose /dev/null.
    """
    path = Path(name)
    if path.is_dir():
        problem = "is a folder"
    elif not path.parent.is_dir():
        problem = f"cannot be written: there is no folder {path.parent}"
    elif name == "-" or (path.exists() and not path.is_file()):
        problem = "is not a file"
    else:
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    raise ConfigError(f"{name} {problem}: {remedy}")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Defer the signals that stop a program until the block ends; an interrupted zip write prints a traceback."""
    import signal
    import threading

    from charrnn.system.signals import STOPPING

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals in Python
        return
    received: list[int] = []
    numbers = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
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
        with suppress(PermissionError):  # it may be written, but not read
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                _sync(descriptor)
            finally:
                os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Write a file or folder to disk, if its file system can do so at once."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
