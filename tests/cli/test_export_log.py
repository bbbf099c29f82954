"""`charrnn export-log`: one folder of events for each run."""

import shutil
import sys
from pathlib import Path

import pytest

from ._material import error_line


def folders(place):
    """Return the folders with events."""
    return sorted(path.parent.relative_to(place).as_posix() for path in Path(place).rglob("events.out.tfevents.*"))


def test_each_run_has_its_folder(run, tiny):
    pytest.importorskip("tensorboardX")
    assert run("export-log", "--tensorboard", "events").stdout.startswith("Wrote events/tiny/events.out.tfevents.")
    shutil.copytree(tiny, "checkpoints/sweep/one")
    shutil.copytree(tiny, "elsewhere/two")
    run("export-log", "sweep", Path("elsewhere/two").absolute(), "--tensorboard", "events")
    assert folders("events") == ["sweep/one", "tiny", "two"]


def test_of_several_runs_those_without_a_log_are_left_out_with_a_note(run, tiny):
    pytest.importorskip("tensorboardX")
    shutil.copytree(tiny, "checkpoints/begun")
    Path("checkpoints/begun/log.jsonl").write_text("")
    outcome = run("export-log", "begun", "tiny", "--tensorboard", "events")
    assert outcome.stderr.startswith("Note: left out: checkpoints/begun/log.jsonl has no figures yet")
    assert folders("events") == ["tiny"]


def test_what_is_there_is_replaced_only_with_force(run, tiny):
    pytest.importorskip("tensorboardX")
    run("export-log", "--tensorboard", "events")
    assert error_line(run("export-log", "--tensorboard", "events", code=2).stderr) == (
        "events/tiny has a run already: replace it with --force, or choose another folder"
    )
    run("export-log", "--tensorboard", "events", "--force")
    assert folders("events") == ["tiny"]


def test_errors_are_one_line(run, tiny, monkeypatch):
    assert "--tensorboard" in error_line(run("export-log", code=2).stderr)
    assert "did you mean tiny" in error_line(run("export-log", "tini", "--tensorboard", "events", code=2).stderr)
    shutil.copytree(tiny, "one/tiny")
    places = [Path(name, "tiny").absolute() for name in ("one", "checkpoints")]
    assert "have the same name" in error_line(run("export-log", *places, "--tensorboard", "events", code=2).stderr)
    Path("file").write_text("")
    if "tensorboardX" in sys.modules:
        assert "cannot write file/tiny" in error_line(run("export-log", "--tensorboard", "file", code=2).stderr)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert error_line(run("export-log", "--tensorboard", "events", code=2).stderr) == (
        'an export for TensorBoard needs tensorboardX: pip install "charrnn-numpy[tensorboard]"'
    )
    (tiny / "log.jsonl").unlink()
    assert "nothing to write into x/tiny: the run has no log.jsonl" in error_line(
        run("export-log", "--tensorboard", "x", code=2).stderr
    )
    assert not Path("events").exists()
