"""Beam search: likely texts, found by keeping at each step the beginnings that are the likeliest so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Mask
from charrnn.generation.ensemble import Ensemble, Primed
from charrnn.generation.rules import Rules, last_ids


class Hypothesis(NamedTuple):
    """A text, with the log-probability of each id in nats, and why it ended."""

    ids: npt.NDArray[np.intp]
    log_probs: Array
    ended: str


def beam_search(
    nets: Ensemble,
    begin: Primed,
    rules: Rules,
    *,
    width: int,
    length_norm: float,
    count: int = 1,
    ends_alike: bool = False,
) -> list[Hypothesis]:
    """Return the texts of the highest scores that are found, the best first; fewer than `count` if there are no more.

    score = sum of the log-probabilities / length ** length_norm;  an end mark and a stop string count in both
    width        beginnings that are kept; 1: each id is the likeliest
    length_norm  0: the likeliest text; 1: the one with the fewest bits for each id
    ends_alike   True: all ids with which the constraint ends are one end, with the id of the likeliest and the sum of
                 their probabilities
    """
    assert rules.length is not None  # or there may be no end
    if rules.length == 0:
        return [Hypothesis(np.empty(0, np.intp), np.empty(0), "length")]
    best, written = list[tuple[float, Hypothesis]](), 0
    logits, states = begin.logits, [state.copy() for state in begin.states]
    ids, log_probs = np.empty((1, 0), np.intp), np.empty((1, 0))
    recent = last_ids([begin.recent], max(map(len, rules.stops), default=0))
    lines, places = np.zeros(1, np.intp), np.zeros(1, np.intp)
    while written < rules.length and len(ids):
        own = _log_softmax(logits)
        own[np.isneginf(rules.mask(logits, written, places))] = -np.inf
        if ends_alike and rules.constraint is not None:
            _join(own, rules.constraint.closing(places))
        rows, next_ids = np.divmod(_largest(log_probs.sum(axis=1, keepdims=True) + own, width), own.shape[1])
        written += 1
        ids = np.column_stack((ids[rows], next_ids))
        log_probs = np.column_stack((log_probs[rows], own[rows, next_ids]))
        recent = np.column_stack((recent[rows], next_ids))[:, 1:]
        lines = lines[rows] + (next_ids == rules.newline)
        places = rules.follow(places[rows], next_ids)
        ended = rules.ended(written, next_ids, recent, lines, places)
        scores = log_probs.sum(axis=1) / written**length_norm
        best += [(scores[row], Hypothesis(ids[row], log_probs[row], why)) for row, why in enumerate(ended) if why]
        best = sorted(best, key=lambda found: -found[0])[:count]
        least = best[-1][0] if len(best) == count else -np.inf
        # What goes on has no better score than if the rest, up to the length, were certain.
        hopeful = log_probs.sum(axis=1) / rules.length**length_norm > least
        goes_on = np.flatnonzero(hopeful & (np.array(ended) == ""))
        ids, log_probs, recent = ids[goes_on], log_probs[goes_on], recent[goes_on]
        lines, places = lines[goes_on], places[goes_on]
        if len(goes_on):
            states = [state[:, :, rows[goes_on]] for state in states]
            logits = nets.step(ids[:, -1], states)
    return [found for _, found in best]


def _largest(totals: Array, count: int) -> npt.NDArray[np.intp]:
    """Return where the largest are, the largest first; -inf is none. Places count through all rows."""
    flat = totals.reshape(-1)
    places: npt.NDArray[np.intp] = np.arange(len(flat))
    if len(flat) > count:
        places = np.sort(np.argpartition(-flat, count)[:count])
    places = places[np.argsort(-flat[places], kind="stable")]
    return places[flat[places] > -np.inf]


def _join(log_probs: Array, closing: Mask) -> None:
    """Give the likeliest closing id of each row the probability of all of them, and the others none.

    Shapes:  log_probs (B, V), which are changed · closing (B, V)
    """
    columns = np.flatnonzero(closing.any(axis=0))
    if not len(columns):
        return
    ends = np.where(closing[:, columns], log_probs[:, columns], -np.inf)
    totals = np.logaddexp.reduce(ends, axis=1)
    log_probs[closing] = -np.inf
    rows = np.flatnonzero(totals > -np.inf)
    log_probs[rows, columns[ends[rows].argmax(axis=1)]] = totals[rows]


def _log_softmax(logits: Array) -> Array:
    """Return log(softmax(logits)), in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs
