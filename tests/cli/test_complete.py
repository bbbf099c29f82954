"""`charrnn complete`: texts and lines, as columns or JSON, and suggestions while typing."""

import json
import os
import re
import sys
import threading
from itertools import chain
from pathlib import Path

import pytest

import charrnn
from charrnn.cli._interactive import _session, typed_lines
from charrnn.cli.complete import _lines
from charrnn.data.escapes import escaped, unescaped
from charrnn.errors import ConfigError

from ._material import SMALL, TEXT, TIMEOUT, Terminal, error_line, posix


def rows(stdout: str) -> list[tuple[int, float, str, str]]:
    """Return the columns of each line, by their types."""
    parted = [line.split("\t") for line in stdout.splitlines()]
    return [(int(line), float(probability), ended, text) for line, probability, ended, text in parted]


def records(stdout: str) -> list[dict[str, object]]:
    """Return the objects of lines of JSON, read strictly."""
    return [json.loads(line, parse_constant=pytest.fail) for line in stdout.splitlines()]


def test_the_completions_of_a_text_are_those_of_the_library(run, tiny):
    outcome = run("complete", "Der klei")
    done = charrnn.load(tiny).complete("Der klei").completions
    assert [(line, ended, text) for line, _, ended, text in rows(outcome.stdout)] == [
        (1, one.ended, one.text) for one in done
    ]
    assert [probability for _, probability, _, _ in rows(outcome.stdout)] == pytest.approx(
        [one.probability for one in done], rel=1e-3
    )
    assert len(done) == 5
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"


def test_options_are_those_of_the_library(run, tiny):
    model = charrnn.load(tiny)
    for options, wishes in (
        (("--to", "line", "-k", "3", "--max-length", "30"), {"to": "line", "count": 3, "max_length": 30}),
        (("--to", "char", "--count", "1000"), {"to": "char", "count": 1000}),
        (("--unknown", "skip", "--max-length", "2"), {"unknown": "skip", "max_length": 2}),
    ):
        shown = run("complete", "Der Q", *options, "--unknown", "skip").stdout
        done = model.complete("Der Q", **wishes | {"unknown": "skip"}).completions
        assert [(ended, unescaped(text)) for _, _, ended, text in rows(shown)] == [
            (one.ended, one.text) for one in done
        ]


def test_more_characters_than_there_are_are_all_of_them(run, tiny):
    found = rows(run("complete", "Der", "--to", "char", "-k", "1000").stdout)
    assert {unescaped(text) for _, _, _, text in found} == set(TEXT)
    assert sum(probability for _, probability, _, _ in found) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_each_line_of_standard_input_is_completed(run, tiny, end):
    lines = ["Der klei", "", "ruft Jö"]
    outcome = run("complete", "-k", "2", input=(end or "\n").join(lines) + end)
    assert [line for line, *_ in rows(outcome.stdout)] == [1, 1, 2, 2, 3, 3]
    alone = [rows(run("complete", "-k", "2", line).stdout) for line in lines]
    assert [row[1:] for row in rows(outcome.stdout)] == [row[1:] for found in alone for row in found]
    assert outcome == run("complete", "-k", "2", "-", input="\n".join(lines))
    assert outcome == run("complete", "-k", "2", input="\n".join(f"\ufeff{line}" for line in lines))


def test_json_has_an_object_for_each_text(run, tiny):
    first, second = records(run("complete", "--json", "-k", "3", input="Der klei\nruft").stdout)
    assert list(first) == ["line", "text", "completions"]
    assert [(each["line"], each["text"]) for each in (first, second)] == [(1, "Der klei"), (2, "ruft")]
    assert {"line": 1, **charrnn.load(tiny).complete("Der klei", count=3).to_dict()} == first
    assert list(first["completions"][0]) == ["text", "probability", "logprob", "ended"]
    assert len(first["completions"]) == 3


def test_escapes_stand_for_characters_in_a_text_and_in_the_columns(run, tiny):
    (first,) = records(run("complete", r"Jörg. \u0044er\n", "--json").stdout)
    assert first["text"] == "Jörg. Der\n"
    assert r"\n" in {text for *_, text in rows(run("complete", "😀", "--to", "char", "-k", "9").stdout)}


