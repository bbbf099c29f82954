"""The settings: what each refuses, in words that name its flag; the defaults; the way to a dict and back."""

import json
import re
from contextlib import suppress
from dataclasses import FrozenInstanceError, asdict, fields
from itertools import combinations

import pytest

from charrnn.config import (
    CELL_NAMES,
    DEFAULT_MINUTES,
    DOCUMENT_WAYS,
    INIT_NAMES,
    NORMAL_FORMS,
    OPTIMIZER_DEFAULTS,
    SCHEDULE_NAMES,
    ModelConfig,
    TextConfig,
    TrainConfig,
    build,
    flag_of,
    from_dict,
    text_and_train_configs,
    text_and_train_settings,
)
from charrnn.errors import ConfigError
from charrnn.wording import in_words

#: Every number: the least and the greatest value that it takes (None: any), and values just outside.
WHOLE_NUMBERS = {
    "hidden_size": (1, None, [0, -1]),
    "num_layers": (1, None, [0, -1]),
    "embed_size": (0, None, [-1]),
    "attention": (0, None, [-1]),
    "steps": (1, None, [0, -5]),
    "epochs": (1, None, [0, -5]),
    "patience": (0, None, [-1]),
    "batch_size": (1, None, [0]),
    "seq_len": (1, None, [0]),
    "warmup_steps": (0, None, [-1]),
    "decay_steps": (1, None, [0]),
    "threads": (1, None, [0, -1]),
    "seed": (0, 2**63 - 1, [-1, 2**63]),
    "eval_every": (1, None, [0]),
    "log_every": (0, None, [-1]),
    "save_every": (0, None, [-1]),
    "val_chars": (0, None, [-1]),
    "min_count": (1, None, [0]),
    "val_documents": (0, None, [-1]),
    "test_documents": (0, None, [-1]),
}
NUMBERS = {
    "dropout": (0, 0.95, [-0.01, 0.96]),
    "input_dropout": (0, 0.95, [-0.01, 0.96]),
    "weight_drop": (0, 0.95, [-0.01, 0.96]),
    "reset_rate": (0, 1, [-0.01, 1.01]),
    "average": (0, 0.99999, [-0.01, 1]),
    "minutes": (1e-9, None, [0, -1.0]),
    "learning_rate": (1e-9, None, [0, 0.0, -1e-3]),
    "momentum": (0, 0.9999, [-0.1, 1]),
    "beta1": (0, 0.9999, [-0.1, 1.0]),
    "beta2": (0, 0.99999, [-0.1, 1.0]),
    "weight_decay": (0, 10, [-1e-9, 10.5]),
    "warmup_share": (0, 1, [-0.1, 1.1]),
    "final_rate": (0, 1, [-0.1, 1.1]),
    "decay_rate": (0, 1, [-0.1, 1.1]),
    "clip_norm": (0, None, [-1]),
    "clip_value": (0, None, [-1]),
    "val_fraction": (0, 0.9, [-0.1, 0.91]),
    "test_fraction": (0, 0.9, [-0.1, 0.91]),
}
CHOICES = {
    "cell": CELL_NAMES,
    "init": INIT_NAMES,
    "dtype": ("float32", "float64"),
    "optimizer": tuple(OPTIMIZER_DEFAULTS),
    "schedule": SCHEDULE_NAMES,
    "normalize": NORMAL_FORMS,
    "split_documents": DOCUMENT_WAYS,
}
#: What is true or not, and what is text.
FACTS = {
    *("recover", "half_gradients", "bytes", "lowercase", "reverse", "context"),
    *("shuffle_documents", "extend_vocab", "tied"),
}
WORDS = {"length_changes", "encoding", "separator", "field"}
OPTIONAL = {
    "split_documents",
    "val_documents",
    "test_documents",
    "steps",
    "epochs",
    "minutes",
    "learning_rate",
    "weight_decay",
    "decay_steps",
    "threads",
    "seed",
    "eval_every",
}

KINDS = (ModelConfig, TextConfig, TrainConfig)

NEEDS_DOCUMENTS = "needs documents: give --split-documents, --separator or --field too"

numbers = pytest.mark.parametrize("name", [*WHOLE_NUMBERS, *NUMBERS])


def make(name, value):
    """Return the config that has the field, with this value."""
    if name in {field.name for field in fields(ModelConfig)}:
        return ModelConfig(**{"vocab_size": 5, "embed_size": 2, name: value})
    if name in {field.name for field in fields(TrainConfig)}:
        return TrainConfig(**{name: value})
    documents = {"split_documents": "lines"} if name.endswith("_documents") else {}
    return TextConfig(**documents | {"val_fraction": 0.0, name: value})


