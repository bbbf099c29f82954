"""The run of a classifier: resumed anywhere it is the uninterrupted one, and calibrated when it ends."""

import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fixtures_run import assert_same_run, finish, log_of, meta_of, python, stop_at

from charrnn import checkpoint as ckpt
from charrnn.classification import run as classifier_run
from charrnn.classification.run import ClassifierRun
from charrnn.classification.training import LabelTraining
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, OtherTextError, RunFolderError
from charrnn.nn.functional import log_softmax
from charrnn.system import meter
from charrnn.training import budget, loop, run
from charrnn.training.folder import find_model
from charrnn.training.loop import Report, Stepped
from charrnn.training.run import Run, Saved

pytestmark = pytest.mark.usefixtures("no_sync")

#: Small, and awkward on purpose: the last batch of an epoch is short, reports and evaluations fall on different steps.
SETTINGS = {
    "cell": "gru",
    "hidden_size": 6,
    "embed_size": 3,
    "dropout": 0.3,
    "weight_drop": 0.2,
    "next_weight": 0.5,
    "ngrams": 2,
    "balance": 0.5,
    "val_fraction": 0.3,
    "batch_size": 16,
    "steps": 12,
    "eval_every": 5,
    "log_every": 2,
    "learning_rate": 0.02,
    "threads": 1,
    "seed": 5,
}
SECONDS = 15.0
COLOURS = {"warm": ("red", "pink", "orange"), "cold": ("blue", "green"), "none": ("grey", "black", "white")}
TEXTS = "".join(
    f"{label}\t{count} {name} boats\n" for count in range(10, 18) for label, names in COLOURS.items() for name in names
)


def write(folder, text=TEXTS, name="boats.tsv"):
    path = Path(folder) / name
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def start(out, path, **settings):
    settings = SETTINGS | settings
    if "minutes" in settings or "epochs" in settings:
        del settings["steps"]
    own = {name: settings.pop(name) for name in ("val_path", "init_from", "force", "ready") if name in settings}
    return ClassifierRun.start([path], Path(out), settings=settings, **own)


