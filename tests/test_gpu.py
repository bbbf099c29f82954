"""The figures on a GPU: what is counted, and that the ways that are compared compute the same; nothing is timed."""

import numpy as np
import pytest

from benchmarks import gpu
from charrnn.arrays import Scratch


@pytest.mark.parametrize(("cell", "expected"), [("lstm", (10, 7)), ("gru", (12, 6)), ("rnn", (3, 3))])
def test_the_operations_of_a_time_step_are_counted(cell, expected):
    assert gpu.operations(cell) == expected


def test_without_out_an_lstm_computes_the_same():
    given = gpu.layer("lstm", H=6, B=3, T=5)
    grads, expected = gpu.without_out(*given), gpu.both_ways("lstm", Scratch(), *given)
    assert grads.keys() == expected.keys()
    for name, grad in expected.items():
        np.testing.assert_allclose(grads[name], grad, rtol=1e-4, atol=1e-4, err_msg=name)
