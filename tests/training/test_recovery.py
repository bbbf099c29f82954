"""Recovery: a run that diverges goes back to its last good state at a lower rate, and resumes like any other."""

import contextlib
import json
import math
import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from fixtures_run import (
    TEXT,
    arrays_of,
    assert_same_run,
    begin,
    copies,
    finish,
    log_of,
    make_training,
    meta_of,
    same,
    start,
    stop_at,
    write_text,
)

from charrnn import checkpoint as ckpt
from charrnn.config import CELL_NAMES
from charrnn.errors import CheckpointError, DivergedError
from charrnn.training import loop
from charrnn.training.catalog import summary
from charrnn.training.folder import RunFolder
from charrnn.training.loop import MOST_TRIES, RATE_FACTOR, Evaluating, Recovered, Report, Stepped, fit
from charrnn.training.run import Run, Saved

pytestmark = pytest.mark.usefixtures("no_sync")

posix = pytest.mark.skipif(os.name != "posix", reason="needs processes that share memory")

#: Plain descent at a rate that is many times too high: every cell diverges, recovers, and ends well.
WILD = {
    "optimizer": "sgd",
    "learning_rate": 100.0,
    "clip_norm": 0.0,
    "schedule": "constant",
    "dropout": 0.1,
    "steps": 35,
    "eval_every": 5,
}
#: A rate that no recovery lowers enough.
HOPELESS = WILD | {"learning_rate": 1e9}
VAL_TEXT = TEXT[:200]


def run_to_end(training, state=None):
    """Return the state after the whole training, and its events."""
    state = state or begin(training)
    return state, list(fit(training, state))


def of_kind(events, kind):
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def evaluations(events):
    """Return the reports of evaluations."""
    return [event for event in of_kind(events, Report) if event.saturation is not None]


@pytest.fixture
def fragile(monkeypatch):
    """Return `fragile(step, rate)`: the update after this step fails at this rate or a higher one."""

    def let_fail(step, rate):
        def failing(training, optimizer, learning_rate, state, window, workers):
            if state.step == step and learning_rate >= rate:
                raise DivergedError("the loss is no longer finite", step + 1)
            return train_step(training, optimizer, learning_rate, state, window, workers)

        train_step = loop.train_step
        monkeypatch.setattr(loop, "train_step", failing)

    return let_fail


# In memory


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_every_cell_recovers_from_a_rate_that_is_far_too_high(cell):
    training = make_training(TEXT, VAL_TEXT, cell=cell, **WILD)
    state, events = run_to_end(training)
    recovered = of_kind(events, Recovered)
    assert [event.learning_rate for event in recovered] == [
        100.0 * RATE_FACTOR**n for n in range(1, len(recovered) + 1)
    ]
    assert state.step == 35
    last, uniform = state.history[-1], math.log(training.model_config.vocab_size)
    assert last["val_loss"] < uniform + 1 or last["loss"] < uniform  # the second: it overfits, which is no divergence
    assert state.progress.rate_factor == RATE_FACTOR ** len(recovered)
    assert (state.progress.recoveries, state.progress.tries) == (len(recovered), 0)
    assert len(recovered) >= 2


def test_it_goes_back_to_the_newest_good_evaluation_and_repeats_only_what_came_after(fragile):
    fragile(12, rate=0.5)
    settings = {"optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant", "eval_every": 5, "log_every": 1}
    training = make_training(TEXT, VAL_TEXT, **settings)
    state = begin(training)
    events, at_ten = [], None
    for event in fit(training, state):
        events.append(event)
        if isinstance(event, Report) and event.step == 10 and at_ten is None:
            at_ten = copies(state.params), copies(state.opt_state), state.state.copy()
        if isinstance(event, Recovered):
            assert same(state.params, at_ten[0])
            assert same(state.opt_state, at_ten[1])
            assert np.array_equal(state.state, at_ten[2])
            assert [record["step"] for record in state.history] == [5, 10]
            assert (state.progress.reported, state.progress.steps, state.progress.best_step) == (10, 0, 10)
    (recovered,) = of_kind(events, Recovered)
    assert recovered == Recovered(13, 10, "the loss is no longer finite", 0.25, 1)
    assert [event.step for event in of_kind(events, Stepped)] == [*range(1, 13), *range(11, 21)]
    rates = {event.step: event.learning_rate for event in of_kind(events, Report)}  # a later line of a step replaces it
    assert [rates[step] for step in (9, 10, 11, 20)] == [1.0, 1.0, 0.25, 0.25]
    assert [record["step"] for record in state.history] == [5, 10, 15, 20]


