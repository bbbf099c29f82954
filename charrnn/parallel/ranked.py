"""The workers of several ranks: each rank has its share of a window's batch rows, and its own processes for them.

Rank 0 sends the others their rows of each window, so no other rank reads the text: the ids of a step are a hundredth of
its gradients. The gradients are summed by all ranks, and every rank makes the same update of its own copy of the
parameters.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Mask, Params, Window
from charrnn.config import TrainConfig
from charrnn.nn.bptt import Part
from charrnn.nn.cells import packed
from charrnn.parallel.plan import Plan
from charrnn.parallel.ranks import Ranks
from charrnn.parallel.sums import Sums
from charrnn.parallel.workers import SlowRank, Workers

_SLOW, _WAITED = 1.5, 10.0  # times as long as the others take, and seconds longer, from which on a rank is worth a word


class Open(NamedTuple):
    """Start the processes of a rank; answer when they are there.

    cell  from `packed`
    """

    plan: Plan
    config: TrainConfig
    cell: str | None


class Close(NamedTuple):
    """End the processes of a rank."""


class Hold(NamedTuple):
    """Train on from this state."""

    params: Params
    opt_state: Params


class Learn(NamedTuple):
    """Compute gradients and take part in their sum; answer with a `Learned`."""

    window: Window
    state: Array
    step: int
    part: Part


class Learned(NamedTuple):
    """The share of the loss, the state after the window, and the seconds that this rank's gradients took."""

    loss: float
    state: Array
    seconds: float


class Update(NamedTuple):
    """Update the parameters from the newest sum of gradients."""

    learning_rate: float
    step: int


class Use(NamedTuple):
    """Score and read with these parameters from now on."""

    params: Params


class Score(NamedTuple):
    """Answer with what `Workers.score` returns."""

    window: Window
    state: Array


class Read(NamedTuple):
    """Answer with what `Workers.read` returns."""

    window: Window
    state: Array


class RankedWorkers(Workers):
    """The workers of rank 0: it uses them like `Workers`, and the other ranks do their shares of the batch rows.

    plan     of one rank
    seconds  that gradients have taken in each rank
    """

    def __init__(self, plan: Plan, ranks: Ranks, config: TrainConfig) -> None:
        super().__init__(plan)
        self._ranks, self._config = ranks, config
        self._sums = Sums(plan.config, ranks, half=config.half_gradients)
        self._to_score: Params | None = None
        self.seconds = [0.0] * ranks.size

    def __enter__(self) -> Workers:
        message = Open(self.plan, self._config, packed(self.plan.config.cell))
        try:
            with self._ranks.asked([message] * self._ranks.size):
                return super().__enter__()
        except BaseException:  # of another rank, when this one's processes have started
            self.__exit__()
            raise

    def __exit__(self, *raised: object) -> None:
        self._ranks.send_all(Close())
        super().__exit__(*raised)

    def hold(self, params: Params, opt_state: Params) -> None:
        """Let the other ranks train on from this state."""
        self._ranks.share(Hold(params, opt_state))

    def renew(self, params: Params, opt_state: Params) -> None:
        """Let the other ranks train on from this state if they round differently, so that copies do not drift apart."""
        if not self._ranks.alike:
            self.hold(params, opt_state)

    def update(self, learning_rate: float, step: int) -> None:
        """Let the other ranks do the update that this one does, from the newest gradients."""
        self._ranks.send_all(Update(learning_rate, step))

    def slow_rank(self) -> SlowRank | None:
        """Return the slowest rank if it takes much longer for its rows than the others; None if it does not."""
        rank = max(range(self._ranks.size), key=self.seconds.__getitem__)
        slowest, usual = self.seconds[rank], median(self.seconds[:rank] + self.seconds[rank + 1 :])
        if slowest <= _SLOW * usual or slowest <= usual + _WAITED:
            return None
        return SlowRank(self._ranks.names[rank], slowest / usual)

    def set_params(self, params: Params) -> None:
        """Use these parameters from now on; for gradients, the other ranks use those that they hold."""
        super().set_params(params)
        self._to_score = params

    def gradients(
        self, window: Window, state: Array, step: int, part: Part | None = None
    ) -> tuple[float, Array, Params]:
        """Return what `Workers.gradients` does."""
        shares, of = self._shares(window), window.predictions
        parts = [Part(rows.start, of) for rows in shares]
        messages = [
            Learn(window.rows(rows), state[:, :, rows], step, part) for rows, part in zip(shares, parts, strict=True)
        ]
        own, grads = shares[0], None
        with self._ranks.asked(messages) as answers:
            began = time.perf_counter()
            try:
                loss, own_state, grads = super().gradients(window.rows(own), state[:, :, own], step, parts[0])
                seconds = time.perf_counter() - began
            finally:  # the other ranks wait for the sum even if this one has failed
                sums = self._sums.add(grads)
        learned = [Learned(loss, own_state, seconds), *answers]
        self.seconds = [total + each.seconds for total, each in zip(self.seconds, learned, strict=True)]
        return sum(each.loss for each in learned), _joined([each.state for each in learned], 2), sums

    def score(self, window: Window, state: Array) -> tuple[Array, Mask, Array]:
        """Return what `Workers.score` does."""
        own, messages = self._messages(Score, window, state)
        with self._ranks.asked(messages) as answers:
            scores = super().score(window.rows(own), state[:, :, own])
        log_probs, correct, states = zip(scores, *answers, strict=True)
        return _joined(log_probs, 1), _joined(correct, 1), _joined(states, 2)

    def read(self, window: Window, state: Array) -> Array:
        """Return what `Workers.read` does."""
        own, messages = self._messages(Read, window, state)
        with self._ranks.asked(messages) as answers:
            last_state = super().read(window.rows(own), state[:, :, own])
        return _joined([last_state, *answers], 2)

    def _messages(
        self, message: type[Score] | type[Read], window: Window, state: Array
    ) -> tuple[slice, list[Score | Read]]:
        """Return the rows of this rank, and the messages to all ranks about theirs, which have the parameters then."""
        if self._to_score is not None:
            self._ranks.share(Use(self._to_score))
            self._to_score = None
        shares = self._shares(window)
        return shares[0], [message(window.rows(rows), state[:, :, rows]) for rows in shares]

    def _shares(self, window: Window) -> list[slice]:
        """Return the rows of each rank: none for some, if there are fewer rows than ranks."""
        batch, size = window.inputs.shape[1], self._ranks.size
        return [slice(batch * rank // size, batch * (rank + 1) // size) for rank in range(size)]


def _joined(arrays: Sequence[npt.NDArray[Any]], axis: int) -> npt.NDArray[Any]:
    """Return the arrays of all ranks as one."""
    return np.concatenate(arrays, axis)
