"""Select scored lines by a limit, by a quantile of all scores, or the most surprising ones."""

from __future__ import annotations

import heapq
import struct
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np

from charrnn.errors import CharRNNError, exit_code_of
from charrnn.evaluation.settings import ScoreConfig

_IN_MEMORY = 64 << 20  # bytes of lines that wait for a quantile; more are kept in a temporary file
_HEAD = struct.Struct("=dQ")  # bits per character, and the bytes of the line that follow

#: Bits per character of a line, None if it has no score, and the bytes to print for it.
Row: TypeAlias = tuple[float | None, bytes]


def select(rows: Iterable[Row], config: ScoreConfig) -> Iterator[bytes]:
    """Yield the bytes of the selected lines; for `top`, the most surprising first, of equal ones the earlier.

    For `top`, only that many lines are kept. For a quantile, all lines wait in a temporary file, and 8 bytes of each in
    memory.
    Raises:  CharRNNError if the temporary file cannot be written.
    """
    if config.has_quantile:
        chosen = _within_quantiles(rows, config)
    else:
        limits = config.limits()
        chosen = ((bpc, shown) for bpc, shown in rows if bpc is not None and limits.include(bpc))
    if config.top is not None:
        chosen = iter(heapq.nlargest(config.top, chosen, key=lambda row: row[0]))
    return (shown for _, shown in chosen)


def _within_quantiles(rows: Iterable[Row], config: ScoreConfig) -> Iterator[tuple[float, bytes]]:
    """Keep all lines until the last is scored, then yield those within the limits."""
    scores = array("d")
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        for bpc, shown in rows:
            if bpc is not None:
                scores.append(bpc)
                with _explaining_errors():
                    spool.write(_HEAD.pack(bpc, len(shown)) + shown)
        limits = config.limits(array("d", np.sort(np.array(scores)).tobytes()))
        with _explaining_errors():
            spool.seek(0)
        for _ in scores:
            with _explaining_errors():
                bpc, size = _HEAD.unpack(spool.read(_HEAD.size))
                shown = spool.read(size)
            if limits.include(bpc):
                yield bpc, shown


@contextmanager
def _explaining_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CharRNNError(
            f"cannot keep the lines for a percentage in {tempfile.gettempdir()}: {error.strerror}: make room there, "
            "name another folder in the variable TMPDIR, or give --above and --below as numbers",
            exit_code_of(error),
        ) from error
