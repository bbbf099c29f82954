"""Training in memory: one step, and the loop over steps."""

import math
import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fixtures_run import TEXT, begin, copies, make_training, same

from charrnn.arrays import Scratch
from charrnn.config import CELL_NAMES
from charrnn.data.vocab import Vocab
from charrnn.errors import DivergedError
from charrnn.evaluation.whole import tally
from charrnn.nn import model
from charrnn.nn.functional import cross_entropy
from charrnn.nn.optimizers import global_norm, norms_by_layer
from charrnn.training import loop
from charrnn.training.loop import Evaluating, Report, Stepped, fit, is_stale, saturation, thinned, train_step

posix = pytest.mark.skipif(os.name != "posix", reason="needs processes that share memory")

#: Two layers and an embedding, and a batch that two processes share.
LAYERS = {"num_layers": 2, "embed_size": 3, "batch_size": 16}

#: Plain gradient descent, whose every update is the rate times the gradient.
PLAIN = {"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.25, "schedule": "constant", "clip_norm": 0.0}


def one_step(training, state, *, step=None, learning_rate=None):
    """Do one update with the window of `step`, the state's own if None; return its loss and norm."""
    step = state.step if step is None else step
    rate = training.schedule(state)(step) if learning_rate is None else learning_rate
    with training.workers() as workers:
        stepped = train_step(training, training.optimizer(), rate, state, training.stream[step], workers)
    return stepped.loss, stepped.grad_norm


def events_of(training, kind=None, state=None):
    """Return the events of the whole training, or those of one kind."""
    events = list(fit(training, state or begin(training)))
    return [event for event in events if kind is None or isinstance(event, kind)]


def length(arrays):
    """Return the Euclidean norm of all arrays together."""
    return global_norm(norms_by_layer(arrays))


def difference(after, before):
    """Return after - before, array by array."""
    return {name: after[name] - before[name] for name in after}


# One step


def test_the_update_is_the_rate_times_the_gradient_of_the_windows_mean_loss():
    # The gradient is found anew by differences along random directions, with the state at the window's start held
    # fixed: exactly what truncation means. The second window starts from a state that is not zero.
    training = make_training(dtype="float64", num_layers=2, **PLAIN)
    state = begin(training)
    one_step(training, state)
    before, carried = copies(state.params), state.state.copy()
    assert np.abs(carried).max() > 0.01
    window = training.stream[1]

    def loss_at(params):
        weights = model.prepare(params, training.model_config)
        return cross_entropy(model.forward(weights, window.inputs, carried)[0], window.targets)[0]

    loss, grad_norm = one_step(training, state)
    assert loss == pytest.approx(loss_at(before), rel=1e-12)
    grads = {name: array / -0.25 for name, array in difference(state.params, before).items()}
    assert grad_norm == pytest.approx(length(grads), rel=1e-9)
    rng = np.random.default_rng(1)
    for name, grad in grads.items():
        direction = rng.normal(size=grad.shape)
        up, down = (loss_at(before | {name: before[name] + sign * 1e-5 * direction}) for sign in (1, -1))
        assert (up - down) / 2e-5 == pytest.approx(float((grad * direction).sum()), rel=1e-6), name


def test_the_state_is_carried_from_window_to_window():
    training = make_training()
    state = begin(training)
    before = copies(state.params)
    weights = model.prepare(before, training.model_config)
    window = training.stream[0]
    _, carried, _ = model.forward(weights, window.inputs, state.state, reset=window.reset)
    one_step(training, state)
    assert state.step == 1
    assert np.array_equal(state.state, carried)
    weights = model.prepare(state.params, training.model_config)
    window = training.stream[1]
    assert window.reset is None
    expected, fresh = (
        cross_entropy(model.forward(weights, window.inputs, start)[0], window.targets)[0]
        for start in (carried, np.zeros_like(carried))
    )
    loss, _ = one_step(training, state)
    assert loss == expected
    assert loss != fresh


def test_the_state_is_forgotten_where_an_epoch_begins_and_not_before():
    training = make_training(optimizer="sgd")
    steps = training.stream.steps_per_epoch

    def loss_after(start, step):
        state = begin(training)
        state.step, state.state = step, np.full_like(state.state, start)
        return one_step(training, state)[0]

    for epoch in (0, 1, 7):
        assert loss_after(0.0, epoch * steps) == loss_after(0.7, epoch * steps)
        assert loss_after(0.0, epoch * steps + steps - 1) != loss_after(0.7, epoch * steps + steps - 1)


def test_a_lane_begins_a_window_from_a_zero_state_as_often_as_asked_for():
    def carried_after(start, reset_rate):
        training = make_training(reset_rate=reset_rate, batch_size=16)
        state = begin(training)
        state.step, state.state = 1, np.full_like(state.state, start)
        one_step(training, state)
        return state.state

    forgot, some, none = (
        (carried_after(0.7, rate) == carried_after(0.0, rate)).all(axis=(0, 1, 3)) for rate in (1, 0.5, 0)
    )
    assert forgot.all()
    assert 0 < some.sum() < 16
    assert not none.any()


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda params: params["out.W_hy"].__setitem__((0, 0), math.nan), "loss"),
        (lambda params: params["layer0.W_hh"].fill(math.nan), "loss"),
        (lambda params: params["out.b_y"].__setitem__(0, math.inf), "loss"),
        (lambda params: params["out.W_hy"].__imul__(1e25), "gradient"),
    ],
)
@pytest.mark.parametrize("clipping", [{}, {"clip_norm": 0.0}, {"clip_value": 0.1}])
def test_a_step_that_is_not_finite_is_refused_and_changes_nothing(spoil, what, clipping):
    training = make_training(dropout=0.2, learning_rate=0.125, schedule="constant", **clipping)
    state = begin(training)
    for _ in range(3):
        one_step(training, state)
    spoil(state.params)
    params, opt_state, carried = copies(state.params), copies(state.opt_state), state.state.copy()
    with pytest.raises(DivergedError) as caught:
        one_step(training, state)
    assert same(state.params, params)
    assert same(state.opt_state, opt_state)
    assert np.array_equal(state.state, carried)
    assert state.step == 3
    message = str(caught.value)
    assert f"the {what} is no longer finite at step 4" in message
    assert "--learning-rate" in message
    assert "\n" not in message


