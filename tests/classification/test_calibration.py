"""The factors of net and n-grams: no others have a lower log loss on the texts that they are fitted to."""

import numpy as np
import pytest

from charrnn.classification.calibration import _SMALLEST as SMALLEST
from charrnn.classification.calibration import fit_factors
from charrnn.nn.functional import log_softmax


def loss(scores, labels, factors):
    """Return the mean log loss and the prior's."""
    log_probs = log_softmax(sum(factor * own for factor, own in zip(factors, scores, strict=True)))
    prior = sum((factor - (at == 0)) ** 2 for at, factor in enumerate(factors)) / (2 * len(labels))
    return -log_probs[np.arange(len(labels)), labels].mean() + prior


def draw(*true, count=2000, classes=4):
    """Return a score for each factor, and labels that are drawn from the softmax of their sum by these factors."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(true), count, classes))
    p = np.exp(log_softmax(np.tensordot(np.array(true), scores, 1)))
    return [*scores], np.array([rng.choice(classes, p=own) for own in p])


@pytest.mark.parametrize("true", [(1.0,), (0.02,), (4.0,), (0.02, 0.01), (0.7, 0.4), (2.0, 3.0), (0.5, 1.0, 0.3)])
def test_no_other_factors_have_a_lower_loss(true):
    scores, labels = draw(*true)
    fitted = fit_factors(scores, labels)
    np.testing.assert_allclose(fitted, true, rtol=0.2, atol=0.06)
    best = loss(scores, labels, fitted)
    rng = np.random.default_rng(1)
    for size in (1e-3, 0.1, 1.0):
        for way in rng.normal(size=(8, len(true))):
            assert best < loss(scores, labels, fitted + size * way / np.linalg.norm(way))


def test_the_factor_is_the_inverse_of_the_scale():
    (logits,), labels = draw(1.0)
    (factor,) = fit_factors([logits], labels)
    assert fit_factors([logits / 3], labels)[0] == pytest.approx(3 * factor, rel=0.02)  # the prior prefers 1
    assert fit_factors([logits.astype(np.float32)], labels)[0] == pytest.approx(factor, rel=1e-5)


@pytest.mark.parametrize("scale", [10, 1e3, 1e5])
def test_scores_that_are_far_too_large_are_made_smaller(scale):
    """Newton's method alone would overshoot: with such scores, the loss is flat but for a few texts."""
    scores = np.random.default_rng(0).normal(size=(50, 3))
    labels = (scores + np.random.default_rng(1).normal(0, 0.5, (50, 3))).argmax(axis=1)
    (expected,) = fit_factors([scores], labels)
    assert fit_factors([scale * scores], labels)[0] * scale == pytest.approx(expected, rel=0.3)


def test_scores_that_are_always_right_have_a_finite_factor():
    labels = np.array([0, 1, 1, 0, 2])
    for scale in (1e-3, 1.0, 1e4):
        for scores in ([scale * np.eye(3)[labels]], [scale * np.eye(3)[labels]] * 2):
            fitted = np.array(fit_factors(scores, labels))
            assert np.isfinite(fitted).all()
            assert (fitted > 0).all()
            assert (sum(factor * own for factor, own in zip(fitted, scores, strict=True)).argmax(1) == labels).all()


def test_few_texts_change_little():
    assert fit_factors([np.array([[1.0, 0.0]])], np.array([0]))[0] == pytest.approx(1.2, abs=0.1)
    assert fit_factors([np.array([[1.0, 0.0]])], np.array([1]))[0] == pytest.approx(0.4, abs=0.1)


def test_scores_that_are_always_wrong_count_for_almost_nothing():
    labels = np.array([0, 1, 0, 1] * 10)
    wrong = np.eye(2)[1 - labels]
    assert fit_factors([wrong], labels) == [SMALLEST]
    net, other = fit_factors([3 * np.eye(2)[labels], wrong], labels)
    assert (net > 1, other) == (True, SMALLEST)


def test_a_score_that_says_nothing_changes_nothing():
    (logits,), labels = draw(0.6)
    assert fit_factors([logits, np.zeros_like(logits)], labels) == pytest.approx(
        [fit_factors([logits], labels)[0], SMALLEST]
    )
