"""`charrnn sweep`: a run for each combination, stopped, continued, and compared at the end."""

import json
import shlex
import signal
from pathlib import Path

import pytest

from charrnn.errors import DivergedError
from charrnn.system.signals import SAVING, STOPPING
from charrnn.training.folder import RunFolder
from charrnn.training.run import Run

from ._material import SMALL, error_line, meta, posix, same_arrays

FOLDER = Path("checkpoints/tiny-sweep")
GRID = ("tiny.txt", *SMALL[:-2], "--steps", "3", "--cell", "rnn,gru", "--seed", "1,2")
NAMES = ["cell=rnn,seed=1", "cell=rnn,seed=2", "cell=gru,seed=1", "cell=gru,seed=2"]


def test_a_run_for_each_combination_and_a_table(run, corpus):
    outcome = run("sweep", *GRID)
    head, *lines = outcome.stderr.splitlines()
    assert head == f"4 runs on tiny.txt, in {FOLDER}"
    assert [line.split()[:2] for line in lines] == [[f"{number}/4", name] for number, name in enumerate(NAMES, 1)]
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted([*NAMES, "sweep.jsonl"])
    table = outcome.stdout.splitlines()[1:]
    assert table[0].split()[:3] == ["Cell", "n", "Loss"]
    assert sorted(row.split()[0] for row in table[1:]) == ["gru", "rnn"]
    assert outcome.stdout == run("compare", "tiny-sweep").stdout
    again = run("sweep", *GRID)
    assert again.stderr.count("already finished") == 4
    assert again.stdout == outcome.stdout


def test_the_recorded_command_trains_the_same_run(run, corpus):
    run("sweep", *GRID[:-2], "--quiet")
    for line in (FOLDER / "sweep.jsonl").read_text().splitlines():
        record = json.loads(line)
        words = shlex.split(record["command"])
        run(*words[1:-1], "checkpoints/again", "--quiet", "--force")
        for name in ("best.npz", "last.npz"):
            assert same_arrays(FOLDER / record["run"] / name, Path("checkpoints/again") / name)
            assert meta(FOLDER / record["run"] / name) == meta(Path("checkpoints/again") / name)


def test_dry_run_prints_the_commands_of_what_is_left(run, corpus):
    run("sweep", *GRID[:-2], "--quiet")
    shown = run("sweep", *GRID, "--dry-run").stdout.splitlines()
    assert [line.partition("--out ")[2] for line in shown] == [
        f"{FOLDER}/cell={cell},seed=2" for cell in ("rnn", "gru")
    ]
    assert all(line.startswith("charrnn train tiny.txt ") and " --seed 2 " in line for line in shown)
    assert not (FOLDER / NAMES[1]).exists()


def test_it_stops_and_continues(run, corpus, monkeypatch):
    events = Run.events

    def interrupted(self):
        for count, event in enumerate(events(self)):
            if count == 1 and self.folder.path.name == NAMES[1]:
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(Run, "events", interrupted)
    stopped = run("sweep", *GRID, "--eval-every", "9", code=130)
    assert stopped.stderr.splitlines()[-1] == f"Saved {NAMES[1]} after step 2. Run the same command to continue."
    assert stopped.stdout == ""
    assert meta(FOLDER / NAMES[1] / "last.npz")["step"] == 2
    monkeypatch.setattr(Run, "events", events)
    for number in (*STOPPING, *SAVING):  # ignored since the command has ended
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lines = run("sweep", *GRID, "--eval-every", "9").stderr.splitlines()[1:]
    assert ["already finished" in line for line in lines] == [True, False, False, False]
    run("sweep", *GRID, "--eval-every", "9", "--out", "whole", "--quiet")
    assert same_arrays(FOLDER / NAMES[1] / "last.npz", Path("whole") / NAMES[1] / "last.npz")


@posix
def test_a_signal_that_saves_does_not_end_it(run, corpus, monkeypatch):
    events, saved = Run.events, []

    def interrupted(self):
        for count, event in enumerate(events(self)):
            if count == 1:
                signal.raise_signal(signal.SIGUSR1)
            if count == 2:
                saved.append(meta(self.folder.last)["step"])
            yield event

    monkeypatch.setattr(Run, "events", interrupted)
    told = run("sweep", "tiny.txt", *SMALL, "--steps", "4", "--eval-every", "9").stderr
    assert "  saved on SIGUSR1 after step 2\n" in told
    assert saved == [2]


