"""`charrnn plot`: the curves of runs as charts, pictures, JSON and CSV, and `compare --plot`."""

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli._curves import _drawn
from charrnn.insight.curves import Best, Line

from ._material import SMALL, arrays, error_line, meta, posix

pytest.importorskip("plotille")
pytest.importorskip("matplotlib")
RUNS = Path("checkpoints")


def log_of(path):
    """Return the lines of a run's log."""
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]


def change_setting(folder, name, value):
    """Change a setting in the checkpoints of a run."""

    for path in folder.glob("*.npz"):
        data, own = arrays(path), meta(path)
        own["train"][name] = value
        with open(path, "wb") as file:
            np.savez(file, meta=np.array(json.dumps(own)), **data)


def test_a_chart_of_the_newest_run_has_both_losses_and_the_best(run, tiny):
    best = run("list", "--json").json["runs"][0]
    lines = run("plot").stdout.splitlines()
    assert len(lines) == 20
    assert max(map(len, lines)) <= 80
    legend = " ".join(" ".join(lines[:2]).split())
    assert legend.startswith("tiny: loss in nats per character ● training ■ validation, best ")
    assert f"best {best['best_loss']:.4f} at {best['best_step']}" in legend
    assert "■" in "".join(lines[2:])


def test_without_a_name_only_the_newest_run_is_drawn(run, tiny):
    shutil.copytree(tiny, RUNS / "older")
    for path in (RUNS / "older").iterdir():
        os.utime(path, (1e9, 1e9))
    assert [curve["runs"] for curve in run("plot", "--json").json["curves"]] == [["tiny"]]


