"""`charrnn inspect`: characters that are shown right and safely, their colours or digits, reports, and the page."""

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import pages
from charrnn.cli._reports import Reports, _bar
from charrnn.cli._surprise import Cell, cells, coloured, legend, with_digits
from charrnn.insight import inspection
from charrnn.insight.activations import kinds
from charrnn.insight.reading import Reading

from ._material import SMALL, TEXT, error_line, posix

ESCAPE = "\x1b["
RESET = r"\x1b\[0m"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def reading_of(text: str, bits: list[float]) -> Reading:
    """Return a reading whose text and bits alone matter."""
    ids = np.zeros(len(text), np.uint8)
    nothing = np.zeros((len(text), 0))
    return Reading(text, ids, ("?",), np.array(bits, float), nothing.astype(int), nothing, {})


def shown(text: str, *, is_bytes: bool = False, bits: float = 3.0) -> list[str]:
    return [cell.shown for cell in cells(reading_of(text, [bits] * len(text)), is_bytes=is_bytes)]


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")


# Characters


def test_characters_are_visible_and_harmless():
    assert shown("aé😀 ") == ["a", "é", "😀", " "]
    assert shown("\x1b\0\x7f\x9b") == ["\\x1b", "\\x00", "\\x7f", "\\x9b"]
    assert shown("\u202e\u200d\u00a0\ud800") == ["\\u202e", "\\u200d", "\\xa0", "\\ud800"]
    assert shown("שלום") == [*"שלום"]
    assert "".join(shown("e\u0301")) == "e\u0301"
    assert shown("\xc3\xa4a", is_bytes=True) == ["\\xc3", "\\xa4", "a"]


def test_a_tab_reaches_to_the_next_stop():
    assert shown("\ta\t語\t") == ["→       ", "a", "→      ", "語", "→     "]
    assert shown("abc\n\t")[-1] == "→       "


def test_line_ends_are_shown_where_they_surprise():
    assert shown("\n", bits=1.9) == [""]
    assert shown("\n", bits=2) == ["↵"]
    assert shown("\u2404", bits=0) == ["\u2404"]  # the end of a document, always


# Colours and digits


def test_each_level_has_a_background(many):
    edges = [np.nan, 0, 1.99, 2, 3.99, 4, 6, 8, 40]
    text = coloured(cells(reading_of("abcdefghi", edges), is_bytes=False))
    assert re.fullmatch(
        rf"abc\x1b\[38;5;16m\x1b\[48;5;110mde{RESET}\x1b\[38;5;16m\x1b\[48;5;222mf{RESET}"
        rf"\x1b\[38;5;16m\x1b\[48;5;208mg{RESET}\x1b\[38;5;231m\x1b\[48;5;124m\x1b\[1mhi{RESET}",
        text,
    )
    assert plain(legend()) == "Bits:  under 2  2–4  4–6  6–8  8 or more "
    assert "\x1b[48;5;124m" in legend()