def refusal(kind, call, *args, **options):
    with pytest.raises(kind) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def boats(tmp_path_factory):
    return write(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, boats):
    """Return the folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(folder, boats))
    return folder


# What is on the disk


def test_the_same_seed_gives_the_same_bytes(tmp_path, boats, whole):
    finish(start(tmp_path / "run", boats))
    assert_same_run(tmp_path / "run", whole)
    finish(start(tmp_path / "other", boats, seed=6))
    assert (tmp_path / "other/best.npz").read_bytes() != (whole / "best.npz").read_bytes()


def test_the_log_has_the_accuracy_and_no_bits_per_character(whole):
    lines = log_of(whole)
    assert [line["step"] for line in lines] == [2, 4, 5, 6, 8, 10, 12]
    assert all(not {"bpc", "saturation"} & line.keys() for line in lines)
    assert [line["step"] for line in lines if line["val_accuracy"] is not None] == [5, 10, 12]
    history = meta_of(whole / "last.npz")["history"]
    assert [record["val_accuracy"] for record in history] == [
        line["val_accuracy"] for line in lines if line["val_accuracy"] is not None
    ]


def test_a_checkpoint_says_what_it_is(whole, boats):
    best, last = (ckpt.load_classifier(whole / name) for name in ("best.npz", "last.npz"))
    assert best.classifier.labels == ("cold", "none", "warm")
    assert (best.classifier.next_weight, best.classifier.balance) == (0.5, 0.5)
    assert best.source.path == boats
    assert last.classifier.net_factor is None
    factors = {name: getattr(best.classifier, name) for name in ("net_factor", "ngram_factor")}
    assert best.classifier == replace(last.classifier, **factors)
    assert (best.ngrams.keys(), last.ngrams) == ({"keys", "weights"}, {})
    assert best.state is None
    assert best.summary.startswith("classifier of 3 labels, gru 1x6, ")
    assert last.validated == 20


# Stopped and resumed

AT = {
    "the first step": lambda event: isinstance(event, Stepped),
    "a step within an epoch": lambda event: isinstance(event, Stepped) and event.step == 3,
    "the end of an epoch": lambda event: isinstance(event, Stepped) and event.step == 4,
    "a step that is reported": lambda event: isinstance(event, Stepped) and event.step == 10,
    "a report": lambda event: isinstance(event, Report) and event.step == 5,
    "the last save": lambda event: isinstance(event, Saved) and event.step == 12 and event.path.name == "last.npz",
}


@pytest.mark.parametrize("at", AT)
def test_a_run_that_was_stopped_is_the_uninterrupted_one(tmp_path, boats, whole, at):
    going = start(tmp_path / "run", boats)
    stop_at(going, AT[at])
    going.conclude()  # as the command does
    finish(ClassifierRun.resume(tmp_path / "run"))
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize(
    "settings",
    [
        {"average": 0.8, "eval_every": 2},
        {"patience": 2, "eval_every": 1, "steps": 40},
        {"threads": 2},
        {"nets": 2, "ngrams": 3},
    ],
)
def test_a_run_stopped_again_and_again_is_the_uninterrupted_one(tmp_path, boats, settings):
    finish(uninterrupted := start(tmp_path / "whole", boats, **settings))
    going = start(tmp_path / "run", boats, **settings)
    while not going.finished:
        until = going.state.step + 5
        try:
            stop_at(going, lambda event, until=until: isinstance(event, (Stepped, Report)) and event.step >= until)
        except StopIteration:
            pass
        going = ClassifierRun.resume(tmp_path / "run")
    finish(going)
    assert uninterrupted.finished
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert meta_of(tmp_path / "run/best.npz")["averaged"] == ("average" in settings) or "average" not in settings


def test_a_longer_run_goes_on_and_is_calibrated_again(tmp_path, boats):
    finish(start(tmp_path / "run", boats, schedule="constant"))
    finish(ClassifierRun.resume(tmp_path / "run", settings={"steps": 24}))
    finish(start(tmp_path / "long", boats, schedule="constant", steps=12, length_changes="12:24"))
    assert_same_run(tmp_path / "run", tmp_path / "long")


def test_a_finished_run_writes_nothing(tmp_path, boats, whole):
    finish(start(tmp_path / "run", boats))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.npz")}
    again = ClassifierRun.resume(tmp_path / "run")
    assert again.finished
    assert finish(again) == []
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*.npz")} == before


def test_a_kill_before_the_calibration_is_made_up_for(tmp_path, boats, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierRun, "conclude", lambda run: None)
        finish(start(tmp_path / "run", boats))
    assert meta_of(tmp_path / "run/best.npz")["classifier"]["net_factor"] is None
    resumed = ClassifierRun.resume(tmp_path / "run")
    assert resumed.finished
    assert not resumed.is_concluded
    finish(resumed)
    assert_same_run(tmp_path / "run", whole)


TRAIN = """
import sys
from pathlib import Path
from charrnn.classification.run import ClassifierRun
path, folder, settings = sys.argv[1], Path(sys.argv[2]), eval(sys.argv[3])
resumes = (folder / "last.npz").exists()
run = ClassifierRun.resume(folder) if resumes else ClassifierRun.start([path], folder, settings=settings)
print("begun", flush=True)
for event in run.events():
    pass
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_a_run_killed_at_random_moments_is_the_uninterrupted_one(tmp_path, boats):
    settings = SETTINGS | {"steps": 25, "eval_every": 1, "save_every": 1, "log_every": 1}
    moments = random.Random(1)
    for _ in range(2):
        with python(TRAIN, boats, tmp_path / "run", repr(settings)) as process:
            assert process.stdout.readline() == "begun\n", process.stderr.read()
            time.sleep(moments.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        for path in (tmp_path / "run").glob("*.npz"):
            ckpt.load(path)
    finish(ClassifierRun.resume(tmp_path / "run"))
    finish(start(tmp_path / "whole", boats, **settings))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


# The best model and its calibration


def scored(path, training):
    """Return the log-probabilities of the validation texts by a checkpoint, calibrated if it is."""
    saved = ckpt.load_classifier(path)
    with replace(training, settings=saved.classifier).workers() as workers:
        workers.set_params(saved.params)
        found = np.empty((len(training.val), 3))
        for batch, logits in workers.logits(training.val):
            found[batch.indices] = log_softmax((saved.classifier.net_factor or 1.0) * logits)
    return found


def test_the_best_has_the_fewest_errors_and_calibration_lowers_its_loss(tmp_path, boats, monkeypatch):
    settings = {
        "steps": 60,
        "eval_every": 3,
        "schedule": "constant",
        "learning_rate": 0.05,
        "dropout": 0.0,
        "ngrams": 0,
    }
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierRun, "conclude", lambda run: None)
        begun = start(tmp_path / "run", boats, **settings)
        reports = [event for event in finish(begun) if isinstance(event, Report) and event.val_accuracy is not None]
    most = max(report.val_accuracy for report in reports)
    first = next(report for report in reports if report.val_accuracy == most)
    best, labels = tmp_path / "run/best.npz", begun.training.val_labels
    rows = np.arange(len(labels))
    assert ckpt.load(best).step == first.step
    before = scored(best, begun.training)
    assert (before.argmax(axis=1) == labels).mean() == pytest.approx(most)
    assert -before[rows, labels].mean() == pytest.approx(first.val_loss, rel=1e-5)
    finish(ClassifierRun.resume(tmp_path / "run"))
    after = scored(best, begun.training)
    assert ckpt.load(best).classifier.net_factor not in (None, 1.0)
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))
    assert -after[rows, labels].mean() < -before[rows, labels].mean()


