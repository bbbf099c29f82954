"""The checks behind docs/samples.md: tunes, Python sources and haiku."""

import re

import pytest

from benchmarks.samples.abc import check
from benchmarks.samples.repeats import copied, repeated
from benchmarks.samples.sections import HAIKU, _parses

TUNE = """\
X:1
T:A tune
M:6/8
L:1/8
K:D Major
A|d2d fed|(3ABc d2 (3efg|a3/2g/ f e2d|d3 [df]2z|!
^c=c_B A,c'g|"Verse" A>B d3 A-|A6:|1 d6|2 d5||!
M:2/4
dd dd|d2 d/e/f//g//|d4|]!
"""


def test_a_tune_has_its_bars_counted():
    assert check(TUNE) == (None, 7, 6)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("X:1\n", "", "does not begin"),
        ("M:6/8", "M:6/7", "M: cannot be"),
        ("K:D Major", "K:H Major", "K: cannot be"),
        ("L:1/8\n", "", "there is no L"),
        ("d2d fed", "d2d feh", "'h|(3ABc ' is not ABC"),
        ("d2d fed", "d2d fe[d", "is not ABC"),
        ("(3ABc d2", "(3AB|c d2", "continues over a bar line"),
        ("(3ABc d2", "(3A(3Bc d2", "begins within another"),
        ("d4|]!", "(3dd", "has no end"),
        ("M:2/4\n", "T:Another\n", "is not music"),
        ("d/e/", "d/0e/", "is not ABC"),
    ],
)
def test_the_problem_of_an_invalid_tune_is_named(old, new, problem):
    assert TUNE.count(old) == 1
    assert re.search(re.escape(problem), check(TUNE.replace(old, new)).problem or "")


def test_a_header_alone_is_no_tune():
    assert check("X:1\nT:A\nM:C|\nL:1/8\nK:G\n").problem == "there is no music"


def test_sources_that_parse():
    assert _parses("def f():\n    return '\\d'\n")
    assert not _parses("def f(:\n")
    assert not _parses("x\0")


def test_the_share_that_is_repeated_or_copied():
    assert repeated(["abcabc"], 3) == 1 / 4  # abc, bca, cab, abc
    assert repeated(["abcabc", "abcdef"], 3) == 1 / 8
    assert repeated(["aaaaa"], 2) == 3 / 4
    assert copied(["abcd", "xxxx"], "__abc__", 2) == pytest.approx(1 / 3)
    assert copied(["abcd"], "abcd", 4) == 1


def test_a_haiku_has_five_seven_and_five_groups_of_vowels():
    regex = pytest.importorskip("regex")
    assert regex.fullmatch(HAIKU, "An old silent pond\na frog jumps into the pond\nthe sound of water.")
    assert not regex.fullmatch(HAIKU, "an old silent pond\na frog jumps into it\nthe sound of water.")
