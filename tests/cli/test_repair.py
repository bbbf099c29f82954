"""`charrnn repair`: a filter that undoes slips, leaves all other lines as they are, and compares itself with a text."""

import json
import shutil

import pytest

import charrnn

from ._material import error_line

TEXT = "the quick brown fox jumps over the lazy dog.\nthe lazy dog sleeps while the quick fox jumps.\n" * 40
PAIR = ("repair", "-m", "forward", "--backward", "backward")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a forward and a backward model that know two lines by heart."""
    folder = tmp_path_factory.mktemp("repair")
    for name, reverse in (("forward", False), ("backward", True)):
        corpus = charrnn.Corpus.from_text(TEXT)
        settings = {"hidden_size": 32, "steps": 200, "batch_size": 8, "seq_len": 32, "learning_rate": 0.01}
        charrnn.train(corpus, folder / name, progress=False, reverse=reverse, seed=1, threads=1, **settings)
    return folder


@pytest.fixture(autouse=True)
def models(trained, cwd):
    """Put the models into the test's folder."""
    shutil.copytree(trained, cwd, dirs_exist_ok=True)


def test_slips_are_undone_and_all_else_stays(run):
    given = "the qick brown fox jmups over the lazy dog.\n\nthe lazy dog sleeps whilx the quick fox jumps.\r\n"
    outcome = run(*PAIR, input=given)
    assert outcome.stdout.splitlines() == [TEXT.splitlines()[0], "", TEXT.splitlines()[1]]
    assert outcome.bytes.endswith(b"jumps.\r\n")
    assert run(*PAIR, input=TEXT).stdout == TEXT
    assert run(*PAIR, input="").stdout == ""


def test_bytes_that_are_no_text_stay(run):
    given = b"\xef\xbb\xbfthe qick brown fox jumps over the lazy d\xe9g.\r\nXYZ \xff\n"
    assert run(*PAIR, input=given).bytes == given.replace(b"qick", b"quick")


def test_edits_are_listed_and_marked(run):
    given = "the lazy dog sleeps whilx the quick fox jumps.\n"
    record = json.loads(run(*PAIR, "--json", input=given).stdout)
    (edit,) = record.pop("edits")
    assert edit.pop("gain") > 0
    assert edit == {"kind": "substitution", "position": 24, "from": "x", "to": "e"}
    assert record == {"line": 1, "text": given[:-1], "repaired": TEXT.splitlines()[1]}
    assert run(*PAIR, "--mark", input=given).stdout == given.replace("whilx", "whil[-x-]{+e+}")


def test_lines_are_the_same_for_any_number_of_threads(run):
    given = "the qick brown fox jmups over the lazy dog.\n" * 66
    assert run(*PAIR, "--threads", "2", input=given).stdout == run(*PAIR, "--threads", "1", input=given).stdout
    assert run(*PAIR, "--line-buffered", input=given).stdout == run(*PAIR, input=given).stdout


def test_repairs_are_compared_with_the_right_text(run, cwd):
    (cwd / "right.txt").write_text("\n".join(TEXT.splitlines()[:2]) + "\n")
    given = "the qick brown fox jumps over the lazy dog.\nthe lazy dog sleeps while the quick fox jumps.\n"
    figures = json.loads(run(*PAIR, "--eval", "right.txt", "--json", input=given).stdout)
    assert (figures["wrong"], figures["mended"], figures["right"], figures["spoilt"]) == (1, 1, 17, 0)
    shown = run(*PAIR, "--eval", "right.txt", input=given).stdout
    assert "wrong words mended" in shown
    assert "100.00 %" in shown
    message = error_line(run(*PAIR, "--eval", "right.txt", input="the\n", code=2).stderr)
    assert "the input has 1 lines, and right.txt has more" in message


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("-m", "forward", "--backward", "forward"), "--backward reads forwards: train it with --reverse"),
        (("-m", "backward", "--backward", "backward"), "was trained with --reverse"),
        (("-m", "forward"), "--backward"),
        (("-m", "forward", "--backward", "backward", "--rate", "0"), "--rate"),
        (("-m", "forward", "--backward", "backward", "--json", "--mark"), "leave out --mark"),
        (("-m", "forward", "--backward", "backward", "--follow"), "--follow needs exactly one FILE"),
        (("-m", "forward", "--backward", "backward", "--follow", "a", "--eval", "b"), "leave out --follow"),
        (("-m", "forward", "--backward", "backward", "forward/best.npz"), "is a model, not a text"),
    ],
)
def test_bad_input_is_one_line(run, args, message):
    assert message in error_line(run("repair", *args, input="the\n", code=2).stderr)
