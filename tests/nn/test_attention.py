"""Attention: its equations by an oracle, its gradients, and a memory that windows, rows, resets and steps agree on."""

import numpy as np
import pytest

from charrnn.arrays import Window
from charrnn.config import CELL_NAMES, ModelConfig
from charrnn.errors import ConfigError
from charrnn.nn import attention, model
from charrnn.nn.bptt import Learner
from charrnn.nn.dropout import NO_DROPOUT, draw_masks
from charrnn.nn.functional import cross_entropy
from charrnn.nn.gradcheck import check_gradients

pytestmark = pytest.mark.usefixtures("computed_by")
V, H, B, T = 7, 5, 3, 34
#: Positions that attention looks back: few of a window, as many as it has, and more than all.
every_reach = pytest.mark.parametrize("reach", [1, 4, 34, 50])


def configure(reach=4, **settings):
    of = {"hidden_size": H, "dropout": 0.0, "dtype": "float64", "cell": "gru"}
    return ModelConfig(V, attention=reach, **of | settings)


def draw_params(config, seed=0):
    """Return parameters with which net and memory share the prediction."""
    rng = np.random.default_rng(seed)
    params = model.init_params(config, rng)
    params = {name: array + rng.normal(0, 0.3, array.shape).astype(array.dtype) for name, array in params.items()}
    params["attention.b"] -= 16 + np.log(config.attention)
    params["attention.log_scale"] -= 2
    return params


def draw_ids(seed=1, rows=B):
    """Return ids and a reset mask of a text, (T, B) each."""
    rng = np.random.default_rng(seed)
    return rng.integers(V, size=(T, rows)), rng.random((T, rows)) < 0.1


def read(config, params, ids, reset=None, state=None, size=None, masks=NO_DROPOUT):
    """Return the logits and the last state of a text that is read in windows of this size."""
    weights, logits = model.prepare(params, config, masks), []
    state = model.zero_state(config, ids.shape[1]) if state is None else state
    size = size or len(ids)
    for at in range(0, len(ids), size):
        window = slice(at, at + size)
        own = None if reset is None else reset[window]
        part, state, _ = model.forward(weights, ids[window], state, reset=own, masks=masks)
        logits.append(part)
    return np.concatenate(logits), state


def remembered(config, params, rows=B):
    """Return a state whose memory is partly filled, and differently in each row."""
    reset = np.zeros((6, rows), bool)
    reset[np.arange(rows) % 6, np.arange(rows)] = True
    return read(config, params, draw_ids(9, rows)[0][:6], reset)[1]


def oracle(config, params, ids, reset):
    """Return the log-probabilities from an empty memory: the equations, one position at a time."""
    plain = ModelConfig(**{**vars(config), "attention": 0})
    weights = model.prepare({name: a for name, a in params.items() if not name.startswith("attention")}, plain)
    h, _, _ = model.hidden(weights, ids, model.zero_state(plain, ids.shape[1]), reset=reset)
    z, _ = model.readout(weights, h)
    W, b_0, log_scale = (params[f"attention.{name}"] for name in ("W", "b", "log_scale"))
    log_probs = np.empty(z.shape)
    for b in range(ids.shape[1]):
        keys, followers = [], []
        for t in range(len(ids)):
            if reset[t, b]:
                keys, followers = [], []
            elif t:
                followers.append(ids[t, b])
            *u, s = h[t, b] @ W
            k = u / np.sqrt(np.dot(u, u) + 1e-6)
            e = np.exp(z[t, b])
            shares = [np.exp(s + b_0[0])]
            spread = [e / e.sum()]
            for key, follower in list(zip(keys, followers, strict=True))[-config.attention :]:
                shares.append(np.exp(np.exp(log_scale[0]) * (k @ key)))
                spread.append(np.eye(V)[follower])
            log_probs[t, b] = np.log(np.average(spread, axis=0, weights=shares))
            keys.append(k)
    return log_probs


