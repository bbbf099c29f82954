"""A curve in one line."""

import pytest

from charrnn.cli._sparkline import is_printable, sparkline


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([8, 7, 6, 5, 4, 3, 2, 1], "█▇▆▅▄▃▂▁"),
        ([1.0, 1.0, 1.0], "▁▁▁"),
        ([0.5], "▁"),
        ([3, 1, 2], "█▁▅"),
        ([710.0, 2.0, 2.5], "█▁▁"),
    ],
)
def test_each_value_is_a_block(values, line):
    assert sparkline(values) == line


@pytest.mark.parametrize("count", [24, 25, 47, 1000])
def test_many_values_keep_their_ends(count):
    line = sparkline([10.0, *[5.0] * (count - 2), 0.0])
    assert len(line) == 24
    assert (line[0], line[-1]) == ("█", "▁")
    assert set(line[1:-1]) == {"▅"}


def test_which_encodings_have_blocks():
    assert [is_printable(name) for name in ("utf-8", "ascii", "latin-1", "no such", None)] == [True, *[False] * 4]
