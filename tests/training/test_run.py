"""A training run on disk: its files, its log, its length, and what it begins with."""

import hashlib
import json
import math
import os
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures_run import (
    SETTINGS,
    TEXT,
    arrays_of,
    assert_same_run,
    copies,
    finish,
    log_of,
    make_training,
    output_of,
    same,
    set_clock,
    start,
    write_text,
)

from charrnn import checkpoint as ckpt
from charrnn.data.corpus import Corpus
from charrnn.errors import CharRNNError, ConfigError, CorpusError, DivergedError, RunFolderError
from charrnn.nn import model
from charrnn.training import budget
from charrnn.training.folder import RunFolder
from charrnn.training.loop import Evaluating, Report, Stepped, validate
from charrnn.training.run import Run, Saved

pytestmark = pytest.mark.usefixtures("no_sync")

RESUME = """
import sys
from pathlib import Path
from charrnn.errors import RunFolderError
from charrnn.training.run import Run
try:
    Run.resume(Path(sys.argv[1])).close()
    print("taken")
except RunFolderError as error:
    print(error)
"""

LOG_KEYS = (
    "step epoch seconds loss val_loss averaged gap bpc learning_rate grad_norm grad_norms clipped saturation "
    "chars_per_second recoveries"
).split()


def refusal(kind, call, *args, **options):
    """Return the one line with which the call refuses."""
    with pytest.raises(kind) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is on the disk


def test_a_run_leaves_three_files(tmp_path):
    events = finish(start(tmp_path / "run", write_text(tmp_path)))
    visible = [name for name in os.listdir(tmp_path / "run") if not name.startswith(".")]
    assert sorted(visible) == ["best.npz", "last.npz", "log.jsonl"]
    assert not list((tmp_path / "run").glob("*.tmp")) + list((tmp_path / "run").glob(".*.tmp"))
    saved = [event for event in events if isinstance(event, Saved)]
    assert {event.path for event in saved} == {tmp_path / "run" / "best.npz", tmp_path / "run" / "last.npz"}
    assert [event.step for event in saved if event.path.name == "last.npz"] == [7, 14, 20]
    best = [event.step for event in events if isinstance(event, Report) and event.best]
    assert [event.step for event in saved if event.path.name == "best.npz"] == best


def test_a_run_is_saved_once_before_its_first_step(tmp_path):
    begun = start(tmp_path / "run")
    begun.close()
    saved = ckpt.load(tmp_path / "run" / "last.npz")
    assert saved.step == 0
    assert same(saved.params, begun.state.params)
    assert not (tmp_path / "run" / "best.npz").exists()
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_best_serves_inference_and_last_resuming(tmp_path):
    finish(start(tmp_path / "run"))
    best, last = (ckpt.load(tmp_path / "run" / name) for name in ("best.npz", "last.npz"))
    assert (best.opt_state, best.state, best.progress) == ({}, None, {})
    assert last.opt_state.keys() == {f"{slot}/{name}" for slot in "mv" for name in last.params}
    assert last.state.shape == (1, 2, 4, 8)
    assert last.step == 20
    assert best.vocab == last.vocab
    assert best.model_config == last.model_config
    names = [name.partition("/")[0] for name in arrays_of(tmp_path / "run" / "best.npz")]
    assert set(names) == {"meta", "params"}


def test_best_has_the_weights_of_the_least_validation_loss(tmp_path):
    begun = start(tmp_path / "run", learning_rate=0.3, schedule="constant", steps=60, eval_every=3)
    least, params = math.inf, {}
    for event in begun.events():
        if isinstance(event, Report) and event.val_loss is not None and event.val_loss < least:
            least, params, step = event.val_loss, copies(begun.state.params), event.step
    begun.close()
    best = ckpt.load(tmp_path / "run" / "best.npz")
    assert step < 60
    assert best.step == step
    assert same(best.params, params)
    assert best.history[-1]["step"] == step
    assert best.history[-1]["val_loss"] == least


def test_a_checkpoint_says_what_it_was_trained_on_and_how(tmp_path):
    path = write_text(tmp_path)
    finish(start(tmp_path / "run", path, num_layers=2))
    saved = ckpt.load(tmp_path / "run" / "last.npz")
    assert saved.source.path == path
    assert saved.source.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert saved.val_source is saved.init_from is None
    assert saved.earlier_totals == []
    assert saved.vocab.symbols == "".join(sorted(set(TEXT)))
    config, wanted = saved.train_config, SETTINGS | {"num_layers": 2}
    for name, value in wanted.items():
        assert getattr(saved.model_config if hasattr(saved.model_config, name) else config, name) == value, name
    assert (config.epochs, config.minutes) == (None, None)
    assert [record["step"] for record in saved.history] == [7, 14, 20]