@pytest.mark.parametrize("val_text", ["", TEXT[:50]])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_whose_rate_is_far_too_high_ends_by_the_error(optimizer, val_text):
    settings = {"optimizer": optimizer, "learning_rate": 1e38, "steps": 1000, "eval_every": 1, "recover": False}
    training = make_training(TEXT, val_text, **PLAIN | settings)
    state = begin(training)
    reports = []
    with pytest.raises(DivergedError) as caught:  # noqa: PT012
        for event in fit(training, state):
            reports += [event] if isinstance(event, Report) else []
    assert state.step < 1000
    assert caught.value.step in (state.step, state.step + 1)
    assert f"no longer finite at step {caught.value.step}: " in str(caught.value)
    assert all(math.isfinite(report.loss) for report in reports)
    assert all(math.isfinite(report.val_loss) for report in reports if val_text)
    assert [record["step"] for record in state.history] == [report.step for report in reports]


def test_clip_norm_bounds_the_update():
    moves, norms = [], []
    for limit in (0.0, 50.0, 0.03):
        training = make_training(**PLAIN | {"clip_norm": limit})
        state = begin(training)
        before = copies(state.params)
        norms.append(one_step(training, state)[1])
        moves.append(difference(state.params, before))
    free, wide, bound = moves
    assert norms[0] == norms[1] == norms[2] > 0.06  # the norm that is told is the one before clipping
    assert length(free) == pytest.approx(0.25 * norms[0], rel=1e-4)
    assert length(wide) == pytest.approx(0.25 * norms[0], rel=1e-4)
    assert length(bound) == pytest.approx(0.25 * 0.03, rel=1e-4)
    for name, move in bound.items():  # the direction stays
        np.testing.assert_allclose(move * norms[0] / 0.03, free[name], rtol=1e-2, atol=1e-5)


def test_clip_value_bounds_each_element_of_the_update():
    moves, norms = [], []
    for limit in (0.0, 0.01):
        training = make_training(**PLAIN | {"clip_value": limit})
        state = begin(training)
        before = copies(state.params)
        norms.append(one_step(training, state)[1])
        moves.append(difference(state.params, before))
    assert norms[0] == norms[1]
    assert max(np.abs(move).max() for move in moves[0].values()) > 0.25 * 0.02
    for name, move in moves[1].items():
        np.testing.assert_allclose(move, np.clip(moves[0][name], -0.0025, 0.0025), atol=1e-6)


