"""Models with a memory on the command line: the options, both figures, and runs that are stopped."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from fixtures_memory import text_of

import charrnn
from charrnn import checkpoint as ckpt
from charrnn.cli import _train_screen
from charrnn.memory import cache
from charrnn.training.loop import Report

from ._material import error_line, narrowed, posix
from .test_signals import finish, read_until

SONG = text_of(4000)
SMALL = ("--hidden-size", "8", "--batch-size", "4", "--seq-len", "10", "--seed", "1", "--val-fraction", "0.4")
TRAIN = ("train", "song.txt", *SMALL, "--steps", "20", "--eval-every", "5")


@pytest.fixture(scope="module")
def sung(tmp_path_factory):
    """Return a folder with `song.txt`, a text that repeats itself, and a run on it; tests take copies."""
    from .conftest import invoke

    folder = tmp_path_factory.mktemp("sung")
    (folder / "song.txt").write_bytes(SONG.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke(*TRAIN, "--quiet")
    return folder


@pytest.fixture
def song(sung, cwd):
    """Put `song.txt` and its run into the test's folder; return the run's folder."""
    shutil.copytree(sung, cwd, dirs_exist_ok=True)
    return Path("checkpoints/song")


@pytest.fixture
def text(cwd):
    """Put `song.txt` alone into the test's folder."""
    (cwd / "song.txt").write_bytes(SONG.encode())


# Figures


def test_both_figures_are_shown_side_by_side(run, song):
    table = run("eval").stdout
    result = charrnn.load(song).evaluate(SONG[2400:])
    alone, both = f"{result.nats_per_char:.4f}", f"{result.memory.nats_per_char:.4f}"
    assert re.search(rf"^Nats per character +{alone} +{both}$", table, re.M)
    assert "Model alone  With its memory" in table
    assert "Memory                 the last 2,000 characters; scored out of fold" in table
    data = run("eval", "--json").json
    assert data["memory"]["signature"] == result.memory.signature == f"{result.signature}|memory:2000-out-of-fold"
    assert data["memory"]["nats_per_char"] == result.memory.nats_per_char < data["nats_per_char"] - 0.5


def test_memory_0_shows_the_figures_of_the_model_alone(run, song):
    data = run("eval", "--memory", "0", "--json").json
    assert data["memory"] is None
    assert data["nats_per_char"] == pytest.approx(run("eval", "--json").json["nats_per_char"], rel=1e-6)
    assert "memory" not in run("eval", "--memory", "0").stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--memory", "50"), "the last 50 characters"),
        (("--memory", "50", "--memory-across-documents"), "the last 50 characters, also of earlier documents"),
        (("--memory", "0", "--with-ngram"), "a N-gram model of the training text"),
        (
            ("--with-ngram", "--adaptive"),
            "the last 2,000 characters, and a N-gram model of the training text, and one of the text read",
        ),
    ],
)
def test_the_memory_is_described(run, song, options, says):
    table = run("eval", "song.txt", *options).stdout
    (found,) = re.findall(r"^Memory +(.*)$", table, re.M)
    assert re.sub(r"\d-gram", "N-gram", found) == says


def test_a_text_can_fill_the_memory_first(run, song):
    Path("other.txt").write_text(SONG[:900])
    filled, empty = (
        run("eval", "other.txt", *options, "--json").json["memory"] for options in (("--memory-from", "song.txt"), ())
    )
    assert re.search(r"\|memory:2000-from-[0-9a-f]{8}$", filled["signature"])
    assert filled["nats_per_char"] < empty["nats_per_char"]


