"""The settings of generation: the library and the command refuse the same values."""

import math
from dataclasses import fields

import click
import pytest

from charrnn.cli import complete, sample
from charrnn.errors import ConfigError
from charrnn.generation.settings import BeamConfig, CompletionConfig, DrawConfig, SampleConfig

CONFIGS = {SampleConfig: sample, DrawConfig: sample, BeamConfig: sample, CompletionConfig: complete}
NUMBERS = [
    (config, item.name)
    for config in CONFIGS
    for item in fields(config)
    if item.metadata and str(item.type).startswith(("int", "float"))
]
OTHERS = {BeamConfig: {"width": 2}}


def option_of(config, name):
    """Return the command's option for a field."""
    meta = config.__dataclass_fields__[name].metadata
    flag = meta.get("flags", ("--" + name.replace("_", "-"),))[-1]
    return next(option for option in CONFIGS[config].command.params if flag in option.opts)


def outside(meta):
    """Return numbers just outside the limits of a field."""
    step = 1 if isinstance(meta["low"], int) else 0.1
    numbers = [meta["low"] - step, *([] if meta["high"] is None else [meta["high"] + 1])]
    return numbers + [meta["low"]] * bool(meta.get("open_low"))


@pytest.mark.parametrize(("config", "name"), NUMBERS, ids=lambda one: getattr(one, "__name__", one))
def test_the_library_and_the_command_refuse_the_same_numbers(config, name):
    meta, option = config.__dataclass_fields__[name].metadata, option_of(config, name)
    for number in outside(meta):
        with pytest.raises(ConfigError):
            config(**OTHERS.get(config, {}) | {name: number})
        if number != meta.get("flag_low"):
            with pytest.raises(click.UsageError):
                option.type.convert(str(number), option, None)
    for number in {1, meta["high"] or 1}:
        config(**OTHERS.get(config, {}) | {name: number})
        assert option.type.convert(str(number), option, None) == number


@pytest.mark.parametrize(("config", "name"), NUMBERS, ids=lambda one: getattr(one, "__name__", one))
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused(config, name, number):
    with pytest.raises(ConfigError):
        config(**OTHERS.get(config, {}) | {name: number})


@pytest.mark.parametrize("config", CONFIGS)
def test_an_option_shows_the_default_of_its_field(config):
    for item in fields(config):
        if item.metadata and "flag_low" not in item.metadata:
            default = option_of(config, item.name).to_info_dict()["default"]
            assert default == (item.default or None if item.name == "stop" else item.default)
