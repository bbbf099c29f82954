"""An n-gram model that counts what it has just read: the probabilities of all symbols after each character.

It starts with no counts. Those of a context h and a symbol w are as in Kneser-Ney: of the longest contexts, how often
w followed h; of a shorter one, how often w was new after the context that is one character longer. h' is h without its
first character:

p(w | h) = (1 - l) (c(h w) - d)+ / (c(h) + a) + l (1 - rest(h)) [w followed h last] + rest(h) p(w | h')
rest(h) = (d n(h) + a) / (c(h) + a);    c(h) = sum_w c(h w);    n(h) = the number of different w seen after h

p(w | h) = p(w | h') if h has not been read, and the empty context backs off to the uniform distribution. The discount
d, the strength a and the recency l depend on n(h).
Source:  Teh 2006 (the Pitman-Yor process, with one table for each w); Steinruecken 2014 (d and a by fan-out). Recency
is ours: in a tune that repeats its last turn, the symbol that came last is likelier than its count says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask

_CELLS = 1 << 16  # probabilities computed at once: bounds memory, changes no result

# Fitted to three texts at once, of tunes, prose and verse; for n(h) from 1, 2, 3, 4, 6, 9 and 16 on.
_FANOUTS = np.array([1, 2, 3, 4, 6, 9, 16])
_DISCOUNT = np.array([0.78, 0.84, 0.81, 0.84, 0.80, 0.74, 0.44])
_STRENGTH = np.array([0.33, 0.78, 1.6, 1.6, 2.5, 5.0, 13.0])
_RECENCY = np.array([0.14, 0.22, 0.19, 0.14, 0.14, 0.04, 0.01])


class Longest(NamedTuple):
    """The longest context that a stream has read before: how much it is worth.

    length  (T, B) its characters, less than n
    fanout  (T, B) the number of different symbols that followed it; 1 if they all agree
    total   (T, B) the sum of their counts
    """

    length: npt.NDArray[np.int64]
    fanout: npt.NDArray[np.int64]
    total: npt.NDArray[np.int64]


@dataclass(eq=False)
class Counts:
    """The counts of one stream, in a tree that grows leftwards: a node is a context, its child is one character longer.

    A context that occurred once is a leaf without counts: the position of its only occurrence says what followed, and
    what came before. It gets children when it occurs again. So a character adds at most two leaves.
    text       the ids that have been read
    children   the number of each node, by its parent's number times V plus the id that it has before the parent's
    followers  (nodes,) the count of each symbol; empty for a leaf, and for the root, which has `unigrams`
    latest     (nodes,) the position in the text of the symbol that followed last
    unigrams   (V,) the counts after the empty context
    path       the nodes of the last 1, 2 … characters, as far as they are no leaves
    length     of the longest context that was read before: of `path`, or longer if `leaf` is one of its contexts
    leaf       the node that follows the path, or 0
    """

    vocab_size: int
    n: int
    text: list[int] = field(default_factory=list)
    children: dict[int, int] = field(default_factory=dict)
    followers: list[dict[int, int]] = field(default_factory=lambda: [{}])
    latest: list[int] = field(default_factory=lambda: [0])
    unigrams: npt.NDArray[np.int64] = field(init=False)
    path: list[int] = field(default_factory=list)
    length: int = 0
    leaf: int = 0

    def __post_init__(self) -> None:
        self.unigrams = np.zeros(self.vocab_size, np.int64)

    def add(self, symbol: int) -> None:
        """Count a symbol after all contexts that end here, and find those that end in it."""
        if self.leaf:
            self._grow()
        position, path, followers, latest = len(self.text), self.path, self.followers, self.latest
        self._add_leaf(path[-1] if path else 0, len(path), position)
        for node in path:
            latest[node] = position
        for node in reversed(path):
            counts = followers[node]
            if symbol in counts:
                counts[symbol] += 1
                break
            counts[symbol] = 1
        else:
            self.unigrams[symbol] += 1
        self.text.append(symbol)
        self._find()

    def _grow(self) -> None:
        """Give each context of the leaf that occurs again a node, and the contexts longer than these a leaf."""
        node, position, path = self.leaf, self.latest[self.leaf], self.path
        while True:
            path.append(node)
            self.followers[node] = {self.text[position]: 1}
            node = self._add_leaf(node, len(path), position)
            if len(path) == self.length:
                return

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
        node = leaf = 0
        for symbol in text[: -self.n : -1]:
            found = children.get(node * size + symbol)
            if found is None:
                break
            if not followers[found]:
                leaf = found
                break
            node = found
            path.append(node)
        length = len(path)
        if leaf:
            end, longest = self.latest[leaf], min(self.n - 1, self.latest[leaf])
            length += 1
            while length < longest and text[end - length - 1] == text[-length - 1]:
                length += 1
        self.path, self.length, self.leaf = path, length, leaf


class _Rows:
    """The contexts after each character of some texts, from short to long; what followed them, in lists."""

    def __init__(self) -> None:
        self.lengths: list[int] = []  # of the longest contexts
        self.fanouts: list[int] = []  # of each context but the empty one
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
            more = stream.length - len(stream.path)
            fanouts += [1] * more
            counts += [1] * more
            symbols += [text[latest[stream.leaf]]] * more
            last += symbols[-more:]
        self.lengths.append(stream.length)


@dataclass(frozen=True)
class Adaptive:
    """The model of n-grams of up to n characters. A stream's state is its `Counts`, which reading changes.

    n  16 gains nothing even on tunes; 10 loses 0.01 bits there
    """

    vocab_size: int
    n: int = 12

    def start(self, streams: int) -> list[Counts]:
        """Return the counts of streams that have read nothing."""
        return [Counts(self.vocab_size, self.n) for _ in range(streams)]

    def learn(self, ids: Ids, streams: list[Counts]) -> None:
        """Count a text without predicting it.

        Shapes:  ids (T, B) · streams (B,), which change
        """
        for stream, text in zip(streams, ids.T.tolist(), strict=True):
            for symbol in text:
                stream.add(symbol)

    def read(self, ids: Ids, streams: list[Counts], reset: Mask | None = None) -> tuple[Array, Longest]:
        """Count each character of a text, then predict the next one: the probabilities of all symbols, in float64.

        reset:   where a stream starts again, with no counts, before the character
        Shapes:  ids (T, B) · streams (B,), which change · reset (T, B) · returns (T, B, V), (T, B) each
        """
        probs = np.empty((*ids.shape, self.vocab_size))
        longest = Longest(*np.empty((3, *ids.shape), np.int64))
        size = max(1, _CELLS // max(1, self.vocab_size * len(streams)))
        for begin in range(0, len(ids), size):
            piece = slice(begin, begin + size)
            some = self._read(ids[piece], streams, None if reset is None else reset[piece], probs[piece])
            for figures, part in zip(longest, some, strict=True):
                figures[piece] = part
        return probs, longest

    def _read(self, ids: Ids, streams: list[Counts], reset: Mask | None, out: Array) -> Longest:
        """Read a piece of the text and compute its probabilities."""
        rows, unigrams = _Rows(), np.empty(out.shape, np.int64)
        for t, symbols in enumerate(ids.tolist()):
            for b, symbol in enumerate(symbols):
                if reset is not None and reset[t, b]:
                    streams[b] = Counts(self.vocab_size, self.n)
                streams[b].add(symbol)
                rows.add(streams[b])
                unigrams[t, b] = streams[b].unigrams
        size = ids.size
        longest = _predict(rows, unigrams.reshape(size, -1), ids.ravel(), self.n, out.reshape(size, -1))
        return Longest(*(figures.reshape(ids.shape) for figures in longest))


class _Shares(NamedTuple):
    """What contexts do with their probability: (M,) each, from their fan-outs and the sums of their counts.

    own(count) = (count - discount) scale for a follower; recency for the last one; rest for the shorter context
    """

    discount: Array
    scale: Array
    recency: Array
    rest: Array

    @classmethod
    def of(cls, fanouts: Ids, sums: Ids) -> _Shares:
        band = _FANOUTS.searchsorted(fanouts, "right") - 1
        discount, strength, recency = _DISCOUNT[band], _STRENGTH[band], _RECENCY[band]
        rest = (discount * fanouts + strength) / (sums + strength)
        return cls(discount, (1 - recency) / (sums + strength), recency * (1 - rest), rest)


def _predict(rows: _Rows, unigrams: Ids, ids: Ids, n: int, out: Array) -> Longest:
    """Compute probabilities from the contexts after each of R characters.

    Shapes:  unigrams (R, V) · ids (R,) · out (R, V) · returns (R,) each
    """
    R, V = out.shape
    lengths, fanouts, last = (np.array(figures, np.int64) for figures in (rows.lengths, rows.fanouts, rows.last))
    symbols, counts = np.array(rows.symbols, np.int64), np.array(rows.counts, np.int64)
    ends = fanouts.cumsum()
    sums = np.diff(np.append(0, counts.cumsum())[np.append(0, ends)])
    at = np.repeat(np.arange(R), lengths)  # the character of each context
    length = np.arange(len(at)) - np.repeat(lengths.cumsum() - lengths, lengths) + 1
    seen, total = (unigrams > 0).sum(axis=1), unigrams.sum(axis=1)
    shares, empty = _Shares.of(fanouts, sums), _Shares.of(seen, total)

    left = np.ones((R, n))  # what all longer contexts leave to each: the products of their rests
    left[at, length - 1] = shares.rest
    left[:, ::-1].cumprod(axis=1, out=left[:, ::-1])
    weight = left[at, length]
    cells = np.concatenate([np.repeat(at * V, fanouts) + symbols, at * V + last])
    own = (counts - np.repeat(shares.discount, fanouts)) * np.repeat(shares.scale * weight, fanouts)
    np.multiply((unigrams - empty.discount[:, None]).clip(min=0), empty.scale[:, None], out=out)
    out += (empty.rest / V)[:, None]
    out[np.arange(R), ids] += empty.recency
    out *= left[:, :1]
    out += np.bincount(cells, np.concatenate([own, shares.recency * weight]), R * V).reshape(R, V)

    deepest = lengths.cumsum() - 1  # the longest context of each character, if it is not the empty one
    some = lengths > 0
    seen[some], total[some] = fanouts[deepest[some]], sums[deepest[some]]
    return Longest(lengths, seen, total)
