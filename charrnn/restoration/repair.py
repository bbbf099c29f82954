"""Repairing lines: the edits after which a line, and the slips that they undo, are more likely than the line itself.

This is the noisy channel: of all texts t that may have been meant, take the one with the highest

    log P(t) + log P(line | t),

where P(t) is the geometric mean of a forward and a backward model, and P(line | t) the noise model. Each line is read
once in both directions. `proposals` finds promising edits from what both models predict at each place; the models then
read each edit and the characters after it, from the state before it, and so score what changes. The best edits that
are far enough apart are made, and what is near them is read again until nothing more is gained.

A long line is read in pieces, each with some characters on either side. A piece is read again only if one of these
characters has changed, so a line takes time in proportion to its length.
"""

from __future__ import annotations

import sys
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
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
_PIECE, _MARGIN = 200, 48  # characters of a long line that are repaired together, and read on either side of them
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
class _Piece:
    """A piece of a line that is being repaired: all of a short line.

    text     as it is now
    origins  the position in the line of each character, and of what follows the piece
    read     the text, with the characters on either side, that the models have read last
    """

    text: str
    origins: list[int]
    read: str | None = None

    def write(self, begin: int, end: int, written: str) -> None:
        """Replace the characters from `begin` to `end`."""
        self.text = self.text[:begin] + written + self.text[end:]
        self.origins[begin:end] = [self.origins[begin]] * len(written)


