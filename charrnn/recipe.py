"""The recipe: what serves a text best in a given time, from the text's size, its symbols, and this machine's speed.

Every rule is a formula with its reason, found by the ablations in docs/ablations.md. None looks at what the text says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from charrnn.config import ModelConfig

_CHARS_PER_PARAM = 14  # read in the time, for each parameter: with more a larger model learns more, with less a smaller
_PARAMS_PER_CHAR = 4  # of the text, at the most: a larger model would learn it by heart
_SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 704, 768, 896, 1024)
_WORK_PER_UNIT = 375  # of a unit besides its weights: what is done element by element, measured
_DROPOUT, _DROPOUT_BY_PASSES, _MOST_DROPOUT = 0.05, 0.15, 0.6  # for one pass, for each e-fold of them, at the most
_DROP_FROM, _DROP_BY_PASSES, _MOST_DROP = 7, 0.27, 0.3  # weight-drop: from so many passes on, the same
_RATE, _RATE_SIZE, _RATES = 8e-3, 384, (4e-3, 1e-2)
_AVERAGED_SHARE = 6  # the running mean remembers a sixth of the run


class Recipe(NamedTuple):
    """Settings by name, and why, in plain words."""

    settings: dict[str, Any]
    reasons: list[str]


def work(config: ModelConfig, params: int) -> float:
    """Return what a character costs in training: multiplications, up to a factor that is the machine's."""
    return params + _WORK_PER_UNIT * config.hidden_size * config.num_layers


def choose(
    config: ModelConfig,
    count: Callable[[ModelConfig], int],
    chars: int,
    chars_per_step: int,
    budget: float,
    given: Collection[str],
) -> Recipe:
    """Return those settings that are not given.

    config  the model, with what is given
    count   returns the number of a model's parameters
    chars   characters to train on; chars_per_step, how many of them a step learns from
    budget  the work that the time allows, as `work` measures it
    """

    params = cache(count)

    def readable(size: ModelConfig) -> float:
        return budget / work(size, params(size))

    settings: dict[str, Any] = {}
    reasons: list[str] = []
    if "hidden_size" not in given:
        sizes = [replace(config, hidden_size=units) for units in _SIZES]
        fit = [size for size in sizes if params(size) <= _PARAMS_PER_CHAR * chars] or sizes[:1]
        config = min(fit, key=lambda size: abs(math.log(readable(size) / params(size) / _CHARS_PER_PARAM)))
        settings["hidden_size"] = config.hidden_size
        why = f"the time allows to read {readable(config):,.0f} characters"
        if config == fit[-1] and config != sizes[-1] and readable(config) > _CHARS_PER_PARAM * params(config):
            why = f"a larger model would learn {chars:,} characters by heart"
        reasons.append(f"{config.hidden_size} units: {why}")
    passes = readable(config) / chars
    if "dropout" not in given:
        dropout = _DROPOUT + _DROPOUT_BY_PASSES * math.log(passes)
        settings["dropout"] = round(min(_MOST_DROPOUT, max(0.0, dropout)), 2)
        reasons.append(f"dropout {settings['dropout']:g}: the text is read {passes:.3g} times")
    if "weight_drop" not in given:
        drop = _DROP_BY_PASSES * math.log(passes / _DROP_FROM)
        settings["weight_drop"] = round(min(_MOST_DROP, max(0.0, drop)), 2)
        if settings["weight_drop"]:
            reasons.append(f"weight-drop {settings['weight_drop']:g}: for the same reason")
    if "learning_rate" not in given:
        rate = _RATE * math.sqrt(_RATE_SIZE / config.hidden_size)
        settings["learning_rate"] = float(f"{min(_RATES[1], max(_RATES[0], rate)):.2g}")
        reasons.append(f"rate {settings['learning_rate']:g}: by the size")
    steps = readable(config) / chars_per_step
    if "average" not in given:
        settings["average"] = float(f"{max(0.0, 1 - _AVERAGED_SHARE / steps):.4g}")
        reasons.append(f"running mean of the weights over {steps / _AVERAGED_SHARE:,.0f} steps: a sixth of the run")
    return Recipe(settings, reasons)