@pytest.mark.parametrize(
    ("limits", "share"),
    [({}, 0.0), ({"clip_value": 1e3}, 0.0), ({"clip_norm": 1e-3}, 1.0), ({"clip_value": 1e-4}, 1.0)],
)
def test_a_step_is_clipped_where_a_limit_made_its_gradients_shorter(limits, share):
    reports = events_of(make_training(**PLAIN | {"steps": 10} | limits), Report)
    assert [report.clipped for report in reports] == [share] * len(reports)


def test_what_is_dropped_is_a_function_of_seed_and_step():
    def loss_of(seed=5, step=3, dropout=0.5):
        training = make_training(seed=seed, dropout=dropout)
        state = begin(training)
        state.step = step
        window = make_training().stream[0]  # the same text for all
        with training.workers() as workers:
            return train_step(training, training.optimizer(), 0.1, state, window, workers).loss

    assert loss_of() == loss_of()
    assert len({loss_of(), loss_of(step=4), loss_of(seed=6), loss_of(seed=4, step=4)}) == 4
    assert loss_of(dropout=0.0) == loss_of(dropout=0.0, step=4, seed=6) != loss_of()


@pytest.mark.parametrize(
    "clipping", [{"clip_norm": 0.0}, {"clip_norm": 0.03}, {"clip_value": 0.001, "clip_norm": 0.01}]
)
@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=posix)])
def test_the_norms_of_the_layers_are_those_of_their_gradients_before_clipping(threads, clipping):
    # The gradients are found in what plain descent has moved, without clipping, in one process.
    free = make_training(**PLAIN | LAYERS)
    state = begin(free)
    before = copies(state.params)
    one_step(free, state)
    squares = {
        name: float((array.astype(float) ** 2).sum()) for name, array in difference(state.params, before).items()
    }
    expected = {
        layer: math.sqrt(sum(square for name, square in squares.items() if name.startswith(f"{layer}."))) / 0.25
        for layer in ("embed", "layer0", "layer1", "out")
    }
    training = make_training(**PLAIN | LAYERS | clipping | {"threads": threads})
    with training.workers() as workers:
        assert workers.plan.processes == threads
        stepped = train_step(training, training.optimizer(), 0.25, begin(training), training.stream[0], workers)
    assert list(stepped.grad_norms) == list(expected)
    assert stepped.grad_norms == pytest.approx(expected, rel=1e-3)  # single precision, of small moves
    assert min(expected.values()) > 1e-3
    assert stepped.grad_norm == pytest.approx(math.hypot(*stepped.grad_norms.values()), rel=1e-12)


# The loop


def test_a_learnable_text_is_learned():
    text = "abcdefgh" * 60
    training = make_training(text, text[:80], steps=150, eval_every=50, log_every=10, learning_rate=0.02)
    events = events_of(training)
    reports = [event for event in events if isinstance(event, Report)]
    first = next(event for event in events if isinstance(event, Stepped))
    assert first.loss == pytest.approx(math.log(8), abs=0.3)
    assert reports[-1].loss < 0.2
    assert reports[-1].val_loss < 0.2
    assert all(later.loss < earlier.loss for earlier, later in pairwise(reports[:5]))


@pytest.mark.parametrize("cut", [None, 4, 6, 7, 8, 9])
def test_a_report_is_the_mean_of_the_steps_since_the_one_before(cut):
    # Every step counts in exactly one report, also where the loop was left between two reports and begun anew.
    training = make_training(TEXT, TEXT[:50])
    state = begin(training)
    events = []
    if cut:
        for event in fit(training, state):
            events.append(event)
            if isinstance(event, Stepped) and event.step == cut:
                break
    events += fit(training, state)
    since, reports = [], []
    for event in events:
        if isinstance(event, Stepped):
            since.append(event)
        elif isinstance(event, Report):
            assert since
            assert since[-1].step == event.step
            assert event.loss == pytest.approx(sum(step.loss for step in since) / len(since), rel=1e-12)
            assert event.grad_norm == pytest.approx(sum(step.grad_norm for step in since) / len(since), rel=1e-12)
            assert event.grad_norms == pytest.approx(
                {name: sum(step.grad_norms[name] for step in since) / len(since) for name in ("layer0", "out")},
                rel=1e-12,
            )
            assert event.chars == sum(step.chars for step in since)
            reports.append(event)
            since = []
    assert since == []
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 21))
    assert [report.step for report in reports] == [3, 6, 7, 9, 12, 14, 15, 18, 20]
    assert [report.step for report in reports if report.val_loss is not None] == [7, 14, 20]


