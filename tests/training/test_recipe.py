"""The recipe: what it chooses for a text and a time, and that it says why."""

import itertools
import math
import re

import pytest

from charrnn.config import OPTIMIZER_DEFAULTS, ModelConfig, TrainConfig, setting_fields
from charrnn.nn.model import param_shapes
from charrnn.training.recipe import choose, kind, work

CONFIG = ModelConfig(65)
SPEED = 2.4e10  # of two cores


def layer_params(config):
    return sum(math.prod(shape) for name, shape in param_shapes(config).items() if name.startswith("layer"))


def chosen(minutes=5, chars=10**6, given=(), config=CONFIG, val_chars=1000):
    budget = SPEED * minutes * 60
    return choose(config, param_shapes, chars, val_chars, math.ceil(chars / 3200), budget, given, minutes=minutes)


def sized(units, passes, chars=10**6):
    """Return what is chosen for a model of this size and the time for these passes."""
    config = ModelConfig(65, hidden_size=units)
    minutes = passes * chars * work(config, param_shapes) / SPEED / 60
    return chosen(minutes, chars, given=("hidden_size",), config=config).settings


def passes_of(found):
    """Return how often the text is read, as the reason for the dropout says."""
    (why,) = [why for why in found.reasons if why.startswith("dropout")]
    return float(re.search(r"read ([\d.e-]+) times", why)[1])


def test_more_time_buys_a_larger_model():
    sizes = [chosen(minutes, 10**8).settings["hidden_size"] for minutes in (0.01, 1, 3, 10, 30, 120)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] == 64
    assert all(size % 32 == 0 for size in sizes)


@pytest.mark.parametrize("minutes", [1, 3, 10, 30])
def test_the_size_is_that_at_which_the_time_allows_to_read_enough(minutes):
    config = ModelConfig(65, hidden_size=chosen(minutes, 10**8).settings["hidden_size"])
    assert SPEED * minutes * 60 / work(config, param_shapes) / layer_params(config) == pytest.approx(14, rel=0.25)


def test_a_small_text_gets_a_small_model_and_much_dropout():
    small, large = chosen(30, 20_000), chosen(30, 10**8)
    assert layer_params(ModelConfig(65, hidden_size=small.settings["hidden_size"])) <= 12 * 20_000
    assert small.settings["dropout"] > 0.5
    assert large.settings["dropout"] == 0.0
    assert f"{small.settings['hidden_size']} units: a larger model would memorise 20,000 characters" in small.reasons
    assert any("there is time to read" in reason for reason in large.reasons)


def test_dropout_rises_with_the_passes():
    rates = [chosen(5, chars).settings["dropout"] for chars in (10**8, 10**7, 3 * 10**6, 10**6, 2 * 10**5)]
    assert rates == sorted(rates)
    assert rates[0] == 0
    assert 0.3 < chosen(5, 10**6).settings["dropout"] < 0.5


@pytest.mark.parametrize("chars", [6 * 10**6, 3 * 10**6, 2 * 10**6, 10**6, 5 * 10**5])
def test_a_text_that_is_read_three_times_needs_no_dropout(chars):
    found = chosen(5, chars)
    passes = passes_of(found)
    units = found.settings["hidden_size"]
    per_char = layer_params(ModelConfig(65, hidden_size=units)) / chars
    usual = 0.05 + 0.15 * math.log(passes * min(1, units * per_char / 350))
    assert found.settings["dropout"] == pytest.approx(max(0, min(usual, 0.06 * (passes - 3))), abs=0.01)


def test_weights_are_dropped_only_in_runs_of_many_passes():
    rates = [chosen(5, chars).settings["weight_drop"] for chars in (10**8, 3 * 10**6, 5 * 10**5, 2 * 10**5, 10**4)]
    assert rates == sorted(rates)
    assert rates[1] == 0 < rates[2] < rates[-1] == 0.45


def test_layers_that_cannot_memorise_the_text_are_not_held_down():
    # The measured optima of docs/ablations.md, at the nearest round figures.
    for units, chars, passes, best in [
        (64, 2_600_000, 12.6, 0.0),
        (64, 10**6, 12, 0.0),
        (128, 10**6, 12, 0.0),
        (64, 135_000, 12, 0.0),
        (64, 135_000, 40, 0.13),
        (128, 135_000, 12, 0.2),
        (224, 137_000, 18, 0.42),
        (32, 20_000, 120, 0.39),
        (64, 20_000, 40, 0.37),
        (64, 20_000, 120, 0.52),
        (256, 20_000, 40, 0.56),
        (224, 10**6, 4.2, 0.0),
        (256, 10**6, 5.4, 0.1),
        (384, 10**6, 8.7, 0.33),
    ]:
        assert sized(units, passes, chars)["dropout"] == pytest.approx(best, abs=0.09), (units, chars, passes)


