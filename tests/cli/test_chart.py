"""Charts on a terminal: their size, axes and legend, and what the dots show."""

import math
import re

import pytest
from rich.cells import cell_len

from charrnn.cli._chart import STYLES, Curve, Mark, chart

pytest.importorskip("plotille")
DOT = re.compile("[\u2801-\u28ff]")


def drawn(*curves, width=80, height=12, marks=(), **labels):
    """Return the lines of a chart, after checking its size."""
    labels = {"x_label": "steps", "y_label": "nats"} | labels
    lines = chart(curves, width=width, height=height, marks=marks, **labels).plain.split("\n")
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    return lines


def cells(lines):
    """Return the rows of dots: without the legend, the numbers and the axis."""
    return [re.split("[│┤]", line)[1] for line in lines if re.search("[│┤]", line)]


def corners(lines):
    """Return whether the four corners of the dots are set: top left, top right, bottom left, bottom right."""
    rows = cells(lines)
    return [bool(DOT.match(row[at])) for row in (rows[0], rows[-1]) for at in (0, -1)]


@pytest.mark.parametrize(("width", "height"), [(40, 12), (80, 24), (200, 50), (16, 5)])
def test_a_curve_goes_from_corner_to_corner_at_every_size(width, height):
    assert corners(drawn(Curve("up", [0, 1], [0, 1], "red"), width=width, height=height)) == [False, True, True, False]
    assert corners(drawn(Curve("down", [0, 1], [1, 0], "red"), width=width, height=height)) == [
        True,
        False,
        False,
        True,
    ]


def test_axes_have_round_numbers_beside_their_rows_and_columns():
    lines = drawn(Curve("loss", [0, 1000], [1.0, 3.0], "red"), width=60)
    numbers = {row: float(line.split("┤")[0]) for row, line in enumerate(lines[1:-1]) if "┤" in line}
    assert numbers == {0: 3.0, 2: 2.5, 4: 2.0, 7: 1.5, 9: 1.0}
    assert lines[-1].split() == ["0", "250", "500", "750", "steps"]
    assert lines[-1].index("500") + 1 - len("3.0┤") == pytest.approx(len(cells(lines)[0]) / 2, abs=1)
    assert lines[0] == "nats  ● loss"


def test_thousands_are_grouped_and_small_steps_keep_their_decimals():
    lines = drawn(Curve("loss", [0, 4_000_000], [1.2341, 1.2349], "red"))
    assert "2,000,000" in lines[-1]
    assert any(line.startswith("1.2344┤") for line in lines)


def test_a_gap_is_left_open():
    whole = cells(drawn(Curve("c", [0, 1, 2, 3], [0, 0, 0, 0], "red")))
    gap = cells(drawn(Curve("c", [0, 1, math.nan, 2, 3], [0, 0, 0, 0, 0], "red")))
    middle = len(whole[0]) // 2
    assert any(DOT.match(row[middle]) for row in whole)
    assert not any(DOT.match(row[middle]) for row in gap)
    assert drawn(Curve("c", [0, 1, 2], [1, math.inf, 2], "red"))  # only the finite points count


@pytest.mark.parametrize("value", [0.0, 2.35, -1e9, 1e-12])
def test_one_point_is_one_dot(value):
    rows = cells(drawn(Curve("c", [100], [value], "red")))
    assert len(DOT.findall("".join(rows))) == 1


def test_without_points_it_says_so():
    assert drawn()[0] == "nothing to draw yet"
    assert drawn(Curve("c", [1.0], [math.nan], "red"))[0] == "nothing to draw yet"


def test_marks_are_on_their_curve_and_those_outside_are_left_out():
    marks = [Mark(10, 1, "x", "red"), Mark(0, 3, "y", "red"), Mark(11, 1, "z", "red")]
    rows = cells(drawn(Curve("c", [0, 10], [3, 1], "red"), marks=marks))
    assert (rows[0][0], rows[-1][-1]) == ("y", "x")
    assert "z" not in "".join(rows)


def test_each_curve_has_its_style_and_cells_of_one_style_are_one_span():
    text = chart(
        [Curve("a", [0, 10], [1, 1], "red"), Curve("b", [0, 10], [3, 3], "blue")],
        width=80,
        height=10,
        x_label="",
        y_label="",
    )
    styles = [span.style for span in text.spans]
    assert (styles.count("red"), styles.count("blue")) == (2, 2)  # in the legend, and as one line
    assert len(set(STYLES)) == len(STYLES)


def test_long_and_wide_labels_are_shortened_in_the_middle():
    lines = drawn(Curve("唐诗三百首" * 9, [0, 1], [0, 1], "red"), Curve("b" * 90, [0, 1], [1, 0], "red"), width=40)
    assert lines[1].startswith("● 唐诗")
    assert re.fullmatch("● b+…b+", lines[2])


def test_a_label_is_never_more_than_one_line():
    assert drawn(Curve("a\nb\x1b[31m", [0, 1], [0, 1], "red"))[0] == "nats  ● a\ufffdb\ufffd[31m"


def test_many_labels_take_a_third_of_the_rows_and_the_rest_is_counted():
    curves = [Curve(f"run {number}", [0, 1], [0, number], "red") for number in range(30)]
    lines = drawn(*curves, width=40)
    legend = lines[: next(number for number, line in enumerate(lines) if "│" in line or "┤" in line)]
    assert len(legend) == 4
    shown = sum(line.count("●") for line in legend)
    assert legend[-1].endswith(f"+{30 - shown}")


def test_a_curve_without_a_label_is_not_in_the_legend():
    assert drawn(Curve("a", [0, 1], [0, 1], "red"), Curve("", [0, 1], [1, 0], "red"))[0] == "nats  ● a"


def test_a_long_curve_is_drawn_with_its_last_point():
    lines = drawn(Curve("c", range(100_001), [0] * 100_000 + [1], "red"))
    assert corners(lines)[1]