@pytest.mark.parametrize(
    ("log_every", "eval_every", "reported", "evaluated"),
    [
        (0, 8, [8, 16, 20], [8, 16, 20]),
        (0, None, [20], [20]),
        (8, None, [8, 16, 20], [20]),
        (100, 100, [20], [20]),
        (5, 10, [5, 10, 15, 20], [10, 20]),
    ],
)
def test_when_it_is_reported_and_evaluated(log_every, eval_every, reported, evaluated):
    training = make_training(TEXT, TEXT[:50], log_every=log_every, eval_every=eval_every)
    reports = events_of(training, Report)
    assert [report.step for report in reports] == reported
    assert [report.step for report in reports if report.val_loss is not None] == evaluated


def test_the_short_window_at_the_end_of_an_epoch_is_learned_from():
    training = make_training(TEXT[:-30], steps=60)
    per_epoch, lane = training.stream.steps_per_epoch, training.stream.row_length
    assert lane % 10 > 0
    chars = [event.chars for event in events_of(training, Stepped)]
    assert chars[:per_epoch] == [40] * (per_epoch - 1) + [lane % 10 * 4]
    assert sum(chars[:per_epoch]) == lane * 4 >= len(TEXT[:-30]) - 1
    assert chars[per_epoch : 2 * per_epoch] == chars[:per_epoch]


def test_each_epoch_reads_the_same_windows():
    training = make_training(**PLAIN | {"learning_rate": 1e-12})  # the weights stay: each loss tells its window
    state = begin(training)
    first = [one_step(training, state)[0] for _ in range(training.stream.steps_per_epoch)]
    second = [one_step(training, state)[0] for _ in range(training.stream.steps_per_epoch)]
    assert second == pytest.approx(first, rel=1e-4)
    assert len(set(first)) == len(first)


def test_a_report_tells_the_epoch():
    training = make_training(steps=60)
    for report in events_of(training, Report):
        assert report.epoch == report.step / training.stream.steps_per_epoch


