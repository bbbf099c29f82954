"""Metrics of classifiers against counting by hand and against scikit-learn."""

import json
import math

import numpy as np
import pytest

from charrnn.classification.metrics import measure
from charrnn.evaluation.statistics import wilson

#: Five texts: right, right, wrong, wrong, and one whose label is not learned.
TRUTH = ["a", "b", "b", "a", "z"]
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
LABELS = ("a", "b", "c")


def test_the_figures_by_hand():
    found = measure(PROBABILITIES, TRUTH, LABELS)
    assert found.texts == 5
    assert found.accuracy == 2 / 5
    assert found.interval == wilson(2, 5)
    assert (found.labels, found.unseen) == (LABELS, ("z",))
    assert found.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    figures = {label: (each.precision, each.recall, each.f1) for label, each in found.classes.items()}
    assert figures == {"a": (0.5, 0.5, 0.5), "b": (0.5, 0.5, 0.5), "c": (0, 0, 0), "z": (0, 0, 0)}
    assert [(each.support, each.predicted) for each in found.classes.values()] == [(2, 2), (2, 2), (0, 1), (1, 0)]
    assert found.macro_f1 == 1 / 4
    assert found.log_loss == pytest.approx(-sum(map(math.log, [0.7, 0.8, 0.4, 0.25])) / 4)
    assert repr(found) == "Metrics(5 texts: accuracy 0.4000, macro-F1 0.250)"


def test_calibration_by_hand():
    found = measure(PROBABILITIES, TRUTH, LABELS)
    assert [(each.low, each.high) for each in found.bins] == [(at / 10, (at + 1) / 10) for at in range(10)]
    assert [each.count for each in found.bins] == [0, 0, 0, 0, 0, 0, 1, 2, 1, 1]
    assert found.bins[0].confidence is found.bins[0].accuracy is None
    assert (found.bins[7].confidence, found.bins[7].accuracy) == (pytest.approx(0.725), 0.5)
    assert found.calibration_error == pytest.approx((0.6 + 2 * 0.225 + 0.2 + 1.0) / 5)


def test_a_calibrated_classifier_has_no_calibration_error():
    probabilities = np.tile([0.25, 0.75], (400, 1))
    assert measure(probabilities, ["b", "b", "a", "b"] * 100, ("a", "b")).calibration_error == 0


def test_a_probability_of_0_and_a_truth_without_any_known_label_have_a_loss():
    found = measure(np.array([[1.0, 0.0]], np.float32), ["b"], ("a", "b"))
    assert found.log_loss == pytest.approx(-math.log(np.finfo(np.float32).eps))
    assert measure(np.array([[1.0, 0.0]]), ["x"], ("a", "b")).log_loss is None


def test_the_metrics_are_json():
    found = measure(PROBABILITIES.astype(np.float32), TRUTH, LABELS)
    record = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert record["unseen"] == {"z": 1}
    assert record["classes"]["a"]["f1"] == 0.5
    assert record["confusion"][3] == [0, 0, 1]
    assert record["bins"][7]["count"] == 2
    assert record["interval"] == list(found.interval)


@pytest.mark.parametrize(("classes", "texts", "more"), [(2, 1, 0), (2, 5, 1), (6, 9, 0), (5, 60, 2), (2, 60, 0)])
def test_scikit_learn_finds_the_same(classes, texts, more):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(texts)
    names = np.array(list("abcdefgh"))
    labels, truth = names[:classes], names[rng.integers(0, classes + more, texts)]
    probabilities = rng.dirichlet(np.full(classes, 0.3), texts)
    found = measure(probabilities, truth.tolist(), labels.tolist())
    guesses = labels[probabilities.argmax(1)]
    assert found.accuracy == pytest.approx(sklearn.accuracy_score(truth, guesses))
    assert found.macro_f1 == pytest.approx(sklearn.f1_score(truth, guesses, average="macro", zero_division=0))
    all_labels = [*found.labels, *found.unseen]
    expected = sklearn.precision_recall_fscore_support(truth, guesses, labels=all_labels, zero_division=0)
    each = [[one.precision, one.recall, one.f1, one.support] for one in found.classes.values()]
    np.testing.assert_allclose(np.transpose(each), expected)
    full = sklearn.confusion_matrix(truth, guesses, labels=all_labels)
    assert found.confusion.tolist() == full[:, :classes].tolist()
    known = np.isin(truth, labels)
    if known.any():
        expected = sklearn.log_loss(truth[known], probabilities[known], labels=labels)
        assert found.log_loss == pytest.approx(expected)