@dataclass
class _Draft:
    """A line that is being repaired, as it was given, its pieces, and the edits made so far."""

    line: str
    pieces: list[_Piece]
    edits: list[Edit] = field(default_factory=list)

    @classmethod
    def of(cls, line: str, text: str) -> _Draft:
        """Return the draft of a line that is read as this text; long lines are cut after a space if there is one."""
        ends = [0]
        while len(text) - ends[-1] > _PIECE:
            end = ends[-1] + _PIECE
            ends.append(text.rfind(" ", end - _PIECE // 4, end) + 1 or end)
        ends.append(len(text))
        return cls(line, [_Piece(text[a:b], [*range(a, b + 1)]) for a, b in pairwise(ends)])

    @property
    def text(self) -> str:
        """Return the line as it is now."""
        return "".join(piece.text for piece in self.pieces)

    def beside(self, number: int) -> tuple[str, str]:
        """Return the characters before and after a piece that are read with it."""
        before, after = self.pieces[max(0, number - 1) : number], self.pieces[number + 1 : number + 2]
        return before[0].text[-_MARGIN:] if before else "", after[0].text[:_MARGIN] if after else ""

    def make(self, number: int, begin: int, end: int, written: str, kind: str, gain: float) -> None:
        """Replace the characters of a piece from `begin` to `end`."""
        piece = self.pieces[number]
        self.edits.append(Edit(kind, piece.origins[begin], piece.text[begin:end], written, gain))
        piece.write(begin, end, written)


class _Reading(NamedTuple):
    """What is read of a piece: its ids, where each is in the piece, and where edits may begin.

    draft, piece  the numbers of the line, and of the piece in it
    places        (n + 1,) negative, or behind the piece, for the characters on either side
    """

    draft: int
    piece: int
    ids: Ids
    places: npt.NDArray[np.intp]
    inside: npt.NDArray[np.bool_]


class _Found(NamedTuple):
    """An edit of a piece that gains so many nats."""

    gain: float
    edit: Proposal
    reading: _Reading


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
            readings = [own for at, draft in enumerate(drafts) for own in self._readings(at, draft)]
            if not readings:
                break
            found: list[list[_Found]] = [[] for _ in drafts]
            for group in self._groups(readings):
                for reading, proposals in zip(group, self._scored(group), strict=True):
                    found[reading.draft] += [_Found(gain, one, reading) for gain, one in proposals]
            for draft, every in zip(drafts, found, strict=True):
                self._make(draft, every)
        return [Repaired(one.line, one.text if one.edits else one.line, tuple(one.edits)) for one in drafts]

    def _draft(self, line: str) -> _Draft:
        """Return a line as the model reads it, if that has as many characters: then each keeps its own form."""
        form = self._vocab.in_form(line)
        return _Draft.of(line, line if len(form) == len(line) else form)

    def _readings(self, at: int, draft: _Draft) -> Iterator[_Reading]:
        """Yield what is to be read of a line: the pieces with a character, or one beside them, that is not read yet."""
        for number, piece in enumerate(draft.pieces):
            before, after = draft.beside(number)
            text = before + piece.text + after
            if self._room(draft) and text != piece.read:
                piece.read = text
                form = self._vocab.in_form(text)
                if len(form) == len(text):  # else an edit has made two characters one
                    own = self._looked_up(at, number, form, len(before), len(before) + len(piece.text), not after)
                    if len(own.ids):
                        yield own

    def _looked_up(self, draft: int, piece: int, form: str, begin: int, end: int, is_last: bool) -> _Reading:
        """Return the ids of a text; characters that the model does not know are left out, and their words kept.

        begin, end  the piece in the text; if it is the last one, a character may be inserted at its end
        """
        ids, absent = self._vocab.look_up(form)
        places, kept = np.arange(len(ids) + 1), _words_with(form, np.flatnonzero(absent).tolist())
        if self._vocab.unknown is None:
            ids, places = ids[~absent], np.append(np.flatnonzero(~absent), len(absent))
        inside = (begin <= places) & (places < end + is_last) & ~kept[places]
        return _Reading(draft, piece, ids.astype(np.intp), places - begin, inside)

    def _room(self, draft: _Draft) -> int:
        """Return how many more edits a line may have."""
        limit = self._config.max_edits
        return sys.maxsize if limit is None else limit - len(draft.edits)

    def _groups(self, readings: Sequence[_Reading]) -> Iterator[list[_Reading]]:
        """Yield texts of similar lengths, as many as the memory for states allows."""
        size = sum(
            reader.checkpoint.params["out.b_y"].nbytes + model.zero_state(reader.checkpoint.model_config, 1).nbytes
            for reader in self._readers
        )
        group: list[_Reading] = []
        for own in sorted(readings, key=lambda own: len(own.ids)):
            if group and (len(group) + 1) * (len(own.ids) + 1) * size > _MEMORY:
                yield group
                group = []
            group.append(own)
        if group:
            yield group

    def _scored(self, readings: Sequence[_Reading]) -> list[list[tuple[float, Proposal]]]:
        """Return the proposals of each text that gain something, with their gains."""
        forward, backward = self._readers
        lefts = _read(forward, [own.ids for own in readings])
        rights = _read(backward, [own.ids[::-1] for own in readings])
        proposals = [
            propose(
                own.ids,
                left.log_probs,
                right.log_probs[::-1],
                self._symbols,
                self._log_odds,
                own.inside,
                max(_PROPOSALS, int(own.inside.sum()) // _FOR_EACH),
            )
            for own, left, right in zip(readings, lefts, rights, strict=True)
        ]
        every = [(number, one) for number, each in enumerate(proposals) for one in each]
        ahead = _gains(forward, [(lefts[k], one.begin, one.end, one.ids) for k, one in every])
        behind = _gains(
            backward,
            [(rights[k], (n := len(readings[k].ids)) - one.end, n - one.begin, one.ids[::-1]) for k, one in every],
        )
        found: list[list[tuple[float, Proposal]]] = [[] for _ in readings]
        for (number, one), gain in zip(every, ((ahead + behind) / 2).tolist(), strict=True):
            if gain + one.log_odds > 0:
                found[number].append((gain + one.log_odds, one))
        return found

    def _make(self, draft: _Draft, found: Sequence[_Found]) -> None:
        """Make the best edits of a line that are far enough apart."""
        starts = [0, *accumulate(len(piece.text) for piece in draft.pieces)]
        taken, chosen, room = list[int](), list[tuple[int, int, int, str, str, float]](), self._room(draft)
        for gain, one, reading in sorted(found, key=lambda each: -each.gain):
            piece = draft.pieces[reading.piece]
            begin = int(reading.places[one.begin])
            end = begin if one.begin == one.end else int(reading.places[one.end - 1]) + 1
            is_whole = end - begin == one.end - one.begin and end <= len(piece.text)  # no unknown character is inside
            at = starts[reading.piece] + begin
            near = bisect(taken, at)
            if (
                len(chosen) < room
                and is_whole
                and all(abs(at - each) > _APART for each in taken[max(0, near - 1) : near + 1])
            ):
                taken.insert(near, at)
                written = self._written(piece.text[begin:end], one)
                chosen.append((reading.piece, begin, end, written, one.kind, gain))
        for edit in sorted(chosen, reverse=True):
            draft.make(*edit)

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
