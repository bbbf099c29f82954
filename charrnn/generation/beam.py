"""Beam search: find likely texts by keeping the most likely hypotheses at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.generation.ensemble import Ensemble, Primed
from charrnn.generation.rules import Rules, last_ids
from charrnn.nn.functional import log_softmax

_Rows = npt.NDArray[np.intp]


class Hypothesis(NamedTuple):
    """A text, with the log-probability of each id in nats, and why it ended."""

    ids: Ids
    log_probs: Array
    ended: str


class _Step(NamedTuple):
    """One step of the search: the id that each hypothesis gained, and the row of the previous step that it extends.

    Shapes:  parents, ids, log_probs (B,)
    """

    parents: _Rows
    ids: _Rows
    log_probs: Array


class _Ended(NamedTuple):
    """A hypothesis that has ended: its score, and the step and row of its last id."""

    score: float
    length: int
    row: int
    reason: str


def beam_search(
    ensemble: Ensemble,
    primed: Primed,
    rules: Rules,
    *,
    width: int,
    length_norm: float,
    count: int = 1,
    join_ends: bool = False,
) -> list[Hypothesis]:
    """Return the texts with the highest scores that are found, best first; fewer than `count` if there are no more.

    score = sum of the log-probabilities / length ** length_norm;  an end mark and a stop string count in both
    width        hypotheses that are kept; 1: greedy search
    length_norm  0: the most likely text; 1: the text with the fewest bits per id
    join_ends    True: treat all ids that end the constraint as one end, with the most likely of these ids and the sum
                 of their probabilities
    """
    assert rules.length is not None  # or the search might not end
    if rules.length == 0:
        return [Hypothesis(np.empty(0, np.intp), np.empty(0), "length")]
    steps, best = list[_Step](), list[_Ended]()
    logits, states, remembered = primed.logits, [state.copy() for state in primed.states], primed.remembered
    recent = last_ids([primed.recent], max(map(len, rules.stops), default=0))
    growing, lines, rule_states = np.zeros(1, np.intp), np.zeros(1, np.intp), np.zeros(1, np.intp)
    totals = np.zeros(1)
    while len(steps) < rules.length and len(growing):
        log_probs = log_softmax(logits.astype(np.float64))
        log_probs[np.isneginf(rules.mask(logits, len(steps), rule_states))] = -np.inf
        if join_ends and rules.constraint is not None:
            _join(log_probs, rules.constraint.closing(rule_states))
        rows, ids = np.divmod(_largest(totals[:, None] + log_probs, width), log_probs.shape[1])
        steps.append(_Step(growing[rows], ids, log_probs[rows, ids]))
        length, totals = len(steps), totals[rows] + steps[-1].log_probs
        recent = np.column_stack((recent[rows], ids))[:, 1:]
        lines = lines[rows] + (ids == rules.newline)
        rule_states = rules.follow(rule_states[rows], ids)
        ended = rules.ended(length, ids, recent, lines, rule_states)
        scores = totals / length**length_norm
        best += [_Ended(scores[row], length, row, reason) for row, reason in enumerate(ended) if reason]
        best = sorted(best, key=lambda one: -one.score)[:count]
        least = best[-1].score if len(best) == count else -np.inf
        # The final score of a hypothesis is highest if all its remaining ids, up to the length, are certain.
        promising = totals / rules.length**length_norm > least
        growing = np.flatnonzero(promising & (np.array(ended) == ""))
        totals, recent, lines, rule_states = totals[growing], recent[growing], lines[growing], rule_states[growing]
        if len(growing):
            states = [state[:, :, rows[growing]] for state in states]
            remembered = remembered and remembered.copies(rows[growing])
            logits = ensemble.step(ids[growing], states, remembered)
    return [_trace(steps[: one.length], one.row, one.reason) for one in best]


def _trace(steps: Sequence[_Step], row: int, ended: str) -> Hypothesis:
    """Follow a hypothesis from its last id to its first.

    Only back pointers are kept while searching: copying the whole text of each hypothesis at each step would make the
    search quadratic in the length.
    """
    ids, log_probs = np.empty(len(steps), np.intp), np.empty(len(steps))
    for at, step in reversed([*enumerate(steps)]):
        ids[at], log_probs[at] = step.ids[row], step.log_probs[row]
        row = step.parents[row]
    return Hypothesis(ids, log_probs, ended)


def _largest(totals: Array, count: int) -> _Rows:
    """Return the flat indices of the `count` largest values, largest first, without those of -inf."""
    flat = totals.reshape(-1)
    indices: _Rows = np.arange(len(flat))
    if len(flat) > count:
        indices = np.sort(np.argpartition(-flat, count)[:count])
    indices = indices[np.argsort(-flat[indices], kind="stable")]
    return indices[flat[indices] > -np.inf]


def _join(log_probs: Array, closing: Mask) -> None:
    """Move the probability of all closing ids of a row to the most likely one.

    Shapes:  log_probs (B, V), changed in place · closing (B, V)
    """
    columns = np.flatnonzero(closing.any(axis=0))
    if not len(columns):
        return
    ends = np.where(closing[:, columns], log_probs[:, columns], -np.inf)
    totals = np.logaddexp.reduce(ends, axis=1)
    log_probs[closing] = -np.inf
    rows = np.flatnonzero(totals > -np.inf)
    log_probs[rows, columns[ends[rows].argmax(axis=1)]] = totals[rows]