def test_a_layer_that_can_memorise_the_text_is_regularised_by_the_passes_alone():
    for units in (256, 448, 1024):
        assert sized(units, 40, 10**5)["dropout"] == 0.6
        assert sized(units, 12, 10**5)["dropout"] == 0.42
        assert sized(units, 12, 10**5)["weight_drop"] == 0.1


SIZES = (32, 64, 128, 256, 512, 1024)
LENGTHS = (20_000, 150_000, 10**6, 3 * 10**6, 10**8)
MINUTES = [0.5 * 1.1**power for power in range(51)]  # to 59: 1 to 30 minutes on a machine of half or twice the speed


@pytest.mark.parametrize("chars", LENGTHS)
@pytest.mark.parametrize("units", [None, *SIZES])
def test_every_rule_is_smooth_in_the_time_at_every_size(units, chars):
    config, given = (CONFIG, ()) if units is None else (ModelConfig(65, hidden_size=units), ("hidden_size",))
    found = [chosen(minutes, chars, given, config).settings for minutes in MINUTES]
    for settings in found:
        assert 0 <= settings["dropout"] <= 0.6
        assert 0 <= settings["weight_drop"] <= 0.5
        assert settings["weight_drop"] < settings["dropout"] or settings["weight_drop"] == 0
        assert 4e-3 <= settings["learning_rate"] <= 0.08
    for shorter, longer in itertools.pairwise(found):
        more, faster = longer["dropout"] - shorter["dropout"], longer["learning_rate"] / shorter["learning_rate"]
        dropped = longer["weight_drop"] - shorter["weight_drop"]
        if units is None:  # a larger size reads the text less often
            assert longer["hidden_size"] >= shorter["hidden_size"]
            assert abs(more) < 0.08
            assert abs(dropped) < 0.05
            assert 0.75 < faster < 1.15
        else:
            assert 0 <= more < 0.06
            assert 0 <= dropped < 0.03
            assert 0.87 < faster <= 1  # of two digits


@pytest.mark.parametrize("passes", [2, 4, 12, 40, 120])
@pytest.mark.parametrize("chars", LENGTHS)
def test_a_larger_layer_gets_more_dropout_and_a_lower_rate(chars, passes):
    found = [sized(units, passes, chars) for units in SIZES]
    for smaller, larger in itertools.pairwise(found):
        assert smaller["dropout"] <= larger["dropout"] + 0.01  # passes are rounded to whole steps
        assert smaller["weight_drop"] <= larger["weight_drop"] + 0.01
        assert smaller["learning_rate"] >= larger["learning_rate"]


@pytest.mark.parametrize("units", SIZES)
def test_a_longer_text_needs_no_more_dropout(units):
    for minutes in (1, 5, 30):
        given, config = ("hidden_size",), ModelConfig(65, hidden_size=units)
        found = [chosen(minutes, chars, given, config).settings["dropout"] for chars in LENGTHS]
        assert found == sorted(found, reverse=True)


def test_the_rate_is_inverse_to_a_small_size():
    rates = [sized(units, 40)["learning_rate"] for units in (32, 64, 128, 256, 384, 1024)]
    assert rates == [0.08, 0.048, 0.024, 0.012, 0.008, 0.0049]


def test_the_mean_of_the_weights_remembers_a_sixth_of_the_run():
    for minutes in (1, 10):
        recipe = chosen(minutes, 10**8)
        config = ModelConfig(65, hidden_size=recipe.settings["hidden_size"])
        steps = SPEED * minutes * 60 / work(config, param_shapes) / 3200
        assert 1 / (1 - recipe.settings["average"]) == pytest.approx(steps / 6, rel=0.1)
    for short_or_unvalidated in (chosen(0.0001, 1000), chosen(5, val_chars=0)):
        assert "average" not in short_or_unvalidated.settings
        assert not any("mean" in reason for reason in short_or_unvalidated.reasons)
    assert TrainConfig(average=chosen(10**6, 10**12).settings["average"]).average == 0.99999


def test_each_reason_stands_by_itself():
    (why,) = [why for why in chosen(5, 10**4, given={"dropout"}).reasons if why.startswith("weight-drop")]
    assert why == "weight-drop 0.45: the text is read 120 times, by layers of 10 parameters per character"


def test_a_small_text_is_read_no_more_often_than_is_of_use():
    large, small, twice = chosen(5, 10**6), chosen(5, 20_000), chosen(10, 20_000)
    assert [any("120 passes" in why for why in found.reasons) for found in (large, small)] == [False, True]
    assert small.settings == twice.settings  # which follow what is read, not what could be