@every_reach
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_an_oracle_gives_the_same_probabilities(cell, reach):
    config = configure(reach, cell=cell, num_layers=2)
    params, (ids, reset) = draw_params(config), draw_ids()
    logits, _ = read(config, params, ids, reset)
    np.testing.assert_allclose(logits, oracle(config, params, ids, reset), rtol=0, atol=1e-12)
    plain = ModelConfig(**{**vars(config), "attention": 0})
    alone, _ = read(plain, params, ids, reset)
    assert abs(logits - alone).max() > 0.1  # the memory counts


@pytest.mark.parametrize("way", [{}, {"embed_size": 3, "tied": True}], ids=["one-hot", "tied"])
@pytest.mark.parametrize("drop", [0.0, 0.4])
@every_reach
def test_finite_differences_confirm_every_gradient(reach, drop, way):
    config = configure(reach, num_layers=2, dropout=drop, weight_drop=drop, **way)
    params, (ids, reset) = draw_params(config), draw_ids()
    masks = draw_masks(params, config, 3, 1, slice(0, B))
    state = remembered(config, params)
    hidden = model.hidden_state(model.prepare(params, config), state)
    rng = np.random.default_rng(2)
    upstream, dstate = rng.normal(size=(T, B, V)), rng.normal(size=state.shape)

    def run():
        weights = model.prepare(params, config, masks)
        logits, last, backprop = model.forward(weights, ids, state, reset=reset, masks=masks)
        end = model.hidden_state(weights, last), model.hidden_state(weights, dstate)
        return float((logits * upstream).sum() + (end[0] * end[1]).sum()), backprop

    dstate0, grads = run()[1](upstream, dstate)
    weights = model.prepare(params, config)
    check_gradients(lambda: run()[0], params, grads, rng, epsilon=2e-4)
    start = {"state": hidden}
    check_gradients(lambda: run()[0], start, {"state": model.hidden_state(weights, dstate0)}, rng, epsilon=2e-4)


def test_the_memory_is_a_constant_for_the_gradient():
    config = configure()
    params, (ids, _) = draw_params(config), draw_ids()
    state = remembered(config, params)
    logits, last, backprop = model.forward(model.prepare(params, config), ids, state)
    memory = attention.memory_size(4)
    quiet = np.zeros_like(last)
    loud = quiet.copy()
    loud[..., -memory:] = 1
    (dstate0, grads), (other, others) = backprop(logits, quiet), backprop(logits, loud)
    assert not dstate0[..., -memory:].any()
    assert dstate0[..., :-memory].any()
    assert np.array_equal(other, dstate0)
    assert all(np.array_equal(grads[name], others[name]) for name in params)


@pytest.mark.parametrize("size", [1, 7])
@every_reach
def test_windows_of_any_size_are_the_whole(reach, size):
    config = configure(reach)
    params, (ids, reset) = draw_params(config), draw_ids()
    state = remembered(config, params)
    expected, last = read(config, params, ids, reset, state)
    logits, state = read(config, params, ids, reset, state, size)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state, last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 5, 128])
@pytest.mark.parametrize("block", [1, 40, 2**16])
def test_blocks_change_nothing(monkeypatch, steps, block):
    config = configure(9)
    params, (ids, reset) = draw_params(config), draw_ids()
    targets, state = draw_ids(5)[0], remembered(config, params)

    def gradients():
        logits, last, backprop = model.forward(model.prepare(params, config), ids, state, reset=reset)
        loss, dlogits = cross_entropy(logits, targets)
        seen = model.looks(model.prepare(params, config), ids, state, reset=reset)
        return {"loss": loss, "state": last, **seen._asdict()} | backprop(dlogits, np.zeros_like(last))[1]

    expected = gradients()
    monkeypatch.setattr(attention, "_STEPS", steps)
    monkeypatch.setattr(attention, "_BLOCK", block)
    for name, array in gradients().items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-12, err_msg=name)