def test_the_vocabulary_counts_the_training_part_alone(tmp_path):
    text = "ab\nab\n" * 20 + "zz\n" * 10
    begun = start(tmp_path / "run", Corpus.from_text(text, 0.2))
    begun.close()
    assert begun.vocab.symbols == "\nabz"
    assert begun.vocab.counts == (40, 40, 40, 0)
    assert begun.vocab.starts == (0, 40, 0, 0)


def test_each_line_of_the_log_has_the_same_keys(tmp_path):
    events = finish(start(tmp_path / "run"))
    records = log_of(tmp_path / "run")
    assert [list(record) for record in records] == [LOG_KEYS] * 9
    reports = [event for event in events if isinstance(event, Report)]
    for record, report in zip(records, reports, strict=True):
        assert record["step"] == report.step
        assert record["epoch"] == pytest.approx(report.epoch, abs=1e-6)
        for name in ("loss", "val_loss", "learning_rate", "grad_norm", "grad_norms"):
            assert record[name] == getattr(report, name), name
        assert record["grad_norms"].keys() == {"layer0", "out"}
        if report.step in (7, 14, 20):
            assert record["bpc"] == pytest.approx(report.val_loss / math.log(2), rel=1e-12)
            assert record["gap"] == report.val_loss - report.loss
            assert record["saturation"]["layer0"].keys() == set("ifgo")
            for name, (low, high) in record["saturation"]["layer0"].items():
                assert (low, high) == report.saturation["layer0"][name]
        else:
            assert record["val_loss"] is record["bpc"] is record["gap"] is record["saturation"] is None
    times = [record["seconds"] for record in records]
    assert times == sorted(times)
    assert times[0] >= 0


def test_the_speed_in_the_log_is_of_the_characters_since_the_line_before(tmp_path, monkeypatch):
    now = iter(range(1, 10**6))
    set_clock(monkeypatch, lambda: float(next(now)))
    begun = start(tmp_path / "run", eval_every=10, log_every=5, steps=10)
    evaluating = sum(isinstance(event, Evaluating) for event in finish(begun))
    first, second = log_of(tmp_path / "run")
    # The clock of this test goes on by a second at each event: five steps and the report that follows them, and in the
    # second stretch one for each window of the evaluation.
    assert first["seconds"] == 6
    assert first["chars_per_second"] == pytest.approx(5 * 40 / 6, abs=0.06)
    assert second["seconds"] == 12 + evaluating
    assert second["chars_per_second"] == pytest.approx(5 * 40 / (6 + evaluating), abs=0.06)


def test_without_lines_between_evaluations_the_log_has_one_for_each(tmp_path):
    finish(start(tmp_path / "run", log_every=0))
    assert [record["step"] for record in log_of(tmp_path / "run")] == [7, 14, 20]


def test_save_every_saves_between_evaluations(tmp_path):
    begun = start(tmp_path / "run", save_every=5, log_every=0)
    events = finish(begun)
    assert [event.step for event in events if isinstance(event, Saved) and event.path.name == "last.npz"] == [
        5, 7, 10, 14, 15, 20, 20,
    ]  # fmt: skip
    assert begun.finished


def test_a_save_follows_what_it_contains(tmp_path):
    # A checkpoint on the disk has the step of the newest event that was told before it, and never a later one.
    begun = start(tmp_path / "run", save_every=1)
    step = 0
    for event in begun.events():
        if isinstance(event, (Stepped, Report)):
            step = event.step
        elif isinstance(event, Saved):
            assert event.step == step
            assert ckpt.load(event.path).step == step
    begun.close()


def test_nothing_is_validated_where_no_part_is_held_back(tmp_path):
    events = finish(start(tmp_path / "run", val_fraction=0.0))
    assert not (tmp_path / "run" / "best.npz").exists()
    assert (tmp_path / "run" / "last.npz").exists()
    assert {record["val_loss"] for record in log_of(tmp_path / "run")} == {None}
    assert [event.step for event in events if isinstance(event, Saved)] == [7, 14, 20]


def test_a_validation_part_too_short_to_be_scored_is_noted(tmp_path):
    begun = start(tmp_path / "run", Corpus.from_text(TEXT[:40], 0.02))
    finish(begun)
    assert any("validation split is too short" in note for note in begun.notes)
    assert not (tmp_path / "run" / "best.npz").exists()


def test_a_validation_text_of_its_own_is_used(tmp_path):
    path, val_path = write_text(tmp_path), write_text(tmp_path, TEXT[::-1][:90], "val.txt")
    begun = start(tmp_path / "run", Corpus.read(path, None, val_path))
    begun.close()
    assert len(begun.training.stream.ids) == len(TEXT)
    assert begun.vocab.decode(begun.training.val_ids) == TEXT[::-1][:90]
    assert ckpt.load(tmp_path / "run" / "last.npz").val_source.path == val_path


# The running mean of the weights