def test_two_texts_are_both_learned(tmp_path):
    path = write(tmp_path, "warm\tred\ncold\tblue\n")
    finish(start(tmp_path / "run", path))
    last = ckpt.load(tmp_path / "run/last.npz")
    assert (last.classifier.labels, last.train_config.batch_size, last.validated) == (("cold", "warm"), 2, 0)


def test_without_validation_there_is_no_best(tmp_path, boats):
    finish(start(tmp_path / "run", boats, val_fraction=0.0))
    assert not (tmp_path / "run/best.npz").exists()
    resumed = ClassifierRun.resume(tmp_path / "run")
    assert resumed.is_concluded
    assert finish(resumed) == []


# The length


def test_a_run_of_some_minutes_ends_in_time_with_its_calibration(tmp_path, boats, monkeypatch):
    """The clock is simulated: each step, evaluation and save moves it."""
    spent = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: spent[0], perf_counter=lambda: spent[0])
    for module in (run, classifier_run, budget, meter):
        monkeypatch.setattr(module, "time", clock)

    def taking(seconds, function):
        def slow(*args, **options):
            spent[0] += seconds
            return function(*args, **options)

        return slow

    train_step = taking(0.1, loop.train_step)
    for module in (loop, budget):
        monkeypatch.setattr(module, "train_step", train_step)
    monkeypatch.setattr(LabelTraining, "tallies", taking(0.5, LabelTraining.tallies))
    monkeypatch.setattr(ClassifierRun, "conclude", taking(0.5, ClassifierRun.conclude))
    monkeypatch.setattr(ckpt, "save", taking(0.05, ckpt.save))
    begun = start(tmp_path / "run", boats, minutes=SECONDS / 60, eval_every=None)
    finish(begun)
    assert begun.state.step == begun.state.course.total > 1
    assert SECONDS - 0.8 < spent[0] - 1000 < SECONDS - 0.15  # what is left is for the process to begin and end
    assert begun.is_concluded
    assert ckpt.load(tmp_path / "run/best.npz").classifier.net_factor is not None
    config = begun.config
    chosen = vars(config) | vars(begun.training.model_config) | vars(begun.training.settings)
    names = {*SETTINGS, "steps", "eval_every", "length_changes", "average", "pool", "nets", "ngrams"}
    finish(start(tmp_path / "again", boats, **{name: chosen[name] for name in names - {"val_fraction"}}))
    assert_same_run(tmp_path / "run", tmp_path / "again")


