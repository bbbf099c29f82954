"""`charrnn list` and `charrnn rm`: runs are listed and removed."""

import csv
import os
import re
import shutil
from pathlib import Path

import pytest

from charrnn import checkpoint
from charrnn.cli.list import _KEYS
from charrnn.training.catalog import runs
from charrnn.training.folder import RunFolder

from ._material import SMALL, TEXT, error_line, meta, posix

RUNS = Path("checkpoints")
VALIDATED = len(TEXT) - len(TEXT) * 9 // 10 - 1  # characters that an evaluation of `tiny` scores


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
    assert head.split() == "Name Trained on Model Seed Rate Steps Best loss Changed MB".split()
    assert [row.split()[0] for row in rows] == ["new", "tiny", "old"]
    assert rows[1].split()[1:10] == ["tiny.txt", "lstm", "1x16", "1", "0.008", "40", "of", "40", f"{best:.4f}"]
    assert last == f"3 runs, {3 * size / 1e6:,.1f} MB, in checkpoints"
    data = run("list", "--json").json["runs"]
    assert [found["name"] for found in data] == ["new", "tiny", "old"]
    assert data[1]["best_loss"] == best
    assert data[1]["bytes"] == size
    assert run("info").stderr == f"Model: {three / 'new' / 'best.npz'}\n"  # the first is what others take


def other(run, name, *options):
    """Train a run of two steps on tiny.txt under this name."""
    run("train", "tiny.txt", *SMALL, "--steps", "2", "--out", RUNS / name, "--quiet", *options)


def columns(stdout):
    """Return the cells of each row of a table by heading, from the positions of the headings."""
    head, *rows = stdout.splitlines()
    names = [name for name in re.split(r" {2,}", head) if name]
    ends = [head.index(name) + len(name) for name in names]
    return [{name: row[max(0, end - 11) : end].strip() for name, end in zip(names, ends, strict=True)} for row in rows]


def test_losses_on_other_characters_are_in_another_column(run, tiny):
    other(run, "same", "--seed", "2")
    other(run, "few", "--val-chars", "50")
    other(run, "rare", "--min-count", "3")
    other(run, "split", "--val-fraction", "0.2")
    loss = {found["name"]: f"{found['best_loss']:.4f}" for found in run("list", "--json").json["runs"]}
    lines = run("list", "--sort", "name").stdout
    table, legend = lines.split("Losses with different marks cannot be compared")
    few, rare, same, split, tiny_ = columns(table)
    assert (same["Best loss"], same["Other loss"]) == (loss["same"], "")
    assert (tiny_["Best loss"], tiny_["Other loss"]) == (loss["tiny"], "")
    assert (few["Best loss"], few["Other loss"]) == ("", f"{loss['few']} a")
    assert (rare["Other loss"], split["Other loss"]) == (f"{loss['rare']} b", f"{loss['split']} c")
    assert [line.strip() for line in legend.splitlines()[1:5]] == [
        f"-  tiny.txt, the last 10% of the text, {VALIDATED} characters",
        "a  tiny.txt, the last 10% of the text, 50 characters",
        f"b  tiny.txt, the last 10% of the text, {VALIDATED} characters, rare characters as unknown",
        f"c  tiny.txt, the last 20% of the text, {len(TEXT) - len(TEXT) * 8 // 10 - 1} characters",
    ]


def test_the_sort_by_loss_ranks_only_what_can_be_compared(run, tiny):
    other(run, "same", "--seed", "2")
    other(run, "few", "--val-chars", "50")
    (tiny.parent / "bad").mkdir()
    (tiny.parent / "bad" / "best.npz").write_bytes(b"")
    names = {key: [row.split()[0] for row in run("list", "--sort", key).stdout.splitlines()[1:5]] for key in _KEYS}
    assert names["loss"] == ["tiny", "same", "few", "bad"]
    assert names["name"] == ["bad", "few", "same", "tiny"]
    assert names["steps"][0] == "tiny"
    assert names["size"][-1] == "bad"


def test_where_lists_the_runs_with_these_settings(run, tiny):
    other(run, "gru", "--cell", "gru", "--dropout", "0.25")
    Path("second.txt").write_text(Path("tiny.txt").read_text(encoding="utf-8") + "!", encoding="utf-8")
    run("train", "second.txt", *SMALL, "--steps", "1", "--quiet")

    def names(*conditions):
        words = [word for condition in conditions for word in ("--where", condition)]
        return sorted(found["name"] for found in run("list", *words, "--json").json["runs"])

    assert names() == ["gru", "second", "tiny"]
    assert names("cell=GRU") == names("--cell=gru") == names("dropout=.25") == ["gru"]
    assert names("cell=gru,lstm") == ["gru", "second", "tiny"]
    assert names("cell=lstm", "steps=40") == ["tiny"]
    assert names("corpus=second.txt") == names("corpus=./second.txt") == ["second"]
    assert names("tied=true") == names("cell=rnn") == []
    assert run("list", "--where", "cell=gru").stdout.endswith("in checkpoints, where cell=gru\n")
    assert error_line(run("list", "--where", "cel=gru", code=2).stderr).startswith(
        "'cel' is not a setting of a run: did you"
    )
    assert "write SETTING=VALUE" in error_line(run("list", "--where", "gru", code=2).stderr)


