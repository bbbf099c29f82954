"""The gradients of a classifier's training: finite differences, threads, weights; and how it is validated."""

import numpy as np
import pytest

from charrnn.classification import training as module
from charrnn.classification.texts import TextBatch, Texts, TextStream
from charrnn.classification.training import LabelTraining, LabelWorkers, class_weights, weighted_loss
from charrnn.config import ClassifierConfig, ModelConfig, TrainConfig
from charrnn.data.padding import pad
from charrnn.nn import classifier
from charrnn.nn.auxiliary import NextCharacters
from charrnn.nn.functional import log_softmax
from charrnn.nn.gradcheck import check_gradients
from charrnn.training.loop import Report, Stepped, fit

V, LABELS, B = 4, ("one", "two", "three"), 16
DROPPING = {"dropout": 0.4, "input_dropout": 0.3, "weight_drop": 0.3}


def net(next_weight=0.3, bidirectional=True, nets=1, dtype="float64", **settings):
    """Return the configs of a tiny net and parameters none of which is zero."""
    rng = np.random.default_rng(1)
    own = ClassifierConfig(labels=LABELS, bidirectional=bidirectional, pool="mean", next_weight=next_weight, nets=nets)
    config = ModelConfig(
        V, **{"hidden_size": 3, "embed_size": 2, "cell": "gru", "dropout": 0.0, "dtype": dtype} | settings
    )
    params = classifier.init_params(config, own, rng)
    return (
        config,
        own,
        {name: (array + rng.normal(0, 0.3, array.shape)).astype(dtype) for name, array in params.items()},
    )


def batch_of(count=B, dtype="float64"):
    """Return texts of different lengths, one of them empty, with labels and weights."""
    rng = np.random.default_rng(2)
    ids, lengths = pad([rng.integers(V, size=length) for length in [0, 1, *rng.integers(1, 7, count - 2)]])
    return TextBatch(ids, lengths, rng.integers(0, len(LABELS), count), rng.uniform(0.5, 2, count).astype(dtype))


@pytest.fixture
def taps(monkeypatch):
    """Return the auxiliary losses, as they are made."""
    made = []

    def make(*args):
        made.append(NextCharacters(*args))
        return made[-1]

    monkeypatch.setattr(module, "NextCharacters", make)
    return made


def compute(given, batch, threads=1, step=5):
    config, own, params = given
    with LabelWorkers(config, own, 3, threads) as workers:
        workers.set_params(params)
        loss, state, grads = workers.gradients(batch, "state", step)
    assert state == "state"
    return loss, {name: grad.copy() for name, grad in grads.items()}


