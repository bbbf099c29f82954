"""`charrnn embed`: a vector for each line, whatever it has, and the lines of a file that are nearest."""

import csv
import json
import os
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

import charrnn

from ._material import SMALL, TEXT, error_line

LINES = [*TEXT.splitlines()[:5], "", "Ω", "Der\tKäfer", "ΩDer", "Der"]


def model():
    return charrnn.load("checkpoints/tiny")


def joined(lines):
    return "".join(f"{line}\n" for line in lines)


def test_numbers_and_the_line_behind_them(run, tiny):
    outcome = run("embed", "-m", tiny / "best.npz", input=joined(LINES))
    assert outcome.stderr == ""
    vectors = model().embed(LINES)
    shown = outcome.stdout.removesuffix("\n").split("\n")
    wanted = [
        "\t".join([*(f"{x:.6f}" for x in vector), line]) for vector, line in zip(vectors.tolist(), LINES, strict=True)
    ]
    assert shown == wanted


def test_bytes_that_are_no_text_are_printed_as_they_are(run, tiny):
    outcome = run("embed", input=b"Der \xff\r\nK")
    assert outcome.stderr == f"Model: {tiny / 'best.npz'}\n"
    assert [row.rsplit(b"\t", 1)[1] for row in outcome.bytes.split(b"\n")[:-1]] == [b"Der \xff\r", b"K"]


def test_json_has_every_digit(run, tiny):
    outcome = run("embed", "--json", "--layer", "0", "--pool", "last", input=joined(LINES))
    shown = [json.loads(line, parse_constant=pytest.fail) for line in outcome.stdout.splitlines()]
    assert [(row["line"], row["text"]) for row in shown] == [*enumerate(LINES, 1)]
    vectors = np.array([row["vector"] for row in shown], np.float32)
    assert np.array_equal(vectors, model().embed(LINES, layer=0, pooling="last"))


def test_an_array(run, tiny, monkeypatch):
    monkeypatch.setattr("charrnn.embedding.vectors._BLOCK", 300)  # several blocks
    Path("v.npy").write_text("an earlier one")
    outcome = run("embed", "--out", "v.npy", "tiny.txt", "--threads", "2")
    assert outcome.bytes == b""
    found = np.load("v.npy")
    assert found.dtype == np.float32
    assert np.array_equal(found, model().embed(TEXT.splitlines()))
    run("embed", "--out", "none.npy", input="")
    assert np.load("none.npy").shape == (0, found.shape[1])


def test_an_array_is_whole_or_not_there(run, tiny):
    Path("bad.csv").write_text("name\nDer\n" + "x" * 99 + ',"')
    outcome = run("embed", "--field", "name", "--out", "v.npy", "bad.csv", code=2)
    assert "bad.csv" in error_line(outcome.stderr)
    assert [name for name in os.listdir() if "npy" in name] == []


def test_records_get_columns_or_a_field(run, tiny):
    vectors = model().embed(["Der", "a,b"])
    Path("r.csv").write_text('id,name\n1,Der\n2,"a,b"\n')
    outcome = run("embed", "--field", "name", "r.csv")
    first, *rows = csv.reader(StringIO(outcome.stdout))
    assert first == ["id", "name", *(f"v{number}" for number in range(vectors.shape[1]))]
    assert [row[:2] for row in rows] == [["1", "Der"], ["2", "a,b"]]
    np.testing.assert_allclose([[*map(float, row[2:])] for row in rows], vectors, atol=6e-7)
    outcome = run("embed", "--field", "name", input='{"id": 1, "name": "Der"}\n')
    row = json.loads(outcome.stdout)
    assert (row["id"], row["name"]) == (1, "Der")
    assert np.array_equal(np.array(row["vector"], np.float32), vectors[0])


