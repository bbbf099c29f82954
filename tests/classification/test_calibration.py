"""The factors of what a classifier adds up: those with the lowest log loss, whatever the scores."""

import numpy as np
import pytest

from charrnn.classification.calibration import _PRIOR, fit_factors
from charrnn.nn.functional import log_softmax


def loss(scores, labels, factors):
    """Return the log loss, and the little that keeps the factors near 1 and 0."""
    far = sum((factor - (number == 0)) ** 2 for number, factor in enumerate(factors))
    logits = sum(factor * score for factor, score in zip(factors, scores, strict=True))
    return _PRIOR * far / 2 - log_softmax(logits)[np.arange(len(labels)), labels].mean()


def draw(*factors, count=2000, classes=4):
    """Return scores, and labels that are drawn with the softmax of their sum with these factors."""
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=(count, classes)) for _ in factors]
    logits = sum(factor * score for factor, score in zip(factors, scores, strict=True))
    return scores, np.array([rng.choice(classes, p=np.exp(row)) for row in log_softmax(logits)])


@pytest.mark.parametrize("factors", [(0.2,), (1.0,), (5.0,), (1.0, 0.5), (0.3, 2.0)])
def test_no_other_factors_have_a_lower_loss(factors):
    scores, labels = draw(*factors)
    fitted = fit_factors(scores, labels)
    assert fitted == pytest.approx(factors, rel=0.3, abs=0.15)
    best = loss(scores, labels, fitted)
    for at in range(len(factors)):
        for step in (0.5, 0.9, 0.98, 1.02, 1.1, 2.0):
            other = [factor * step if number == at else factor for number, factor in enumerate(fitted)]
            assert best < loss(scores, labels, other)


def test_a_single_factor_changes_no_label():
    scores, labels = draw(0.2)
    (factor,) = fit_factors(scores, labels)
    assert factor > 0
    np.testing.assert_array_equal((factor * scores[0]).argmax(axis=1), scores[0].argmax(axis=1))


def test_single_precision_gives_the_same_factors():
    scores, labels = draw(1.0, 0.5)
    single = [score.astype(np.float32) for score in scores]
    assert fit_factors(single, labels) == pytest.approx(fit_factors(scores, labels), rel=1e-4)


def test_evidence_never_counts_against_what_it_says():
    (first, second), labels = draw(1.0, 1.0)
    assert fit_factors([first, -second], labels)[1] == 1e-3
    assert fit_factors([-first], labels) == [1e-3]


def test_texts_without_an_error_give_finite_factors():
    right = 9.0 * np.eye(3)
    for scale in (1e-3, 1.0, 1e4):
        (factor,) = fit_factors([scale * right], np.arange(3))
        assert 0 < factor < 1e4


def test_without_texts_the_first_score_is_the_logits():
    nothing = np.empty((0, 3))
    assert fit_factors([nothing, nothing], np.empty(0, np.intp)) == [1.0, 0.0]