def test_after_a_recovery_the_rate_alone_is_different(fragile):
    # From the good state on, the run is the one that had the lower rate: the same windows and the same dropout.
    settings = {"optimizer": "sgd", "schedule": "constant", "eval_every": 10, "dropout": 0.5}
    slow = make_training(TEXT, VAL_TEXT, learning_rate=0.25, **settings)
    fragile(7, rate=0.5)
    state, events = run_to_end(make_training(TEXT, VAL_TEXT, learning_rate=1.0, **settings))
    assert [event.back_to for event in of_kind(events, Recovered)] == [0]
    assert same(state.params, run_to_end(slow)[0].params)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("val_text", ["", VAL_TEXT])
def test_the_state_is_finite_at_every_event(optimizer, val_text):
    # At such a rate it is often the update that overflows, not the loss.
    training = make_training(TEXT, val_text, **HOPELESS | {"optimizer": optimizer, "learning_rate": 1e38})
    state = begin(training)
    with contextlib.suppress(DivergedError):
        for _ in fit(training, state):
            for array in (*state.params.values(), *state.opt_state.values(), state.state):
                assert np.isfinite(array).all()


def test_it_gives_up_after_a_number_of_tries_and_names_the_cause():
    training = make_training(TEXT, VAL_TEXT, **HOPELESS)
    state = begin(training)
    events = []
    with pytest.raises(DivergedError) as caught:
        events.extend(fit(training, state))
    with pytest.raises(DivergedError) as again:
        events.extend(fit(training, state))
    assert str(again.value) == str(caught.value)  # it does not begin to count anew
    message = str(caught.value)
    assert "2 validation losses in a row are above" in message
    assert f"at step 10, and {MOST_TRIES} lower learning rates in a row, down to 9.77e+05, did not help" in message
    assert "--learning-rate" in message
    assert "--clip-norm 1" in message
    assert state.progress.tries == MOST_TRIES


def test_a_good_evaluation_ends_the_row_of_tries(fragile):
    fragile(7, rate=0.1)
    fragile(12, rate=0.01)
    settings = {"optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant", "eval_every": 5}
    state, events = run_to_end(make_training(TEXT, VAL_TEXT, **settings))
    assert [(event.back_to, event.tries) for event in of_kind(events, Recovered)] == [(5, 1), (5, 2), (10, 1), (10, 2)]
    assert (state.progress.tries, state.progress.recoveries) == (0, 4)


def test_two_high_evaluations_in_a_row_show_divergence_and_one_does_not():
    training = make_training(TEXT, VAL_TEXT, cell="rnn", **WILD | {"steps": 60})
    limit = math.log(training.model_config.vocab_size) + 1
    row, rows = 0, []
    for event in fit(training, begin(training)):
        if isinstance(event, Report) and event.val_loss is not None:
            row = row + 1 if event.val_loss > limit else 0
            rows.append(row)
            assert not (event.best and row)
        elif isinstance(event, Recovered):
            assert row == 2
            row = 0
        elif isinstance(event, Stepped):
            assert row < 2
    assert {1, 2} <= set(rows)


def test_the_last_evaluation_alone_counts_because_no_other_follows():
    training = make_training(TEXT, VAL_TEXT, **WILD | {"learning_rate": 30.0, "steps": 5})
    state, events = run_to_end(training)
    recovered = of_kind(events, Recovered)
    assert recovered
    assert recovered[0].cause.startswith("the last validation loss is above")
    assert state.history[-1]["val_loss"] < math.log(training.model_config.vocab_size) + 1


