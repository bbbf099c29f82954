"""`charrnn fill`: gaps are filled, in arguments and as a filter of lines, and everything else stays as it is."""

import json
import shutil
from pathlib import Path

import pytest

import charrnn
from charrnn.restoration.filling import fill
from charrnn.restoration.gaps import FillConfig
from charrnn.restoration.pair import Pair

from ._material import error_line

TEXT = "the quick fox.\nä lazy dog.\n" * 30
BOTH = ("-m", "ahead", "--backward", "back", "--threads", "1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with a forward and a backward run, and a backward one of another text; tests take copies."""
    folder = tmp_path_factory.mktemp("fill")
    small = {"hidden_size": 12, "steps": 60, "seed": 1, "threads": 1, "learning_rate": 0.05, "batch_size": 8}
    for name, text, reverse in (("ahead", TEXT, False), ("back", TEXT, True), ("other", "a_b\n" * 40, True)):
        steps = 2 if name == "other" else 60
        corpus = charrnn.Corpus.from_text(text)
        charrnn.train(corpus, folder / name, progress=False, reverse=reverse, **small | {"steps": steps, "seq_len": 20})
    return folder


@pytest.fixture(autouse=True)
def models(trained, cwd):
    """Put the runs into the test's folder."""
    for name in ("ahead", "back", "other"):
        shutil.copytree(trained / name, cwd / name)


def expected(text, **settings):
    """Return what the library finds."""
    pair = Pair.of(*(charrnn.load(name).checkpoint for name in ("ahead", "back")))
    return fill(pair, text, FillConfig(**settings))


def test_texts_without_a_gap_are_printed_with_a_hint(run):
    outcome = run("fill", *BOTH, "no gap")
    assert outcome.stdout == "no gap\n"
    assert outcome.stderr.splitlines()[2:] == ["Note: no text has a gap: mark it with _"]
    Path("lines.txt").write_text("the q___k fox\n")
    outcome = run("fill", *BOTH, "--mark", "#", "lines.txt")
    hint = "Note: no text has a gap: to fill the lines of a file: charrnn fill < lines.txt"
    assert outcome.stderr.splitlines()[2:] == [hint]


def test_what_is_around_a_line_stays(run):
    """A byte order mark and the ends of lines, in the encoding of the input."""
    outcome = run("fill", *BOTH, input=b"\xef\xbb\xbfthe q___k fox\r\nthe q___k fox\xff\n", code=2)
    assert outcome.bytes == b"\xef\xbb\xbfthe quick fox\r\nthe q___k fox\xff\n"


def test_texts_are_filled_in_their_order(run):
    outcome = run("fill", *BOTH, "the q___k fox.", "no gap", "_ lazy d_*.\\nthe")
    last = expected("_ lazy d_*.\nthe").fills[0].text
    assert outcome.stdout == f"the quick fox.\nno gap\n{last}\n"
    assert outcome.stderr == "Model: ahead/best.npz\nModel: back/best.npz\n"


def test_the_most_probable_fills_are_listed(run):
    shown = [row.split("\t") for row in run("fill", *BOTH, "--top", "3", "x", "the q_ick\\n").stdout.splitlines()]
    found = expected("the q_ick\n", top=3).fills
    assert shown[0] == ["1", "1", "x"]
    assert shown[1:] == [["2", f"{one.probability:.4g}", one.text.replace("\n", "\\n")] for one in found]


def test_json_has_the_gaps_and_both_log_probabilities(run):
    record = json.loads(run("fill", *BOTH, "--json", "--top", "2", "the q_ick").stdout)
    assert record == {"line": 1, **expected("the q_ick", top=2).to_dict()}
    (alone,) = json.loads(run("fill", "-m", "ahead", "--json", "the q_ick").stdout)["fills"]
    assert alone["backward"] is None
    assert alone["forward"] < 0


def test_lines_are_filtered_and_those_without_gaps_stay_as_they_are(run):
    lines = "the q___k fox.\r\nno g\xff*p\r\n\nä la_y dog.\nla_y ä".encode().replace("\xff".encode(), b"\xff")
    outcome = run("fill", *BOTH, input=lines)
    rows = outcome.bytes.split(b"\n")
    assert rows[0] == b"the quick fox.\r"
    assert rows[1:3] == [b"no g\xff*p\r", b""]
    assert rows[3].decode() == expected("ä la_y dog.").fills[0].text
    assert rows[5:] == [b""]
    assert run("fill", *BOTH[:-1], "2", "-", input=lines).bytes == outcome.bytes


def test_a_line_that_cannot_be_filled_is_an_error_of_its_own(run):
    outcome = run("fill", *BOTH, input="Ω_\nthe q_ick\n" + "_" * 101 + "\n", code=2)
    assert outcome.stdout.splitlines()[::2] == ["Ω_", "_" * 101]
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("Error")]
    assert [error.split(":")[1] for error in errors] == [" line 1 of standard input", " line 3 of standard input"]
    assert run("fill", *BOTH, "--unknown", "skip", input="Ω_\n").stdout.startswith("Ω")


def test_an_empty_input_is_named(run):
    assert "nothing to fill" in run("fill", *BOTH, input="").stderr


def test_another_mark(run):
    assert run("fill", *BOTH, "--mark", "?", "the q???k fox.").stdout == "the quick fox.\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("-m", "back", "a_"), "-m was trained with --reverse"),
        (("-m", "ahead", "--backward", "ahead", "a_"), "--backward reads forwards"),
        (("-m", "ahead", "--backward", "other", "a_"), "different vocabularies"),
        ((*BOTH, "--mark", "q", "a_"), "knows 'q' as a character: choose another mark"),
        ((*BOTH, "--mark", "__", "a_"), "--mark must be one character"),
        ((*BOTH, "_" * 101), "too long to fill"),
        ((*BOTH, "Ω_"), "position 0"),
        ((*BOTH, "a_", "-"), "stands for standard input"),
    ],
)
def test_what_cannot_be_filled_is_one_line(run, args, message):
    assert message in error_line(run("fill", *args, code=2).stderr)
