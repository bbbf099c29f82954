"""The initial weights: their spread, their limits, and orthogonality."""

import numpy as np
import pytest

from charrnn.config import INIT_NAMES
from charrnn.nn import initializers as init
from charrnn.nn.initializers import INITS

FAN_IN, FAN_OUT = 300, 200
N = FAN_IN * FAN_OUT


def draw(function, fan_in=FAN_IN, fan_out=FAN_OUT):
    return function(np.random.default_rng(0), fan_in, fan_out)


def test_the_names_are_those_of_the_settings():
    assert tuple(INITS) == INIT_NAMES


def test_each_choice_names_its_four_functions():
    assert {name: tuple(choice) for name, choice in INITS.items()} == {
        "orthogonal": (init.loud, init.glorot, init.orthogonal, init.unit),
        "glorot": (init.glorot,) * 4,
        "uniform": (init.uniform,) * 4,
        "he": (init.he,) * 4,
        "gaussian": (init.gaussian,) * 4,
    }


@pytest.mark.parametrize(
    ("function", "limit"), [(init.glorot, (6 / (FAN_IN + FAN_OUT)) ** 0.5), (init.uniform, FAN_OUT**-0.5)]
)
def test_a_uniform_draw_fills_its_limits(function, limit):
    W = draw(function)
    assert -limit <= W.min() <= -0.999 * limit
    assert 0.999 * limit <= W.max() <= limit
    assert abs(W.std() - limit / 3**0.5) <= 0.01 * limit
    assert abs(W.mean()) <= 4 * W.std() / N**0.5


@pytest.mark.parametrize(
    ("function", "deviation"),
    [(init.he, (2 / FAN_IN) ** 0.5), (init.gaussian, 0.01), (init.loud, 2.0), (init.unit, FAN_OUT**-0.5)],
)
def test_a_normal_draw_has_its_deviation(function, deviation):
    W = draw(function)
    assert abs(W.std() - deviation) <= 4 * deviation / (2 * N) ** 0.5
    assert abs(W.mean()) <= 4 * deviation / N**0.5
    assert abs((np.abs(W) < deviation).mean() - 0.6827) <= 0.01  # a bell, not a box


@pytest.mark.parametrize(("fan_in", "fan_out"), [(40, 40), (40, 15), (15, 40), (1, 7), (7, 1)])
def test_an_orthogonal_draw_has_orthonormal_rows_or_columns(fan_in, fan_out):
    W = draw(init.orthogonal, fan_in, fan_out)
    assert W.shape == (fan_in, fan_out)
    gram = W.T @ W if fan_in >= fan_out else W @ W.T
    assert np.abs(gram - np.eye(len(gram))).max() <= 1e-13


def test_an_orthogonal_draw_is_uniform_over_signs():
    rng = np.random.default_rng(1)
    signs = [float(init.orthogonal(rng, 1, 1)[0, 0]) for _ in range(200)]
    assert set(signs) == {-1.0, 1.0}
    assert 60 <= signs.count(1.0) <= 140


@pytest.mark.parametrize("function", [init.glorot, init.he, init.gaussian, init.uniform, init.orthogonal])
def test_every_draw_is_double_precision_and_a_function_of_its_generator(function):
    W = draw(function, 5, 3)
    assert W.shape == (5, 3)
    assert W.dtype == np.float64
    assert np.array_equal(W, draw(function, 5, 3))
