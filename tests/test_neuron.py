"""The picture of a neuron: which lines it shows, and that each character has its colour."""

import click
import numpy as np
import pytest
from fixtures_memory import memory_model

pytest.importorskip("matplotlib")

from benchmarks.neuron import activation, draw, grid, middle


def test_the_lines_begin_with_a_paragraph_in_the_middle():
    text = "one\n\n" * 5 + "two\nthree\nfour\n\nfive\n"
    assert text[middle(text, 2)] == "two\nthree\n"


def test_each_character_has_its_value_in_its_line():
    found = grid("ab\n\nc", np.arange(5.0))
    np.testing.assert_array_equal(found, [[0, 1, 2], [3, np.nan, np.nan], [4, np.nan, np.nan]])


def test_the_picture_is_the_same_each_time(tmp_path):
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        draw("a $x$\n<b>", np.linspace(-1, 1, 9), "layer0.c[3]", file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"DejaVuSansMono" in files[0].read_bytes()


def test_the_activation_is_that_of_the_unit_and_a_cell_is_shown_as_it_leaves():
    lm, text = memory_model(num_layers=2), "abcdef"
    states = lm.read(text).states
    np.testing.assert_array_equal(activation(lm, "layer1.h[3]", text), states[:, 1, 0, 3])
    np.testing.assert_array_equal(activation(lm, "layer0.c[5]", text), np.tanh(states[:, 0, 1, 5]))
    with pytest.raises(click.BadParameter, match=r"layer0.f\[1\] is no output or cell"):
        activation(lm, "layer0.f[1]", text)