def test_high_losses_at_the_beginning_do_not_stretch_the_chart(run, tiny):
    steps = range(1, 31)
    log = [{"step": step, "seconds": step, "loss": 90 if step < 3 else 1 + 1 / step} for step in steps]
    (tiny / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    numbers = re.findall(r"^ *([\d.]+)┤", run("plot", "tiny").stdout, re.MULTILINE)
    assert 1 < max(map(float, numbers)) < 2


def test_the_spread_of_seeds_is_drawn_as_bars():
    line = Line(*np.array([[1, 2, 3], [5, 5, 5], [4, 5, 4], [6, 5, 6]], float))
    (mean, bars), marks = _drawn(line, "both", 0, Best(2, 5))
    assert (mean.label, mean.x, mean.y) == ("both", [1, 2, 3], [5, 5, 5])
    gap = pytest.approx(np.nan, nan_ok=True)
    assert (bars.label, bars.x, bars.y) == ("", [1, 1, gap, 3, 3, gap], [4, 6, gap, 4, 6, gap])
    assert [mark[:2] for mark in marks] == [(2, 5)]


def test_the_chart_fits_the_terminal(run, tiny):
    for columns, lines, rows in ((40, 12, 10), (200, 50, 32)):
        shown = run("plot", env={"COLUMNS": str(columns), "LINES": str(lines)}).stdout.splitlines()
        assert len(shown) == rows
        assert max(map(len, shown)) <= columns


@posix
def test_a_terminal_gets_colours_and_a_pipe_none(run, terminal, tiny):
    shown = terminal("plot", "tiny", stream="stdout", columns=60, NO_COLOR="").read_all()
    assert "\x1b[94m" in shown
    assert "\x1b[33m" in shown
    assert "\x1b" not in run("plot", "tiny").stdout


def test_json_and_csv_have_the_points_of_the_log(run, tiny):
    log = log_of(tiny)
    data = run("plot", "tiny", "--by", "seconds", "--bits", "--json").json
    assert (data["by"], data["unit"], data["smoothing"]) == ("seconds", "bits", 0)
    (curve,) = data["curves"]
    assert (curve["label"], curve["runs"]) == ("tiny", ["tiny"])
    assert curve["training"]["x"] == [line["seconds"] for line in log]
    assert curve["training"]["loss"] == pytest.approx([line["loss"] / 0.6931471805599453 for line in log])
    assert curve["validation"]["loss"] == pytest.approx([line["bpc"] for line in log if line["bpc"] is not None])
    assert curve["best"]["loss"] == pytest.approx(min(line["bpc"] for line in log if line["bpc"] is not None))
    head, *rows = csv.reader(run("plot", "tiny", "--csv").stdout.splitlines())
    assert head == ["curve", "line", "step", "loss", "lowest", "highest"]
    found = {name: [row[2:4] for row in rows if row[1] == name] for name in ("training", "best")}
    assert found["training"] == [[str(line["step"]), str(line["loss"])] for line in log]
    best = min((line for line in log if line["val_loss"] is not None), key=lambda line: line["val_loss"])
    assert found["best"] == [[str(best["step"]), str(best["val_loss"])]]


def test_smooth_changes_only_the_smoothed_losses(run, tiny):
    raw, smooth = (run("plot", "tiny", "--smooth", x, "--json").json["curves"][0] for x in ("0", "0.5"))
    assert raw["smoothed"] == raw["training"] == smooth["training"]
    assert raw["smoothed"]["loss"] != smooth["smoothed"]["loss"]
    assert raw["validation"] == smooth["validation"]


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_a_picture_is_of_the_kind_that_its_name_ends_in(run, tiny, name, begins):
    assert run("plot", "-o", name).stdout == f"Wrote {name}\n"
    assert Path(name).read_bytes().startswith(begins)


def test_seeds_share_a_curve_in_plot_and_compare(run, corpus):
    for seed in ("1", "2"):
        out = RUNS / "seeds" / seed
        run("train", corpus, *SMALL[:-2], "--steps", "9", "--eval-every", "3", "--seed", seed, "--out", out, "--quiet")
    run("train", corpus, *SMALL, "--steps", "9", "--cell", "gru", "--out", RUNS / "seeds" / "gru", "--quiet")
    curves = {tuple(sorted(curve["runs"])): curve for curve in run("plot", "seeds", "--json").json["curves"]}
    assert curves.keys() == {("seeds/1", "seeds/2"), ("seeds/gru",)}
    shared = curves["seeds/1", "seeds/2"]
    both = [log_of(RUNS / "seeds" / seed) for seed in "12"]
    wanted = [sorted((one["loss"], two["loss"])) for one, two in zip(*both, strict=True)]
    assert [*zip(shared["training"]["lowest"], shared["training"]["highest"], strict=True)] == [*map(tuple, wanted)]
    assert shared["training"]["loss"] == pytest.approx([sum(pair) / 2 for pair in wanted])
    table = {row["n"]: row for row in run("compare", "seeds", "--json").json["groups"][0]["rows"]}
    assert shared["best"] == pytest.approx({"x": table[2]["best_step"], "loss": table[2]["loss"]})

    outcome = run("compare", "seeds", "--plot", env={"COLUMNS": "100"})
    above, below = outcome.stdout.split("\n\n")
    assert above + "\n" == run("compare", "seeds", env={"COLUMNS": "100"}).stdout
    assert f"cell=lstm (2 runs), best {table[2]['loss']:.4f}" in below
    assert f"seeds/gru, best {table[1]['loss']:.4f}" in below


def test_a_chart_has_six_curves_and_a_note_counts_the_others(run, tiny):
    for number in range(7):
        shutil.copytree(tiny, RUNS / "many" / str(number))
        change_setting(RUNS / "many" / str(number), "learning_rate", 0.001 * (number + 1))
    outcome = run("plot", "many", env={"COLUMNS": "150", "LINES": "50"})
    assert outcome.stderr == (
        "Note: the chart has the first 6 of 7 curves: name fewer runs, or draw all of them with "
        "`charrnn plot RUN... --out FILE`\n"
    )
    assert {*re.findall("[●■▲◆★▼](?= many)", outcome.stdout)} == {*"●■▲◆★▼"}
    assert run("plot", "many", "--out", "all.png").stderr == ""


def test_losses_on_different_characters_are_noted(run, tiny):
    run("train", "tiny.txt", *SMALL, "--steps", "2", "--val-chars", "40", "--out", RUNS / "few", "--quiet")
    assert re.fullmatch(
        r"Note: some of these validation losses cannot be compared \(different numbers of characters\): train with "
        r"the same --val-chars, or score all of the split with `charrnn eval -m \w+` and `charrnn eval -m \w+`\n",
        run("plot", "tiny", "few").stderr,
    )


def test_a_run_without_validation_is_drawn_by_its_training_loss(run, corpus):
    run("train", corpus, *SMALL, "--steps", "6", "--val-fraction", "0", "--log-every", "2", "--quiet")
    shown = run("plot").stdout
    assert "● training" in shown
    assert "validation" not in shown
    run("plot", "--out", "a.svg")
    assert "validation" not in Path("a.svg").read_text()


def test_what_is_damaged_is_left_out_with_a_note(run, tiny):
    shutil.copytree(tiny, RUNS / "other")
    log = (RUNS / "other" / "log.jsonl").read_text()
    (RUNS / "other" / "log.jsonl").write_text("rubbish\n" + log)
    assert run("plot", "other").stderr == "Note: other: damaged lines of its log that are left out: 1\n"
    (RUNS / "other" / "log.jsonl").write_text("rubbish\nrubbish\n")
    assert error_line(run("plot", "other", code=2).stderr) == (
        f"{RUNS / 'other' / 'log.jsonl'} is damaged, and no figure in it can be read: restore it from a copy"
    )
    outcome = run("plot", "tiny", "other", "--json")
    assert outcome.stderr.startswith("Note: left out: ")
    assert [curve["runs"] for curve in outcome.json["curves"]] == [["tiny"]]
    (RUNS / "other" / "last.npz").write_bytes(b"")
    assert "last.npz is not a charrnn checkpoint" in error_line(run("plot", "other", code=2).stderr)
    assert [curve["runs"] for curve in run("plot", "tiny", "other", "--json").json["curves"]] == [["tiny"]]
    (tiny / "log.jsonl").write_text("")
    (RUNS / "other" / "last.npz").unlink()
    assert "none of these runs has a log" in error_line(run("plot", "tiny", "other", code=2).stderr)


def test_a_run_without_a_log_is_drawn_by_step_and_not_by_time(run, tiny):
    (tiny / "log.jsonl").unlink()
    assert "best" in run("plot", "tiny").stdout
    assert error_line(run("plot", "tiny", "--by", "seconds", code=2).stderr) == (
        "tiny has no log of its seconds: use --by step or --by epoch"
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nothing",), "nothing does not exist, here or under ./checkpoints"),
        (("x*",), "no run matches 'x*'"),
        (("tiny", "-o", "a.gif"), "a.gif: a picture is .png, .svg, .pdf: end the name in one"),
        (("tiny", "-o", "no/a.png"), "no/a.png cannot be written: there is no folder no: name another file"),
        (("tiny", "--json", "--csv"), "--json and --csv cannot be combined"),
        (("tiny", "--json", "-o", "a.png"), "--out writes a picture, so it cannot be combined with --json"),
        (("tiny", "--csv", "-o", "a.png"), "--out writes a picture, so it cannot be combined with --csv"),
        (("tiny", "--by", "minutes"), "--by must be step, epoch, seconds or chars, got 'minutes'"),
        (("tiny", "--smooth", "1"), "--smooth must be"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else None,
)
def test_errors_are_one_line(run, tiny, words, says):
    assert says in error_line(run("plot", *words, code=2).stderr)


def test_without_any_run_it_says_what_to_do(run):
    assert error_line(run("plot", code=2).stderr) == (
        "no run under ./checkpoints: train some with `charrnn train`, or name their folders"
    )


@pytest.mark.parametrize(
    ("package", "words", "says"),
    [
        ("plotille", ("plot",), 'a chart on the terminal needs plotille: pip install "charrnn-numpy[plot]"'),
        (
            "plotille",
            ("compare", "--plot"),
            'a chart on the terminal needs plotille: pip install "charrnn-numpy[plot]"',
        ),
        ("matplotlib.figure", ("plot", "-o", "a.png"), 'a picture needs matplotlib: pip install "charrnn-numpy[plot]"'),
    ],
)
def test_a_missing_package_is_one_line(run, tiny, monkeypatch, package, words, says):
    monkeypatch.setitem(sys.modules, package, None)
    outcome = run(*words, code=2)
    assert error_line(outcome.stderr) == says
    assert outcome.stdout == ""


def test_compare_draws_below_its_table_only(run, tiny):
    for option in ("--json", "--csv"):
        assert "--plot draws below the table" in error_line(run("compare", "--plot", option, code=2).stderr)