def test_best_holds_the_mean_of_the_weights_where_it_is_better(tmp_path):
    # At so high a rate the weights are thrown about; their mean is not.
    settings = {"learning_rate": 1.0, "schedule": "constant", "clip_norm": 0.0, "average": 0.9, "eval_every": 5}
    events = finish(begun := start(tmp_path / "run", **settings))
    training, reports = begun.training, [event for event in events if isinstance(event, Report)]
    best = [report for report in reports if report.best][-1]
    assert best.averaged
    assert not any(report.averaged for report in reports if report.val_loss is None)
    assert [line["averaged"] for line in log_of(tmp_path / "run")] == [report.averaged for report in reports]
    loaded, last = ckpt.load(tmp_path / "run" / "best.npz"), ckpt.load(tmp_path / "run" / "last.npz")
    assert loaded.averaged
    assert not last.averaged
    assert loaded.opt_state == {}
    with training.workers() as workers:
        losses = [
            list(validate(training, params, workers))[-1].nats_per_char for params in (loaded.params, last.params)
        ]
    assert losses[0] == pytest.approx(best.val_loss, rel=1e-6)
    assert losses[0] < losses[1]
    assert same(training.averaged(begun.state), loaded.params)


def test_the_weights_stand_where_they_are_better_than_their_mean(tmp_path):
    begun = start(tmp_path / "run", average=0.999, learning_rate=0.03, eval_every=10)
    reports = [event for event in finish(begun) if isinstance(event, Report) and event.val_loss is not None]
    assert not reports[-1].averaged  # the mean remembers how it began
    assert not ckpt.load(tmp_path / "run" / "best.npz").averaged


def test_the_default_folder_bears_the_corpus_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = Run.start(Corpus.read(write_text(tmp_path)), settings={"hidden_size": 8, "steps": 1})
    begun.close()
    assert (tmp_path / "checkpoints" / "boats" / "last.npz").exists()


# Folders that are taken


