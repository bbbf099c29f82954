"""`charrnn score`: one output line for each input line, whatever it contains."""

import contextlib
import json
import math
import os
import signal
import weakref
from pathlib import Path
from select import select

import pytest

import charrnn
from charrnn.cli.score import _scored

from ._material import SMALL, TEXT, TIMEOUT, error_line, posix

BUFFERED = {"PYTHONUNBUFFERED": ""}  # Python's default: only flushed output is visible
KEYS = ["bpc", "logprob", "chars", "unknown", "text"]
LINES = TEXT.splitlines()
ODD = [
    "Qqqq wwww zzzz",
    "",
    "Ω",
    "Der\tKäfer",
    "Der \udcff\udc80 Käfer",
    "Der \0 Käfer",
    "ΩDer",
    "DerΩ",
    "K\tä fer",
    "D",
]


def encoded(lines: list[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def bpcs(lines: list[str]) -> list[float | None]:
    return [scored.bpc for scored in charrnn.load("checkpoints/tiny").score(lines)]


def test_figures_and_the_line_with_tabs_in_between(run, tiny):
    outcome = run("score", "-m", tiny / "best.npz", input=encoded(LINES + ODD))
    assert outcome.stderr == ""
    shown = [row.split(b"\t", 4) for row in outcome.bytes.removesuffix(b"\n").split(b"\n")]
    scored = list(charrnn.load(tiny).score(LINES + ODD))
    assert [row[4] for row in shown] == encoded(LINES + ODD).split(b"\n")
    for (bpc, logprob, chars, unknown, _), found in zip(shown, scored, strict=True):
        assert (int(chars), int(unknown)) == (found.chars, found.unknown)
        assert (bpc, logprob) == (
            (b"", b"") if found.logprob is None else (b"%.6f" % found.bpc, b"%.6f" % found.logprob)
        )
    assert shown[len(LINES) + 1] == [b"", b"", b"0", b"0", b""]
    assert shown[len(LINES) + 2] == [b"", b"", b"0", b"1", "Ω".encode()]
    assert [int(row[3]) for row in shown[len(LINES) :]] == [found.unknown for found in scored[len(LINES) :]]


def test_json(run, tiny):
    outcome = run("score", "--json", input=encoded(LINES[:3] + ODD))
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"
    shown = [json.loads(line, parse_constant=pytest.fail) for line in outcome.stdout.splitlines()]
    scored = list(charrnn.load(tiny).score(LINES[:3] + ODD))
    assert [list(row) for row in shown] == [KEYS] * len(scored)
    assert [row["text"] for row in shown] == LINES[:3] + ODD
    for row, found in zip(shown, scored, strict=True):
        assert row == pytest.approx({name: getattr(found, name) for name in KEYS})
    assert shown[0]["bpc"] == pytest.approx(-shown[0]["logprob"] / math.log(2) / shown[0]["chars"])
    assert shown[4] == {"bpc": None, "logprob": None, "chars": 0, "unknown": 0, "text": ""}


def test_bits_of_each_character(run, tiny):
    (shown,) = [json.loads(line) for line in run("score", "--json", "--per-char", input="DerΩ").stdout.splitlines()]
    assert list(shown) == [*KEYS, "bits"]
    *text, unknown, end = shown["bits"]
    assert unknown is None
    assert sum([*text, end]) == pytest.approx(shown["bpc"] * 4)
    row = run("score", "--per-char", input="DerΩ\n\n").stdout.splitlines()
    assert row[0].split("\t")[4] == ",".join([*(f"{bit:.6f}" for bit in text), "", f"{end:.6f}"])
    assert row[1] == "\t\t0\t0\t\t"


def test_context(run, tiny):
    lines = ["Der \tKäfer", "\tKäfer", "Der ", "", "Der \t", "Der \tK\täfer"]
    shown = [json.loads(line) for line in run("score", "--context", "--json", input=encoded(lines)).stdout.splitlines()]
    pairs = [("Der ", "Käfer"), ("", "Käfer"), ("Der ", ""), ("", ""), ("Der ", ""), ("Der ", "K\täfer")]
    scored = list(charrnn.load(tiny).score(pairs))
    assert [row["text"] for row in shown] == [text for _, text in pairs]
    assert [row["logprob"] for row in shown] == [pytest.approx(found.logprob) for found in scored]
    assert [row["chars"] for row in shown] == [5, 5, 0, 0, 0, 5]
    rows = run("score", "--context", input=encoded(lines)).stdout.splitlines()
    assert [row.split("\t", 4)[4] for row in rows] == lines


@pytest.mark.parametrize("words", [["--above", "5"], ["--below", "5"], ["--above", "4.5", "--below", "5"]])
def test_lines_pass_as_they_are(run, tiny, words):
    lines = LINES[::9] + ODD
    limits = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    low, high = limits.get("--above", -1), limits.get("--below", 99)
    chosen = [line for line, bpc in zip(lines, bpcs(lines), strict=True) if bpc is not None and low < bpc < high]
    assert 0 < len(chosen) < len(lines) - 2
    assert run("score", *words, input=encoded(lines)).bytes == encoded(chosen) + b"\n"
    told = run("score", *words, "--json", input=encoded(lines)).stdout.splitlines()
    assert [json.loads(line)["text"] for line in told] == chosen


def test_files_and_standard_input(run, tiny):
    Path("a.txt").write_text("Der\n")
    Path("b.txt").write_text("Käfer", encoding="utf-8")
    told = run("score", "b.txt", "-", "a.txt", input="brummt").stdout.splitlines()
    assert [line.split("\t")[4] for line in told] == ["Käfer", "brummt", "Der"]


def test_bytes_that_are_no_text_are_bytes_to_a_model_of_bytes(run, corpus):
    run("train", corpus, "--bytes", *SMALL, "--steps", "1", "--quiet")
    told = [json.loads(line) for line in run("score", "--json", input=b"\xff\0\xc3\xa4\nab").stdout.splitlines()]
    assert [(row["chars"], row["unknown"], row["text"]) for row in told] == [(5, 0, "\udcff\0ä"), (3, 0, "ab")]


def test_lines_are_in_the_encoding_of_the_corpus(run):
    Path("latin.txt").write_bytes(TEXT.replace("—", "-").replace("😀", ":").encode("latin-1"))
    run("train", "latin.txt", "--encoding", "latin-1", *SMALL, "--steps", "1", "--quiet")
    outcome = run("score", input="Käfer".encode("latin-1"))
    assert outcome.bytes.split(b"\t")[2:] == [b"6", b"0", b"K\xe4fer\n"]
    Path("wide.txt").write_bytes(TEXT.encode("utf-16"))
    run("train", "wide.txt", "--encoding", "utf-16", *SMALL, "--steps", "1", "--quiet")
    assert run("score", "-m", "checkpoints/wide", input="Käfer").stdout.split("\t")[2:] == ["6", "0", "Käfer\n"]


def test_what_other_systems_put_around_lines_is_no_part_of_them(run, tiny):
    plain, there = "Der\nKäfer\n", "\ufeffDer\r\nKäfer\r\n"
    assert run("score", "--json", input=there) == run("score", "--json", input=plain)
    assert run("score", "--above", "0", input=there).stdout == there


@pytest.mark.parametrize("more", [(), ("--bytes",)])
def test_a_model_that_learned_them_scores_them(run, more):
    Path("there.txt").write_bytes(TEXT.replace("\n", "\r\n\ufeff").encode())
    run("train", "there.txt", *more, *SMALL, "--steps", "1", "--quiet")
    found = json.loads(run("score", "--json", input="\ufeffDer\r\n").stdout)
    assert (found["text"], found["chars"], found["unknown"]) == ("\ufeffDer\r", 8 if more else 6, 0)


@pytest.mark.parametrize("words", [[], ["--json"], ["--above", "1"], ["--context"], ["--line-buffered"]])
def test_no_lines_in_no_lines_out(run, tiny, words):
    assert run("score", *words, input="").bytes == b""


def test_a_line_longer_than_all_buffers(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.evaluation.scoring.BLOCK", 1000)
    monkeypatch.setattr("charrnn.data.files.CHUNK", 999)
    line = "Der kleine Käfer brummt. " * 500
    told = [json.loads(row) for row in run("score", "--json", input=f"Der\n{line}\nKäfer").stdout.splitlines()]
    assert [row["text"] for row in told] == ["Der", line, "Käfer"]
    assert told[1]["chars"] == len(line) + 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--above", "5", "--below", "3"], "change one"),
        (["--above", "3", "--per-char"], "--json"),
        (["--follow"], "name it"),
        (["--follow", "-"], "name it"),
        (["--follow", "a", "b"], "name it"),
    ],
)
def test_what_contradicts_itself_is_refused(run, tiny, words, says):
    assert says in error_line(run("score", *words, code=2).stderr)


@pytest.mark.parametrize("words", [[], ["--line-buffered"]])
def test_a_file_that_is_missing_is_named_and_the_lines_before_it_are_reported(run, tiny, words):
    Path("a.txt").write_text("Der\n")
    outcome = run("score", *words, "a.txt", "missing.txt", code=1)
    assert "missing.txt does not exist" in error_line(outcome.stderr)
    assert outcome.stdout.endswith("\tDer\n")


def told(process) -> str:
    """Return the text of the next line that the process prints, and check that no other follows."""
    assert select([process.stdout], [], [], TIMEOUT)[0], "nothing is told"
    return process.stdout.readline().decode().rstrip("\n").split("\t")[4]


def test_blocks_that_were_scored_are_freed(tiny):
    class Block(list):
        pass

    made = []

    def blocks():
        for _ in range(9):
            block = Block([b"Der"])
            made.append(weakref.ref(block))
            yield block

    for lines, _ in _scored(charrnn.load(tiny), blocks(), bytes.decode, False):
        assert lines == [b"Der"]
        assert sum(ref() is not None for ref in made) <= 2
    assert len(made) == 9


def interrupted(process) -> bytes:
    """Send Ctrl-C to a waiting process; return its standard error."""
    process.send_signal(signal.SIGINT)
    process.stdin.close()  # so that it wakes even where the signal came in the instant before it began to wait
    assert process.wait(TIMEOUT) == 130
    return process.stderr.read()


@posix
def test_line_buffered_waits_for_no_second_line(command, tiny):
    process = command("score", "--line-buffered", "-m", str(tiny), env=BUFFERED)
    for line in (b"Der", b"", b"K\xc3\xa4fer"):
        process.stdin.write(line + b"\n")
        process.stdin.flush()
        assert told(process) == line.decode()
    assert interrupted(process) == b"Model: checkpoints/tiny/best.npz\nStopped.\n"


@posix
def test_a_file_is_followed_and_ctrl_c_ends_it(command, tiny):
    log = Path("log")
    log.write_bytes(b"Der\nK")
    process = command("score", "--follow", "log", "-m", str(tiny), env=BUFFERED)
    assert told(process) == "Der"
    with open(log, "ab") as file:
        file.write("äfer\n".encode())
    assert told(process) == "Käfer"
    assert interrupted(process) == b"Model: checkpoints/tiny/best.npz\nStopped.\n"


@posix
def test_lines_from_a_terminal_are_reported_at_once(command, tiny):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    process = command("score", "-m", str(tiny), stdin=slave, env=BUFFERED)
    os.close(slave)
    os.write(master, b"Der\n")
    assert told(process) == "Der"
    os.write(master, b"\x04")
    process.communicate(timeout=TIMEOUT)
    os.close(master)
    assert process.returncode == 0


@posix
def test_a_reader_that_has_enough_ends_an_endless_input(command, tiny):
    ours, theirs = os.pipe()
    process = command("score", "--line-buffered", "-m", str(tiny), stdin=ours, env=BUFFERED)
    os.close(ours)
    with open(theirs, "wb", buffering=0) as endless:
        endless.write(b"Der\n")
        assert told(process) == "Der"
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            while True:
                endless.write(b"Der\n")
    assert process.wait(TIMEOUT) == 0
    assert process.stderr.read() == b"Model: checkpoints/tiny/best.npz\n"
