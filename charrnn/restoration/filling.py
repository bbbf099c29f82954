"""Filling gaps: the most probable characters in the gaps of a text, given the text on both sides.

A beam search of each model proposes fills: the forward model from left to right, the backward model from right to left.
Both models then score the fills of both. Each reads on past the last gap in its direction: the first few characters
with all fills, which leaves those that fit, and more with these. The score is the mean of the two log-probabilities of
the whole text, a log-linear mixture. Probabilities are calibrated: the scores times a factor, normalised over the fills
that are left. Fills that were not found have none.

Gaps that are far apart are filled one after the other, from left to right; their probabilities are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import nlargest
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Mask
from charrnn.errors import ConfigError
from charrnn.restoration.gaps import FillConfig, Gap, Template
from charrnn.restoration.pair import CONTEXT, Pair, Read, Reader

_WIDTH = 128  # hypotheses that each beam keeps
_EACH = 32  # of each length of a gap whose length is unknown, and between two gaps
_AHEAD = 3  # known characters after a gap that are read with many hypotheses
_KEPT = 24  # fills that are scored with more of the text
_REACH = 24  # known characters past the last gap that these are scored with
#: Factors of the scores of one model and of two, which are further apart than they should be. With 270 gaps of 1, 3 and
#: 5 characters of tiny Shakespeare's validation split (seeds 11 to 13 of benchmarks/fill.py), they bring the mean
#: probability of the best fill from 0.72 down to the share of right ones, 56 % and 61 %, and minimise the Brier score.
_FACTORS = {1: 0.6, 2: 0.7}
_FAR = 2 * _REACH  # known characters between two gaps, above which one is filled after the other
_MOST = 512  # characters that are filled together: so the time for a line is in proportion to its length


@dataclass(frozen=True)
class Fill:
    """A text with its gaps filled.

    text         all of it
    gaps         what was put into each gap
    probability  that the fill is right
    logprobs     by the forward and the backward model, in nats: of the fill and of the known text that is read after it
    """

    text: str
    gaps: tuple[str, ...]
    probability: float
    logprobs: tuple[float, ...]

    def then(self, other: Fill) -> Fill:
        """Return the fill of the gaps of both; its text is still to be made."""
        logprobs = tuple(a + b for a, b in zip(self.logprobs, other.logprobs, strict=True))
        return Fill("", self.gaps + other.gaps, self.probability * other.probability, logprobs)


@dataclass(frozen=True)
class Fills:
    """The most probable fills of a text, best first; one that is the text itself if it has no gap."""

    text: str
    fills: tuple[Fill, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that `fill --json` prints."""
        return {
            "text": self.text,
            "fills": [
                {
                    "text": one.text,
                    "gaps": list(one.gaps),
                    "probability": one.probability,
                    "forward": one.logprobs[0] if one.logprobs else None,
                    "backward": one.logprobs[1] if len(one.logprobs) > 1 else None,
                }
                for one in self.fills
            ],
        }


def fill(pair: Pair, text: str, config: FillConfig, unknown: str = "error") -> Fills:
    """Return the most probable fills of the gaps of a text.

    unknown  what to do with characters that the vocabulary lacks: "error" or "skip"
    Raises:  ConfigError as for `check`; VocabError for an unknown character under "error"; CorpusError if a gap is too
             long.
    """
    check(pair, config)
    template = Template.parse(text, config)
    if not template.gaps:
        return Fills(text, (Fill(text, (), 1.0, ()),))
    vocab = pair.forward.vocab
    vocab.encode(template.marked(vocab.symbols[0]), unknown)  # whole, so that an error names positions in the text
    done = [Fill("", (), 1.0, (0.0,) * len(pair.readers))]
    for group in template.groups(_FAR, _MOST):
        part = template.part(group, done[0].gaps, CONTEXT)
        own = _best(pair, part, config.top, unknown)
        done = nlargest(config.top, (one.then(more) for one in done for more in own), key=lambda one: one.probability)
    return Fills(text, tuple(replace(one, text=template.filled(one.gaps)) for one in done))


def _best(pair: Pair, template: Template, top: int, unknown: str) -> list[Fill]:
    """Return the most probable fills, the best first."""
    fills, scores = search(pair, template, max(_KEPT, top), unknown)
    total = _FACTORS[len(pair.readers)] * mixed(scores)
    probability = np.exp(total - np.logaddexp.reduce(total))
    best = np.argsort(-total, kind="stable")[:top].tolist()
    return [Fill("", fills[at], float(probability[at]), tuple(scores[at].tolist())) for at in best]


def check(pair: Pair, config: FillConfig) -> None:
    """Raise ConfigError if the models read bytes, or know the mark as a character."""
    vocab = pair.forward.vocab
    if vocab.kind == "bytes":
        raise ConfigError("gaps are filled with characters, and the model reads bytes: use a model of characters")
    if config.mark in vocab.symbols:
        raise ConfigError(f"the model knows {config.mark!r} as a character: choose another mark with --mark")


def search(
    pair: Pair, template: Template, kept: int = _KEPT, unknown: str = "error"
) -> tuple[list[tuple[str, ...]], npt.NDArray[np.float64]]:
    """Return at most so many fills, and the log-probability of each by each model, (N, 2) or (N, 1)."""
    fills = candidates(pair, template, unknown)
    near = mixed(score(pair, template, fills, reach=_AHEAD, unknown=unknown))
    fills = [fills[at] for at in np.argsort(-near, kind="stable")[:kept].tolist()]
    return fills, score(pair, template, fills, reach=_REACH, unknown=unknown)


