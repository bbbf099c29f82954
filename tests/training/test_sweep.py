"""Sweeps: the grid, runs like those of `train`, and a sweep that continues or grows."""

import json
import shutil

import pytest
from fixtures_run import SETTINGS, assert_same_run, finish, meta_of, start, stop_at, write_text

from charrnn.errors import ConfigError, DivergedError, RunFolderError
from charrnn.training.loop import Stepped
from charrnn.training.sweep import SEED, Sweep, grid

ONE = {name: (value,) for name, value in SETTINGS.items() if name != "seed"}


@pytest.fixture
def text(tmp_path, no_sync):
    return write_text(tmp_path)


@pytest.fixture
def plan(text, tmp_path):
    """Return a function that plans a sweep of tiny runs on the text, with more settings."""

    def call(**settings):
        several = {name: value if isinstance(value, tuple) else (value,) for name, value in settings.items()}
        return Sweep.plan([text], ONE | several, tmp_path / "sweep")

    return call


def train(sweep, *indices):
    for index in indices or range(len(sweep.runs)):
        finish(sweep.open(sweep.runs[index], f"command {index}"))


def names(sweep):
    return [run.name for run in sweep.runs]


def test_a_grid_has_all_combinations_the_last_setting_varying_fastest():
    assert grid({"cell": ("rnn", "gru"), "steps": (5,), "seed": (1, 2)}) == [
        {"cell": cell, "steps": 5, "seed": seed} for cell in ("rnn", "gru") for seed in (1, 2)
    ]
    assert grid({"cell": ("rnn",)}) == [{"cell": "rnn", "seed": SEED}]


def test_runs_are_named_after_the_settings_that_vary(plan):
    assert names(plan(cell=("rnn", "gru"), learning_rate=(1e-3, 2.0))) == [
        f"cell={cell},learning-rate={rate}" for cell in ("rnn", "gru") for rate in ("0.001", "2")
    ]
    assert names(plan()) == [f"seed={SEED}"]


def test_a_run_of_a_sweep_is_the_run_that_train_does(plan, text, tmp_path):
    sweep = plan(cell=("rnn", "gru"))
    train(sweep)
    for cell in ("rnn", "gru"):
        finish(start(tmp_path / cell, text, cell=cell, seed=SEED))
        assert_same_run(tmp_path / "sweep" / f"cell={cell}", tmp_path / cell)


def test_an_interrupted_run_is_resumed_and_a_finished_one_is_not_planned_anew(plan, text, tmp_path):
    sweep = plan(cell=("rnn", "gru"))
    train(sweep, 0)
    stop_at(sweep.open(sweep.runs[1], "command"), lambda event: isinstance(event, Stepped) and event.step == 9)
    again = plan(cell=("rnn", "gru"))
    assert [run.summary().finished for run in again.runs] == [True, False]
    train(again, 1)
    finish(start(tmp_path / "whole", text, cell="gru", seed=SEED))
    assert_same_run(tmp_path / "sweep" / "cell=gru", tmp_path / "whole")


def test_a_larger_grid_uses_the_runs_of_a_smaller_one(plan):
    train(plan(cell=("rnn", "gru")))
    larger = plan(cell=("rnn", "gru"), seed=(SEED, SEED + 1))
    assert names(larger) == ["cell=rnn", f"cell=rnn,seed={SEED + 1}", "cell=gru", f"cell=gru,seed={SEED + 1}"]
    assert [run.summary() is not None for run in larger.runs] == [True, False, True, False]


def test_a_folder_with_another_run_is_refused(plan, text, tmp_path):
    sweep = plan(cell=("rnn", "gru"))
    train(sweep, 0)
    with pytest.raises(RunFolderError, match=r"cell=rnn is a run with other settings or on another text"):
        plan(cell=("rnn", "gru"), steps=9)
    write_text(tmp_path, "another text\n" * 99)
    with pytest.raises(RunFolderError, match=r"on another text"):
        plan(cell=("rnn", "gru"))
    shutil.rmtree(sweep.runs[0].folder.path)
    assert plan(cell=("rnn", "gru"), steps=9).runs[0].summary() is None
    finish(start(tmp_path / "run", text))
    with pytest.raises(RunFolderError, match="is the folder of a single run"):
        Sweep.plan([text], ONE, tmp_path / "run")


def test_the_record_has_the_command_and_survives_a_line_that_was_cut_short(plan, tmp_path):
    train(plan())
    record = tmp_path / "sweep" / "sweep.jsonl"
    line = json.loads(record.read_text())
    assert (line["run"], line["command"], line["settings"]["hidden_size"]) == ("seed=1", "command 0", 8)
    record.write_text(record.read_text() + '{"run": "seed')
    assert plan().runs[0].summary().finished


def test_a_run_that_diverged_is_remembered_until_it_is_removed(plan):
    sweep = plan()
    run = sweep.runs[0]
    stop_at(sweep.open(run, "command"), lambda event: isinstance(event, Stepped))
    assert sweep.divergence(run) is None
    sweep.record_divergence(run, DivergedError("the loss is no longer finite", 3))
    assert plan().divergence(run) == "the loss is no longer finite at step 3"
    run.folder.clear()
    assert plan().divergence(run) is None


def test_under_a_time_budget_all_runs_validate_as_many_characters(text, tmp_path):
    sweep = Sweep.plan([text], {"minutes": (0.001,), "cell": ("rnn", "gru"), "hidden_size": (8,)}, tmp_path / "sweep")
    assert "val_chars" not in sweep.settings_of(sweep.runs[0])
    train(sweep, 0)
    chosen = meta_of(sweep.runs[0].folder.last)["train"]["val_chars"]
    assert sweep.settings_of(sweep.runs[1])["val_chars"] == chosen
    assert sweep.options_of(sweep.runs[1])["val_chars"] == chosen


def test_settings_that_contradict_each_other_are_refused_before_a_run(plan, text, tmp_path):
    with pytest.raises(ConfigError, match="--tied"):
        plan(tied=True, embed_size=(8, 0))
    with pytest.raises(ConfigError, match="--shuffle-documents validates on other documents for each seed"):
        plan(split_documents="lines", shuffle_documents=True, seed=(1, 2))
    assert len(plan(split_documents="lines", shuffle_documents=True, cell=("rnn", "gru")).runs) == 2
    with pytest.raises(ConfigError, match="give a file, not a pipe"):
        Sweep.plan(["-"], ONE)
    assert not (tmp_path / "sweep").exists()
