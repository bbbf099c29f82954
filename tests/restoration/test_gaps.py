"""Texts with gaps: what marks stand for, and which are refused."""

import pytest

from charrnn.errors import ConfigError, CorpusError
from charrnn.restoration.gaps import FillConfig, Gap, Template


@pytest.mark.parametrize(
    ("text", "fixed", "gaps"),
    [
        ("", ("",), []),
        ("no gap*", ("no gap*",), []),
        ("a_b", ("a", "b"), [(1, 1)]),
        ("__", ("", ""), [(2, 2)]),
        ("q___k f_x", ("q", "k f", "x"), [(3, 3), (1, 1)]),
        ("a_*", ("a", ""), [(0, 4)]),
        ("__*a_**", ("", "a", "*"), [(1, 5), (0, 4)]),
        ("_ _", ("", " ", ""), [(1, 1), (1, 1)]),
    ],
)
def test_marks_are_gaps(text, fixed, gaps):
    template = Template.parse(text, FillConfig(max_gap=4))
    assert template.fixed == fixed
    assert list(template.gaps) == [Gap(*gap) for gap in gaps]
    assert template.marked("x").replace("x", "") == "".join(fixed).replace("x", "")
    assert len(template.marked("x")) == len(text)


def test_another_mark_leaves_the_usual_one_in_the_text():
    template = Template.parse("a_b?c", FillConfig(mark="?"))
    assert template.fixed == ("a_b", "c")
    assert template.filled(["x"]) == "a_bxc"


def test_a_filled_text_and_what_is_between_its_outer_parts():
    template = Template.parse("one _ two _* three", FillConfig())
    assert template.filled(["X", "YZ"]) == "one X two YZ three"
    assert template.between(["X", "YZ"]) == "X two YZ"
    assert Template.parse("_a_", FillConfig()).between(["", ""]) == "a"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mark": "*"}, "--mark must be one character other than"),
        ({"mark": ""}, "--mark must be one character"),
        ({"mark": "__"}, "--mark must be one character"),
        ({"mark": "\n"}, "--mark must be one character"),
        ({"max_gap": 0}, "--max-gap must be"),
        ({"top": 0}, "--top must be"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FillConfig(**settings)


@pytest.mark.parametrize("text", ["_" * 101, "_" * 98 + "*"])
def test_a_gap_that_is_too_long_is_refused(text):
    with pytest.raises(CorpusError, match="too long to fill"):
        Template.parse(text, FillConfig())


def test_gaps_that_are_far_apart_are_in_different_groups():
    template = Template.parse("a_bc_de fgh_*i_", FillConfig(max_gap=4))
    assert template.groups(far=6, most=100) == [slice(0, 4)]
    assert template.groups(far=5, most=100) == [slice(0, 2), slice(2, 4)]
    assert template.groups(far=0, most=100) == [slice(n, n + 1) for n in range(4)]
    assert template.groups(far=6, most=6) == [slice(0, 2), slice(2, 4)]
    assert Template.parse("_a", FillConfig()).groups(far=0, most=0) == [slice(0, 1)]


def test_a_group_has_the_text_around_it():
    template = Template.parse("a_bc_de fgh_*i_jk_l", FillConfig())
    assert template.part(slice(0, 5), [], 9) == Template(template.fixed, template.gaps)
    part = template.part(slice(2, 3), ["X", "YZ"], 3)
    assert part == Template(("de fgh", "ijk"), template.gaps[2:3])
    assert template.part(slice(2, 3), ["X", "YZ"], 9).fixed == ("bcYZde fgh", "ijkl")
    assert template.part(slice(3, 5), ["X", "YZ", ""], 99).fixed == ("aXbcYZde fghi", "jk", "l")
