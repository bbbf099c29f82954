"""Measure what a model's memory costs: the time of evaluation and of sampling with it, divided by that without it.

    python -m benchmarks.recall
    python -m benchmarks.recall --units 128 --threads 2

The model is untrained and its text is random: neither changes how much there is to compute. Evaluation and sampling
with and without the memory take turns, so a slow minute of the machine affects both sides. A figure is the median of
the ratios of neighbouring turns, with the lowest and highest. When samples are timed, their memory is already full. In
`lanes`, the text is divided among 32 batch rows, which bounds what each can remember.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from statistics import median
from typing import NamedTuple

import click
import numpy as np

import charrnn
from benchmarks.markdown import markdown_table
from charrnn.checkpoint import Checkpoint
from charrnn.generation.loop import generate
from charrnn.generation.settings import SampleConfig
from charrnn.parallel.plan import available_threads
from charrnn.system.blas import thread_limit

SIZES = (2_000, 10_000)  # characters that a memory looks back
PROTOCOLS = ("whole", "lanes")
STREAMS = {1: 2_048, 64: 128}  # samples side by side, with the characters of each in a turn
SYMBOLS = 65
#: The highest ratio allowed: evaluation takes less than twice as long; a sample keeps 60 % of its speed.
EVALUATION, SAMPLING = 2.0, 1 / 0.6
COLUMNS = ("", "memory", "processor time, with ÷ without", "wall time", "target")


class Taken(NamedTuple):
    """Seconds of processor time, of all processes and threads, and of wall time."""

    busy: float
    wall: float


def timed(action: Callable[[], object]) -> Taken:
    """Return the time that an action takes."""
    busy, wall = _busy_seconds(), time.perf_counter()
    action()
    return Taken(_busy_seconds() - busy, time.perf_counter() - wall)


def _busy_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def pairs(without: Callable[[], object], with_memory: Callable[[], object], rounds: int) -> list[tuple[Taken, Taken]]:
    """Return the times of two actions in turns; the first round does not count."""
    return [(timed(without), timed(with_memory)) for _ in range(rounds + 1)][1:]


def row(name: str, size: int, taken: list[tuple[Taken, Taken]], target: float | None) -> tuple[str, ...]:
    """Return a row of the table."""
    cells = []
    for n in range(len(Taken._fields)):
        ratios = [both[n] / alone[n] for alone, both in taken]
        cells.append(f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
    return name, f"{size:,}", *cells, "–" if target is None else f"{target:.2f}"


def random_text(chars: int) -> str:
    """Return a random text in which every symbol occurs."""
    ids = np.random.default_rng(0).permutation(np.arange(chars) % SYMBOLS)
    return "".join(chr(ord("0") + id_) for id_ in ids.tolist())


def untrained(cell: str, units: int) -> Checkpoint:
    """Return a model after one step of training."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = charrnn.Corpus.from_text(random_text(5_000), val_fraction=0.0)
        out = f"{folder}/run"
        model = charrnn.train(corpus, out, progress=False, cell=cell, hidden_size=units, steps=1, threads=1, seed=1)
        return model.checkpoint


def sampling(model: charrnn.LanguageModel, streams: int) -> Callable[[], object]:
    """Return a function that continues samples by the characters of a turn."""
    writer, config = model.writer, SampleConfig(length=None, temperature=0.8)
    rules = writer.rules(config)
    primed = writer.prime(writer.vocab.encode("0"), rules, config.temperature)
    entropy = [[1, index] for index in range(streams)]
    steps = generate(writer.ensemble, [primed] * streams, entropy, rules=rules, filters=config)
    return lambda: deque(islice(steps, STREAMS[streams]), maxlen=0)


@click.command()
@click.option("--cell", default="lnlstm", show_default=True)
@click.option("--units", default=384, show_default=True)
@click.option("--chars", default=40_000, show_default=True, help="Length of the text that is evaluated.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Turns of each side.")
@click.option("--threads", type=click.IntRange(1), help="Cores for evaluation; samples use one. [default: all]")
def main(cell: str, units: int, chars: int, rounds: int, threads: int | None) -> None:
    """Print the table of docs/performance.md."""
    checkpoint, text = untrained(cell, units), random_text(chars)
    threads = threads or available_threads()
    alone = charrnn.LanguageModel(checkpoint, memory=0)
    rows = []
    for protocol in PROTOCOLS:
        for size in SIZES:
            both = charrnn.LanguageModel(checkpoint, memory=size)

            def evaluate(model: charrnn.LanguageModel, protocol: str = protocol) -> Callable[[], object]:
                return lambda: model.evaluate(text, protocol=protocol, threads=threads)

            taken = pairs(evaluate(alone), evaluate(both), rounds)
            rows.append(row(f"evaluation, `{protocol}`", size, taken, EVALUATION))
    with thread_limit(1):
        for streams in STREAMS:
            for size in SIZES:
                both = charrnn.LanguageModel(checkpoint, memory=size, memory_from=random_text(size + 1))
                taken = pairs(sampling(alone, streams), sampling(both, streams), rounds)
                name = f"sampling, {streams} stream{'s' * (streams > 1)}"
                rows.append(row(name, size, taken, SAMPLING if streams == 1 else None))
    click.echo(f"{cell} 1x{units}; {chars:,} characters; threads: {threads}; rounds: {rounds}\n")
    click.echo("\n".join(markdown_table(COLUMNS, rows)))


if __name__ == "__main__":
    main()
