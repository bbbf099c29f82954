"""Proposals: the edits of a text that two models find most promising, before any of them is scored.

A proposal is judged by what both models predict around one place, in the text as it is. Let l be what is left of an
edit, r what is right of it, and x the characters that the edit writes. Then, with Bayes' rule,

    P(l x r) = P(l) P(x|l) P(r|l x)  and  P(r|l x) ~ P(r) P(x|r) / P(x),

so that log P(x|l) + log P(x|r) - log P(x) ranks what may be between l and r. After an insertion, a deletion or a
transposition, one neighbour is judged twice or not at all; the forward and the backward estimate are averaged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.data.vocab import Vocab

_Floats = npt.NDArray[np.float64]
_NEVER = -1e9  # the score of an edit that is not allowed
_LEAST = -8.0  # nats: no edit that began lower was ever worth making


class Proposal(NamedTuple):
    """An edit: the ids from `begin` to `end` are replaced by `ids`. `log_odds` is that of the slip that it undoes."""

    begin: int
    end: int
    ids: tuple[int, ...]
    kind: str
    log_odds: float


class Symbols(NamedTuple):
    """What each of V ids is.

    log_probs  (V,) of the id in any text, in nats
    writable   (V,) whether an edit may write or change the id
    only_words the writable ids are letters, and one is inserted only beside another
    line_end   the id of a line's end, before and after each text; None if the model has none
    """

    log_probs: _Floats
    writable: Mask
    only_words: bool
    line_end: int | None

    @classmethod
    def of(cls, vocab: Vocab, only_words: bool) -> Symbols:
        """Return the symbols of a vocabulary: all but line ends and special symbols; with only_words, the letters."""
        counts = np.ones(vocab.size)
        counts[: len(vocab.counts)] += vocab.counts
        writable = np.zeros(vocab.size, bool)
        writable[: len(vocab.symbols)] = [
            symbol.isalpha() if only_words else symbol not in "\r\n" for symbol in vocab.symbols
        ]
        line_end = vocab.symbols.index("\n") if "\n" in vocab.symbols and vocab.end is None else None
        return cls(np.log(counts / counts.sum()), writable, only_words, line_end)


def propose(
    ids: Ids, forward: Array, backward: Array, symbols: Symbols, log_odds: dict[str, float], inside: Mask, count: int
) -> list[Proposal]:
    """Return the most promising edits of a text, best first.

    forward   (n + 1, V) log-probabilities of each id after those on its left; the last are those of the end
    backward  (n + 1, V) of the id on the left of each place, before those on its right; the first are those of the end
    inside    (n + 1,) the places where an edit may begin
    count     edits, at most
    Shapes:   ids (n,)
    """
    V = len(symbols.log_probs)
    scores = _scores(ids, forward, backward, symbols, inside)
    flat = np.concatenate([(scores[kind] + log_odds[kind]).ravel() for kind in scores])
    best = np.argpartition(-flat, min(count, len(flat)) - 1)[:count]
    best = best[np.argsort(-flat[best], kind="stable")]
    found = []
    bounds = np.cumsum([0, *(own.size for own in scores.values())]).tolist()
    for at in best[flat[best] > _LEAST].tolist():
        number = max(k for k in range(len(scores)) if bounds[k] <= at)
        kind, at = [*scores][number], at - bounds[number]
        begin, symbol = divmod(at, V) if kind in ("substitution", "insertion") else (at, 0)
        end, written = {
            "substitution": (begin + 1, (symbol,)),
            "insertion": (begin, (symbol,)),
            "deletion": (begin + 1, ()),
            "transposition": (begin + 2, tuple(ids[begin : begin + 2][::-1].tolist())),
        }[kind]
        found.append(Proposal(begin, end, written, kind, log_odds[kind]))
    return found


def _scores(ids: Ids, forward: Array, backward: Array, symbols: Symbols, inside: Mask) -> dict[str, _Floats]:
    """Return the gain of each edit in nats, by its kind and the place where it begins; (n, V) where it writes an id."""
    n, at, any_, end = len(ids), np.arange(len(ids)), symbols.log_probs, symbols.line_end
    changes = symbols.writable[ids]
    F, B, U = forward[at, ids], backward[at + 1, ids], any_[ids]  # of each id: by its left, by its right, by neither
    now = F + B - U
    # The surprise at an id because of what is on its left, or right: an insertion between the two takes it away.
    left = np.append(U - F, 0.0 if end is None else any_[end] - forward[n, end])
    right = np.insert(U - B, 0, 0.0 if end is None else any_[end] - backward[0, end])
    before, after = np.insert(ids, 0, end or 0)[:n], np.append(ids, end or 0)[1:]
    ahead = np.where((at + 1 < n) | (end is not None), forward[at, after] - any_[after], 0.0)
    behind = np.where((at > 0) | (end is not None), backward[at + 1, before] - any_[before], 0.0)
    scores = {
        "substitution": forward[:n] + backward[1:] - any_ - now[:, None],
        "insertion": forward + backward - any_ + (left + right)[:, None] / 2,
        "deletion": (ahead + behind) / 2 - now,
        "transposition": (forward[at, after] + backward[np.minimum(at + 2, n), ids])
        - (now + np.append(B, 0.0)[1:] + np.append(now, 0.0)[1:] + F) / 2,
    }
    allowed = {
        "substitution": (changes & inside[:n])[:, None] & symbols.writable & (np.arange(len(any_)) != ids[:, None]),
        "insertion": inside[:, None] & symbols.writable,
        "deletion": changes & inside[:n],
        "transposition": changes & np.append(changes, False)[1:] & (ids != after) & inside[:n] & (at + 1 < n),
    }
    if symbols.only_words:
        allowed["insertion"] &= (np.append(changes, False) | np.insert(changes, 0, False))[:, None]
    return {kind: np.where(allowed[kind], score, _NEVER) for kind, score in scores.items()}