@pytest.mark.parametrize("text", ["", "Käfer 語", "a\tb\\n\r\n", "\x00\x1b[31m\x7f\x85", "\u2028\udcc3\\u0041"])
def test_what_is_escaped_is_one_line_and_can_be_read_again(text):
    assert len(escaped(text).splitlines()) <= 1
    assert unescaped(escaped(text)) == text
    assert escaped(text).isprintable()


def test_the_form_of_the_corpus_is_that_of_the_text(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--lowercase", "--out", "lower", "--quiet")
    one, two = (run("complete", "-m", "lower", text).stdout for text in ("DER KÄFER", "der käfer"))
    assert one == two


def test_an_end_of_documents_is_reported(run, cwd):
    Path("names.txt").write_text("Ann\nBob\nJörg\n" * 40, encoding="utf-8")
    run("train", "names.txt", *SMALL, "--steps", "2", "--split-documents", "lines", "--out", "names", "--quiet")
    found = rows(run("complete", "-m", "names", "Ann", "--to", "char", "-k", "99").stdout)
    assert [text for _, _, ended, text in found if ended == "document"] == [""]
    assert len(run("complete", "-m", "names", "Ann", "--to", "line").stdout.splitlines()) == 5


def test_no_lines_are_no_completions(run, tiny):
    outcome = run("complete", input="")
    assert outcome.stdout == ""
    assert outcome.stderr.splitlines()[-1] == "Standard input is empty: nothing to complete"
    assert len(run("complete", "").stdout.splitlines()) == 5  # how a line begins


def test_unknown_characters_are_reported_with_their_line_and_the_other_lines_are_answered(run, tiny):
    outcome = run("complete", "-k", "1", input="Der\n\0Q\nDer", code=2)
    assert [line for line, *_ in rows(outcome.stdout)] == [1, 3]
    assert error_line(outcome.stderr).startswith("line 2 of standard input: 2 of 2 characters are not in")
    assert error_line(run("complete", "Q", code=2).stderr).startswith("1 of 1 characters")
    skipped = rows(run("complete", "-k", "1", "--unknown", "skip", input="Der\n\0QDQeQrQ\nDer").stdout)
    assert [row[1:] for row in skipped] == [skipped[0][1:]] * 3


@pytest.mark.parametrize("wrong", [b"\xff", b"D\xc3", b"\xed\xa0\x80"])
def test_what_is_no_utf_8_is_reported_with_its_line_or_skipped(run, tiny, wrong):
    lines = b"Der\n" + wrong + b"\nruft"
    outcome = run("complete", "-k", "1", input=lines, code=2)
    assert [line for line, *_ in rows(outcome.stdout)] == [1, 3]
    assert re.search(r"line 2 of standard input: .*: the byte 0x.. at position", error_line(outcome.stderr))
    skipped = rows(run("complete", "-k", "1", "--unknown", "skip", input=lines).stdout)
    assert [line for line, *_ in skipped] == [1, 2, 3]
    assert skipped[1][1:] == rows(run("complete", "-k", "1", wrong.decode(errors="ignore")).stdout)[0][1:]


def test_each_line_has_its_json_be_it_without_completions(run, tiny):
    outcome = run("complete", "--json", "-k", "1", input="Der\nQ\nruft\n语", code=2)
    found = records(outcome.stdout)
    assert [(each["line"], each["text"], len(each["completions"])) for each in found] == [
        (1, "Der", 1),
        (2, "Q", 0),
        (3, "ruft", 1),
        (4, "语", 0),
    ]
    assert [line.split(" of ")[0] for line in outcome.stderr.splitlines()[1:]] == ["Error: line 2", "Error: line 4"]


def test_lines_are_read_in_the_encoding_of_the_corpus(run, cwd):
    Path("l1.txt").write_bytes(TEXT.replace("😀", "").replace("—", "").encode("latin1"))
    run("train", "l1.txt", *SMALL, "--steps", "2", "--encoding", "latin1", "--out", "l1", "--quiet")
    (found,) = records(run("complete", "-m", "l1", "--json", input="Der müde K".encode("latin1")).stdout)
    assert found["text"] == "Der müde K"
    assert (
        run("complete", "-m", "l1", "Der müde K").stdout == run("complete", "-m", "l1", input=b"Der m\xfcde K").stdout
    )


def test_a_byte_order_mark_is_no_part_of_the_first_line(run, tiny):
    assert run("complete", input=b"\xef\xbb\xbfDer").stdout == run("complete", "Der").stdout


def test_a_model_of_bytes_takes_any_and_shows_them(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--bytes", "--out", "bytes", "--quiet")
    outcome = run("complete", "-m", "bytes", "--to", "char", "-k", "256", "--json", input=b"\xff\0K\xc3")
    (found,) = records(outcome.stdout)
    assert found["text"] == "\udcff\0K\udcc3"
    assert len({one["text"] for one in found["completions"]}) == 256
    shown = run("complete", "-m", "bytes", "--to", "char", "-k", "256", input=b"K\xc3").stdout
    assert {unescaped(text) for *_, text in rows(shown)} == {one["text"] for one in found["completions"]}


@pytest.mark.parametrize("char", ["K", "ä", "😀"])
@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_of_a_long_line_the_end_is_held(run, tiny, monkeypatch, char, more):
    monkeypatch.setattr("charrnn.cli.complete._LONGEST", 64)
    line = "ruft " * 40 + char * 40 + "r" * more
    lines = [line, line[-10:], "Der"]
    found = records(run("complete", "--json", "-k", "1", input="\r\n".join(lines)).stdout)
    assert [each["line"] for each in found] == [1, 2, 3]
    assert [each["text"] for each in found[1:]] == lines[1:]
    held = found[0]["text"]
    assert line.endswith(held)
    assert 64 - 3 - 2 <= len(held.encode()) <= 64


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-8-sig", "utf-16"])  # whose lines are UTF-8
def test_a_character_that_is_cut_through_is_left_out(monkeypatch, encoding):
    pieces = iter(["ä".encode() * 40 + b"a\n", b""])
    monkeypatch.setattr("charrnn.cli.complete._LONGEST", 64)
    monkeypatch.setattr("charrnn.cli.complete._piece", pieces.__next__)
    assert list(_lines(encoding)) == [["ä" * 31 + "a"]]


def test_no_more_is_cut_off_than_is_too_long(monkeypatch):
    pieces = iter([b"\xb0" * 64 + b"\n", b"\xb0" * 65 + b"\n", b""])
    monkeypatch.setattr("charrnn.cli.complete._LONGEST", 64)
    monkeypatch.setattr("charrnn.cli.complete._piece", pieces.__next__)
    assert list(_lines("latin-1")) == [["°" * 64]] * 2  # in UTF-8, no character begins with these


def test_lines_end_where_they_end_in_whatever_pieces_they_arrive(monkeypatch):
    for size in range(1, 12):
        text = b"a\r\nb\n\r\rcd\r\n\r\n\ne\r"
        pieces = iter([*(text[at : at + size] for at in range(0, len(text), size)), b""])
        monkeypatch.setattr("charrnn.cli.complete._piece", pieces.__next__)
        assert list(chain.from_iterable(_lines("utf-8"))) == ["a", "b", "", "", "cd", "", "", "e"]


def test_the_number_of_threads_changes_no_line(run, tiny):
    lines = "".join(f"{word}\n" for word in "Der ?\u2603 Anna K ruft".split() * 9)
    alone, several = (run("complete", "--json", "--threads", n, input=lines, code=2) for n in ("1", "3"))
    assert several.stdout == alone.stdout
    assert several.stderr == alone.stderr
    assert several.stderr.count("Error: line ") == 9


@posix
def test_a_line_without_an_end_takes_bounded_memory(command, tiny):
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (300 << 20, 300 << 20))

    process = command("complete", "-k", "1", preexec_fn=limit)
    piece = b"ruft Anna. " * 100_000
    for _ in range(300):
        process.stdin.write(piece)
    process.stdin.close()
    assert rows(process.stdout.read().decode())[0][0] == 1
    assert process.wait(TIMEOUT) == 0


def test_lines_are_answered_as_they_arrive(command, tiny):
    process = command("complete", "-k", "1")
    for number in (1, 2):
        process.stdin.write(b"Der\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(b"%d\t" % number)
    process.stdin.close()
    assert process.wait(TIMEOUT) == 0


def test_a_reader_that_leaves_is_no_error(command, tiny):
    process = command("complete", "-k", "1000", "--max-length", "2")
    process.stdout.close()
    process.stdin.write(b"Der\n")
    process.stdin.close()
    assert process.wait(TIMEOUT) == 0
    assert b"Error" not in process.stderr.read()


@posix
def test_a_closed_standard_input(command, tiny):
    process = command("complete", stdin=None, preexec_fn=lambda: os.close(0))
    _, stderr = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 2
    assert "standard input is closed" in error_line(stderr.decode())


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("a", "-k", "0"), "0"),
        (("a", "-k", "1001"), "1001"),
        (("a", "--to", "page"), "page"),
        (("a", "--max-length", "0"), "0"),
        (("a", "--max-length", "9" * 26), "must be at most 10,000"),
        (("a", "--to", "char", "--max-length", "3"), "--max-length"),
        (("a", "--json", "--interactive"), "leave out --json"),
        (("a", "--interactive"), "needs a terminal"),
    ],
)
def test_settings_that_cannot_be_followed(run, tiny, args, told):
    assert told in run("complete", *args, code=2).stderr.splitlines()[-1]


