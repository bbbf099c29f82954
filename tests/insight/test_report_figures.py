"""The figures of a report: they show their data, whatever the characters."""

import re

import numpy as np
import pytest

from charrnn.data.vocab import Vocab
from charrnn.insight.difficulty import ConfusionTable
from charrnn.insight.figures import COLORS
from charrnn.insight.report_figures import confusion_map, curve, symbol_figure
from charrnn.insight.symbols import SymbolMap, classes_of, names_of

#: Characters that matplotlib's font lacks, or that mean something to it or to SVG.
ODD = Vocab("".join(sorted("$^_{}\\<&字😀א\u0301 \n")), specials=("end",))


def texts_of(svg):
    """Return the texts of an SVG element."""
    found = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip() for text in found]


def test_every_symbol_is_on_the_map():
    ids = np.arange(len(ODD.symbols))
    points = np.random.default_rng(1).standard_normal((len(ids), 2))
    names = names_of(ODD)
    shown = texts_of(symbol_figure(SymbolMap(ids, points, np.array([0.5, 0.25]), ""), names, classes_of(ODD)))
    assert set(names[:-1]) <= set(shown)
    assert "first component: 50% of the variance" in shown
    assert "punctuation and signs" in shown


def test_the_map_of_confusions_has_a_square_for_each_that_is_frequent_enough():
    shares = np.array([[0.9, 0.1, 0.0], [0.0, 0.6, 0.004], [0.25, 0.25, 0.5]])
    names = names_of(ODD)
    svg = confusion_map(ConfusionTable(np.array([2, 4, len(ODD.symbols)]), shares), names)
    shown = texts_of(svg)
    assert [shown.count(names[id_]) for id_ in (2, 4, -1)] == [2, 2, 2]
    right, wrong = (
        sorted(float(x) ** 2 for x in re.findall(f"fill: {color}; fill-opacity: ([0-9.]+)", svg))
        for color in (COLORS[2], COLORS[5])
    )
    assert right == pytest.approx([0.5, 0.6, 0.9], abs=1e-5)
    assert wrong == pytest.approx([0.1, 0.25, 0.25], abs=1e-5)


def test_a_curve_leaves_out_what_is_not_a_number_and_keeps_its_ends():
    x = np.arange(5001)
    y = np.where(x == 7, np.nan, 2.0 + x)
    path = re.search(r'<path d="([^"]*)" clip-path', curve(x, y, "step", "rate")).group(1)
    points = np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", path), float)
    assert 2 <= len(points) <= 700
    assert points[0][0] < points[-1][0]
    assert "nan" not in path


def test_a_logarithmic_axis_has_numbers_and_no_powers():
    svg = curve(np.arange(9), np.geomspace(0.03, 0.4, 9), "steps", "norm", log=True)
    assert {"0.05", "0.1", "0.2"} <= {*re.findall(r"<text[^>]*>([^<]*)</text>", svg)}
    assert "10" not in re.findall(r"<tspan[^>]*>([^<]*)</tspan>", svg)
