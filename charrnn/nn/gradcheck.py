"""Check the gradients of a backward pass against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from charrnn.arrays import Array, Params

_EPSILON = 1e-3  # about where truncation and rounding errors of the formula below balance in float64


class GradientError(AssertionError):
    """A gradient differs from finite differences; the message names the array and both values."""


def directional(loss: Callable[[], float], array: Array, direction: Array, epsilon: float = _EPSILON) -> float:
    """Return the derivative of `loss()` as `array` moves along `direction`; the array is restored afterwards.

    (8 (f(+e) - f(-e)) - (f(+2e) - f(-2e))) / 12e, with an error of order e^4
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
    """Compare each gradient with the slope of `loss()` along one random direction of unit length per array.

    loss:      must read the arrays, which are changed in place and restored
    tolerance: of |analytic - numeric| / (|analytic| + |numeric|); without an absolute floor, so small gradients are
               checked as strictly as large ones, and a slope of exactly zero fails because it proves nothing
    epsilon:   how far an array moves; choose less if the loss is strongly curved, as with layer normalisation
    Raises:    GradientError for the first array that fails, also for NaN; ValueError unless all arrays are float64.
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
