"""Optimizers: three steps worked by hand for each; weight decay; the clipping of gradients."""

import math

import numpy as np
import pytest

from charrnn.config import OPTIMIZER_DEFAULTS, TrainConfig, build
from charrnn.nn.optimizers import (
    OPTIMIZERS,
    adagrad,
    adam,
    adamw,
    clip,
    clip_by_global_norm,
    clip_by_value,
    global_norm,
    norms_by_layer,
    rmsprop,
    sgd,
)

pytestmark = pytest.mark.usefixtures("computed_by")


def follow(optimizer, grads, lr=0.1, start=1.0, ndim=2):
    """Return a parameter of one element after each of the gradients."""
    params = {"p": np.full((1,) * ndim, start)}
    state, course = optimizer.init(params), []
    for step, grad in enumerate(grads):
        optimizer.update(params, {"p": np.full((1,) * ndim, float(grad))}, state, lr, step)
        course.append(params["p"].item())
    return course


def assert_course(actual, expected):
    assert len(actual) == len(expected)
    for value, literal in zip(actual, expected, strict=True):
        assert abs(value - literal) <= 5e-9  # eps in the denominators moves the ninth digit


def test_the_names_are_those_of_the_settings():
    assert list(OPTIMIZERS) == list(OPTIMIZER_DEFAULTS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_settings_build_every_optimizer(name):
    optimizer = build(OPTIMIZERS[name], TrainConfig(optimizer=name, weight_decay=0.25))
    assert optimizer.decay == 0.25
    assert optimizer.coupled == (name != "adamw")


def test_sgd():
    # momentum 0.5, rate 0.1, p = 1
    #   g =  1   m = 0.5 * 0   + 1 = 1      p = 1   - 0.1  = 0.9
    #   g =  2   m = 0.5 * 1   + 2 = 2.5    p = 0.9 - 0.25 = 0.65
    #   g = -1   m = 0.5 * 2.5 - 1 = 0.25   p = 0.65 - 0.025 = 0.625
    assert_course(follow(sgd(momentum=0.5), [1, 2, -1]), [0.9, 0.65, 0.625])


def test_adagrad():
    # rate 0.1, p = 1
    #   g =  3   v = 9     p = 1    - 0.3 / 3  = 0.9
    #   g =  4   v = 25    p = 0.9  - 0.4 / 5  = 0.82
    #   g = 12   v = 169   p = 0.82 - 1.2 / 13 = 0.82 - 0.0923076923 = 0.7276923077
    assert_course(follow(adagrad(), [3, 4, 12]), [0.9, 0.82, 0.7276923077])


def test_rmsprop():
    # beta2 0.75, rate 0.1, p = 1
    #   g = 2   v = 0        + 0.25 * 4 = 1   p = 1   - 0.2 / 1 = 0.8
    #   g = 1   v = 0.75 * 1 + 0.25 * 1 = 1   p = 0.8 - 0.1 / 1 = 0.7
    #   g = 3   v = 0.75 * 1 + 0.25 * 9 = 3   p = 0.7 - 0.3 / 1.7320508076 = 0.7 - 0.1732050808 = 0.5267949192
    assert_course(follow(rmsprop(beta2=0.75), [2, 1, 3]), [0.8, 0.7, 0.5267949192])


def test_adam():
    # beta1 0.5, beta2 0.75, rate 0.1, p = 1; the corrected m is m / (1 - 0.5^n), the corrected v is v / (1 - 0.75^n)
    #   g =  2   m = 0.5 * 0   + 0.5 * 2 = 1      corrected by 0.5:   2
    #            v = 0.75 * 0  + 0.25 * 4 = 1     corrected by 0.25:  4
    #            p = 1 - 0.1 * 2 / 2 = 0.9
    #   g =  4   m = 0.5 * 1   + 0.5 * 4 = 2.5    corrected by 0.75:  3.3333333333
    #            v = 0.75 * 1  + 0.25 * 16 = 4.75 corrected by 0.4375: 10.8571428571, of which the root is 3.2950178842
    #            p = 0.9 - 0.1 * 3.3333333333 / 3.2950178842 = 0.9 - 0.1011628298 = 0.7988371702
    #   g = -1   m = 0.5 * 2.5 - 0.5 * 1 = 0.75   corrected by 0.875: 0.8571428571
    #            v = 0.75 * 4.75 + 0.25 * 1 = 3.8125 corrected by 0.578125: 6.5945945946, root 2.5679942746
    #            p = 0.7988371702 - 0.1 * 0.8571428571 / 2.5679942746 = 0.7988371702 - 0.0333779115 = 0.7654592587
    assert_course(follow(adam(beta1=0.5, beta2=0.75), [2, 4, -1]), [0.9, 0.7988371702, 0.7654592587])


def test_adamw():
    # As Adam, but p shrinks by 1 - 0.1 * 0.5 = 0.95 before each of the same three moves.
    #   p = 0.95 * 1            - 0.1          = 0.85
    #   p = 0.95 * 0.85         - 0.1011628298 = 0.8075       - 0.1011628298 = 0.7063371702
    #   p = 0.95 * 0.7063371702 - 0.0333779115 = 0.6710203117 - 0.0333779115 = 0.6376424002
    optimizer = adamw(beta1=0.5, beta2=0.75, weight_decay=0.5)
    assert_course(follow(optimizer, [2, 4, -1]), [0.85, 0.7063371702, 0.6376424002])


def test_coupled_decay_goes_through_the_gradient():
    # g + 0.5 p = 1.5, 2 + 0.5 * 0.85 = 2.425: m = 1.5, 0.75 + 2.425 = 3.175: p = 1 - 0.15, 0.85 - 0.3175
    assert_course(follow(sgd(momentum=0.5, weight_decay=0.5), [1, 2]), [0.85, 0.5325])
    # Adam's first move is the rate, whatever the gradient: decay changes its sign at most.
    assert_course(follow(adam(weight_decay=0.5), [2]), [0.9])
    assert_course(follow(adam(weight_decay=5), [-2]), [0.9])  # -2 + 5 > 0
    # Adagrad, RMSProp: 1 + 0.5 * 1 = 1.5; 0.1 * 1.5 / 1.5 = 0.1; 0.1 * 1.5 / (0.5 * 1.5) = 0.2
    assert_course(follow(adagrad(weight_decay=0.5), [1]), [0.9])
    assert_course(follow(rmsprop(beta2=0.75, weight_decay=0.5), [1]), [0.8])
    assert_course(follow(rmsprop(beta2=0.75, weight_decay=0.5), [-0.5]), [1.0])  # -0.5 + 0.5 = 0


def test_decoupled_decay_shrinks_the_weight_itself():
    assert_course(follow(adamw(weight_decay=0.5), [0, 0]), [0.95, 0.9025])  # no gradient, no other move


def test_eps_is_added_to_the_root():
    # A gradient (for RMSProp its root mean square) as small as eps itself: g / (g + eps) = 1/2, so p = 1 - 0.1 / 2.
    assert_course(follow(adagrad(), [1e-10]), [0.95])
    assert_course(follow(rmsprop(beta2=0.75), [2e-8]), [0.9])  # v = 0.25 * 4e-16 = (1e-8)^2; 2e-8 / 2e-8 = 1
    assert_course(follow(adam(), [1e-8]), [0.95])
    assert_course(follow(adamw(weight_decay=0.0), [1e-8]), [0.95])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rate_never_touches_the_moments(name):
    optimizer = OPTIMIZERS[name](weight_decay=0.0)
    states = []
    for lr in (0.1, 0.7):
        params = {"W": np.ones((2, 3))}
        states.append(optimizer.init(params))
        for step in range(3):
            optimizer.update(params, {"W": np.arange(6.0).reshape(2, 3) - step}, states[-1], lr, step)
    for key, array in states[0].items():
        assert array.any()
        assert np.array_equal(array, states[1][key])


def test_each_update_takes_its_own_rate():
    # m = 1, then 0.5 + 1 = 1.5: p = 1 - 0.1 * 1 - 0.4 * 1.5 = 0.3
    params, optimizer = {"p": np.ones((1, 1))}, sgd(momentum=0.5)
    state = optimizer.init(params)
    for step, lr in enumerate([0.1, 0.4]):
        optimizer.update(params, {"p": np.ones((1, 1))}, state, lr, step)
    assert abs(params["p"].item() - 0.3) <= 1e-15


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_leaves_biases_alone(name):
    with_decay, without = (OPTIMIZERS[name](weight_decay=decay) for decay in (0.5, 0.0))
    grads = [1, -2, 3]
    assert follow(with_decay, grads, ndim=1) == follow(without, grads, ndim=1)
    # Two moves at least: where decay is coupled, Adam's first hardly depends on the gradient.
    assert abs(follow(with_decay, grads)[2] - follow(without, grads)[2]) > 0.001


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_starts_at_zero_under_the_names_of_the_parameters(name):
    params = {"W": np.ones((2, 3), np.float32), "b": np.ones(3, np.float32)}
    state = OPTIMIZERS[name]().init(params)
    slots = {"sgd": ["m"], "rmsprop": ["v"], "adagrad": ["v"], "adam": ["m", "v"], "adamw": ["m", "v"]}[name]
    assert list(state) == [f"{slot}/{key}" for slot in slots for key in params]
    for key, array in state.items():
        assert array.shape == params[key[2:]].shape
        assert array.dtype == np.float32
        assert not array.any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_in_place_and_single_precision_stays_single(name):
    rng = np.random.default_rng(0)
    optimizer = OPTIMIZERS[name](weight_decay=0.1)
    double = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    params = {key: array.astype(np.float32) for key, array in double.items()}
    state, double_state = optimizer.init(params), optimizer.init(double)
    arrays = list(params.values()) + list(state.values())
    for step in range(3):
        grads = {key: rng.normal(size=array.shape) for key, array in double.items()}
        optimizer.update(params, {key: grad.astype(np.float32) for key, grad in grads.items()}, state, 0.01, step)
        optimizer.update(double, grads, double_state, 0.01, step)
    assert all(now is then for now, then in zip([*params.values(), *state.values()], arrays, strict=True))
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}
    for key, array in double.items():
        assert np.linalg.norm(params[key] - array) <= 1e-6 * np.linalg.norm(array)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_and_a_step_are_all_that_going_on_needs(name):
    grads = [1, -2, 3, 0.5]
    whole = follow(OPTIMIZERS[name](weight_decay=0.1), grads)
    params = {"p": np.full((1, 1), 1.0)}
    state = OPTIMIZERS[name]().init(params)
    for step, grad in enumerate(grads):  # a new optimizer at every step
        OPTIMIZERS[name](weight_decay=0.1).update(params, {"p": np.full((1, 1), float(grad))}, state, 0.1, step)
    assert params["p"].item() == whole[-1]


