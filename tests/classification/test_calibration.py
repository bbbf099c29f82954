"""The temperature: the one with the lowest log loss, whatever the logits, and it changes no label."""

import numpy as np
import pytest

from charrnn.classification.calibration import fit_temperature
from charrnn.nn.functional import log_softmax


def loss(logits, labels, temperature):
    return -log_softmax(logits / temperature)[np.arange(len(labels)), labels].mean()


def draw(scale, count=200, classes=4):
    """Return logits of which the labels are drawn, after they are multiplied by the scale."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, classes))
    labels = np.array([rng.choice(classes, p=np.exp(row)) for row in log_softmax(logits)])
    return scale * logits, labels


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
def test_no_other_temperature_has_a_lower_loss(scale):
    logits, labels = draw(scale)
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(scale, rel=0.3)
    best = loss(logits, labels, fitted)
    for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2.0):
        assert best < loss(logits, labels, factor * fitted)


def test_the_temperature_scales_with_the_logits():
    logits, labels = draw(1.0)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * fit_temperature(logits, labels), rel=1e-9)
    assert fit_temperature(logits.astype(np.float32), labels) == pytest.approx(fit_temperature(logits, labels), 1e-4)


def test_extreme_logits_stay_within_the_range():
    right = np.array([[0.5, 0.0], [0.0, 0.5]])
    assert fit_temperature(right, np.array([0, 1])) == pytest.approx(0.05)
    assert fit_temperature(right, np.array([1, 0])) == pytest.approx(20)
    assert np.isfinite(fit_temperature(1e4 * right, np.array([0, 1])))


def test_without_texts_nothing_is_changed():
    assert fit_temperature(np.empty((0, 3)), np.empty(0, np.intp)) == 1.0
