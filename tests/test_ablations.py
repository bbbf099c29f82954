"""Ablations: which runs are made, with which settings, and the table."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import kept
from benchmarks.ablations import __main__ as ablations
from benchmarks.ablations import batch
from benchmarks.ablations.batch import Rule, Size

#: Settings that the recipe chose: a step reads 1,000 characters.
SETTINGS = {"cell": "lnlstm", "hidden_size": 128, "dropout": 0.3, "weight_drop": 0.0, "batch_size": 20, "seq_len": 50}


class Runs:
    """Replaces training and timing; records each request."""

    def __init__(self):
        self.asked = []

    def run(self, text, seed, **settings):
        self.asked.append((Path(text).name, seed, settings))
        loss = 1.5 + seed / 100 + (settings["dropout"] if "dropout" in settings else 0.3) / 10
        chars = 600_000 if "minutes" in settings else settings["steps"] * 1000
        return {"text": Path(text).name, "seed": seed, "loss": loss, "chars": chars, "settings": SETTINGS}

    def speed(self, text, settings, recipe):
        assert recipe == SETTINGS
        return 1.0 if settings["dropout"] == 0 else 0.5


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Return the replacement, in a folder with two texts."""
    runs = Runs()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablations, "run", runs.run)
    monkeypatch.setattr(ablations, "speed", runs.speed)
    for name in ("one.txt", "two.txt"):
        Path(name).write_text("to be or not to be", encoding="utf-8")
    return runs


def call(*words):
    """Run the command for one text; its output has the table."""
    return CliRunner().invoke(ablations.main, ["one.txt", *words])