def test_after_a_reset_all_is_as_after_a_fresh_start():
    config = configure(20)
    params, (ids, _) = draw_params(config), draw_ids()
    reset = np.zeros(ids.shape, bool)
    reset[10] = True
    fresh, fresh_last = read(config, params, ids[10:])
    logits, last = read(config, params, ids, reset, remembered(config, params))
    np.testing.assert_allclose(logits[10:], fresh, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last, fresh_last, rtol=0, atol=1e-12)
    # what was forgotten is not kept, also where the memory is not full again
    _, fresh_last = read(config, params, ids[10:11])
    _, last = read(config, params, ids[:11], reset[:11], remembered(config, params))
    np.testing.assert_allclose(last, fresh_last, rtol=0, atol=1e-12)


def test_batch_rows_are_independent():
    config = configure(20)
    params, (ids, reset) = draw_params(config), draw_ids()
    state = remembered(config, params)
    expected, last = read(config, params, ids, reset, state)
    for row in range(B):
        own = slice(row, row + 1)
        logits, alone = read(config, params, ids[:, own], reset[:, own], state[:, :, own])
        np.testing.assert_allclose(logits, expected[:, own], rtol=0, atol=1e-12)
        np.testing.assert_allclose(alone, last[:, :, own], rtol=0, atol=1e-12)
    order = [2, 0]
    logits, _ = read(config, params, ids[:, order], reset[:, order], state[:, :, order])
    np.testing.assert_allclose(logits, expected[:, order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_reach
def test_probabilities_add_up_to_one(reach, dtype):
    config = configure(reach, dtype=dtype)
    params = {name: 4 * array for name, array in draw_params(config).items()}
    ids, reset = draw_ids()
    logits, _ = read(config, params, ids, reset)
    assert logits.dtype == dtype
    assert abs(np.exp(logits, dtype=np.float64).sum(axis=-1) - 1).max() <= 1e-6


@pytest.mark.parametrize("size", [1, 2, 34])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_reads_and_scores_are_the_forward_pass(monkeypatch, dtype, size):
    monkeypatch.setattr(model, "_BLOCK", V * B * size)
    monkeypatch.setattr(model, "_LEAST_STEPS", 1)
    config, close = configure(9, dtype=dtype), {"rtol": 0, "atol": 1e-12 if dtype == "float64" else 2e-5}
    params, (ids, reset), targets = draw_params(config), draw_ids(), draw_ids(5)[0]
    weights, start = model.prepare(params, config), remembered(config, params)
    before = start.copy()
    expected, last = read(config, params, ids, reset, start)
    state = start.copy()
    log_probs, correct = model.score(weights, ids, targets, state, reset=reset)
    np.testing.assert_allclose(log_probs, np.take_along_axis(expected, targets[..., None], -1)[..., 0], **close)
    assert np.array_equal(correct, expected.argmax(axis=-1) == targets)
    np.testing.assert_allclose(state, last, **close)
    state = start.copy()
    model.read(weights, ids, state, reset=reset)
    np.testing.assert_allclose(state, last, **close)
    expected, last = read(config, params, ids, None, start)
    state = start.copy()
    np.testing.assert_allclose([model.step(weights, row, state) for row in ids], expected, **close)
    np.testing.assert_allclose(state, last, **close)
    state = start.copy()
    np.testing.assert_allclose(model.predict(weights, ids, state), expected[-1], **close)
    np.testing.assert_allclose(state, last, **close)
    assert np.array_equal(start, before)
    state = np.asfortranarray(start)[:, :, ::-1]  # rows that were selected may have any strides
    np.testing.assert_allclose(model.step(weights, ids[0, ::-1], state), expected[0, ::-1], **close)
    assert not np.array_equal(state[:, :, ::-1], start)


def test_groups_of_rows_add_up_to_the_batch():
    config = configure(9, dropout=0.3)
    params, (ids, reset), targets = draw_params(config), draw_ids(), draw_ids(5)[0]
    learner, state = Learner(config, 3), remembered(config, params)
    learner.set_params(params)
    window = Window(ids, targets, reset)
    loss, last, grads = learner.gradients(window, state, 2, slice(0, B))
    parts = [learner.gradients(window, state, 2, rows) for rows in (slice(0, 1), slice(1, B))]
    assert sum(part[0] for part in parts) == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(np.concatenate([part[1] for part in parts], axis=2), last, rtol=0, atol=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(parts[0][2][name] + parts[1][2][name], grad, rtol=0, atol=1e-13, err_msg=name)


def test_keys_are_of_outputs_without_dropout():
    config = configure(9, dropout=0.5)
    params, (ids, _) = draw_params(config), draw_ids()
    masks = draw_masks(params, config, 3, 1, slice(0, B))
    _, dropped = read(config, params, ids, masks=masks)
    _, last = read(config, params, ids)
    assert masks.outputs is not None
    assert np.array_equal(dropped, last)


@every_reach
def test_looks_are_the_shares_of_the_prediction(reach):
    config = configure(reach)
    params, (ids, reset) = draw_params(config), draw_ids()
    weights, state = model.prepare(params, config), remembered(config, params)
    logits, _ = read(config, params, ids, reset, state)
    seen = model.looks(weights, ids, state, reset=reset)
    assert seen.weights.shape == seen.ids.shape == (T, B, reach)
    np.testing.assert_allclose(seen.weights.sum(axis=-1) + seen.net, 1, rtol=0, atol=1e-12)
    assert np.array_equal(seen.ids < 0, seen.weights == 0)
    assert (seen.net[reset] == 1).all()
    for m in range(reach):  # the id read m steps before, since the last reset
        for t in range(m, T):
            alive = ~reset[t - m : t + 1].any(axis=0)
            assert np.array_equal(seen.ids[t, alive, m], ids[t - m, alive])
    h, _, _ = model.hidden(weights, ids, model.hidden_state(weights, state), reset=reset)
    z = np.exp(model.readout(weights, h)[0])
    p = seen.net[..., None] * z / z.sum(axis=-1, keepdims=True)
    for symbol in range(V):
        p[..., symbol] += np.where(seen.ids == symbol, seen.weights, 0).sum(axis=-1)
    np.testing.assert_allclose(np.exp(logits), p, rtol=0, atol=1e-12)


def test_a_model_without_attention_has_no_looks():
    config = configure(0)
    weights = model.prepare(model.init_params(config, np.random.default_rng(0)), config)
    with pytest.raises(ConfigError, match="train one with --attention"):
        model.looks(weights, draw_ids()[0], model.zero_state(config, B))


def test_outputs_of_zero_have_finite_gradients():
    config = configure()
    params = {name: np.zeros_like(array) for name, array in draw_params(config).items()}
    logits, last, backprop = model.forward(model.prepare(params, config), draw_ids()[0], model.zero_state(config, B))
    _, grads = backprop(logits, np.zeros_like(last))
    assert all(np.isfinite(grad).all() for grad in grads.values())


def test_the_other_weights_are_drawn_as_without_attention():
    drawn, plain = (model.init_params(configure(reach), np.random.default_rng(0)) for reach in (9, 0))
    assert [*drawn][: len(plain)] == [*plain]
    assert all(np.array_equal(drawn[name], array) for name, array in plain.items())


@pytest.mark.parametrize("reach", [1, 9, 300])
def test_at_first_the_net_has_half_of_the_probability_at_least(reach):
    config = configure(reach)
    params = model.init_params(config, np.random.default_rng(0))
    params["attention.W"][:, :-1] = 1  # the keys are equal
    seen = model.looks(model.prepare(params, config), draw_ids()[0], model.zero_state(config, B))
    assert seen.net.min() >= 0.5
    assert seen.net.max() == 1
