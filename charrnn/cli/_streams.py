"""The standard streams: a command reads all of its input, and writes all of its output or fails.

Python's own streams lose data in two cases. PYTHONUNBUFFERED removes the buffer, and with it the rest of a short write.
A program that shares a pipe may make it non-blocking (Node.js does): then an empty pipe looks like the end of the
input, and a full one is an error.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class OutputError(OSError):
    """Standard output cannot be written."""


class _Input(io.FileIO):
    """Standard input without a buffer: it waits for data."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "rb", closefd=False)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what has arrived: at least one byte, except at the end."""
        while (size := super().readinto(buffer)) is None:
            _wait_for(input=self)
        return size

    read = io.RawIOBase.read  # type: ignore[assignment]  # unlike those of FileIO, these two call `readinto`
    readall = io.RawIOBase.readall


class _Output(io.FileIO):
    """Standard output or standard error without a buffer: it waits for space, and writes everything that it is given.

    failure     the exception if it cannot be written, whatever the reason
    discarding  True: all that is written from now on is dropped
    replaced    the stream that opened the descriptor, and would close it if nothing referred to it
    """

    replaced: object = None

    def __init__(self, descriptor: int, failure: type[OSError]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.failure, self.discarding = failure, False

    def write(self, data: ReadableBuffer) -> int:
        """Write all of the data."""
        view = memoryview(data).cast("B")
        rest = view[len(view) :] if self.discarding else view
        try:
            while rest:
                if written := super().write(rest):
                    rest = rest[written:]
                else:
                    _wait_for(output=self)
        except KeyboardInterrupt:  # what has been written may be unknown, and nothing may be written twice
            self.discarding = True
            raise
        except OSError as error:
            raise self.failure(error.errno, error.strerror) from error
        return len(view)


def _wait_for(*, input: io.FileIO | None = None, output: io.FileIO | None = None) -> None:
    """Wait until a non-blocking stream has data or space."""
    import select

    select.select([input] if input else [], [output] if output else [], [])


def open_streams() -> None:
    """Replace the standard streams of this process, unless the caller has put other objects in their place."""
    _hold_descriptors()
    if sys.stdout is None:  # the caller closed it: to write to it is an error, but `train` writes nothing to it
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")
    if _is_pythons(sys.stdin):
        reader = io.BufferedReader(_Input(sys.stdin.fileno()))
        sys.stdin = io.TextIOWrapper(reader, sys.stdin.encoding, sys.stdin.errors)
    sys.stdout = _writer(sys.stdout, OutputError)
    sys.stderr = _writer(sys.stderr, BrokenPipeError)


def _hold_descriptors() -> None:
    """Open the null device at each of the descriptors 0 to 2 that is closed, so that no file of ours gets one."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _is_pythons(stream: Any) -> bool:
    """Return whether this is a stream that Python opened, but not a console of Windows."""
    if not isinstance(stream, io.TextIOWrapper):
        return False
    return type(getattr(stream.buffer, "raw", stream.buffer)) is io.FileIO  # without a buffer, it is the raw stream


def _writer(stream: Any, failure: type[OSError]) -> Any:
    """Return a stream that takes the place of this one, buffered if it is, and writes UTF-8."""
    if _is_pythons(stream):
        stream.flush()
        raw = _Output(stream.fileno(), failure)
        raw.replaced = stream
        stream = io.TextIOWrapper(
            raw if isinstance(stream.buffer, io.RawIOBase) else io.BufferedWriter(raw),
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


def color_wanted() -> bool | None:
    """Return whether the environment asks for colours or for none; None: on terminals only."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None


def discard(stream: Any) -> None:
    """Drop the rest of a stream that cannot be written, its buffer included."""
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if isinstance(raw, _Output):
        raw.discarding = True


def unshared_input() -> BinaryIO:
    """Return standard input for a thread that may still be reading when the program ends.

    Python aborts if a thread then reads from `sys.stdin` itself.
    """
    return io.BufferedReader(_Input(sys.stdin.fileno()))