def test_a_terminal_with_eight_colours(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLORTERM", raising=False)
    assert coloured([Cell("a", 9, False)]) == "\x1b[37m\x1b[41m\x1b[1ma\x1b[0m"


def test_no_colour_crosses_a_line(many):
    text = coloured(cells(reading_of("a\n\nb", [9.0, 9, 9, 9]), is_bytes=False))
    assert plain(text) == "a↵\n↵\nb"
    assert all(line.endswith("\x1b[0m") for line in text.split("\n"))


def test_digits_are_under_their_characters():
    reading = reading_of("aé語b\x1b\n\nc", [np.nan, 0.99, 1.0, 9.5, 12, 3, 0, 4.2])
    assert with_digits(cells(reading, is_bytes=False), 100) == "aé語b\\x1b↵\n .1 99   3\n\nc\n4"
    assert with_digits(cells(reading_of("abcde", [1.0, 2, 3, 4, 5]), is_bytes=False), 2) == "ab\n12\ncd\n34\ne\n5"
    assert with_digits([], 10) == ""


# The command


def test_a_pipe_gets_digits(run, tiny):
    model = charrnn.load(tiny)
    text = model.validation_text()
    outcome = run("inspect")
    reading = model.inspect(text)
    assert outcome.stdout == with_digits(cells(reading, is_bytes=False), 10**6) + "\n"
    assert f"Mean: {reading.bits_per_char:.4f} bits per character over {len(text) - 1} characters" in outcome.stderr
    assert "Digits: " in outcome.stderr
    assert (
        run("inspect", "--chars", "9").stdout == with_digits(cells(model.inspect(text[:9]), is_bytes=False), 99) + "\n"
    )


def test_colours_are_printed_on_request(run, tiny, monkeypatch):
    outcome = run("inspect", "tiny.txt", "--color", "always", env={"TERM": "xterm-256color"})
    reading = charrnn.load(tiny).inspect(TEXT)
    assert plain(outcome.stdout).replace("↵", "") == TEXT
    monkeypatch.setenv("TERM", "xterm-256color")
    assert outcome.stdout == coloured(cells(reading, is_bytes=False))
    assert plain(outcome.stderr).splitlines()[-2] == "Bits:  under 2  2–4  4–6  6–8  8 or more "


@posix
def test_a_terminal_gets_colours(terminal, tiny):
    seen = terminal(
        "inspect", "--chars", "30", stream="stdout", **{"NO_COLOR": "", "TERM": "xterm-256color"}
    ).read_all()
    assert "\x1b[48;5;" in seen
    assert (
        plain(seen).replace("↵", "").replace("\r\n", "\n").strip()
        == str(charrnn.load(tiny).validation_text()[:30]).strip()
    )


def test_the_greatest_surprises_are_listed_in_the_order_of_the_text(run, tiny):
    lines = run("inspect", "tiny.txt", "--top", "2").stdout.split("\n\n")[-1].splitlines()
    reading = charrnn.load(tiny).inspect(TEXT, top=2)
    order = np.argsort(-np.nan_to_num(reading.bits), kind="stable")[:20]
    assert lines[0].split() == ["Line:column", "Text", "Surprise", "Bits", "Expected", "instead"]
    assert len(lines) == 21
    for line, t in zip(lines[1:], sorted(order.tolist()), strict=True):
        before = TEXT[:t].split("\n")
        assert line.split()[0] == f"{len(before)}:{len(before[-1]) + 1}"
        assert f" {reading.bits[t]:.1f} " in line
        (best, share), _ = reading.expected(t)
        assert best.isspace() or f"{best} {share:.0%}" in line


def test_a_reading_as_json(run, tiny):
    text = "Der Käfer"
    found = run("inspect", "-", "--json", input=text).json
    assert found == charrnn.load(tiny).inspect(text).to_dict() | {"characters": found["characters"]}
    assert "".join(each["char"] for each in found["characters"]) == text
    assert {len(each["top"]) for each in found["characters"]} == {0, 5}
    assert {
        len(each["top"]) for each in run("inspect", "-", "--json", "--top", "2", input=text).json["characters"]
    } == {0, 2}


def test_unknown_characters(run, tiny):
    outcome = run("inspect", "-", "--unknown", "skip", input="D☃er")
    assert outcome.stdout.startswith("Der\n")
    assert "Unknown characters: 1, left out of the text\n" in outcome.stderr
    none = error_line(run("inspect", "-", "--saturation", input="☃☃", code=2).stderr)
    assert none == "the model knows none of the 2 characters: give a text like its corpus"
    assert "☃" in error_line(run("inspect", "-", "--unknown", "error", input="D☃er", code=2).stderr)
    assert "checkpoints/tiny is a model" in error_line(run("inspect", "checkpoints/tiny", code=2).stderr)


def test_documents_end_with_their_mark(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--split-documents", "lines", "--quiet")
    text = run("inspect", "--color", "always", env={"TERM": "xterm-256color"}).stdout
    lines = plain(text).rstrip("\n").split("\n")
    assert all(line.startswith("Der ") and line.endswith("😀␄") for line in lines)
    page = run("inspect", "--find", "vowel", "--units", "1", "--json").json
    assert page["found"][0]["property"] == "vowel"


def test_a_model_of_bytes_shows_bytes(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--bytes", "--quiet")
    outcome = run("inspect", "-", "--top", "1", input="Kä!")
    assert outcome.stdout.startswith("K\\xc3\\xa4!\n")
    assert outcome.stdout.splitlines()[-1].split()[:3] == ["1:4", "K\\xc3\\xa4", "!"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--connect",), "give --html"),
        (("--html", "a.html", "--json"), "leave out --json"),
        (("--units", "3"), "give --find"),
        (("--reach", "--top", "3"), "leave out --top"),
        (("--chars", "0"), "at least 1"),
    ],
)
def test_settings_that_make_no_sense(run, tiny, args, told):
    assert told in error_line(run("inspect", *args, code=2).stderr)


# Reports


def test_units_that_follow_a_property(run, tiny):
    outcome = run("inspect", "--find", "vowel", "--find", "[KM]", "--units", "2")
    headings, *rows = outcome.stdout.splitlines()
    assert headings.split() == ["Property", "Unit", "When", "Measure", "Validation", "Test", "Control"]
    assert [row.split()[0] for row in rows] == ["vowel", "vowel", "[KM]", "[KM]"]
    assert "chosen on the first" in outcome.stderr
    assert "of the first half of the validation split" in outcome.stderr
    found = run("inspect", "tiny.txt", "--find", "vowel", "--json")
    assert f"measured on the first {len(TEXT):,} of the text." in found.stderr
    assert len(found.json["found"]) == 5
    assert found.json.keys() == {"found"}


def test_every_property_that_varies(run, tiny):
    model = charrnn.load(tiny)
    found = run("inspect", "tiny.txt", "--find", "all", "--find", "vowel", "--units", "1", "--json").json["found"]
    names = [each["property"] for each in found]
    assert names[0] == "vowel"
    assert len(names) == len(set(names)) >= 4
    assert "digit" not in names  # the text has none
    assert {each["unit"].partition("[")[0] for each in found} <= {*kinds(model.checkpoint.model_config)}


def test_a_model_without_a_validation_split(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--val-fraction", "0", "--quiet")
    assert "no validation split" in error_line(run("inspect", code=2).stderr)
    assert "first half of the text" in run("inspect", "tiny.txt", "--find", "vowel").stderr


def test_saturation(run, tiny):
    _, *rows = run("inspect", "--saturation").stdout.splitlines()
    gates = [name for name in kinds(charrnn.load(tiny).checkpoint.model_config) if name[-1] not in "hc"]
    assert [row.split()[0] for row in rows] == gates
    assert rows[0].endswith(" of 16")
    data = run("inspect", "--saturation", "--json").json["saturation"]
    assert {len(values) for each in data.values() for values in each.values()} == {16}


def test_reach(run, tiny):
    headings, first, *rows = run("inspect", "--reach").stdout.splitlines()
    assert headings.split() == ["Characters", "back", "Gradient", "Relative"]
    assert first.split()[::2] == ["0", "1"]
    assert first.split()[3] == "█" * 32
    assert [int(row.split()[0]) for row in rows] == [1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100]


def test_bars_are_logarithmic():
    assert [len(_bar(share)) for share in (3, 1, 0.1, 0.01, 1e-4, 1e-9, 0)] == [32, 32, 24, 16, 0, 0, 0]


def test_reports_are_separated(capsys):
    from charrnn.insight.finding import Found

    found = [Found("layer0.h[1]", "vowel", "AUC", -1, 0.9, 0.8, 0.55)]
    Reports(found, {"layer0.f": np.array([[1.0, 0], [0.5, 0.25]])}).print()
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.splitlines()[1].split() == ["vowel", "layer0.h[1]", "low", "AUC", "0.900", "0.800", "0.550"]
    assert second.splitlines()[1].split() == "layer0.f 75.0% 12.5% 1 of 2 0 of 2".split()
    assert Reports(found).to_dict() == {"found": [dataclasses.asdict(found[0])]}
    assert Reports(found).any
    assert not Reports().any


# The page


@pytest.fixture
def received(monkeypatch):
    """Return what the page is made of; its own tests look at it."""
    values = {}
    monkeypatch.setattr(inspection, "page", lambda **given: values.update(given) or "<p>ä</p>")
    return values


def test_a_page_gets_all_that_is_asked_for(run, tiny, received):
    outcome = run(
        "inspect", "--html", "page.html", "--chars", "40", "--find", "vowel", "--saturation", "--reach", "--connect"
    )
    assert outcome.stdout == ""
    assert "page.html" in outcome.stderr
    assert Path("page.html").read_text(encoding="utf-8") == "<p>ä</p>"
    model = charrnn.load(tiny)
    text = model.validation_text()[:40]
    assert received["reading"].text == str(text)
    assert received["reading"].top_ids.shape == (40, 5)
    assert received["activations"].keys() == {*kinds(model.checkpoint.model_config)}
    assert len(received["found"]) == 5
    assert received["connections"].shape[0] == 40
    assert not np.triu(received["connections"]).any()
    assert received["saturation"]
    assert received["reach"]
    assert "chosen on" in received["notes"][0]
    assert len(received["notes"]) == 1
    run("inspect", "--html", "page.html", "--chars", "40", "--connect", "--memory", "9")
    assert received["notes"] == ["Reach and connections leave out the model's memory."]


def test_a_page_of_documents(run, corpus, received):
    run("train", corpus, *SMALL, "--steps", "2", "--split-documents", "lines", "--quiet")
    run("inspect", "--html", "page.html", "--connect")
    T = len(received["reading"])
    assert received["connections"].shape[0] == T
    assert not np.triu(received["connections"]).any()  # the mark before the first character is not on the page
    assert {len(values) for values in received["activations"].values()} == {T}
    assert received["found"] == ()
    assert received["reach"] is None


def test_a_name_that_is_no_unicode_is_shown_with_a_question_mark(run, tiny, received, monkeypatch):
    monkeypatch.setattr(inspection, "page", lambda model_name, **_: f"<h1>{model_name}</h1>")
    Path("a\udcff.npz").write_bytes(Path(tiny, "best.npz").read_bytes())
    run("inspect", "-m", "a\udcff.npz", "--html", "page.html", "--chars", "9")
    assert Path("page.html").read_text(encoding="utf-8") == "<h1>a?</h1>"


@pytest.mark.parametrize("module", ["jinja2", "matplotlib.figure"])
def test_a_missing_package_of_pages_is_reported_before_the_work(run, tiny, monkeypatch, module):
    pages._environment.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("charrnn.api.LanguageModel.inspect", lambda *args, **more: pytest.fail("it began to work"))
    said = error_line(run("inspect", "--html", "page.html", code=2).stderr)
    assert 'pip install "charrnn-numpy[' in said


def test_a_page_is_written_whole(run, tiny):
    pytest.importorskip("jinja2")
    run("inspect", "--html", "page.html", "--chars", "60")
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "no folder no" in error_line(run("inspect", "--html", "no/page.html", "--chars", "9", code=2).stderr)
