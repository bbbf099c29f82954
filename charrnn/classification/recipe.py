"""The recipe of a classifier: settings that suit labelled texts and a time budget.

Each rule is a formula with a reason, measured on names of 18 languages and on pieces of text of 12 languages. No rule
looks at the words of the texts.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from charrnn.config import ClassifierConfig, ModelConfig
from charrnn.nn import classifier
from charrnn.training.recipe import Recipe

#: Passes through the texts: from about ten on, a net knows its own training texts by heart, and more teach it nothing.
MOST_PASSES = 12
#: The running mean of the weights remembers a sixth of the run.
AVERAGED_SHARE = 6
_SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)
#: Parameters of the layers for each character of the texts.
_PARAMS_PER_CHAR = 1.25
_ENOUGH_PASSES = 4  # passes that a size must leave time for
_LEAST_PASSES = 1
_MOST_NETS = 3  # more gain little, and each takes as much time again, also to predict
_BATCHES = (16, 32, 64, 128, 256)
_STEPS = 1_000  # steps of a run, at least: few texts, and long ones in a short time, get small batches
_MOST_TEXTS = 128  # in a batch, unless there is little time: a larger one is hardly faster and makes more errors
_USUAL_BATCH, _USUAL_UNITS, _RATE = 64, 128, 0.01
_MOST_DROPOUT, _DROPOUT_PASSES = 0.5, 10  # dropout grows with the passes up to this, which it has at so many
_WORK_PER_UNIT = 375  # elementwise work beside the matrix products, as in the language model's recipe
_ONE_HOT, _EMBED_SIZE = 512, 128  # up to this many symbols, one-hot rows; above, an embedding of this size
_MOST_AVERAGE = 0.9999
_NGRAMS = 5
_NEXT_WEIGHT = 0.5  # of the auxiliary loss, up to so many symbols: its readouts cost as many products for each


def most_steps(steps_per_epoch: int) -> int:
    """Return the steps of a run at most: those of `MOST_PASSES`, but not too few for a handful of texts."""
    return max(MOST_PASSES * steps_per_epoch, _STEPS)


def work(config: ModelConfig, settings: ClassifierConfig) -> float:
    """Return the cost of training on one character, in multiplications; a machine's speed turns it into seconds.

    The table in which symbols are looked up (an embedding, or input weights under one-hot rows) costs nothing.
    """
    own, D = layer_params(config, settings), settings.directions
    units = config.hidden_size * config.num_layers * D
    return settings.nets * (own - _looked_up(config, settings) + _WORK_PER_UNIT * units)


def layer_params(config: ModelConfig, settings: ClassifierConfig) -> int:
    """Return the parameters of one net's layers in all directions."""
    shapes = classifier.param_shapes(config, replace(settings, nets=1))
    return sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(("layer", "reverse")))


def _looked_up(config: ModelConfig, settings: ClassifierConfig) -> int:
    shapes = classifier.param_shapes(config, replace(settings, nets=1))
    names = () if config.embed_size else ("layer0.W_xh", "reverse0.W_xh")
    return sum(math.prod(shapes[name]) for name in names if name in shapes)


def kind(symbols: int, given: Collection[str]) -> dict[str, Any]:
    """Return the settings of the kind of net that are not given; texts and time do not matter."""
    chosen: dict[str, Any] = {"cell": "gru", "pool": "mean", "ngrams": _NGRAMS}
    chosen |= {"embed_size": _EMBED_SIZE} if symbols > _ONE_HOT else {"next_weight": _NEXT_WEIGHT}
    return {name: value for name, value in chosen.items() if name not in given}


