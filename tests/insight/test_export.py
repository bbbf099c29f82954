"""Logs for other tools: what TensorBoard reads is what the log says, and the recipes of the page do what they show."""

import json
import re
import struct
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from fixtures_run import finish, start

from charrnn.errors import RunFolderError
from charrnn.insight.export import scalars, to_tensorboard
from charrnn.insight.log import read_log

PAGE = Path(__file__).parents[2] / "docs" / "cli" / "export-log.md"
MORE = [
    {"step": 0, "seconds": 0.0, "recoveries": 0, "reasons": ["first", "second"]},
    {"step": 9, "seconds": 1e6, "recoveries": 0, "sample": "one\n two"},
    {"step": 40, "back_to": 20, "cause": "loss", "learning_rate": 0.01, "tries": 1, "seconds": 2e6, "recoveries": 1},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a tiny run of twenty steps whose log also has a sample, reasons and a recovery."""
    path = tmp_path_factory.mktemp("run")
    finish(start(path))
    with open(path / "log.jsonl", "a") as file:
        file.write("".join(json.dumps(line) + "\n" for line in MORE))
    return path


def events_of(path):
    """Return the events in a file, after checking the checksums of their lengths and contents."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    def masked(data):
        crc = crc32c(data)
        return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

    data, events = path.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12]) == (masked(data[:8]),)
        assert struct.unpack("<I", data[12 + size : 16 + size]) == (masked(data[12 : 12 + size]),)
        events.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return events


def test_tensorboard_reads_the_figures_of_the_log(folder, tmp_path):
    pytest.importorskip("tensorboardX")
    log = read_log(folder)
    path = to_tensorboard(log, tmp_path / "events", ended=1e9)
    first, *events = events_of(path)
    began = 1e9 - log.seconds[-1]
    assert (first.file_version, first.wall_time) == ("brain.Event:2", began)
    found = {}
    for event in events:
        (value,) = event.summary.value
        if value.HasField("simple_value"):
            found.setdefault(value.tag, []).append((event.step, event.wall_time - began, value.simple_value))
    wanted = scalars(log)
    assert found.keys() == wanted.keys()
    assert {"loss/train", "gradient/norm_layer0", "saturation/layer0.f_low"} <= found.keys()
    for name, values in wanted.items():
        kept = ~np.isnan(values)
        steps, seconds, figures = zip(*found[name], strict=True)
        assert list(steps) == log.step[kept].tolist()
        assert seconds == pytest.approx(log.seconds[kept], abs=1e-6)
        assert figures == pytest.approx(values[kept], rel=1e-6)
    ends = np.stack([wanted[f"saturation/layer0.f_{end}"] for end in ("low", "high")], axis=1)
    np.testing.assert_array_equal(ends, log.saturation["layer0.f"])
    assert len(found["loss/validation"]) < len(found["loss/train"])


def test_tensorboard_reads_samples_reasons_and_recoveries(folder, tmp_path):
    pytest.importorskip("tensorboardX")
    events = events_of(to_tensorboard(read_log(folder), tmp_path, ended=1e9))
    found = {
        (value.tag, event.step): value.tensor.string_val[0].decode()
        for event in events
        for value in event.summary.value
        if value.HasField("tensor")
    }
    assert found == {
        ("reasons/text_summary", 0): "    first\n    second\n",
        ("sample/text_summary", 9): "    one\n     two\n",
        ("recovery/text_summary", 40): "    loss; back to step 20, learning rate 0.01\n",
    }


def test_a_folder_with_events_is_refused_and_with_force_replaced(folder, tmp_path):
    pytest.importorskip("tensorboardX")
    log = read_log(folder)
    first = to_tensorboard(log, tmp_path, ended=1e9)
    with pytest.raises(RunFolderError, match="has a run already: replace it with --force"):
        to_tensorboard(log, tmp_path, ended=2e9)
    assert list(tmp_path.iterdir()) == [first]
    before = first.read_bytes()
    (tmp_path / "note.txt").write_text("mine")
    assert to_tensorboard(log, tmp_path, ended=1e9, force=True).read_bytes() == before
    second = to_tensorboard(log, tmp_path, ended=2e9, force=True)
    assert {*tmp_path.iterdir()} == {second, tmp_path / "note.txt"}


def test_a_history_without_times_is_not_exported(folder, tmp_path):
    import dataclasses

    log = read_log(folder)
    log = dataclasses.replace(log, seconds=np.full(len(log.step), np.nan))
    with pytest.raises(RunFolderError, match="its checkpoint has no times"):
        to_tensorboard(log, tmp_path / "events", ended=1e9)
    assert not (tmp_path / "events").exists()


def recipe(name):
    """Return the page's block that imports a module, after the one that reads the log."""
    reads, *others = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return reads + next(block for block in others if block.startswith(f"import {name}\n"))


@pytest.fixture
def lines(tmp_path, monkeypatch):
    """Write the log that the recipes read, with every kind of line; return what they have to log, by step."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoints" / "names" / "log.jsonl"
    path.parent.mkdir(parents=True)
    names = ("loss", "val_loss", "learning_rate", "grad_norm", "chars_per_second")

    def report(step, loss, val_loss=None):
        return {"step": step, "epoch": 0.1} | dict(zip(names, (loss, val_loss, 0.1, 0.2, 9.0), strict=True))

    kept = [report(10, 3.0), report(20, 2.0, 2.5), report(30, 1.0, 2.25)]
    written = [MORE[0], kept[0], kept[1], report(30, 7.0), report(40, 8.0), MORE[1], MORE[2], kept[2]]
    path.write_text("".join(json.dumps(line) + "\n" for line in written))
    return {each["step"]: {name: each[name] for name in names if each[name] is not None} for each in kept}


def test_the_recipe_for_weights_and_biases_logs_the_run(lines, monkeypatch):
    logged, ended = {}, []
    run = SimpleNamespace(log=lambda data, step: logged.update({step: data}), finish=lambda: ended.append(True))
    wandb = ModuleType("wandb")
    wandb.init = lambda *, project, name: run
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    exec(recipe("wandb"), {})
    assert (logged, ended) == (lines, [True])
    assert list(logged) == sorted(logged)  # it drops a step that is lower than the one before


def test_the_recipe_for_mlflow_logs_the_run(lines, monkeypatch):
    logged = {}

    @contextmanager
    def start_run(*, run_name):
        mlflow.log_metrics = lambda metrics, step: logged.update({step: metrics})
        yield
        del mlflow.log_metrics

    mlflow = ModuleType("mlflow")
    mlflow.start_run = start_run
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    exec(recipe("mlflow"), {})
    assert logged == lines
