"""The figures of an evaluation, computed from sums and counts, never as means of means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Mask
from charrnn.nn.functional import bits, perplexity

COLD_WINDOW = 256  # predictions from each zero state in the protocol `windows`
_BLOCK = 512  # predictions that the bootstrap draws together: more than the distance over which losses correlate
_NORMAL = 1.959964  # the normal quantile of 97.5 %
_MAX_BLOCKS, _MIN_BLOCKS, _RESAMPLES = 1000, 10, 2000


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share, such as an accuracy; (0, 1) without trials.

    (p + z²/2n ± z sqrt(p (1 - p)/n + z²/4n²)) / (1 + z²/n), with p = successes/n
    Source:  Wilson 1927.
    """
    if not trials:
        return 0.0, 1.0
    share, scale = successes / trials, _NORMAL**2 / trials
    middle, half = share + scale / 2, (scale * (share * (1 - share) + scale / 4)) ** 0.5
    return max(0.0, (middle - half) / (1 + scale)), min(1.0, (middle + half) / (1 + scale))


class Predictions(NamedTuple):
    """N scored predictions of a text.

    indices     (N,) the positions of the predictions; 0 predicts the text's second character
    log_probs   (N,) of the right characters, in nats
    correct     (N,) whether the right character was the most likely one
    both        (N,), (N,): the same with the model's memory; None without it
    since_zero  (N,) predictions made since the last zero state; None unless the protocol is `windows`
    """

    indices: npt.NDArray[np.intp]
    log_probs: Array
    correct: Mask
    both: tuple[Array, Mask] | None = None
    since_zero: npt.NDArray[np.intp] | None = None

    @property
    def each(self) -> list[Predictions]:
        """Return these predictions, and those with the model's memory if it has one."""
        alone = self._replace(both=None)
        return [alone] if self.both is None else [alone, alone._replace(log_probs=self.both[0], correct=self.both[1])]


class Tally(NamedTuple):
    """Running totals: characters scored, their loss in nats, and how many were the model's most likely character."""

    chars: int = 0
    nats: float = 0.0
    correct: int = 0

    @property
    def nats_per_char(self) -> float | None:
        """Return the loss, or None if nothing was scored."""
        return self.nats / self.chars if self.chars else None

    @property
    def accuracy(self) -> float | None:
        """Return the fraction of correct predictions, or None if nothing was scored."""
        return self.correct / self.chars if self.chars else None

    def plus(self, predictions: Predictions) -> Tally:
        """Return the totals with these predictions included."""
        return Tally(
            self.chars + len(predictions.indices),
            self.nats - float(predictions.log_probs.sum(dtype=np.float64)),
            self.correct + int(predictions.correct.sum()),
        )


class Sums:
    """Running sums for the figures of a text, in memory that does not grow with the text.

    total  the number of predictions that will be added
    tally  the totals of those added so far
    """

    def __init__(self, total: int) -> None:
        self.tally = Tally()
        self._block = max(_BLOCK, -(-total // _MAX_BLOCKS))
        self._nats = np.zeros(-(-total // self._block))
        self._chars = np.zeros_like(self._nats)
        self._nats_at = np.zeros(COLD_WINDOW)
        self._chars_at = np.zeros(COLD_WINDOW)

    def add(self, predictions: Predictions) -> None:
        """Add some predictions."""
        groups = [(self._nats, self._chars, predictions.indices // self._block)]
        if predictions.since_zero is not None:
            groups.append((self._nats_at, self._chars_at, predictions.since_zero))
        for nats, chars, group in groups:
            nats += np.bincount(group, -predictions.log_probs.astype(np.float64), len(nats))
            chars += np.bincount(group, minlength=len(chars))
        self.tally = self.tally.plus(predictions)

    @property
    def by_position(self) -> list[float]:
        """Return the mean loss by predictions since a zero state; empty unless the protocol is `windows`."""
        seen = self._chars_at > 0
        return [float(loss) for loss in self._nats_at[seen] / self._chars_at[seen]]

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % bootstrap interval of the loss, or None if the text has too few blocks.

        Blocks of neighbouring predictions are resampled with replacement, because the losses of neighbours correlate.
        Source:  Carlstein 1986.
        """
        n = len(self._nats)
        if n < _MIN_BLOCKS:
            return None
        draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), _RESAMPLES)
        low, high = np.quantile(draws @ self._nats / (draws @ self._chars), (0.025, 0.975))
        return float(low), float(high)


@dataclass(frozen=True)
class Evaluation:
    """The figures of one model on one text. A figure is None if nothing was scored.

    chars             predictions that were scored
    interval          95 % block-bootstrap interval of nats_per_char; None for a short text
    accuracy          fraction of characters that were the model's most likely one
    dynamic           nats per character of a model that learns as it reads; None unless requested
    by_position       nats per character by characters read since a zero state; empty unless the protocol is `windows`
    unknown           characters outside the vocabulary: skipped, or scored as the unknown symbol
    signature         the settings of model and evaluation: compare two figures only if these agree
    memory            the figures with the model's memory; None without one
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
    memory: Evaluation | None = None

    def __repr__(self) -> str:
        if self.nats_per_char is None:
            return "Evaluation(0 characters)"
        figures = f"{self.nats_per_char:.4f} nats, {self.bpc:.4f} bits, perplexity {self.perplexity:.3f}"
        with_memory = "" if self.memory is None else f"; {self.memory.nats_per_char:.4f} nats with memory"
        return f"Evaluation({self.chars:,} characters: {figures} per character{with_memory})"

    @property
    def bpc(self) -> float | None:
        """Return bits per character."""
        return None if self.nats_per_char is None else bits(self.nats_per_char)

    @property
    def perplexity(self) -> float | None:
        """Return the perplexity per character."""
        return None if self.nats_per_char is None else perplexity(self.nats_per_char)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures under the names that `eval --json` prints."""
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
            "memory": None if self.memory is None else self.memory.to_dict(),
        }
