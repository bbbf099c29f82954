"""The training loop: `train_step` does one update, `fit` is the loop over steps as a generator of events.

If training diverges, `fit` goes back to the last good state and continues at a lower learning rate. The good states are
the one that training began with and the newest that an evaluation found good.

Nothing here touches a file, a clock or the screen: `run` keeps a training run on disk, and the command shows it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from charrnn.arrays import Array, IdSource, Mask, Params, Window
from charrnn.config import ModelConfig, TrainConfig, build
from charrnn.data.stream import Stream, count_targets
from charrnn.errors import DivergedError
from charrnn.evaluation.statistics import Tally
from charrnn.evaluation.whole import rows_for, tally
from charrnn.nn import model
from charrnn.nn.cells import cell_of
from charrnn.nn.cells.base import saturated
from charrnn.nn.optimizers import OPTIMIZERS, Optimizer, clip, global_norm
from charrnn.nn.schedules import Course, Schedule, schedule_of
from charrnn.parallel.plan import make_plan
from charrnn.parallel.ranked import RankedWorkers
from charrnn.parallel.ranks import Ranks
from charrnn.parallel.workers import SlowRank, Workers
from charrnn.training.recipe import MOST_PASSES
from charrnn.training.validation import badness_of

#: By layer and gate: the shares of activations near the lowest and near the highest value that the gate can have.
Saturation: TypeAlias = dict[str, dict[str, tuple[float, float]]]

#: Evaluations that a checkpoint remembers.
MOST_HISTORY = 1000
#: The factor of the learning rate in a recovery: the best rate is rarely below a quarter of the highest that is stable.
RATE_FACTOR = 0.25
#: Recoveries in a row, without a good evaluation between them: enough for a rate that is a thousand times too high.
MOST_TRIES = 5
#: Evaluations in a row above the limit that show divergence; a single one may be a spike.
MOST_HIGH = 2
#: Nats per character by which a diverged model is worse than one that gives each symbol the same probability.
_WORSE = 1.0
_NOT_IN_HISTORY = ("grad_norms", "saturation", "chars", "best", "averaged", "val_accuracy")
_ROWS_SEEN = 8  # batch rows read for the gates' figures; the smallest worker has as many, so no buffer grows


class Stepped(NamedTuple):
    """One update was done.

    loss        of its window
    counted     predictions that the loss is a mean of; None if all of the window count
    grad_norm   of all gradients before clipping; grad_norms: by layer
    clipped     whether a limit shortened the gradients
    """

    step: int
    chars: int
    loss: float
    grad_norm: float
    grad_norms: dict[str, float]
    clipped: bool
    counted: int | None = None


class Evaluating(NamedTuple):
    """An evaluation is in progress: `chars` of the validation split have been scored."""

    chars: int
    of: int


class Report(NamedTuple):
    """The figures of a line of the log.

    loss, grad_norm, grad_norms  means over the steps since the previous report; if only some predictions count, the
                loss is the mean over these
    val_loss    None if this report has no evaluation
    clipped     share of the steps since the previous report whose gradients a limit shortened
    saturation  of the gates; None if this report has no evaluation
    chars       characters trained on since the previous report
    best        whether the validation loss is the lowest so far
    averaged    whether it is the loss of the weights' running mean, which was lower than that of the weights
    val_accuracy  share of the validation predictions that are right
    """

    step: int
    epoch: float
    loss: float
    val_loss: float | None
    learning_rate: float
    grad_norm: float
    grad_norms: dict[str, float]
    clipped: float
    saturation: Saturation | None
    chars: int
    best: bool
    averaged: bool
    val_accuracy: float | None


class Recovered(NamedTuple):
    """Training diverged, and continues from the last good state at a lower rate.

    step           the step that diverged; back_to: that of the good state
    cause          what showed it, such as "the loss is no longer finite"
    learning_rate  the base rate from now on
    tries          recoveries in a row, this one included; a good evaluation ends the row
    """

    step: int
    back_to: int
    cause: str
    learning_rate: float
    tries: int


@dataclass
class Progress:
    """The plain numbers that training carries from step to step, besides the step itself.

    reported    the step of the newest report; the sums count from there, norm_sums by layer
    counted     predictions that the losses in loss_sum were multiplied by; 0 if all predictions count
    seconds     since that report; the caller, who has a clock, counts them
    best_loss   the lowest validation loss, or of a classifier the lowest share of errors; best_step: its step
    stale       evaluations since then; waited: the most of them that a lower loss came after
    high        evaluations in a row above the limit, up to the newest
    rate_factor the schedule's rates are multiplied by it: each recovery lowers it
    tries       recoveries since the newest good evaluation; recoveries: in total
    diverged_at the highest step at which training diverged
    """

    reported: int = 0
    steps: int = 0
    chars: int = 0
    loss_sum: float = 0.0
    counted: int = 0
    norm_sum: float = 0.0
    norm_sums: dict[str, float] = field(default_factory=dict)
    clipped: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    stale: int = 0
    waited: int = 0
    high: int = 0
    rate_factor: float = 1.0
    tries: int = 0
    recoveries: int = 0
    diverged_at: int = 0


@dataclass(eq=False)
class TrainState:
    """The state of training: everything that changes while a model is trained.

    course  the length of the run; a caller with a time budget may change it between two events of `fit`
    good  a copy of the last good state; None before `fit` begins, and without recovery
    """

    params: Params
    opt_state: Params
    state: Array  # of the batch rows, as `nn.model` describes it
    course: Course
    step: int = 0
    progress: Progress = field(default_factory=Progress)
    history: list[dict[str, Any]] = field(default_factory=list)
    good: TrainState | None = None

    @property
    def is_good(self) -> bool:
        """Return whether this is the last good state itself."""
        good, reported = self.good, self.progress.reported
        return good is None or (good.step, good.progress.reported) == (self.step, reported)

    @property
    def farthest(self) -> int:
        """Return the highest step that was tried: a change of the length counts after it.

        If it counted from the good state on, the steps that led to the recovery would change, and no
        run could repeat this one.
        """
        return max(self.step, self.progress.diverged_at)

    def keep(self) -> None:
        """Make this the last good state."""
        self.good = None  # its memory is free before the copy is made
        self.good = copy.deepcopy(self)

    def go_back(self) -> None:
        """Continue from the last good state; only the record of recoveries is kept, and added to it."""
        good, now = self.good, self.progress
        assert good is not None
        known = {name: getattr(now, name) for name in ("rate_factor", "tries", "recoveries", "diverged_at")}
        good.progress = replace(good.progress, seconds=0.0, **known)
        for arrays, kept in ((self.params, good.params), (self.opt_state, good.opt_state)):
            for name, array in kept.items():
                arrays[name][...] = array
        self.state, self.step, self.history = good.state.copy(), good.step, good.history
        self.progress = copy.deepcopy(good.progress)


@dataclass(frozen=True, eq=False)
class Training:
    """Everything that stays the same while a model is trained.

    val_ids  (M,); with fewer than two there is no validation
    ranks    those that share the batch rows; None for this process alone
    """

    model_config: ModelConfig
    config: TrainConfig
    stream: Stream
    val_ids: IdSource
    ranks: Ranks | None = None

    @cached_property
    def validated(self) -> int:
        """Return the number of predictions that an evaluation scores: those in the validation split that count."""
        tab, ids = self.stream.tab, self.val_ids
        return max(0, len(ids) - 1) if tab is None else count_targets(ids, self.stream.end, tab)[0]

    @property
    def val_chars(self) -> int:
        """Return the number of characters that an evaluation reads."""
        return len(self.val_ids)

    @property
    def classes(self) -> int:
        """Return among how many symbols a prediction chooses."""
        return self.model_config.vocab_size

    @property
    def better(self) -> str:
        """Return in words what makes one model better than another."""
        return "better validation loss"

    @property
    def most_steps(self) -> int:
        """Return the number of steps that are of use, however much time there is."""
        return MOST_PASSES * self.stream.steps_per_epoch

    @property
    def evaluations_after(self) -> int:
        """Return how many evaluations follow the end of training."""
        return 0

    def badness(self, scored: Tally) -> float | None:
        """Return the figure that is lowest for the best model: the loss; None if nothing was scored."""
        return scored.nats_per_char

    def record(self, report: Report) -> dict[str, Any]:
        """Return what the history keeps of an evaluation."""
        return {name: value for name, value in report._asdict().items() if name not in _NOT_IN_HISTORY}

    def zero_state(self) -> Array:
        """Return the state of all batch rows before the first step."""
        return model.zero_state(self.model_config, self.stream.batch_size)

    def tallies(self, params: Params, workers: Workers) -> Iterator[Tally]:
        """Yield the running tally of the validation split, read in as many rows as training has if it can fill them."""
        stream = self.stream
        count = rows_for(self.model_config, len(self.val_ids) - 1, stream.batch_size)
        yield from tally(params, workers, self.val_ids, count, end=stream.end, tab=stream.tab)

    def optimizer(self) -> Optimizer:
        """Return the optimizer that the settings name."""
        return build(OPTIMIZERS[self.config.optimizer], self.config)

    def schedule(self, state: TrainState) -> Schedule:
        """Return the rate as a function of the step; it follows the state's course, also when that changes."""
        return lambda step: schedule_of(self.config, state.course)(step)

    def workers(self) -> Workers:
        """Return the workers that train and validate, with as many threads in each rank as the settings say, or one."""
        config, ranks = self.config, self.ranks
        rows = -(-config.batch_size // (ranks.size if ranks else 1))
        plan = make_plan(self.model_config, config.seed, rows, config.seq_len, config.threads or 1)
        return RankedWorkers(plan, ranks, config) if ranks else Workers(plan)

    def evaluates_at(self, course: Course, step: int) -> bool:
        """Return whether an evaluation and a save follow this step."""
        every = self.config.eval_every
        return (every is not None and step % every == 0) or step == course.total_at(step)

    def reports_at(self, course: Course, step: int) -> bool:
        """Return whether a line of the log follows this step."""
        every = self.config.log_every
        return self.evaluates_at(course, step) or (every > 0 and step % every == 0)

    def averaged(self, state: TrainState) -> Params:
        """Return the running mean of the weights; an empty dict if none is kept."""
        return self.optimizer().averaged(state.opt_state, state.step)

    def begin(self, params: Params) -> TrainState:
        """Return the state before the first step."""
        return TrainState(params, self.optimizer().init(params), self.zero_state(), self.course())

    def course(self) -> Course:
        """Return the length that the settings give in steps, with its changes."""
        return Course.of(self.config.steps, self.config.length_changes)


def train_step(
    training: Training, optimizer: Optimizer, learning_rate: float, state: TrainState, window: Window, workers: Workers
) -> Stepped:
    """Do one update of the state in place; `nn.bptt` computes the gradients.

    Raises:  DivergedError if a number is not finite: loss or gradient, and the state is then unchanged; or an array of
             the new state.
    """
    config = training.config
    with np.errstate(all="ignore"):  # an overflow is found below
        workers.set_params(state.params)
        loss, carried, grads = workers.gradients(window, state.state, state.step)
        norms, clipped = clip(grads, config.clip_value, config.clip_norm)
        grad_norm = global_norm(norms)
        for what, value in (("loss", loss), ("gradient", grad_norm)):
            check_finite(what, value, state.step + 1)
        workers.update(learning_rate, state.step)
        optimizer.update(state.params, grads, state.opt_state, learning_rate, state.step)
    state.state = carried
    state.step += 1
    check_state(state)
    counted = None if window.counted is None else window.predictions
    return Stepped(state.step, window.chars, loss, grad_norm, norms, clipped, counted)


def check_finite(what: str, value: float | Array, step: int) -> None:
    """Raise DivergedError if a number is infinite or NaN."""
    if not np.isfinite(value).all():
        raise DivergedError(f"the {what} is no longer finite", step)


def check_state(state: TrainState) -> None:
    """Raise DivergedError if an array of the state has numbers that are not finite."""
    for name, array in (state.params | state.opt_state | {"state": state.state}).items():
        check_finite(f"array {name}", array, state.step)


def fit(training: Training, state: TrainState) -> Iterator[Stepped | Evaluating | Report | Recovered | SlowRank]:
    """Train from the state's step to the end and yield events.

    The state changes in place and is consistent at every event; to stop, do not call `next` again.

    Raises:  DivergedError if training diverges and recovery does not help or is switched off.
    """
    optimizer, schedule = training.optimizer(), training.schedule(state)
    if training.config.recover and state.good is None:
        state.keep()
    with training.workers() as workers:
        workers.hold(state.params, state.opt_state)
        while True:
            try:
                if state.progress.reported < state.step and training.reports_at(state.course, state.step):
                    yield from _report(training, state, schedule, workers)
                if is_finished(training, state):
                    return
                _refuse_high(training, state)
                rate = schedule(state.step) * state.progress.rate_factor
                stepped = train_step(training, optimizer, rate, state, training.stream[state.step], workers)
            except DivergedError as error:
                recovered = _recover(training, state, error)
                workers.hold(state.params, state.opt_state)
                yield recovered
                continue
            progress = state.progress
            progress.steps += 1
            progress.chars += stepped.chars
            progress.loss_sum += stepped.loss if stepped.counted is None else stepped.counted * stepped.loss
            progress.counted += stepped.counted or 0
            progress.norm_sum += stepped.grad_norm
            for layer, norm in stepped.grad_norms.items():
                progress.norm_sums[layer] = progress.norm_sums.get(layer, 0.0) + norm
            progress.clipped += stepped.clipped
            yield stepped


def is_finished(training: Training, state: TrainState) -> bool:
    """Return whether the last step is done or patience has run out, and the newest evaluation was not too high."""
    is_at_end = state.step >= state.course.total or is_stale(training.config, state.progress)
    return is_at_end and not state.progress.high


def is_stale(config: TrainConfig, progress: Progress) -> bool:
    """Return whether patience has run out."""
    return 0 < config.patience <= progress.stale


def _refuse_high(training: Training, state: TrainState) -> None:
    """Raise DivergedError if the newest evaluations were too high: `MOST_HIGH` in a row, or the last one of the run.

    The last one before a complete run was extended counts, too: it was the last one when that run recovered.
    """
    high = state.progress.high
    if high >= MOST_HIGH or (high and state.step == state.course.total_at(state.step)):
        loss, limit = state.history[-1]["val_loss"], _limit(training)
        times = f"{high} validation losses in a row are" if high > 1 else "the last validation loss is"
        raise DivergedError(f"{times} above {limit:.2f} nats: {loss:,.2f}", state.step)


def _is_bad(training: Training, loss: float, val_loss: float | None) -> bool:
    """Return whether an evaluation may show divergence; without a validation loss, the training loss decides."""
    limit = _limit(training)
    above = loss > limit if val_loss is None else val_loss > limit and loss > limit - _WORSE
    return training.config.recover and above


def _limit(training: Training) -> float:
    """Return the validation loss above which a model has diverged, in nats per prediction."""
    return math.log(training.classes) + _WORSE


def _recover(training: Training, state: TrainState, error: DivergedError) -> Recovered:
    """Go back to the last good state and lower the rate; raise the error if that is switched off or did not help."""
    progress, config = state.progress, training.config
    if not config.recover:
        raise error
    rate = progress.rate_factor * (config.learning_rate or 0.0)
    if progress.tries >= MOST_TRIES:
        tried = f", and {MOST_TRIES} lower learning rates in a row, down to {rate:.3g}, did not help"
        raise DivergedError(error.cause, error.step, tried) from None
    progress.rate_factor *= RATE_FACTOR
    progress.tries += 1
    progress.recoveries += 1
    progress.diverged_at = max(progress.diverged_at, error.step)
    state.go_back()
    return Recovered(error.step, state.step, error.cause, rate * RATE_FACTOR, progress.tries)


def _report(
    training: Training, state: TrainState, schedule: Schedule, workers: Workers
) -> Iterator[Evaluating | Report | SlowRank]:
    """Evaluate if an evaluation is due, update the progress, and yield the report.

    A validation loss above the limit is neither the best nor does it use up patience: it may be the first sign of
    divergence. A model that overfits may validate as badly, so the training loss must be high, too.
    """
    progress, evaluates = state.progress, training.evaluates_at(state.course, state.step)
    loss = progress.loss_sum / (progress.counted or progress.steps)
    best, averaged, scored = False, False, Tally()
    if evaluates:
        scored = yield from _scored(training, state.params, workers)
    if scored.chars and (mean := training.averaged(state)):
        by_mean = yield from _scored(training, mean, workers)
        if _lower(training.badness(by_mean), training.badness(scored)):
            scored, averaged = by_mean, True
    val_loss, badness = scored.nats_per_char, training.badness(scored)
    bad, high = _is_bad(training, loss, val_loss), 0
    if val_loss is not None:
        check_finite("validation loss", val_loss, state.step)
        if bad:
            high = progress.high + 1
        elif best := progress.best_loss is None or _lower(badness, progress.best_loss):
            progress.waited = max(progress.waited, progress.stale)
            progress.best_loss, progress.best_step, progress.stale = badness, state.step, 0
        else:
            progress.stale += 1
    report = Report(
        step=state.step,
        epoch=state.step / training.stream.steps_per_epoch,
        loss=loss,
        val_loss=val_loss,
        learning_rate=schedule(state.step - 1) * progress.rate_factor,
        grad_norm=progress.norm_sum / progress.steps,
        grad_norms={layer: total / progress.steps for layer, total in progress.norm_sums.items()},
        clipped=progress.clipped / progress.steps,
        saturation=saturation(training, state, workers) if evaluates else None,
        chars=progress.chars,
        best=best,
        averaged=averaged,
        val_accuracy=scored.accuracy,
    )
    kept = ("best_loss", "best_step", "stale", "waited", "rate_factor", "recoveries", "diverged_at")
    state.progress = Progress(
        reported=state.step,
        high=high if evaluates else progress.high,
        tries=0 if evaluates and not bad else progress.tries,
        **{name: getattr(progress, name) for name in kept},
    )
    if evaluates:
        state.history = thinned([*state.history, training.record(report)])
        if training.config.recover and not bad:
            state.keep()
        workers.renew(state.params, state.opt_state)
    yield report
    if evaluates and (slow := workers.slow_rank()) is not None:
        yield slow


def _lower(badness: float | None, than: float | None) -> bool:
    """Return whether one model is better than another."""
    return badness is not None and than is not None and badness < than


def thinned(history: list[dict[str, Any]], most: int = MOST_HISTORY) -> list[dict[str, Any]]:
    """Return the history, without every second of its older records if it is longer than `most`; log.jsonl has all.

    The first record, the best one and the newest quarter stay. Every save writes the history: without a bound, the cost
    of a run that evaluates often would grow with the square of its length.
    """
    if len(history) <= most:
        return history
    measured = [math.inf if record["val_loss"] is None else badness_of(record) for record in history]
    best, newest = measured.index(min(measured)), len(history) - most // 4
    return [record for at, record in enumerate(history) if at % 2 == 0 or at == best or at >= newest]


def saturation(training: Training, state: TrainState, workers: Workers) -> Saturation:
    """Return how much of each gate is near an end of its range, in a few rows of the next window, without dropout."""
    least, few = cell_of(training.model_config.cell).gates, slice(_ROWS_SEEN)
    with np.errstate(all="ignore"):  # NaN is near neither end
        workers.set_params(state.params)
        found = workers.gates(training.stream[state.step].rows(few), state.state[:, :, few])
        return {
            f"layer{layer}": {name: _shares(*saturated(gate, least[name])) for name, gate in gates.items()}
            for layer, gates in enumerate(found)
        }


def _shares(left: Mask, right: Mask) -> tuple[float, float]:
    """Return the shares of two masks that are True, to four digits."""
    return round(float(left.mean()), 4), round(float(right.mean()), 4)


def _scored(training: Training, params: Params, workers: Workers) -> Generator[Evaluating, None, Tally]:
    """Return the tally of the validation split; yield the progress of its evaluation."""
    result = Tally()
    for result in validate(training, params, workers):
        yield Evaluating(result.chars, training.validated)
    return result


def validate(training: Training, params: Params, workers: Workers) -> Iterator[Tally]:
    """Yield the running tally of the validation split."""
    with np.errstate(all="ignore"):  # the caller checks the result
        yield from training.tallies(params, workers)
