"""The documented loop that restarts a run: it survives kills, and ends when the run is complete or an error recurs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from charrnn.training.folder import RunFolder

from ._material import SMALL, TEXT, meta, narrowed, posix
from .conftest import environment
from .test_signals import finish, read_until

PAGE = Path(__file__).parents[2] / "docs" / "cli" / "train.md"
#: The command that starts the run in the tests: one that takes a moment.
START = ("charrnn", "train", "corpus.txt", *SMALL, "--steps", "60", "--eval-every", "20")
RUN = Path("checkpoints/corpus")

pytestmark = [posix, pytest.mark.skipif(not shutil.which("bash"), reason="the commands are for bash")]


def documented() -> list[str]:
    """Return the scripts of the page, each with a start that is short enough for a test."""
    section = PAGE.read_text(encoding="utf-8").split("\n## Restart a run automatically\n")[1].split("\n## ")[0]
    scripts = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    start = "charrnn train corpus.txt --minutes 600"
    assert all(start in script for script in scripts)
    return [script.replace(start, shlex.join(START)) for script in scripts]


ONCE, AGAIN = documented()


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """`bash(script)`: a script in its own process, in which `charrnn` is the one under test and `sleep` is short.

    Each `charrnn` writes its process id into the file `pids`, and samples that fill the pipe: it waits until they are
    read. If there is a folder `early`, it removes it and is killed as soon as it has made the folder of the run.
    """
    bin, started = tmp_path / "bin", list[subprocess.Popen[bytes]]()
    bin.mkdir()
    commands = {
        "charrnn": f"""echo $$ >> pids
rmdir early 2> {os.devnull} && mkdir -p {RUN} && touch {RUN}/.lock && kill -9 $$
exec {shlex.quote(sys.executable)} -m charrnn "$@" --sample-every 1""",
        "sleep": f"exec {shutil.which('sleep')} 0.01",
    }
    for name, lines in commands.items():
        (bin / name).write_text(f"#!/bin/sh\n{lines}\n")
        (bin / name).chmod(0o755)
    Path("corpus.txt").write_bytes(TEXT.encode())

    def start(script: str) -> subprocess.Popen[bytes]:
        env = environment()
        process = subprocess.Popen(
            ["bash", "-c", script], env=env | {"PATH": f"{bin}:{env['PATH']}"}, stderr=subprocess.PIPE
        )
        started.append(narrowed(process))
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def kill() -> None:
    """Kill the newest `charrnn`."""
    os.kill(int(Path("pids").read_text().split()[-1]), signal.SIGKILL)


def attempts() -> int:
    """Return how many times `charrnn` was started."""
    return len(Path("pids").read_text().split())


@pytest.mark.parametrize("steps", [(30,), pytest.param((10, 10, 30, 30, 50, 59), marks=pytest.mark.slow)], ids=str)
def test_killed_runs_are_resumed_to_the_same_bytes(run, bash, steps):
    process = bash(ONCE)
    for step in steps:
        read_until(process, f"step {step} ".encode())
        kill()
    code, stderr = finish(process)
    assert (code, attempts()) == (0, 1 + len(steps))
    assert f"\nRun    60 steps from step {steps[-1] // 20 * 20}" in stderr
    run(*START[1:], "--quiet", "--out", "whole")
    for name in ("best.npz", "last.npz"):
        assert (RUN / name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.slow
def test_a_start_is_repeated_until_there_is_a_run(bash):
    Path("early").mkdir()
    process = bash(AGAIN)
    read_until(process, b"step 30 ")
    kill()
    code, stderr = finish(process)
    assert (code, attempts()) == (0, 4)  # killed, killed, refused, resumed
    assert f"Error: {RUN} already has a run" in stderr
    assert meta(RUN / "last.npz")["step"] == 60


@pytest.mark.slow
def test_the_loop_waits_for_a_folder_in_use(run, bash):
    run(*START[1:], "--steps", "1", "--quiet")
    process = bash(ONCE.splitlines()[1])
    with RunFolder(RUN).locked():
        for _ in range(2):
            read_until(process, b"Error: checkpoints/corpus is in use")
    code, stderr = finish(process)
    assert code == 0
    assert "The run in checkpoints/corpus is complete after 1 steps" in stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda: Path("corpus.txt").write_text(TEXT + "!"), "is not the text that the model was trained on"),
        (lambda: Path("corpus.txt").unlink(), "corpus.txt does not exist"),
        ((RUN / "last.npz").unlink, "has no last.npz"),
        (lambda: os.truncate(RUN / "last.npz", 1000), "is damaged"),
    ],
    ids=["other text", "no text", "no run", "damaged"],
)
def test_an_error_that_recurs_ends_the_loop(run, bash, spoil, words):
    run(*START[1:], "--quiet")
    spoil()
    code, stderr = finish(bash(ONCE.splitlines()[1]))
    assert (code, attempts()) == (0, 1)
    assert words in stderr
