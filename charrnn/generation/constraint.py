"""Constraints: which symbols a text may have next, so that all of it matches a regular expression.

It is known how many symbols each state of the expression's automaton needs at least to a match: so no path is begun
that leads to none, or that the length would cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from charrnn.arrays import Ids, Mask
from charrnn.generation.regex import NEVER as NEVER
from charrnn.generation.regex import Numbers, automaton

_MASKS = 1024  # that are kept, for texts that are written alone


@dataclass(frozen=True, eq=False)
class Constraint:
    """A deterministic automaton over a vocabulary, as `regular.Automaton` has it, and the texts that it lets by.

    end    the id of the end mark, which may be written where a match is complete, or None
    """

    end: int | None
    kinds: Numbers
    table: Numbers
    needs: Numbers

    @classmethod
    def of(
        cls, symbols: str, size: int, *, regex: str | None = None, charset: str | None = None, end: int | None = None
    ) -> Constraint:
        """Return the automaton of texts that match the regex in full and have no other characters than the charset.

        symbols  those of the vocabulary in the order of their ids; of the V = `size` ids, others are never allowed
        regex    a regular expression as the package `regex` reads it; None: any text
        charset  characters and ranges, what stands between [ and ] in an expression; None: all
        Raises:  ConfigError where either is wrong, not regular or too large, or no text is left to write.
        """
        return cls(end, *automaton(symbols, size, regex, charset))

    @property
    def shortest(self) -> int:
        """Return how many characters the shortest match has."""
        return int(self.needs[0])

    @cached_property
    def _needs_after(self) -> Numbers:
        """Return how many symbols a match takes after one more symbol of each kind, (Q, K)."""
        return self.needs[self.table]

    @cached_property
    def _least_after(self) -> Numbers:
        """Return how many symbols a match takes at least after one more symbol: (Q,), NEVER where none can follow."""
        least: Numbers = self._needs_after.min(axis=1)
        return least

    @cached_property
    def _exhausted(self) -> Mask:
        mask: Mask = self._least_after == NEVER
        return mask

    @cached_property
    def _enough(self) -> int:
        """Return how many symbols are as good as any number of them: one more than any state needs."""
        needs = self._needs_after[self._needs_after < NEVER]
        return int(needs.max(initial=0)) + 1

    def allowed(self, states: Ids, left: int | Ids) -> Mask:
        """Return which symbols may come next, where so many may still be written.

        Shapes:  states (B,) · left (B,), or a number for all · returns (B, V), or (1, V) where all are alike
        """
        if len(states) == 1:
            return self._one_mask(int(states[0]), min(left if isinstance(left, int) else int(left[0]), self._enough))
        left = np.minimum(left, self._enough)
        different, rows = np.unique(states * (self._enough + 1) + left, return_inverse=True)
        if len(different) < len(states):  # many streams are in few states
            mask = self.allowed(*np.divmod(different, self._enough + 1))
            return mask if len(different) == 1 else mask[rows]
        return self._mask(states, left)

    @cached_property
    def _one_mask(self) -> Callable[[int, int], Mask]:
        return lru_cache(_MASKS)(lambda state, left: self._mask(np.array([state]), left))

    def _mask(self, states: Ids, left: int | Ids) -> Mask:
        mask: Mask = (self._needs_after.take(states, axis=0) < np.reshape(left, (-1, 1))).take(self.kinds, axis=1)
        if self.end is not None:
            mask[:, self.end] = self.needs[states] == 0
        return mask

    def follow(self, states: Ids, ids: Ids) -> Numbers:
        """Return the states after one more symbol each.

        Shapes:  states (B,) · ids (B,) · returns (B,)
        """
        return self.table[states, self.kinds[ids]]

    def closing(self, states: Ids) -> Mask:
        """Return the symbols after which none can follow, the end mark among them.

        Shapes:  states (B,) · returns (B, V)
        """
        mask: Mask = self._exhausted[self.table[states]].take(self.kinds, axis=1)
        if self.end is not None:
            mask[:, self.end] = True
        return mask

    def exhausted(self, states: Ids, left: int | Ids) -> Mask:
        """Return where no symbol can follow: what was written is a match, and no longer one that fits begins with it.

        Shapes:  states (B,) · left (B,), or a number for all, as for `allowed` · returns (B,)
        """
        if isinstance(left, int) and left >= self._enough:  # the same, in a third of the time
            return self._exhausted[states]
        mask: Mask = self._least_after[states] >= left
        return mask
