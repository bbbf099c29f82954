"""`charrnn info`: what a checkpoint holds, as a table and as JSON."""

import platform
import re
import shlex
from pathlib import Path

import numpy as np
from fixtures_run import start, stop_at

import charrnn
from charrnn.training.loop import Stepped

from ._material import SMALL, TEXT, arrays, error_line, meta

KEYS = [
    "path",
    "model",
    "train",
    "parameters",
    "parameters_total",
    "classifier",
    "vocab",
    "step",
    "averaged",
    "source",
    "val_source",
    "history",
    "resumable",
    "versions",
]


def test_json(run, tiny):
    data = run("info", "-m", tiny / "last.npz", "--json").json
    saved = meta(tiny / "last.npz")
    assert list(data) == KEYS
    assert data["path"] == str(tiny / "last.npz")
    for name in ("model", "train", "vocab", "step", "source", "val_source", "history", "versions"):
        assert data[name] == saved[name]
    shapes = {
        name.removeprefix("params/"): list(array.shape)
        for name, array in arrays(tiny / "last.npz").items()
        if name.startswith("params/")
    }
    assert data["parameters"] == shapes
    assert data["parameters_total"] == sum(int(np.prod(shape)) for shape in shapes.values())
    assert data["resumable"] is True
    assert [line["step"] for line in data["history"]] == [20, 40]
    assert data["vocab"]["symbols"] == "".join(sorted(set(TEXT)))


def test_best_cannot_be_resumed(run, tiny):
    outcome = run("info", "--json")
    assert outcome.json["resumable"] is False
    assert outcome.json["path"] == str(tiny / "best.npz")
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"


def sections(stdout):
    """Return the facts of each section by its heading, and the tables below them."""
    blocks = stdout.split("\n\n")
    found = {}
    for block in blocks[:5]:
        title, *lines = block.splitlines()
        cells = [re.split(r" {2,}", line.strip()) for line in lines]
        found[title] = {name: value for row in cells for name, value in zip(row[::2], row[1::2], strict=True)}
    return found, blocks[5:]


def test_table(run, tiny):
    saved = meta(tiny / "last.npz")
    outcome = run("info", tiny / "last.npz")
    assert outcome.stderr == ""
    shown, (weights, history) = sections(outcome.stdout)
    assert list(shown) == ["File", "Text", "Model", "Training", "Result"]
    assert shown["File"]["Path"] == str(tiny / "last.npz")
    assert shown["Text"]["Trained on"] == "tiny.txt"
    assert shown["Text"]["SHA-256"] == saved["source"]["sha256"][:8]
    assert shown["Text"]["Vocabulary"].startswith(f"{len(set(TEXT))} chars: {''.join(sorted(set(TEXT)))[:50]!r}"[:40])
    versions = ("charrnn", charrnn.__version__), ("numpy", np.__version__), ("python", platform.python_version())
    assert shown["File"]["Written by"].startswith(", ".join(map(" ".join, versions)))
    assert shown["File"]["Written by"] == ", ".join(map(" ".join, saved["versions"].items()))
    assert (shown["Model"]["Cell"], shown["Model"]["Hidden size"], shown["Model"]["Num layers"]) == ("lstm", "16", "1")
    assert (shown["Training"]["Steps"], shown["Training"]["Seed"]) == ("40", "1")
    best = min(saved["history"], key=lambda line: line["val_loss"])
    assert shown["Result"]["Steps"] == "40 of 40"
    assert shown["Result"]["Best loss"] == f"{best['val_loss']:.4f} nats per character at step {best['step']}"
    assert shown["Result"]["Validated on"] == f"tiny.txt, the last 10% of the text, {saved['validated']} characters"
    size = len(set(TEXT))
    assert [line.split() for line in weights.splitlines()] == [
        ["Array", "Shape", "Parameters"],
        ["layer0.W_xh", str(size), "x", "64", f"{size * 64:,}"],
        ["layer0.W_hh", "16", "x", "64", "1,024"],
        ["layer0.b_h", "64", "64"],
        ["out.W_hy", "16", "x", str(size), f"{size * 16:,}"],
        ["out.b_y", str(size), str(size)],
        ["total", f"{size * 64 + 1024 + 64 + size * 17:,}"],
    ]
    first, *rows = history.splitlines()
    assert first.split() == ["Step", "Epoch", "Loss", "Validation", "loss", "Rate"]
    assert [row.split() for row in rows] == [
        [
            str(line["step"]),
            f"{line['epoch']:.2f}",
            f"{line['loss']:.4f}",
            f"{line['val_loss']:.4f}",
            f"{line['learning_rate']:.3g}",
        ]
        for line in saved["history"]
    ]


