"""Constraints: which symbols may come next if the whole sample has to match a regular expression.

For each state of the expression's automaton, the length of the shortest rest of a match is known. So no sample takes
a path that leads to no match, or to one beyond the maximum length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from charrnn.arrays import Ids, Mask
from charrnn.generation.regex import Numbers, automaton
from charrnn.generation.rules import NEVER

_MASKS = 1024  # masks cached for samples that are drawn alone


@dataclass(frozen=True, eq=False)
class Constraint:
    """The texts that a deterministic automaton over a vocabulary accepts; its arrays are those of `regex.Automaton`.

    end    the id of the end mark, which may be drawn where a match is complete, or None
    """

    end: int | None
    kinds: Numbers
    table: Numbers
    needs: Numbers

    @classmethod
    def of(
        cls,
        symbols: str,
        size: int,
        *,
        regex: str | None = None,
        charset: str | None = None,
        end: int | None = None,
        normalize: str = "none",
        lowercase: bool = False,
    ) -> Constraint:
        """Return the constraint that a text matches the regex in full and has only characters of the charset.

        symbols  the vocabulary's, in the order of their ids; of the V = `size` ids, others are never allowed
        regex    a regular expression in the syntax of the package `regex`; None: any text
        charset  characters and ranges, as between [ and ] in an expression; None: all
        normalize, lowercase  how texts of the vocabulary are normalized: both arguments are read likewise
        Raises:  ConfigError if either is wrong, not regular or too large, or no text satisfies them.
        """
        return cls(end, *automaton(symbols, size, regex, charset, normalize, lowercase))

    def can_write(self, symbol: int) -> bool:
        """Return whether some text that satisfies the constraint has this symbol."""
        return bool((self.needs[self.table[:, self.kinds[symbol]]] < NEVER).any())

    @property
    def shortest(self) -> int:
        """Return the length of the shortest match."""
        return int(self.needs[0])

    @cached_property
    def _needs_after(self) -> Numbers:
        """Return how many more symbols a match needs after one symbol of each kind, (Q, K)."""
        return self.needs[self.table]

    @cached_property
    def _fewest_after(self) -> Numbers:
        """Return how many more symbols a match needs after the best next one: (Q,), NEVER if none can follow."""
        fewest: Numbers = self._needs_after.min(axis=1)
        return fewest

    @cached_property
    def _exhausted(self) -> Mask:
        mask: Mask = self._fewest_after == NEVER
        return mask

    @cached_property
    def _enough(self) -> int:
        """Return the number of symbols above which more make no difference: one more than any state needs."""
        needs = self._needs_after[self._needs_after < NEVER]
        return int(needs.max(initial=0)) + 1

    def allowed(self, states: Ids, remaining: int | Ids) -> Mask:
        """Return which symbols may come next, if this many may still be drawn.

        Shapes:  states (B,) · remaining (B,), or one number for all · returns (B, V), or (1, V) if all rows are equal
        """
        if len(states) == 1:  # without this case, one sample takes 65 % longer
            return self._one_mask(
                int(states[0]), min(remaining if isinstance(remaining, int) else int(remaining[0]), self._enough)
            )
        remaining = np.minimum(remaining, self._enough)
        different, rows = np.unique(states * (self._enough + 1) + remaining, return_inverse=True)
        if len(different) < len(states):  # many samples are in few states
            mask = self.allowed(*np.divmod(different, self._enough + 1))
            return mask if len(different) == 1 else mask[rows]
        return self._mask(states, remaining)

    @cached_property
    def _one_mask(self) -> Callable[[int, int], Mask]:
        return lru_cache(_MASKS)(lambda state, remaining: self._mask(np.array([state]), remaining))

    def _mask(self, states: Ids, remaining: int | Ids) -> Mask:
        mask: Mask = (self._needs_after.take(states, axis=0) < np.reshape(remaining, (-1, 1))).take(self.kinds, axis=1)
        if self.end is not None:
            mask[:, self.end] = self.needs[states] == 0
        return mask

    def follow(self, states: Ids, ids: Ids) -> Numbers:
        """Return the states after one more symbol each.

        Shapes:  states (B,) · ids (B,) · returns (B,)
        """
        return self.table[states, self.kinds[ids]]

    def closing(self, states: Ids) -> Mask:
        """Return the symbols after which nothing can follow, including the end mark.

        Shapes:  states (B,) · returns (B, V)
        """
        mask: Mask = self._exhausted[self.table[states]].take(self.kinds, axis=1)
        if self.end is not None:
            mask[:, self.end] = True
        return mask

    def exhausted(self, states: Ids, remaining: int | Ids) -> Mask:
        """Return where no symbol can follow: the sample is a match, and no longer match fits that starts with it.

        Shapes:  states (B,) · remaining (B,), or one number for all, as for `allowed` · returns (B,)
        """
        mask: Mask = self._fewest_after[states] >= np.minimum(remaining, self._enough)
        return mask