def mixed(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean over the models (N,) of log-probabilities (N, 2) or (N, 1).

    The mean, since each model says how probable the whole text is. With 200 gaps of tiny Shakespeare's validation split
    (seed 2 of benchmarks/fill.py), a half fills the most: 61.5 %; all shares from 0.3 to 0.6 fill at least 59.5 %.
    """
    mean: npt.NDArray[np.float64] = scores.mean(axis=1)
    return mean


def score(
    pair: Pair, template: Template, fills: list[tuple[str, ...]], *, reach: int, unknown: str = "error"
) -> npt.NDArray[np.float64]:
    """Return the log-probability of each fill, and of known text after it, by each model, (N, 2) or (N, 1).

    reach  known characters past the last gap, in a model's direction, that are scored
    Units:   nats.
    """
    texts = [template.between(each) for each in fills]
    return pair.log_probs(template.fixed[0], texts, template.fixed[-1], reach=reach, unknown=unknown)


def candidates(pair: Pair, template: Template, unknown: str = "error") -> list[tuple[str, ...]]:
    """Return the fills that the beams of both models find, one for each filled text: a text for each gap."""
    found = (_search(reader, template, unknown) for reader in pair.readers)
    return [*{template.between(fills): fills for fills in chain.from_iterable(found)}.values()]


class _Beam(NamedTuple):
    """B hypotheses.

    read   what the model knows after each
    total  (B,) their log-probabilities, in nats
    fills  of each, the ids of the gaps so far, in the order of reading
    """

    read: Read
    total: npt.NDArray[np.float64]
    fills: list[tuple[tuple[int, ...], ...]]

    def rows(self, rows: npt.NDArray[np.intp]) -> _Beam:
        """Return these hypotheses."""
        return _Beam(self.read.rows(rows), self.total[rows], [self.fills[row] for row in rows.tolist()])

    def best(self, width: int) -> _Beam:
        """Return the most probable hypotheses."""
        return self if len(self.total) <= width else self.rows(np.argsort(-self.total, kind="stable")[:width])


def _search(reader: Reader, template: Template, unknown: str) -> list[tuple[str, ...]]:
    """Return the fills that the beam of one model finds, in the order of the text."""
    vocab = reader.vocab
    turn = -1 if vocab.reverse else 1
    before, *fixed = [reader.ids(text, unknown) for text in template.fixed[::turn]]
    beam = _Beam(reader.read(np.concatenate([reader.mark, before])[-CONTEXT:]), np.zeros(1), [()])
    allowed = _allowed(reader)
    for number, (gap, after) in enumerate(zip(template.gaps[::turn], fixed, strict=True)):
        is_last = number == len(fixed) - 1
        beam = _grown(reader, beam, gap, allowed)
        if is_last and gap.low == gap.high:
            break  # the fills are scored by both models next
        known = np.concatenate([after, reader.mark]) if is_last else after
        beam = _through(reader, beam, known[:_AHEAD]).best(_WIDTH if is_last else _EACH)
        if not is_last:
            beam = _through(reader, beam, known[_AHEAD:])
    texts = ([vocab.turned(vocab.characters(gap)) for gap in fills] for fills in beam.fills)
    return [tuple(own[::turn]) for own in texts]


def _allowed(reader: Reader) -> Mask:
    """Return which of the V ids may be in a gap: those of characters, but of line ends."""
    vocab = reader.vocab
    allowed = np.zeros(vocab.size, bool)
    allowed[: len(vocab.symbols)] = [symbol not in "\r\n" for symbol in vocab.symbols]
    return allowed


def _grown(reader: Reader, beam: _Beam, gap: Gap, allowed: Mask) -> _Beam:
    """Return the hypotheses with one more gap filled: the best of each length that it may have."""
    beam = beam._replace(fills=[(*fills, ()) for fills in beam.fills])
    lengths, width = [beam] if gap.low == 0 else [], _WIDTH if gap.low == gap.high else _EACH
    for length in range(1, gap.high + 1):
        total: npt.NDArray[np.float64] = beam.total[:, None] + np.where(allowed, beam.read.log_probs, -np.inf)
        flat = np.argsort(-total, axis=None, kind="stable")[:width]
        rows, ids = np.divmod(flat[np.isfinite(total.reshape(-1)[flat])], total.shape[1])
        fills = [
            (*beam.fills[row][:-1], (*beam.fills[row][-1], id_))
            for row, id_ in zip(rows.tolist(), ids.tolist(), strict=True)
        ]
        beam = _Beam(reader.step(beam.read.rows(rows), ids), total[rows, ids], fills)
        if length >= gap.low:
            lengths.append(beam)
    return lengths[0] if len(lengths) == 1 else _joined(lengths)


def _joined(beams: list[_Beam]) -> _Beam:
    """Return the hypotheses of several beams in one."""
    log_probs = np.concatenate([beam.read.log_probs for beam in beams])
    state = np.concatenate([beam.read.state for beam in beams], axis=2)
    total = np.concatenate([beam.total for beam in beams])
    return _Beam(Read(log_probs, state), total, [*chain.from_iterable(beam.fills for beam in beams)])


def _through(reader: Reader, beam: _Beam, ids: Ids) -> _Beam:
    """Return the hypotheses after known ids, (N,), with their probability."""
    for id_ in ids.tolist():
        total = beam.total + beam.read.log_probs[:, id_]
        beam = beam._replace(read=reader.step(beam.read, np.full(len(total), id_)), total=total)
    return beam