def test_each_file_says_how_its_run_is_resumed(run, tiny):
    """The command that is shown is one that works."""

    def resume(*args):
        return sections(run("info", *args).stdout)[0]["File"]["Resume"]

    complete = resume("tiny")
    assert complete == resume(tiny / "last.npz")
    before, command = complete.split(": ")
    assert before == "last.npz is complete; to extend it"
    assert command == "charrnn train --resume --out checkpoints/tiny --minutes 5"
    run(*shlex.split(command)[1:-1], "0.001", "--quiet")
    assert meta(tiny / "last.npz")["step"] > 40
    (tiny / "last.npz").unlink()
    assert resume("tiny") == "not possible: there is no last.npz beside it"


def test_a_run_that_is_not_finished_is_resumed_as_it_is(run, corpus):
    stop_at(start("checkpoints/half", corpus), lambda event: isinstance(event, Stepped) and event.step == 8)
    assert sections(run("info").stdout)[0]["File"]["Resume"] == "charrnn train --resume --out checkpoints/half"


def test_a_run_that_stopped_early_is_resumed_without_patience(run, corpus):
    still = ("--eval-every", "1", "--patience", "1", "--learning-rate", "1e-30", "--weight-decay", "0")
    run("train", corpus, *SMALL, "--steps", "9", *still, "--quiet")
    shown = sections(run("info").stdout)[0]["File"]["Resume"]
    before, command = shown.split(": ")
    assert before == "last.npz stopped early; to continue"
    assert command == "charrnn train --resume --out checkpoints/tiny --patience 0"
    run(*shlex.split(command)[1:], "--quiet")
    assert meta(Path("checkpoints/tiny/last.npz"))["step"] == 9


def test_the_model_is_an_argument_or_an_option(run, tiny):
    assert run("info", "tiny").stdout == run("info", "-m", "tiny").stdout
    other = {"CHARRNN_MODEL": "elsewhere"}
    assert run("info", "tiny", env=other).stdout == run("info", "tiny").stdout  # the argument overrides the variable
    assert "give one" in error_line(run("info", "tiny", "-m", "tiny", code=2).stderr)


def test_no_line_is_wider_than_a_terminal(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.cli._console.columns", lambda: 80)
    assert max(map(len, run("info").stdout.splitlines())) <= 80


def test_settings_of_the_text_are_shown_where_they_are_not_the_default(run, corpus):
    run("train", corpus, *SMALL, "--steps", "1", "--lowercase", "--val-fraction", "0.2", "--quiet")
    shown = sections(run("info").stdout)[0]["Text"]
    assert (shown["Lowercase"], shown["Val fraction"]) == ("True", "0.2")
    assert "Encoding" not in shown


def test_only_the_newest_evaluations_are_in_the_table(run, corpus):
    run("train", corpus, *SMALL, "--steps", "15", "--eval-every", "1", "--quiet")
    rows = run("info", "-m", "checkpoints/tiny/last.npz").stdout.split("\n\n")[6].splitlines()[1:]
    assert [int(row.split()[0]) for row in rows] == list(range(4, 16))


def test_without_validation_the_table_has_a_dash(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--val-fraction", "0", "--quiet")
    rows = run("info").stdout.split("\n\n")[6].splitlines()[1:]
    assert [row.split()[3] for row in rows] == ["-", "-"]
    assert run("info", "--json").json["history"][-1]["val_loss"] is None


def test_a_vocabulary_of_odd_characters_is_shown_escaped(run):
    Path("odd.txt").write_bytes("[bold]\x01\t\r\n\x1b[31m \u202e abc".encode() * 9)
    run("train", "odd.txt", *SMALL, "--steps", "2", "--quiet")
    outcome = run("info")
    assert "\\x01\\t\\n\\r\\x1b " in outcome.stdout
    assert not {"\x01", "\x1b", "\u202e"} & set(outcome.stdout)
    assert run("info", "--json").json["vocab"]["symbols"][0] == "\x01"
