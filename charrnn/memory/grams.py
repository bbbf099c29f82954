"""Mix a model with n-gram models: one that counts its training text, and one that counts what it has just read.

p1(w) = (1 - share1) p(w) + share1 p_trained(w)
p2(w) = (1 - share2) p1(w) + share2 p_read(w)

Each share is a gate's, from features of p and of the n-gram model's probabilities q:
    log p . p,    log q . q,    log(p . q + 1e-6),    max p,    max q,
and the length of the longest context that occurs in the training text; or the logarithm of what the contexts that have
been read leave to p. Counts are exact, and the probabilities sum to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.memory.adaptive import Adaptive, Counts
from charrnn.memory.cache import Rows, mixed_at
from charrnn.memory.gate import CAUTION, shares
from charrnn.memory.trie import Nodes, Trie
from charrnn.nn.functional import softmax

FEATURES = 6
_LEAST = 1e-6  # of a sum or share whose logarithm is a feature


@dataclass(eq=False)
class Context:
    """What the n-gram models know of B rows: the contexts in the training text, and the counts of what was read.

    nodes   (B, n)
    counts  one for each row, changed in place; empty if nothing read is counted
    first   the counts of a row after a reset; None: it has none
    """

    nodes: Nodes
    counts: list[Counts]
    first: Counts | None = None

    def only(self, rows: Rows) -> Context:
        """Return these rows, none of them twice; their counts are shared."""
        chosen = np.arange(len(self.nodes))[rows].tolist()
        return Context(self.nodes[chosen], [self.counts[row] for row in chosen] if self.counts else [], self.first)

    def copies(self, rows: Rows) -> Context:
        """Return copies of these rows."""
        return Context.joined([self.only(rows)])

    @staticmethod
    def joined(parts: Sequence[Context]) -> Context:
        """Return copies of all rows of these parts, in order."""
        nodes = np.concatenate([part.nodes for part in parts])
        return Context(nodes, [own.copy() for part in parts for own in part.counts], parts[0].first)


@dataclass(frozen=True, eq=False)
class Grams:
    """The n-gram models, and their gates.

    trie      counts the training text
    adaptive  counts what is read; None: nothing does
    gates     (1 + FOLDS, FEATURES + 1) of each of the two
    temperature of the logits that are mixed, as in `Cache`
    """

    trie: Trie
    adaptive: Adaptive | None
    gates: tuple[npt.NDArray[np.float64], ...] = ()
    temperature: float = 1.0

    def start(self, rows: int, first: Context | None = None) -> Context:
        """Return the context of rows that have read nothing, or with the counts of one row that has read a text."""
        nodes = self.trie.start(rows)
        if not self.adaptive:
            return Context(nodes, [])
        if first is None:
            return Context(nodes, self.adaptive.start(rows))
        (counts,) = first.counts
        return Context(nodes, [counts.copy() for _ in range(rows)], counts)

    def for_sampling(self, temperature: float) -> Grams:
        """Return the models for samples at this temperature: what was read has a smaller share (`CAUTION`)."""
        trained, *read = (gates.copy() for gates in self.gates)
        for gates in read:
            gates[:, -1] -= CAUTION
        return replace(self, gates=(trained, *read), temperature=mixed_at(temperature))

    def learn(self, context: Context, ids: Ids, reset: Mask | None = None) -> None:
        """Read a window without predicting anything.

        Shapes:  ids, reset (T, B)
        """
        if len(ids):
            context.nodes = self.trie.read(ids, context.nodes, reset)[-1]
        if self.adaptive:
            self.adaptive.learn(ids, context.counts, reset, context.first)

    def look_up(self, context: Context, ids: Ids, p: Array, reset: Mask | None) -> list[tuple[Array, Array]]:
        """Read a window; return each model's probabilities of the next symbols, and the features of its gate.

        p  the probabilities that the n-gram models are mixed with
        Shapes:  ids, reset (T, B) · p (T, B, V) · returns (T, B, V) and (T, B, FEATURES) for each
        """
        states = self.trie.read(ids, context.nodes, reset)
        context.nodes = states[-1]
        q = self.trie.distributions(states)
        found = [(q, _features(p, q, self.trie.longest(states)))]
        if self.adaptive:
            q, left = self.adaptive.read(ids, context.counts, p, reset, context.first)
            found.append((q, _features(p, q, np.log(left + _LEAST))))
        return found

    def mix(
        self,
        context: Context,
        ids: Ids,
        logits: Array,
        *,
        reset: Mask | None = None,
        folds: npt.NDArray[np.intp] | None = None,
    ) -> Array:
        """Read a window; replace the logits, such that dividing them by the temperature gives the mixture.

        Returns the share that the probabilities before have in the mixture.
        folds  of the predictions, in the text that the gates were fitted to; None: this is another text
        Shapes:  ids, reset, folds (T, B) · logits (T, B, V) · returns (T, B)
        """
        p = softmax(logits / self.temperature)
        mixed, left = p, np.ones(ids.shape)
        for (q, features), gates in zip(self.look_up(context, ids, p, reset), self.gates, strict=True):
            share = shares(features, gates, folds)
            mixed = (1 - share[..., None]) * mixed + share[..., None] * q
            left = left * (1 - share)
        logits[...] = self.temperature * np.log(mixed)
        return left


def _features(p: Array, q: Array, own: npt.NDArray[Any]) -> Array:
    """Return the features of a gate, given the one that is the n-gram model's own.

    Shapes:  p, q (T, B, V) · own (T, B) · returns (T, B, FEATURES)
    """
    squares = [(one * other).sum(axis=-1) for one, other in ((p, p), (q, q), (p, q))]
    agreement = np.log(squares[2] + _LEAST)
    return np.stack([*np.log(squares[:2]), agreement, p.max(axis=-1), q.max(axis=-1), own], axis=-1)
