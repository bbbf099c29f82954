"""`charrnn info`: what a checkpoint holds, as a table and as JSON."""

import platform
from pathlib import Path

import numpy as np

import charrnn

from ._material import SMALL, TEXT, arrays, facts, meta

KEYS = [
    "path",
    "model",
    "train",
    "parameters",
    "parameters_total",
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


def test_table(run, tiny):
    saved = meta(tiny / "last.npz")
    outcome = run("info", "-m", tiny / "last.npz")
    assert outcome.stderr == ""
    head, weights, history = outcome.stdout.split("\n\n")
    shown = facts(head)
    assert shown["File"] == str(tiny / "last.npz")
    assert shown["Trained on"] == f"tiny.txt (sha256 {saved['source']['sha256'][:8]})"
    assert shown["Steps"] == "40 of 40"
    assert shown["Can be resumed"] == "yes"
    assert shown["Vocabulary"] == f"{len(set(TEXT))} chars: {''.join(sorted(set(TEXT)))!r}"
    versions = ("charrnn", charrnn.__version__), ("numpy", np.__version__), ("python", platform.python_version())
    assert shown["Versions"].startswith(", ".join(map(" ".join, versions)))
    assert shown["Versions"] == ", ".join(map(" ".join, saved["versions"].items()))  # with BLAS and kernel where known
    assert "cell lstm, hidden_size 16, num_layers 1" in shown["Model"]
    assert "steps 40" in shown["Training"]
    assert "seed 1" in shown["Training"]
    size = len(set(TEXT))
    assert [line.split() for line in weights.splitlines()] == [
        ["Array", "Shape", "Parameters"],
        ["layer0.W_xh", str(size), "x", "64", f"{size * 64:,}"],
        ["layer0.W_hh", "16", "x", "64", "1,024"],
        ["layer0.b_h", "64", "64"],
        ["out.W_hy", "16", "x", str(size), f"{size * 16:,}"],
        ["out.b_y", str(size), str(size)],
        ["in", "all", f"{size * 64 + 1024 + 64 + size * 17:,}"],
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


def test_only_the_newest_evaluations_are_in_the_table(run, corpus):
    run("train", corpus, *SMALL, "--steps", "15", "--eval-every", "1", "--quiet")
    rows = run("info", "-m", "checkpoints/tiny/last.npz").stdout.split("\n\n")[2].splitlines()[1:]
    assert [int(row.split()[0]) for row in rows] == list(range(4, 16))


def test_without_validation_the_table_has_a_dash(run, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--val-fraction", "0", "--quiet")
    rows = run("info").stdout.split("\n\n")[2].splitlines()[1:]
    assert [row.split()[3] for row in rows] == ["-", "-"]
    assert run("info", "--json").json["history"][-1]["val_loss"] is None


def test_a_vocabulary_of_odd_characters_is_shown_escaped(run):
    Path("odd.txt").write_bytes("[bold]\x01\t\r\n\x1b[31m \u202e abc".encode() * 9)
    run("train", "odd.txt", *SMALL, "--steps", "2", "--quiet")
    outcome = run("info")
    assert "\\x01\\t\\n\\r\\x1b " in outcome.stdout
    assert not {"\x01", "\x1b", "\u202e"} & set(outcome.stdout)
    assert run("info", "--json").json["vocab"]["symbols"][0] == "\x01"
