"""The factors: those with the lowest log loss, whatever the scores; one factor alone changes no label."""

import numpy as np
import pytest

from charrnn.classification.calibration import fit_factors
from charrnn.nn.functional import log_softmax


def loss(scores, labels, factors):
    logits = np.tensordot(factors, scores, 1)
    return -log_softmax(logits)[np.arange(len(labels)), labels].mean()


def draw(*scales, count=300, classes=4):
    """Return scores, and labels that are drawn from the sum of these multiples of them."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(scales), count, classes))
    log_probs = log_softmax(np.tensordot(scales, scores, 1))
    return scores, np.array([rng.choice(classes, p=np.exp(row)) for row in log_probs])


@pytest.mark.parametrize("scales", [(0.2,), (1.0,), (5.0,), (1.0, 2.0), (3.0, 0.4)])
def test_no_other_factors_have_a_lower_loss(scales):
    scores, labels = draw(*scales)
    fitted = np.array(fit_factors(scores, labels))
    assert fitted == pytest.approx(scales, rel=0.4)
    best = loss(scores, labels, fitted)
    for index in range(len(scales)):
        for factor in (0.5, 0.9, 1.1, 2.0):
            other = fitted.copy()
            other[index] *= factor
            assert best < loss(scores, labels, other)


def test_a_factor_makes_up_for_the_scale_of_its_scores():
    scores, labels = draw(1.0)
    (fitted,) = fit_factors(scores, labels)
    assert fit_factors(3 * scores, labels)[0] == pytest.approx(fitted / 3, rel=0.01)
    assert fit_factors(scores.astype(np.float32), labels)[0] == pytest.approx(fitted, rel=1e-4)


def test_scores_without_an_error_or_always_wrong_get_finite_factors():
    right = np.array([[0.5, 0.0], [0.0, 0.5]])
    (sure,) = fit_factors([right], np.array([0, 1]))
    (wrong,) = fit_factors([right], np.array([1, 0]))
    assert 5 < sure < 100
    assert 0 < wrong < 0.01
    assert np.isfinite(fit_factors([1e4 * right], np.array([0, 1]))).all()


def test_what_says_nothing_about_the_labels_counts_little():
    scores, labels = draw(3.0, 0.0)
    assert fit_factors(scores, labels)[1] < 0.3


def test_without_texts_only_the_first_counts():
    assert fit_factors([np.empty((0, 3))] * 2, np.empty(0, np.intp)) == [1.0, 0.0]
