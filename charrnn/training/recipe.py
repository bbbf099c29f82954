"""The recipe: settings that suit a text and a time budget, from the text's size, its symbols and the machine's speed.

Each rule is a formula with a reason, measured in docs/ablations.md. No rule looks at the words of the text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from charrnn.config import ModelConfig, default_of

#: The chosen settings that make up the model itself: fine-tuning keeps them.
KIND = ("cell", "embed_size", "tied", "hidden_size")
#: The running mean of the weights remembers a sixth of the run.
AVERAGED_SHARE = 6
#: Passes through the text: with more, a model that is large enough memorises it.
MOST_PASSES = 120
#: Characters to train on, at least. In English prose (120 passes, 64 units), a text of 50 characters teaches a model no
#: more about other prose than how frequent each character is (3.33 nats against 3.37), one of 100 a little more (3.15
#: against 3.28), one of 200 clearly more (2.95 against 3.20). Fewer than 64 units do worse on all three.
LEAST_CHARS = 100
#: Share of the time that training gets; measuring, evaluating and saving take the rest.
FOR_TRAINING = 0.93
_SERVING_PASSES = 3  # passes that a note suggests if the time is too short to read the text once
_CHARS_PER_PARAM = 14  # characters read for each parameter of the layers: if more, a larger model learns more
_PARAMS_PER_CHAR = 12  # parameters of the layers for each character of the text: a larger model would memorise it
_SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 704, 768, 896, 1024)
_WORK_PER_UNIT, _WORK_PER_SYMBOL = 375, 30  # elementwise work beside the matrix products, measured
_ONE_HOT, _EMBED_SIZE = 512, 128  # up to this many symbols, one-hot rows; above, an embedding of this size
# For a text of at most so many characters that is read at least so often: an embedding of this size instead of one-hot
# rows, and this batch size.
_SMALL_TEXT, _MANY_PASSES, _SMALL_EMBED_SIZE, _SMALL_BATCH = 300_000, 15, 64, 16
# From this product of units and parameters per character on, every pass makes the layers memorise. With a smaller one,
# passes count less: few parameters per character memorise little, and few units can spare few outputs.
_MEMORISING = 350
# For one pass that counts in full, plus this for each e-fold of such passes, up to a maximum.
_DROPOUT, _DROPOUT_BY_PASSES, _MOST_DROPOUT = 0.05, 0.15, 0.6
_DROPOUT_AFTER, _DROPOUT_A_PASS = 3, 0.06  # none up to this many passes; then at most this per further pass
# Weight-drop: from this many passes that count in full, this for each e-fold, up to a maximum.
_DROP_FROM, _DROP_BY_PASSES, _MOST_DROP = 6, 0.15, 0.5
# For a text that is read often: inverse to the units up to a size, and inverse to their square root above it.
_RATE, _RATE_SIZE, _LEAST_RATE, _MOST_RATE = 8e-3, 384, 4e-3, 0.08
# With fewer passes than this the rate is higher, by this power of their ratio.
_OFTEN, _RATE_BY_PASSES, _MOST_FASTER = 20, 0.7, 2.5
_RATED = ("adam", "adamw")  # the optimizers that these rates suit; others keep their defaults
# If a step reads k times as many characters as usual, the rate is higher by the square root of k. A warm-up of as many
# steps is then k times as long in characters; it may take up to this share of the run. Source: You et al. 2019 (LEGW).
_USUAL_CHARS, _WARMUP_SHARE = default_of("batch_size") * default_of("seq_len"), 0.5
_RESET_RATE = 0.05
_WINDOWS = 4  # windows in a batch row, at least: with fewer, many steps are the short last window
_VALIDATED = 0.045  # characters of an evaluation as a share of those trained on: a hundredth of the time
_MOST_AVERAGE = 0.99999  # share of the running mean that a step keeps


class Recipe(NamedTuple):
    """Settings by name, the reasons for them in plain words, and notes: sentences that the user should read."""

    settings: dict[str, Any]
    reasons: list[str]
    notes: list[str]


#: Returns the shapes of a model's parameters by name.
Shapes: TypeAlias = Callable[[ModelConfig], dict[str, tuple[int, ...]]]


def kind(vocab_size: int, chars: int, given: Collection[str]) -> Recipe:
    """Return the kind of model and the batch size for this many symbols and characters; the time does not matter.

    given: names of settings that are chosen already
    """
    settings: dict[str, Any] = {}
    reasons: list[str] = []
    if "cell" not in given:
        settings["cell"] = "lnlstm"
        reasons.append("lnlstm: an LSTM with layer normalisation learns the most in a given time")
    if vocab_size > _ONE_HOT and "embed_size" not in given:
        settings["embed_size"] = _EMBED_SIZE
        reasons.append(f"embedding of {_EMBED_SIZE}: {vocab_size:,} symbols are too many for one-hot vectors")
        if "tied" not in given:
            settings["tied"] = True
            reasons.append("tied: rare symbols then learn from input as well as from output")
    rows = max(1, (chars - 1) // (_WINDOWS * default_of("seq_len")))
    if rows < default_of("batch_size") and not {"batch_size", "seq_len"} & set(given):
        settings["batch_size"] = rows
        reasons.append(f"batch {rows}: {chars:,} characters fill no more batch rows with {_WINDOWS} windows each")
    return Recipe(settings, reasons, [])


def work(config: ModelConfig, shapes: Shapes) -> float:
    """Return the cost of training on one character, in multiplications; a machine's speed turns it into seconds.

    The table in which symbols are looked up (an embedding, or input weights under one-hot rows) costs nothing.
    """
    lookup = ("embed.W_e" if config.embed_size else "layer0.W_xh") if not config.tied else None
    products = sum(math.prod(shape) for name, shape in shapes(config).items() if len(shape) > 1 and name != lookup)
    return products + _WORK_PER_UNIT * config.hidden_size * config.num_layers + _WORK_PER_SYMBOL * config.vocab_size


def choose(
    config: ModelConfig,
    shapes: Shapes,
    chars: int,
    val_chars: int,
    steps_per_epoch: int,
    budget: float,
    given: Collection[str],
    optimizer: str = "adamw",
    schedule: str = "cosine",
    *,
    minutes: float,
) -> Recipe:
    """Return the settings that are not given.

    config           the model with the given settings
    chars            characters to train on; val_chars: to validate
    steps_per_epoch  steps that read them once
    budget           the work that fits into the time, as `work` counts it; training does at least one step
    minutes          the time
    """
    settings, reasons, notes = kind(config.vocab_size, chars, given)
    config = replace(config, **{name: value for name, value in settings.items() if name in KIND})

    shapes = cache(shapes)

    def params(size: ModelConfig) -> int:
        return sum(math.prod(shape) for name, shape in shapes(size).items() if name.startswith("layer"))

    def readable(size: ModelConfig, budget: float) -> float:
        return max(chars / steps_per_epoch, budget / work(size, shapes))

    def suited(sizes: list[ModelConfig], budget: float) -> ModelConfig:
        return min(sizes, key=lambda size: abs(math.log(readable(size, budget) / params(size) / _CHARS_PER_PARAM)))

    sizes = [config]
    if "hidden_size" not in given:
        sized = [replace(config, hidden_size=units) for units in _SIZES]
        sizes = [size for size in sized if params(size) <= _PARAMS_PER_CHAR * chars] or sized[:1]
        config = suited(sizes, budget)
        settings["hidden_size"] = config.hidden_size
        why = f"there is time to read {readable(config, budget):,.0f} characters"
        if config == sizes[-1] != sized[-1] and readable(config, budget) > _CHARS_PER_PARAM * params(config):
            why = f"a larger model would memorise {chars:,} characters"
        reasons.append(f"{config.hidden_size} units: {why}")
    read = min(readable(config, budget), MOST_PASSES * chars)
    passes = read / chars
    if read < readable(config, budget):
        reasons.append(f"{MOST_PASSES} passes: with more, the model would memorise {chars:,} characters")
    elif passes < 1 and budget > 0:
        costs = [(_SERVING_PASSES * chars * cost, cost) for cost in (work(size, shapes) for size in sizes)]
        needed = next(total for total, cost in costs if work(suited(sizes, total), shapes) <= cost)
        notes.append(
            f"there is time to read only {100 * passes:.2g}% of the text: "
            f"--minutes {float(f'{1.05 * minutes * needed / budget:.2g}'):g} would read it {_SERVING_PASSES} times"
        )
    per_char = params(config) / chars
    memorising = passes * min(1.0, per_char * config.hidden_size / _MEMORISING)
    regularised = f"the text is read {passes:.3g} times, by layers of {per_char:.2g} parameters per character"
    if "dropout" not in given:
        dropout = min(
            _DROPOUT + _DROPOUT_BY_PASSES * math.log(memorising), _DROPOUT_A_PASS * max(0.0, passes - _DROPOUT_AFTER)
        )
        settings["dropout"] = round(min(_MOST_DROPOUT, max(0.0, dropout)), 2)
        reasons.append(f"dropout {settings['dropout']:g}: {regularised}")
    if "weight_drop" not in given:
        drop = _DROP_BY_PASSES * math.log(memorising / _DROP_FROM)
        settings["weight_drop"] = round(min(_MOST_DROP, max(0.0, drop)), 2)
        if settings["weight_drop"]:
            reasons.append(f"weight-drop {settings['weight_drop']:g}: {regularised}")
    larger = max(1.0, (chars - 1) / steps_per_epoch / _USUAL_CHARS)
    if "learning_rate" not in given and optimizer in _RATED:
        faster = min(_MOST_FASTER, max(1.0, (_OFTEN / passes) ** _RATE_BY_PASSES))
        size = _RATE_SIZE / config.hidden_size
        rate = min(_MOST_RATE, max(_LEAST_RATE, _RATE * max(size, math.sqrt(size))) * faster)
        settings["learning_rate"] = float(f"{rate * math.sqrt(larger):.2g}")
        why = "from the size of the model and the number of passes"
        if larger > 1:
            why += (
                f", times {math.sqrt(larger):.2g} because a step reads {larger:.2g} times as many characters as usual"
            )
        reasons.append(f"learning rate {settings['learning_rate']:g}: {why}")
    warms_up = schedule == "cosine" and optimizer in _RATED
    if larger > 1 and warms_up and not {"warmup_steps", "warmup_share"} & set(given):
        settings["warmup_share"] = _WARMUP_SHARE
        reasons.append(
            f"warm-up share {_WARMUP_SHARE:g}: larger steps are fewer, and the warm-up needs as many of them as usual"
        )
    if "reset_rate" not in given:
        settings["reset_rate"] = _RESET_RATE
        reasons.append(f"reset rate {_RESET_RATE:g}: trains the model to start from a zero state too")
    if "val_chars" not in given and val_chars > (most := math.ceil(_VALIDATED * read)):
        settings["val_chars"] = most
        reasons.append(f"{most:,} validation characters per evaluation: all {val_chars:,} would take too long")
    small = {"embed_size": _SMALL_EMBED_SIZE, "batch_size": _SMALL_BATCH}
    untouched = not {*small, "tied", "seq_len"} & {*given, *settings}
    if chars <= _SMALL_TEXT and passes >= _MANY_PASSES and untouched:
        settings |= small
        steps_per_epoch = steps_per_epoch * default_of("batch_size") // _SMALL_BATCH
        passes = min(MOST_PASSES, readable(replace(config, embed_size=_SMALL_EMBED_SIZE), budget) / chars)
        reasons.append(
            f"embedding of {_SMALL_EMBED_SIZE} and batch {_SMALL_BATCH}: they learn more from a small text read often"
        )
    remembered = passes * steps_per_epoch / AVERAGED_SHARE
    if "average" not in given and val_chars > 1 and remembered >= 2:  # without validation no mean is kept
        settings["average"] = min(_MOST_AVERAGE, round(1 - 1 / remembered, 5))
        reasons.append(f"running mean of the weights over {remembered:,.0f} steps: a sixth of the run")
    return Recipe(settings, reasons, notes)
