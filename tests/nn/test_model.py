"""The whole model: its gradients, parameters and dropout; ids, embeddings and one-hot rows as the same thing."""

import numpy as np
import pytest

from charrnn.arrays import Scratch
from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.nn.cells import CELLS
from charrnn.nn.dropout import NO_DROPOUT
from charrnn.nn.functional import cross_entropy

V, H, T, B = 7, 4, 5, 3
RESET = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]], bool)

every_cell = pytest.mark.parametrize("cell", list(CELLS))
#: The ways of a symbol into a model, and out of it again.
every_way = pytest.mark.parametrize(
    "way", [{}, {"embed_size": 3}, {"embed_size": 3, "tied": True}], ids=["one-hot", "embedding", "tied"]
)


def configure(**settings):
    return ModelConfig(**{"vocab_size": V, "hidden_size": H, "dropout": 0.0, "dtype": "float64"} | settings)


def draw_params(config, seed=0):
    """Return parameters none of which is zero, biases included."""
    rng = np.random.default_rng(seed)
    params = model.init_params(config, rng)
    return {name: array + rng.normal(0, 0.3, array.shape).astype(array.dtype) for name, array in params.items()}


def draw_window(config, seed=1):
    """Return ids, targets, a first state and an upstream gradient of the last one."""
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(config.vocab_size, size=(2, T, B), dtype=np.uint16)
    shape = model.zero_state(config, B).shape
    state, dstate = rng.normal(0, 0.5, (2, *shape)).astype(config.dtype)
    return ids, targets, state, dstate


def relative(actual, expected):
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def run(params, config, ids, targets, state, dstate, masks=NO_DROPOUT, **settings):
    """Return the logits, the last state and every gradient, as one dict of copies."""
    logits, last, backprop = model.forward(model.prepare(params, config, masks), ids, state, masks=masks, **settings)
    loss, dlogits = cross_entropy(logits, targets)
    results = {"logits": logits.copy(), "state": last.copy(), "loss": np.array(loss)}
    dstate0, grads = backprop(dlogits, dstate)
    assert grads.keys() == params.keys()
    return {name: array.copy() for name, array in (results | {"dstate0": dstate0} | grads).items()}


def assert_identical(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(actual[name], array), name


def assert_close(actual, expected, tolerance=1e-12):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert relative(actual[name], array) <= tolerance, name


def test_dropout_locks_the_outputs_of_every_layer_and_never_the_state():
    config = configure(cell="gru", num_layers=2, hidden_size=64, dropout=0.5)
    params = draw_params(config)
    weights, (ids, _, state, _) = model.prepare(params, config), draw_window(config)
    h, last, _ = model.hidden(weights, ids, state, masks=draw(params, config))
    plain, plain_last, _ = model.hidden(weights, ids, state)
    assert abs((h == 0).mean() - 0.5) <= 0.15
    assert ((h == 0) == (h[0] == 0)).all()  # the same units at every step
    assert np.array_equal(last[0], plain_last[0])  # nothing is dropped on the way through time
    assert (last[1] != 0).all()
    kept = h[-1] != 0
    assert np.array_equal(h[-1][kept], 2 * last[1, 0][kept])
    # the first layer's outputs are dropped too: otherwise only zeros and doublings would tell h from plain
    assert relative(h[h != 0], 2 * plain[h != 0]) > 0.01


@every_cell
def test_weight_drop_is_a_model_without_these_weights(cell):
    config = configure(cell=cell, num_layers=2, weight_drop=0.5)
    params, window = draw_params(config), draw_window(config)
    masks = draw(params, config)
    without = params | {name: params[name] * mask for name, mask in masks.weights.items()}
    expected, actual = run(without, config, *window), run(params, config, *window, masks=masks)
    for name, mask in masks.weights.items():
        expected[name] *= mask
        assert (mask == 0).any()
    assert_close(actual, expected)


# --- buffers


@every_way
@every_cell
def test_lent_buffers_change_no_result(cell, way):
    config = configure(cell=cell, num_layers=3, **way, **drops(way))
    params, scratch = draw_params(config), Scratch()
    for seed, length in enumerate([5, 5, 2, 5]):
        ids, targets, state, dstate = draw_window(config, seed)
        window = (ids[:length], targets[:length], state, dstate)
        for reset in (None, RESET[:length]):
            lent, fresh = (
                run(params, config, *window, reset=reset, masks=draw(params, config, seed), scratch=buffers)
                for buffers in (scratch, model.FRESH)
            )
            assert_identical(lent, fresh)


@every_cell
def test_the_returned_state_outlives_the_next_window(cell):
    config, scratch = configure(cell=cell, num_layers=2), Scratch()
    weights, (ids, _, state, _) = model.prepare(draw_params(config), config), draw_window(config)
    given = state.copy()
    _, last, _ = model.forward(weights, ids, state, scratch=scratch)
    kept = last.copy()
    model.forward(weights, ids[::-1], last, reset=RESET, scratch=scratch)
    assert np.array_equal(last, kept)
    assert np.array_equal(state, given)


@every_cell
def test_parameters_are_only_read(cell):
    config = configure(cell=cell, num_layers=2, **EMBEDDED)
    params, window = draw_params(config), draw_window(config)
    for array in (*params.values(), *window):
        array.flags.writeable = False
    run(params, config, *window, reset=RESET, masks=draw(params, config))


def test_what_stands_for_symbols_is_drawn_loud_and_nothing_else_is():
    for embed_size, loud, soft in ((0, "layer0.W_xh", "layer1.W_xh"), (20, "embed.W_e", "layer0.W_xh")):
        config = ModelConfig(50, hidden_size=40, num_layers=2, embed_size=embed_size)
        params = model.init_params(config, np.random.default_rng(1))
        assert 1.8 < params[loud].std() < 2.2
        assert params[soft].std() < 0.5
