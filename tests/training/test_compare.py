"""Comparing runs: rows for settings, means over seeds, and groups of comparable losses."""

import math

import pytest

from charrnn.errors import ConfigError
from charrnn.training.catalog import RunSummary
from charrnn.training.compare import compare
from charrnn.training.validation import Validation

SPLIT = (("val_fraction", 0.1),)


def summary(name, loss, *, sha256="a" * 64, limit=0, damage=None, **settings):
    validation = Validation("text.txt", sha256, SPLIT, limit, None, None)
    facts = {"corpus": ("text.txt",), "cell": "lstm", "num_layers": 1, "hidden_size": 8, "step": 5, "steps": 5}
    more = {"best_step": 4, "parameters": 100, "validation": validation, "sha256": sha256, "finished": True}
    settings = {"cell": "lstm", "seed": 1, "threads": 1} | settings
    return RunSummary(
        name, name, **facts, best_loss=loss, changed=0.0, bytes=1, damage=damage, settings=settings, **more
    )


def test_runs_that_differ_only_in_the_seed_are_one_row():
    runs = [summary("a", 1.0, seed=1), summary("b", 2.0, seed=2, threads=4), summary("c", 1.2, cell="gru")]
    comparison = compare(runs)
    assert comparison.names == ["cell"]
    (group,) = comparison.groups
    gru, lstm = group.rows
    assert (gru.settings, gru.loss, gru.deviation) == ({"cell": ("gru",)}, 1.2, None)
    assert [run.name for run in lstm.runs] == ["a", "b"]
    assert lstm.loss == 1.5
    assert lstm.deviation == pytest.approx(math.sqrt(0.5))
    assert lstm.mean(lambda run: run.parameters) == 100


def test_by_groups_by_that_setting_alone():
    runs = [summary("a", 1.0, dropout=0.1), summary("b", 2.0, dropout=0.2), summary("c", 1.2, cell="gru", dropout=0.1)]
    comparison = compare(runs, ["cell"])
    assert comparison.names == ["cell", "dropout"]
    gru, lstm = comparison.groups[0].rows
    assert sorted(lstm.settings["dropout"]) == [0.1, 0.2]
    assert gru.settings == {"cell": ("gru",), "dropout": (0.1,)}
    assert len(compare(runs).groups[0].rows) == 3
    assert [len(row.runs) for row in compare(runs, ["--seed"]).groups[0].rows] == [3]
    with pytest.raises(ConfigError, match=r"'cel' is not a setting of a run: did you mean cell\?"):
        compare(runs, ["cel"])


def test_losses_on_other_characters_are_in_another_group():
    runs = [
        summary("few", 0.1, limit=9),
        summary("a", 1.0),
        summary("b", None),
        summary("bad", 3.0, damage="cut short"),
    ]
    all_of_it, few = compare(runs).groups
    assert [row.loss for row in all_of_it.rows] == [1.0]
    assert [run.name for row in all_of_it.rows for run in row.runs] == ["a", "b"]
    assert [run.name for row in few.rows for run in row.runs] == ["few"]


def test_the_same_text_under_another_path_is_no_difference():
    one, other = summary("a", 1.0), summary("b", 1.0, sha256="b" * 64)
    assert compare([one, one]).names == []
    assert compare([one, other]).names == ["corpus"]
