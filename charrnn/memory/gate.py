"""The gate: how much of a prediction comes from a second predictor, as a logistic function of features of both.

p(w) = (1 - share) p_first(w) + share p_second(w);    share = min(0.999, sigmoid(gate . features + bias))

A gate is fitted to maximise the probability of a text that the first predictor was not trained on. A figure on that
same text would flatter, so the text is divided into blocks, these into folds, and the share in each fold comes from a
gate that was fitted to the other folds.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.nn.functional import sigmoid

FOLDS = 5
_BLOCK = 200  # neighbouring predictions that are in the same fold: few enough that a short text has all folds
_STEPS, _ENOUGH = 50, 1e-5  # Newton steps at most; nats per character that the last one gains at least
_RIDGE = 1e-4  # times the mean square of a feature: keeps weights finite where features determine each other
_LEAST_CURVATURE = 0.05
#: By how much the bias of a gate to what was just read is lower in samples: a sample becomes more like itself with
#: every copy, which no text does that gates are fitted to. Chosen so that samples repeat themselves as much as texts do
#: (docs/samples.md).
CAUTION = 0.5
_MOST = 0.999  # share: a character that the second predictor excludes must not have probability 0
_LEAST = 1e-30  # of a probability, so that its logarithm is finite

Weights: TypeAlias = npt.NDArray[np.float64]


def fold_of(indices: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the fold of each prediction of a text."""
    return indices // _BLOCK % FOLDS


def fit(features: Weights, first: Array, second: Array) -> Weights:
    """Return the weights of the features, and the bias, that make the right characters most probable.

    Shapes:  features (N, F) · first, second (N,) probabilities of the right characters · returns (F + 1,)
    """
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    X = np.append((features - mean) / scale, np.ones((len(features), 1)), axis=1)
    p, q = first.astype(np.float64) + _LEAST, second.astype(np.float64) + _LEAST
    weights = np.append(np.zeros(features.shape[1]), -2.0)
    best = _loss(X, weights, p, q)
    for _ in range(_STEPS):
        g = sigmoid(X @ weights)
        r = g * q / ((1 - g) * p + g * q)  # the probability that the second one predicted the character
        curvature = np.maximum(g * (1 - g) - r * (1 - r), _LEAST_CURVATURE * g * (1 - g))
        hessian = (X.T * curvature) @ X / len(X) + _RIDGE * np.eye(X.shape[1])
        step = np.linalg.solve(hessian, X.T @ (r - g) / len(X) - _RIDGE * np.append(weights[:-1], 0.0))
        for _ in range(10):
            loss = _loss(X, weights + step, p, q)
            if loss < best:
                break
            step /= 2
        else:
            break
        weights, best, gained = weights + step, loss, best - loss
        if gained < _ENOUGH:
            break
    own = weights[:-1] / scale
    return np.append(own, weights[-1] - own @ mean)


def _loss(X: Weights, weights: Weights, p: Weights, q: Weights) -> float:
    """Return the mean loss with these weights, with a penalty for large ones."""
    g = sigmoid(X @ weights)
    return -float(np.log((1 - g) * p + g * q).mean()) + _RIDGE / 2 * float((weights[:-1] ** 2).sum())


def fit_folds(features: Weights, first: Array, second: Array, folds: npt.NDArray[np.intp]) -> Weights:
    """Return the gate fitted to all predictions, then those fitted to all but one fold: (1 + FOLDS, F + 1).

    Shapes:  features (N, F) · first, second, folds (N,)
    """
    gates = [fit(features, first, second)]
    for fold in range(FOLDS):
        other = folds != fold
        gates.append(fit(features[other], first[other], second[other]) if other.any() else gates[0])
    return np.stack(gates)


def shares(features: Array, gates: Weights, folds: npt.NDArray[np.intp] | None) -> Weights:
    """Return the share of the second predictor in each prediction: by the first gate, or by that of its fold.

    Shapes:  features (..., F) · gates (1 + FOLDS, F + 1) · folds (...) · returns (...)
    """
    chosen = gates[0] if folds is None else gates[1 + folds]
    return np.minimum(_MOST, sigmoid((features * chosen[..., :-1]).sum(axis=-1) + chosen[..., -1]))