@pytest.mark.parametrize(
    ("threads", "bidirectional", "nets"), [(1, True, 1), (2, True, 1), (2, False, 1), (1, False, 2)]
)
def test_finite_differences_confirm_every_gradient(taps, threads, bidirectional, nets):
    given, batch = net(bidirectional=bidirectional, num_layers=2 // nets, nets=nets, **DROPPING), batch_of()

    def minimized():
        taps.clear()
        loss, _ = compute(given, batch, threads)
        assert len(taps) == threads * nets
        return loss + sum(tap.loss for tap in taps)

    _, grads = compute(given, batch, threads)
    assert grads.keys() == given[2].keys()
    check_gradients(minimized, given[2], grads, np.random.default_rng(6), 1e-7, 1e-4)


@pytest.mark.parametrize("settings", [{}, DROPPING, DROPPING | {"nets": 3}])
def test_threads_share_the_texts_and_change_nothing(settings):
    given, batch = net(**settings), batch_of(40)
    loss, grads = compute(given, batch)
    for threads in (2, 3, 8):
        shared, own = compute(given, batch, threads)
        assert shared == pytest.approx(loss, rel=1e-12)
        for name, grad in grads.items():
            np.testing.assert_allclose(own[name], grad, rtol=1e-10, atol=1e-14, err_msg=name)
        again, same = compute(given, batch, threads)
        assert again == shared
        assert all(np.array_equal(same[name], own[name]) for name in grads)


def test_several_nets_are_trained_as_each_alone():
    """The loss is the mean of theirs; the dropout of each is another."""
    batch = batch_of()
    config, own, params = net(nets=2, **DROPPING)
    loss, grads = compute((config, own, params), batch)
    alone = ClassifierConfig(**vars(own) | {"nets": 1})
    losses = []
    for number in range(2):
        one = config, alone, classifier.own_params(params, f"net{number}.")
        with LabelWorkers(config, alone, 3 + number, 1) as workers:
            workers.set_params(one[2])
            own_loss, _, own_grads = workers.gradients(batch, None, 5)
        losses.append(own_loss)
        for name, grad in own_grads.items():
            np.testing.assert_allclose(grads[f"net{number}.{name}"], grad / 2, rtol=1e-9, atol=1e-15)
    assert loss == pytest.approx(np.mean(losses), rel=1e-12)


def test_few_texts_are_not_shared(taps):
    compute(net(), batch_of(15), threads=2)
    assert len(taps) == 1


def test_the_masks_of_dropout_are_a_function_of_the_step():
    given, batch = net(**DROPPING), batch_of()
    losses = {step: compute(given, batch, step=step)[0] for step in (5, 6)}
    assert losses[5] != losses[6]
    assert compute(given, batch, step=5)[0] == losses[5]


def test_the_auxiliary_loss_is_in_the_gradient_alone():
    batch = batch_of()
    config, own, params = net(0.3)
    loss, grads = compute((config, own, params), batch)
    other = config, ClassifierConfig(**vars(own) | {"next_weight": 0.0}), params
    plain, without = compute(other, batch)
    assert loss == plain
    np.testing.assert_array_equal(grads["out.W_hy"], without["out.W_hy"])
    assert not np.allclose(grads["layer0.W_hh"], without["layer0.W_hh"])
    assert {name for name in grads if name not in without} == {name for name in params if name.startswith("next")}


def test_the_weighted_loss_is_the_mean_by_weight():
    rng = np.random.default_rng(0)
    logits, labels, weights = rng.normal(size=(5, 3)), rng.integers(0, 3, 5), rng.uniform(0.5, 2, 5)
    loss, dlogits = weighted_loss(logits, labels, weights, weights.sum())
    rows = log_softmax(logits)
    expected = sum(-weight * row[label] for weight, row, label in zip(weights, rows, labels, strict=True))
    assert loss == pytest.approx(expected / weights.sum(), rel=1e-12)
    check_gradients(
        lambda: weighted_loss(logits, labels, weights, weights.sum())[0],
        {"z": logits}, {"z": dlogits}, rng, 1e-7, 1e-4,
    )  # fmt: skip
    (first, _), (second, _) = (
        weighted_loss(logits[at], labels[at], weights[at], weights.sum()) for at in ([0, 1], [2, 3, 4])
    )
    assert first + second == pytest.approx(loss, rel=1e-12)
    single = weighted_loss(logits.astype(np.float32), labels, weights.astype(np.float32), 1.0)[1]
    assert single.dtype == np.float32


def test_a_text_counts_by_its_weight():
    """A weight of two is that of a text that occurs twice."""
    batch, given = batch_of(), net(next_weight=0.0)
    twice = np.array([*range(B), 4])
    repeated = TextBatch(batch.ids[:, twice], batch.lengths[twice], batch.labels[twice], np.ones(B + 1))
    weighted = batch._replace(weights=np.where(np.arange(B) == 4, 2.0, 1.0))
    (loss, grads), (other, others) = (compute(given, each) for each in (weighted, repeated))
    assert loss == pytest.approx(other, rel=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, others[name], atol=1e-14, err_msg=name)


def test_class_weights_balance_the_classes():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    np.testing.assert_array_equal(class_weights(labels, 3, 0.0), [1, 1, 1])
    for balance in (0.3, 1.0):
        assert class_weights(labels, 3, balance)[labels].mean() == pytest.approx(1)
    full = class_weights(labels, 3, 1.0)
    np.testing.assert_allclose(full * [6, 3, 1], full[0] * 6)  # each class counts as much as any other
    half = class_weights(labels, 3, 0.5)
    np.testing.assert_allclose(half / half[0], [1, 2**0.5, 6**0.5])
    assert np.isfinite(class_weights(labels, 4, 1.0)).all()  # a class without a text


def training_of(threads=1, val="abcd" * 3, **settings):
    """Return a training on texts whose label is their first letter."""
    rng = np.random.default_rng(0)
    ids = [rng.integers(V, size=length) for length in rng.integers(1, 6, 40)]
    labels = np.array([own[0] % 3 for own in ids])
    texts = Texts(np.concatenate(ids), np.array([len(own) for own in ids]))
    config, own, params = net(dtype="float32", next_weight=settings.pop("next_weight", 0.0))
    train = TrainConfig(
        **{"steps": 12, "eval_every": 4, "log_every": 0, "batch_size": 16, "seed": 1, "threads": threads} | settings
    )
    stream = TextStream(texts, labels, np.ones(40, np.float32), 16, 1)
    found = Texts(np.array([0, 1, 2, 3, 1, 1]), np.array([1, 1, 1, 1, 2])) if val else Texts(*np.empty((2, 0), np.intp))
    return LabelTraining(
        config,
        train,
        stream,
        np.empty(0, np.intp),
        settings=own,
        val=found,
        val_labels=np.array([0, 1, 2, 0, 1][: len(found)]),
    ), params


@pytest.mark.parametrize("threads", [1, 2])
def test_an_evaluation_scores_every_text(threads, monkeypatch):
    monkeypatch.setattr(module, "READ_TEXTS", 2)
    training, params = training_of(threads)
    with training.workers() as workers:
        *_, last = training.tallies(params, workers)
        logits = np.empty((5, 3))
        for batch, found in workers.logits(training.val):
            logits[batch.indices] = found
    log_probs = log_softmax(logits)
    assert last.chars == training.validated == 5
    assert last.nats == pytest.approx(-log_probs[np.arange(5), training.val_labels].sum(), rel=1e-5)
    assert last.correct == (logits.argmax(axis=1) == training.val_labels).sum()
    assert training.badness(last) == pytest.approx(1 - last.correct / 5)


def test_without_validation_nothing_is_scored():
    training, params = training_of(val="")
    reports = [event for event in fit(training, training.begin(params)) if isinstance(event, Report)]
    assert {(report.val_loss, report.val_accuracy, report.best) for report in reports} == {(None, None, False)}


def test_the_fewest_errors_are_the_best(monkeypatch):
    training, params = training_of(steps=20, eval_every=1)
    state = training.begin(params)
    reports = [event for event in fit(training, state) if isinstance(event, Report)]
    best = 0.0
    for report in reports:
        assert report.best == (report.val_accuracy > best or report is reports[0])
        best = max(best, report.val_accuracy)
    assert state.progress.best_loss == pytest.approx(1 - best)
    assert [record["val_accuracy"] for record in state.history] == [report.val_accuracy for report in reports]


def test_an_auxiliary_loss_of_many_symbols_is_no_divergence():
    """Its loss is above that of the labels, and no sign of divergence."""
    training, params = training_of(val="", next_weight=50.0)
    events = [*fit(training, training.begin(params))]
    assert [event.step for event in events if isinstance(event, Stepped)] == [*range(1, 13)]
    assert all(event.loss < 3 for event in events if isinstance(event, Report))


# Several nets


def several(count, **settings):
    """Return configs of so many nets, and parameters that differ between them."""
    config, own, _ = net(**settings)
    own, rng = ClassifierConfig(**vars(own) | {"nets": count}), np.random.default_rng(7)
    params = classifier.init_params(config, own, rng)
    return config, own, {name: array + rng.normal(0, 0.3, array.shape) for name, array in params.items()}


def alone(given, number):
    """Return one of several nets as the only one."""
    config, own, params = given
    single = ClassifierConfig(**vars(own) | {"nets": 1})
    return config, single, classifier.own_params(params, own.prefixes[number])


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_loss_and_the_gradients_are_means_over_nets(threads):
    given, batch = several(3), batch_of(40)
    loss, grads = compute(given, batch, threads)
    assert grads.keys() == given[2].keys()
    single = [compute(alone(given, number), batch) for number in range(3)]
    assert loss == pytest.approx(np.mean([own for own, _ in single]), rel=1e-12)
    for number, (_, own) in enumerate(single):
        for name, grad in own.items():
            np.testing.assert_allclose(grads[f"net{number}.{name}"], grad / 3, rtol=1e-9, atol=1e-14, err_msg=name)


def test_each_net_drops_other_outputs(taps):
    config, own, params = several(2, **DROPPING)
    first = classifier.own_params(params, "net0.")
    params |= {f"net1.{name}": array.copy() for name, array in first.items()}
    _, grads = compute((config, own, params), batch_of())
    assert len(taps) == 2
    assert not np.allclose(grads["net0.out.W_hy"], grads["net1.out.W_hy"])


@pytest.mark.parametrize(
    ("nets", "threads", "tasks"), [(1, 2, 2), (2, 2, 2), (3, 2, 3), (2, 3, 4), (2, 8, 8), (8, 2, 8)]
)
def test_a_net_is_shared_by_the_threads_that_others_leave(taps, nets, threads, tasks):
    compute(several(nets), batch_of(64), threads)
    assert len(taps) == tasks


def test_an_evaluation_takes_the_mean_of_the_probabilities():
    config, own, params = given = several(3)
    training, _ = training_of()
    with LabelWorkers(config, own, 3, 2) as workers:
        workers.set_params(params)
        (together,) = (logits for _, logits in workers.logits(training.val))
    found = []
    for number in range(3):
        with LabelWorkers(*alone(given, number)[:2], 3, 1) as workers:
            workers.set_params(alone(given, number)[2])
            found += [np.exp(log_softmax(logits)) for _, logits in workers.logits(training.val)]
    np.testing.assert_allclose(np.exp(log_softmax(together)), np.mean(found, axis=0), rtol=1e-9)
    assert np.ptp(found, axis=0).max() > 0.05
