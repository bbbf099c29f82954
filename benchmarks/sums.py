"""Time ways to sum gradients over ranks, in turns: the one that charrnn uses, and those that it does not.

    mpiexec -n 2 python -m benchmarks.sums
    sudo benchmarks/network.sh 2 1gbit python -m benchmarks.sums

A time is the median of the slowest rank's, in milliseconds. The gradients are those of an LSTM for 65 symbols, with one
layer of 128 or 256 units, or two layers of 512.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import click
import numpy as np
from mpi4py import MPI

from benchmarks.markdown import markdown_table
from charrnn.arrays import Array, Params
from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.parallel.ranks import Ranks
from charrnn.parallel.sums import Sums

MODELS = {
    f"{layers}x{units}": ModelConfig(65, num_layers=layers, hidden_size=units)
    for layers, units in ((1, 128), (1, 256), (2, 512))
}
Way = Callable[[], object]


def ways(config: ModelConfig, ranks: Ranks) -> dict[str, Way]:
    """Return the ways to sum the gradients of a model by name."""
    world, size = MPI.COMM_WORLD, ranks.size
    shapes = model.param_shapes(config)
    grads: Params = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    numbers = -(-sum(map(math.prod, shapes.values())) // size) * size
    own, all_of_them = np.zeros((size, numbers // size), np.float32), np.empty((size, numbers), np.float32)
    inbox, halves = np.empty_like(own), np.empty(own.shape, np.float16)

    def added(shards: Array) -> Array:
        total = shards[0].copy()
        for other in shards[1:]:
            total += other
        return total

    def blocking() -> None:
        world.Alltoall(own, inbox)
        world.Allgather(added(inbox), own)

    def whole() -> None:
        world.Allgather(own, all_of_them)
        added(all_of_them)

    def float16() -> None:
        """Without the scale that small numbers would need."""
        sent = own.astype(np.float16).view(np.uint16)
        world.Alltoall(sent, halves.view(np.uint16))
        total = added(halves.astype(np.float32)).astype(np.float16)
        world.Allgather(total.view(np.uint16), halves.view(np.uint16))
        own[...] = halves

    return {
        "charrnn: in pieces": partial(Sums(config, ranks, half=False).add, grads),
        "charrnn --half-gradients: bfloat16": partial(Sums(config, ranks, half=True).add, grads),
        "one piece": blocking,
        "one piece, float16 by NumPy": float16,
        "each rank adds all": whole,
        "Allreduce, in an order of its own": lambda: world.Allreduce(own, inbox),
    }


@click.command(help=__doc__)
@click.option("--repeats", type=click.IntRange(1), default=30, show_default=True, help="Sums of each kind.")
def main(repeats: int) -> None:
    """Measure all models and ways; rank 0 prints."""
    ranks = Ranks({})
    figures: dict[str, dict[str, float]] = {}
    sizes = {}
    for name, config in MODELS.items():
        each = ways(config, ranks)
        times: dict[str, list[float]] = {way: [] for way in each}
        for _ in range(repeats + 1):
            for way, work in each.items():
                MPI.COMM_WORLD.Barrier()
                began = time.perf_counter()
                work()
                times[way].append(MPI.COMM_WORLD.allreduce(time.perf_counter() - began, MPI.MAX))
        figures[name] = {way: 1000 * median(found[1:]) for way, found in times.items()}
        sizes[name] = 4e-6 * sum(map(math.prod, model.param_shapes(config).values()))
    if ranks.rank == 0:
        columns = (f"ms on {ranks.size} ranks", *(f"{name}, {sizes[name]:.1f} MB" for name in MODELS))
        rows = [(way, *(f"{figures[name][way]:.1f}" for name in MODELS)) for way in figures["1x128"]]
        click.echo("\n".join(markdown_table(columns, rows)))


if __name__ == "__main__":
    main()
