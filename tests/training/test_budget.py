"""A run of some minutes ends in time, on a machine that slows down or speeds up, and can be resumed and repeated.

The clock and the machine are simulated: each step, evaluation and save moves the clock, by more if others work too.
"""

import math
from types import SimpleNamespace

import pytest
from fixtures_run import TEXT, assert_same_run, begin, finish, make_training, start, stop_at, write_text

from charrnn.errors import ConfigError
from charrnn.system import meter
from charrnn.training import budget, loop
from charrnn.training import run as run_module
from charrnn.training.budget import steps_within
from charrnn.training.loop import Recovered, Report, Stepped
from charrnn.training.run import LengthChanged, Run

pytestmark = pytest.mark.usefixtures("no_sync")

STEP, WINDOW, SAVE = 0.04, 0.003, 0.02  # seconds on an idle machine
SECONDS = 15.0


class Machine:
    """A clock that work moves; `slowness` says by how much more than on an idle machine, at each time."""

    def __init__(self, monkeypatch):
        self.now, self.slowness = 1000.0, lambda now: 1.0
        clock = SimpleNamespace(monotonic=lambda: self.now, perf_counter=lambda: self.now)
        for module in (run_module, budget, meter):
            monkeypatch.setattr(module, "time", clock)
        train_step, validate = self.taking(STEP, loop.train_step), self.taking_each(WINDOW, loop.validate)
        for module in (loop, budget):
            monkeypatch.setattr(module, "train_step", train_step)
            monkeypatch.setattr(module, "validate", validate)
        monkeypatch.setattr(run_module.ckpt, "save", self.taking(SAVE, run_module.ckpt.save))

    def spend(self, seconds):
        self.now += seconds * self.slowness(self.now)

    def taking(self, seconds, function):
        def slow(*args):
            self.spend(seconds)
            return function(*args)

        return slow

    def taking_each(self, seconds, generator):
        def slow(*args):
            for item in generator(*args):
                self.spend(seconds)
                yield item

        return slow


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


SLOWNESS = {
    "idle": lambda now: 1.0,
    "busy from the middle on": lambda now: 4.0 if now > 1009 else 1.0,
    "busy up to the middle": lambda now: 4.0 if now < 1009 else 1.0,
    "busy while it is measured": lambda now: 3.0 if now < 1002 else 1.0,
    "idle while it is measured": lambda now: 1.0 if now < 1002 else 3.0,
    "busy every other second": lambda now: 1.0 + 3.0 * (int(now) % 2),
}


@pytest.mark.parametrize("slowness", SLOWNESS)
def test_a_run_takes_the_time_asked_and_is_repeated_by_its_settings(tmp_path, machine, slowness):
    machine.slowness = SLOWNESS[slowness]
    path = write_text(tmp_path, 20 * TEXT)
    begun = start(
        tmp_path / "run", path, minutes=SECONDS / 60, val_chars=200, eval_every=None, dropout=0.1, log_every=0,
        learning_rate=0.01,  # with which the last evaluation is the best: best.npz has the changes up to its own step
    )  # fmt: skip
    events = finish(begun)
    assert machine.now - 1000 == pytest.approx(SECONDS, rel=0.1)
    changes = [event for event in events if isinstance(event, LengthChanged)]
    assert begun.state.course.changes == tuple((event.step, event.total) for event in changes)
    assert len(changes) <= 15
    assert (changes == []) == (slowness == "idle")
    assert begun.state.step == begun.state.course.total
    assert [event.step for event in events if isinstance(event, Report)][-1] == begun.state.step
    config = begun.config
    chosen = vars(config) | vars(begun.training.model_config)
    names = ("cell", "steps", "length_changes", "eval_every", "learning_rate", "average", "weight_drop", "reset_rate")
    settled = {name: chosen[name] for name in names}
    finish(start(tmp_path / "again", path, dropout=0.1, log_every=0, val_chars=200, **settled))
    assert_same_run(tmp_path / "run", tmp_path / "again")


def test_a_run_that_was_stopped_goes_on_to_the_length_it_had_then(tmp_path, machine):
    machine.slowness = SLOWNESS["idle while it is measured"]
    path = write_text(tmp_path, 20 * TEXT)
    begun = start(tmp_path / "run", path, minutes=SECONDS / 60, val_chars=200, eval_every=50)
    stop_at(begun, lambda event: isinstance(event, Stepped) and event.step == 40)
    changes, total = begun.state.course.changes, begun.state.course.total
    assert changes
    machine.slowness = lambda now: 100.0
    again = Run.resume(tmp_path / "run")
    finish(again)
    assert (again.state.course.changes, again.state.step) == (changes, total)


