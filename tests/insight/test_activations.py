"""Activations: they are the states that a trace has, for every cell, in any windows, and in documents."""

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.evaluation.trace import trace
from charrnn.insight import activations as module
from charrnn.insight.activations import activations, kinds
from charrnn.nn import model
from charrnn.nn.cells import CELLS, register_cell
from charrnn.nn.cells.base import Cell

V, END = 7, 6


def made(cell="lstm", **settings):
    config = ModelConfig(V, **{"cell": cell, "num_layers": 2, "hidden_size": 5, "dtype": "float64", **settings})
    params = model.init_params(config, np.random.default_rng(1))
    ids = np.random.default_rng(2).integers(0, V - 1, 300).astype(np.uint8)
    return model.prepare(params, config), config, ids


def states_of(weights, config, ids):
    return trace(config, weights, ids, ("",) * V, model.zero_state(config, 1)).states


@pytest.mark.parametrize("cell", CELLS)
def test_states_are_those_of_a_trace(cell, computed_by):
    weights, config, ids = made(cell)
    ids = ids[:140]  # more than a window
    states, names = states_of(weights, config, ids), kinds(config)
    found = activations(weights, config, ids, names)
    assert tuple(found) == names
    for layer in range(2):
        np.testing.assert_allclose(found[f"layer{layer}.h"], states[:, layer, 0], rtol=0, atol=1e-12)
        assert (f"layer{layer}.c" in found) == (CELLS[cell].n_states == 2)
        if CELLS[cell].n_states == 2:
            np.testing.assert_allclose(found[f"layer{layer}.c"], states[:, layer, 1], rtol=0, atol=1e-12)
    for name in names:  # whole windows, and only the layers that are needed
        np.testing.assert_allclose(activations(weights, config, ids, [name])[name], found[name], rtol=0, atol=1e-12)


def test_gates_are_those_of_the_equations():
    weights, config, ids = made()
    i, f, g, o, h, c = (activations(weights, config, ids, kinds(config))[f"layer1.{name}"] for name in "ifgohc")
    np.testing.assert_allclose(c[1:], f[1:] * c[:-1] + i[1:] * g[1:], atol=1e-12)
    np.testing.assert_allclose(h, o * np.tanh(c), atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"embed_size": 3}, {"attention": 4}])
def test_documents_are_read_from_a_zero_state(settings):
    weights, config, ids = made(**settings)
    ids[[0, 130, 131, 200]] = END
    found = activations(weights, config, ids, kinds(config), end=END)
    for begin, stop in ((0, 130), (130, 131), (131, 200), (200, 300)):
        states = states_of(weights, config, ids[begin:stop])
        for s, name in enumerate("hc"):
            np.testing.assert_allclose(found[f"layer1.{name}"][begin:stop], states[:, 1, s], atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 7, 300])
def test_rows_are_read_after_a_warm_up(length, monkeypatch):
    weights, config, ids = made(hidden_size=3)
    ids = ids[:length]
    alone = activations(weights, config, ids, kinds(config))
    split = activations(weights, config, ids, kinds(config), rows=4)
    for name, values in alone.items():
        np.testing.assert_allclose(split[name], values, atol=1e-6)
    monkeypatch.setattr(module, "WARM_UP", 0)
    cold = activations(weights, config, ids, ["layer1.h"], rows=4)["layer1.h"]
    assert length == 1 or abs(cold - alone["layer1.h"]).max() > 1e-3


def test_a_cell_of_a_user(own_cells):
    plain = CELLS["rnn"]
    register_cell("plain", Cell(1, plain.init_params, plain.prepare, plain.forward))
    weights, config, ids = made("plain")
    assert kinds(config) == ("layer0.h", "layer1.h")
    found = activations(weights, config, ids, ["layer1.h"])["layer1.h"]
    np.testing.assert_allclose(found, states_of(weights, config, ids)[:, 1, 0], atol=1e-12)


def test_what_cannot_be_read(monkeypatch):
    weights, config, ids = made("gru")
    assert activations(weights, config, ids[:0], ["layer0.r"])["layer0.r"].shape == (0, 5)
    with pytest.raises(
        ConfigError, match=r"no activations 'layer0.c': choose from layer0.h, layer0.r, .* and layer1.n"
    ):
        activations(weights, config, ids, ["layer0.c"])
    with pytest.raises(ConfigError, match=r"names must be a list, got 'layer0.h': write \['layer0.h'\]"):
        activations(weights, config, ids, "layer0.h")
    monkeypatch.setattr(module, "MOST_BYTES", 5 * 8 * 299)
    with pytest.raises(ConfigError, match="read at most 299 characters"):
        activations(weights, config, ids, ["layer0.r"])
