"""Truncated back-propagation through time: where the gradient stops, and that rows add up to the batch."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.arrays import Window
from charrnn.config import CELL_NAMES
from charrnn.nn import model
from charrnn.nn.bptt import Learner
from charrnn.nn.functional import cross_entropy

from .test_model import EMBEDDED, RESET, B, T, assert_close, configure, draw_params, draw_window

pytestmark = pytest.mark.usefixtures("computed_by")


def learner_of(config, params, seed=3):
    learner = Learner(config, seed)
    learner.set_params(params)
    return learner


def window_of(config, seed=1):
    ids, targets, state, _ = draw_window(config, seed)
    return Window(ids, targets, RESET), state


def together(params, config, windows, state):
    """Return the mean loss and the gradient of windows read as one, through all of which the gradient runs."""
    whole = [np.concatenate(arrays) for arrays in zip(*(window[:3] for window in windows), strict=True)]
    logits, last, backprop = model.forward(model.prepare(params, config), whole[0], state, reset=whole[2])
    loss, dlogits = cross_entropy(logits, whole[1])
    return loss, last, backprop(dlogits, np.zeros_like(last))[1]


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_state_crosses_windows_and_the_gradient_does_not(cell):
    config = configure(cell=cell, num_layers=2)
    params = draw_params(config)
    learner, state = learner_of(config, params), window_of(config)[1]
    windows = [window_of(config, seed)[0]._replace(reset=np.zeros((T, B), bool)) for seed in (1, 2)]
    first, middle, first_grads = learner.gradients(windows[0], state, 0, slice(0, B))
    second, last, second_grads = learner.gradients(windows[1], middle, 1, slice(0, B))
    loss, whole_last, whole_grads = together(params, config, windows, state)
    assert (first + second) / 2 == pytest.approx(loss, rel=1e-13)
    assert_close({"state": last}, {"state": whole_last})
    truncated = {name: (first_grads[name] + second_grads[name]) / 2 for name in whole_grads}
    recurrent = "W_xh" if cell == "mingru" else "W_hh"
    for name in (f"layer{layer}.{recurrent}" for layer in range(2)):
        assert np.linalg.norm(truncated[name] - whole_grads[name]) > 1e-4 * np.linalg.norm(whole_grads[name])
    # A state that is reset where the second window starts stops the gradient of the whole at the same place.
    windows[1].reset[0] = True
    _, _, second_grads = learner.gradients(windows[1], middle, 1, slice(0, B))
    _, _, whole_grads = together(params, config, windows, state)
    assert_close({name: (first_grads[name] + second_grads[name]) / 2 for name in whole_grads}, whole_grads)


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_groups_of_rows_add_up_to_the_batch(cell):
    config = configure(cell=cell, num_layers=2, **EMBEDDED)
    learner, (window, state) = learner_of(config, draw_params(config)), window_of(config)
    loss, last, grads = learner.gradients(window, state, 5, slice(0, B))
    groups = [learner.gradients(window, state, 5, rows) for rows in (slice(0, 1), slice(1, 3))]
    assert sum(group[0] for group in groups) == pytest.approx(loss, rel=1e-13)
    assert_close({"state": np.concatenate([group[1] for group in groups], axis=2)}, {"state": last})
    assert_close({name: groups[0][2][name] + groups[1][2][name] for name in grads}, grads)
    log_probs, correct, last = learner.score(window, state, slice(0, B))
    own_log_probs, own_correct, own_last = learner.score(window, state, slice(1, 3))
    assert_close({"log_probs": own_log_probs}, {"log_probs": log_probs[:, 1:]})
    assert_close({"state": own_last}, {"state": last[:, :, 1:]})
    assert np.array_equal(own_correct, correct[:, 1:])
    assert np.array_equal(learner.read(window, state, slice(1, 3)), own_last)


def test_scores_use_all_weights_and_units():
    config = configure(num_layers=2, **EMBEDDED)
    params, (window, state) = draw_params(config), window_of(config)
    scores = learner_of(config, params).score(window, state, slice(0, B))
    plain = replace(config, dropout=0.0, weight_drop=0.0, input_dropout=0.0)
    expected = learner_of(plain, params).score(window, state, slice(0, B))
    for array, other in zip(scores, expected, strict=True):
        assert np.array_equal(array, other)


def test_new_parameters_are_used_from_then_on():
    config = configure()
    (window, state), learner = window_of(config), learner_of(config, draw_params(config))
    before = learner.score(window, state, slice(0, B))[0]
    learner.set_params(draw_params(config, seed=9))
    after = learner.score(window, state, slice(0, B))[0]
    assert not np.array_equal(before, after)
    assert np.array_equal(after, learner_of(config, draw_params(config, seed=9)).score(window, state, slice(0, B))[0])