def refuse(name, value):
    """Return the message with which the value is refused."""
    with pytest.raises(ConfigError) as caught:
        make(name, value)
    message = str(caught.value)
    assert message.startswith(f"--{name.replace('_', '-')} ")
    return message


def test_every_setting_is_tested_here():
    settings = {item.name for kind in KINDS for item in fields(kind) if item.metadata and item.metadata["group"]}
    assert settings == WHOLE_NUMBERS.keys() | NUMBERS.keys() | CHOICES.keys() | FACTS | WORDS


def test_every_setting_says_in_which_group_it_stands_and_what_it_is():
    for kind in KINDS:
        for item in fields(kind):
            if item.name not in ("vocab_size", "document_rules", "ranks"):
                assert item.metadata["group"] in ("Model", "Training", "Length", "Text", "Files")
                assert item.metadata["help"].endswith((".", "]"))


@numbers
def test_the_ends_of_a_range_belong_to_it(name):
    low, high, _ = (WHOLE_NUMBERS | NUMBERS)[name]
    for value in (low, high):
        if value is not None:
            assert getattr(make(name, value), name) == value


@numbers
def test_values_out_of_range_are_refused(name):
    _, _, outside = (WHOLE_NUMBERS | NUMBERS)[name]
    for value in outside:
        assert re.fullmatch(
            rf"{flag_of(name)} must be (at least|at most|greater than|less than) [\d.,]+, got {value}",
            refuse(name, value),
        )


@numbers
def test_truth_values_and_words_are_no_numbers(name):
    kind = "a whole number" if name in WHOLE_NUMBERS else "a number"
    for value in (True, False, "3", [3]):
        assert refuse(name, value) == f"{flag_of(name)} must be {kind}, got {value!r}"


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
@pytest.mark.parametrize("value", [1.0, 2.5, float("nan"), float("inf")])
def test_whole_numbers_take_no_fractions(name, value):
    assert refuse(name, value) == f"{flag_of(name)} must be a whole number, got {value!r}"


@numbers
def test_a_number_too_large_for_a_float_is_taken_or_refused_like_any_other(name):
    with suppress(ConfigError):  # any other error would reach the user as a traceback
        make(name, 10**400)


@pytest.mark.parametrize("name", ["hidden_size", "num_layers", "embed_size", "threads", "minutes"])
def test_numbers_that_no_array_and_no_machine_has_are_refused(name):
    assert re.search(r"must be (at most|less than) [\d,]+, got", refuse(name, 10**26))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_are_finite(name, value):
    assert refuse(name, value) == f"{flag_of(name)} must be a finite number, got {value}"


@pytest.mark.parametrize("name", CHOICES)
def test_choices_take_their_words_and_no_others(name):
    for choice in CHOICES[name]:
        assert getattr(make(name, choice), name) == choice
    for value in ("transformer", "", CHOICES[name][0].swapcase(), CHOICES[name][-1] + "x", 1, True):
        wanted = f"{flag_of(name)} must be {in_words(CHOICES[name], 'or')}, got {value!r}"
        if name == "cell" and not isinstance(value, str):
            wanted = "--cell takes a name"
        told = refuse(name, value)
        assert told.partition(";")[0].partition(":")[0].partition(" (")[0] == wanted
        for choice in (CHOICES[name][0], CHOICES[name][-1]):
            if str(value).lower().startswith(choice.lower()) and name != "cell":
                assert told.endswith(f" (did you mean {choice}?)")


@pytest.mark.parametrize(
    ("value", "near"),
    [("line", "lines"), ("newline", "lines"), ("blank_lines", "blank-lines"), ("FILE", "files")],
)
def test_a_word_for_documents_that_is_nearly_right_is_refused_with_the_right_one(value, near):
    assert refuse("split_documents", value).endswith(
        f"must be lines, blank-lines or files, got {value!r} (did you mean {near}?)"
    )


@pytest.mark.parametrize(
    ("value", "quoted"), [("<|end|>", "'<|end|>'"), ("%%", "%%"), (r"\n---\n", r"'\n---\n'"), ("it's", "'it'\"'\"'s'")]
)
def test_a_separator_given_as_a_word_for_documents_is_refused_with_its_own_option(value, quoted):
    assert refuse("split_documents", value).endswith(f": to split at a text of your own, use --separator {quoted}")


