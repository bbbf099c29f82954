"""How far back the loss feels a character."""

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.insight import gradients
from charrnn.insight.gradients import loss_gradients
from charrnn.insight.reach import Reach, reach
from charrnn.nn import model

from .test_gradients import V, tiny


def by_hand(weights, config, ids, positions, longest, end=None):
    """Return the mean norms, each from one pass over all that the document has before the position."""
    norms = [[] for _ in range(longest + 1)]
    for t in positions:
        begin = 0 if end is None else int(np.flatnonzero(ids[: t + 1] == end)[-1])
        state = model.zero_state(config, 1)
        _, grads = loss_gradients(weights, ids[begin : t + 1, None], ids[t + 1, None], state)
        for k, norm in enumerate(np.linalg.norm(grads[::-1, 0], axis=-1)[: longest + 1]):
            norms[k].append(norm)
    return np.array([np.mean(own) if own else 0.0 for own in norms]), [len(own) for own in norms]


@pytest.mark.parametrize("way", [{}, {"embed_size": 3, "tied": True}], ids=["one-hot", "tied"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_is_the_mean_norm_of_the_gradient_of_whole_texts(cell, way, monkeypatch):
    config, _, weights = tiny(cell, **way)
    ids = np.random.default_rng(0).integers(V, size=60)
    found = reach(weights, config, ids, longest=12, positions=25, seed=4)
    assert len(set(found.positions.tolist())) == 25
    norms, counts = by_hand(weights, config, ids, found.positions, 12)
    np.testing.assert_allclose(found.norms, norms, rtol=1e-9)
    assert found.counts.tolist() == counts
    assert found.norms.min() > 0
    monkeypatch.setattr(gradients, "_NUMBERS", 3000)  # a window or two at once
    for threads in (1, 3):
        monkeypatch.setattr("charrnn.insight.reach.threads_to_use", lambda _, count=threads: count)
        again = reach(weights, config, ids, longest=12, positions=25, seed=4)
        np.testing.assert_allclose(again.norms, found.norms, rtol=1e-9)


def test_it_ends_where_a_document_begins():
    config, _, weights = tiny("gru")
    end = V - 1
    ids = np.random.default_rng(0).integers(end, size=40)
    ids[[0, 7, 9, 22, 23]] = end
    found = reach(weights, config, ids, longest=16, positions=100, end=end)
    assert found.positions.tolist() == list(range(39))
    norms, counts = by_hand(weights, config, ids, found.positions, 16, end)
    np.testing.assert_allclose(found.norms, norms, rtol=1e-9)
    assert found.counts.tolist() == counts
    assert counts[15:] == [1, 0]  # the last document has 16 positions
    assert found.norms[15] > 0 == found.norms[16]


def test_a_warm_up_stands_for_all_that_was_read_before():
    config, _, weights = tiny("lstm", attention=4)
    ids = np.random.default_rng(0).integers(V, size=900)
    found = reach(weights, config, ids, longest=6, positions=1, seed=1)
    (t,) = found.positions.tolist()
    assert t > 520
    state = model.zero_state(config, 1)
    model.read(weights, ids[: t - 6, None], state)
    _, grads = loss_gradients(weights, ids[t - 6 : t + 1, None], ids[t + 1, None], state)
    np.testing.assert_allclose(found.norms, np.linalg.norm(grads[::-1, 0], axis=-1), rtol=1e-6)


def test_an_open_forget_gate_reaches_further_than_a_plain_net():
    """With f near 1 and W_hh = 0, the gradient of an LSTM's cell neither vanishes nor explodes."""
    ids = np.random.default_rng(0).integers(V, size=300)
    reached = []
    for cell in ("rnn", "lstm"):
        config, params, _ = tiny(cell, num_layers=1)
        if cell == "lstm":
            params["layer0.b_h"][4:8] = 8  # the forget gate's bias
        params["layer0.W_hh"] *= 0.3 if cell == "rnn" else 0
        params["layer0.W_xh"] *= 0.2
        found = reach(model.prepare(params, config), config, ids, longest=40, positions=50)
        reached.append(found.norms)
    plain, gated = reached
    assert plain[40] < 1e-6 * plain[20]
    assert gated[40] > 0.5 * gated[20] > 1e3 * plain[20]


def test_the_distance_at_which_it_has_fallen():
    found = Reach(np.array([2.0, 1.9, 0.4, 1.0, 0.02, 0.01]), np.ones(6, int), np.arange(1))
    assert found.relative.tolist() == [1.0, 0.95, 0.2, 0.5, 0.01, 0.005]
    assert found.falls_to(0.5) == 4
    assert found.falls_to(0.4) == 4
    assert found.falls_to(0.01) == 5
    assert found.falls_to(0.001) is None
    assert Reach(np.zeros(3), np.zeros(3, int), np.arange(1)).relative.tolist() == [0, 0, 0]


def test_the_seed_draws_the_positions():
    config, _, weights = tiny("rnn")
    ids = np.random.default_rng(0).integers(V, size=100)
    drawn = [reach(weights, config, ids, longest=2, positions=5, seed=seed).positions.tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([1], {}, "the reach needs a text of at least two characters: give a longer one"),
        ([1, 2], {"longest": 0}, "longest and positions must be at least 1, got 0 and 200"),
        ([1, 2], {"positions": 0}, "longest and positions must be at least 1, got 100 and 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(ids, options, message):
    config, _, weights = tiny("rnn")
    with pytest.raises(ConfigError) as error:
        reach(weights, config, np.array(ids), **options)
    assert str(error.value) == message
