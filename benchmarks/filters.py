"""Measure what each filter and constraint adds to the time that sampling takes, one text at a time and 64 side by side.

    python -m benchmarks.filters checkpoints/alice checkpoints/tang

The models are your own, since a filter's work depends on how sure the model is. All wishes take turns, so that a slow
minute of the machine favours none; a percentage is the median of the ratios of turns of the same round.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import click

import charrnn
from benchmarks.markdown import markdown_table
from charrnn.generation.loop import Streams, advance
from charrnn.generation.writer import SampleConfig

WISHES: dict[str, dict[str, Any]] = {
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


def turns(model: charrnn.LanguageModel, streams: int, rounds: int, seconds: float) -> Iterator[dict[str, float]]:
    """Yield the seconds that a step takes with each wish, round by round, after one that does not count."""
    writer, texts = model.writer, dict[str, Streams]()
    for name, wishes in WISHES.items():
        config = SampleConfig(length=None, **wishes)
        rules = writer.rules(config)
        primed = writer.prime(writer.vocab.encode(""), rules)
        texts[name] = Streams.start(
            [primed] * streams, [[1, index] for index in range(streams)], rules=rules, filters=config
        )
    for turn in range(rounds + 1):
        taken = {}
        for name, own in texts.items():
            steps, begun = 0, time.perf_counter()
            while (spent := time.perf_counter() - begun) < seconds:
                own.draw()
                advance(writer.ensemble, [own])
                steps += 1
            taken[name] = spent / steps
        if turn:
            yield taken


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--rounds", default=15, show_default=True, help="Turns of each wish.")
@click.option("--seconds", default=0.2, show_default=True, help="Seconds of a turn.")
def main(runs: tuple[str, ...], rounds: int, seconds: float) -> None:
    """Measure what filters and constraints cost with these models."""
    rows = []
    for run in runs:
        model = charrnn.load(run)
        config = model.checkpoint.model_config
        for streams in STREAMS:
            found = list(turns(model, streams, rounds, seconds))
            plain, *others = WISHES
            more = [f"{median(taken[name] / taken[plain] for taken in found) - 1:+.0%}" for name in others]
            name = f"{config.cell} {config.num_layers}x{config.hidden_size}, {config.vocab_size} symbols, {streams}"
            rows.append((name, f"{streams / median(taken[plain] for taken in found):,.0f}", *more))
    click.echo("\n".join(markdown_table(("model, texts side by side", "characters/s", *list(WISHES)[1:]), rows)))


if __name__ == "__main__":
    main()
