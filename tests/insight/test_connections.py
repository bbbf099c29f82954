"""Which characters moved the prediction of a later one."""

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.insight import gradients
from charrnn.insight.connections import connections, mean_row
from charrnn.insight.gradients import loss_gradients
from charrnn.nn import model
from charrnn.nn.functional import log_softmax

from .test_gradients import V, tiny


def by_hand(weights, config, ids, longest, text=None):
    """Return what `connections` does, each from one pass over all that was read before; ids may be a part of a text."""
    mean = mean_row(weights, ids if text is None else text)
    found = np.zeros((len(ids), longest))
    for t in range(1, len(ids)):
        rows, grads = loss_gradients(weights, ids[:t, None], ids[t, None], model.zero_state(config, 1))
        products = -((rows - mean) * grads).sum(axis=-1)[::-1, 0][:longest]
        found[t, : len(products)] = products
    return found


@pytest.mark.parametrize("way", [{}, {"embed_size": 3, "tied": True}], ids=["one-hot", "tied"])
@pytest.mark.parametrize("cell", ["rnn", "lnlstm", "mingru"])
@pytest.mark.parametrize("longest", [1, 5, 40])
def test_they_are_those_of_the_whole_text(cell, way, longest, monkeypatch):
    config, _, weights = tiny(cell, **way)
    ids = np.random.default_rng(0).integers(V, size=30, dtype=np.uint8)
    found = connections(weights, config, ids, longest=longest)
    assert found.shape == (30, longest)
    np.testing.assert_allclose(found, by_hand(weights, config, ids, longest), rtol=1e-8, atol=1e-14)
    assert np.count_nonzero(found) == sum(min(t, longest) for t in range(30))
    monkeypatch.setattr(gradients, "_NUMBERS", 4000)  # a few windows at once
    by_threads = []
    for threads in (1, 3):
        monkeypatch.setattr("charrnn.insight.connections.threads_to_use", lambda _, count=threads: count)
        by_threads.append(connections(weights, config, ids, longest=longest))
        np.testing.assert_allclose(by_threads[-1], found, rtol=1e-8, atol=1e-14)
    np.testing.assert_array_equal(*by_threads)


def test_a_memory_is_read_as_the_text_was():
    """Within a window, attention is part of the gradient; the memory before it is a constant."""
    config, _, weights = tiny("gru", attention=6)
    ids = np.random.default_rng(0).integers(V, size=20)
    found = connections(weights, config, ids, longest=4)
    state = model.zero_state(config, 1)
    model.read(weights, ids[:11, None], state)
    rows, grads = loss_gradients(weights, ids[11:15, None], ids[15, None], state)
    rows = rows - mean_row(weights, ids)
    np.testing.assert_allclose(found[15], -(rows * grads).sum(axis=-1)[::-1, 0], rtol=1e-8)


@pytest.mark.parametrize("longest", [3, 9])  # shorter than a document, and as long as the longest
def test_nothing_before_a_document_counts(longest):
    config, _, weights = tiny("lstm")
    end = V - 1
    ids = np.random.default_rng(0).integers(end, size=24)
    ids[[0, 6, 15]] = end
    found = connections(weights, config, ids, longest=longest, end=end)
    for begin, after in ((0, 6), (6, 15), (15, 24)):
        own = slice(begin, min(after + 1, 24))  # the end mark that closes a document is predicted from it
        expected = by_hand(weights, config, ids[own], longest, ids)
        np.testing.assert_allclose(found[own][1:], expected[1:], rtol=1e-8, atol=1e-14)


def test_a_positive_one_made_the_character_more_likely():
    """To first order, log p falls by as much as the product if the row becomes the mean of the text."""
    config, _, weights = tiny("lstm", embed_size=3)
    ids = np.random.default_rng(0).integers(V, size=8)
    found, rows = connections(weights, config, ids, longest=7)[7], model.input_rows(weights, ids[:7, None])
    mean = model.input_rows(weights, ids[:, None]).mean(axis=0)

    def log_p(k, size):
        moved = rows.copy()
        moved[6 - k] += size * (rows[6 - k] - mean)
        logits, _, _ = model.forward(weights, ids[:7, None], model.zero_state(config, 1), rows=moved)
        return log_softmax(logits[-1, 0])[ids[7]]

    for k in range(7):
        assert found[k] == pytest.approx((log_p(k, 1e-5) - log_p(k, -1e-5)) / 2e-5, rel=1e-6)


def test_a_layer_norm_hides_no_connection():
    """The product with the row itself would be about zero: the norm takes away the row's length."""
    config, _, weights = tiny("lnlstm", embed_size=3)
    ids = np.random.default_rng(0).integers(V, size=8)
    assert np.abs(connections(weights, config, ids, longest=3)[3:]).max() > 1e-3


def test_short_texts_have_none():
    config, _, weights = tiny()
    assert connections(weights, config, np.array([], int)).shape == (0, 50)
    assert connections(weights, config, np.array([3])).tolist() == [[0.0] * 50]
    with pytest.raises(ConfigError, match="longest must be at least 1, got 0"):
        connections(weights, config, np.array([3, 4]), longest=0)
