"""Signals: what was trained is saved, the way on is said, and the files are whole whatever happens.

Nothing here waits for a time to pass: a process that nobody reads from stops where its pipe is full, so a signal sent
before reading on reaches it in the middle of its work.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.errors import EXIT_CODES

from ._material import SMALL, TEXT, TIMEOUT, meta, narrowed, posix, same_arrays

pytestmark = posix

RUN = Path("checkpoints/tiny")
#: The signals that stop a run and those that make it save and continue, by name: Windows lacks some of them.
STOPS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGXCPU": 152}
SAVES = ("SIGUSR1", "SIGUSR2")
#: Each step writes 200 characters to standard error: far more in all than the pipe below holds.
TRAIN = ("train", "tiny.txt", *SMALL, "--steps", "60", "--eval-every", "20", "--sample-every", "1")


def read_until(process: subprocess.Popen[bytes], beginning: bytes) -> None:
    """Read lines of standard error until one begins like this."""
    for line in process.stderr:
        if line.startswith(beginning):
            return
    pytest.fail(f"standard error ended without a line that begins with {beginning!r}")


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Read to the end; return the exit code and the rest of standard error."""
    _, stderr = process.communicate(timeout=TIMEOUT)
    return process.returncode, (stderr or b"").decode()


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGINT) -> int:
    """Send the signal to a process that waits for input; return its exit code.

    It is sent again where it came in the instant before the wait began: Python then sees it only after the wait.
    """
    while process.poll() is None:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
    return process.returncode


def assert_whole(folder: Path) -> None:
    """Check that every file of the run is whole and that none is left over."""
    assert {path.name for path in folder.iterdir()} <= {"best.npz", "last.npz", "log.jsonl", ".lock"}
    for path in folder.glob("*.npz"):
        charrnn.load(path)


def way_on(stderr: str) -> tuple[int, list[str]]:
    """Return after which step was saved, and the arguments of the command that goes on."""
    saved = re.search(r"^Saved after step ([\d,]+)\. Continue with: charrnn (.*)$", stderr, re.M)
    assert saved, stderr
    assert "Traceback" not in stderr
    return int(saved[1].replace(",", "")), shlex.split(saved[2])


@pytest.mark.parametrize(("name", "code"), STOPS.items())
def test_a_stopped_run_goes_on_to_the_same_bytes(run, command, corpus, name, code):
    process = narrowed(command(*TRAIN))
    read_until(process, b"step 3 ")
    process.send_signal(getattr(signal, name))
    returncode, stderr = finish(process)
    step, again = way_on(stderr)
    assert returncode == code
    assert code in EXIT_CODES
    assert 3 <= step < 60
    assert meta(RUN / "last.npz")["step"] == step
    assert_whole(RUN)
    run(*again, "--quiet")
    run(*TRAIN, "--quiet", "--out", "straight")
    for name in ("last.npz", "best.npz"):
        assert (RUN / name).read_bytes() == (Path("straight") / name).read_bytes()


def test_a_run_can_be_stopped_again_and_again(run, command, corpus):
    longer = (*TRAIN, "--steps", "90")
    process = narrowed(command(*longer))
    stopped = []
    for line in (b"step 3 ", b"step "):
        read_until(process, line)
        process.send_signal(signal.SIGINT)
        returncode, stderr = finish(process)
        step, again = way_on(stderr)
        assert returncode == 130
        stopped.append(step)
        process = narrowed(command(*again, "--sample-every", "1"))
    assert finish(process)[0] == 0
    assert stopped == sorted(stopped)
    run(*longer, "--quiet", "--out", "straight")
    assert (RUN / "last.npz").read_bytes() == Path("straight/last.npz").read_bytes()


def test_the_way_on_stands_odd_names(run, command):
    Path("it's mine.txt").write_bytes(TEXT.encode())
    process = narrowed(command("train", "it's mine.txt", *TRAIN[2:], "--out", "a run; $HOME"))
    read_until(process, b"step 3 ")
    process.send_signal(signal.SIGINT)
    _, again = way_on(finish(process)[1])
    run(*again, "--quiet")
    assert meta(Path("a run; $HOME/last.npz"))["step"] == 60


