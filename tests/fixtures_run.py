"""Tiny texts, models and runs that the tests of training, of its files and of what reads them share."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import charrnn
from charrnn.config import ModelConfig, sort_settings
from charrnn.data.corpus import Corpus
from charrnn.data.stream import Stream
from charrnn.data.vocab import Vocab
from charrnn.nn import model
from charrnn.training.loop import Training
from charrnn.training.run import Run

#: About a thousand characters in short lines, which a tiny model learns something of in a few steps.
TEXT = "".join(f"{count} {colour} boats\n" for count in range(10, 30) for colour in ("red", "blue", "grey", "green"))

#: Small, and awkward on purpose: the last window of an epoch is short, reports and evaluations fall on different steps.
SETTINGS = {
    "hidden_size": 8,
    "dropout": 0.0,
    "steps": 20,
    "batch_size": 4,
    "seq_len": 10,
    "eval_every": 7,
    "log_every": 3,
    "seed": 5,
}


def write_text(folder, text=TEXT, name="boats.txt"):
    """Write the text into the folder, byte for byte, and return the path as a string."""
    path = Path(folder) / name
    path.write_bytes(text.encode())
    return str(path)


def start(out, corpus=None, *, init_from=None, force=False, ready=None, ranks=None, **settings):
    """Start a tiny run on `corpus`, a path or a `Corpus`; the settings are those of `SETTINGS` where none are given."""
    settings = SETTINGS | settings
    if "epochs" in settings or "minutes" in settings:
        del settings["steps"]
    settings = {name: value for name, value in settings.items() if value is not None}
    if init_from:
        settings.pop("hidden_size")
    if not isinstance(corpus, Corpus):
        config, seed = sort_settings(settings).text, settings.get("seed")
        corpus = Corpus.read(str(corpus), config, seed=seed) if corpus else Corpus.from_text(TEXT, config.val_fraction)
    return Run.start(
        corpus,
        Path(out),
        settings=settings,
        init_from=init_from,
        force=force,
        ready=ready,
        ranks=ranks,
    )


def set_clock(monkeypatch, now):
    """Let runs, and nothing else in this process, read the time from the function `now`."""
    clock = SimpleNamespace(monotonic=now, perf_counter=time.perf_counter)
    for module in ("training.run", "training.budget"):
        monkeypatch.setattr(f"charrnn.{module}.time", clock)


def finish(run):
    """Go through the rest of the run, give its lock back, and return the events."""
    try:
        return list(run.events())
    finally:
        run.close()


def stop_at(run, wanted, *, save=True):
    """Go on to the first event that is wanted, save as the command does, and leave the run; return that event."""
    try:
        event = next(event for event in run.events() if wanted(event))
        if save:
            run.save()
        return event
    finally:
        run.close()


def arrays_of(path):
    """Return all arrays of a checkpoint, `meta` among them."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def meta_of(path):
    """Return what a checkpoint holds besides its arrays."""
    return json.loads(str(arrays_of(path)["meta"]))


def log_of(folder, *, clock=True):
    """Return the records of a run's log; without what the clock says if `clock` is False. NaN is no JSON."""
    lines = (Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    timed = () if clock else ("seconds", "chars_per_second")
    return [{key: value for key, value in record.items() if key not in timed} for record in records]


def assert_same_run(one, other):
    """Assert that two folders hold the same run: every array, the whole meta, the bytes, the log but for the clock.

    The log of a run that a recipe chose also has its reasons, which those of the same run with all settings named lack.
    """
    ours, theirs = arrays_of(Path(one) / "last.npz"), arrays_of(Path(other) / "last.npz")
    assert ours.keys() == theirs.keys()
    assert meta_of(Path(one) / "last.npz") == meta_of(Path(other) / "last.npz")
    for name, array in ours.items():
        assert np.array_equal(array, theirs[name]), name
    for name in ("last.npz", "best.npz"):
        assert (Path(one) / name).read_bytes() == (Path(other) / name).read_bytes(), name
    logs = [[line for line in log_of(each, clock=False) if "reasons" not in line] for each in (one, other)]
    assert logs[0] == logs[1]


def make_training(text=TEXT, val_text="", *, vocab=None, **settings):
    """Return a training of a tiny model on the text, with nothing on disk."""
    model_settings, _, config = sort_settings(SETTINGS | settings)
    vocab = vocab or Vocab.from_text(text, val_text)
    stream = Stream(vocab.encode(text), config.batch_size, config.seq_len, config.seed, config.reset_rate)
    return Training(ModelConfig(vocab.size, **model_settings), config, stream, vocab.encode(val_text))


def begin(training, seed=0):
    """Return the state before the first step, with weights drawn from the seed."""
    return training.begin(model.init_params(training.model_config, np.random.default_rng(seed)))


def copies(arrays):
    """Return a dict of copies."""
    return {name: array.copy() for name, array in arrays.items()}


def same(ours, theirs):
    """Return whether two dicts hold the same arrays; two NaNs are the same."""
    return ours.keys() == theirs.keys() and all(
        np.array_equal(array, theirs[name], equal_nan=True) and array.dtype == theirs[name].dtype
        for name, array in ours.items()
    )


def python(code, *args, **options):
    """Start another Python with this charrnn in its path, and the code as its program."""
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(charrnn.__file__).parents[1]), str(Path(__file__).parent)]),
        "OPENBLAS_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **options,
    )


def output_of(code, *args):
    """Return what another Python prints; fail, showing its errors, where it does not end well."""
    process = python(code, *args)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out
