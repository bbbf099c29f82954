"""`charrnn classify train`: what it prints, what it refuses, how it goes on; and its runs in the other commands."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest

from charrnn.training.loop import Stepped
from charrnn.training.run import Run

from ._material import LABELLED, SMALL, TEXT, error_line, meta, posix

RUN = Path("checkpoints/labelled")
NET = ("--hidden-size", "16", "--batch-size", "8", "--warmup-steps", "5", "--seed", "1", "--threads", "1")
TRAIN = ("classify", "train", "labelled.tsv", *NET, "--val-fraction", "0.2")


@pytest.fixture
def labelled(cwd):
    """Put `labelled.tsv` alone into the test's folder."""
    (cwd / "labelled.tsv").write_bytes(LABELLED.encode())


def stop_after(monkeypatch, step):
    """Let the run get a Ctrl-C after this step."""
    events = Run.events

    def stopped(run):
        for event in events(run):
            if isinstance(event, Stepped) and event.step == step:
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(Run, "events", stopped)


def log() -> list[dict]:
    return [json.loads(line) for line in (RUN / "log.jsonl").read_text().splitlines()]


def test_the_whole_output_of_a_run(run, labelled):
    outcome = run(*TRAIN, "--steps", "40", "--eval-every", "20")
    first, last = log()
    found = [f"{line['loss']:.4f}  val {line['val_loss']:.4f}, {line['val_accuracy']:.1%} right" for line in log()]
    best = first if first["val_accuracy"] >= last["val_accuracy"] else last
    weights = sum(np.prod(shape) for shape in ((37, 64), (16, 64), 64)) * 2 + 32 * 3 + 3
    lines = outcome.stderr.splitlines()
    assert outcome.bytes == b""
    assert lines[:3] == [
        "Texts  43 for training, 11 for validation; 3 labels",
        f"Model  lstm, 1 layer of 16 units in both directions, max; {weights:,} parameters",
        "Run    40 steps, 6.67 epochs, seed 1, in checkpoints/labelled",
    ]
    assert lines[3] == f"step 20  epoch 3.3  loss {found[0]}  best so far"
    assert lines[4] == f"step 40  epoch 6.7  loss {found[1]}" + "  best so far" * (best is last)
    assert lines[5] == f"Best      {best['val_accuracy']:.1%} of the validation texts right, at step {best['step']}"
    assert re.fullmatch(r"Time      \d+ seconds?, [\d,]+ characters per second", lines[6])
    assert lines[7:] == [
        "Model     checkpoints/labelled/best.npz",
        "Evaluate  charrnn classify eval -m checkpoints/labelled",
        "Predict   charrnn classify predict -m checkpoints/labelled",
        "Extend    charrnn classify train labelled.tsv --resume --minutes 5",
        "Repeat    charrnn classify train labelled.tsv --hidden-size 16 --steps 40 --batch-size 8 --warmup-steps 5 "
        "--threads 1 --seed 1 --val-fraction 0.2 --eval-every 20",
    ]


def test_the_repeat_command_repeats_it(run, labelled):
    Path("val.tsv").write_text(LABELLED[:500].rpartition("\n")[0])
    options = ("--val-file", "val.tsv", "--pool", "mean", "--no-bidirectional", "--balance", "0.5")
    lines = run("classify", "train", "labelled.tsv", *NET, *options, "--epochs", "2").stderr.splitlines()
    again = shlex.split(lines[-1].removeprefix("Repeat    charrnn "))
    run(*again, "--out", "again", "--quiet")
    for name in ("best.npz", "last.npz"):
        assert (RUN / name).read_bytes() == (Path("again") / name).read_bytes()


def test_quiet_says_nothing(run, labelled):
    assert run(*TRAIN, "--steps", "3", "--quiet").stderr == ""
    assert run(*TRAIN, "--steps", "3", "--resume", "--quiet").stderr == ""


def test_a_finished_run_says_so(run, classifier):
    told = run("classify", "train", "labelled.tsv", "--resume").stderr
    assert told == (
        "The run in checkpoints/labelled is complete after 60 steps. Extend it with: "
        "charrnn classify train labelled.tsv --resume --minutes 5\n"
    )