def test_the_rate_follows_the_schedule():
    settings = {"schedule": "step", "learning_rate": 0.5, "decay_rate": 0.5, "decay_steps": 2, "steps": 7}
    training = make_training(**PLAIN | settings | {"log_every": 1})
    rates = [0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    state = begin(training)
    moved = []
    before = copies(state.params)
    for event in fit(training, state):
        if isinstance(event, Stepped):
            moved.append(length(difference(state.params, before)) / event.grad_norm)
            before = copies(state.params)
    assert moved == pytest.approx(rates, rel=1e-3)
    assert [report.learning_rate for report in events_of(training, Report)] == rates


def test_the_state_is_whole_at_every_event():
    training = make_training(TEXT, TEXT[:50])
    state = begin(training)
    for event in fit(training, state):
        if isinstance(event, Stepped):
            assert state.step == event.step
            assert state.progress.steps + state.progress.reported == state.step
        elif isinstance(event, Evaluating):
            assert state.progress.reported < state.step
            assert len(state.history) == sum(step < state.step for step in (7, 14))
        else:
            assert state.progress.reported == event.step == state.step
            assert (state.progress.steps, state.progress.chars) == (0, 0)
            assert (state.progress.loss_sum, state.progress.norm_sum, state.progress.norm_sums) == (0.0, 0.0, {})
            if event.val_loss is not None:
                assert state.history[-1]["step"] == event.step


def test_the_validation_loss_is_that_of_the_weights_at_that_step():
    training = make_training(TEXT, TEXT[:300])
    state = begin(training)
    seen = 0
    for event in fit(training, state):
        if isinstance(event, Report) and event.val_loss is not None:
            with training.workers() as workers:
                *_, result = tally(state.params, workers, training.val_ids)
            assert event.val_loss == result.nats_per_char
            seen += 1
    assert seen == 3


def test_an_evaluation_tells_how_far_it_is_and_ends_at_its_end():
    training = make_training(TEXT, TEXT[:700])
    told = [event for event in events_of(training) if isinstance(event, Evaluating)]
    length = training.config.seq_len
    assert [event.chars for event in told] == [*range(length, 699, length), 699] * 3
    assert {event.of for event in told} == {699}


def test_a_long_history_is_thinned_and_keeps_what_matters():
    history = []
    for step in range(1, 5001):
        loss = None if step < 3 else abs(step - 777) + 1.0
        history = thinned([*history, {"step": step, "val_loss": loss}], 100)
        assert len(history) <= 100
    steps = [record["step"] for record in history]
    assert steps == sorted(set(steps))
    assert steps[0] == 1
    assert 777 in steps  # the best
    assert steps[-25:] == list(range(4976, 5001))
    assert thinned(history[:100], 100) == history[:100]


def test_a_run_that_evaluates_often_keeps_a_bounded_history(monkeypatch):
    monkeypatch.setattr(loop, "thinned", lambda history: thinned(history, 8))
    training = make_training(TEXT[:200], TEXT[:50], steps=40, eval_every=1)
    state = begin(training)
    for _ in fit(training, state):
        assert len(state.history) <= 8
    assert [record["step"] for record in state.history][-2:] == [39, 40]


def test_the_history_has_a_record_of_each_evaluation():
    training = make_training(TEXT, TEXT[:50])
    state = begin(training)
    reports = [report for report in events_of(training, Report, state) if report.val_loss is not None]
    assert len(state.history) == 3
    for record, report in zip(state.history, reports, strict=True):
        wanted = {name: getattr(report, name) for name in ("step", "epoch", "loss", "val_loss", "learning_rate")}
        assert wanted.items() <= record.items()


def test_a_report_is_the_best_where_the_validation_loss_is_below_all_before():
    training = make_training(TEXT, TEXT[:200], steps=60, eval_every=2, learning_rate=0.3, schedule="constant")
    state = begin(training)
    least, flags = math.inf, set()
    for event in fit(training, state):
        if isinstance(event, Report) and event.val_loss is not None:
            assert event.best == (event.val_loss < least)
            if event.best:
                least, at = event.val_loss, event.step
            flags.add(event.best)
            assert (state.progress.best_loss, state.progress.best_step) == (least, at)
            assert state.progress.stale == (event.step - at) / 2
        elif isinstance(event, Report):
            assert not event.best
    assert flags == {True, False}


def test_a_loss_that_stays_is_no_better():
    training = make_training(TEXT, TEXT[:50], **PLAIN | {"learning_rate": 1e-30, "patience": 3, "eval_every": 2})
    state = begin(training)
    reports = [report for report in events_of(training, Report, state) if report.val_loss is not None]
    assert len({report.val_loss for report in reports}) == 1
    assert [report.best for report in reports] == [True, False, False, False]
    assert (state.progress.best_step, state.progress.stale) == (2, 3)


@pytest.mark.parametrize("val_text", ["", "1"])
def test_without_a_validation_text_nothing_is_validated(val_text):
    training = make_training(TEXT, val_text, patience=1)
    state = begin(training)
    events = events_of(training, state=state)
    reports = [event for event in events if isinstance(event, Report)]
    assert [report.val_loss for report in reports] == [None] * len(reports)
    assert not any(report.best for report in reports)
    assert state.step == 20
    assert state.progress.best_loss is None
    assert [record["step"] for record in state.history] == [7, 14, 20]


@pytest.mark.parametrize("cell", CELL_NAMES)
@pytest.mark.parametrize("val_text", ["", TEXT[:50]])
def test_the_saturation_is_that_of_the_gates_of_the_next_window_without_dropout(cell, val_text):
    # With a running mean of the weights, which is validated last, it is still that of the weights themselves.
    settings = {"dropout": 0.5, "batch_size": 10, "learning_rate": 0.1, "average": 0.9}
    training = make_training(TEXT, val_text, cell=cell, **settings)
    state = begin(training)
    shares = []
    for event in fit(training, state):
        if isinstance(event, Report) and event.step in (7, 14, 20):
            shares.append(event.saturation)
            assert event.saturation == saturation_by_hand(training, state)
        elif isinstance(event, Report):
            assert event.saturation is None
    assert len({str(share) for share in shares}) == 3
    for ends in shares[-1]["layer0"].values():
        assert 0 < sum(ends) < 1


def saturation_by_hand(training, state):
    """Return the shares in eight lanes of the next window, counted one by one."""
    weights, few = model.prepare(state.params, training.model_config), slice(0, 8)
    window = training.stream[state.step]
    reset = None if window.reset is None else window.reset[:, few]
    (gates,) = model.gates(weights, window.inputs[:, few], state.state[:, :, few], Scratch(), reset=reset)
    shares = {}
    for name, gate in gates.items():
        values = gate.ravel().tolist()
        low = sum(value < (-0.9 if name in "hgn" else 0.1) for value in values)
        high = sum(value > 0.9 for value in values)
        shares[name] = (round(low / len(values), 4), round(high / len(values), 4))
    return {"layer0": shares}


def test_gates_with_large_biases_are_saturated():
    training = make_training(TEXT, TEXT[:50])
    state = begin(training)
    for name in ("layer0.W_xh", "layer0.W_hh"):
        state.params[name][...] = 0
    state.params["layer0.b_h"][...] = np.repeat([-20, 20, -20, 0], 8)
    with training.workers() as workers:
        (shares,) = saturation(training, state, workers).values()
    assert shares == {"i": (1.0, 0.0), "f": (0.0, 1.0), "g": (1.0, 0.0), "o": (0.0, 0.0)}


@posix
def test_two_processes_see_the_same_saturation_as_one():
    seen = []
    for threads in (1, 2):
        training = make_training(TEXT, TEXT[:50], threads=threads, dtype="float64", learning_rate=0.1, **LAYERS)
        assert training.workers().plan.processes == threads
        seen.append([report.saturation for report in events_of(training, Report)])
    assert seen[0] == seen[1]
    assert seen[0][-1].keys() == {"layer0", "layer1"}


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=posix)])
def test_gates_are_looked_at_in_the_buffers_of_a_step(threads):
    training = make_training(TEXT, TEXT[:50], threads=threads, **LAYERS)
    state = begin(training)
    with training.workers() as workers:
        train_step(training, training.optimizer(), 0.1, state, training.stream[0], workers)
        scopes = workers._learner._scratch._scopes
        before = {layer: scope._buffers.copy() for layer, scope in scopes.items()}
        assert saturation(training, state, workers).keys() == before.keys() == {"layer0", "layer1"}
        for layer, scope in scopes.items():
            assert scope._buffers.keys() == before[layer].keys()
            assert all(scope._buffers[name] is buffer for name, buffer in before[layer].items())


