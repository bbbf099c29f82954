"""Measure what each filter and constraint adds to the time of sampling, for one sample and for 64 side by side.

    python -m benchmarks.filters checkpoints/alice checkpoints/tang
    CHARRNN_COMPILED=0 python -m benchmarks.filters --shortcuts checkpoints/alice checkpoints/tang

Use models of your own, since a filter's work depends on how sure the model is. The settings take turns, so that a slow
minute of the machine favours none; a percentage is the median of the ratios of turns in the same round. The second
command measures what a single sample gains from NumPy code that handles one row by itself.
"""

from __future__ import annotations

import inspect
import textwrap
import time
from collections.abc import Callable, Iterator
from statistics import median
from types import CodeType, FunctionType
from typing import Any

import click

import charrnn
from benchmarks.markdown import markdown_table
from charrnn.generation import constraint, filters, loop
from charrnn.generation.loop import Streams, advance
from charrnn.generation.settings import SampleConfig

SETTINGS: dict[str, dict[str, Any]] = {
    "temperature alone": {},
    "top-k 40": {"top_k": 40},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.05": {"min_p": 0.05},
    "penalty 1.2": {"repeat_penalty": 1.2},
    "all four": {"top_k": 40, "top_p": 0.9, "min_p": 0.05, "repeat_penalty": 1.2},
    "charset": {"charset": "\\u0001-\\uffff"},
    "regex": {"regex": r"(.|\n)*"},
}
STREAMS = (1, 64)
RUN = 64  # steps of one call of the compiled core
#: Code that handles one row by itself: the function, the condition, and settings under which it runs.
SHORTCUTS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "draw": (loop.draw, "len(weights) == 1", "temperature alone"),
    "softmax": (filters.apply_filters, "len(logits) == 1", "temperature alone"),
    "top-p": (filters.keep_top_p, "len(weights) == 1", "top-p 0.9"),
    "rows": (filters._Sparse.in_rows, "B == 1", "top-p 0.9"),
    "mask": (constraint.Constraint.allowed, "len(states) == 1", "charset"),
}


def start(model: charrnn.LanguageModel, name: str, streams: int) -> Streams:
    """Return empty samples with these settings."""
    writer, config = model.writer, SampleConfig(length=None, **SETTINGS[name])
    rules = writer.rules(config)
    primed = writer.prime(writer.vocab.encode(""), rules)
    entropy = [[1, index] for index in range(streams)]
    return Streams.start([primed] * streams, entropy, rules=rules, filters=config)


def step_time(model: charrnn.LanguageModel, own: Streams, seconds: float) -> float:
    """Return the seconds that a step takes, measured for about this long."""
    steps, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        steps += len(own.run(model.writer.ensemble.net, RUN))
        advance(model.writer.ensemble, [own])
    return spent / steps


def turns(model: charrnn.LanguageModel, streams: int, rounds: int, seconds: float) -> Iterator[dict[str, float]]:
    """Yield the seconds that a step takes with each of the settings, round by round; the first round does not count."""
    samples = {name: start(model, name, streams) for name in SETTINGS}
    for turn in range(rounds + 1):
        taken = {name: step_time(model, own, seconds) for name, own in samples.items()}
        if turn:
            yield taken


def without(function: Callable[..., Any], condition: str) -> CodeType:
    """Return the function's code as it would be if the condition were never true."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(condition) == 1
    scope = dict(function.__globals__)
    exec(f"from __future__ import annotations\n{source.replace(condition, 'False')}", scope)
    code: CodeType = scope[function.__name__].__code__
    return code


def gain(model: charrnn.LanguageModel, name: str, rounds: int, seconds: float) -> float:
    """Return the share by which a step of one sample takes longer without a shortcut."""
    function, condition, settings = SHORTCUTS[name]
    assert isinstance(function, FunctionType)
    own, code, ratios = start(model, settings, 1), (function.__code__, without(function, condition)), []
    try:
        for _ in range(rounds + 1):
            taken = []
            for function.__code__ in code:
                taken.append(step_time(model, own, seconds))
            ratios.append(taken[1] / taken[0])
    finally:
        function.__code__ = code[0]
    return median(ratios[1:]) - 1


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--rounds", default=15, show_default=True, help="Turns of each of the settings.")
@click.option("--seconds", default=0.2, show_default=True, help="Seconds of a turn.")
@click.option("--shortcuts", is_flag=True, help="Measure instead what a single sample gains from its own code.")
def main(runs: tuple[str, ...], rounds: int, seconds: float, shortcuts: bool) -> None:
    """Measure what filters and constraints cost with these models."""
    rows, plain, *others = [], *SETTINGS
    for run in runs:
        model = charrnn.load(run, memory=0)
        config = model.checkpoint.model_config
        described = f"{config.cell} {config.num_layers}x{config.hidden_size}, {config.vocab_size} symbols"
        if shortcuts:
            rows.append((described, *(f"{gain(model, name, rounds, seconds):+.0%}" for name in SHORTCUTS)))
            continue
        for streams in STREAMS:
            found = list(turns(model, streams, rounds, seconds))
            more = [f"{median(taken[name] / taken[plain] for taken in found) - 1:+.0%}" for name in others]
            name = f"{described}, {streams}"
            rows.append((name, f"{streams / median(taken[plain] for taken in found):,.0f}", *more))
    headings = ("model", *SHORTCUTS) if shortcuts else ("model, texts side by side", "characters/s", *others)
    click.echo("\n".join(markdown_table(headings, rows)))


if __name__ == "__main__":
    main()
