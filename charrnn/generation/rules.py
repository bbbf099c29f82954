"""The rules of a sample: which ids may come next, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask

if TYPE_CHECKING:
    from charrnn.generation.constraint import Constraint

#: More characters than any sample has: those left without a limit, and those needed where no match can follow.
NEVER = 2**30


class Rules(NamedTuple):
    """The ids that a sample may contain, and what ends it, whichever comes first.

    length      characters; None: unlimited
    lines       line ends; 0: unlimited
    newline     the id of a line end, if lines are counted
    stops       sequences of ids that end the sample
    end         the id of the end mark, or None
    never       an id that is never drawn, or None
    constraint  a constraint that the whole sample satisfies, or None
    backwards   samples begin with their last id
    """

    length: int | None
    lines: int = 0
    newline: int | None = None
    stops: tuple[Ids, ...] = ()
    end: int | None = None
    never: int | None = None
    constraint: Constraint | None = None
    backwards: bool = False

    def mask(self, logits: Array, length: int | Ids, states: Ids) -> Array:
        """Return the logits, with -inf for each id that may not come next.

        Shapes:  logits (B, V) · length (B,) of each sample so far, or one number for all · states (B,) of the
                 constraint · returns (B, V)
        """
        if self.constraint is not None:
            logits = np.where(self.constraint.allowed(states, self._remaining(length)), logits, -np.inf)
        elif self.never is not None:
            logits = logits.copy()
        if self.never is not None:
            logits[:, self.never] = -np.inf
        return logits

    def _remaining(self, length: int | Ids) -> int | Ids:
        return NEVER if self.length is None else self.length - length

    def follow(self, states: npt.NDArray[np.intp], ids: Ids) -> npt.NDArray[np.intp]:
        """Return the states of the constraint after one more id each."""
        return states if self.constraint is None else self.constraint.follow(states, ids)

    def halting(self, size: int) -> Mask:
        """Return which of the V = `size` ids may end a sample that has no constraint, (V,), apart from its length."""
        mask: Mask = np.zeros(size, bool)
        mask[[int(stop[-1]) for stop in self.stops]] = True
        if self.lines:
            mask[self.newline] = True
        if self.end is not None:
            mask[self.end] = True
        return mask

    def ended(self, length: int | Ids, ids: Ids, recent: Ids, lines: Ids, states: Ids) -> list[str]:
        """Return why each sample ended with its last id, "" if it did not.

        Shapes:  ids (B,) · length (B,), or one number for all · recent (B, W), the last ids, these included ·
                 lines (B,), line ends so far · states (B,) of the constraint
        """
        ended = [""] * len(ids)
        for reason, rows in self._reasons(length, ids, recent, lines, states):
            if rows.any():
                for row in np.flatnonzero(rows).tolist():
                    ended[row] = reason
        return ended

    def _reasons(self, length: int | Ids, ids: Ids, recent: Ids, lines: Ids, states: Ids) -> Iterator[tuple[str, Mask]]:
        """Yield each reason with the rows to which it applies, (B,); a later reason overrides an earlier one."""
        full, remaining = length == self.length, self._remaining(length)
        if full is not False:
            yield "length", np.full(len(ids), full)
            remaining = np.where(full, NEVER, remaining)  # so that "length" is not overridden by "constraint"
        if self.lines:
            yield "length", lines == self.lines
        if self.constraint is not None:
            yield "constraint", self.constraint.exhausted(states, remaining)
        for stop in self.stops:
            if (ids == stop[-1]).any():
                yield "stop", (recent[:, -len(stop) :] == stop).all(axis=1) & (length >= len(stop))
        if self.end is not None:
            yield "document", ids == self.end


def last_ids(read: Sequence[Ids], size: int) -> npt.NDArray[np.intp]:
    """Return the last ids of each batch row, padded in front with -1.

    Shapes:  returns (B, size)
    """
    recent = np.full((len(read), size), -1, np.intp)
    for row, ids in zip(recent, read, strict=True):
        tail = ids[-size:] if size else ids[:0]
        row[size - len(tail) :] = tail
    return recent
