"""The whole model: its gradients, parameters and dropout; ids, embeddings and one-hot rows as the same thing."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.arrays import Scratch
from charrnn.config import ModelConfig
from charrnn.nn import functional, model
from charrnn.nn.cells import CELLS
from charrnn.nn.dropout import NO_DROPOUT, draw_masks
from charrnn.nn.functional import cross_entropy, log_softmax
from charrnn.nn.gradcheck import check_gradients

pytestmark = pytest.mark.usefixtures("computed_by")
V, H, T, B = 7, 4, 5, 3
RESET = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]], bool)

every_cell = pytest.mark.parametrize("cell", list(CELLS))
#: How symbols enter a model, and leave it again.
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


@pytest.mark.parametrize("reset", [None, RESET], ids=["plain", "dropout-reset"])
@every_way
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@every_cell
def test_finite_differences_confirm_every_gradient(cell, num_layers, way, reset):
    config = configure(cell=cell, num_layers=num_layers, **way, **(drops(way) if reset is not None else {}))
    params = draw_params(config)
    ids, targets, state, dstate = draw_window(config)

    def forward():
        masks = draw(params, config)
        return model.forward(model.prepare(params, config, masks), ids, state, reset=reset, masks=masks)

    def loss():
        logits, last, _ = forward()
        return cross_entropy(logits, targets)[0] + float((last * dstate).sum())

    logits, _, backprop = forward()
    dstate0, grads = backprop(cross_entropy(logits, targets)[1], dstate)
    arrays, grads = params | {"state": state}, grads | {"state": dstate0}
    epsilon = 3e-5 if cell.startswith("ln") else 1e-3  # layer normalisation is strongly curved
    check_gradients(loss, arrays, grads, np.random.default_rng(4), tolerance=3e-7, epsilon=epsilon)


@every_cell
def test_windows_in_pieces_equal_the_whole(cell):
    config = configure(cell=cell, num_layers=2, embed_size=3)
    params, (ids, targets, state, dstate) = draw_params(config), draw_window(config)
    whole = run(params, config, ids, targets, state, dstate, reset=RESET)
    weights, middle, pieces = model.prepare(params, config), state, []
    for piece in (slice(0, 2), slice(2, 5)):
        logits, middle, _ = model.forward(weights, ids[piece], middle, reset=RESET[piece])
        pieces.append(logits)
    assert relative(np.concatenate(pieces), whole["logits"]) <= 1e-13
    assert relative(middle, whole["state"]) <= 1e-13


@every_cell
def test_a_reset_begins_afresh_in_every_layer(cell):
    config, at = configure(cell=cell, num_layers=3), 2
    weights, (ids, _, state, _) = model.prepare(draw_params(config), config), draw_window(config)
    reset = np.zeros((T, B), bool)
    reset[at, 1] = True
    logits, last, _ = model.forward(weights, ids, state, reset=reset)
    row = slice(1, 2)
    fresh_logits, fresh_last, _ = model.forward(weights, ids[at:, row], model.zero_state(config, 1))
    assert relative(logits[at:, row], fresh_logits) <= 1e-13
    assert relative(last[:, :, row], fresh_last) <= 1e-13


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"cell": "rnn"},
            {
                "layer0.W_xh": (7, 4),
                "layer0.W_hh": (4, 4),
                "layer0.b_h": (4,),
                "out.W_hy": (4, 7),
                "out.b_y": (7,),
            },
        ),
        (
            {"cell": "lstm", "num_layers": 2, "embed_size": 3},
            {
                "embed.W_e": (7, 3),
                "layer0.W_xh": (3, 16),
                "layer0.W_hh": (4, 16),
                "layer0.b_h": (16,),
                "layer1.W_xh": (4, 16),
                "layer1.W_hh": (4, 16),
                "layer1.b_h": (16,),
                "out.W_hy": (4, 7),
                "out.b_y": (7,),
            },
        ),
        (
            {"cell": "gru"},
            {
                "layer0.W_xh": (7, 12),
                "layer0.W_hh": (4, 12),
                "layer0.b_h": (12,),
                "layer0.b_hn": (4,),
                "out.W_hy": (4, 7),
                "out.b_y": (7,),
            },
        ),
        (
            {"cell": "rnn", "embed_size": 3, "tied": True},
            {
                "embed.W_e": (7, 3),
                "layer0.W_xh": (3, 4),
                "layer0.W_hh": (4, 4),
                "layer0.b_h": (4,),
                "out.W_he": (4, 3),
                "out.b_y": (7,),
            },
        ),
    ],
    ids=["rnn", "lstm", "gru", "tied"],
)
def test_the_parameters_have_these_names_and_shapes(settings, expected):
    config = configure(**settings)
    params = model.init_params(config, np.random.default_rng(0))
    assert {name: array.shape for name, array in params.items()} == expected
    assert list(params) == list(expected)  # the order in which they are drawn


@every_way
@every_cell
def test_param_shapes_are_those_of_init_params(cell, way):
    config = configure(cell=cell, num_layers=2, **way)
    params = model.init_params(config, np.random.default_rng(0))
    shapes = model.param_shapes(config)
    assert shapes == {name: array.shape for name, array in params.items()}
    assert list(shapes) == list(params)


def test_ten_layers_do_not_take_each_others_parameters():
    config = configure(cell="rnn", num_layers=11)
    params = draw_params(config)
    for layer, weights in enumerate(model.prepare(params, config).layers):
        for name in ("W_xh", "W_hh", "b_h"):
            assert weights[name] is params[f"layer{layer}.{name}"]


@every_cell
def test_both_precisions_begin_at_the_same_draw(cell):
    double, single = (
        model.init_params(configure(cell=cell, embed_size=3, dtype=dtype), np.random.default_rng(5))
        for dtype in ("float64", "float32")
    )
    assert {array.dtype for array in double.values()} == {np.dtype(np.float64)}
    assert {array.dtype for array in single.values()} == {np.dtype(np.float32)}
    assert_identical(single, {name: array.astype(np.float32) for name, array in double.items()})
    for name, array in double.items():
        assert not np.array_equal(array, single[name]) or set(array.flat) <= {0.0, 1.0, 2.0}, name  # drawn in double


@every_cell
def test_the_biases_begin_at_zero_but_the_forget_gates_at_one(cell):
    params = model.init_params(configure(cell=cell, num_layers=2, embed_size=3), np.random.default_rng(0))
    for name, array in params.items():
        if array.ndim == 1 and "gain" not in name:
            expected = np.zeros(array.shape)
            if cell in ("lstm", "lnlstm", "lnmlstm", "mlstm") and name.endswith("b_h"):
                expected[H : 2 * H] = 1
            assert np.array_equal(array, expected), name
        else:
            assert array.all(), name


@every_cell
def test_the_zero_state_is_zero_and_has_its_axes(cell):
    for dtype in ("float32", "float64"):
        state = model.zero_state(configure(cell=cell, num_layers=2, dtype=dtype), B)
        assert state.shape == (2, CELLS[cell].n_states, B, H)
        assert state.dtype == dtype
        assert not state.any()


@every_way
@every_cell
def test_single_precision_stays_single(cell, way):
    config = configure(cell=cell, num_layers=2, dtype="float32", **way, **drops(way))
    params = draw_params(config)
    results = run(params, config, *draw_window(config), reset=RESET, masks=draw(params, config))
    del results["loss"]
    ids, _, state, _ = draw_window(config)
    results["step"] = model.step(model.prepare(draw_params(config), config), ids[0], state)
    assert {name: array.dtype for name, array in results.items()} == dict.fromkeys(results, np.dtype(np.float32))


@every_way
@every_cell
def test_hidden_then_readout_is_the_forward_pass(cell, way):
    config = configure(cell=cell, num_layers=2, **way)
    weights, (ids, _, state, dstate) = model.prepare(draw_params(config), config), draw_window(config)
    logits, last, backprop = model.forward(weights, ids, state)
    h, hidden_last, hidden_backprop = model.hidden(weights, ids, state)
    assert h.shape == (T, B, H)
    assert logits.shape == (T, B, V)
    e = h if weights.W_he is None else h @ weights.W_he
    assert relative(logits, e @ weights.W_hy + weights.b_y) <= 1e-14
    assert np.array_equal(last, hidden_last)
    assert np.array_equal(last[-1, 0], h[-1])
    own_logits, readout_backprop = model.readout(weights, h)
    assert np.array_equal(own_logits, logits)
    dlogits = np.random.default_rng(0).normal(size=logits.shape)
    dh, out = readout_backprop(dlogits)
    dstate0, grads = hidden_backprop(dh, dstate)
    both_dstate0, both = backprop(dlogits, dstate)
    assert np.array_equal(dstate0, both_dstate0)
    at_both_ends = {name: grads[name] + out[name] for name in grads.keys() & out.keys()}
    assert at_both_ends.keys() == ({"embed.W_e"} if config.tied else set())
    assert_identical(both, out | grads | at_both_ends)


@every_way
@pytest.mark.parametrize("has_read", [True, False])
@every_cell
def test_single_steps_are_the_forward_pass(cell, has_read, way):
    config = configure(cell=cell, num_layers=3, **way)
    weights, (ids, _, state, _) = model.prepare(draw_params(config), config), draw_window(config)
    expected, last, _ = model.forward(weights, ids, state)
    if not has_read:
        weights = replace(weights, cell=replace(weights.cell, read=None, layer=None))
    logits = np.array([model.step(weights, row, state) for row in ids])
    assert relative(logits, expected) <= 1e-12
    assert relative(state, last) <= 1e-12


@every_way
@pytest.mark.parametrize("has_read", [True, False])
@every_cell
def test_a_window_is_read_as_by_the_forward_pass(cell, has_read, way):
    config, scratch = configure(cell=cell, num_layers=3, **way), Scratch()
    weights, (ids, targets, state, _) = model.prepare(draw_params(config), config), draw_window(config)
    if not has_read:
        weights = replace(weights, cell=replace(weights.cell, read=None, layer=None))
    for _ in range(2):  # buffers of one scratch are used again
        h, last, _ = model.hidden(weights, ids, state, reset=RESET)
        logits, _ = model.readout(weights, h)
        again = state.copy()
        model.read(weights, ids, again, reset=RESET, scratch=scratch)
        assert relative(again, last) <= 1e-12
        log_probs, correct = model.score(weights, ids, targets, state, reset=RESET, scratch=scratch)
        assert relative(state, last) <= 1e-12
        expected = np.take_along_axis(log_softmax(logits), targets[..., None].astype(np.intp), -1)[..., 0]
        assert relative(log_probs, expected) <= 1e-12
        assert np.array_equal(correct, logits.argmax(axis=-1) == targets)


def test_more_layers_than_the_core_takes_are_read_too():
    config = configure(cell="rnn", num_layers=70)
    weights, (ids, targets, state, _) = model.prepare(draw_params(config), config), draw_window(config)
    h, last, _ = model.hidden(weights, ids, state)
    log_probs, _ = model.score(weights, ids, targets, state)
    expected = np.take_along_axis(log_softmax(model.readout(weights, h)[0]), targets[..., None].astype(np.intp), -1)
    assert relative(log_probs, expected[..., 0]) <= 1e-12
    assert relative(state, last) <= 1e-12


# --- one-hot rows and embeddings


@every_cell
def test_an_embedding_that_is_the_identity_equals_one_hot_rows(cell):
    plain, embedded = configure(cell=cell, num_layers=2), configure(cell=cell, num_layers=2, embed_size=V)
    params, window = draw_params(plain), draw_window(plain)
    expected = run(params, plain, *window, reset=RESET)
    actual = run(params | {"embed.W_e": np.eye(V)}, embedded, *window, reset=RESET)
    del actual["embed.W_e"]
    assert_close(actual, expected)


@every_way
def test_the_path_of_a_large_vocabulary_equals_the_one_hot_path(monkeypatch, way):
    config = configure(vocab_size=600, **way)
    params, window = draw_params(config), draw_window(config)
    by_sorting = run(params, config, *window)
    monkeypatch.setattr(functional, "ONE_HOT_LIMIT", 600)
    assert_close(by_sorting, run(params, config, *window))


@pytest.mark.parametrize("embed_size", [3, H])
def test_a_tied_embedding_equals_a_scaled_one_and_a_readout_of_two_matrices(embed_size):
    tied, plain = (configure(num_layers=2, embed_size=embed_size, tied=tied) for tied in (True, False))
    params, window = draw_params(tied), draw_window(tied)
    actual = run(params, tied, *window, reset=RESET)
    W_e, W_he = params.pop("embed.W_e"), params.pop("out.W_he")
    apart = params | {"embed.W_e": embed_size**0.5 * W_e, "out.W_hy": W_he @ W_e.T}
    expected = run(apart, plain, *window, reset=RESET)
    dW_hy = expected.pop("out.W_hy")
    expected["out.W_he"] = dW_hy @ W_e
    expected["embed.W_e"] = embed_size**0.5 * expected["embed.W_e"] + dW_hy.T @ W_he
    assert_close(actual, expected)


def test_the_rows_of_a_tied_embedding_start_with_length_1():
    config = configure(vocab_size=500, embed_size=64, tied=True)
    params = model.init_params(config, np.random.default_rng(0))
    assert abs((params["embed.W_e"] ** 2).sum(axis=1).mean() - 1) <= 0.05
    assert abs(model.prepare(params, config).embed.std() - 1) <= 0.05


# --- masks: dropout and weight-drop

DROPPING = {"dropout": 0.4, "weight_drop": 0.3}
EMBEDDED = DROPPING | {"embed_size": 3, "input_dropout": 0.3}


def drops(way):
    """Return settings that drop everything that can be dropped."""
    return DROPPING | ({"input_dropout": 0.3} if way else {})


def draw(params, config, seed=3, step=0, rows=slice(0, B)):
    return draw_masks(params, config, seed, step, rows)


@every_cell
def test_without_masks_nothing_is_dropped(cell):
    config = configure(cell=cell, num_layers=2, **EMBEDDED)
    quiet = configure(cell=cell, num_layers=2, embed_size=3)
    params, window = draw_params(quiet), draw_window(quiet)
    expected = run(params, quiet, *window)
    assert_identical(run(params, config, *window), expected)
    assert draw(params, quiet) == NO_DROPOUT
    assert_identical(run(params, quiet, *window, masks=draw(params, quiet)), expected)
    for name, rate in EMBEDDED.items() - {("embed_size", 3)}:
        one = configure(cell=cell, num_layers=2, embed_size=3, **{name: rate})
        if name == "weight_drop" and "layer0.W_hh" not in params:
            assert draw(params, one) == NO_DROPOUT  # nothing is recurrent
            continue
        dropped = run(params, one, *window, masks=draw(params, one))
        assert relative(dropped["logits"], expected["logits"]) > 0.01


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


@pytest.mark.parametrize("cell", [name for name in CELLS if name != "mingru"])  # which has no such weights
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
def test_reused_buffers_change_no_result(cell, way):
    config = configure(cell=cell, num_layers=3, **way, **drops(way))
    params, scratch = draw_params(config), Scratch()
    for seed, length in enumerate([5, 5, 2, 5]):
        ids, targets, state, dstate = draw_window(config, seed)
        window = (ids[:length], targets[:length], state, dstate)
        for reset in (None, RESET[:length]):
            reused, fresh = (
                run(params, config, *window, reset=reset, masks=draw(params, config, seed), scratch=buffers)
                for buffers in (scratch, model.FRESH)
            )
            assert_identical(reused, fresh)


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


def test_only_the_rows_of_symbols_are_drawn_with_a_large_spread():
    for embed_size, large, small in ((0, "layer0.W_xh", "layer1.W_xh"), (20, "embed.W_e", "layer0.W_xh")):
        config = ModelConfig(50, hidden_size=40, num_layers=2, embed_size=embed_size)
        params = model.init_params(config, np.random.default_rng(1))
        assert 1.8 < params[large].std() < 2.2
        assert params[small].std() < 0.5
