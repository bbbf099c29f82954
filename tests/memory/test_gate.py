"""The gate between two predictors: fitted to the best weights, and judged on what it was not fitted to."""

import numpy as np
import pytest

from charrnn.memory.gate import FOLDS, fit, fit_folds, fold_of, shares
from charrnn.training.fitting import LEAST


def drawn(count, weights, seed=0):
    """Return features, and the probabilities that two predictors gave to characters that a gate drew from either."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, len(weights) - 1)) * [3, 0.01] + [5, 0]
    share = 1 / (1 + np.exp(-(features @ weights[:-1] + weights[-1])))
    second = rng.random(count) < share
    good, bad = rng.beta(5, 2, count), rng.beta(1, 5, count)
    return features, np.where(second, bad, good), np.where(second, good, bad)


def loss(features, p, q, weights):
    g = shares(features, np.tile(weights, (1 + FOLDS, 1)), None)
    return -np.log((1 - g) * p + g * q).mean()


def test_the_gate_is_the_best_one():
    features, p, q = drawn(20_000, np.array([0.5, -60.0, -2.0]))
    weights = fit(features, p, q)
    best = loss(features, p, q, weights)
    assert best < loss(features, p, q, np.array([0.0, 0.0, 0.0])) - 0.02
    scale = np.array([1 / 3, 100, 1.0])
    for change in 0.1 * np.concatenate([np.eye(3), -np.eye(3)]) * scale:
        assert loss(features, p, q, weights + change) > best - 1e-5


def test_weights_are_finite_where_features_are_constant_or_probabilities_zero():
    features, p, q = drawn(1000, np.array([0.5, -60.0, -2.0]))
    features[:, 1] = 7
    p[::3] = q[::3] = 0
    assert np.isfinite(fit(features, p, q)).all()


def test_no_figure_comes_from_a_gate_that_was_fitted_to_it():
    rng = np.random.default_rng(3)
    features, p, q = rng.standard_normal((300, 40)), rng.random(300), rng.random(300)  # nothing to learn
    folds = np.arange(300) % FOLDS
    gates = fit_folds(features, p, q, folds)
    own, out = (shares(features, gates, each) for each in (None, folds))
    loss_of = [-np.log((1 - share) * p + share * q).mean() for share in (own, out)]
    assert loss_of[0] < loss_of[1] - 0.01
    changed = p.copy()
    changed[folds == 2] = q[folds == 2]
    assert np.array_equal(fit_folds(features, changed, q, folds)[3], gates[3])
    assert not np.array_equal(fit_folds(features, changed, q, folds)[1], gates[1])


def test_neighbours_are_in_the_same_fold_and_every_fold_occurs():
    folds = fold_of(np.arange(LEAST))  # even in the shortest text that gates are fitted to
    assert (np.diff(folds) != 0).sum() == FOLDS - 1
    assert np.bincount(folds).tolist() == [LEAST // FOLDS] * FOLDS


def test_a_share_never_excludes_the_first_predictor():
    gates = np.full((1 + FOLDS, 2), 100.0)
    assert shares(np.array([[5.0]]), gates, None) == pytest.approx(0.999)