@pytest.mark.parametrize("name", sorted((WHOLE_NUMBERS | NUMBERS | CHOICES).keys() - OPTIONAL))
def test_what_has_no_unset_value_cannot_be_unset(name):
    with pytest.raises(ConfigError, match=f"^{flag_of(name)} "):
        make(name, None)


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_what_is_found_out_at_the_start_may_be_unset(name):
    make(name, None)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "5", None])
def test_a_model_needs_symbols(value):
    with pytest.raises(ConfigError) as caught:
        ModelConfig(value)
    assert str(caught.value) == f"vocab_size must be a whole number of at least 1, got {value!r}"


def test_messages_are_whole():
    assert refuse("hidden_size", 0) == "--hidden-size must be at least 1, got 0"
    assert refuse("dropout", 1.5) == "--dropout must be at most 0.95, got 1.5"
    assert refuse("learning_rate", 0) == "--learning-rate must be greater than 0, got 0"
    assert refuse("dtype", "half") == "--dtype must be float32 or float64, got 'half'"


# --- what depends on another setting


LENGTHS = {"steps": 5, "epochs": 2, "minutes": 1.5}


@pytest.mark.parametrize("names", [*combinations(LENGTHS, 2), tuple(LENGTHS)], ids=" ".join)
def test_two_lengths_contradict_each_other(names):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**{name: LENGTHS[name] for name in names})
    flags = " and ".join(f"--{name}" for name in names)
    assert str(caught.value) == f"{flags} cannot be combined: give one length"


def test_no_length_is_five_minutes():
    assert DEFAULT_MINUTES == 5
    config = TrainConfig()
    assert (config.steps, config.epochs, config.minutes) == (None, None, 5.0)


@pytest.mark.parametrize("name", LENGTHS)
def test_one_length_stands_alone(name):
    config = TrainConfig(**{name: LENGTHS[name]})
    assert {key: getattr(config, key) for key in LENGTHS} == dict.fromkeys(LENGTHS) | {name: LENGTHS[name]}


@pytest.mark.parametrize("optimizer", OPTIMIZER_DEFAULTS)
def test_rate_and_decay_follow_the_optimizer_unless_given(optimizer):
    config = TrainConfig(optimizer=optimizer)
    assert {"learning_rate": config.learning_rate, "weight_decay": config.weight_decay} == OPTIMIZER_DEFAULTS[optimizer]
    config = TrainConfig(optimizer=optimizer, learning_rate=0.125, weight_decay=0.0)
    assert (config.learning_rate, config.weight_decay) == (0.125, 0.0)
    config = TrainConfig(optimizer=optimizer, weight_decay=0.5)
    assert (config.learning_rate, config.weight_decay) == (OPTIMIZER_DEFAULTS[optimizer]["learning_rate"], 0.5)


def test_only_adamw_decays_by_itself():
    assert {name for name, values in OPTIMIZER_DEFAULTS.items() if values["weight_decay"]} == {"adamw"}
    assert all(values["learning_rate"] > 0 for values in OPTIMIZER_DEFAULTS.values())


@pytest.mark.parametrize("settings", [{"input_dropout": 0.1}, {"tied": True}])
def test_what_concerns_an_embedding_needs_one(settings):
    with pytest.raises(ConfigError, match=r"^--(input-dropout|tied) .*: give --embed-size"):
        ModelConfig(5, **settings)
    assert ModelConfig(5, embed_size=2, **settings).embed_size == 2


def test_configs_are_frozen():
    for config in (ModelConfig(5), TextConfig(), TrainConfig()):
        with pytest.raises(FrozenInstanceError):
            config.seed = 1