def test_a_run_in_the_folder_is_not_overwritten_unless_forced(tmp_path):
    finish(start(tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    message = refusal(RunFolderError, start, tmp_path / "run", seed=6)
    assert str(tmp_path / "run") in message
    assert "--resume" in message
    assert "--force" in message
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    begun = start(tmp_path / "run", seed=6, force=True, val_fraction=0.0)
    assert [path.name for path in begun.folder.files()] == ["last.npz"]  # nothing of the earlier run is left
    finish(begun)
    finish(start(tmp_path / "other", seed=6, val_fraction=0.0))
    assert (tmp_path / "run" / "last.npz").read_bytes() == (tmp_path / "other" / "last.npz").read_bytes()
    assert log_of(tmp_path / "run", clock=False) == log_of(tmp_path / "other", clock=False)


@pytest.mark.parametrize("name", ["best.npz", "last.npz", "log.jsonl"])
def test_a_single_file_of_a_run_is_a_run(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    refusal(RunFolderError, start, tmp_path)
    assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.parametrize("settings", [{"cell": "none"}, {"batch_size": 0}, {"text": "a"}])
def test_a_forced_start_that_fails_removes_nothing(tmp_path, settings):
    finish(start(tmp_path / "run"))
    before = (tmp_path / "run" / "last.npz").read_bytes()
    corpus = Corpus.from_text(settings.pop("text", TEXT), 0)
    with pytest.raises(CharRNNError):
        start(tmp_path / "run", corpus, force=True, **settings)
    assert (tmp_path / "run" / "last.npz").read_bytes() == before


def test_a_run_that_was_made_while_another_began_is_not_overwritten(tmp_path, monkeypatch):
    locked = RunFolder.locked

    @contextmanager
    def late(folder):
        with locked(folder):
            folder.last.write_bytes(b"x")
            yield

    monkeypatch.setattr(RunFolder, "locked", late)
    assert "already has a run" in refusal(RunFolderError, start, tmp_path / "run")
    assert (tmp_path / "run" / "last.npz").read_bytes() == b"x"


def test_a_forced_start_that_is_stopped_before_its_first_save_removes_nothing(tmp_path, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    finish(start(tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path / "run", force=True, ready=stop)
    for place in ("charrnn.training.run.ckpt.save", "charrnn.training.run.budget.measure"):
        monkeypatch.setattr(place, stop)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "run", force=True, minutes=0.005)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_the_lock_refuses_a_second_trainer_and_is_given_back(tmp_path):
    begun = start(tmp_path / "run", write_text(tmp_path))
    next(begun.events())
    before = (tmp_path / "run" / "last.npz").read_bytes()
    assert "in use by another training run" in refusal(RunFolderError, start, tmp_path / "run", force=True)
    assert "in use by another training run" in refusal(RunFolderError, Run.resume, tmp_path / "run")
    assert "in use by another training run" in output_of(RESUME, tmp_path / "run")
    assert (tmp_path / "run" / "last.npz").read_bytes() == before
    begun.close()
    assert output_of(RESUME, tmp_path / "run") == "taken\n"
    Run.resume(tmp_path / "run").close()


@pytest.mark.parametrize("settings", [{"steps": 19}, {"steps": 30, "hidden_size": 9}])
def test_a_refused_resume_gives_the_lock_back(tmp_path, settings):
    finish(start(tmp_path / "run", write_text(tmp_path)))
    refusal(ConfigError, Run.resume, tmp_path / "run", settings=settings)
    begun = Run.resume(tmp_path / "run", settings={"steps": 21})
    begun.close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    message = refusal(CharRNNError, start, tmp_path / "file" / "run")
    assert message.startswith(f"cannot write {tmp_path / 'file' / 'run'}: ")
    assert "--out" in message
    refusal(CharRNNError, start, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("which", ["params", "opt_state", "state"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_good_file_is_never_replaced_by_one_that_load_refuses(tmp_path, which, value):
    begun = start(tmp_path / "run")
    for event in begun.events():
        if event.step == 2:
            break
    begun.save()
    before = (tmp_path / "run" / "last.npz").read_bytes()
    held = getattr(begun.state, which)
    (held if which == "state" else next(iter(held.values()))).flat[0] = value
    with pytest.raises(DivergedError):
        begun.save()
    begun.close()
    assert (tmp_path / "run" / "last.npz").read_bytes() == before


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_that_diverges_leaves_files_that_load(tmp_path, optimizer):
    settings = {"optimizer": optimizer, "learning_rate": 1e38, "schedule": "constant", "steps": 100}
    begun = start(tmp_path / "run", eval_every=2, save_every=1, log_every=1, **settings)
    with pytest.raises(DivergedError):
        finish(begun)
    for path in (tmp_path / "run").glob("*.npz"):
        ckpt.load(path)
    for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines() if begun.folder.log.exists() else []:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# Seeds and lengths


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(tmp_path):
    path = write_text(tmp_path)
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        finish(start(tmp_path / name, path, seed=seed, dropout=0.2))
    assert_same_run(tmp_path / "one", tmp_path / "same")
    one, other = (ckpt.load(tmp_path / name / "last.npz") for name in ("one", "other"))
    for name, array in one.params.items():
        assert not np.array_equal(array, other.params[name]), name


def test_the_first_weights_are_drawn_from_the_seed(tmp_path):
    begun = [start(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    for one, seed in zip(begun, (1, 2), strict=True):
        one.close()
        drawn = model.init_params(one.training.model_config, np.random.default_rng(seed))
        assert same(one.state.params, drawn)
    assert not np.array_equal(begun[0].state.params["out.W_hy"], begun[1].state.params["out.W_hy"])


def test_a_seed_that_is_not_given_is_drawn_and_kept(tmp_path):
    for name in ("one", "other"):
        begun = start(tmp_path / name, seed=None, steps=1)
        finish(begun)
        assert begun.training.stream.seed == begun.training.config.seed
    seeds = [ckpt.load(tmp_path / name / "last.npz").train_config.seed for name in ("one", "other")]
    assert all(isinstance(seed, int) for seed in seeds)
    assert seeds[0] != seeds[1]
    finish(start(tmp_path / "again", seed=seeds[0], steps=1))
    assert (tmp_path / "one" / "last.npz").read_bytes() == (tmp_path / "again" / "last.npz").read_bytes()


def test_epochs_are_turned_into_steps(tmp_path):
    begun = start(tmp_path / "run", epochs=2)
    events = finish(begun)
    per_epoch = begun.training.stream.steps_per_epoch
    assert begun.state.step == 2 * per_epoch
    assert [event.epoch for event in events if isinstance(event, Report)][-1] == 2.0
    config = ckpt.load(tmp_path / "run" / "last.npz").train_config
    assert (config.steps, config.epochs, config.minutes) == (2 * per_epoch, None, None)
    finish(start(tmp_path / "steps", steps=2 * per_epoch))
    assert_same_run(tmp_path / "run", tmp_path / "steps")


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (7, 1), (20, 1), (21, 2), (100, 5), (1000, 50), (1001, 51)])
def test_evaluations_are_at_most_twenty_where_nobody_says_how_often(tmp_path, steps, every):
    begun = start(tmp_path / "run", steps=steps, eval_every=None, val_chars=40)  # as many as a step learns from
    begun.close()
    assert begun.training.config.eval_every == every


@pytest.mark.parametrize("average", [0.0, 0.5])
@pytest.mark.parametrize("steps", [1, 7, 20, 100])
def test_evaluations_but_the_last_read_no_more_than_the_steps_do(tmp_path, steps, average):
    begun = start(tmp_path / "run", steps=steps, eval_every=None, log_every=0, val_fraction=0.5, average=average)
    training, evaluated = begun.training, [event.step for event in finish(begun) if isinstance(event, Report)]
    validated = len(training.val_ids) * (2 if average else 1)  # the running mean of the weights too
    read = (len(evaluated) - 1) * validated
    assert evaluated[-1] == steps
    assert read <= training.stream.chars_before(steps) < read + 3 * validated


def test_a_time_budget_becomes_steps_that_give_the_same_run(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "_SECONDS", (0.05, 0.05))
    path = write_text(tmp_path)
    begun = start(tmp_path / "minutes", path, minutes=0.005, eval_every=None, dropout=0.1)
    config = begun.training.config
    assert config.minutes is config.epochs is None
    assert config.steps >= 1
    assert config.eval_every >= 1
    assert begun.state.step == 0  # measuring left no trace
    assert ckpt.load(tmp_path / "minutes" / "last.npz").train_config == config
    assert re.fullmatch(r"an evaluation takes .* s here", begun.reasons[-1])
    finish(begun)
    config = begun.config
    chosen = vars(config) | vars(begun.training.model_config)
    names = (
        "cell",
        "steps",
        "length_changes",
        "eval_every",
        "learning_rate",
        "average",
        "weight_drop",
        "reset_rate",
        "val_chars",
    )
    settled = {name: chosen[name] for name in names}
    finish(start(tmp_path / "steps", path, dropout=0.1, **settled))
    assert_same_run(tmp_path / "minutes", tmp_path / "steps")


def test_a_time_budget_with_evaluations_at_a_given_pace(tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "_SECONDS", (0.05, 0.05))
    begun = start(tmp_path / "run", minutes=0.005, eval_every=3)
    begun.close()
    assert begun.training.config.eval_every == 3


def set_pace(monkeypatch, step, evaluation):
    """Let a step seem to take so many seconds, and an evaluation with its saves."""

    def char(training, *given):
        stream = training.stream
        return step * stream.steps_per_epoch / (stream.row_length * stream.batch_size)

    monkeypatch.setattr(budget, "char_seconds", char)
    monkeypatch.setattr(budget, "measure", lambda training, *given: budget.Pace(char(training), evaluation))
    monkeypatch.setattr(Run, "_saving_seconds", lambda self: 0.0)
    monkeypatch.setattr(budget, "_AROUND", 0.0)
    monkeypatch.setattr("charrnn.training.run.busy_now", lambda: 0.0)


@pytest.mark.parametrize("eval_every", [None, 4])
def test_a_time_budget_is_spent_on_steps_and_evaluations(tmp_path, monkeypatch, eval_every):
    # With a clock that only the measuring moves: 10 ms a step, 200 ms an evaluation, out of 60 s less 2 s until here
    # and 0.9 s for fitting the memory.
    set_pace(monkeypatch, 0.01, 0.2)
    set_clock(monkeypatch, lambda: 1002.0)
    settings = {"hidden_size": 8, "minutes": 1, "batch_size": 4, "seq_len": 10, "eval_every": eval_every, "seed": 1}
    begun = Run.start(Corpus.from_text(50 * TEXT), tmp_path / "run", settings=settings, began=1000.0)
    begun.close()
    steps, every = begun.training.config.steps, begun.training.config.eval_every
    if eval_every:
        assert every == eval_every
        seconds = steps * 0.01 + (steps / every + 1) * 0.2
    else:
        evaluations = math.ceil(steps / every)
        assert evaluations <= 20
        assert evaluations * 0.2 <= 58 * 0.05 + 0.4
        seconds = steps * 0.01 + (58 * 0.05 + 0.2)
    assert seconds == pytest.approx(57.1, abs=0.3)


def test_a_time_budget_is_spent_on_the_saves_between_evaluations_too(tmp_path, monkeypatch):
    set_pace(monkeypatch, 0.01, 0.0)
    set_clock(monkeypatch, lambda: 1000.0)
    monkeypatch.setattr(Run, "_saving_seconds", lambda self: 0.1)
    corpus, settings = Corpus.from_text(50 * TEXT), {"eval_every": 1000, "save_every": 5}
    begun = start(tmp_path / "run", corpus, minutes=1, batch_size=4, seq_len=10, **settings)
    begun.close()
    steps = begun.training.config.steps
    assert steps * (0.01 + 0.1 / 5) + math.ceil(steps / 1000) * 0.2 == pytest.approx(59.1, abs=0.1)


def test_a_text_that_is_read_faster_than_was_planned_is_read_no_more_often(tmp_path, monkeypatch):
    set_pace(monkeypatch, 0.01, 0.0)
    set_clock(monkeypatch, lambda: 1000.0)
    monkeypatch.setattr(budget, "measure", lambda *given: budget.Pace(1e-6, 0.0))
    begun = start(tmp_path / "run", minutes=0.3, batch_size=4, seq_len=10)
    begun.close()
    assert not any("120 passes" in reason for reason in begun.reasons)  # the recipe planned fewer
    (note,) = begun.notes
    assert note.startswith("the text is short: 1,008 characters support 8 units and 120 passes, about 1% of the time; ")
    assert begun.training.config.steps == 120 * begun.training.stream.steps_per_epoch


@pytest.mark.parametrize("late", [0, 1000])  # seconds that reading and measuring take, of 3600
def test_a_short_text_takes_a_part_of_the_time(tmp_path, monkeypatch, late):
    set_pace(monkeypatch, 0.01, 0.0)
    set_clock(monkeypatch, iter([1000.0, *[1000.0 + late] * 1000]).__next__)
    begun = start(tmp_path / "run", minutes=60, batch_size=4, seq_len=10)
    begun.close()
    steps, stream = begun.training.config.steps, begun.training.stream
    assert steps == 120 * stream.steps_per_epoch
    assert any("120 passes" in note for note in begun.notes)


def test_passes_that_do_not_fit_into_what_set_up_has_left_of_the_time_are_not_done(tmp_path, monkeypatch):
    set_pace(monkeypatch, 0.001, 0.0)
    set_clock(monkeypatch, iter([1000.0, 1000.0, *[1017.0] * 1000]).__next__)  # 18 s in all: planned, and measured
    begun = start(tmp_path / "run", minutes=0.3, batch_size=4, seq_len=10)
    begun.close()
    assert begun.training.config.steps == 1000


def test_an_evaluation_may_score_a_part_of_what_is_held_back(tmp_path):
    text = 50 * TEXT
    begun = start(tmp_path / "run", Corpus.from_text(text), val_chars=40)
    begun.close()
    assert len(begun.training.val_ids) == 41  # as many predictions as there are characters
    whole = Corpus.from_text(text).val
    assert begun.vocab.decode(begun.training.val_ids[np.arange(41)]) == str(whole[:41])


def test_a_time_budget_that_is_already_spent_leaves_one_step(tmp_path, monkeypatch):
    set_pace(monkeypatch, 0.01, 5.0)
    begun = start(tmp_path / "run", minutes=0.01, eval_every=None)
    begun.close()
    assert (begun.training.config.steps, begun.training.config.eval_every) == (1, 1)


@pytest.mark.parametrize(("minutes", "now"), [(0.05, 1008.0), (60, 4700.0)])
def test_reading_may_outlast_the_time_budget(tmp_path, monkeypatch, minutes, now):
    set_pace(monkeypatch, 0.01, 0.01)
    set_clock(monkeypatch, lambda: now)
    settings = {"minutes": minutes, "seed": 1, "hidden_size": 8}
    begun = Run.start(Corpus.from_text(TEXT), tmp_path / "run", settings=settings, began=1000.0)
    begun.close()
    assert begun.training.config.steps == 1


def test_the_rate_of_an_optimizer_that_the_recipe_does_not_know_is_its_own(tmp_path, monkeypatch):
    set_pace(monkeypatch, 0.01, 0.01)
    begun = start(tmp_path / "run", minutes=1, optimizer="sgd")
    begun.close()
    assert begun.training.config.learning_rate == 1.0


@pytest.mark.parametrize("settings", [{"tied": True}, {"input_dropout": 0.1}])
def test_what_needs_an_embedding_gets_the_recipes(tmp_path, monkeypatch, settings):
    set_pace(monkeypatch, 0.01, 0.01)
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 600)))
    begun = start(tmp_path / "run", Corpus.from_text(many), minutes=1, **settings)
    begun.close()
    config = begun.training.model_config
    assert (config.embed_size, config.tied, config.input_dropout) == (128, True, settings.get("input_dropout", 0))


# Short texts


def test_under_a_time_budget_a_tiny_text_is_read_in_few_lanes_and_repeated_by_its_steps(tmp_path, monkeypatch):
    set_pace(monkeypatch, 0.01, 0.01)
    corpus = Corpus.from_text(3 * TEXT)
    begun = Run.start(corpus, tmp_path / "run", settings={"minutes": 0.001, "seed": 1, "hidden_size": 8})
    begun.close()
    config = begun.training.config
    assert (config.batch_size, config.seq_len) == (7, 100)
    plain = Run.start(corpus, tmp_path / "plain", settings={"steps": 1, "seed": 1, "hidden_size": 8})
    plain.close()
    assert plain.training.config.batch_size == 30


@pytest.mark.parametrize(
    ("length", "batch_size", "seq_len"), [(2, 1, 1), (3, 1, 2), (11, 1, 10), (12, 1, 10), (30, 2, 10), (41, 4, 10)]
)
def test_batch_and_window_shrink_to_a_short_text(tmp_path, length, batch_size, seq_len):
    begun = start(tmp_path / "run", Corpus.from_text(TEXT[:length], 0), steps=3, val_fraction=0.0)
    stream = begun.training.stream
    assert (stream.batch_size, stream.seq_len) == (batch_size, seq_len)
    assert (begun.training.config.batch_size, begun.training.config.seq_len) == (batch_size, seq_len)
    if (batch_size, seq_len) != (4, 10):
        assert f"--batch-size is now {batch_size} and --seq-len {seq_len}" in begun.notes[0]
        assert f"the text has {length} characters" in begun.notes[0]
    assert begun.notes[-1] == f"{length} characters are too few to learn from: give at least 100"
    finish(begun)
    saved = ckpt.load(tmp_path / "run" / "last.npz")
    assert saved.step == 3
    assert saved.state.shape[2] == batch_size


def test_a_window_that_shrinks_alone_is_noted_too(tmp_path):
    begun = start(tmp_path / "run", Corpus.from_text("abcde", 0), batch_size=1, val_fraction=0.0)
    begun.close()
    assert begun.training.config.seq_len == 4
    assert "--batch-size is now 1 and --seq-len 4" in begun.notes[0]


@pytest.mark.parametrize(("text", "val_fraction"), [("a", 0.0), ("ab", 0.9), ("abc", 0.5), ("", 0.1)])
def test_a_text_too_short_to_train_on_is_refused(tmp_path, text, val_fraction):
    with pytest.raises(CharRNNError):
        start(tmp_path / "run", Corpus.from_text(text, val_fraction))
    assert not (tmp_path / "run").exists()


def test_a_training_part_too_short_names_the_way_out(tmp_path):
    message = refusal(CorpusError, start, tmp_path / "run", Corpus.from_text("ab", 0.9))
    assert "--val-fraction 0" in message


# Weights that another run begins with


@pytest.fixture
def earlier(tmp_path):
    """Return the checkpoint of a short run on the text."""
    finish(start(tmp_path / "earlier"))
    return tmp_path / "earlier" / "best.npz"


def test_a_run_begins_with_the_weights_of_another_on_the_same_characters(tmp_path, earlier):
    begun = start(tmp_path / "run", Corpus.from_text(TEXT[::-1]), init_from=earlier, seed=9)
    begun.close()
    assert same(begun.state.params, ckpt.load(earlier).params)
    assert begun.state.step == 0
    assert begun.state.history == []
    assert not any(array.any() for array in begun.state.opt_state.values())
    assert begun.notes == []
    saved = ckpt.load(tmp_path / "run" / "last.npz")
    assert saved.init_from == str(earlier)
    assert begun.training.model_config.hidden_size == 8


def test_a_text_with_fewer_characters_keeps_the_earlier_vocabulary(tmp_path, earlier):
    text = TEXT[:200]
    assert set(text) < set(TEXT)
    begun = start(tmp_path / "run", Corpus.from_text(text), init_from=earlier)
    begun.close()
    assert begun.vocab.symbols == ckpt.load(earlier).vocab.symbols
    assert begun.vocab.counts != ckpt.load(earlier).vocab.counts
    assert sum(begun.vocab.counts) == len(begun.training.stream.ids)
    assert same(begun.state.params, ckpt.load(earlier).params)


@pytest.mark.parametrize("way", [{}, {"embed_size": 5}, {"embed_size": 5, "tied": True}])
def test_new_characters_get_new_rows_beside_the_old_ones(tmp_path, way):
    finish(start(tmp_path / "earlier", num_layers=2, **way))
    old = ckpt.load(tmp_path / "earlier" / "last.npz")
    begun = start(
        tmp_path / "run",
        Corpus.from_text("A" + TEXT + "水é\0"),
        init_from=tmp_path / "earlier" / "last.npz",
        extend_vocab=True,
    )
    grown = copies(begun.state.params)
    assert begun.vocab.symbols == "".join(sorted(old.vocab.symbols + "A水é\0"))
    assert begun.training.model_config.vocab_size == old.model_config.vocab_size + 4
    at = [begun.vocab.symbols.index(symbol) for symbol in old.vocab.symbols]
    new = [begun.vocab.symbols.index(symbol) for symbol in "A水é\0"]
    first = "embed.W_e" if way else "layer0.W_xh"
    for name, array in old.params.items():
        if name == first:
            assert np.array_equal(grown[name][at], array), name
        elif name in ("out.W_hy", "out.b_y"):
            assert np.array_equal(grown[name][..., at], array), name
        else:
            assert np.array_equal(grown[name], array), name
    for name, axis in ((first, 0), ("out.W_hy", 1), ("out.b_y", 0)):
        if name == "out.W_hy" and "tied" in way:
            continue
        mean = old.params[name].mean(axis)
        for place in new:
            assert np.array_equal(grown[name].take(place, axis), mean), name
    (note,) = begun.notes
    assert "starting at the mean of its other symbols: 4 characters" in note
    assert "A" in note
    assert "水" in note
    events = finish(begun)
    assert [event for event in events if isinstance(event, Stepped)][-1].step == 20


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"hidden_size": 9}, "--hidden-size 9"),
        ({"cell": "gru"}, "--cell gru"),
        ({"num_layers": 2}, "--num-layers 2"),
        ({"embed_size": 4}, "--embed-size 4"),
        ({"dtype": "float64"}, "--dtype float64"),
    ],
)
def test_a_model_of_another_shape_is_refused_by_its_flag(tmp_path, earlier, settings, flag):
    with pytest.raises(ConfigError) as caught:
        Run.start(Corpus.from_text(TEXT), tmp_path / "run", settings=settings, init_from=earlier)
    assert str(caught.value).startswith(f"{flag} contradicts the model of --init-from, which has ")
    assert not (tmp_path / "run").exists()


