"""Evaluation: how well a model predicts a text, as sums and counts, so that no mean is ever taken of means.

Every character but the first is scored exactly once. With one lane the state runs through the whole text (protocol
`whole`). With more, each lane reads the characters before its part first, unscored, so that it starts with nearly the
state it would have had: cheaper, and equal to about 0.002 nats (protocol `lanes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from charrnn import model
from charrnn.arrays import IdSource, Scratch
from charrnn.config import ModelConfig
from charrnn.functional import log_softmax

WARM_UP = 512  # unscored characters before each lane but the first
_WINDOW = 256  # steps taken at once: bounds memory, changes no result


def bits(nats: float) -> float:
    """Return the same amount of information in bits."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Return exp(nats): between how many characters the model wavers; infinite where that is beyond all floats."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


class Tally(NamedTuple):
    """What has been scored so far: characters, the sum of their nats, and how many were the likeliest one."""

    chars: int = 0
    nats: float = 0.0
    correct: int = 0

    @property
    def nats_per_char(self) -> float | None:
        """Return the loss, or None where nothing was scored."""
        return self.nats / self.chars if self.chars else None


@dataclass(frozen=True)
class Evaluation:
    """The figures of one text under one model.

    unknown    characters of the text that the vocabulary lacks and that were skipped
    signature  what two evaluations must share for their figures to be comparable
    """

    chars: int
    nats_per_char: float | None
    accuracy: float | None
    unknown: int
    chars_per_second: float | None
    signature: str

    @property
    def bpc(self) -> float | None:
        """Return bits per character."""
        return None if self.nats_per_char is None else bits(self.nats_per_char)

    @property
    def perplexity(self) -> float | None:
        """Return the perplexity per character."""
        return None if self.nats_per_char is None else perplexity(self.nats_per_char)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by the names under which `eval --json` prints them."""
        return {
            "chars": self.chars,
            "nats_per_char": self.nats_per_char,
            "bpc": self.bpc,
            "perplexity": self.perplexity,
            "accuracy": self.accuracy,
            "unknown": self.unknown,
            "chars_per_second": self.chars_per_second,
            "signature": self.signature,
        }


def lanes_for(chars: int, batch_size: int) -> int:
    """Return how many lanes serve a text: a batch of them, but none much shorter than its own warm-up."""
    return max(1, min(batch_size, chars // WARM_UP))


def tally(weights: model.Weights, config: ModelConfig, ids: IdSource, lanes: int = 1) -> Iterator[Tally]:
    """Yield the running tally of the text, window by window; the last one is the result.

    Shapes:  ids (N,); N - 1 characters are scored. A text of less than two yields one empty tally.
    """
    total = len(ids) - 1
    if total < 1:
        yield Tally()
        return
    lane = -(-total // lanes)
    starts = np.arange(lanes) * lane
    state, scratch, sums = model.zero_state(config, lanes), Scratch(), Tally()
    warm_up = WARM_UP if lanes > 1 else 0
    for begin in [*range(-warm_up, 0, _WINDOW), *range(0, lane, _WINDOW)]:
        end = min(begin + _WINDOW, lane if begin >= 0 else 0)
        positions = starts + np.arange(begin, end)[:, None]
        reset = positions == 0
        inputs = ids[positions.clip(0, total - 1)]
        h, state, _ = model.hidden(weights, inputs, state, reset=reset if reset.any() else None, scratch=scratch)
        if begin < 0:
            continue
        logits, _ = model.readout(weights, h)
        scored = positions < total
        targets = ids[positions.clip(0, total - 1) + 1][scored]
        logits = logits[scored]
        picked = log_softmax(logits)[np.arange(len(targets)), targets]
        sums = Tally(
            sums.chars + len(targets),
            sums.nats - float(picked.sum(dtype=np.float64)),
            sums.correct + int((logits.argmax(axis=-1) == targets).sum()),
        )
        yield sums
