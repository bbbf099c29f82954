"""Repairing lines: the edits after which a line, and the slips that they undo, are more likely than the line itself.

This is the noisy channel: of all texts t that may have been meant, take the one with the highest

    log P(t) + log P(line | t),

where P(t) is the geometric mean of a forward and a backward model, and P(line | t) the noise model. Each line is read
once in both directions. `proposals` finds promising edits from what both models predict at each place; the models then
read each edit and the characters after it, from the state before it, and so score what changes. The best edits that
are far enough apart are made, and lines with edits are read again until nothing more is gained.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.errors import ConfigError
from charrnn.nn import model
from charrnn.nn.functional import log_softmax
from charrnn.restoration.noise import RepairConfig, log_odds
from charrnn.restoration.pair import Pair, Reader
from charrnn.restoration.proposals import Proposal, Symbols, propose

_REACH = 12  # characters after an edit, in each direction, whose probabilities are compared
_APART = 2 * _REACH  # characters between two edits of the same round
_ROUNDS = 6  # times that a line is read, at most
_PROPOSALS, _FOR_EACH = 12, 3  # edits of a text that are scored: one for each 3 characters, at least 12
_PIECE, _MARGIN = 400, 48  # characters of a long line that are repaired together, and read on either side of them
_MEMORY = 1 << 25  # bytes of the hidden states that are kept at a time
_ROWS = 256  # edits that are scored side by side

_Floats = npt.NDArray[np.float64]


class Edit(NamedTuple):
    """A change of a line.

    kind      one of `noise.KINDS`
    position  of the first character that is changed, or before which one is inserted, in the line as it was; from 0
    before    the characters that are replaced
    after     by these
    gain      how much the logarithm of the probability of line and noise rises, in nats
    """

    kind: str
    position: int
    before: str
    after: str
    gain: float


@dataclass(frozen=True)
class Repaired:
    """A line, what it was repaired to, and the edits in the order in which they were made."""

    line: str
    text: str
    edits: tuple[Edit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that `repair --json` prints."""
        edits = [
            {"kind": one.kind, "position": one.position, "from": one.before, "to": one.after, "gain": one.gain}
            for one in self.edits
        ]
        return {"text": self.line, "repaired": self.text, "edits": edits}


@dataclass
class _Draft:
    """A line that is being repaired.

    text     the line as it is now
    origins  the position in the given line of each character, and of the end
    """

    line: str
    text: str
    origins: list[int]
    edits: list[Edit] = field(default_factory=list)
    done: bool = False

    def make(self, begin: int, end: int, written: str, kind: str, gain: float) -> None:
        """Replace the characters from `begin` to `end`."""
        position = self.origins[begin]
        self.edits.append(Edit(kind, position, self.text[begin:end], written, gain))
        self.text = self.text[:begin] + written + self.text[end:]
        self.origins[begin:end] = [position] * len(written)


class _Piece(NamedTuple):
    """A part of a line that is read at once: its ids, where they are in the line, and where edits may begin."""

    draft: int
    ids: Ids
    places: npt.NDArray[np.intp]
    inside: npt.NDArray[np.bool_]


class _Found(NamedTuple):
    """An edit of a piece that gains so many nats."""

    gain: float
    edit: Proposal
    piece: _Piece


@dataclass(frozen=True, eq=False)
class _Side:
    """A piece as one model has read it, in its direction: n ids, and the mark of the end if the model has one.

    ids        (n + 0 or 1,)
    log_probs  (n + 1, V) of the next id after each number of ids
    states     (n + 1, L, S, H) there
    """

    ids: Ids
    log_probs: Array
    states: Array

    @cached_property
    def sums(self) -> _Floats:
        """Return the log-probability of the first ids, for each number of them."""
        own = self.log_probs[np.arange(len(self.ids)), self.ids]
        return np.concatenate([[0.0], np.cumsum(own, dtype=np.float64)])