def test_the_nearest_lines(run, tiny):
    seen = ["Käfer", "Der", "Käfer", "brummt.", "Der kleine Käfer"]
    Path("seen.txt").write_text(joined(seen))
    outcome = run("embed", "--nearest", "seen.txt", "--top", "2", input="Der\nbrummt.\nKäfer\n")
    rows = [row.split("\t") for row in outcome.stdout.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2", "3", "3"]
    assert [row[1:] for row in rows[::2]] == [
        ["1.000000", n, text] for n, text in (("2", "Der"), ("4", "brummt."), ("1", "Käfer"))
    ]
    shown = [
        json.loads(row)
        for row in run("embed", "--nearest", "seen.txt", "--json", input="Der\nK\tä\n").stdout.splitlines()
    ]
    assert [(row["line"], row["text"]) for row in shown] == [(1, "Der"), (2, "K\tä")]
    assert shown[0]["nearest"][0] == {"line": 2, "text": "Der", "similarity": 1.0}
    assert sorted(near["line"] for near in shown[1]["nearest"]) == [1, 2, 4, 5]  # equal lines count once


def test_the_nearest_records(run, tiny):
    Path("seen.csv").write_text("id,name\n1,Der\n2,Käfer\n")
    outcome = run("embed", "--field", "name", "--nearest", "seen.csv", "--top", "1", "seen.csv")
    assert outcome.stdout == "1\t1.000000\t1\tDer\n2\t1.000000\t2\tKäfer\n"


def test_neither_threads_nor_batches_change_what_is_printed(run, tiny, monkeypatch):
    whole = run("embed", "tiny.txt", "--threads", "1").bytes
    near = run("embed", "tiny.txt", "--nearest", "tiny.txt", "--threads", "1").bytes
    monkeypatch.setattr("charrnn.embedding.vectors._BLOCK", 500)
    assert run("embed", "tiny.txt", "--threads", "3").bytes == whole
    assert run("embed", "tiny.txt", "--nearest", "tiny.txt", "--threads", "3").bytes == near


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--layer", "9"), "--layer 9: the model has one layer, 0: choose one, or top"),
        (("--layer", "last"), "--layer must be a layer's number from 0, top or all, got last"),
        (("--out", "v.txt"), "--out writes a NumPy array, so its name must end in .npy, got v.txt"),
        (("--out", "no/v.npy"), "there is no folder no"),
        (("--nearest", "-"), "standard input can be read only once"),
        (("--nearest", "empty.txt"), "empty.txt has no lines to compare with: name another file"),
        (("--nearest", "checkpoints/tiny"), "is a model, not a text"),
        (("--nearest", "missing.txt"), "missing.txt"),
        (("--nearest", "tiny.txt", "--top", "0"), "--top"),
        (("--top", "3"), "--top limits the lines of --nearest: give that too"),
        (("--out", "v.npy", "--follow", "tiny.txt"), "--out writes a file of all lines: leave out --follow"),
        (("--follow",), "--follow needs exactly one FILE: name it"),
        (("--out", "v.npy", "--json"), "--out writes vectors alone: leave out --json"),
        (("--out", "v.npy", "--nearest", "tiny.txt"), "leave out one"),
        (("--field", "name", "--json"), "--field adds the vectors to the records: leave out --json"),
        (("checkpoints/tiny",), "is a model, not a text"),
    ],
    ids=" ".join,
)
def test_errors(run, tiny, args, message):
    Path("empty.txt").write_text("")
    outcome = run("embed", *args, input="Der\n", code=2)
    assert message in error_line(outcome.stderr.removeprefix(f"Model: {tiny / 'best.npz'}\n"))
    assert outcome.bytes == b""


def test_a_model_with_attention(run, tiny):
    run(
        "train", "tiny.txt", *SMALL, "--steps", "1", "--attention", "9", "--num-layers", "2", "--out", "look", "--quiet"
    )
    rows = run("embed", "-m", "look", "--layer", "1", input="Der\n").stdout.split("\t")
    assert len(rows) == 17
