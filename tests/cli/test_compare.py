"""`charrnn compare`: tables of runs, their means over seeds, and what cannot be compared."""

import csv
import re
from pathlib import Path

import pytest
from fixtures_run import start, stop_at

from charrnn.training.loop import Stepped

from ._material import SMALL, error_line

RUNS = Path("checkpoints")


@pytest.fixture
def four(run, corpus):
    """Return the losses by name of four runs on tiny.txt: two cells, each with two seeds."""
    for cell in ("rnn", "gru"):
        for seed in ("1", "2"):
            out = RUNS / "cells" / f"{cell}{seed}"
            run("train", corpus, *SMALL[:-2], "--steps", "2", "--cell", cell, "--seed", seed, "--out", out, "--quiet")
    return {found["name"]: found["best_loss"] for found in run("list", "--json").json["runs"]}


def rows(stdout):
    """Return the rows of the first table, as words."""
    return [line.split() for line in stdout.split("\n\n")[0].splitlines()[2:]]


def test_seeds_make_one_row_with_mean_and_deviation(run, four):
    outcome = run("compare")
    assert outcome.stderr == "Runs on tiny.txt, the text of the newest run: 4 of 4\n"
    on, head = outcome.stdout.splitlines()[:2]
    assert on.startswith("Validated on tiny.txt, the last 10% of the text, ")
    assert head.split() == "Cell n Loss Best step Steps Parameters Seconds".split()
    found = {row[0]: row[1:] for row in rows(outcome.stdout)}
    for cell in ("rnn", "gru"):
        one, two = four[f"cells/{cell}1"], four[f"cells/{cell}2"]
        assert found[cell][:4] == ["2", f"{(one + two) / 2:.4f}", "±", f"{abs(one - two) / 2**0.5:.4f}"]
        assert found[cell][4:6] == ["2", "2"]


@pytest.mark.parametrize(
    "names",
    [
        ("cells",),
        ("checkpoints/cells",),
        ("cells/*",),
        ("checkpoints/cells/*[12]",),
        ("cells/rnn1", "cells/rnn2", "cells/gru?", "checkpoints/cells/gru2/best.npz"),
    ],
)
def test_runs_are_named_by_name_folder_pattern_and_sweep(run, four, names):
    outcome = run("compare", *names)
    assert outcome.stderr == ""
    assert [row[1] for row in rows(outcome.stdout)] == ["2", "2"]


def test_one_run_is_one_row(run, four):
    assert rows(run("compare", "cells/rnn1").stdout)[0][:2] == ["cells/rnn1", f"{four['cells/rnn1']:.4f}"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cells/rn1", "did you mean cells/rnn1"),
        ("x*", "no run matches 'x*'"),
        ("tiny.txt", "tiny.txt is not a run"),
    ],
)
def test_a_name_without_a_run_is_an_error(run, four, name, says):
    assert says in error_line(run("compare", name, code=2).stderr)


def test_without_runs_it_says_what_to_do(run):
    assert error_line(run("compare", code=2).stderr).endswith("train some with `charrnn train`, or name their folders")


def test_csv_and_json_have_the_figures_of_the_table(run, four):
    mean = (four["cells/rnn1"] + four["cells/rnn2"]) / 2
    data = run("compare", "--by", "cell", "--json").json
    found = {row["settings"]["cell"][0]: row for row in data["groups"][0]["rows"]}
    assert found["rnn"]["loss"] == pytest.approx(mean)
    assert sorted(found["rnn"]["runs"]) == ["cells/rnn1", "cells/rnn2"]
    head, *lines = csv.reader(run("compare", "--csv").stdout.splitlines())
    table = {line[0]: dict(zip(head, line, strict=True)) for line in lines}
    assert float(table["rnn"]["loss"]) == pytest.approx(mean)
    assert table["gru"]["signature"] == data["groups"][0]["signature"]
    run("compare", "--csv", "--json", code=2)


def test_other_characters_make_another_table_and_a_note(run, four, corpus):
    run("train", corpus, *SMALL, "--steps", "2", "--val-chars", "40", "--out", RUNS / "few", "--quiet")
    outcome = run("compare", "cells", "few")
    assert outcome.stdout.split("\n\n")[1].startswith(
        "Validated on tiny.txt, the last 10% of the text, 40 characters\n"
    )
    assert re.fullmatch(
        r"Note: losses in different tables cannot be compared \(different numbers of characters\): train with the same "
        r"--val-chars, or score all of the split with `charrnn eval -m cells/\w+` and `charrnn eval -m few`\n",
        outcome.stderr,
    )
    data = run("compare", "cells", "few", "--json").json
    assert [len(group["rows"]) for group in data["groups"]] == [2, 1]


def test_a_run_that_is_not_finished_is_named_and_a_damaged_one_left_out(run, four, corpus):
    stop_at(start(RUNS / "half", corpus), lambda event: isinstance(event, Stepped) and event.step == 8)
    assert "Note: not finished: half\n" in run("compare", "half", "cells/rnn1").stderr
    (RUNS / "cells" / "gru1" / "last.npz").write_bytes(b"")
    outcome = run("compare", "cells")
    assert outcome.stderr.startswith("Note: left out: checkpoints/cells/gru1/last.npz is not a charrnn checkpoint")
    assert [row[:2] for row in rows(outcome.stdout) if row[0] == "cells/gru2"] == [["cells/gru2", "gru"]]


def test_a_comparison_too_wide_for_the_terminal_has_a_column_for_each_row(run, four, monkeypatch):
    monkeypatch.setattr("charrnn.cli._console.columns", lambda: 40)
    by = [word for name in ("cell", "dropout", "hidden-size", "num-layers") for word in ("--by", name)]
    lines = run("compare", "cells/rnn1", "cells/gru1", *by).stdout.splitlines()
    assert lines[1].split() == ["Run", *sorted(("cells/rnn1", "cells/gru1"), key=four.get)]
    assert [line.split()[0] for line in lines[2:5]] == ["Cell", "Dropout", "Hidden"]
    assert all(len(line) <= 40 for line in lines[1:])