def test_a_text_that_is_not_read_once_gets_the_minutes_that_serve_it():
    (note,) = chosen(5, 10**9).notes
    wanted = re.fullmatch(r"there is time to read only 0\.95% of the text: --minutes (\d+) would read it 3 times", note)
    longer = chosen(float(wanted[1]), 10**9)
    passes = passes_of(longer)
    assert passes == pytest.approx(3, rel=0.15)
    assert chosen(5, 10**6).notes == []
    (own,) = chosen(5, 10**9, given={"hidden_size"}).notes  # of 384 units, as in the configuration
    assert float(own.split()[-6]) < float(wanted[1])


@pytest.mark.parametrize("minutes", [0, -1, 1e-9])
def test_where_reading_has_taken_all_the_time_one_step_is_planned(minutes):
    found = chosen(minutes, 32_000)
    assert (found.settings["hidden_size"], found.settings["dropout"]) == (64, 0)
    assert "64 units: there is time to read 3,200 characters" in found.reasons


def test_of_a_large_validation_part_a_part_is_scored():
    assert "val_chars" not in chosen(5, val_chars=10**5).settings
    short, long = (chosen(minutes, 10**8, val_chars=10**7).settings["val_chars"] for minutes in (1, 5))
    assert 50_000 < short < long < 10**6
    assert "val_chars" not in chosen(5, 10**8, val_chars=10**7, given={"val_chars"}).settings


def test_the_help_marks_the_settings_that_the_recipe_chooses():
    every = kind(5387, 10**8, ()).settings | kind(65, 1000, ()).settings
    for minutes, chars in ((30, 20_000), (5, 10**6)):
        every |= chosen(minutes, chars, val_chars=10**7).settings | batched(64).settings
    assert {item.name for item in setting_fields() if "recipe" in item.metadata} == every.keys()


def test_many_symbols_are_embedded():
    few, many = chosen(config=ModelConfig(512)), chosen(config=ModelConfig(5387))
    assert not {"embed_size", "tied"} & few.settings.keys()
    assert (many.settings["embed_size"], many.settings["tied"]) == (128, True)
    assert many.settings["hidden_size"] < chosen().settings["hidden_size"]  # most of the time goes into the readout
    own = chosen(given={"embed_size"}, config=ModelConfig(5387))
    assert not {"embed_size", "tied"} & own.settings.keys()
    assert kind(5387, 10**6, {"tied", "cell"}).settings == {"embed_size": 128}
    assert kind(5387, 10**6, {"input_dropout", "cell"}).settings == {"embed_size": 128, "tied": True}


@pytest.mark.parametrize(("chars", "lanes"), [(300, 1), (2701, 6), (12_800, 31), (12_801, None), (10**6, None)])
def test_of_a_tiny_text_each_lane_has_four_windows(chars, lanes):
    found = kind(65, chars, ())
    assert found.settings.get("batch_size") == lanes
    assert any(why.startswith(f"batch {lanes}: {chars:,} characters") for why in found.reasons) == (lanes is not None)
    for given in ("batch_size", "seq_len"):
        assert "batch_size" not in kind(65, chars, {given}).settings


def test_the_mean_remembers_a_sixth_of_the_steps_however_long_these_are():
    # 2,700 characters in 8 lanes of 338: an epoch has four steps, the last of them short.
    (why,) = [why for why in choose(CONFIG, param_shapes, 2700, 300, 4, 1e12, (), minutes=5).reasons if "mean" in why]
    assert why == "running mean of the weights over 80 steps: a sixth of the run"


def test_rows_that_are_looked_up_cost_nothing():
    for less, more in [
        (ModelConfig(5387, embed_size=128), ModelConfig(5387, embed_size=128, num_layers=2)),
        (ModelConfig(65, hidden_size=128), ModelConfig(65, hidden_size=256)),
        (ModelConfig(65), ModelConfig(66)),
    ]:
        assert work(less, param_shapes) < work(more, param_shapes)
    one_hot, embedded = ModelConfig(65), ModelConfig(65, embed_size=65)
    tied = ModelConfig(65, embed_size=65, tied=True)
    assert work(embedded, param_shapes) - work(one_hot, param_shapes) == 65 * 4 * 384
    assert work(tied, param_shapes) - work(embedded, param_shapes) == 65 * 65  # instead of H V: H E and E V


def test_only_optimizers_of_adams_kind_get_its_rate():
    rates = {
        name: choose(CONFIG, param_shapes, 10**6, 1000, 313, 1e12, (), name, minutes=5).settings.get("learning_rate")
        for name in OPTIMIZER_DEFAULTS
    }
    assert rates == {"sgd": None, "rmsprop": None, "adagrad": None, "adam": rates["adam"], "adamw": rates["adam"]}
    assert rates["adam"] > 4e-3


