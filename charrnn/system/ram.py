"""How much memory this process takes, and how much it can get; known on Linux alone."""

from __future__ import annotations

from pathlib import Path


def own_bytes() -> int | None:
    """Return the bytes of this process alone: neither mapped files nor shared memory."""
    return _bytes_in("/proc/self/status", "RssAnon:")


def free_bytes() -> int | None:
    """Return the bytes that this process has, or can get without swapping others out."""
    own, available = own_bytes(), _bytes_in("/proc/meminfo", "MemAvailable:")
    return None if own is None or available is None else own + available


def _bytes_in(path: str, name: str) -> int | None:
    """Return a figure in bytes from a file of Linux's /proc."""
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return None
    return next((int(words[1]) << 10 for words in lines if words and words[0] == name), None)