# --- dicts


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(65),
        ModelConfig(7, cell="gru", hidden_size=3, num_layers=2, embed_size=4, dropout=0.25, init="he", dtype="float64"),
        TextConfig(),
        TextConfig(split_documents="lines", val_documents=3, min_count=2),
        TrainConfig(),
        TrainConfig(steps=9, optimizer="sgd", schedule="step", decay_steps=3, seed=2**63 - 1, eval_every=4),
        TrainConfig(epochs=2, learning_rate=0.1, weight_decay=0.0),
    ],
)
def test_a_config_comes_back_from_its_dict_and_from_json(config):
    assert from_dict(type(config), asdict(config)) == config
    assert from_dict(type(config), json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(("kind", "given"), [(ModelConfig, {"vocab_size": 5}), (TextConfig, {}), (TrainConfig, {})])
def test_unknown_settings_are_refused(kind, given):
    with pytest.raises(ConfigError) as caught:
        from_dict(kind, given | {"width": 3, "depth": 4})
    assert str(caught.value) == "unknown settings: depth, width"


def test_values_in_a_dict_are_checked():
    with pytest.raises(ConfigError, match=r"^--hidden-size must be at least 1, got 0$"):
        from_dict(ModelConfig, {"vocab_size": 5, "hidden_size": 0})


def test_build_hands_a_factory_the_settings_it_names():
    def factory(momentum, steps, extra):
        return momentum, steps, extra

    config = TrainConfig(momentum=0.5, steps=3)
    assert build(factory, config, extra="x") == (0.5, 3, "x")
    assert build(factory, config, extra="x", steps=9) == (0.5, 9, "x")  # what is passed goes before the settings


def test_parts_that_leave_nothing_to_train_on_are_refused():
    assert TextConfig(val_fraction=0.5, test_fraction=0.4)
    with pytest.raises(ConfigError, match="--val-fraction and --test-fraction leave nothing"):
        TextConfig(val_fraction=0.5, test_fraction=0.5)


@pytest.mark.parametrize("name", sorted(FACTS))
@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_what_is_true_or_not_is_nothing_else(name, value):
    assert refuse(name, value).endswith(f" must be True or False, got {value!r}")


@pytest.mark.parametrize("name", sorted(WORDS))
@pytest.mark.parametrize("value", ["", 3, b"utf-8"])
def test_what_is_text_is_nothing_else(name, value):
    assert refuse(name, value).endswith(f" must be a non-empty string, got {value!r}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bytes": True, "lowercase": True}, "--bytes learns files unchanged: leave out --lowercase"),
        ({"bytes": True, "normalize": "NFC"}, "--bytes learns files unchanged: leave out --normalize"),
        ({"bytes": True, "encoding": "latin-1"}, "--bytes learns files unchanged: leave out --encoding"),
        ({"bytes": True, "min_count": 2}, "--bytes learns files unchanged: leave out --min-count"),
        (
            {"field": "a", "split_documents": "lines"},
            "--field makes each record a document: leave out --split-documents",
        ),
        ({"field": "a", "separator": "%"}, "--field makes each record a document: leave out --separator"),
        (
            {"context": True, "reverse": True, "split_documents": "lines"},
            "--context needs the source before its target: leave out --reverse",
        ),
        (
            {"split_documents": "lines", "separator": "%"},
            "--split-documents and --separator cannot be combined: give one of them",
        ),
        ({"val_documents": 3}, f"--val-documents {NEEDS_DOCUMENTS}"),
        ({"test_documents": 3}, f"--test-documents {NEEDS_DOCUMENTS}"),
        ({"shuffle_documents": True}, f"--shuffle-documents {NEEDS_DOCUMENTS}"),
    ],
)
def test_settings_of_the_text_that_contradict_are_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        TextConfig(**settings)
    assert str(caught.value) == message


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "rot13", "zlib", "uu", "undefined", "a\0b"])
def test_what_is_no_encoding_of_texts_is_refused(encoding):
    assert "is unknown" in refuse("encoding", encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-16", "latin-1", "cp1252", "gb18030", "shift_jis"])
def test_encodings_are_known_by_python_s_names(encoding):
    assert TextConfig(encoding=encoding).encoding == encoding


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({}, TextConfig()),
        ({"split_documents": "lines"}, TextConfig(split_documents="lines", document_rules=1)),
        ({"split_documents": "line"}, TextConfig(separator="line", document_rules=1)),
        ({"split_documents": "<|end|>"}, TextConfig(separator="<|end|>", document_rules=1)),
        ({"field": "text"}, TextConfig(field="text", document_rules=1)),
    ],
)
def test_settings_of_charrnn_0_2_keep_their_meaning(before, now):
    kept = text_and_train_settings(TextConfig(), TrainConfig()) | before
    for name in ("separator", "document_rules"):
        del kept[name]
    read, train = text_and_train_configs(kept)
    assert (read, train) == (now, TrainConfig())
    assert text_and_train_configs(text_and_train_settings(read, train)) == (read, train)  # saved again by a resumed run


@pytest.mark.parametrize("version", [0, 3, "1"])
def test_rules_for_documents_of_a_newer_charrnn_are_refused(version):
    with pytest.raises(ConfigError, match="--document-rules"):
        TextConfig(document_rules=version)
