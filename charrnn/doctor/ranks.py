"""Measure the ranks that `mpiexec` started: what each computes, and how fast they exchange gradients.

Rank 0 sends the same measurement to all ranks, which make it at the same time, so that ranks on one host share its
cores as in a training; then they answer. Rank 0 chooses all counts, so that none waits for a sum that another has left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from charrnn.config import ModelConfig
from charrnn.doctor.machine import (
    BATCH_SIZE,
    SEQ_LEN,
    SIZES,
    TRAINING_PRODUCT,
    VOCAB_SIZE,
    gflops,
    measured_char,
    usual_training,
)
from charrnn.nn.model import param_shapes
from charrnn.parallel.cost import Link, fit, gradient_bytes
from charrnn.parallel.ranks import Ranks
from charrnn.parallel.sums import Sums
from charrnn.system.blas import thread_limit
from charrnn.system.load import load_average
from charrnn.training.budget import step_seconds
from charrnn.training.follow import Measurement

#: Models like those that the recipe chooses: between two of them, the time grows with the work of a character.
RECIPE_SIZES = {
    f"lnlstm 1x{units}": ModelConfig(VOCAB_SIZE, cell="lnlstm", hidden_size=units)
    for units in (64, 128, 256, 512, 1024)
}
#: All models of which steps are measured.
MODELS = RECIPE_SIZES | SIZES
#: The one whose speed describes a rank.
USUAL = "lnlstm 1x256"
MACHINES = (1, 2, 4, 8)  # among which a batch is shared
#: Models of which gradients are summed: hardly any, to find the latency, and then more and more.
_SUMMED = (
    ModelConfig(VOCAB_SIZE, cell="rnn", hidden_size=8),
    *(RECIPE_SIZES[f"lnlstm 1x{units}"] for units in (128, 512, 1024)),
)
_FEWEST, _MOST = 3, 100  # sums of a size, or messages


class Fact(NamedTuple):
    """A rank, as it is and as it was measured.

    name              "rank 1 on host"
    cores             of its host that ranks may use
    load              mean number of runnable programs on the host, in the minute before; None if unknown
    gflops            10^9 operations per second in a product of training
    chars_per_second  training speed of the model that `USUAL` names
    """

    name: str
    host: str
    cores: int
    load: float | None
    gflops: float
    chars_per_second: float

    @property
    def title(self) -> str:
        """Return the name as a sentence begins with it."""
        return self.name[:1].upper() + self.name[1:]


@dataclass(frozen=True)
class Cluster:
    """The ranks as they were measured.

    threads  of each rank
    link     between the ranks; sums: the seconds of sums of gradients by size in bytes, to which it was fitted
    steps    seconds of a step of each rank alone, by model and batch rows
    process  seconds of a step of one process with all cores of the host, by model; empty if there are several hosts
    """

    ranks: list[Fact]
    threads: int
    link: Link
    sums: dict[int, float]
    steps: dict[str, dict[int, list[float]]]
    process: dict[str, float]

    @property
    def hosts(self) -> list[str]:
        """Return the hosts, in the order of the ranks."""
        return [*dict.fromkeys(rank.host for rank in self.ranks)]


class Load(NamedTuple):
    """Look up the load of this rank's host."""

    def make(self, ranks: Ranks) -> float | None:
        """Return what `load_average` does."""
        return load_average()


class Message(NamedTuple):
    """Answer at once."""

    def make(self, ranks: Ranks) -> None:
        """Do nothing."""


class Product(NamedTuple):
    """Measure a matrix product of training for so many seconds."""

    seconds: float

    def make(self, ranks: Ranks) -> float:
        """Return 10^9 operations per second."""
        with thread_limit(ranks.threads):
            return gflops(*TRAINING_PRODUCT, self.seconds)


class Step(NamedTuple):
    """Measure the steps of a model with so many batch rows, for so many seconds."""

    config: ModelConfig
    rows: int
    threads: int
    seconds: float

    def make(self, ranks: Ranks) -> float:
        """Return the seconds of a step."""
        training = usual_training(self.config, self.rows, self.threads)
        return step_seconds(training, measured_char(training, self.seconds))


class Sum(NamedTuple):
    """Add up the gradients of a model, so many times."""

    config: ModelConfig
    times: int

    def make(self, ranks: Ranks) -> float:
        """Return the median of the seconds."""
        sums = Sums(self.config, ranks, half=False)
        grads = {name: np.zeros(shape, self.config.dtype) for name, shape in param_shapes(self.config).items()}
        return _median_seconds(lambda: sums.add(grads), self.times)


def measure_ranks(ranks: Ranks, models: Mapping[str, ModelConfig] = MODELS, seconds: float = 0.25) -> Cluster:
    """Measure the ranks: for each model about five times these seconds, and the start of the processes.

    models: by name, `USUAL` among them
    Raises:  CharRNNError if a rank fails.
    """
    loads, products = together(ranks, Load()), together(ranks, Product(seconds))
    shares = sorted({-(-BATCH_SIZE // machines) for machines in (*MACHINES, ranks.size)})
    steps = {
        name: {rows: together(ranks, Step(config, rows, ranks.threads, seconds)) for rows in shares}
        for name, config in models.items()
    }
    link, sums = measure_link(ranks, seconds)
    alone = models if len({*ranks.hosts}) == 1 else {}
    speeds = [BATCH_SIZE * SEQ_LEN / step for step in steps[USUAL][BATCH_SIZE]]
    return Cluster(
        [Fact(*each) for each in zip(ranks.names, ranks.hosts, ranks.cores, loads, products, speeds, strict=True)],
        ranks.threads,
        link,
        sums,
        steps,
        {name: Step(config, BATCH_SIZE, ranks.cores[0], seconds).make(ranks) for name, config in alone.items()},
    )


def together(ranks: Ranks, measurement: Measurement) -> list[Any]:
    """Let all ranks measure this at the same time; return the results in the order of the ranks."""
    with ranks.asked([measurement] * ranks.size) as answers:
        own = measurement.make(ranks)
    return [own, *answers]


def measure_link(ranks: Ranks, seconds: float) -> tuple[Link, dict[int, float]]:
    """Return the link between the ranks, and the seconds of sums by size in bytes; each size takes these seconds."""
    message = _median_seconds(lambda: together(ranks, Message()), _MOST) / 2
    sums = {gradient_bytes(config): _sum_seconds(ranks, config, seconds) for config in _SUMMED}
    return fit(message, sums, ranks.size), sums


def _sum_seconds(ranks: Ranks, config: ModelConfig, seconds: float) -> float:
    """Return the seconds of a sum; as many are measured as fit into these seconds, within limits."""
    once = max(1e-6, *together(ranks, Sum(config, 1)))
    by_rank: list[float] = together(ranks, Sum(config, max(_FEWEST, min(_MOST, round(seconds / once)))))
    return max(by_rank)


def _median_seconds(work: Callable[[], object], times: int) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return median(once() for _ in range(times))