def test_every_command_uses_the_memory_unless_it_is_off(run, song):
    Path("lines.txt").write_text(SONG[:300] + "\n" + SONG[200:600].replace("\n", "a") + "\n")
    for args in (
        ("sample", "--seed", "1", "-n", "200", "--prime", SONG[:50]),
        ("sample", "--beam", "3", "-n", "40", "--prime", SONG[:150]),
        ("score", "lines.txt"),
        ("complete", SONG[:150], "--json"),
    ):
        own, as_fitted, off = (run(*args, *more).stdout for more in ((), ("--memory", "2000"), ("--memory", "0")))
        assert own == as_fitted != off
        threads = () if args[0] == "complete" else ("--threads", "2")
        assert run(*args, *threads).stdout == own
    for args in (("sample", "--seed", "2", "-n", "300", "--temp", "1"), ("score", "lines.txt")):
        mixed = [run(*args, *more).stdout for more in ((), ("--with-ngram",), ("--with-ngram", "--adaptive"))]
        assert len(set(mixed)) == 3
        assert run(*args, "--with-ngram", "--adaptive").stdout == mixed[2]


# Runs that are stopped


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_run_that_is_stopped_has_a_memory(run, command, text, name):
    process = narrowed(command(*TRAIN, "--sample-every", "1"))
    read_until(process, b"step 6 ")
    process.send_signal(getattr(signal, name))
    code, stderr = finish(process)
    assert code == {"SIGINT": 130, "SIGTERM": 143}[name]
    assert "Continue with: " in stderr
    folder = Path("checkpoints/song")
    best = ckpt.load(folder / "best.npz")
    assert 5 <= best.step < 20
    assert best.cache.size == 2000
    assert run("eval", "-m", folder, "--json").json["memory"]["nats_per_char"] < 2
    assert {path.name for path in folder.iterdir()} <= {"best.npz", "last.npz", "log.jsonl", ".lock"}
    run("train", "song.txt", "--resume", "--quiet")
    run(*TRAIN, "--out", "straight", "--quiet")
    for name in ("best.npz", "last.npz"):
        assert (folder / name).read_bytes() == (Path("straight") / name).read_bytes()


def showing(monkeypatch, reaction):
    """Let something happen when a report of step 20, the last one, is shown."""
    shown = _train_screen.TrainScreen.show

    def show(self, event):
        if isinstance(event, Report) and event.step == 20:
            reaction()
        shown(self, event)

    monkeypatch.setattr(_train_screen.TrainScreen, "show", show)


