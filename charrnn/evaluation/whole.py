"""Evaluation: how well a model predicts a text, as sums and counts, so that no mean is ever taken of means.

Every character but the first is scored exactly once. With one lane the state runs through the whole text (protocol
`whole`). With more, each lane reads the characters before its part first, unscored, so that it starts with nearly the
state it would have had: cheaper, and equal to about 0.002 nats (protocol `lanes`). In windows of 256 that each begin
with a zero state, a model is scored as those are that see no further back (protocol `windows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, IdSource, Mask, Params
from charrnn.config import ModelConfig
from charrnn.data.stream import window_at
from charrnn.nn import model
from charrnn.nn.optimizers import clip_by_global_norm
from charrnn.parallel.processes import Lanes, available_threads, plan, usual_threads

WARM_UP = 512  # unscored characters before each lane but the first
COLD_WINDOW = 256  # predictions from a zero state, by the protocol of that name
_WINDOW = 128  # steps taken at once: bounds memory, changes no result
_WORTH_SHARING = 3 * 10**10  # multiplications, about a second: to start a second process pays from there on
_DYNAMIC_WINDOW, _DYNAMIC_RATE, _DYNAMIC_DECAY = 50, 0.4, 0.001
_BLOCK = 512  # predictions that are drawn together by the bootstrap: longer than what makes neighbours alike
_MOST_BLOCKS, _LEAST_BLOCKS, _RESAMPLES = 1000, 10, 2000


def bits(nats: float) -> float:
    """Return the same amount of information in bits."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """Return exp(nats): between how many characters the model wavers; infinite where that is beyond all floats."""
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


class Scored(NamedTuple):
    """Some predictions of a text (N,): their places (0 predicts the second character), the log-probabilities of the
    right characters in nats, whether these were thought the likeliest, and in cold windows how many places ago
    the state was zero.
    """

    places: npt.NDArray[np.intp]
    log_probs: Array
    right: Mask
    since_zero: npt.NDArray[np.intp] | None = None


class Tally(NamedTuple):
    """What has been scored so far: characters, the sum of their nats, and how many were the likeliest one."""

    chars: int = 0
    nats: float = 0.0
    correct: int = 0

    @property
    def nats_per_char(self) -> float | None:
        """Return the loss, or None where nothing was scored."""
        return self.nats / self.chars if self.chars else None

    @property
    def accuracy(self) -> float | None:
        """Return the share of the likeliest, or None likewise."""
        return self.correct / self.chars if self.chars else None

    def plus(self, scored: Scored) -> Tally:
        """Return the tally with these predictions too."""
        return Tally(
            self.chars + len(scored.places),
            self.nats - float(scored.log_probs.sum(dtype=np.float64)),
            self.correct + int(scored.right.sum()),
        )


@dataclass(frozen=True)
class Evaluation:
    """The figures of one text under one model.

    interval     where the nats per character lie in 95 % of texts like this, by block bootstrap; None for short ones
    dynamic      nats per character where the model learns as it reads; None where this was not asked for
    by_position  nats per character by the number of characters read since a zero state; only by the protocol `windows`
    unknown      characters of the text that the vocabulary lacks and that were skipped
    signature    what two evaluations must share for their figures to be comparable
    """

    chars: int
    nats_per_char: float | None
    interval: tuple[float, float] | None
    accuracy: float | None
    dynamic: float | None
    by_position: list[float]
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
            "interval": self.interval,
            "accuracy": self.accuracy,
            "dynamic": self.dynamic,
            "by_position": self.by_position,
            "unknown": self.unknown,
            "chars_per_second": self.chars_per_second,
            "signature": self.signature,
        }


def lanes_for(chars: int, batch_size: int) -> int:
    """Return how many lanes serve a text: a batch of them, but none much shorter than its own warm-up."""
    return max(1, min(batch_size, chars // WARM_UP))


def lanes_of(config: ModelConfig, params: Params, chars: int, count: int, window: int = _WINDOW) -> Lanes:
    """Return what scores so many characters in so many lanes, with the threads that serve the model best."""
    threads = usual_threads(config.hidden_size, available_threads())
    settled = plan(config, None, count, window, threads)
    if chars * sum(array.size for array in params.values()) < _WORTH_SHARING:
        settled = settled._replace(shares=1, threads=threads)
    return Lanes(settled)


def scores(
    params: Params, lanes: Lanes, ids: IdSource, count: int = 1, *, cold: bool = False, end: int | None = None
) -> Iterator[Scored]:
    """Yield every prediction of the text once, some at a time, read in so many lanes.

    end:  as for `Stream`: documents are predicted from a zero state each, and so is their end
    cold: every window of 256 predictions begins with a zero state; otherwise the state runs through each lane
    Shapes:  ids (N,); N - 1 predictions
    """
    total = len(ids) - 1
    lanes.take(params)
    if cold:
        for at in range(0, total, COLD_WINDOW * count):
            starts = np.arange(at, min(at + COLD_WINDOW * count, total), COLD_WINDOW)
            since = _since_zero(ids, np.arange(at, min(at + COLD_WINDOW * count, total)), end)
            for scored in _scores(lanes, ids, starts, COLD_WINDOW, end):
                yield scored._replace(since_zero=since[scored.places - at])
    elif total > 0:
        length = -(-total // count)
        yield from _scores(lanes, ids, np.arange(count) * length, length, end, WARM_UP if count > 1 else 0)


def _since_zero(ids: IdSource, places: npt.NDArray[np.intp], end: int | None) -> npt.NDArray[np.intp]:
    """Return how many places ago the state was zero at each of these, where cold windows or documents begin."""
    zero = places % COLD_WINDOW == 0
    if end is not None:
        zero |= ids[places] == end
    return places - np.maximum.accumulate(np.where(zero, places, 0))


def _scores(
    lanes: Lanes, ids: IdSource, starts: npt.NDArray[np.intp], length: int, end_mark: int | None, warm_up: int = 0
) -> Iterator[Scored]:
    """Yield the predictions of lanes that begin at these places, after a warm-up that is not scored."""
    total, window = len(ids) - 1, lanes.plan.seq_len
    state = model.zero_state(lanes.plan.config, len(starts))
    for begin in [*range(-warm_up, 0, window), *range(0, length, window)]:
        end = min(begin + window, length if begin >= 0 else 0)
        places = starts + np.arange(begin, end)[:, None]
        read = window_at(ids, places.clip(0, total - 1), end_mark)
        if begin < 0:
            state = lanes.read(read, state)
            continue
        log_probs, right, state = lanes.score(read, state)
        scored = places < total
        yield Scored(places[scored], log_probs[scored], right[scored])


def dynamic_scores(params: Params, config: ModelConfig, ids: IdSource, end: int | None = None) -> Iterator[Scored]:
    """Yield the predictions of the text, from its beginning to its end, by a model that learns as it reads.

    What was scored is learned from at once, by a step down its gradient, so a prediction knows the text before it
    better than by the state alone. The weights are drawn back to those given; these are left as they are.
    Source:  Krause et al. 2018, dynamic evaluation by SGD. Rates chosen on tiny Shakespeare's validation part.
    """
    total, state = len(ids) - 1, model.zero_state(config, 1)
    config = replace(config, dropout=0.0, input_dropout=0.0, weight_drop=0.0)
    moved = {name: array.copy() for name, array in params.items()}
    with Lanes(plan(config, None, 1, _DYNAMIC_WINDOW, available_threads())) as lanes:
        for begin in range(0, total, _DYNAMIC_WINDOW):
            places = np.arange(begin, min(begin + _DYNAMIC_WINDOW, total))
            window = window_at(ids, places[:, None], end)
            lanes.take(moved)
            log_probs, right, _ = lanes.score(window, state)
            yield Scored(places, log_probs[:, 0], right[:, 0])
            _, state, grads = lanes.gradients(window, state, 0)
            clip_by_global_norm(grads, 1.0)
            for name, array in moved.items():
                array -= _DYNAMIC_RATE * grads[name] + _DYNAMIC_DECAY * (array - params[name])


def tally(params: Params, lanes: Lanes, ids: IdSource, count: int = 1, *, end: int | None = None) -> Iterator[Tally]:
    """Yield the running tally of the text, read in so many lanes; the last one is the result."""
    sums = Tally()
    if len(ids) < 2:
        yield sums
    for scored in scores(params, lanes, ids, count, end=end):
        sums = sums.plus(scored)
        yield sums


class Sums:
    """What the figures of a text are made of, gathered as its predictions arrive; bounded, however long the text is.

    total  how many predictions there will be
    tally  of those that were added
    """

    def __init__(self, total: int) -> None:
        self.tally = Tally()
        self._block = max(_BLOCK, -(-total // _MOST_BLOCKS))
        self._nats = np.zeros(-(-total // self._block))
        self._chars = np.zeros_like(self._nats)
        self._nats_at = np.zeros(COLD_WINDOW)
        self._chars_at = np.zeros(COLD_WINDOW)

    def add(self, scored: Scored) -> None:
        """Add some predictions."""
        gathered = [(self._nats, self._chars, scored.places // self._block)]
        if scored.since_zero is not None:
            gathered.append((self._nats_at, self._chars_at, scored.since_zero))
        for sums, chars, where in gathered:
            sums += np.bincount(where, -scored.log_probs.astype(np.float64), len(sums))
            chars += np.bincount(where, minlength=len(chars))
        self.tally = self.tally.plus(scored)

    @property
    def by_position(self) -> list[float]:
        """Return the mean loss by the number of places since a zero state; empty where no window was cold."""
        seen = self._chars_at > 0
        return [float(loss) for loss in self._nats_at[seen] / self._chars_at[seen]]

    def interval(self) -> tuple[float, float] | None:
        """Return where 95 % of the means of texts lie that are drawn from this one's blocks, with replacement.

        Source:  Carlstein 1986, for blocks in place of single values, since neighbours are not independent.
        """
        n = len(self._nats)
        if n < _LEAST_BLOCKS:
            return None
        drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES)
        low, high = np.quantile(drawn @ self._nats / (drawn @ self._chars), (0.025, 0.975))
        return float(low), float(high)
