"""Texts, settings and small helpers for the tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

TIMEOUT = 120  # seconds after which a process counts as hanging; nothing waits that long if all is well

Command = Callable[..., "subprocess.Popen[bytes]"]

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and files")

#: A made-up text: more than ASCII, and long enough that no window has to shrink.
TEXT = "".join(
    f"Der {size} Käfer {does} — «{word}!», ruft {who}. 😀\n"
    for size in ("kleine", "müde", "große")
    for does in ("krabbelt", "brummt", "schläft")
    for word in ("Los", "Komm", "Ho")
    for who in ("Jörg", "Anna")
)

#: Its lines with labels: that of a text is clear from its verb.
LABELLED = "".join(f"{line.split()[3]}\t{line}\n" for line in TEXT.splitlines())

#: Settings with which a run takes a moment.
SMALL = ("--hidden-size", "16", "--batch-size", "4", "--seq-len", "20", "--warmup-steps", "5", "--seed", "1")


class Outcome(NamedTuple):
    """What a command did."""

    code: int
    bytes: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        """Return standard output as text, line ends untouched."""
        return self.bytes.decode()

    @property
    def json(self) -> Any:
        """Return standard output read as strict JSON, which has neither NaN nor Infinity."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        return json.loads(self.bytes, parse_constant=refuse)


class Terminal(NamedTuple):
    """A process and the reading end of the terminal that it writes to."""

    process: subprocess.Popen[bytes]
    master: int

    def read_until(self, wanted: str) -> str:
        """Return what appeared up to and with the wanted text; fail if the process ends before."""
        seen = b""
        while wanted.encode() not in seen:
            more = self._read()
            assert more, f"{wanted!r} never appeared in {seen!r}"
            seen += more
        return seen.decode(errors="replace")

    def read_all(self) -> str:
        """Return all that appears until the process ends."""
        seen = b""
        while more := self._read():
            seen += more
        self.process.wait(TIMEOUT)
        return seen.decode(errors="replace")

    def _read(self) -> bytes:
        try:
            return os.read(self.master, 4096)
        except OSError:  # how Linux reports that the other end is closed
            return b""


def narrowed(process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Make the pipe of standard error small, where the system can."""
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
    return process


def facts(text: str) -> dict[str, str]:
    """Return the names and values of lines like `Best validation loss      3.3205 nats`."""
    pairs = (line.split("  ", 1) for line in text.splitlines() if "  " in line)
    return {name: value.strip() for name, value in pairs}


def meta(path: Path) -> dict[str, Any]:
    """Return the JSON part of a checkpoint."""
    with np.load(path, allow_pickle=False) as archive:
        data: dict[str, Any] = json.loads(str(archive["meta"]))
    return data


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint, without its JSON part."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name != "meta"}


def same_arrays(path: Path, other: Path) -> bool:
    """Return whether two checkpoints have the same arrays, bit for bit."""
    one, two = arrays(path), arrays(other)
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


def error_line(stderr: str) -> str:
    """Return the one line of an error, after checking that it is one, the last, and no traceback."""
    lines = stderr.splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    assert "Traceback" not in stderr, stderr
    assert len(errors) == 1, stderr
    assert errors[0] == lines[-1], stderr
    return errors[0].removeprefix("Error: ")