def test_a_stop_during_an_evaluation(run, terminal, command, corpus):
    Path("val.txt").write_bytes(TEXT.encode() * 80)  # more windows than the terminal's buffer takes bars
    args = ("train", "tiny.txt", *SMALL, "--steps", "2", "--val-file", "val.txt", "--eval-every", "2")
    shown = terminal(*args)
    shown.read_until("evaluating ")
    shown.process.send_signal(signal.SIGINT)
    step, again = way_on(shown.read_all().replace("\r\n", "\n").replace("\r", "\n"))
    assert shown.process.returncode == 130
    assert step == meta(RUN / "last.npz")["step"] == 2
    assert meta(RUN / "last.npz")["history"] == []  # the evaluation is done anew
    assert_whole(RUN)
    run(*again, "--quiet")
    run(*args, "--quiet", "--out", "straight")
    assert same_arrays(RUN / "last.npz", Path("straight/last.npz"))
    assert meta(RUN / "last.npz") == meta(Path("straight/last.npz"))


def opened_for_writing(fifo: str, process: subprocess.Popen[bytes]) -> int:
    """Return the writing end of a FIFO as soon as the process has opened it for reading."""
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_stop_while_the_corpus_is_read_from_a_fifo(command, name):
    number, code = getattr(signal, name), STOPS[name]
    os.mkfifo("fifo")
    process = command("train", "fifo", *SMALL)
    descriptor = opened_for_writing("fifo", process)
    try:
        os.write(descriptor, b"an unfinished text")
        assert stop(process, number) == code
        assert finish(process) == (code, "Stopped.\n")
    finally:
        os.close(descriptor)
    assert not Path("checkpoints").exists()


@pytest.mark.parametrize(
    "args", [("train", "-"), ("vocab", "-"), ("eval", "-"), ("sample", "--prime", "-")], ids=" ".join
)
def test_a_stop_while_standard_input_is_read(command, tiny, args):
    process = command(*args)
    process.stdin.write(b"x" * 1_000_000)  # more than a pipe holds: this returns when the process is reading
    process.stdin.flush()
    assert stop(process) == 130
    stderr = process.stderr.read().decode()
    assert stderr.removeprefix(f"Model: {tiny / 'best.npz'}\n") == "Stopped.\n"


def test_a_stop_while_text_is_written(command, tiny):
    process = command("sample", "-n", "100000000", "--seed", "1")
    assert len(process.stdout.read(10)) == 10
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, f"Model: {tiny / 'best.npz'}\nStopped.\n")


def test_any_number_of_signals_leaves_the_files_whole(run, command, corpus):
    run(*TRAIN, "--quiet", "--out", "straight")
    process = narrowed(command(*TRAIN))
    read_until(process, b"step 3 ")
    while process.poll() is None:  # impatience: Ctrl-C until it is over
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    returncode, stderr = finish(process)
    assert returncode == 130, stderr
    assert "Traceback" not in stderr
    assert_whole(RUN)
    run("train", "tiny.txt", "--resume", "--quiet")
    assert (RUN / "last.npz").read_bytes() == Path("straight/last.npz").read_bytes()


def test_a_lost_terminal_saves_the_run(run, terminal, corpus):
    shown = terminal(*TRAIN)
    shown.read_until("step 3 ")
    shown.process.send_signal(signal.SIGHUP)  # a terminal sends it to its own session
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), shown.master)  # closes the terminal
    assert shown.process.wait(TIMEOUT) == 129
    assert 3 <= meta(RUN / "last.npz")["step"] < 60
    run("train", "tiny.txt", "--resume", "--quiet")
    run(*TRAIN, "--quiet", "--out", "straight")
    assert (RUN / "last.npz").read_bytes() == Path("straight/last.npz").read_bytes()


# Signals at exact places: in this process, raised by what is called there.