def test_a_model_that_overfits_has_not_diverged():
    # It knows that b follows a, so a text in which it does not is worse than guessing.
    training = make_training("ab" * 200, "aabb" * 20, steps=60, eval_every=10, learning_rate=0.05)
    state, events = run_to_end(training)
    assert min(record["val_loss"] for record in state.history[-2:]) > math.log(2) + 1
    assert of_kind(events, Recovered) == []


def test_without_validation_only_numbers_that_are_not_finite_show_divergence(fragile):
    training = make_training(TEXT, "", **WILD)
    state, events = run_to_end(training)
    assert of_kind(events, Recovered) == []
    assert max(record["loss"] for record in state.history) > 10
    fragile(12, rate=1.0)
    state, events = run_to_end(make_training(TEXT, "", **WILD | {"learning_rate": 1.0}))
    assert [(event.step, event.back_to) for event in of_kind(events, Recovered)] == [(13, 10)]


def test_a_high_evaluation_uses_up_no_patience():
    training = make_training(TEXT, VAL_TEXT, cell="gru", **WILD | {"patience": 1})
    state = begin(training)
    limit, highest = math.log(training.model_config.vocab_size) + 1, 0.0
    for event in fit(training, state):
        if isinstance(event, Report) and event.val_loss is not None and event.val_loss > limit:
            highest = max(highest, event.val_loss)
            assert state.progress.stale == 0
    assert highest > limit


def test_without_recovery_it_fails_as_it_did_before():
    training = make_training(TEXT, VAL_TEXT, **WILD, recover=False)
    state, events = run_to_end(training)
    assert of_kind(events, Recovered) == []
    assert max(record["val_loss"] for record in state.history) > 10
    assert evaluations(events)[0].best
    assert state.good is None


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_recovery_changes_nothing_in_a_healthy_run(cell):
    ended = [
        run_to_end(make_training(TEXT, VAL_TEXT, cell=cell, dropout=0.2, average=0.9, recover=recover))[0]
        for recover in (True, False)
    ]
    assert same(ended[0].params, ended[1].params)
    assert same(ended[0].opt_state, ended[1].opt_state)
    assert ended[0].progress == ended[1].progress


# On disk

