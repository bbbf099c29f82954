"""Logs of runs as arrays: what a recovery, a kill, a resume or an early version leaves in them."""

import json
import shutil

import numpy as np
import pytest
from fixtures_run import finish, log_of, start, stop_at, write_text

from charrnn.errors import RunFolderError
from charrnn.insight.log import read_log
from charrnn.training.loop import Stepped
from charrnn.training.run import Run


def report(step, seconds, loss=1.0, val_loss=None, **more):
    """Return a line of a log with a report: 100 characters per second."""
    return {"step": step, "seconds": seconds, "loss": loss, "val_loss": val_loss, "chars_per_second": 100.0, **more}


RECOVERY = {"step": 9, "back_to": 4, "cause": "the loss is no longer finite", "learning_rate": 0.01, "tries": 1}


@pytest.fixture
def log(tmp_path):
    """Return a function that writes lines as the log of a run, and reads it."""

    def written(*lines, end=""):
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
        return read_log(tmp_path)

    return written


def test_the_figures_of_a_run_are_those_of_its_lines(tmp_path):
    run = start(tmp_path / "run")
    finish(run)
    found, lines = read_log(tmp_path / "run"), log_of(tmp_path / "run")
    for name in ("step", "epoch", "seconds", "loss", "learning_rate", "grad_norm", "clipped", "chars_per_second"):
        assert getattr(found, name).tolist() == [line[name] for line in lines]
    expected = [np.nan if line["val_loss"] is None else line["val_loss"] for line in lines]
    np.testing.assert_array_equal(found.val_loss, expected)
    assert found.best_step == run.state.progress.best_step
    assert found.grad_norms["out"].tolist() == [line["grad_norms"]["out"] for line in lines]
    shares = [line["saturation"]["layer0"]["f"] if line["saturation"] else [np.nan, np.nan] for line in lines]
    np.testing.assert_array_equal(found.saturation["layer0.f"], shares)
    assert (found.recoveries, found.samples, found.reasons, found.unreadable) == ([], [], [], 0)


def test_characters_come_from_speed_and_time(log):
    found = log(report(1, 1.0), report(2, 3.0), {**RECOVERY, "back_to": 2, "seconds": 7.0}, report(4, 8.0))
    assert found.chars.tolist() == [100, 300, 400]


def test_lines_after_a_recovery_replace_those_of_the_abandoned_steps(log):
    sample = {"seconds": 2.5, "recoveries": 0, "sample": "x"}
    found = log(
        report(2, 1.0, 3.0),
        {"step": 4, **sample},
        report(4, 2.0, 2.0, 2.5),
        report(5, 2.75, 9.0, 0.2),
        report(6, 3.0, 9.0, 0.1),
        {"step": 6, **sample},
        {**RECOVERY, "seconds": 4.0},
        report(6, 5.0, 1.5, 1.6),
        {"step": 6, **sample, "sample": "y"},
    )
    assert found.step.tolist() == [2, 4, 6]
    assert found.loss.tolist() == [3.0, 2.0, 1.5]
    assert found.seconds.tolist() == [1.0, 2.0, 5.0]
    assert found.best_step == 6
    assert found.val_loss[found.best] == 1.6
    assert found.recoveries == [(9, 4, "the loss is no longer finite", 0.01)]
    assert found.samples == [(4, "x"), (6, "y")]


def test_a_line_cut_short_by_a_kill_is_left_out_and_damage_elsewhere_is_counted(log):
    found = log(report(1, 1.0), report(2, 2.0), end='{"step": 3, "los')
    assert (found.step.tolist(), found.unreadable) == ([1, 2], 0)
    found = log(report(1, 1.0), {"step": None, "loss": 1}, report(2, 2.0), end='{"step"\n{"step": 3, "los')
    assert (found.step.tolist(), found.unreadable) == ([1, 2], 2)


def test_a_later_line_replaces_those_of_its_step_and_later_ones(log):
    found = log(report(1, 1.0, 3.0), report(2, 2.0, 9.0), report(3, 3.0, 9.0), report(2, 4.0, 2.0))
    assert (found.step.tolist(), found.loss.tolist()) == ([1, 2], [3.0, 2.0])


def test_reasons_come_first_and_a_run_may_validate_nothing(log):
    reasons = {"step": 0, "seconds": 0.0, "recoveries": 0, "reasons": ["an evaluation takes 1 s here"]}
    found = log(reasons, report(1, 1.0), report(2, 2.0))
    assert found.reasons == ["an evaluation takes 1 s here"]
    assert found.best is found.best_step is None
    assert np.isnan(found.val_loss).all()


def test_a_resumed_run_reads_like_one_that_was_never_stopped(tmp_path):
    text = write_text(tmp_path)
    finish(start(tmp_path / "whole", text))
    stop_at(start(tmp_path / "half", text), lambda event: isinstance(event, Stepped) and event.step == 11)
    with open(tmp_path / "half" / "log.jsonl", "a") as file:
        file.write('{"step": 12, "sec')
    finish(Run.resume(tmp_path / "half"))
    whole, half = read_log(tmp_path / "whole"), read_log(tmp_path / "half")
    assert half.step.tolist() == whole.step.tolist()
    assert half.loss.tolist() == whole.loss.tolist()
    assert (np.diff(half.seconds) >= 0).all()


def test_a_run_without_a_log_has_the_evaluations_of_its_checkpoint(tmp_path):
    finish(start(tmp_path))
    whole = read_log(tmp_path)
    (tmp_path / "log.jsonl").unlink()
    found, measured = read_log(tmp_path), ~np.isnan(whole.val_loss)
    for name in ("step", "loss", "val_loss", "learning_rate", "grad_norm"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[measured])
    for unknown in (found.seconds, found.chars, found.chars_per_second):
        assert np.isnan(unknown).all()
    (tmp_path / "last.npz").unlink()
    assert read_log(tmp_path).best_step == whole.best_step


def test_what_has_no_figures_is_one_line_of_error(log, tmp_path):
    with pytest.raises(RunFolderError, match=r"log.jsonl has no figures yet: the first appear after --log-every steps"):
        log({"step": 0, "seconds": 0.0, "reasons": []})
    with pytest.raises(RunFolderError, match=r"log.jsonl is damaged, and no figure in it can be read"):
        log(end="\0\0\0\n\xff\n")
    with pytest.raises(RunFolderError, match=r"a figure in it is not a number"):
        log(report(1, 1.0, loss="low"))
    shutil.rmtree(tmp_path)
    with pytest.raises(RunFolderError, match=r"is not the folder of a run"):
        read_log(tmp_path)
    run = start(tmp_path)
    run.close()
    (tmp_path / "log.jsonl").unlink(missing_ok=True)
    with pytest.raises(RunFolderError, match=r"log.jsonl is missing, and last.npz has no evaluation"):
        read_log(tmp_path)
