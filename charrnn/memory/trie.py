"""An n-gram model as a trie: the probabilities of all symbols after each character of a text, streams side by side.

A node is a gram, or the root, which is the empty one; its children are the grams that are one character longer. The
state of a stream is a row of n nodes: those of its last 0, 1, 2 … n - 1 characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.memory.ngram import NGrams

#: Numbers of nodes.
Nodes: TypeAlias = npt.NDArray[np.int64]

_CELLS = 1 << 16  # probabilities computed at once: bounds memory, changes no result


@dataclass(frozen=True, eq=False)
class Trie:
    """The n-gram model of a text for one n, of G nodes: the root, then all grams by length and in order of their keys.

    Node G represents every gram that the text lacks: it has no children and leaves everything to a shorter context.
    keys     (G,) the number of the parent times V, plus the id of the last character; ascending; -1 for the root
    starts   (G + 2,) the number of each node's first child; its last child comes before the first of the next node
    kept     (G,) the discounted probability of each gram's last character, given its context
    rest     (G + 1,) the probability that each context leaves to the one that is a character shorter
    unigram  (V,) the probabilities after the empty context
    """

    vocab_size: int
    n: int
    keys: Nodes
    starts: Nodes
    kept: Array
    rest: Array
    unigram: Array

    @classmethod
    def of(cls, grams: NGrams) -> Trie:
        """Return the model of the longest order of `grams`."""
        V, n = grams.vocab_size, len(grams.orders)
        keys, kept, rest = [np.array([-1])], [np.zeros(1, np.float32)], []
        context, nodes = 0, 1  # the number of the order's first context; of nodes so far
        for k, order in enumerate(grams.orders, 1):
            shares = order.top if k == n else order.lower
            keys.append(order.keys + context * V)
            kept.append(shares.kept[:-1])
            rest.append(shares.rest[:-1])
            context, nodes = nodes, nodes + len(order.keys)
        rest.append(np.ones(nodes - context + 1, np.float32))  # of the longest grams, and of node G
        all_keys, all_kept, all_rest = np.concatenate(keys), np.concatenate(kept), np.concatenate(rest)
        starts = np.searchsorted(all_keys, np.arange(nodes + 2) * V)
        unigram = np.full(V, all_rest[0] / V, np.float64)
        unigram[all_keys[1 : starts[1]]] += all_kept[1 : starts[1]]
        return cls(V, max(n, 1), all_keys, starts, all_kept, all_rest, unigram)

    def start(self, streams: int) -> Nodes:
        """Return the state of streams that have read nothing, (B, n)."""
        nodes = np.full((streams, self.n), len(self.keys))
        nodes[:, 0] = 0
        return nodes

    def step(self, ids: Ids, nodes: Nodes) -> Nodes:
        """Return the state after one more character in each stream.

        Shapes:  ids (B,) · nodes (B, n) · returns (B, n)
        """
        after = np.zeros_like(nodes)
        after[:, 1:] = self._child(nodes[:, :-1], ids[:, None])
        return after

    def read(self, ids: Ids, nodes: Nodes, reset: Mask | None = None) -> Nodes:
        """Return the states after each character. The last one continues the streams.

        reset:   where a stream starts again before the character
        Shapes:  ids (T, B) · nodes (B, n), the state before · reset (T, B) · returns (T, B, n)
        """
        states = np.zeros((*ids.shape, self.n), np.int64)
        for k in range(1, self.n):
            before = np.concatenate([nodes[None, :, k - 1], states[:-1, :, k - 1]])
            if reset is not None:
                before[reset] = 0 if k == 1 else len(self.keys)
            states[..., k] = self._child(before, ids)
        return states

    def distributions(self, nodes: Nodes) -> Array:
        """Return the probabilities of all symbols after each state, in float64.

        Shapes:  nodes (..., n) · returns (..., V)
        """
        probs = np.empty((*nodes.shape[:-1], self.vocab_size))
        states, rows = nodes.reshape(-1, self.n), probs.reshape(-1, self.vocab_size)
        size = max(1, _CELLS // self.vocab_size)
        for begin in range(0, len(rows), size):
            self._predict(states[begin : begin + size], out=rows[begin : begin + size])
        return probs

    def longest(self, nodes: Nodes) -> Nodes:
        """Return the length of the longest context that the text continues.

        Shapes:  nodes (..., n) · returns (...)
        Units:   characters.
        """
        continued = self.starts[nodes + 1] > self.starts[nodes]
        length: Nodes = continued[..., 1:].sum(axis=-1)  # whatever continues a context continues all shorter ones
        return length

    def _child(self, nodes: Nodes, ids: Ids) -> Nodes:
        """Return the nodes one character longer than these, G if there is none."""
        keys = nodes * self.vocab_size + ids
        nearest = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[nearest] == keys, nearest, len(self.keys))

    def _predict(self, nodes: Nodes, out: Array) -> None:
        """Compute the probabilities (R, V) after states (R, n).

        Without recursion, p(w | h) sums over h and all shorter contexts: what each keeps for w, times what all longer
        ones leave.
        """
        left = np.ones((len(nodes), self.n))
        np.cumprod(self.rest[nodes[:, :0:-1]], axis=1, dtype=np.float64, out=left[:, -2::-1])
        contexts, weights = nodes[:, 1:].ravel(), left[:, 1:].ravel()
        first = self.starts[contexts]
        count = self.starts[contexts + 1] - first
        ends = count.cumsum()
        grams = np.arange(count.sum()) + np.repeat(first - ends + count, count)
        rows = np.repeat(np.arange(len(nodes)) * self.vocab_size, count.reshape(len(nodes), -1).sum(axis=1))
        cells = rows + self.keys[grams] % self.vocab_size
        np.multiply(left[:, :1], self.unigram, out=out)
        out += np.bincount(cells, np.repeat(weights, count) * self.kept[grams], out.size).reshape(out.shape)
