"""`--threads`: the same output whatever the number, and one line about a number that makes no sense."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from charrnn.evaluation import scoring, whole

from ._material import TIMEOUT, error_line, posix

COMMANDS = ("score", "eval", "sample", "complete", "serve")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("0", "--threads must be at least 1, got 0"),
        ("5000", "--threads must be at most 4,096, got 5000"),
        ("two", "--threads must be a whole number, got 'two'"),
    ],
)
def test_a_number_of_threads_that_makes_no_sense(run, tiny, command, number, says):
    outcome = run(command, "--threads", number, code=2)
    assert error_line(outcome.stderr) == says
    assert run("train", "tiny.txt", "--threads", number, code=2).stderr == outcome.stderr


@posix
@pytest.mark.parametrize("options", [(), ("--json", "--per-char"), ("--top", "30", "--with-score"), ("--best",)])
def test_scores_have_the_same_digits(run, tiny, monkeypatch, options):
    monkeypatch.setattr(whole, "_WORTH_SHARING", 1)
    monkeypatch.setattr(scoring, "_PART", 500)
    monkeypatch.setattr(scoring, "BLOCK", 3000)
    lines = "".join(f"Der Käfer {'ruft ' * (number % 7)}Anna {number}\n" for number in range(500))
    models = ("-m", "tiny", "-m", str(tiny / "last.npz")) if "--best" in options else ()
    alone, two, three = (
        run("score", *options, *models, "--threads", str(threads), input=lines).stdout for threads in (1, 2, 3)
    )
    assert len(alone.splitlines()) == (30 if "--top" in options else 500)
    assert alone == two == three


@posix
@pytest.mark.parametrize("protocol", ["whole", "windows", "lanes"])
def test_figures_have_the_same_digits(run, tiny, monkeypatch, protocol):
    monkeypatch.setattr(whole, "_WORTH_SHARING", 1)
    text = "Der Käfer ruft Anna.\n" * 900

    def figures(threads):
        shown = run("eval", "-", "--protocol", protocol, "--threads", str(threads), input=text).stdout
        return re.sub("Characters per second.*", "", shown)

    assert figures(1) == figures(2) == figures(3)


def test_samples_have_the_same_digits(run, tiny):
    alone, two, three = (
        run("sample", "--count", "300", "-n", "20", "--seed", "3", "--json", "--threads", str(threads)).stdout
        for threads in (1, 2, 3)
    )
    assert [json.loads(line)["index"] for line in alone.splitlines()] == list(range(300))
    assert alone == two == three


@posix
@pytest.mark.parametrize(
    "args",
    [
        ("score", "--threads", "2", "lines.txt"),
        ("complete", "--threads", "2", "--json"),
        ("sample", "--threads", "2", "--count", "99999", "-n", "50", "--json"),
    ],
    ids=lambda args: args[0],
)
def test_ctrl_c_ends_all_threads_at_once(command, tiny, args):
    lines = "".join(f"Der ruft Anna {number}.\n" for number in range(200_000))
    Path("lines.txt").write_text(lines, encoding="utf-8")
    with open("lines.txt", encoding="utf-8") as file:
        process = command(*args, stdin=file)
    assert process.stdout.readline()  # then it is at work, or the pipe is full
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(TIMEOUT) == 130
    assert process.stderr.read().endswith(b"\nStopped.\n")