@posix
def test_ctrl_c_saves_and_says_how_to_go_on(run, labelled, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        outcome = run(*TRAIN, "--steps", "12", "--eval-every", "5", code=130)
    assert outcome.stderr.splitlines()[-1] == (
        "Saved after step 7. Continue with: charrnn classify train labelled.tsv --resume"
    )
    assert meta(RUN / "last.npz")["step"] == 7
    assert meta(RUN / "best.npz")["classifier"]["net_factor"] is not None
    run("classify", "train", "labelled.tsv", "--resume", "--quiet")
    run(*TRAIN, "--steps", "12", "--eval-every", "5", "--out", "straight", "--quiet")
    for name in ("best.npz", "last.npz"):
        assert (RUN / name).read_bytes() == (Path("straight") / name).read_bytes()


def test_stdin_has_texts_too(run, cwd):
    outcome = run("classify", "train", "-", *NET, "--steps", "2", "--out", "piped", input=LABELLED)
    assert outcome.stderr.splitlines()[-1] == (
        f"Repeat    charrnn classify train - {' '.join(NET[:2])} --steps 2 {' '.join(NET[2:6])} --threads 1 --seed 1 "
        "--eval-every 1"
    )
    told = error_line(run("classify", "train", "--resume", "--out", "piped", code=2).stderr)
    assert told == "the classifier's texts were not in a file, so they cannot be read again: give them"


def test_notes_say_what_was_left_out(run, cwd):
    Path("a.tsv").write_text(
        "".join(f"{'yes' if at % 2 else 'no'}\t{'y' * 30} {at}\n" for at in range(20)) + "yes\t \n"
    )
    Path("val.tsv").write_text("yes\tyyy\nodd\ty\nodd\tyyyy\n")
    outcome = run("classify", "train", "a.tsv", *NET, "--steps", "2", "--max-chars", "9", "--val-file", "val.tsv")
    assert [line for line in outcome.stderr.splitlines() if line.startswith("Note: ") and "busy" not in line] == [
        "Note: left out 1 empty text",
        "Note: 2 validation texts have labels that no training text has, and are left out: 'odd'",
        "Note: 20 of 20 texts are longer than 9 characters, of which the rest is not read: --max-chars reads more",
    ]


def test_folders_and_fields(run, cwd):
    for label in ("yes", "no"):
        Path(f"lines/{label}.txt").parent.mkdir(exist_ok=True)
        Path(f"lines/{label}.txt").write_text("".join(f"{label} {at}\n" for at in range(9)))
    first = run("classify", "train", "lines", *NET, "--steps", "2").stderr.splitlines()[0]
    assert first == "Texts  16 for training, 2 for validation; 2 labels"
    Path("x.csv").write_text("t,l\n" + "".join(f"text {at},{at % 2}\n" for at in range(10)))
    fields = ("--text-field", "t", "--label-field", "l")
    outcome = run("classify", "train", "x.csv", *fields, *NET, "--steps", "2")
    assert "--text-field t --label-field l" in outcome.stderr
    assert meta(Path("checkpoints/x/last.npz"))["classifier"]["labels"] == ["0", "1"]
    assert run("classify", "train", "x.csv", "--resume").stderr.startswith("The run in checkpoints/x is complete")


WRONG = {
    "": "Missing argument 'TEXTS': name labelled texts to train on",
    "missing.tsv": "missing.tsv does not exist",
    "nowhere/": "nowhere/ does not exist",
    "one.tsv": "all 2 texts have the label 'a': give texts of two labels or more",
    "single.tsv": "the only text has the label 'a'",
    "untabbed.tsv": "untabbed.tsv, line 2 has no tab: write a label, a tab and a text",
    "empty.tsv": "empty.tsv has no text: give texts and their labels",
    "blank.tsv": "blank.tsv has no text: give texts and their labels",
    "labelled.tsv --label-field x": "--label-field needs --text-field",
    "labelled.tsv --text-field x": "--text-field needs --label-field",
    "labelled.tsv --steps 2 --epochs 2": "--steps and --epochs cannot be combined",
    "labelled.tsv --val-file a.tsv --val-fraction 0.2": "--val-file and --val-fraction cannot be combined",
    "labelled.tsv --resume --force": "--resume continues a run: leave out --force",
    "labelled.tsv --resume --init-from tiny": "--resume continues a run: leave out --force and --init-from",
    "labelled.tsv --steps 2 --out new --val-file none.tsv": "none.tsv does not exist",
    "labelled.tsv --steps 2 --out new --min-count 5000": "--min-count 5000 leaves no character to learn",
    "labelled.tsv --steps 2 --out new --pool sum": "--pool must be max, mean or last, got 'sum'",
    "labelled.tsv --steps 2 --out new --init-from labelled": "is a classifier, not a language model",
    "labelled.tsv --steps 2 --out new --init-from tiny --hidden-size 3": "--hidden-size 3 contradicts --init-from",
    "labelled.tsv --steps 2 --out new --init-from tiny --init-from tiny": "read in the same direction",
    "labelled.tsv --steps 2": "checkpoints/labelled already has a run",
    "--resume": "--resume needs a run: give its TEXTS, or its folder with --out",
    "tiny.txt --resume": "checkpoints/tiny/last.npz is a language model: resume it with `charrnn train --resume`",
    "labelled.tsv --resume --pool mean": "--pool mean contradicts the run, which has max",
    "labelled.tsv --resume --steps 3": "the run has 60 steps",
    "tiny.txt --resume --out checkpoints/labelled": "tiny.txt, line 1 has no tab",
    "one.tsv --resume --out checkpoints/labelled": "all 2 texts have the label 'a'",
    "two.tsv --resume --out checkpoints/labelled": "two.tsv does not have the texts that the classifier was trained on",
}


@pytest.fixture
def wrong(tiny, classifier):
    """Put texts that are of no use into the test's folder."""
    Path("one.tsv").write_text("a\tx\na\ty\n")
    Path("two.tsv").write_text("a\tx\nb\ty\n")
    Path("single.tsv").write_text("a\tx\n")
    Path("untabbed.tsv").write_text("a\tx\nb y\n")
    Path("empty.tsv").write_text("")
    Path("blank.tsv").write_text("a\t\nb\t  \n")


@pytest.mark.parametrize(("line", "says"), WRONG.items(), ids=[*WRONG])
def test_what_is_wrong_is_one_line(run, wrong, line, says):
    before = (RUN / "last.npz").read_bytes()
    assert says in error_line(run("classify", "train", *line.split(), code=2).stderr)
    assert (RUN / "last.npz").read_bytes() == before
    assert not Path("new").exists()


# The other commands

OTHERS = {
    "train --resume --out checkpoints/labelled": "is a classifier: resume it with `charrnn classify train --resume`",
    "train tiny.txt --steps 1 --out new --init-from labelled": "is a classifier, not a language model",
    **dict.fromkeys(
        (
            "complete -m labelled Der",
            "eval -m labelled",
            "eval -m labelled tiny.txt",
            "sample -m labelled",
            "score -m labelled tiny.txt",
            "report labelled",
            "serve --stdio labelled",
            "embed -m labelled tiny.txt",
        ),
        "checkpoints/labelled/best.npz is a classifier, not a language model: use it with `charrnn classify predict`",
    ),
}


@pytest.mark.parametrize(("line", "says"), OTHERS.items(), ids=[*OTHERS])
def test_other_commands_refuse_a_classifier_in_one_line(run, tiny, classifier, line, says):
    assert says in error_line(run(*line.split(), code=2).stderr)
    assert not Path("new").exists()


def test_info_shows_the_labels_and_the_settings_of_a_classifier(run, classifier):
    outcome = run("info")
    assert outcome.stderr == "Model: checkpoints/labelled/best.npz\n"
    sections = outcome.stdout.split("\n\n")
    own, result = (next(each for each in sections if each.startswith(name)) for name in ("Classifier", "Result"))
    assert re.fullmatch(
        r"Classifier\n  Labels +brummt, krabbelt, schläft\n  Bidirectional +True\n  Pool +max\n  Nets +1\n  Ngrams +0\n"
        r"  Balance +0.0\n  Next weight +0.0\n  Max chars +1,000\n  Net factor +[\d.]+",
        own,
    )
    best = next(line for line in log() if line["step"] == 60)
    assert f"Best loss     {best['val_loss']:.4f} nats per text at step 60" in result
    assert f"Accuracy      {best['val_accuracy']:.1%} of the validation texts right" in result
    assert "Validated on  labelled.tsv, 20% of the texts, 11 texts" in result
    assert "Bits per character" not in outcome.stdout
    assert "Seq len" not in outcome.stdout
    assert "Use         classify predict, classify eval\n" in outcome.stdout
    assert "charrnn classify train --resume --out checkpoints/labelled --minutes 5" in outcome.stdout
    data = run("info", "labelled", "--json").json
    assert data["classifier"]["labels"] == ["brummt", "krabbelt", "schläft"]
    assert data["history"][-1]["val_accuracy"] == best["val_accuracy"]


def test_list_and_compare_know_classifiers(run, tiny, classifier):
    run(*TRAIN[:3], *NET, "--val-fraction", "0.2", "--test-fraction", "0.1", "--pool", "last", "--steps", "60",
        "--eval-every", "60", "--out", "checkpoints/last", "--quiet")  # fmt: skip
    told = run("list").stdout
    assert "lstm 1x16, 3 labels" in told
    assert "labelled.tsv, 20% of the texts, 11 texts" in told
    runs = {each["name"]: each for each in run("list", "--json").json["runs"]}
    assert runs["labelled"]["labels"] == 3
    assert runs["labelled"]["best_accuracy"] == log()[-1]["val_accuracy"]
    assert (runs["tiny"]["labels"], runs["tiny"]["best_accuracy"]) == (None, None)
    outcome = run("compare", "labelled", "last")
    assert outcome.stdout.splitlines()[:2] == [
        "Validated on labelled.tsv, 20% of the texts, 11 texts",
        outcome.stdout.splitlines()[1],
    ]
    assert "Pool" in outcome.stdout.splitlines()[1]
    assert run("list", "--where", "pool=last").stdout.count("labelled.tsv") == 1
    together = run("compare", "labelled", "tiny")
    assert "Note: losses in different tables cannot be compared (labels and characters)" in together.stderr


def test_curves_and_exports_of_a_classifier(run, classifier):
    assert run("plot", "labelled").stdout.startswith("labelled: loss in nats per text")
    rows = [*csv.DictReader(io.StringIO(run("plot", "labelled", "--csv").stdout))]
    assert float(rows[-1]["loss"]) == log()[-1]["val_loss"]
    pytest.importorskip("tensorboardX")
    run("export-log", "labelled", "--tensorboard", "events")
    (path,) = Path("events/labelled").iterdir()
    assert b"accuracy/validation" in path.read_bytes()
    assert b"bpc" not in path.read_bytes()


def test_a_classifier_is_removed_like_any_run(run, classifier):
    run("rm", "labelled", "--yes")
    assert not RUN.exists()


def test_the_newest_run_of_each_kind_is_the_default(run, tiny, classifier):
    assert "checkpoints/tiny/" in run("sample", "-n", "1", "--seed", "1").stderr
    assert "checkpoints/labelled/" in run("classify", "predict", input=TEXT[:20]).stderr


def test_a_classifier_can_begin_with_two_language_models(run, cwd, labelled):
    Path("tiny.txt").write_bytes(TEXT.encode())
    small = ("train", "tiny.txt", *SMALL, "--steps", "2", "--quiet")
    run(*small, "--embed-size", "4", "--out", "checkpoints/on")
    run(*small, "--embed-size", "4", "--reverse", "--out", "checkpoints/back")
    lines = run(
        "classify", "train", "labelled.tsv", "--steps", "2", "--seed", "1", "--init-from", "on", "--init-from", "back"
    ).stderr.splitlines()
    again = shlex.split(lines[-1].removeprefix("Repeat    charrnn "))
    assert again[-4:] == ["--init-from", "checkpoints/on/best.npz", "--init-from", "checkpoints/back/best.npz"]
    run(*again, "--out", "again", "--quiet")
    assert (RUN / "last.npz").read_bytes() == Path("again/last.npz").read_bytes()
