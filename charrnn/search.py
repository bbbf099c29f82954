"""Beam search: a likely text, found by keeping at each step the beginnings that are the likeliest so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.sample import Beginning, Nets, Rules, last_ids


class Found(NamedTuple):
    """A text, with the log-probability of each id in nats, and why it ended."""

    ids: npt.NDArray[np.intp]
    log_probs: Array
    ended: str


def beam(nets: Nets, begin: Beginning, rules: Rules, *, width: int, length_norm: float) -> Found:
    """Return the text of the highest score that is found.

    score = sum of the log-probabilities / length ** length_norm;  the length has the end mark, if there is one
    width        beginnings that are kept; 1: each id is the likeliest
    length_norm  0: the likeliest text; 1: the one with the fewest bits per character
    """
    assert rules.length is not None  # or there may be no end
    best, best_score = Found(np.empty(0, np.intp), np.empty(0), "length"), -np.inf
    written, logits, states = 0, begin.logits, [state.copy() for state in begin.states]
    ids, log_probs = np.empty((1, 0), np.intp), np.empty((1, 0))
    recent = last_ids([begin.recent], max(map(len, rules.stops), default=0))
    lines, places = np.zeros(1, np.intp), np.zeros(1, np.intp)
    while written < rules.length and len(ids):
        own = _log_softmax(logits)
        own[np.isneginf(rules.possible(logits, written, places))] = -np.inf
        totals = (log_probs.sum(axis=1, keepdims=True) + own).reshape(-1)
        order = np.argsort(-totals, kind="stable")[:width]
        rows, next_ids = np.divmod(order[totals[order] > -np.inf], own.shape[1])
        written += 1
        ids = np.column_stack((ids[rows], next_ids))
        log_probs = np.column_stack((log_probs[rows], own[rows, next_ids]))
        recent = np.column_stack((recent[rows], next_ids))[:, 1:]
        lines = lines[rows] + (next_ids == rules.newline)
        places = rules.follow(places[rows], next_ids)
        ended = rules.ended(written, next_ids, recent, lines, places)
        scores = log_probs.sum(axis=1) / written**length_norm
        for row in (row for row, why in enumerate(ended) if why):
            if scores[row] > best_score:
                best, best_score = Found(ids[row], log_probs[row], ended[row]), scores[row]
        # What goes on has no better score than if the rest, up to the length, were certain.
        hopeful = log_probs.sum(axis=1) / rules.length**length_norm > best_score
        goes_on = np.flatnonzero(hopeful & (np.array(ended) == ""))
        ids, log_probs, recent = ids[goes_on], log_probs[goes_on], recent[goes_on]
        lines, places = lines[goes_on], places[goes_on]
        if len(goes_on):
            states = [state[:, :, rows[goes_on]] for state in states]
            logits = nets.step(ids[:, -1], states)
    return best


def _log_softmax(logits: Array) -> Array:
    """Return log(softmax(logits)), in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs
