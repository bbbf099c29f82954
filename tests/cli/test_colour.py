"""Colour, and what a terminal can: `--color`, NO_COLOR, FORCE_COLOR, TERM=dumb, and how wide it is."""

import re
from pathlib import Path

import pytest

from ._material import SMALL, TIMEOUT, posix

ESCAPE = "\x1b["
PLAIN = {"NO_COLOR": "", "FORCE_COLOR": "", "CHARRNN_COLOR": "", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("args", "env", "coloured"),
    [
        ((), {}, False),  # not a terminal
        ((), {"FORCE_COLOR": "1"}, True),
        ((), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ((), {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        (("--color", "always"), {"NO_COLOR": "1", "TERM": "dumb"}, True),
        (("--color", "never"), {"FORCE_COLOR": "1"}, False),
        (("--color", "auto"), {"FORCE_COLOR": "1"}, True),
        ((), {"CHARRNN_COLOR": "always", "NO_COLOR": "1"}, True),
        ((), {"CHARRNN_LIST_COLOR": "always", "CHARRNN_COLOR": "never"}, True),
    ],
)
def test_what_decides_whether_there_is_colour(run, tiny, args, env, coloured):
    outcome = run("list", *args, env=PLAIN | env)  # a table, by rich
    assert (ESCAPE in outcome.stdout) is coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", outcome.stdout) == run("list", "--color", "never").stdout


@pytest.mark.parametrize(
    ("args", "ours"),
    [(("score", "missing.txt"), True), (("score", "--bogus"), False), (("bogus",), False)],
    ids=["error", "option", "command"],
)
def test_the_first_word_of_an_error_is_red(run, tiny, args, ours):
    red = f"{ESCAPE}31m{ESCAPE}1mError:{ESCAPE}0m "
    assert f"\n{red}" in "\n" + run(*args, code=2, env=PLAIN | {"FORCE_COLOR": "1"}).stderr
    assert ESCAPE not in run(*args, code=2, env=PLAIN).stderr
    if ours:
        assert red in run(*args, "--color", "always", code=2, env=PLAIN | {"NO_COLOR": "1"}).stderr
        assert ESCAPE not in run(*args, "--color", "never", code=2, env=PLAIN | {"FORCE_COLOR": "1"}).stderr


def test_facts_and_lines_of_training_have_the_same_colour_or_none(run, tiny):
    small = ("train", "tiny.txt", "--out", "new", "--force", "--steps", "1", *SMALL)
    for choice, coloured in (("always", True), ("never", False)):
        assert (ESCAPE in run("info", "--color", choice).stdout) is coloured
        told = run(*small, "--color", choice).stderr
        assert (f"{ESCAPE}1mstep 1" in told) is coloured
        assert (f"{ESCAPE}32mbest so far" in told) is coloured
        assert (f"{ESCAPE}1mModel" in told) is coloured
        assert (ESCAPE in told) is coloured
    assert ESCAPE not in run("info", "--json", "--color", "always").stdout


@posix
def test_a_table_is_as_wide_as_the_terminal_and_a_row_a_line_where_there_is_none(run, terminal, tiny):
    name = "a-long-name-" * 12 + ".txt"
    Path("tiny.txt").rename(name)
    run("train", name, *SMALL, "--steps", "1", "--quiet", "--out", "checkpoints/new")
    for columns, width, term in (("70", 70, "xterm"), ("5", 40, "dumb")):
        shown = terminal("list", stream="stdout", COLUMNS=columns, TERM=term).read_all().splitlines()
        assert width - 40 < max(map(len, shown)) <= width  # columns that do not fit are left out
    wide = run("list", env={"COLUMNS": "40"}).stdout.splitlines()
    assert len(wide) == 4
    assert name in wide[1]


@posix
def test_a_terminal_gets_colour_and_its_own_width(terminal, tiny):
    plain = PLAIN | {"COLUMNS": ""}
    assert f"{ESCAPE}1mFile" in terminal("info", stream="stdout", **plain).read_all()
    shown = terminal("info", stream="stdout", **plain | {"TERM": "dumb"}).read_all()
    assert ESCAPE not in shown
    assert shown.startswith("File\r\n")


@posix
def test_a_dumb_terminal_gets_lines_and_no_bar(terminal, corpus):
    small = ("train", corpus, *SMALL, "--steps", "30", "--eval-every", "10")
    dumb = terminal(*small, **PLAIN | {"TERM": "dumb"})
    shown = dumb.read_all()
    assert "\r" not in shown.replace("\r\n", "\n")
    assert ESCAPE not in shown
    assert shown.count("\nstep ") == 3
    assert dumb.process.wait(TIMEOUT) == 0
