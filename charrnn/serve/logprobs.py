"""Log-probabilities of characters, and of the most likely ones in their place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from charrnn.arrays import Array, Ids
from charrnn.generation.ensemble import Primed
from charrnn.generation.rules import Rules
from charrnn.generation.writer import Writer
from charrnn.nn.functional import log_softmax

TopLogProbs: TypeAlias = dict[int, float]  # the most likely ids, with their log-probabilities in nats, best first


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt that a model has read.

    ids            of its characters
    primed         the state after it
    log_probs      of its characters under the model, in nats, if they were requested; None for the first, which
                   nothing precedes
    top_log_probs  the most likely ids in the place of each character; likewise
    """

    text: str
    ids: Ids
    primed: Primed
    log_probs: list[float | None] = field(default_factory=list)
    top_log_probs: list[TopLogProbs | None] = field(default_factory=list)


def top_log_probs(logits: Array, count: int) -> TopLogProbs:
    """Return the most likely ids.

    Shapes:  logits (V,)
    """
    log_probs = log_softmax(logits[None])[0]
    ids = np.argsort(-log_probs, kind="stable")[:count]
    return {id_: log_prob for id_ in ids.tolist() if np.isfinite(log_prob := float(log_probs[id_]))}


def read_scored(writer: Writer, text: str, ids: Ids, rules: Rules, count: int) -> Prompt:
    """Read a prompt one character at a time, and return it with its log-probabilities.

    count  how many of the most likely ids to return for each character
    """
    primed = writer.prime(ids[:1], rules)
    logits, states, remembered = primed.logits, primed.states, primed.remembered
    prompt = Prompt(text, ids, primed, [None], [None])
    for id_ in ids[1:]:
        prompt.log_probs.append(float(log_softmax(logits)[0, id_]))
        prompt.top_log_probs.append(top_log_probs(logits[0], count))
        logits = writer.ensemble.step(np.array([id_]), states, remembered)
    return replace(prompt, primed=Primed(logits, states, ids, remembered))