@pytest.mark.parametrize("settings", [{"dropout": 0.3}, {"cell": "gru"}])
def test_validation_leaves_no_trace_in_the_weights(settings):
    vocab = Vocab.from_text(TEXT)
    ends = []
    for val_text in (TEXT[:600], ""):
        training = make_training(TEXT, val_text, vocab=vocab, **settings)
        state = begin(training)
        events_of(training, state=state)
        ends.append(state)
    assert same(ends[0].params, ends[1].params)
    assert same(ends[0].opt_state, ends[1].opt_state)
    assert np.array_equal(ends[0].state, ends[1].state)


def worsening(**settings):
    """Return a training whose validation loss is least at first: what it learns is wrong there."""
    return make_training("ab" * 300, "bbbaaabb" * 10, steps=200, eval_every=2, learning_rate=0.05, **settings)


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_ends_a_run_that_gets_no_better(patience):
    training = worsening(patience=patience)
    state = begin(training)
    reports = [report for report in events_of(training, Report, state) if report.val_loss is not None]
    since = [report.val_loss < reports[-patience - 1].val_loss for report in reports[-patience:]]
    assert reports[-patience - 1].best
    assert since == [False] * patience
    assert state.step == reports[-1].step < 200
    assert state.progress.best_step == state.step - 2 * patience
    assert list(fit(training, state)) == []  # and it does not go on


def test_without_patience_a_run_goes_to_its_end():
    training = worsening(patience=0)
    state = begin(training)
    events_of(training, state=state)
    assert state.step == 200
    assert state.progress.stale > 3
    assert not is_stale(training.config, state.progress)


def test_a_finished_training_yields_nothing():
    training = make_training(TEXT, TEXT[:50])
    state = begin(training)
    assert len(events_of(training, state=state)) > 20
    before = copies(state.params)
    assert list(fit(training, state)) == []
    assert same(state.params, before)


def test_a_training_left_before_its_last_report_has_only_that_to_do():
    training = make_training(TEXT, TEXT[:50])
    state = begin(training)
    for event in fit(training, state):
        if isinstance(event, Stepped) and event.step == 20:
            break
    rest = list(fit(training, state))
    assert [type(event) for event in rest] == [Evaluating] * 5 + [Report]
    assert rest[-1].step == 20


def test_a_longer_run_begins_like_a_shorter_one_where_the_rate_is_constant():
    short = make_training(schedule="constant")
    long = replace(short, config=replace(short.config, steps=25))
    one, other = begin(short), begin(long)
    events_of(short, state=one)
    for event in fit(long, other):
        if isinstance(event, Stepped) and event.step == 20:
            break
    assert same(one.params, other.params)
