"""Settings of samples and completions. This module imports no NumPy, since the command's help reads it."""

from __future__ import annotations

from charrnn.config import MOST_COMPLETED

#: Settings that contradict each other, and the error that says so.
CONFLICTS = tuple(
    (("regex", name), "--regex takes no --stop and no --lines, which would cut a match short: give one of them")
    for name in ("stop", "lines")
)
MAX_LENGTH_RULE = f"--max-length is 1 to {MOST_COMPLETED:,}, and for words and lines alone: leave it out"
