"""Calibration: one temperature for all logits, so that probabilities say how frequently a label is right."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.nn.functional import log_softmax

_LOWEST, _HIGHEST = 0.05, 20.0  # of the temperature: beyond, probabilities are 0 and 1, or all alike
_STEPS = 60  # halvings of that range, on a logarithmic scale: more than floats can tell apart


def fit_temperature(logits: Array, labels: npt.NDArray[np.intp]) -> float:
    """Return the temperature with the lowest log loss on these texts; 1 without texts.

    The loss is convex in the inverse temperature b, with the derivative mean(sum(p z) - z[label]) for the softmax p of
    b z, so halving the range finds its only minimum.
    Shapes:  logits z (N, C) · labels (N,)
    Source:  Guo et al. 2017.
    """
    if not len(labels):
        return 1.0
    logits = logits.astype(np.float64)
    right = logits[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        return float(((np.exp(log_softmax(inverse * logits)) * logits).sum(axis=1) - right).mean())

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    for _ in range(_STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / low
