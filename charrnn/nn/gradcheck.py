"""A checker of gradients by finite differences, for anyone who writes a backward pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from charrnn.arrays import Array, Params

_EPSILON = 1e-3  # with the fourth-order formula below, truncation and rounding balance near here in float64


class GradientError(AssertionError):
    """A gradient that finite differences do not confirm: names the array and both values."""


def directional(loss: Callable[[], float], array: Array, direction: Array, epsilon: float = _EPSILON) -> float:
    """Return the derivative of `loss()` as `array` moves along `direction`; the array is as before afterwards.

    (8 (f(+e) - f(-e)) - (f(+2e) - f(-2e))) / 12e, whose error falls as e^4
    """
    original = array.copy()

    def at(distance: float) -> float:
        np.add(original, distance * direction, out=array)
        return loss()

    try:
        near, far = at(epsilon) - at(-epsilon), at(2 * epsilon) - at(-2 * epsilon)
        return (8 * near - far) / (12 * epsilon)
    finally:
        array[...] = original


def check_gradients(
    loss: Callable[[], float],
    arrays: Params,
    grads: Params,
    rng: np.random.Generator,
    tolerance: float = 1e-6,
    epsilon: float = _EPSILON,
) -> None:
    """Compare each gradient with the slope of `loss()` along one random direction of length 1 per array.

    loss:      reads the arrays, which are moved in place and put back
    tolerance: relative, on |analytic - numeric| / (|analytic| + |numeric|); there is no absolute floor, so that small
               gradients are checked as strictly as large ones, and a slope of exactly zero proves nothing and fails
    epsilon:   how far an array moves; smaller where the loss bends sharply, as under layer normalisation
    Raises:    GradientError for the first array that fails, NaN included; ValueError unless all is float64.
    """
    if arrays.keys() != grads.keys():
        raise GradientError(f"gradients {sorted(grads)} for arrays {sorted(arrays)}")
    for name, array in arrays.items():
        if array.dtype != np.float64:
            raise ValueError(f"{name}: finite differences need float64, not {array.dtype}")
        if grads[name].shape != array.shape:
            raise GradientError(f"{name}: gradient of shape {grads[name].shape} for shape {array.shape}")
        direction = rng.normal(size=array.shape)
        direction /= np.linalg.norm(direction)
        analytic = float((grads[name] * direction).sum())
        numeric = directional(loss, array, direction, epsilon)
        error = abs(analytic - numeric) / (abs(analytic) + abs(numeric) or np.nan)
        if not error <= tolerance:
            raise GradientError(f"{name}: analytic {analytic:.12g}, numeric {numeric:.12g}, relative error {error:.2g}")