@pytest.mark.parametrize("done", [30, 60])
def test_minutes_continue_a_run_for_so_long_and_it_is_repeated_too(tmp_path, machine, done):
    path = write_text(tmp_path, 20 * TEXT)
    begun = start(tmp_path / "run", path, steps=60, val_chars=200, eval_every=50)
    stop_at(begun, lambda event: isinstance(event, Stepped) and event.step == done)
    if done == 60:
        finish(Run.resume(tmp_path / "run"))
    machine.now, machine.slowness = 5000.0, lambda now: 2.0 if now > 5004 else 1.0
    again = Run.resume(tmp_path / "run", settings={"minutes": SECONDS / 60})
    finish(again)
    assert machine.now - 5000 == pytest.approx(SECONDS, rel=0.1)
    assert again.state.course.changes[0][0] == done
    assert len(again.state.course.changes) > 1
    finish(
        start(
            tmp_path / "again", path, val_chars=200, eval_every=50, length_changes=again.config.length_changes, steps=60
        )
    )
    assert_same_run(tmp_path / "run", tmp_path / "again")


def test_minutes_that_are_over_leave_one_more_step(tmp_path, machine):
    finish(start(tmp_path / "run", write_text(tmp_path)))
    again = Run.resume(tmp_path / "run", settings={"minutes": 0.01}, began=machine.now - 100)
    finish(again)
    assert again.state.step == 21


def test_evaluations_that_cost_more_than_was_measured_shorten_the_run(tmp_path, machine, monkeypatch):
    monkeypatch.setattr(budget, "_evaluation_seconds", lambda *given: 0.0)
    begun = start(tmp_path / "run", write_text(tmp_path, 20 * TEXT), minutes=SECONDS / 60, val_chars=200, eval_every=20)
    finish(begun)
    assert machine.now - 1000 == pytest.approx(SECONDS, rel=0.1)


def test_steps_that_are_done_again_change_nothing(tmp_path, machine):
    # After a recovery: the changes so far hold for those steps, and their order in the record stays that of the steps.
    begun = start(
        tmp_path / "run", write_text(tmp_path, 20 * TEXT), minutes=SECONDS / 60, val_chars=200, eval_every=None
    )
    begun.close()
    timer, state = begun.timer, begun.state
    total = state.course.total
    state.step = 30
    timer.stepped(begun.training, state, 40, timer.began + 0.1)
    state.step, state.progress.diverged_at, pace = 29, 31, timer.pace
    assert timer.stepped(begun.training, state, 40, timer.end - 1) == total
    assert timer.pace == pace
    state.step = 31
    assert timer.stepped(begun.training, state, 40, timer.end - 1) < total


def test_the_speed_is_measured_on_one_copy_of_the_state(monkeypatch):
    training = make_training(TEXT, steps=5)
    state, copied = begin(training), []
    state.keep()
    monkeypatch.setattr(budget, "train_step", lambda training, optimizer, rate, state, *_: copied.append(state))
    with training.workers() as workers:
        budget.char_seconds(training, state, workers, 0.0)
    assert copied[0].params is not state.params
    assert copied[0].good is None
    assert state.good is not None


def test_a_run_about_to_diverge_is_measured_and_recovers(tmp_path, monkeypatch):
    path = write_text(tmp_path)
    stop_at(start(tmp_path / "run", path, steps=10), lambda event: isinstance(event, Stepped) and event.step == 8)
    gradients, infinite = loop.Workers.gradients, []

    def diverging(workers, window, state, step):
        loss, state, grads = gradients(workers, window, state, step)
        return loss if infinite or step != 8 else math.inf, state, grads

    monkeypatch.setattr(loop.Workers, "gradients", diverging)
    again = Run.resume(tmp_path / "run", settings={"minutes": 1e-6})
    for event in again.events():
        if isinstance(event, Recovered):
            infinite.append(event)
    again.close()
    assert [event.step for event in infinite] == [9]
    assert again.finished


@pytest.mark.parametrize(
    ("left", "evaluation", "every", "done", "steps"),
    [
        (10.0, 1.0, None, 0, 90),
        (10.0, 1.0, 100, 0, 90),
        (10.0, 1.0, 50, 0, 80),  # 5 s, an evaluation, 3 s, the last one
        (10.9, 1.0, 90, 0, 90),  # there is time for the last one right after those steps, and not for one more
        (10.0, 1.0, 50, 45, 70),
        (1.0, 2.0, 10, 0, 1),
        (-5.0, 1.0, 10, 3, 1),
    ],
)
def test_how_many_steps_fit_between_evaluations(left, evaluation, every, done, steps):
    assert steps_within(left, 0.1, evaluation, every, done) == steps


def test_a_length_and_minutes_contradict_each_other(tmp_path):
    finish(start(tmp_path / "run", write_text(tmp_path)))
    with pytest.raises(ConfigError, match="--steps and --minutes cannot be combined"):
        Run.resume(tmp_path / "run", settings={"steps": 30, "minutes": 1.0})