# --- clipping


def three_four():
    return {"a": np.array([[3.0, 0.0]]), "b": np.array([0.0, -4.0])}


THREE_FOUR = {"a": 3.0, "b": 4.0}


def test_the_global_norm_is_that_of_all_gradients_together():
    assert global_norm(norms_by_layer(three_four())) == 5.0
    assert type(global_norm(norms_by_layer({"a": np.ones(4, np.float32)}))) is float


def test_a_layers_norm_is_that_of_its_arrays_together():
    grads = {"out.b_y": np.array([2.0]), "layer10.b": np.array([5.0]), "layer1.b": np.array([3.0])}
    grads |= {"layer1.W": np.array([[0.0, -4.0]]), "embed.W_e": np.zeros((2, 2), np.float32)}
    assert list(norms_by_layer(grads).items()) == [("embed", 0.0), ("layer1", 5.0), ("layer10", 5.0), ("out", 2.0)]


def test_large_gradients_are_scaled_to_the_norm_and_the_norm_before_is_returned():
    grads = three_four()
    assert clip_by_global_norm(grads, 2.5) == THREE_FOUR
    assert grads["a"].tolist() == [[1.5, 0.0]]
    assert grads["b"].tolist() == [0.0, -2.0]


@pytest.mark.parametrize("max_norm", [5.0, 5.1, 1e9])
def test_small_gradients_stay_as_they_are_to_the_last_bit(max_norm):
    rng = np.random.default_rng(1)
    grads = {"a": rng.normal(size=(3, 4)).astype(np.float32), "b": rng.normal(size=4).astype(np.float32)}
    before = {key: array.tobytes() for key, array in grads.items()}
    norms = norms_by_layer(grads)
    assert global_norm(norms) < 5
    assert clip_by_global_norm(grads, max_norm) == norms
    assert {key: array.tobytes() for key, array in grads.items()} == before
    exact = three_four()
    clip_by_global_norm(exact, max_norm)
    assert exact["b"].tolist() == [0.0, -4.0]


