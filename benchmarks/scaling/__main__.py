"""Predict how fast training is on more cores than this machine has, and check the predictions that can be checked.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --only 2x512 --cell lnlstm

The parts of a training step are measured on one core, by processor time, so that other programs matter little;
`cost` composes them. As many processes as there are cores are compared with the fastest of the steps
measured here. More processes take turns, so the processor time of all together is compared instead.
"""

from __future__ import annotations

import click

from benchmarks.speed.cases import SIZES, Case
from charrnn.config import CELL_NAMES
from charrnn.system.processor import set_kernel


@click.command()
@click.option("--cell", default="lstm", show_default=True, type=click.Choice(CELL_NAMES), help="The kind of net.")
@click.option("--only", default="", help='Only sizes whose name contains this: "1x128".')
@click.option("--seconds", default=0.5, show_default=True, help="Time to measure each part of a step.")
def main(cell: str, only: str, seconds: float) -> None:
    """Print the predicted time of a training step on 1 to 64 cores, and how far predictions are off here."""
    set_kernel()  # as the command does, before NumPy is loaded
    from benchmarks.scaling.report import Tables
    from charrnn.system.blas import thread_limit

    tables = Tables([], [], [])
    with thread_limit(1):
        for case in (Case("train", cell, *size) for size in SIZES):
            if only in case.name:
                click.echo(case.name, err=True)
                tables.add(case, seconds)
    click.echo(tables.markdown())


if __name__ == "__main__":
    main()