def test_a_run_that_diverges_is_recorded_and_the_others_are_trained(run, corpus, monkeypatch):
    events = Run.events

    def diverging(self):
        for event in events(self):
            if self.folder.path.name == NAMES[0]:
                raise DivergedError("the loss is no longer finite", 3)
            yield event

    monkeypatch.setattr(Run, "events", diverging)
    outcome = run("sweep", *GRID, code=2)
    _, first, second, *_, last = outcome.stderr.splitlines()
    assert first.startswith(f"1/4  {NAMES[0]}  failed: the loss is no longer finite at step 3: ")
    assert second.startswith(f"2/4  {NAMES[1]}  ")
    assert last.startswith("Error: 1 of 4 runs failed, for ")
    assert outcome.stdout.splitlines()[1].split()[0] == "Cell"
    monkeypatch.setattr(Run, "events", events)
    _, first, second, *_ = run("sweep", *GRID, code=2).stderr.splitlines()
    assert "failed: it diverged earlier (the loss is no longer finite at step 3): to train it again, remove " in first
    assert second.endswith("already finished")
    run("rm", f"tiny-sweep/{NAMES[0]}", "--yes")
    assert "failed" not in run("sweep", *GRID).stderr


def test_a_run_that_another_process_trains_is_left_to_it(run, corpus):
    busy = RunFolder(FOLDER / NAMES[0])
    busy.create()
    with busy.locked():
        outcome = run("sweep", *GRID, code=1)
    assert "in use by another training run" in outcome.stderr
    assert run("sweep", *GRID).stderr.count("already finished") == 3


def test_a_sweep_is_removed_by_its_name_and_is_no_model(run, corpus):
    run("sweep", *GRID[:-2], "--quiet")
    told = error_line(run("sample", "-m", "tiny-sweep", code=2).stderr)
    assert told == f"{FOLDER} is the folder of several runs: name one, such as {FOLDER / 'cell=gru'}"
    (FOLDER / "notes.txt").write_text("mine")
    removed = run("rm", "tiny-sweep", "--yes").stdout.splitlines()
    assert [line.split(" (")[0] for line in removed] == [f"Removed {FOLDER}/cell={cell}" for cell in ("gru", "rnn")]
    assert [path.name for path in FOLDER.iterdir()] == ["notes.txt"]
    (FOLDER / "notes.txt").unlink()
    run("sweep", *GRID[:-2], "--quiet")
    run("rm", "tiny-sweep/cell=rnn", "--yes")
    assert (FOLDER / "sweep.jsonl").exists()
    run("rm", FOLDER / "cell=gru", "--yes")
    assert not FOLDER.exists()


def test_values_come_from_a_file_and_from_variables(run, corpus):
    Path("charrnn.toml").write_text('seed = 3\n[sweep]\nsteps = 2\ncell = ["rnn", "gru"]\nhidden-size = 8\n')
    shown = run("sweep", corpus, "--dry-run", env={"CHARRNN_SWEEP_DROPOUT": "0,0.5"}).stdout.splitlines()
    assert len(shown) == 4
    assert shown[3] == (
        "charrnn train tiny.txt --cell gru --hidden-size 8 --dropout 0.5 --steps 2 --seed 3 "
        f"--out {FOLDER}/cell=gru,dropout=0.5"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--cell", "rnn,gro"), "--cell must be rnn, lstm, gru, lnlstm, lnmlstm, mlstm or mingru, got 'gro'"),
        (("--steps", "5,0"), "--steps must be at least 1, got 0"),
        (("--steps", "5", "--epochs", "1"), "give one length"),
        (("--val-chars", "5,6"), "--val-chars must be a whole number"),
        (("--embed-size", "0,8", "--tied", "--steps", "1"), "--tied uses an embedding"),
        (
            ("--steps", "20", "--length-changes", "5:30,10:40"),
            "no such option --length-changes: `charrnn train` has it",
        ),
    ],
)
def test_wrong_values_are_usage_errors(run, corpus, words, says):
    assert says in run("sweep", corpus, *words, code=2).stderr
    assert not FOLDER.exists()