def test_a_norm_that_is_no_number_comes_back():
    grads = three_four() | {"c": np.array([np.nan])}
    assert math.isnan(global_norm(clip_by_global_norm(grads, 1.0)))
    assert grads["a"].tolist() == [[3.0, 0.0]]


def test_clipping_keeps_single_precision():
    grads = {"a": np.full((2, 2), 10, np.float32)}
    assert clip_by_global_norm(grads, 1.0) == {"a": 20.0}
    assert grads["a"].dtype == np.float32
    assert grads["a"].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_clip_by_value_limits_each_element_in_place():
    grads = {"a": np.array([[3.0, -0.5], [-7.0, 1.0]]), "b": np.array([1.5], np.float32)}
    kept = dict(grads)
    clip_by_value(grads, 1.0)
    assert grads["a"].tolist() == [[1.0, -0.5], [-1.0, 1.0]]
    assert grads["b"].tolist() == [1.0]
    assert grads["b"].dtype == np.float32
    assert grads["a"] is kept["a"]


@pytest.mark.parametrize(
    ("max_value", "max_norm", "left", "clipped"),
    [
        (0.0, 0.0, (3.0, -4.0), False),
        (4.0, 5.0, (3.0, -4.0), False),
        (0.0, 2.5, (1.5, -2.0), True),
        (3.5, 0.0, (3.0, -3.5), True),
        (3.0, 5.0, (3.0, -3.0), True),
        (3.0, 18**0.5 / 2, (1.5, -1.5), True),  # elements first, then the norm of the result
    ],
)
def test_both_limits_apply_and_it_is_returned_whether_they_changed_anything(max_value, max_norm, left, clipped):
    grads = three_four()
    assert clip(grads, max_value, max_norm) == (THREE_FOUR, clipped)
    assert (grads["a"][0, 0], grads["b"][1]) == pytest.approx(left)


def test_the_running_mean_weighs_later_parameters_more():
    rng = np.random.default_rng(8)
    params = {"W": rng.normal(size=(3, 2)), "b": rng.normal(size=2)}
    plain = {name: array.copy() for name, array in params.items()}
    optimizer, other = adam(average=0.8), adam()
    state, plain_state = optimizer.init(params), other.init(plain)
    assert state.keys() == plain_state.keys() | {"average/W", "average/b"}
    seen = []
    for step in range(7):
        grads = {name: rng.normal(size=array.shape) for name, array in params.items()}
        other.update(plain, {name: grad.copy() for name, grad in grads.items()}, plain_state, 0.1, step)
        optimizer.update(params, grads, state, 0.1, step)
        seen.append({name: array.copy() for name, array in params.items()})
        weights = 0.8 ** np.arange(step, -1, -1)
        for name, mean in optimizer.averaged(state, step + 1).items():
            expected = sum(w * past[name] for w, past in zip(weights, seen, strict=True)) / weights.sum()
            np.testing.assert_allclose(mean, expected, rtol=1e-12)
            assert np.array_equal(params[name], plain[name])  # it changes nothing of the course
    assert other.averaged(plain_state, 7) == {}
