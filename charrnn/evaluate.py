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
from charrnn.arrays import IdSource, Params
from charrnn.config import ModelConfig
from charrnn.lanes import Lanes, available_threads, plan, usual_threads
from charrnn.stream import Window

WARM_UP = 512  # unscored characters before each lane but the first
_WINDOW = 128  # steps taken at once: bounds memory, changes no result
_WORTH_SHARING = 3 * 10**10  # multiplications, about a second: to start a second process pays from there on


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


def lanes_of(config: ModelConfig, params: Params, chars: int, count: int) -> Lanes:
    """Return what scores so many characters in so many lanes, with the threads that serve the model best."""
    threads = usual_threads(config.hidden_size, available_threads())
    settled = plan(config, None, count, _WINDOW, threads)
    if chars * sum(array.size for array in params.values()) < _WORTH_SHARING:
        settled = settled._replace(shares=1, threads=threads)
    return Lanes(settled)


def tally(params: Params, lanes: Lanes, ids: IdSource, count: int = 1) -> Iterator[Tally]:
    """Yield the running tally of the text, read in so many lanes, window by window; the last one is the result.

    Shapes:  ids (N,); N - 1 characters are scored. A text of less than two yields one empty tally.
    """
    total = len(ids) - 1
    if total < 1:
        yield Tally()
        return
    lanes.take(params)
    length, window = -(-total // count), lanes.plan.seq_len
    starts = np.arange(count) * length
    state, sums = model.zero_state(lanes.plan.config, count), Tally()
    warm_up = WARM_UP if count > 1 else 0
    for begin in [*range(-warm_up, 0, window), *range(0, length, window)]:
        end = min(begin + window, length if begin >= 0 else 0)
        positions = starts + np.arange(begin, end)[:, None]
        reset, places = positions == 0, positions.clip(0, total - 1)
        read = Window(ids[places], ids[places + 1], reset if reset.any() else None)
        if begin < 0:
            state = lanes.read(read, state)
            continue
        log_probs, right, state = lanes.score(read, state)
        scored = positions < total
        sums = Tally(
            sums.chars + int(scored.sum()),
            sums.nats - float(log_probs[scored].sum(dtype=np.float64)),
            sums.correct + int(right[scored].sum()),
        )
        yield sums
