"""An n-gram model that counts what it has just read, and backs off to another model, such as a net.

It starts with no counts and never sees the training text, so that a gate can weigh what this text has shown against
what training has. The counts of a context h and a symbol w are as in Kneser-Ney: of the longest contexts, how often w
followed h; of a shorter one, how often w was new after the context that is one character longer. h' is h without its
first character:

p(w | h) = (1 - l) (c(h w) - d)+ / (c(h) + a) + l (1 - rest(h)) [w followed h last] + rest(h) p(w | h')
rest(h) = (d n(h) + a) / (c(h) + a);    c(h) = sum_w c(h w);    n(h) = the number of different w seen after h

p(w | h) = p(w | h') if h has not been read, and after a context of one character it is that of the other model. The
discount d and the recency l are constants; the strength a is one for n(h) = 1 and another for more.
Source:  Teh 2006 (the Pitman-Yor process, with one table for each w); Steinruecken 2014 (a by n(h)). Recency is ours:
         in a tune that repeats its last turn, the symbol that came last is likelier than its count says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask

_CELLS = 1 << 16  # probabilities computed at once: bounds memory, changes no result

# Chosen on tunes, prose and verse together. Values for seven ranges of n(h), fitted to the same texts, save 0.005 bits.
_DISCOUNT = 0.75
_STRENGTH = 2.0
_AGREED_STRENGTH = 0.6  # where only one symbol has followed
_RECENCY = 0.4


@dataclass(eq=False)
class Counts:
    """The counts of one stream, in a tree that grows leftwards: a node is a context, its child is one character longer.

    A context that occurred once is a leaf without counts: the position of its only occurrence says what followed, and
    what came before. It gets children when it occurs again. So a character adds at most two leaves.
    followers  (nodes,) the count of each symbol; empty for a leaf, and for the nodes 0 to V - 1 of single characters
    latest     (nodes,) the position in the text of the symbol that followed last
    text       the ids that have been read
    children   the number of each node, by its parent's number times V plus the id that it has before the parent's
    path       the nodes of the last 2, 3 … characters, as far as they are no leaves
    length     of the longest context that was read before: that of `path`, or one that starts with `leaf`
    leaf       the node that follows the path, or 0
    """

    vocab_size: int
    n: int
    followers: list[dict[int, int]]
    latest: list[int]
    text: list[int] = field(default_factory=list)
    children: dict[int, int] = field(default_factory=dict)
    path: list[int] = field(default_factory=list)
    length: int = 0
    leaf: int = 0

    @classmethod
    def none(cls, vocab_size: int, n: int) -> Counts:
        """Return the counts of a stream that has read nothing."""
        return cls(vocab_size, n, [{}] * vocab_size, [0] * vocab_size)

    def copy(self) -> Counts:
        """Return counts that change apart from these, in a time that grows with the text."""
        return replace(
            self,
            text=self.text.copy(),
            children=self.children.copy(),
            followers=[followers.copy() for followers in self.followers],
            latest=self.latest.copy(),
            path=self.path.copy(),
        )

    def add(self, symbol: int) -> None:
        """Count a symbol after all contexts that end here, and find those that end in it."""
        position, path, followers, latest = len(self.text), self.path, self.followers, self.latest
        if self.leaf:
            self._grow()
        if position:
            self._add_leaf(path[-1] if path else self.text[-1], len(path) + 1, position)
        for node in path:
            latest[node] = position
        for node in reversed(path):
            counts = followers[node]
            if symbol in counts:
                counts[symbol] += 1
                break
            counts[symbol] = 1
        self.text.append(symbol)
        self._find()

    def _grow(self) -> None:
        """Turn the contexts of the leaf that occur again into nodes of the path, and add a leaf for the longer ones."""
        node, position, path = self.leaf, self.latest[self.leaf], self.path
        while len(path) + 1 < self.length:
            path.append(node)
            self.followers[node] = {self.text[position]: 1}
            node = self._add_leaf(node, len(path) + 1, position)

    def _add_leaf(self, parent: int, length: int, position: int) -> int:
        """Add the context before a position that is a character longer than its parent, if there can be one."""
        leaf = len(self.latest)
        if length < min(self.n - 1, position):
            self.children[parent * self.vocab_size + self.text[position - length - 1]] = leaf
            self.followers.append({})
            self.latest.append(position)
        return leaf

    def _find(self) -> None:
        """Find the contexts at the end of the text."""
        text, children, followers, size = self.text, self.children, self.followers, self.vocab_size
        path: list[int] = []
        node, leaf = text[-1], 0
        for symbol in text[-2 : -self.n : -1]:
            found = children.get(node * size + symbol)
            if found is None:
                break
            if not followers[found]:
                leaf = found
                break
            node = found
            path.append(node)
        length = len(path) + 1
        if leaf:
            end = self.latest[leaf]
            longest = min(self.n - 1, end)
            length += 1
            while length < longest and text[end - length - 1] == text[-length - 1]:
                length += 1
        self.path, self.length, self.leaf = path, length, leaf


class _Contexts:
    """The contexts that end in each character of some texts, from short to long, and what followed them, in lists."""

    def __init__(self) -> None:
        self.numbers: list[int] = []  # of contexts, for each character
        self.fanouts: list[int] = []  # of each context
        self.last: list[int] = []
        self.symbols: list[int] = []  # of each context and follower
        self.counts: list[int] = []

    def add(self, stream: Counts) -> None:
        """Add the contexts at the end of a stream's text."""
        text, latest, fanouts, last = stream.text, stream.latest, self.fanouts, self.last
        symbols, counts = self.symbols, self.counts
        for node in stream.path:
            followers = stream.followers[node]
            symbols += followers
            counts += followers.values()
            fanouts.append(len(followers))
            last.append(text[latest[node]])
        if stream.leaf:
            more = stream.length - 1 - len(stream.path)
            fanouts += [1] * more
            counts += [1] * more
            symbols += [text[latest[stream.leaf]]] * more
            last += symbols[-more:]
        self.numbers.append(stream.length - 1)

    def predict(self, n: int, base: Array, out: Array) -> Array:
        """Compute the probabilities after each of the R characters, and return what all contexts leave to the base.

        Shapes:  base, out (R, V) · returns (R,)
        """
        R, V = out.shape
        numbers, fanouts, last, symbols, counts = (
            np.array(figures, np.int64)
            for figures in (self.numbers, self.fanouts, self.last, self.symbols, self.counts)
        )
        row = np.repeat(np.arange(R), numbers)  # the character of each context
        column = np.arange(len(row)) - (numbers.cumsum() - numbers)[row]
        totals = np.diff(counts.cumsum()[fanouts.cumsum() - 1], prepend=0)

        strength = np.where(fanouts == 1, _AGREED_STRENGTH, _STRENGTH)
        rest = (_DISCOUNT * fanouts + strength) / (totals + strength)
        left = np.ones((R, n))  # what all longer contexts leave: the products of their rests
        left[row, column] = rest
        left[:, ::-1].cumprod(axis=1, out=left[:, ::-1])
        weight = left[row, column + 1]

        kept = (1 - _RECENCY) / (totals + strength) * weight
        own = (counts - _DISCOUNT) * np.repeat(kept, fanouts)
        cells = np.concatenate([np.repeat(row * V, fanouts) + symbols, row * V + last])
        shares = np.concatenate([own, _RECENCY * (1 - rest) * weight])
        np.multiply(base, left[:, :1], out=out)
        out += np.bincount(cells, shares, R * V).reshape(R, V)
        return left[:, 0]


