"""A time budget turned into a number of steps, by measuring a step and an evaluation on copies of the model."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from charrnn.config import TrainConfig
from charrnn.parallel.workers import Workers
from charrnn.system.meter import seconds_per_unit
from charrnn.training.loop import Training, TrainState, train_step, validate
from charrnn.training.recipe import MOST_PASSES

_SHARE = 0.03  # share of the budget for measuring the speed, within the bounds below
_SECONDS = (1.0, 4.0)
_EVALUATION_SHARE = 0.05  # share of the time for evaluations, if `eval_every` is not given
_WORTH_MEASURING = 10**12  # weights times characters, about half a minute: a shorter run gets no forecast
_EVALUATIONS = 20  # at most, if `eval_every` is not given


class Pace(NamedTuple):
    """The seconds that training on one character takes, and those of one evaluation."""

    char: float
    evaluation: float


def fix_length(
    training: Training, state: TrainState, began: float, planned: float, saving_seconds: Callable[[], float]
) -> tuple[TrainConfig, list[str]]:
    """Return the settings with a length in steps and the steps between evaluations, and notes for the user.

    A budget of minutes makes at most `MOST_PASSES` passes through the text. It makes all of them if they fit into the
    planned seconds, even if measuring has used some of these.

    began           time.monotonic() when the budget began
    planned         seconds that the recipe planned with
    saving_seconds  measures a save
    """
    config, stream, notes = training.config, training.stream, list[str]()
    every = config.eval_every
    if config.minutes is None:
        steps = config.steps or (config.epochs or 1) * stream.steps_per_epoch
    else:
        seconds = config.minutes * 60
        pace = measure(training, state, trial_seconds(seconds))
        step = pace.char * stream.row_length * stream.batch_size / stream.steps_per_epoch
        saving = saving_seconds()
        step += saving / config.save_every if config.save_every else 0.0
        evaluation = pace.evaluation + 2 * saving
        steps, every = steps_within(training, seconds - (time.monotonic() - began), step, evaluation)
        length = f"{config.minutes:g} minutes"
        most = MOST_PASSES * stream.steps_per_epoch
        if most <= steps_within(training, planned, step, evaluation)[0]:
            steps, every, length = most, config.eval_every, f"{MOST_PASSES} passes"
        here = "1 step" if steps == 1 else f"{steps:,} steps"
        notes.append(f"{length} are {here} here ({step * 1000:.3g} ms a step, {evaluation:.2g} s an evaluation)")
    every = every or steps_between(training, steps)
    return replace(config, steps=steps, epochs=None, minutes=None, eval_every=every), notes


def trial_seconds(budget: float) -> float:
    """Return how long to measure the speed, given a budget; both in seconds."""
    low, high = _SECONDS
    return min(high, max(low, budget * _SHARE), budget / 4)


def measure(training: Training, state: TrainState, seconds: float) -> Pace:
    """Return the pace of this training, measured for about this many seconds on a copy of the state."""
    with training.workers() as workers:
        char = char_seconds(training, state, workers, seconds)
        evaluation = _evaluation_seconds(training, state, workers, seconds / 2)
    return Pace(char, evaluation * _models(training))


def _models(training: Training) -> int:
    """Return the number of models that an evaluation scores: also the running mean of the weights, if one is kept."""
    return 2 if training.config.average else 1


def char_seconds(training: Training, state: TrainState, workers: Workers, seconds: float) -> float:
    """Return the seconds of training on one character, measured for about this long; the state is left unchanged."""
    state, optimizer = copy.deepcopy(state), training.optimizer()

    def step() -> int:
        window = training.stream[state.step]
        train_step(training, optimizer, 0.0, state, window, workers)
        return window.targets.size

    return seconds_per_unit(step, seconds)


def _evaluation_seconds(training: Training, state: TrainState, workers: Workers, seconds: float) -> float:
    """Return the seconds that an evaluation takes, measured on at most this many seconds of it."""
    took, of, begin = 0.0, max(1, len(training.val_ids) - 1), time.perf_counter()
    for result in validate(training, state.params, workers):
        took = (time.perf_counter() - begin) * of / max(1, result.chars)
        if time.perf_counter() - begin > seconds:
            break
    return took


def steps_within(training: Training, left: float, step: float, evaluation: float) -> tuple[int, int]:
    """Return the steps that fit into the seconds left, evaluations included, and the steps between evaluations."""
    if every := training.config.eval_every:
        return max(1, round((left - evaluation) / (step + evaluation / every))), every
    evaluations = min(float(_EVALUATIONS), 1 + left * _EVALUATION_SHARE / evaluation)
    steps = max(1, round((left - evaluations * evaluation) / step))
    return steps, _evaluation_steps(steps, evaluations)


def steps_between(training: Training, steps: int) -> int:
    """Return the steps between evaluations, such that all but the last read no more characters than training does."""
    passes = training.stream.chars_before(steps) // max(1, len(training.val_ids) * _models(training))
    return _evaluation_steps(steps, min(_EVALUATIONS, 1 + passes))


def _evaluation_steps(steps: int, evaluations: float) -> int:
    return max(1, math.ceil(steps / max(1, round(evaluations))))


def expected_seconds(training: Training, state: TrainState) -> float | None:
    """Return the seconds that the remaining steps take, without evaluations; None for a run too short to forecast."""
    stream = training.stream
    chars = stream.chars_before(training.steps) - stream.chars_before(state.step)
    if chars * sum(array.size for array in state.params.values()) < _WORTH_MEASURING:
        return None
    with training.workers() as workers:
        return chars * char_seconds(training, state, workers, _SECONDS[0])