def test_the_calibration_is_part_of_the_time(tmp_path, boats):
    training = start(tmp_path / "run", boats).training
    assert training.evaluations_after == 1


# What resuming refuses


def test_a_batch_size_above_the_texts_is_no_contradiction(tmp_path, boats):
    finish(start(tmp_path / "run", boats, batch_size=1000))
    assert ckpt.load(tmp_path / "run/last.npz").train_config.batch_size == 44
    ClassifierRun.resume(tmp_path / "run", settings={"batch_size": 1000}).close()
    told = refusal(ConfigError, ClassifierRun.resume, tmp_path / "run", settings={"batch_size": 43})
    assert told.startswith("--batch-size 43 contradicts the run, which has 44: leave it out")


def test_what_resuming_refuses(tmp_path, boats, whole):
    for name, value in {"pool": "mean", "max_chars": 7, "hidden_size": 9, "val_fraction": 0.1, "seed": 9}.items():
        told = refusal(ConfigError, ClassifierRun.resume, whole, settings={name: value})
        assert told.startswith(f"--{name.replace('_', '-')} {value} contradicts the run")
    assert "cannot be less" in refusal(ConfigError, ClassifierRun.resume, whole, settings={"steps": 3})
    assert "no last.npz" in refusal(RunFolderError, ClassifierRun.resume, tmp_path)
    other = write(tmp_path, TEXTS.replace("red", "tan"))
    assert "SHA-256 differs" in refusal(OtherTextError, ClassifierRun.resume, whole, [other])
    assert "already has a run" in refusal(RunFolderError, start, whole, boats)
    assert "is a classifier: resume it with `charrnn classify train --resume`" in refusal(
        CheckpointError, Run.resume, whole
    )


def test_a_validation_file_of_its_own(tmp_path, boats, whole):
    val = write(tmp_path, "warm\t5 red boats\nodd\t5 odd boats\ncold\t5 blue boats\n", "val.tsv")
    begun = start(tmp_path / "run", boats, val_path=val)
    finish(begun)
    assert len(begun.training.stream.texts) == 64
    assert begun.training.val_labels.tolist() == [2, 0]
    assert "1 validation text has a label that no training text has, and is left out: 'odd'" in begun.notes
    assert ckpt.load(tmp_path / "run/last.npz").val_source.path == val
    finish(ClassifierRun.resume(tmp_path / "run"))
    write(tmp_path, "warm\t5 red boats\n", "val.tsv")
    assert "val.tsv does not have the texts" in refusal(OtherTextError, ClassifierRun.resume, tmp_path / "run")


def test_texts_of_bytes_are_read_as_predictions_read_them(tmp_path):
    texts = write(tmp_path, TEXTS.replace("red", "röd").replace("green", "grön"))
    begun = start(tmp_path / "run", texts, bytes=True, val_fraction=0.0)
    finish(begun)
    stream = begun.training.stream
    assert int(stream.texts.lengths.max()) == len("10 orange boats") + 2
    rows = stream.texts
    found = {begun.vocab.decode(rows.ids[at : at + n]) for at, n in zip(rows.starts, rows.lengths, strict=True)}
    assert "10 röd boats" in found
    finish(ClassifierRun.resume(tmp_path / "run"))


# The checkpoint