@dataclass(frozen=True)
class Adaptive:
    """The model of n-grams of up to n characters. A stream's state is its `Counts`, which reading changes.

    n  at least 3; 24 gains nothing even on tunes
    """

    vocab_size: int
    n: int = 12

    def start(self, streams: int) -> list[Counts]:
        """Return the counts of streams that have read nothing."""
        return [Counts.none(self.vocab_size, self.n) for _ in range(streams)]

    def learn(self, ids: Ids, streams: list[Counts], reset: Mask | None = None, first: Counts | None = None) -> None:
        """Count a text without predicting it.

        reset, first:  as for `read`
        Shapes:  ids, reset (T, B) · streams (B,), which change
        """
        for b, text in enumerate(ids.T.tolist()):
            for t, symbol in enumerate(text):
                if reset is not None and reset[t, b]:
                    streams[b] = self._begun(first)
                streams[b].add(symbol)

    def read(
        self,
        ids: Ids,
        streams: list[Counts],
        base: Array,
        reset: Mask | None = None,
        first: Counts | None = None,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Count each character of a text, then predict the next one.

        Returns the probabilities of all symbols, and the probability that was left to the other model: from 1 where
        nothing like this has been read, to nearly 0 where a long context has always been followed by the same symbol.
        base:    the probabilities that the other model gives to the next character
        reset:   where a stream starts again before the character
        first:   the counts that it then has; none if None
        Shapes:  ids, reset (T, B) · streams (B,), which change · base (T, B, V) · returns (T, B, V), (T, B)
        """
        probs, left = np.empty(base.shape), np.empty(ids.shape)
        rows, size = (-1, self.vocab_size), max(1, _CELLS // max(1, self.vocab_size * len(streams)))
        for begin in range(0, len(ids), size):
            piece = slice(begin, begin + size)
            contexts = _Contexts()
            for t, symbols in enumerate(ids[piece].tolist(), begin):
                for b, symbol in enumerate(symbols):
                    if reset is not None and reset[t, b]:
                        streams[b] = self._begun(first)
                    streams[b].add(symbol)
                    contexts.add(streams[b])
            some = contexts.predict(self.n, base[piece].reshape(rows), probs[piece].reshape(rows))
            left[piece] = some.reshape(-1, len(streams))
        return probs, left

    def _begun(self, first: Counts | None) -> Counts:
        """Return the counts of a stream that starts again."""
        return Counts.none(self.vocab_size, self.n) if first is None else first.copy()
