"""The share of characters at which a gate is near an end of its range."""

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.insight.saturation import saturation


def config(cell):
    return ModelConfig(vocab_size=5, cell=cell, hidden_size=2)


def test_each_unit_has_its_shares_left_and_right():
    gate = np.array([[0.05, 0.95], [0.5, 0.91], [0.09, 0.2], [0.11, 0.89]])
    found = saturation(config("lstm"), {"layer0.f": gate, "layer1.o": 1 - gate})
    assert found["layer0.f"].tolist() == [[0.5, 0], [0, 0.5]]
    assert found["layer1.o"].tolist() == [[0, 0.5], [0.5, 0]]


def test_a_gate_between_minus_one_and_one_is_left_saturated_near_minus_one():
    found = saturation(config("lstm"), {"layer0.g": np.array([[-0.95, 0.05], [0.95, -0.05]])})
    assert found["layer0.g"].tolist() == [[0.5, 0.5], [0, 0]]


def test_states_are_no_gates_unless_the_cell_has_no_others():
    h = np.array([[-1.0, 1.0]])
    assert saturation(config("lstm"), {"layer0.h": h, "layer0.c": h}) == {}
    assert saturation(config("rnn"), {"layer0.h": h})["layer0.h"].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(("gate", "names"), [("z", {"layer0.z"}), ("f", set())])
def test_the_gates_are_those_of_the_cell(gate, names):
    assert saturation(config("gru"), {f"layer0.{gate}": np.zeros((3, 2))}).keys() == names