def rewritten(path, out, change):
    """Write a checkpoint with a changed meta, and return its path."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = json.loads(str(arrays["meta"]))
    change(meta)
    np.savez(out, **arrays | {"meta": np.array(json.dumps(meta))})
    return out


DAMAGE = {
    "one label": lambda own: own.update(labels=["warm"]),
    "a label twice": lambda own: own.update(labels=["warm", "warm", "cold"]),
    "a label that is no text": lambda own: own.update(labels=["warm", "cold", 3]),
    "too many labels": lambda own: own["labels"].append("more"),
    "labels that are no list": lambda own: own.update(labels=7),
    "labels that are a text": lambda own: own.update(labels="abc"),
    "no labels": lambda own: own.pop("labels"),
    "one direction": lambda own: own.update(bidirectional=False),
    "an unknown pool": lambda own: own.update(pool="sum"),
    "an unknown setting": lambda own: own.update(colour="red"),
    "a factor of zero": lambda own: own.update(net_factor=0.0),
    "n-grams without a factor, or a factor without n-grams": lambda own: own.update(
        ngrams=3, ngram_factor=None if own["ngram_factor"] else 0.5
    ),
    "nets that are not there": lambda own: own.update(nets=2),
    "readouts that are not there": lambda own: own.update(next_weight=0.0),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("file", ["best.npz", "last.npz"])
def test_a_classifier_that_makes_no_sense_is_refused_in_one_line(tmp_path, whole, name, file):
    path = rewritten(whole / file, tmp_path / "x.npz", lambda meta: DAMAGE[name](meta["classifier"]))
    assert refusal(CheckpointError, ckpt.load, path).startswith(f"{path} is damaged: ")


@pytest.mark.parametrize("value", [[], "yes", 3])
def test_a_classifier_that_is_no_record_is_refused(tmp_path, whole, value):
    path = rewritten(whole / "best.npz", tmp_path / "x.npz", lambda meta: meta.update(classifier=value))
    assert refusal(CheckpointError, ckpt.load, path).startswith(f"{path} is damaged: ")


def test_a_classifier_cut_short_is_refused(tmp_path, whole):
    data = (whole / "best.npz").read_bytes()
    for size in (len(data) // 3, len(data) - 5):
        (tmp_path / "x.npz").write_bytes(data[:size])
        assert "x.npz" in refusal(CheckpointError, ckpt.load, tmp_path / "x.npz")


def test_an_earlier_file_without_the_entry_is_a_language_model(tmp_path, whole):
    path = rewritten(whole / "best.npz", tmp_path / "x.npz", lambda meta: meta.pop("classifier"))
    assert "is damaged" in refusal(CheckpointError, ckpt.load, path)  # its arrays are those of a classifier
    old = Path(__file__).parents[1] / "checkpoint_v1"
    assert [ckpt.load(path).classifier for path in sorted(old.rglob("*.npz"))[:1]] == [None]


def test_the_newest_run_of_a_kind_is_found(tmp_path, monkeypatch, boats):
    from fixtures_run import start as start_model

    monkeypatch.chdir(tmp_path)
    for number, (name, begin) in enumerate(
        {"a": start_model, "b": start, "c": start_model, "d": start}.items(), start=1
    ):
        folder = Path("checkpoints") / name
        (start_model(folder) if begin is start_model else start(folder, boats)).close()
        for path in folder.iterdir():
            os.utime(path, (number, number))
    assert find_model(None) == Path("checkpoints/c/last.npz")
    assert find_model(None, classifier=True) == Path("checkpoints/d/last.npz")
    os.utime("checkpoints/b/last.npz", (9, 9))
    assert find_model(None, classifier=True) == find_model(None, classifier=None) == Path("checkpoints/b/last.npz")
    for name in "bd":
        os.unlink(f"checkpoints/{name}/last.npz")
    told = refusal(CharRNNError, find_model, None, classifier=True)
    assert told.startswith("no classifier under ./checkpoints: train one with `charrnn classify train`")