@pytest.mark.parametrize("name", SAVES)
def test_a_signal_that_asks_for_a_save_is_answered_and_training_continues(run, corpus, raising, name):
    args = ("train", "tiny.txt", *SMALL, "--steps", "6", "--eval-every", "6")
    raising("charrnn.training.loop.train_step", number=getattr(signal, name))
    outcome = run(*args)
    assert f"step 1  saved on {name}" in outcome.stderr.splitlines()
    assert outcome.stderr.count("saved on") == 1
    run(*args, "--quiet", "--out", "straight")
    assert (RUN / "last.npz").read_bytes() == Path("straight/last.npz").read_bytes()


def test_what_a_signal_has_saved_survives_a_kill(run, corpus, monkeypatch, raising):
    def die(screen, signum):
        raise SystemExit(9)

    args = ("train", "tiny.txt", *SMALL, "--steps", "6", "--eval-every", "6")
    raising("charrnn.training.loop.train_step", number=signal.SIGUSR1)
    monkeypatch.setattr("charrnn.cli._train_screen.TrainScreen.note_save", die)
    run(*args, code=9)
    assert meta(RUN / "last.npz")["step"] == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM", "SIGUSR1"])
def test_an_ignored_signal_stays_ignored(run, corpus, raising, name):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        raising("charrnn.training.loop.train_step", number=number)
        assert "Repeat" in run("train", "tiny.txt", *SMALL, "--steps", "4").stderr
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return `raising(*places)`: Ctrl-C when the function at the first place is called, then at the second, …."""

    def put(*places: str, number: int = signal.SIGINT) -> None:
        queue = list(places)
        for place in places:
            module, name = place.rsplit(".", 1)
            owner = pkgutil.resolve_name(module)
            monkeypatch.setattr(owner, name, interrupted(getattr(owner, name), place, queue, number))

    def interrupted(real: Callable[..., Any], place: str, queue: list[str], number: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if queue[:1] == [place]:
                queue.pop(0)
                signal.raise_signal(number)
            return real(*args, **kwargs)

        return call

    return put


@pytest.mark.parametrize("place", ["charrnn.checkpoint.np.savez", "os.fsync", "os.replace"])
def test_a_second_signal_while_it_saves(run, corpus, raising, place):
    run("train", "tiny.txt", *SMALL, "--steps", "4", "--eval-every", "2", "--quiet")
    raising("charrnn.training.loop.train_step", place)
    run("train", "tiny.txt", "--resume", "--steps", "8", code=130)
    assert meta(RUN / "last.npz")["step"] in (4, 5)
    assert_whole(RUN)
    run("train", "tiny.txt", "--resume", "--steps", "8", "--quiet")
    assert meta(RUN / "last.npz")["step"] == 8


@pytest.mark.parametrize(
    "place",
    ["charrnn.training.budget.train_step", "charrnn.training.budget.validate", "charrnn.training.run.ckpt.save"],
)
def test_a_signal_while_the_speed_is_measured(run, corpus, raising, place):
    args = ("train", "tiny.txt", *SMALL, "--minutes", "0.005", "--quiet")
    raising(place)
    assert run(*args, code=130).stderr == "Stopped.\n"
    if RUN.exists():  # not yet, where the recipe was measuring
        assert_whole(RUN)
    run(*args, *(["--resume"] if (RUN / "last.npz").exists() else []))
    assert meta(RUN / "last.npz")["step"] >= 1


def test_a_signal_after_the_opening_lines(run, corpus, raising):
    raising("charrnn.cli.train._print_plan")
    _, again = way_on(run("train", "tiny.txt", *SMALL, "--steps", "4", code=130).stderr)
    run(*again, "--quiet")
    assert meta(RUN / "last.npz")["step"] == 4


def test_a_signal_while_the_last_step_is_saved_comes_too_late(run, corpus, raising):
    raising("charrnn.training.run.Run._saved_best")
    assert "Repeat" in run("train", "tiny.txt", *SMALL, "--steps", "4", "--eval-every", "4").stderr
    assert meta(RUN / "last.npz")["step"] == 4


def test_the_handlers_of_others_are_put_back(run, corpus):
    numbers = [getattr(signal, name) for name in (*STOPS, *SAVES)]
    before = [signal.getsignal(number) for number in numbers]
    run("train", "tiny.txt", *SMALL, "--steps", "2", "--quiet")
    assert [signal.getsignal(number) for number in numbers] == before
