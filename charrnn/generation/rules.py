"""Rules of a text that is written: which ids may come next, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.generation.constraint import NEVER, Constraint


@dataclass(frozen=True, eq=False)
class Rules:
    """What may be written, and what ends a text: whichever comes first.

    length      characters written; None: any number
    lines       line ends written; 0: any number
    newline     the id of a line end, where lines are counted
    stops       ids in a row with which it ends
    end         the id of the end mark, or None
    never       an id that is never written, or None
    constraint  what all of it has to match, or None
    """

    length: int | None
    lines: int = 0
    newline: int | None = None
    stops: tuple[Ids, ...] = ()
    end: int | None = None
    never: int | None = None
    constraint: Constraint | None = None

    def possible(self, logits: Array, written: int | Ids, places: Ids) -> Array:
        """Return the logits, -inf where an id may not come next.

        Shapes:  logits (B, V) · written (B,), or a number for all · places (B,), the states of the constraint ·
                 returns (B, V)
        """
        if self.constraint is not None:
            logits = np.where(self.constraint.allowed(places, self._left(written)), logits, -np.inf)
        elif self.never is not None:
            logits = logits.copy()
        if self.never is not None:
            logits[:, self.never] = -np.inf
        return logits

    def _left(self, written: int | Ids) -> int | Ids:
        return NEVER if self.length is None else self.length - written

    def follow(self, places: npt.NDArray[np.intp], ids: Ids) -> npt.NDArray[np.intp]:
        """Return the states of the constraint after one more id each."""
        return places if self.constraint is None else self.constraint.follow(places, ids)

    def ended(self, written: int | Ids, ids: Ids, recent: Ids, lines: Ids, places: Ids) -> list[str]:
        """Return why each text has ended with its last id, "" where it has not.

        Shapes:  ids (B,) · written (B,), or a number for all · recent (B, W), the last ids, these too ·
                 lines (B,), how many it has · places (B,)
        """
        ended = [""] * len(ids)
        for reason, rows in self._ends(written, ids, recent, lines, places):
            if rows.any():
                for row in np.flatnonzero(rows).tolist():
                    ended[row] = reason
        return ended

    def _ends(self, written: int | Ids, ids: Ids, recent: Ids, lines: Ids, places: Ids) -> Iterator[tuple[str, Mask]]:
        """Yield reasons and where they hold, (B,); a later one is told rather than one before."""
        full, left = written == self.length, self._left(written)
        if full is not False:
            yield "length", np.full(len(ids), full)
            left = np.where(full, NEVER, left)  # at its full length, that ended it
        if self.lines:
            yield "length", lines == self.lines
        if self.constraint is not None:
            yield "constraint", self.constraint.exhausted(places, left)
        for stop in self.stops:
            if (ids == stop[-1]).any():
                yield "stop", (recent[:, -len(stop) :] == stop).all(axis=1) & (written >= len(stop))
        if self.end is not None:
            yield "document", ids == self.end


def last_ids(read: Sequence[Ids], size: int) -> npt.NDArray[np.intp]:
    """Return the last ids of each stream, -1 where there are fewer.

    Shapes:  returns (B, size)
    """
    recent = np.full((len(read), size), -1, np.intp)
    for row, ids in zip(recent, read, strict=True):
        tail = ids[-size:] if size else ids[:0]
        row[size - len(tail) :] = tail
    return recent
