"""The time of a step composed of its parts, worked by hand."""

import pytest

from benchmarks.scaling.cost import Parts, step_time, sum_alone, sum_shared

#: Milliseconds: each batch row takes 2, and a window at least 10.
PARTS = Parts(lambda rows: 10.0 + 2 * rows, wake=0.3, request=0.1, copy=1.0, add=4.0, update=5.0)


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        (1, 10 + 2 * 32 + 5),
        (2, 10 + 2 * 16 + 5 + 2 * 1 + 0.4 + (4 / 2 + 0.4)),
        (5, 10 + 2 * 7 + 5 + 2 * 1 + 0.7 + (4 * 4 / 5 + 0.7)),  # the process with the most rows has 7
        (32, 10 + 2 * 1 + 5 + 2 * 1 + 3.4 + (31 * 4 / 32 + 3.4)),
    ],
)
def test_a_step_takes_the_sum_of_its_parts(processes, expected):
    assert step_time(PARTS, 32, processes) == pytest.approx(expected, rel=1e-12)


def test_the_cheaper_way_to_add_counts():
    few = PARTS._replace(add=0.1)
    assert sum_alone(few, 4) == pytest.approx(0.3)
    assert sum_shared(few, 4) == pytest.approx(0.075 + 0.6)
    assert step_time(few, 32, 4) == pytest.approx(10 + 16 + 5 + 2 + 0.6 + 0.3)