class Repairer:
    """Repairs lines with a forward and a backward model; keeps nothing between calls.

    Raises:  ConfigError without a backward model, or for models of bytes.
    """

    def __init__(self, pair: Pair, config: RepairConfig | None = None) -> None:
        if pair.backward is None:
            raise ConfigError(
                "repair reads lines in both directions: give a model trained with --reverse as --backward"
            )
        if pair.forward.vocab.kind == "bytes":
            raise ConfigError("repair edits characters, and this model reads bytes: use a model of characters")
        self._readers = (pair.forward, pair.backward)
        self._vocab = pair.forward.vocab
        self._config = config or RepairConfig()
        self._symbols = Symbols.of(self._vocab, self._config.only_words)
        self._log_odds = log_odds(self._config.rate, self._vocab.entropy)

    def repair(self, lines: Sequence[str]) -> list[Repaired]:
        """Return the lines with their repairs; the result for one does not depend on the others."""
        drafts = [self._draft(line) for line in lines]
        for _ in range(_ROUNDS):
            pieces = [piece for at, draft in enumerate(drafts) if not draft.done for piece in self._pieces(at, draft)]
            if not pieces:
                break
            found: list[list[_Found]] = [[] for _ in drafts]
            for group in self._groups(pieces):
                for piece, own in zip(group, self._scored(group), strict=True):
                    found[piece.draft] += [_Found(gain, one, piece) for gain, one in own]
            for draft, every in zip(drafts, found, strict=True):
                draft.done |= not self._make(draft, every)
        return [Repaired(one.line, one.text if one.edits else one.line, tuple(one.edits)) for one in drafts]

    def _draft(self, line: str) -> _Draft:
        """Return a line as the model reads it, if that has as many characters: then each keeps its own form."""
        form = self._vocab.in_form(line)
        text = line if len(form) == len(line) else form
        return _Draft(line, text, [*range(len(text) + 1)])

    def _pieces(self, draft: int, own: _Draft) -> Iterator[_Piece]:
        """Yield the pieces of a line; characters that the model does not know are left out, and their words kept."""
        form = self._vocab.in_form(own.text)
        if len(form) != len(own.text):  # an edit has made two characters one
            return
        ids, absent = self._vocab.look_up(form)
        places, kept = np.arange(len(ids) + 1), _words_with(form, np.flatnonzero(absent).tolist())
        if self._vocab.unknown is None:
            ids, places = ids[~absent], np.append(np.flatnonzero(~absent), len(absent))
        for begin in range(0, len(ids), _PIECE):
            low, high = max(0, begin - _MARGIN), min(len(ids), begin + _PIECE + _MARGIN)
            at = np.arange(low, high + 1)
            inside = (at >= begin) & ((at < begin + _PIECE) | (high == len(ids))) & ~kept[places[low : high + 1]]
            yield _Piece(draft, ids[low:high].astype(np.intp), places[low : high + 1], inside)

    def _groups(self, pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
        """Yield pieces of similar lengths, as many as the memory for states allows."""
        size = sum(
            reader.checkpoint.params["out.b_y"].nbytes + model.zero_state(reader.checkpoint.model_config, 1).nbytes
            for reader in self._readers
        )
        group: list[_Piece] = []
        for piece in sorted(pieces, key=lambda piece: len(piece.ids)):
            if group and (len(group) + 1) * (len(piece.ids) + 1) * size > _MEMORY:
                yield group
                group = []
            group.append(piece)
        if group:
            yield group

    def _scored(self, pieces: Sequence[_Piece]) -> list[list[tuple[float, Proposal]]]:
        """Return the proposals of each piece that gain something, with their gains."""
        forward, backward = self._readers
        lefts = _read(forward, [piece.ids for piece in pieces])
        rights = _read(backward, [piece.ids[::-1] for piece in pieces])
        proposals = [
            propose(
                piece.ids,
                left.log_probs,
                right.log_probs[::-1],
                self._symbols,
                self._log_odds,
                piece.inside,
                max(_PROPOSALS, len(piece.ids) // _FOR_EACH),
            )
            for piece, left, right in zip(pieces, lefts, rights, strict=True)
        ]
        every = [(number, one) for number, own in enumerate(proposals) for one in own]
        ahead = _gains(forward, [(lefts[k], one.begin, one.end, one.ids) for k, one in every])
        behind = _gains(
            backward,
            [(rights[k], (n := len(pieces[k].ids)) - one.end, n - one.begin, one.ids[::-1]) for k, one in every],
        )
        found: list[list[tuple[float, Proposal]]] = [[] for _ in pieces]
        for (number, one), gain in zip(every, ((ahead + behind) / 2).tolist(), strict=True):
            if gain + one.log_odds > 0:
                found[number].append((gain + one.log_odds, one))
        return found

    def _make(self, draft: _Draft, found: Sequence[_Found]) -> bool:
        """Make the best edits that are far enough apart; return whether there was one."""
        limit = self._config.max_edits
        room = len(draft.text) if limit is None else limit - len(draft.edits)
        chosen: list[tuple[int, int, str, str, float]] = []
        for gain, one, piece in sorted(found, key=lambda each: -each.gain):
            begin = int(piece.places[one.begin])
            end = begin if one.begin == one.end else int(piece.places[one.end - 1]) + 1
            is_whole = end - begin == one.end - one.begin  # no unknown character is between two that change places
            if len(chosen) < room and is_whole and all(abs(begin - other[0]) > _APART for other in chosen):
                written = self._written(draft.text[begin:end], one)
                chosen.append((begin, end, written, one.kind, gain))
        for edit in sorted(chosen, reverse=True):
            draft.make(*edit)
        return bool(chosen)

    def _written(self, before: str, one: Proposal) -> str:
        """Return the characters that an edit writes, in capitals where a model of small letters replaces a capital."""
        if one.kind == "transposition":
            return before[::-1]
        written = self._vocab.characters(one.ids)
        return written.upper() if self._vocab.lowercase and before.isupper() else written


def _words_with(text: str, unknown: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return which characters are in a word with an unknown one, or close to it, (N + 1,): no edit may begin there.

    A word is what is between spaces; only the characters within an edit's reach count.
    """
    inside = np.zeros(len(text) + 1, bool)
    for at in unknown:
        begin = max(0, text.rfind(" ", 0, at) - 1, at - _REACH)  # nothing changes places with the space before it
        end = text.find(" ", at)
        inside[begin : min(end if end >= 0 else len(text), at + _REACH) + 1] = True
    return inside


def _read(reader: Reader, rows: Sequence[Ids]) -> list[_Side]:
    """Read texts side by side, each from the mark of an end."""
    longest, B = max(map(len, rows)), len(rows)
    ids = np.zeros((longest, B), np.intp)
    for b, row in enumerate(rows):
        ids[: len(row), b] = row
    state = model.zero_state(reader.checkpoint.model_config, B)
    logits = np.zeros((B, reader.vocab.size), state.dtype)  # without a mark, any id may be first
    for mark in reader.mark.tolist():
        logits = model.step(reader.weights, np.full(B, mark), state)
    log_probs = np.empty((longest + 1, *logits.shape), state.dtype)
    states = np.empty((longest + 1, *state.shape), state.dtype)
    for t in range(longest + 1):
        log_probs[t], states[t] = log_softmax(logits), state
        if t < longest:
            logits = model.step(reader.weights, ids[t], state)
    return [
        _Side(np.append(row, reader.mark), log_probs[: len(row) + 1, b], states[: len(row) + 1, :, :, b])
        for b, row in enumerate(rows)
    ]


def _gains(reader: Reader, edits: Sequence[tuple[_Side, int, int, tuple[int, ...]]]) -> _Floats:
    """Return how much each edit raises the log-probability of a text by one model, (N,), in nats.

    edits  a text as the model has read it, and the ids from `begin` to `end`, in its direction, that become others
    """
    gains = np.zeros(len(edits))
    for at in range(0, len(edits), _ROWS):
        rows = edits[at : at + _ROWS]
        texts = [np.append(written, side.ids[end : end + _REACH]).astype(np.intp) for side, _, end, written in rows]
        starts = [(side, begin) for side, begin, _, _ in rows]
        old = [side.sums[min(end + _REACH, len(side.ids))] - side.sums[begin] for side, begin, end, _ in rows]
        gains[at : at + _ROWS] = _continued(reader, starts, texts) - old
    return gains


def _continued(reader: Reader, starts: Sequence[tuple[_Side, int]], texts: Sequence[Ids]) -> _Floats:
    """Return the log-probability of each text after the first ids of another, (N,), in nats."""
    lengths = np.array([*map(len, texts)])
    ids = np.zeros((max(1, lengths.max(initial=0)), len(texts)), np.intp)
    for row, text in enumerate(texts):
        ids[: len(text), row] = text
    first = np.array([side.log_probs[at, own] for (side, at), own in zip(starts, ids[0].tolist(), strict=True)])
    total = np.where(lengths > 0, first, 0.0).astype(np.float64)
    if len(ids) > 1:
        state = np.stack([side.states[at] for side, at in starts], axis=2)
        scored, _ = model.score(reader.weights, ids[:-1], ids[1:], state)
        total += np.where(np.arange(1, len(ids))[:, None] < lengths, scored, 0.0).sum(axis=0, dtype=np.float64)
    return total