def test_what_agrees_with_the_earlier_model_is_accepted_and_dropout_is_free(tmp_path, earlier):
    settings = {"hidden_size": 8, "cell": "lstm", "dropout": 0.25, "steps": 1}
    begun = Run.start(Corpus.from_text(TEXT), tmp_path / "run", settings=settings, init_from=earlier)
    begun.close()
    assert begun.training.model_config.dropout == 0.25
    assert ckpt.load(tmp_path / "run" / "last.npz").model_config.dropout == 0.25


def test_under_a_time_budget_the_recipe_chooses_all_but_what_the_earlier_model_is(tmp_path, monkeypatch, earlier):
    set_pace(monkeypatch, 0.0001, 0.01)
    settings = {"minutes": 10, "seed": 1, "weight_drop": 0.2}
    begun = Run.start(Corpus.from_text(TEXT), tmp_path / "run", settings=settings, init_from=earlier)
    begun.close()
    config, training = begun.training.model_config, begun.training
    assert replace(config, dropout=0.0, weight_drop=0.0) == ckpt.load(earlier).model_config
    assert (config.dropout, config.weight_drop) == (0.21, 0.2)
    assert training.config.steps == 120 * training.stream.steps_per_epoch
    assert (training.config.learning_rate, training.config.reset_rate) == (0.08, 0.05)
    assert training.config.average > 0
    told = [reason.split(" ")[0].rstrip(":") for reason in begun.reasons]
    assert not {"lnlstm", "embedding", "8", "64"} & set(told)
    assert {"dropout", "learning", "reset", "running"} <= set(told)