@posix
def test_a_run_that_is_stopped_at_its_last_report_has_a_memory(run, text, monkeypatch):
    showing(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    run(*TRAIN)
    assert ckpt.load(Path("checkpoints/song/best.npz")).cache.size == 2000


def test_a_run_whose_reader_is_gone_has_a_memory(run, text, monkeypatch):
    def gone():
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    showing(monkeypatch, gone)
    run(*TRAIN, code=2)
    assert ckpt.load(Path("checkpoints/song/best.npz")).cache.size == 2000


def test_the_closing_lines_name_the_memory(run, text):
    stderr = run(*TRAIN).stderr
    assert re.search(
        r"^Memory +looks back 2,000 characters; on [\d,]+ characters for validation, \d\.\d{4} nats become \d\.\d{4}$",
        stderr,
        re.M,
    )


# Bad input


MIXED = ("-m", "song:0.5", "-m", "song:0.5")
WHOLE = "must be a whole number, got"
BAD = {
    "negative": (("eval", "--memory", "-1"), 2, "--memory must be at least 0, got -1"),
    "no number": (("score", "song.txt", "--memory", "x"), 2, f"--memory {WHOLE} 'x'"),
    "a fraction": (("complete", "a", "--memory", "1.5"), 2, f"--memory {WHOLE} 1.5"),
    "too many": (("sample", "--memory", "1000000000"), 2, "--memory must be at most 10,000,000, got 1000000000"),
    "one too many": (("serve", "--stdio", "--memory", "10000001"), 2, "at most 10,000,000, got 10000001"),
    "mixed": (("sample", *MIXED, "--memory", "5"), 2, "models that are mixed have no memory: leave out --memory"),
    "mixed, n-grams": (("sample", *MIXED, "--with-ngram"), 2, "models that are mixed have no memory: leave out"),
    "mixed, filled": (("sample", *MIXED, "--memory-from", "song.txt"), 2, "models that are mixed have no memory"),
    "adaptive alone": (("eval", "--adaptive"), 2, "--adaptive adds to --with-ngram: give that too"),
    "no such text": (("eval", "--memory-from", "none.txt"), 2, "none.txt does not exist: check the path"),
    "a model": (
        ("eval", "--memory-from", "checkpoints/song/best.npz"),
        2,
        "checkpoints/song/best.npz is a checkpoint: name a text",
    ),
    "a run": (("sample", "--memory-from", "checkpoints/song"), 2, "checkpoints/song is a run, not a text"),
    "nothing to fill": (
        ("eval", "--memory", "0", "--memory-from", "song.txt"),
        2,
        "--memory-from fills a memory, and this model has none: give --memory too",
    ),
    "nothing to fill, n-grams": (
        ("score", "song.txt", "--memory", "0", "--with-ngram", "--memory-from", "song.txt"),
        2,
        "--memory-from fills a memory, and this model has none: give --memory too",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(run, song, name):
    args, code, says = BAD[name]
    outcome = run(*args, code=code, input="")
    assert says in error_line(outcome.stderr)
    assert outcome.stdout == ""


@pytest.mark.parametrize("args", [("eval", "song.txt"), ("sample",), ("score", "song.txt"), ("complete", "a")])
def test_a_memory_larger_than_the_machine_has_is_one_line(run, song, monkeypatch, args):
    monkeypatch.setattr(cache, "free_bytes", lambda: 1 << 20)
    error = error_line(run(*args, "--memory", "5000000", code=2).stderr)
    assert re.fullmatch(
        r"--memory 5,000,000 needs 0\.\d GiB for each text that is read at once, and 0\.0 GiB are free: "
        "give a smaller number",
        error,
    )


def test_ngram_models_of_a_corpus_that_is_gone_or_another(run, song):
    command = ("eval", "song.txt", "--with-ngram", "-m", song)
    shutil.copy("song.txt", "kept.txt")
    Path("song.txt").write_text(SONG[:2000])
    changed = error_line(run(*command, code=2).stderr)
    Path("song.txt").unlink()
    gone = error_line(run("eval", "kept.txt", "--with-ngram", "-m", song, code=2).stderr)
    for error in (changed, gone):
        assert "song.txt" in error
    run("eval", "kept.txt", "-m", song)  # the cache needs no corpus


def test_ngram_models_of_standard_input(run, cwd):
    run("train", "-", *TRAIN[2:], "--quiet", "--out", "piped", input=SONG)
    error = error_line(run("sample", "-m", "piped", "--with-ngram", code=2).stderr)
    assert error == (
        "the model's corpus was not a file, so it cannot be read again for --with-ngram: do without, or train on a file"
    )


def test_ngram_models_with_too_short_a_validation_split(run, text):
    run("train", "song.txt", *SMALL[:-2], "--steps", "5", "--quiet")
    run("eval", "song.txt", "--memory", "100")
    error = error_line(run("eval", "song.txt", "--with-ngram", code=2).stderr)
    assert error == (
        "--with-ngram fits a gate to the validation split, which has fewer than 1,000 characters: leave it out"
    )


def test_a_checkpoint_without_a_memory_gets_one_if_it_is_asked_for(run, song):
    last = song / "last.npz"
    assert run("eval", "song.txt", "-m", last, "--json").json["memory"] is None
    result = run("eval", "song.txt", "-m", last, "--memory", "500", "--json").json
    assert result["memory"]["signature"].endswith("|memory:500")
    assert np.isfinite(result["memory"]["nats_per_char"])
    error = error_line(run("eval", "song.txt", "-m", last, "--memory-from", "song.txt", code=2).stderr)
    assert error == "--memory-from fills a memory, and this model has none: give --memory too"
