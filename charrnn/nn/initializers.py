"""The initial weights: one entry of `INITS` for each value of `--init`.

An entry has a function for each kind of matrix, which draws (fan_in, fan_out) numbers in float64. A cell with stacked
gates calls it once per gate, so fan_out is that of one gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array

Draw = Callable[[np.random.Generator, int, int], Array]


class Init(NamedTuple):
    """A rule by which the matrices of a model are drawn.

    symbols    one row per symbol: an embedding, or the input weights of one-hot rows
    inputs     the other input weights, and the readout
    recurrent  the recurrent weights
    tied       an embedding that is also the readout
    """

    symbols: Draw
    inputs: Draw
    recurrent: Draw
    tied: Draw


def glorot(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), which preserves variance both forward and backward.

    Source:  Glorot & Bengio 2010.
    """
    limit = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def he(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 2 / fan_in). It is meant for rectified linear units, and too large for these nets.

    Source:  He et al. 2015.
    """
    return rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out))


def gaussian(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 0.01^2), a common textbook choice."""
    return rng.normal(0, 0.01, (fan_in, fan_out))


def loud(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 2^2), so that each symbol has a strong effect from the start.

    Only one of the one-hot inputs is 1, so scaling by fan_in makes their effect too weak (measured in docs/choices.md).
    """
    return rng.normal(0, 2.0, (fan_in, fan_out))


def unit(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 1 / fan_out): rows of length about 1, small enough for a readout."""
    return rng.normal(0, 1 / np.sqrt(fan_out), (fan_in, fan_out))


def uniform(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from U(-a, a) with a = 1 / sqrt(fan_out), as PyTorch does for recurrent nets."""
    limit = 1 / np.sqrt(fan_out)
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def orthogonal(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw uniformly from the matrices with orthonormal rows or columns: products with them neither grow nor shrink.

    Source:  Saxe et al. 2014.
    """
    q, r = np.linalg.qr(rng.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out))))
    q = q * np.sign(np.diag(r))  # otherwise the draw is not uniform
    return q if fan_in >= fan_out else q.T


def blank(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Return zeros of the right shape: the shapes of a model without the cost of drawing it.

    They are floats, of half the size, since a cell may scale what it draws in place.
    """
    return np.zeros((fan_in, fan_out), np.float32)


INITS: dict[str, Init] = {
    "orthogonal": Init(loud, glorot, orthogonal, unit),
    "glorot": Init(glorot, glorot, glorot, glorot),
    "uniform": Init(uniform, uniform, uniform, uniform),
    "he": Init(he, he, he, he),
    "gaussian": Init(gaussian, gaussian, gaussian, gaussian),
}