# Interactive


@pytest.fixture
def typing(command):
    """`typing(*args)`: the command with input and errors on a terminal, which the keys are written to."""
    pytest.importorskip("prompt_toolkit")
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    masters, watches = [], []

    def start(*args: str) -> Terminal:
        master, slave = pty.openpty()
        masters.append(master)
        env = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "LINES": "40"}
        process = command("complete", "--interactive", *args, env=env, stdin=slave, stderr=slave)
        os.close(slave)
        watches.append(threading.Timer(TIMEOUT, process.kill))  # what waits for keys would wait for ever
        watches[-1].start()
        return Terminal(process, master)

    yield start
    for watch in watches:
        watch.cancel()
    for master in masters:
        os.close(master)


def test_suggestions_are_shown_while_one_types_and_lines_are_printed(typing, tiny):
    best = next(one.text for one in charrnn.load(tiny).complete("Der kleine K").completions if one.text.isalpha())
    screen = typing("Der kleine")
    begun = screen.read_until("Der kleine")
    assert "Tab takes a suggestion, Enter ends the line, Ctrl-D on an empty line quits." in begun
    os.write(screen.master, b" K")
    screen.read_until(f" {best} ")
    os.write(screen.master, b"\t")
    screen.read_until(best)
    os.write(screen.master, b"\r")
    assert screen.process.stdout.readline().decode() == f"Der kleine K{best}\n"
    screen.read_until(">")  # where keys are read again
    os.write(screen.master, "Q 語\r".encode())  # unknown characters have no suggestions
    assert screen.process.stdout.readline().decode() == "Q 語\n"
    screen.read_until(">")
    vocab = charrnn.load(tiny).checkpoint.vocab
    before = vocab.decode(vocab.encode(f"Der kleine K{best}\nQ 語\n", "skip"))  # and trouble none that follow
    found = charrnn.load(tiny).complete(f"{before}Der kleine K").completions
    os.write(screen.master, b"Der kleine K")
    screen.read_until(f" {next(one.text for one in found if one.text.isalpha())} ")
    os.write(screen.master, b"\x03")
    assert screen.process.wait(TIMEOUT) == 130
    assert screen.process.stdout.read() == b""


def test_what_no_suggestion_can_meet_is_reported_at_once(typing, run, cwd):
    Path("dna.txt").write_text("acgtgca" * 200)
    run("train", "dna.txt", *SMALL, "--steps", "2", "--quiet")
    screen = typing("--to", "line")
    screen.read_until("the model does not know line ends")
    assert screen.process.wait(TIMEOUT) == 2


def test_ctrl_d_ends_the_lines(typing, tiny):
    screen = typing()
    screen.read_until(">")
    os.write(screen.master, b"\x04")
    assert screen.process.wait(TIMEOUT) == 0


def test_ctrl_c_stops(typing, tiny):
    screen = typing()
    screen.read_until(">")
    os.write(screen.master, b"\x03")
    screen.read_until("Stopped.")
    assert screen.process.wait(TIMEOUT) == 130


def test_a_dumb_terminal_is_refused(monkeypatch):
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(ConfigError, match="TERM=dumb"):
        next(typed_lines(lambda text: pytest.fail("it asks"), ""))


def test_without_prompt_toolkit_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    with pytest.raises(ConfigError, match=r"charrnn-numpy\[interactive\]"):
        _session(None)
