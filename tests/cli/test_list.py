"""`charrnn list` and `charrnn rm`: runs are listed and removed."""

import os
import shutil
from pathlib import Path

import pytest

from charrnn import checkpoint
from charrnn.training.catalog import runs
from charrnn.training.folder import RunFolder

from ._material import error_line, meta, posix

RUNS = Path("checkpoints")


@pytest.fixture
def three(tiny):
    """Return a folder of three runs, `new` the newest and `old` the oldest."""
    for name, when in (("old", 10), ("tiny", 20), ("new", 30)):
        if name != "tiny":
            shutil.copytree(tiny, RUNS / name)
        for file in (RUNS / name).iterdir():
            os.utime(file, (when, when))
    return RUNS


def test_a_run_that_is_removed_while_it_is_read_is_not_listed(three, monkeypatch):
    read = checkpoint.read_meta

    def late(path):
        if "old" in path.parts:
            RunFolder(path.parent).clear()
        return read(path)

    monkeypatch.setattr(checkpoint, "read_meta", late)
    assert [found.name for found in runs()] == ["new", "tiny"]


def test_runs_are_listed_the_newest_first(run, three):
    (three / "notes").mkdir()
    (three / "stray.npz").write_bytes(b"")
    head, *rows, last = run("list").stdout.splitlines()
    best = min(line["val_loss"] for line in meta(three / "tiny" / "last.npz")["history"])
    size = sum(file.stat().st_size for file in RunFolder(three / "tiny").files())
    assert head.split() == ["Name", "Trained", "on", "Model", "Steps", "Best", "loss", "Changed", "MB"]
    assert [row.split()[0] for row in rows] == ["new", "tiny", "old"]
    assert rows[1].split()[1:8] == ["tiny.txt", "lstm", "1x16", "40", "of", "40", f"{best:.4f}"]
    assert last == f"3 runs, {3 * size / 1e6:,.1f} MB, in checkpoints"
    data = run("list", "--json").json["runs"]
    assert [found["name"] for found in data] == ["new", "tiny", "old"]
    assert data[1]["best_loss"] == best
    assert data[1]["bytes"] == size
    assert run("info").stderr == f"Model: {three / 'new' / 'best.npz'}\n"  # the first is what others take


def test_without_last_the_best_serves(run, tiny):
    (tiny / "last.npz").unlink()
    (found,) = runs()
    assert (found.step, found.damage) == (meta(tiny / "best.npz")["step"], None)


def test_no_runs(run, cwd):
    assert run("list").stdout == "0 runs, 0.0 MB, in checkpoints\n"
    assert run("list", "--json").json == {"folder": "checkpoints", "runs": []}


def test_a_damaged_setting_damages_one_run(tiny, monkeypatch):
    whole = meta(tiny / "last.npz")
    monkeypatch.setattr("charrnn.checkpoint.read_meta", lambda path: whole | {"source": {}})
    (found,) = runs()
    assert str(found.damage).startswith(f"{tiny / 'last.npz'} is damaged: ")


def test_a_run_is_removed_after_a_yes(run, three):
    outcome = run("rm", "tiny", "checkpoints/old", input="y\n")
    assert [line.split(" (")[0] for line in outcome.stdout.splitlines()] == [
        "Removed checkpoints/tiny",
        "Removed checkpoints/old",
    ]
    assert outcome.stderr.startswith("Remove checkpoints/tiny (0.1 MB), checkpoints/old (0.1 MB)? [y/N]\n")
    assert os.listdir(three) == ["new"]
    shutil.copytree(three / "new", three / "more")
    told = run("rm", "new", three / "new", (three / "new").resolve(), "more", "--yes").stdout
    assert told.count("Removed") == 2  # a run once, whatever its names
    assert os.listdir(three) == []


@posix
def test_a_name_that_would_move_the_cursor_is_shown_escaped(run, tiny):
    tiny.rename(RUNS / "a\x1b[2J\nb")
    assert run("list").stdout.splitlines()[1].startswith("a\\x1b[2J\\nb  tiny.txt")
    assert run("list", "--json").json["runs"][0]["name"] == "a\x1b[2J\nb"
    run("rm", "a\x1b[2J\nb", "--yes")
    assert os.listdir(RUNS) == []


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "what?\n", b"\xff\0\n"])
def test_without_a_yes_nothing_is_removed(run, three, answer):
    assert "nothing was removed" in error_line(run("rm", "tiny", input=answer, code=1).stderr)
    assert len(os.listdir(three)) == 3


def test_only_a_runs_own_files_are_removed(run, tiny):
    (tiny / "notes.txt").write_text("mine")
    for left in (".lock", ".trial.npz", ".last.npz.tmp", ".best.npz.tmp", ".log.jsonl.tmp", "..trial.npz.tmp"):
        (tiny / left).write_text("left by a kill")
    assert "its folder has other files" in run("rm", "tiny", "--yes").stdout
    assert os.listdir(tiny) == ["notes.txt"]
    assert Path("tiny.txt").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tinny", "did you mean tiny?"),
        ("elsewhere", "charrnn list"),
        ("", "there is no run ''"),
        ("checkpoints", "not the folder of a run"),
        (".", "not the folder of a run"),
        ("tiny.txt", "not the folder of a run"),
        ("notes", "not the folder of a run"),
        ("checkpoints/tiny/best.npz", "not the folder of a run"),
    ],
)
def test_anything_but_a_run_is_refused_and_nothing_is_removed(run, tiny, name, says):
    (RUNS / "notes").mkdir()
    (RUNS / "notes" / "log.jsonl").write_text("another program's")
    assert says in error_line(run("rm", "tiny", name, "--yes", code=1).stderr)
    assert len(RunFolder(tiny).files()) == 3


@posix
def test_a_link_to_a_run_is_refused_with_its_target(run, tiny):
    (RUNS / "link").symlink_to("tiny")
    told = error_line(run("rm", "tiny", "link", "--yes", code=1).stderr)
    assert told == f"{RUNS / 'link'} is a link to {tiny.resolve()}: name that, or remove the link"
    assert len(RunFolder(tiny).files()) == 3


@posix
def test_a_run_in_use_is_left_alone(run, tiny):
    with RunFolder(tiny).locked():
        told = error_line(run("rm", "tiny", "--yes", code=1).stderr)
    assert told == f"{tiny} is in use by another training run: stop it first"
    assert len(RunFolder(tiny).files()) == 3