def choose(
    config: ModelConfig,
    settings: ClassifierConfig,
    texts: int,
    chars: int,
    budget: float,
    given: Collection[str],
    *,
    minutes: float,
    optimizer: str = "adamw",
) -> Recipe:
    """Return the settings that are not given.

    config, settings  with the given settings, and those of `kind`
    texts, chars      to train on; the characters with the marks around each text, each text up to --max-chars
    budget            the work that fits into the time, as `work` counts it
    minutes           the time
    """
    chosen: dict[str, Any] = {}
    reasons: list[str] = []
    notes: list[str] = []

    def set_to(name: str, value: Any, reason: str) -> None:
        if name not in given:
            chosen[name] = value
            reasons.append(reason)

    reasons_of_kind = {
        "cell": "gru: as good as an LSTM here, in three quarters of its time",
        "pool": "mean: every character has a say; the max is a little worse, the last character clearly",
        "ngrams": f"n-grams of up to {_NGRAMS} characters: counts see rare endings that a net needs many texts for",
        "embed_size": f"embedding of {_EMBED_SIZE}: {config.vocab_size:,} symbols are too many for one-hot vectors",
        "next_weight": f"next weight {_NEXT_WEIGHT:g}: predicting the next character too, a net learns how words look",
    }
    for name, value in kind(config.vocab_size, given).items():
        set_to(name, value, reasons_of_kind[name])

    def passes_of(size: ModelConfig) -> float:
        return max(1 / max(1, texts), budget / work(size, settings) / chars)

    if "hidden_size" not in given:
        sized = [replace(config, hidden_size=units) for units in _SIZES]
        sizes = [one for one in sized if layer_params(one, settings) <= _PARAMS_PER_CHAR * chars] or sized[:1]
        config = max(
            (one for one in sizes if passes_of(one) >= _ENOUGH_PASSES),
            key=lambda one: one.hidden_size,
            default=sizes[0],
        )
        why = f"there is time to read the texts {passes_of(config):.2g} times"
        if config == sizes[-1] != sized[-1]:
            why = f"a larger net would memorise {chars:,.0f} characters"
        set_to("hidden_size", config.hidden_size, f"{config.hidden_size} units: {why}")
    if (nets := min(_MOST_NETS, int(passes_of(config) / MOST_PASSES))) > 1 and "nets" not in given:
        set_to("nets", nets, f"{nets} nets: there is time for them, and their mean makes fewer errors than each")
        settings = replace(settings, nets=nets)
    passes = min(MOST_PASSES, passes_of(config))
    if passes < passes_of(config):
        reasons.append(f"{MOST_PASSES} passes: with more, the net knows its texts by heart and learns nothing else")
    if passes < _LEAST_PASSES and budget > 0:
        needed = minutes * _LEAST_PASSES / passes
        notes.append(
            f"there is time to read only {100 * passes:.2g}% of the texts: "
            f"--minutes {float(f'{1.05 * needed:.2g}'):g} would read them once"
        )
    usual = [size for size in _BATCHES if size <= _MOST_TEXTS or passes < _ENOUGH_PASSES]
    batch = max((size for size in usual if passes * texts / size >= _STEPS), default=usual[0])
    set_to("batch_size", batch, f"batch {batch}: the run then has {math.ceil(passes * texts / batch):,} steps")
    if optimizer in ("adam", "adamw"):
        own = chosen.get("batch_size", batch)
        rate = _RATE * math.sqrt(own / _USUAL_BATCH) * min(1.0, math.sqrt(_USUAL_UNITS / config.hidden_size))
        rate = float(f"{rate:.2g}")
        set_to("learning_rate", rate, f"learning rate {rate:g}: from the size of the net and the batch")
    dropout = round(_MOST_DROPOUT * min(1.0, passes / _DROPOUT_PASSES), 2)
    set_to("dropout", dropout, f"dropout {dropout:g}: the texts are read {passes:.2g} times")
    remembered = passes * texts / chosen.get("batch_size", batch) / AVERAGED_SHARE
    if remembered >= 2:
        average = min(_MOST_AVERAGE, round(1 - 1 / remembered, 5))
        set_to("average", average, f"running mean of the weights over {remembered:,.0f} steps: a sixth of the run")
    return Recipe(chosen, reasons, notes)
