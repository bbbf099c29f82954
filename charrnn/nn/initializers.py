"""How weights begin: one entry for each choice of `--init`.

A choice is four functions: one for the rows that stand for symbols (an embedding, or the input weights under one-hot
rows), one for the weights that take other inputs, one for the recurrent ones, and one for the rows of an embedding that
is the readout too. Each draws a (fan_in, fan_out) matrix in
float64. A cell that stacks gates calls them once per gate, so that fans are those of one gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from charrnn.arrays import Array

Draw = Callable[[np.random.Generator, int, int], Array]


class Init(NamedTuple):
    """How the weights of one model are drawn."""

    symbols: Draw
    inputs: Draw
    recurrent: Draw
    tied: Draw


def glorot(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from U(-a, a) with a = sqrt(6 / (fan_in + fan_out)), which keeps variance both ways.

    Source:  Glorot & Bengio 2010.
    """
    limit = np.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def he(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 2 / fan_in), made for rectified units; here it shows what too large a start does.

    Source:  He et al. 2015.
    """
    return rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out))


def gaussian(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 0.01^2), the textbook's small random start."""
    return rng.normal(0, 0.01, (fan_in, fan_out))


def loud(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 2^2): each symbol starts out with a strong voice of its own.

    Of one-hot inputs just one is 1, so that rules which divide by fan_in leave a whisper. Measured in docs/choices.md.
    """
    return rng.normal(0, 2.0, (fan_in, fan_out))


def unit(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from N(0, 1 / fan_out): rows of length one or so, quiet enough for a readout."""
    return rng.normal(0, 1 / np.sqrt(fan_out), (fan_in, fan_out))


def uniform(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw from U(-a, a) with a = 1 / sqrt(fan_out), which is PyTorch's start for recurrent nets."""
    limit = 1 / np.sqrt(fan_out)
    return rng.uniform(-limit, limit, (fan_in, fan_out))


def orthogonal(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Draw a matrix with orthonormal rows or columns, uniformly: products neither grow nor shrink.

    Source:  Saxe et al. 2014.
    """
    q, r = np.linalg.qr(rng.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out))))
    q = q * np.sign(np.diag(r))  # without this the draw is not uniform
    return q if fan_in >= fan_out else q.T


def zeros(rng: np.random.Generator, fan_in: int, fan_out: int) -> Array:
    """Return zeros: the shapes of a model without the cost of drawing it."""
    return np.zeros((fan_in, fan_out))


INITS: dict[str, Init] = {
    "orthogonal": Init(loud, glorot, orthogonal, unit),
    "glorot": Init(glorot, glorot, glorot, glorot),
    "uniform": Init(uniform, uniform, uniform, uniform),
    "he": Init(he, he, he, he),
    "gaussian": Init(gaussian, gaussian, gaussian, gaussian),
}
