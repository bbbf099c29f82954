"""Calibration: factors of what a classifier adds up, so that probabilities say how frequently a label is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.nn.functional import log_softmax

_STEPS = 100  # of Newton's method, at most; it takes about ten
_SMALLEST = 1e-6  # a factor, at least: nothing counts against what it says
_TOLERANCE = 1e-10


def fit_factors(scores: Sequence[Array], labels: npt.NDArray[np.intp]) -> list[float]:
    """Return the factor of each score, such that their sum, as logits, has the lowest log loss on these texts.

    The loss is convex in the factors f, with the gradient mean(E[s] - s[label]) and the Hessian mean(Cov[s]), both
    under the softmax p of sum(f s); Newton's method with halved steps finds the minimum. A prior, that f is (1, 0, …)
    with a variance of 1, decides where there are few texts, and keeps f finite if it separates them without an error.
    Shapes:  scores (N, C) each · labels (N,), N at least 1
    Source:  Guo et al. 2017 (one score: the factor is the inverse temperature); Hinton 2002 (products of experts).
    """
    begin = factors = np.eye(len(scores))[0]
    s, rows, prior = np.stack(scores).astype(np.float64), np.arange(len(labels)), 1 / len(labels)

    def loss(f: npt.NDArray[np.float64]) -> float:
        log_probs = log_softmax(np.tensordot(f, s, 1))
        return float(prior * ((f - begin) ** 2).sum() / 2 - log_probs[rows, labels].mean())

    for _ in range(_STEPS):
        p = np.exp(log_softmax(np.tensordot(factors, s, 1)))
        means = (p * s).sum(axis=2)
        gradient = (means - s[:, rows, labels]).mean(axis=1) + prior * (factors - begin)
        covariance = np.einsum("nc,inc,jnc->ij", p, s, s) - means @ means.T
        step = np.linalg.solve(covariance / len(labels) + prior * np.eye(len(scores)), gradient)
        if abs(step @ gradient) < _TOLERANCE:
            break
        while loss(factors - step) > loss(factors) and abs(step).max() > _TOLERANCE:
            step = step / 2
        factors = factors - step
    return [float(factor) for factor in np.maximum(factors, _SMALLEST)]