def test_a_text_that_is_read_a_few_times_gets_a_faster_rate():
    for chars in (10**8, 3 * 10**6, 10**6, 4 * 10**5, 2 * 10**5, 2 * 10**4):
        found = chosen(5, chars, given=("hidden_size",), config=ModelConfig(65, hidden_size=384))
        passes = passes_of(found)
        wanted = 8e-3 * min(2.5, max(1, (20 / passes) ** 0.7))
        assert found.settings["learning_rate"] == pytest.approx(wanted, abs=5e-4)
    assert (passes, found.settings["learning_rate"]) == (120, 8e-3)


def batched(rows, given=("batch_size",), optimizer="adamw", schedule="cosine"):
    """Return what is chosen for a text of a million characters in steps of this many rows of 100 characters."""
    steps = math.ceil(10**6 / rows / 100)
    return choose(CONFIG, param_shapes, 10**6, 1000, steps, 5e12, given, optimizer, schedule, minutes=5)


def test_a_larger_batch_gets_a_faster_rate_and_a_longer_warm_up():
    usual = batched(32)
    assert "warmup_share" not in usual.settings
    assert not any("than usual" in why or "as usual" in why for why in usual.reasons)
    for rows in (64, 128, 512):
        found = batched(rows)
        rate = usual.settings["learning_rate"] * math.sqrt(rows / 32)
        assert found.settings["learning_rate"] == pytest.approx(rate, rel=0.05)
        assert found.settings["warmup_share"] == 0.5
        assert found.settings.keys() - usual.settings.keys() == {"warmup_share"}
    (rate, warmup) = (why for why in batched(128).reasons if why not in usual.reasons and "mean" not in why)
    assert rate.endswith("passes, times 2 because a step reads 4 times as many characters as usual")
    assert warmup.startswith("warm-up share 0.5: ")


def test_a_smaller_batch_keeps_the_usual_rate():
    usual, small = batched(32), batched(8)
    assert small.settings["learning_rate"] == usual.settings["learning_rate"]
    assert "warmup_share" not in small.settings
    exact = choose(CONFIG, param_shapes, 3201, 0, 1, 5e12, {"batch_size"}, minutes=5)  # 3,200 predictions in one step
    assert "warmup_share" not in exact.settings


def test_the_warm_up_is_chosen_for_what_has_one_and_was_measured():
    assert "warmup_share" in batched(512, optimizer="adam").settings
    for other in (batched(512, optimizer="sgd"), batched(512, schedule="constant")):
        assert "warmup_share" not in other.settings
        assert not any("warm-up" in why for why in other.reasons)


@pytest.mark.parametrize("name", ["warmup_steps", "warmup_share"])
def test_who_gives_a_warm_up_keeps_it(name):
    assert "warmup_share" not in batched(512, {"batch_size", name}).settings
    assert batched(512, {"batch_size", name}).settings["learning_rate"] == batched(512).settings["learning_rate"]


@pytest.mark.parametrize(
    ("minutes", "chars", "small"),
    [(5, 150_000, True), (5, 300_000, True), (5, 300_001, False), (60, 10**6, False), (0.3, 300_000, False)],
)
def test_a_small_text_that_is_read_often_gets_an_embedding_and_a_small_batch(minutes, chars, small):
    found = chosen(minutes, chars)
    assert (passes_of(found) >= 15) == ((chars <= 300_001 and minutes > 1) or minutes == 60)
    wanted = {"embed_size": 64, "batch_size": 16} if small else {}
    assert {name: found.settings[name] for name in ("embed_size", "batch_size") if name in found.settings} == wanted
    assert any(reason.startswith("embedding of 64 and batch 16: ") for reason in found.reasons) == small


@pytest.mark.parametrize("name", ["embed_size", "batch_size", "seq_len", "tied"])
def test_who_gives_one_of_them_gets_neither(name):
    assert not {"embed_size", "batch_size"} & chosen(5, 150_000, given={name}).settings.keys()


def test_what_is_given_is_not_chosen():
    given = {"cell": "gru", "hidden_size": 128, "dropout": 0.25, "weight_drop": 0.1, "learning_rate": 0.01}
    given |= {"reset_rate": 0.0, "average": 0.9}
    for name, value in given.items():
        config = ModelConfig(65, **({name: value} if name in vars(CONFIG) else {}))
        recipe = chosen(given={name}, config=config)
        assert recipe.settings.keys() == given.keys() - {name}
        assert len(recipe.reasons) == len([value for value in recipe.settings.values() if value != 0])
    assert chosen(given=given).settings == {}
    assert chosen(given=given).reasons == []
    # what is given counts in what is chosen: a small model reads the text more often, and cannot memorise it
    small = chosen(given={"hidden_size"}, config=ModelConfig(65, hidden_size=128))
    assert small.settings["average"] > chosen().settings["average"]
    assert small.settings["dropout"] < chosen().settings["dropout"]