RUNS = {
    **{cell: WILD | {"cell": cell} for cell in CELL_NAMES},
    "saves between evaluations": WILD | {"cell": "gru", "save_every": 3},
    "a running mean": WILD | {"average": 0.5, "cell": "lnlstm"},
    "patience": WILD | {"cell": "gru", "patience": 2},
    "two processes": {"batch_size": 16, "seq_len": 5, "threads": 2} | WILD | {"steps": 15, "save_every": 2},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a function that gives a text's path and the folder of the run of this name, which was never stopped."""
    shared = tmp_path_factory.mktemp("whole")
    path = write_text(shared)

    def make(name):
        if not (shared / name).exists():
            finish(start(shared / name, path, val_fraction=0.2, **RUNS[name]))
        return path, shared / name

    return make


def recoveries_in(folder):
    """Return the lines of the log that report a recovery."""
    return [line for line in log_of(folder) if "back_to" in line]


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_bits(tmp_path, whole, name):
    if name == "two processes" and os.name != "posix":
        pytest.skip("needs processes that share memory")
    path, folder = whole(name)
    assert recoveries_in(folder)
    going, stops = start(tmp_path / "run", path, val_fraction=0.2, **RUNS[name]), Counter()
    every = {"two processes": 100, "saves between evaluations": 1}.get(name, 5)  # starting a process takes a while
    while not going.finished:
        events = (event for event in going.events() if not isinstance(event, Evaluating))
        for count, event in enumerate(events, 1):
            if count % every == 0 or isinstance(event, Recovered):
                stops[type(event)] += 1
                going.save()
                break
        going.close()
        if not going.finished:
            going = Run.resume(tmp_path / "run")
    going.close()
    assert_same_run(tmp_path / "run", folder)
    assert stops[Recovered] == len(recoveries_in(folder))


KILLS = {
    "at the first recovery": lambda event: isinstance(event, Recovered),
    "after its save": lambda event: isinstance(event, Saved) and event.step == 0,
    "at a step after it": lambda event: isinstance(event, Stepped) and event.step == 2 and event.loss < 10,
    "before the second high evaluation": lambda event: isinstance(event, Stepped) and event.step == 10,
    "in it": lambda event: isinstance(event, Evaluating) and event.chars == 100,
    "after it": lambda event: isinstance(event, Report) and event.step == 10 and event.val_loss > 9,
    "at a later recovery": lambda event: isinstance(event, Recovered) and event.back_to > 0,
    "at a step after that": lambda event: isinstance(event, Stepped) and event.step == 33,
}


@pytest.mark.parametrize("kill", KILLS)
def test_a_run_that_is_killed_ends_in_the_same_bits(tmp_path, whole, kill):
    path, folder = whole("saves between evaluations")
    going = start(tmp_path / "run", path, val_fraction=0.2, **RUNS["saves between evaluations"])
    stop_at(going, KILLS[kill], save=False)
    finish(Run.resume(tmp_path / "run"))
    assert_same_run(tmp_path / "run", folder)


def test_the_log_has_a_line_for_each_recovery_and_says_which_steps_were_abandoned(whole):
    _, folder = whole("gru")
    lines = log_of(folder)
    recoveries = recoveries_in(folder)
    names = "step back_to cause learning_rate tries seconds rate_factor recoveries".split()
    assert [list(line) for line in recoveries] == [names] * len(recoveries)
    assert [line["recoveries"] for line in recoveries] == list(range(1, len(recoveries) + 1))
    assert [line["rate_factor"] for line in recoveries] == [RATE_FACTOR ** line["recoveries"] for line in recoveries]
    assert len({line["back_to"] for line in recoveries}) > 1
    kept = []  # as a reader that follows the file: a recovery takes back the lines after its step
    for line in lines:
        if "back_to" in line:
            kept = [each for each in kept if each["step"] <= line["back_to"]]
            assert line["step"] > line["back_to"]
        else:
            assert line["recoveries"] == sum(each["recoveries"] <= line["recoveries"] for each in recoveries)
            kept.append(line)
    last = {
        line["step"]: line for line in lines if "back_to" not in line
    }  # as one that lets later lines replace others
    assert kept == [last[step] for step in sorted(last)]
    history = ckpt.load(folder / "last.npz").history
    assert [line["val_loss"] for line in kept if line["bpc"] is not None] == [record["val_loss"] for record in history]


def test_last_has_the_good_state_only_where_it_is_another(tmp_path):
    going = start(tmp_path / "run", write_text(tmp_path), val_fraction=0.2, **WILD | {"cell": "gru", "save_every": 3})
    good = None
    for event in going.events():
        if isinstance(event, Report) and event.best:
            good = event.step, copies(going.state.params)
        if not isinstance(event, Saved) or event.path.name != "last.npz":
            continue
        saved = ckpt.load(event.path)
        expected, params = good or (0, None)
        if saved.step == expected:
            assert saved.good is None
            assert not [name for name in arrays_of(event.path) if name.startswith("good/")]
        elif going.state.good.step == expected:
            assert saved.good.step == expected
            assert params is None or same(saved.good.params, params)
            assert saved.good.opt_state.keys() == saved.opt_state.keys()
            assert saved.good.state.shape == saved.state.shape
    going.close()
    assert good


def test_a_checkpoint_from_before_recovery_begins_with_its_own_state_as_the_good_one(tmp_path, fragile):
    fragile(5, rate=0.5)
    settings = {"optimizer": "sgd", "learning_rate": 1.0, "schedule": "constant"}
    going = start(tmp_path / "run", write_text(tmp_path), **settings)
    stop_at(going, lambda event: isinstance(event, Stepped) and event.step == 3)
    last = tmp_path / "run" / "last.npz"
    saved = ckpt.load(last)
    assert saved.good.step == 0
    old = ("rate_factor", "tries", "recoveries", "high")
    progress = {name: value for name, value in saved.progress.items() if name not in old}
    ckpt.save(last, replace(saved, good=None, progress=progress))
    events = finish(Run.resume(tmp_path / "run"))
    assert [event.back_to for event in of_kind(events, Recovered)] == [3]


def test_a_run_that_gives_up_has_whole_files_and_resumes_to_the_same_end(tmp_path):
    path = write_text(tmp_path)
    messages = []
    for going in (start(tmp_path / "run", path, **HOPELESS), None):
        with pytest.raises(DivergedError) as caught:
            finish(going or Run.resume(tmp_path / "run"))
        messages.append(str(caught.value))
        assert meta_of(tmp_path / "run" / "last.npz")["progress"]["tries"] == MOST_TRIES
    assert messages[0] == messages[1]
    assert not (tmp_path / "run" / "best.npz").exists()  # nothing was ever good
    assert len(recoveries_in(tmp_path / "run")) == MOST_TRIES


@pytest.mark.parametrize(
    "spoil",
    [
        lambda held, meta: held.pop("good/state"),
        lambda held, meta: held.pop("good/params/out.b_y"),
        lambda held, meta: held["good/params/out.b_y"].fill(np.nan),
        lambda held, meta: held.__setitem__("good/params/out.b_y", held["good/params/out.b_y"][1:]),
        lambda held, meta: held.__setitem__("good/other", held["good/state"]),
        lambda held, meta: meta.pop("good"),
        lambda held, meta: meta["good"].pop("progress"),
        lambda held, meta: meta["good"].update(step=-1),
        lambda held, meta: meta.update(good=3),
    ],
)
def test_a_damaged_good_state_is_refused(tmp_path, spoil):
    stop_at(start(tmp_path / "run", **WILD), lambda event: isinstance(event, Stepped) and event.step == 3)
    held = arrays_of(tmp_path / "run" / "last.npz")
    meta = json.loads(str(held["meta"]))
    spoil(held, meta)
    np.savez(tmp_path / "bad.npz", **held | {"meta": np.array(json.dumps(meta))})
    with pytest.raises(CheckpointError, match="is damaged"):
        ckpt.load(tmp_path / "bad.npz")


# A length that changes


def repeated(folder, path, run, **settings):
    """Train a run anew, with the settings that it has in the end; return the folder."""
    given = ("length_changes", "patience")
    finish(start(folder, path, val_fraction=0.2, **settings | {name: getattr(run.config, name) for name in given}))
    return folder


def test_an_extended_run_that_diverged_at_its_first_end_is_repeated(tmp_path):
    path, settings = write_text(tmp_path), WILD | {"learning_rate": 30.0, "steps": 5}
    going = start(tmp_path / "run", path, val_fraction=0.2, **settings)
    stop_at(going, lambda event: isinstance(event, Report) and event.step == 5)
    assert not summary(RunFolder(tmp_path / "run")).finished  # it has still to recover
    finish(Run.resume(tmp_path / "run"))
    assert recoveries_in(tmp_path / "run")[0]["cause"].startswith("the last validation loss")
    extended = Run.resume(tmp_path / "run", settings={"steps": 15})
    finish(extended)
    assert_same_run(tmp_path / "run", repeated(tmp_path / "again", path, extended, **settings))


@pytest.mark.parametrize("longer", [{"steps": 60}, {"minutes": 1e-6}])
def test_a_length_that_changes_after_a_recovery_leaves_what_led_to_it(tmp_path, longer):
    path, settings = write_text(tmp_path), WILD | {"cell": "gru", "schedule": "cosine"}
    going = start(tmp_path / "run", path, val_fraction=0.2, **settings)
    recovered = stop_at(going, lambda event: isinstance(event, Recovered))
    assert recovered.back_to < recovered.step
    resumed = Run.resume(tmp_path / "run", settings=longer)
    finish(resumed)
    assert resumed.state.course.changes[0][0] >= recovered.step
    assert_same_run(tmp_path / "run", repeated(tmp_path / "again", path, resumed, **settings))