def test_the_earlier_run_may_stand_in_the_folder_that_is_replaced(tmp_path, earlier):
    old = ckpt.load(earlier)
    begun = start(earlier.parent, init_from=earlier, force=True)
    begun.close()
    assert same(begun.state.params, old.params)
    assert not earlier.exists()
    assert same(ckpt.load(earlier.parent / "last.npz").params, old.params)


def test_a_checkpoint_that_is_none_is_refused(tmp_path):
    message = refusal(CharRNNError, start, tmp_path / "run", init_from=tmp_path / "absent.npz")
    assert "absent.npz does not exist" in message
    assert not Path(tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("threads", "step", "alone", "seq_len", "words"),
    [
        (1, 0.25, None, None, "1 thread: a step takes about 250 ms"),
        (2, 0.029, 0.0522, 10, "2 threads: a step takes about 29 ms, 1.8 times as fast as 1"),
        (4, 0.25, 0.95, 5, "4 threads: a step takes about 250 ms, 3.8 times as fast as 1"),  # a second is too long
        (4, 30.0, 100.0, 1, "4 threads: a step takes about 30 s, 3.3 times as fast as 1"),
    ],
)
def test_what_the_threads_of_a_run_gain_is_measured_on_windows_that_are_short_enough(
    monkeypatch, threads, step, alone, seq_len, words
):
    training, measured, limits = make_training(threads=threads, batch_size=2, seq_len=10), [], []

    def seconds(measuring, state, workers, for_seconds, average):
        limits.append(for_seconds)
        measured.append((measuring.config.threads, measuring.config.seq_len, measuring.stream.seq_len))
        return alone / budget.step_seconds(training, 1.0)

    monkeypatch.setattr(budget, "char_seconds", seconds)
    state = training.begin(model.init_params(training.model_config, np.random.default_rng(0)))
    assert budget.gain_in_words(threads, step, budget.sharing_gain(training, state, step)) == words
    assert measured == [(1, seq_len, seq_len)] * (threads > 1)
    budget.sharing_gain(training, state, step, 0.3)
    assert all(steps <= seq_len for _, steps, _ in measured)
    assert all(limit <= 0.3 / 4 for limit in limits[1:])  # a short run is not spent on it


@pytest.mark.parametrize(
    ("gain", "words"), [(1.71, "1.7 times as fast as on one rank"), (0.5, "2 times as long as on")]
)
def test_what_ranks_gain_or_lose_is_said(gain, words):
    assert budget.gain_in_words(4, 0.029, gain, ranks=2).startswith(
        f"2 ranks of 4 threads: a step takes about 29 ms, {words}"
    )


def test_the_time_that_a_long_run_takes_is_foretold(tmp_path, monkeypatch):
    begun = start(tmp_path / "run")
    begun.close()
    assert budget.expected_seconds(begun.training, begun.state) is None
    monkeypatch.setattr(budget, "_WORTH_MEASURING", 0)
    monkeypatch.setattr(budget, "char_seconds", lambda *given: 0.5)
    chars = begun.training.stream.chars_before(20)
    assert budget.expected_seconds(begun.training, begun.state) == chars / 2
    begun.state.step = 15
    assert budget.expected_seconds(begun.training, begun.state) == (chars - begun.training.stream.chars_before(15)) / 2
