"""Compare the steps that `charrnn doctor --mpi` predicts with real ones, of the ranks that `mpiexec` started.

    mpiexec -n 2 python -m benchmarks.machines

Parts and real steps take turns, because other programs may slow down a machine for minutes; the figures are medians.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import click

from charrnn.system.processor import set_kernel

if TYPE_CHECKING:
    from charrnn.parallel.ranks import Ranks

NAMES = ("lnlstm 1x128", "lnlstm 1x256", "lnlstm 1x512")


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each measurement.")
@click.option("--seconds", default=0.3, show_default=True, help="Time for each measurement.")
def main(rounds: int, seconds: float) -> None:
    """Print a row for each model: a step predicted and measured, and the gain over rank 0 alone."""
    set_kernel()  # as the command does, before NumPy is loaded
    from charrnn.parallel.ranks import Ranks
    from charrnn.training.follow import follow

    ranks = Ranks({})
    if ranks.rank:
        raise SystemExit(follow(ranks))
    try:
        click.echo("| | alone, ms | exchange, ms | predicted, ms | measured, ms | off by | predicted gain | gain |")
        click.echo("|---|--:|--:|--:|--:|--:|--:|--:|")
        for name in NAMES:
            click.echo(row(ranks, name, rounds, seconds))
    finally:
        ranks.end(0)


def row(ranks: Ranks, name: str, rounds: int, seconds: float) -> str:
    """Return the row of a model."""
    from charrnn.doctor.machine import BATCH_SIZE, measured_char, usual_training
    from charrnn.doctor.ranks import MODELS, Step, measure_link, together
    from charrnn.parallel.cost import exchange_seconds, step_seconds
    from charrnn.training import budget

    config, rows = MODELS[name], -(-BATCH_SIZE // ranks.size)
    usual = usual_training(config, rows, ranks.threads)
    shared = replace(usual_training(config, BATCH_SIZE, ranks.threads), ranks=ranks)
    shared = replace(shared, config=replace(shared.config, threads=usual.config.threads, ranks=ranks.size))
    alone, predicted, measured, sums = [], [], [], []
    for _ in range(rounds):
        link = measure_link(ranks, seconds)[0]
        by_rows = {each: together(ranks, Step(config, each, ranks.threads, seconds)) for each in (rows, BATCH_SIZE)}
        alone.append(by_rows[BATCH_SIZE][0])
        slowest = {each: max(times) for each, times in by_rows.items()}
        predicted.append(step_seconds(link, config, slowest, BATCH_SIZE, ranks.size))
        measured.append(budget.step_seconds(shared, measured_char(shared, seconds)))
        sums.append(exchange_seconds(link, config, BATCH_SIZE, ranks.size))
    off = median(one / other for one, other in zip(predicted, measured, strict=True)) - 1
    figures = [f"{1000 * median(each):.3g}" for each in (alone, sums, predicted, measured)]
    gains = [median(one / each for one, each in zip(alone, steps, strict=True)) for steps in (predicted, measured)]
    return f"| {name} | {' | '.join(figures)} | {100 * off:+.0f} % | {gains[0]:.2f} | {gains[1]:.2f} |"


if __name__ == "__main__":
    main()