def test_csv(run, tiny):
    head, row = csv.reader(run("list", "--csv").stdout.splitlines())
    data = dict(zip(head, row, strict=True))
    (found,) = runs()
    assert data["name"] == "tiny"
    assert (data["corpus"], data["cell"], data["seed"], data["finished"]) == ("tiny.txt", "lstm", "1", "True")
    assert float(data["best_loss"]) == found.best_loss
    assert data["signature"] == found.validation.signature
    run("list", "--csv", "--json", code=2)


def test_a_narrow_terminal_has_the_most_important_columns(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.cli._console.columns", lambda: 60)
    head, row, _ = run("list").stdout.splitlines()
    assert head.split() == "Name Trained on Model Steps Best loss".split()
    assert len(row) <= 60


def test_runs_one_folder_deeper_are_listed_and_found_by_name(run, tiny):
    tiny.rename(RUNS / "many")
    (RUNS / "some").mkdir()
    (RUNS / "many").rename(RUNS / "some" / "cell=lstm,seed=1")
    assert run("list", "--json").json["runs"][0]["name"] == "some/cell=lstm,seed=1"
    assert run("info", "some/cell=lstm,seed=1", "--json").json["step"] == meta(runs_of("some")[0])["step"]
    assert run("info").stderr == f"Model: {RUNS / 'some' / 'cell=lstm,seed=1' / 'best.npz'}\n"
    run("rm", "some/cell=lstm,seed=1", "--yes")
    assert run("list", "--json").json["runs"] == []


def runs_of(folder):
    return sorted((RUNS / folder).glob("*/best.npz"))


def test_a_checkpoint_of_before_has_a_signature_too(tiny, monkeypatch):
    """Version 0.2.0 did not record how many characters an evaluation scores."""
    (now,) = runs()
    old = meta(tiny / "last.npz")
    del old["validated"]
    monkeypatch.setattr("charrnn.checkpoint.read_meta", lambda path: old)
    (before,) = runs()
    assert before.validation.signature == now.validation.signature
    assert (before.validation.scored, now.validation.scored) == (None, VALIDATED)
    assert before.validation.in_words() == "tiny.txt, the last 10% of the text"


def test_the_oldest_checkpoint_is_listed_compared_and_shown(run):
    """It was written before most settings existed."""
    shutil.copytree(Path(__file__).parents[1] / "checkpoint_v1", RUNS / "old")
    (found,) = runs()
    assert found.damage is None
    assert found.validation.signature.endswith("|split:val-fraction=0.1|chars:all|unknown:none")
    assert run("compare", "old").stdout.splitlines()[2].startswith(f"old  {found.best_loss:.4f}")
    assert f"  Signature           {found.validation.signature}\n" in run("info", "old").stdout


def test_without_last_the_best_serves(run, tiny):
    (tiny / "last.npz").unlink()
    (found,) = runs()
    assert (found.step, found.damage) == (meta(tiny / "best.npz")["step"], None)


def test_no_runs(run, cwd):
    assert run("list").stdout == "0 runs, 0.0 MB, in checkpoints\n"
    assert run("list", "--json").json == {"folder": "checkpoints", "runs": []}


@pytest.mark.parametrize("damage", [{"source": {}}, {"train": {"steps": 5, "length_changes": "3"}}])
def test_a_damaged_setting_damages_one_run(tiny, monkeypatch, damage):
    whole = meta(tiny / "last.npz")
    monkeypatch.setattr("charrnn.checkpoint.read_meta", lambda path: whole | damage)
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
    assert "nothing was removed" in error_line(run("rm", "tiny", input=answer, code=2).stderr)
    assert len(os.listdir(three)) == 3


def test_only_a_runs_own_files_are_removed(run, tiny):
    (tiny / "notes.txt").write_text("mine")
    for left in (".lock", ".trial.npz", ".last.npz.tmp", ".best.npz.tmp", ".log.jsonl.tmp", "..trial.npz.tmp"):
        (tiny / left).write_text("left by a kill")
    assert "its folder is kept, since it has other files" in run("rm", "tiny", "--yes").stdout
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
    assert says in error_line(run("rm", "tiny", name, "--yes", code=2).stderr)
    assert len(RunFolder(tiny).files()) == 3


@posix
def test_a_link_to_a_run_is_refused_with_its_target(run, tiny):
    (RUNS / "link").symlink_to("tiny")
    told = error_line(run("rm", "tiny", "link", "--yes", code=2).stderr)
    assert told == f"{RUNS / 'link'} is a link to {tiny.resolve()}: name its target, or remove the link"
    assert len(RunFolder(tiny).files()) == 3


@posix
def test_a_run_in_use_is_left_alone(run, tiny):
    with RunFolder(tiny).locked():
        told = error_line(run("rm", "tiny", "--yes", code=1).stderr)
    assert told == f"{tiny} is in use by another training run: stop it first"
    assert len(RunFolder(tiny).files()) == 3
