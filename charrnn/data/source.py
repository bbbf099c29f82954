"""Where a text came from: the paths and the hash by which it is found again."""

from __future__ import annotations

from typing import NamedTuple


class Source(NamedTuple):
    """The paths that a text was read from, and its SHA-256.

    path  the first path; None for a text in memory, STDIN for one that can be read only once
    also  the other paths
    """

    path: str | None
    sha256: str
    also: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return all paths in order."""
        return () if self.path is None else (self.path, *self.also)


#: The source of a model that was imported without its text.
UNKNOWN = Source(None, "unknown")
