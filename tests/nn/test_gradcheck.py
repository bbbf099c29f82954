"""The checker of gradients must refuse wrong ones: each test here would otherwise mean nothing elsewhere."""

import numpy as np
import pytest

from charrnn.nn.gradcheck import GradientError, check_gradients, directional


def problem():
    """Return a loss with its arrays and its right gradients: sum(sin(a) b) + sum(exp(b))."""
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(4, 3)), "b": rng.normal(size=(4, 3))}
    a, b = arrays["a"], arrays["b"]

    def loss():
        return float((np.sin(a) * b).sum() + np.exp(b).sum())

    return loss, arrays, {"a": np.cos(a) * b, "b": np.sin(a) + np.exp(b)}


def check(loss, arrays, grads, **settings):
    check_gradients(loss, arrays, grads, np.random.default_rng(1), **settings)


def test_right_gradients_pass():
    check(*problem())
    check(*problem(), tolerance=1e-9)


def test_a_gradient_off_by_a_thousandth_fails():
    loss, arrays, grads = problem()
    grads["b"] *= 1.001
    with pytest.raises(GradientError, match=r"^b: analytic .*, numeric .*, relative error 0\.0005$"):
        check(loss, arrays, grads)


def test_one_wrong_element_fails():
    loss, arrays, grads = problem()
    grads["a"][2, 1] *= 1.01
    with pytest.raises(GradientError, match=r"^a: "):
        check(loss, arrays, grads)


def test_a_small_gradient_is_checked_as_strictly_as_a_large_one():
    loss, arrays, grads = problem()
    tiny = {name: 1e-12 * grad for name, grad in grads.items()}
    check(lambda: 1e-12 * loss(), arrays, tiny)
    tiny["a"] *= 1.001
    with pytest.raises(GradientError, match=r"^a: "):
        check(lambda: 1e-12 * loss(), arrays, tiny)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_gradient_that_is_no_number_or_zero_fails(value):
    loss, arrays, grads = problem()
    grads["b"] = np.full_like(grads["b"], value)
    with np.errstate(invalid="ignore"), pytest.raises(GradientError, match=r"^b: "):
        check(loss, arrays, grads)


def test_one_nan_among_right_numbers_fails():
    loss, arrays, grads = problem()
    grads["b"][0, 0] = np.nan
    with pytest.raises(GradientError, match=r"^b: analytic nan"):
        check(loss, arrays, grads)


def test_a_loss_that_is_nan_fails():
    _, arrays, grads = problem()
    with pytest.raises(GradientError, match="numeric nan"):
        check(lambda: np.nan, arrays, grads)


def test_a_slope_of_exactly_zero_proves_nothing_and_fails():
    arrays = {"a": np.ones(3)}
    with pytest.raises(GradientError, match="analytic 0, numeric 0, relative error nan"):
        check(lambda: 0.0, arrays, {"a": np.zeros(3)})


@pytest.mark.parametrize("change", [lambda grads: grads.pop("a"), lambda grads: grads.update(c=np.ones(1))])
def test_gradients_for_other_arrays_fail(change):
    loss, arrays, grads = problem()
    change(grads)
    with pytest.raises(GradientError, match=r"^gradients \['.*\] for arrays \['a', 'b'\]$"):
        check(loss, arrays, grads)


@pytest.mark.parametrize("shape", [(3, 4), (1, 3), (12,)])
def test_a_gradient_of_another_shape_fails(shape):
    loss, arrays, grads = problem()
    grads["a"] = np.resize(grads["a"], shape)
    with pytest.raises(GradientError, match=r"^a: gradient of shape .* for shape \(4, 3\)$"):
        check(loss, arrays, grads)


def test_single_precision_is_refused():
    arrays = {"a": np.ones(3, np.float32)}
    with pytest.raises(ValueError, match=r"^a: finite differences need float64, not float32$"):
        check(lambda: float(arrays["a"].sum()), arrays, {"a": np.ones(3, np.float32)})


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_the_arrays_are_as_before_whether_it_passes_or_fails(factor):
    loss, arrays, grads = problem()
    before = {name: array.copy() for name, array in arrays.items()}
    grads["b"] *= factor
    try:
        check(loss, arrays, grads)
        assert factor == 1.0
    except GradientError:
        assert factor != 1.0
    for name, array in arrays.items():
        assert np.array_equal(array, before[name])


def test_the_array_is_as_before_when_the_loss_raises():
    array = np.arange(3.0)

    def loss():
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        directional(loss, array, np.ones(3))
    assert array.tolist() == [0, 1, 2]


def test_directional_is_exact_for_polynomials_of_the_fourth_degree():
    # d/de of (1 + 2e)^4 at e = 0 is 8; the formula's error begins with the fifth derivative.
    array = np.ones(1)
    slope = directional(lambda: float(array[0] ** 4), array, np.full(1, 2.0), epsilon=0.5)
    assert abs(slope - 8) <= 1e-12
