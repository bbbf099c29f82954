"""Calibration: factors of what a classifier adds up, so that probabilities say how frequently a label is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.nn.functional import log_softmax

_STEPS = 100  # of Newton's method, at most; it takes about ten
_PRIOR = 1e-3  # keeps the factors finite if they separate the texts without an error
_SMALLEST = 1e-3  # a factor, at least: no evidence counts against what it says
_TOLERANCE = 1e-10


def fit_factors(scores: Sequence[Array], labels: npt.NDArray[np.intp]) -> list[float]:
    """Return the factor of each score, such that their sum, as logits, has the lowest log loss on these texts.

    The loss is convex in the factors f, with the gradient mean(E[s] - s[label]) and the Hessian mean(Cov[s]), both
    under the softmax p of sum(f s); Newton's method with halved steps finds the minimum.
    scores  (N, C) each; without texts, the first has the factor 1 and the others 0
    Shapes:  labels (N,)
    Source:  Guo et al. 2017 (one score: the factor is the inverse temperature); Hinton 2002 (products of experts).
    """
    factors = np.zeros(len(scores))
    factors[0] = 1.0
    if not len(labels):
        return [*map(float, factors)]
    s, rows, begin = np.stack(scores).astype(np.float64), np.arange(len(labels)), factors

    def loss(f: npt.NDArray[np.float64]) -> float:
        log_probs = log_softmax(np.tensordot(f, s, 1))
        return float(_PRIOR * ((f - begin) ** 2).sum() / 2 - log_probs[rows, labels].mean())

    for _ in range(_STEPS):
        p = np.exp(log_softmax(np.tensordot(factors, s, 1)))
        means = (p * s).sum(axis=2)
        gradient = (means - s[:, rows, labels]).mean(axis=1) + _PRIOR * (factors - begin)
        covariance = np.einsum("nc,inc,jnc->ij", p, s, s) - means @ means.T
        step = np.linalg.solve(covariance / len(labels) + _PRIOR * np.eye(len(scores)), gradient)
        if abs(step @ gradient) < _TOLERANCE:
            break
        while loss(factors - step) > loss(factors) and abs(step).max() > _TOLERANCE:
            step = step / 2
        factors = factors - step
    return [float(factor) for factor in np.maximum(factors, _SMALLEST)]
