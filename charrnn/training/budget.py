"""Time budgets: how many steps fit into some minutes, measured before the first step and corrected during the run."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import NamedTuple

from charrnn.config import TrainConfig
from charrnn.errors import DivergedError
from charrnn.parallel.workers import Workers
from charrnn.system.meter import Average, seconds_per_unit
from charrnn.training.fitting import LEAST
from charrnn.training.loop import Training, TrainState, train_step, validate

_SHARE = 0.03  # share of the budget for measuring the speed, within the bounds below
_SECONDS = (0.5, 2.0)
_EVALUATION_SHARE = 0.05  # share of the time for evaluations, if `eval_every` is not given
_WORTH_MEASURING = 10**12  # weights times characters, about half a minute: a shorter run gets no forecast
_EVALUATIONS = 20  # at most, if `eval_every` is not given
_FIT_SHARE = 0.015  # share of the budget for fitting the memory when training has ended
_AROUND = 0.15  # seconds of the process before the command's clock starts and after the last save
#: The length may be corrected after this share of the time, when little has been measured; then after twice as long as
#: the time before, but at most this share of the rest; and no more when this share of the time is left.
_FIRST, _REST, _LEFT = 0.02, 0.35, 0.02
_TOLERANCE = 0.01  # share of the budget by which a run may end early or late without a correction
_KEPT = 0.5  # weight of all earlier measurements after a moment: recent steps count most


class Pace(NamedTuple):
    """The seconds that training on one character takes, and those of one evaluation."""

    char: float
    evaluation: float


@dataclass
class Timer:
    """Keeps a run within its budget: it measures steps and evaluations, and says how many steps fit.

    Times are those of time.monotonic().
    began   when the training began, or will in a moment; end: when the last evaluation and save should be over
    budget  seconds that the user asked for
    pace    of late; its evaluation includes the saves
    most    steps that are of use, however much time is left; None for no limit
    """

    began: float
    end: float
    budget: float
    pace: Pace
    most: int | None = None
    _interval: float = 0.0  # seconds up to the next moment at which the length may be corrected
    _due: tuple[float, int] = (0.0, 0)  # that moment: this time, or this step if it comes first
    _last: float | None = None  # when the last step was done
    _seconds: float = 0.0  # measured for `_chars` characters
    _chars: float = 0.0

    def __post_init__(self) -> None:
        self._seconds = trial_seconds(self.budget)
        self._chars = self._seconds / self.pace.char

    def total(self, training: Training, state: TrainState, now: float) -> int:
        """Return the length in steps with which the run ends in time; it does at least one step that it never tried."""
        step, every = step_seconds(training, self.pace.char), training.config.eval_every
        total = state.step + steps_within(self.end - now, step, self.pace.evaluation, every, state.step)
        return max(state.farthest + 1, total if self.most is None else min(total, self.most))

    def seconds_left(self, training: Training, state: TrainState) -> float:
        """Return the seconds that the rest of the run takes at this pace, evaluations included."""
        total, step, every = state.course.total, state.step, training.config.eval_every
        evaluations = 1 + ((total - 1) // every - step // every if every else 0)
        return (total - step) * step_seconds(training, self.pace.char) + evaluations * self.pace.evaluation

    def stepped(self, training: Training, state: TrainState, chars: int, now: float) -> int:
        """Note that a step on these characters is done; return the length in steps that the run should have."""
        course, step = state.course, state.step
        again = step < state.farthest  # after a recovery
        if self._last is None:
            self._plan(step, course.total, self.began)
        else:
            took = now - self._last
            if training.evaluates_at(course, step - 1) and not again:
                self.pace = self.pace._replace(evaluation=max(0.0, took - chars * self.pace.char))
            else:
                self._seconds, self._chars = self._seconds + took, self._chars + chars
        self._last = now
        due, left = now >= self._due[0] or step >= self._due[1], self.end - now
        if again or not due or step >= course.total or 0 <= left < _LEFT * self.budget:
            return course.total
        char = self._seconds / self._chars
        self.pace = Pace(char, self.pace.evaluation * char / self.pace.char)
        self._seconds, self._chars = _KEPT * self._seconds, _KEPT * self._chars
        total = self.total(training, state, now)
        if abs(total - course.total) * step_seconds(training, char) <= _TOLERANCE * self.budget:
            total = course.total
        self._plan(step, total, now)
        return total

    def _plan(self, step: int, total: int, now: float) -> None:
        """Set the next moment at which the length may be corrected."""
        left = max(1e-9, self.end - now)
        self._interval = min(2 * self._interval or _FIRST * left, _REST * left)
        self._due = (now + self._interval, step + math.ceil((total - step) * self._interval / left))


def fix_length(training: Training) -> TrainConfig:
    """Return the settings with any length in epochs turned into steps, and with the steps between evaluations."""
    config = training.config
    steps = config.steps or (config.epochs or 1) * training.stream.steps_per_epoch
    every = config.eval_every or steps_between(training, steps)
    return replace(config, steps=steps, epochs=None, minutes=None, eval_every=every)


def fit_to_time(
    training: Training, state: TrainState, minutes: float, began: float, saving_seconds: Callable[[], float]
) -> tuple[TrainConfig, Timer]:
    """Return the settings of a new run with as many steps as fit into its minutes, and the timer that keeps it there.

    The run makes at most `MOST_PASSES` passes through the text.

    began           time.monotonic() when the budget began
    saving_seconds  measures a save
    """
    config = training.config
    timer = timer_of(training, state, minutes, began, saving_seconds)
    timer.most = training.most_steps
    step, evaluation, every = step_seconds(training, timer.pace.char), timer.pace.evaluation, config.eval_every
    left = timer.end - timer.began
    if every is None:
        evaluations = min(float(_EVALUATIONS), 1 + max(0.0, left) * _EVALUATION_SHARE / max(1e-9, evaluation))
        steps = max(1, round((left - evaluations * evaluation) / step))
        every = _evaluation_steps(steps, evaluations)
        if steps > timer.most:
            every = steps_between(training, timer.most)
    steps = min(timer.most, steps_within(left, step, evaluation, every))
    return replace(config, steps=steps, epochs=None, minutes=None, eval_every=every), timer


def timer_of(
    training: Training, state: TrainState, minutes: float, began: float, saving_seconds: Callable[[], float]
) -> Timer:
    """Return a timer for a training that is about to begin or to continue; measuring takes a moment."""
    budget = minutes * 60
    char, evaluation = measure(training, state, trial_seconds(budget))
    saving = saving_seconds()
    if every := training.config.save_every:
        char *= 1 + saving / every / step_seconds(training, char)
    fit = _FIT_SHARE * budget if len(training.val_ids) > LEAST else 0.0
    after = fit + training.evaluations_after * (evaluation + saving)
    return Timer(time.monotonic(), began + budget - after - _AROUND, budget, Pace(char, evaluation + 2 * saving))


def trial_seconds(budget: float) -> float:
    """Return how long to measure the speed, given a budget; both in seconds."""
    low, high = _SECONDS
    return min(high, max(low, budget * _SHARE), budget / 4)


def measure(training: Training, state: TrainState, seconds: float) -> Pace:
    """Return the pace of this training, measured for about this many seconds on a copy of the state."""
    with training.workers() as workers:
        char = char_seconds(training, state, workers, seconds, fmean)
        evaluation = _evaluation_seconds(training, state, workers, seconds / 2)
    return Pace(char, evaluation * _models(training))


def _models(training: Training) -> int:
    """Return the number of models that an evaluation scores: also the running mean of the weights, if one is kept."""
    return 2 if training.config.average else 1


def char_seconds(
    training: Training, state: TrainState, workers: Workers, seconds: float, average: Average = median
) -> float:
    """Return the seconds of training on one character, measured for about this long; the state is left unchanged.

    average: of the measured steps. A median is the machine's own speed; a mean includes what other programs take.
    """
    state, optimizer = copy.deepcopy(replace(state, good=None)), training.optimizer()
    workers.hold(state.params, state.opt_state)

    def step() -> int:
        window = training.stream[state.step]
        with suppress(DivergedError):  # the run itself will recover from it
            train_step(training, optimizer, 0.0, state, window, workers)
        return window.chars

    return seconds_per_unit(step, seconds, average)


def _evaluation_seconds(training: Training, state: TrainState, workers: Workers, seconds: float) -> float:
    """Return the seconds that an evaluation takes, measured on at most about this many seconds of it.

    The first result comes after the warm-up of all batch rows, so it says nothing about the pace of the others.
    """
    of, begin = max(1, training.validated), time.perf_counter()
    first, took = (0.0, 0), 0.0
    for result in validate(training, state.params, workers):
        now = time.perf_counter() - begin
        if not first[1]:
            first, took = (now, result.chars), now
            continue
        if result.chars > first[1]:  # where only some predictions count, a window may have none
            took = first[0] + (now - first[0]) * (of - first[1]) / (result.chars - first[1])
        if now > seconds:
            break
    return took


def step_seconds(training: Training, char: float) -> float:
    """Return the seconds of a step, on average over an epoch, from those of one character."""
    steps = training.stream.steps_per_epoch
    return char * training.stream.chars_before(steps) / steps


def steps_within(left: float, step: float, evaluation: float, every: int | None, done: int = 0) -> int:
    """Return how many steps fit into the seconds left: at least one, with a last evaluation behind them.

    step, evaluation  seconds of each
    every             steps between evaluations, counted from the run's first step; None for the last one alone
    done              steps that were done before
    """
    among, most = 0, math.inf  # evaluations before the last one, and steps before there is one more
    if every is not None:
        first = every - done % every
        among = max(0, 1 + math.floor((left - 2 * evaluation - first * step) / (every * step + evaluation)))
        most = first + among * every
    return max(1, round(min(most, (left - (among + 1) * evaluation) / step)))


def steps_between(training: Training, steps: int) -> int:
    """Return the steps between evaluations, such that all but the last read no more characters than training does."""
    passes = training.stream.chars_before(steps) // max(1, training.val_chars * _models(training))
    return _evaluation_steps(steps, min(_EVALUATIONS, 1 + passes))


def _evaluation_steps(steps: int, evaluations: float) -> int:
    return max(1, math.ceil(steps / max(1, round(evaluations))))


def sharing_gain(training: Training, state: TrainState, step: float, budget: float = math.inf) -> float:
    """Return how many times as fast a step is as on rank 0 alone or, without other ranks, as with one thread.

    Measuring that takes about a second at most; the state is left unchanged. If a step alone may take longer than half
    of that, shorter windows are measured instead.
    step: seconds of a step; budget: those of the run
    """
    config, stream, seconds = training.config, training.stream, min(_SECONDS[0], trial_seconds(budget))
    shares, threads = (config.ranks, config.threads) if training.ranks else (config.threads or 1, 1)
    if shares == 1:
        return 1.0
    length = max(1, min(config.seq_len, round(config.seq_len * seconds / (shares * step))))
    config = replace(config, threads=threads, ranks=1, seq_len=length)
    alone = replace(training, config=config, stream=replace(stream, seq_len=length), ranks=None)
    with alone.workers() as workers:
        return step_seconds(training, char_seconds(alone, state, workers, seconds, fmean)) / step


def gain_in_words(threads: int, step: float, gain: float, ranks: int = 1) -> str:
    """Say how long a step takes, in seconds, and how many times as fast it is as `sharing_gain` compares it with.

    threads: of each rank
    """
    takes = f"a step takes about {f'{1000 * step:.3g} ms' if step < 1 else f'{step:.3g} s'}"
    who = f"{threads} thread{'s' * (threads > 1)}"
    if ranks > 1:
        compared = f"{gain:.2g} times as fast" if gain >= 1 else f"{1 / gain:.2g} times as long"
        return f"{ranks} ranks of {who}: {takes}, {compared} as on one rank"
    return f"{who}: {takes}" if threads == 1 else f"{who}: {takes}, {gain:.2g} times as fast as 1"


def expected_seconds(training: Training, state: TrainState) -> float | None:
    """Return the seconds that the remaining steps take, without evaluations; None for a run too short to forecast."""
    stream = training.stream
    chars = stream.chars_before(state.course.total) - stream.chars_before(state.step)
    if chars * sum(array.size for array in state.params.values()) < _WORTH_MEASURING:
        return None
    with training.workers() as workers:
        return chars * char_seconds(training, state, workers, _SECONDS[0], fmean)