def cells(output, name):
    """Return the cells of a row, without its name."""
    (line,) = [line for line in output.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def test_nothing_runs_twice_and_the_recipes_own_setting_never(runs):
    words = ("two.txt", "--only", "--dropout", "--seeds", "2", "--json", "rows.json")
    done = call(*words)
    assert done.exit_code == 0, done.output
    requests = [(text, seed, settings.get("dropout")) for text, seed, settings in runs.asked]
    assert requests == [
        (text, seed, dropout) for text in ("one.txt", "two.txt") for seed in (1, 2) for dropout in (None, 0.0, 0.6)
    ]
    assert cells(done.stdout, "`--dropout 0.3`") == [""] * 4
    rows = kept.load(Path("rows.json"))
    assert call(*words).stdout == done.stdout
    assert kept.load(Path("rows.json")) == rows
    assert len(runs.asked) == len(rows) == 12


def test_an_interrupted_command_continues_where_it_stopped(runs, monkeypatch):
    def stop(*_, **settings):
        if settings.get("dropout") == 0.6:
            raise KeyboardInterrupt
        return runs.run(*_, **settings)

    words = ("--only", "--dropout", "--json", "rows.json")
    with monkeypatch.context() as patched:
        patched.setattr(ablations, "run", stop)
        assert call(*words).exit_code != 0
    assert len(kept.load(Path("rows.json"))) == len(runs.asked) == 2
    assert call(*words).exit_code == 0
    assert [settings.get("dropout") for _, _, settings in runs.asked] == [None, 0.0, 0.6]


def test_the_table_shows_losses_against_the_recipe_of_the_same_seed_and_what_was_read(runs):
    table = call("--only", "--dropout", "--seeds", "2", "--json", "rows.json").stdout
    assert table.startswith("|  | one.txt | read |\n")
    assert cells(table, "recipe") == ["1.5400, 1.5500", "600,000, 600,000"]
    assert cells(table, "`--dropout 0`") == ["-0.0300, -0.0300", "1.00, 1.00"]
    assert cells(table, "`--dropout 0.6`") == ["+0.0300, +0.0300", "0.50, 0.50"]


def test_a_table_is_of_runs_of_its_length_alone(runs):
    assert cells(call("--only", "recipe", "--minutes", "1", "--json", "rows.json").stdout, "recipe")[0] == "1.5400"
    assert cells(call("--only", "recipe", "--json", "rows.json").stdout, "recipe")[0] == "1.5400"
    assert [settings for _, _, settings in runs.asked] == [{"minutes": 1.0}, {"minutes": 2.0}]
    assert len(kept.load(Path("rows.json"))) == 2


def test_several_files_are_put_together_and_no_row_twice(runs):
    for name, only in (("a.json", "--dropout 0`"), ("b.json", "--dropout 0.6")):
        assert call("--only", only, "--json", name).exit_code == 0
    asked = len(runs.asked)
    files = ("--json", "all.json", "--json", "a.json", "--json", "b.json", "--json", "b.json")
    first, again = (call("--only", "--dropout", *files) for _ in range(2))
    assert first.stdout == again.stdout
    assert cells(first.stdout, "recipe")[0] == "1.5400"
    assert (cells(first.stdout, "`--dropout 0`")[0], cells(first.stdout, "`--dropout 0.6`")[0]) == (
        "-0.0300",
        "+0.0300",
    )
    assert [row["ablation"] for row in kept.load(Path("all.json"))] == ["recipe", "`--dropout 0`", "`--dropout 0.6`"]
    assert len(kept.load(Path("a.json"))) == 2
    assert len(runs.asked) == asked


@pytest.mark.parametrize(
    ("change", "chars", "steps", "average"),
    [
        ({"dropout": 0.0}, 600_000, 600, 0.99),  # as fast as the recipe, so as many steps
        ({"dropout": 0.6}, 600_000, 300, 0.98),  # half as fast
        ({"dropout": 0.0, "batch_size": 40}, 600_000, 300, 0.98),  # a step reads twice as much
        ({"dropout": 0.6, "average": 0.0}, 600_000, 300, 0.0),  # a changed setting stays changed
        ({"dropout": 0.0}, 3_000, 3, 0.0),
        ({"dropout": 0.0}, 10, 1, 0.0),
    ],
)
def test_a_change_is_run_for_as_long_with_all_else_the_recipes(runs, change, chars, steps, average):
    recipe = {"seed": 3, "chars": chars, "settings": SETTINGS}
    ablations.changed(recipe, "one.txt", change)
    ((text, seed, settings),) = runs.asked
    assert (text, seed) == ("one.txt", 3)
    assert settings == pytest.approx({**SETTINGS, **change, "steps": steps, "average": average})


def test_a_change_without_effect_is_not_run(runs):
    recipe = {"seed": 1, "chars": 600_000, "settings": SETTINGS}
    assert ablations.changed(recipe, "one.txt", {"dropout": 0.3}) is None
    assert runs.asked == []


def test_a_word_that_no_row_has_is_refused_in_one_line(runs):
    refused = call("--only", "nosuch", "--json", "rows.json")
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "no row has 'nosuch' in its name: recipe, `--cell lstm`, " in refused.output
    assert runs.asked == []
    assert not Path("rows.json").exists()


# Batch sizes

WHOLE = Rule(1.0, 1.0)


@pytest.fixture
def study(tmp_path):
    """Return the study of a text with 31,998 characters to train on: ten steps a pass with the usual batch."""
    path = tmp_path / "text.txt"
    path.write_text("abcdefgh" * 4444, encoding="utf-8")
    return batch.Study(str(path), units=64, passes=4)


def test_a_larger_batch_makes_fewer_steps_at_the_rate_of_its_rule(study):
    usual = study.settings_of(Size(32, 100), WHOLE)
    base = usual["learning_rate"]
    assert (usual["steps"], usual["warmup_steps"]) == (40, 40)
    for power, rate in ((0.0, base), (0.5, 2 * base), (1.0, 4 * base)):
        found = study.settings_of(Size(128, 100), Rule(power, 0.5))
        assert found == {
            "batch_size": 128,
            "seq_len": 100,
            "steps": 12,
            "learning_rate": pytest.approx(rate),
            "warmup_steps": 6,
        }


def test_the_window_counts_like_the_rows(study):
    assert study.settings_of(Size(128, 25), WHOLE) == study.settings_of(Size(32, 100), WHOLE) | {
        "batch_size": 128,
        "seq_len": 25,
    }
    as_many = study.settings_of(Size(32, 100, steps_of=128), WHOLE)
    assert as_many["steps"] == study.settings_of(Size(128, 100), WHOLE)["steps"]


def test_rules_that_agree_share_a_run(tmp_path, monkeypatch):
    asked = []

    def run(text, seed, **settings):
        asked.append((settings["batch_size"], settings["steps"], settings["learning_rate"], settings["warmup_steps"]))
        chosen = {"hidden_size": settings["hidden_size"]}
        return {"text": Path(text).name, "seed": seed, "loss": len(asked), "recoveries": 0, "settings": chosen}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch, "run", run)
    Path("text.txt").write_text("abcdefgh" * 444_500, encoding="utf-8")
    words = ["text.txt", "--seed", "1", "--passes", "1", "--json", "rows.json"]
    words += ["--only", "32 x 100", "--only", "128 x 100"]
    done = CliRunner().invoke(batch.main, words)
    assert done.exit_code == 0, done.output
    (rows, steps, rate, warmup), *others = asked
    assert (rows, steps, warmup) == (32, 1001, 100)
    assert not any(call[:2] == (32, 1001) for call in others)
    larger = [call for call in others if call[:2] == (128, 251)]
    assert [(each / rate, steps) for *_, each, steps in larger] == [(1, 25), (2, 25), (4, 25), (2, 100)]
    assert cells(done.stdout, "32 x 100")[1:] == ["1.0000"] * 5
    count = len(asked)
    assert CliRunner().invoke(batch.main, words).stdout == done.stdout
    assert len(asked) == count == len(kept.load(Path("rows.json")))


def test_a_size_that_does_not_exist_is_refused_in_one_line(tmp_path):
    Path(tmp_path / "text.txt").write_text("abc", encoding="utf-8")
    words = [str(tmp_path / "text.txt"), "--only", "33 x", "--json", str(tmp_path / "rows.json")]
    refused = CliRunner().invoke(batch.main, words)
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "no size begins with 33 x: 32 x 100, " in refused.output
