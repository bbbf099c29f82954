"""Gradients with respect to the input: against finite differences, the equations, and the gradient of the embedding."""

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.insight.gradients import loss_gradients, windows_at_once
from charrnn.insight.windows import windows
from charrnn.nn import model
from charrnn.nn.cells import CELLS
from charrnn.nn.functional import cross_entropy, log_softmax, sum_rows
from charrnn.nn.gradcheck import GradientError, check_gradients

pytestmark = pytest.mark.usefixtures("computed_by")
V, H, T, B = 7, 4, 6, 3
RESET = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], bool)

every_cell = pytest.mark.parametrize("cell", list(CELLS))
every_way = pytest.mark.parametrize(
    "way",
    [{}, {"embed_size": 3}, {"embed_size": 3, "tied": True}, {"attention": 4}, {"attention": 9, "embed_size": 3}],
    ids=["one-hot", "embedding", "tied", "attention", "attention-embedding"],
)


def tiny(cell="rnn", **settings):
    """Return the config of a tiny model, its parameters and its weights."""
    settings = {"num_layers": 2, "hidden_size": H, "dropout": 0.0, "dtype": "float64"} | settings
    config = ModelConfig(V, cell=cell, **settings)
    rng = np.random.default_rng(3)
    params = {name: array + rng.normal(0, 0.3, array.shape) for name, array in model.init_params(config, rng).items()}
    if config.attention:
        params["attention.b"] -= 16  # so that what is copied counts
    return config, params, model.prepare(params, config)


def drawn_window(config, weights):
    """Return ids, the symbol after each row, and the state after some others."""
    rng = np.random.default_rng(1)
    before, ids = rng.integers(V, size=(2, T, B), dtype=np.uint16)
    state = model.zero_state(config, B)
    model.read(weights, before, state)
    return ids, rng.integers(V, size=B), state


@every_way
@every_cell
def test_finite_differences_confirm_the_gradient(cell, way):
    config, _, weights = tiny(cell, **way)
    ids, targets, state = drawn_window(config, weights)
    rows, grads = loss_gradients(weights, ids, targets, state, reset=RESET)
    assert rows.shape == grads.shape == (T, B, config.embed_size or V)

    def loss():
        logits, _, _ = model.forward(weights, ids, state, rows=rows, reset=RESET)
        return -log_softmax(logits[-1])[np.arange(B), targets].sum()

    check_gradients(loss, {"rows": rows}, {"rows": grads}, np.random.default_rng(0), epsilon=3e-4)
    with pytest.raises(GradientError):
        check_gradients(loss, {"rows": rows}, {"rows": 1.001 * grads}, np.random.default_rng(0), epsilon=3e-4)


@every_way
def test_the_rows_are_those_that_the_ids_stand_for(way):
    config, _, weights = tiny("lstm", **way)
    ids, _, state = drawn_window(config, weights)
    rows = model.input_rows(weights, ids)
    by_ids, last, _ = model.forward(weights, ids, state, reset=RESET)
    by_rows, last_by_rows, _ = model.forward(weights, ids, state, rows=rows, reset=RESET)
    np.testing.assert_allclose(by_rows, by_ids, rtol=1e-12)
    np.testing.assert_allclose(last_by_rows, last, rtol=1e-12)


@pytest.mark.parametrize("way", [{}, {"attention": 5}], ids=["plain", "attention"])
def test_summed_by_symbol_it_is_the_gradient_that_trains_the_embedding(way):
    config, _, weights = tiny("gru", embed_size=3, **way)
    ids, targets, state = drawn_window(config, weights)
    _, grads = loss_gradients(weights, ids, targets, state)
    logits, last, backprop = model.forward(weights, ids, state)
    dlogits = np.zeros_like(logits)
    _, dlogits[-1] = cross_entropy(logits[-1], targets, of=1)
    _, trained = backprop(dlogits, np.zeros_like(last))
    np.testing.assert_allclose(sum_rows(ids.reshape(-1), grads.reshape(-1, 3), V), trained["embed.W_e"], rtol=1e-10)


def test_the_equations_of_a_plain_net_confirm_it():
    """dh_t/dx_{t-k} = W_xh D_{t-k} W_hh D_{t-k+1} ... W_hh D_t, with D = diag(1 - h^2)."""
    config, params, weights = tiny("rnn", num_layers=1)
    ids = np.random.default_rng(2).integers(V, size=T)
    W_xh, W_hh, b_h = (params[f"layer0.{name}"] for name in ("W_xh", "W_hh", "b_h"))
    h = [np.zeros(H)]
    for id_ in ids:
        h.append(np.tanh(W_xh[id_] + h[-1] @ W_hh + b_h))
    logits = h[-1] @ params["out.W_hy"] + params["out.b_y"]
    delta = (np.exp(log_softmax(logits)) - np.eye(V)[5]) @ params["out.W_hy"].T
    _, grads = loss_gradients(weights, ids[:, None], np.array([5]), model.zero_state(config, 1))
    for t in reversed(range(T)):
        delta = delta * (1 - h[t + 1] ** 2)
        np.testing.assert_allclose(grads[t, 0], W_xh @ delta, rtol=1e-9)
        delta = W_hh @ delta


def test_no_gradient_crosses_a_reset():
    config, _, weights = tiny("lstm")
    ids, targets, state = drawn_window(config, weights)
    _, grads = loss_gradients(weights, ids, targets, state, reset=RESET)
    zero = np.abs(grads).sum(axis=-1) == 0
    assert np.array_equal(np.argmin(zero, axis=0), [2, 0, 0])
    assert not zero[[2, 3], 0].any()


def test_windows_begin_in_a_zero_state_where_the_text_or_a_document_begins():
    ids = np.array([9, 1, 2, 9, 3])
    found, reset = windows(ids, np.array([-2, 0, 1]), 4, end=9)
    assert found.T.tolist() == [[9, 9, 9, 1], [9, 1, 2, 9], [1, 2, 9, 3]]
    assert reset.T.astype(int).tolist() == [[1, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0]]
    assert not windows(ids, np.array([1]), 4)[1].any()


def test_large_models_are_read_in_fewer_windows_and_at_least_one():
    sizes = [ModelConfig(V, hidden_size=size, num_layers=layers) for size, layers in ((64, 1), (64, 2), (10**6, 4))]
    some = [windows_at_once(tiny()[2], config, 50) for config in sizes]
    assert some[0] > some[1] > some[2] == 1
