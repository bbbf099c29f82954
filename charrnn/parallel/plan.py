"""The plan of a window: how many processes and threads share it, and which batch rows each process gets."""

from __future__ import annotations

import math
import os
import sys
from typing import NamedTuple

from threadpoolctl import threadpool_info

from charrnn.config import ModelConfig, TrainConfig, limit_of
from charrnn.errors import ConfigError
from charrnn.nn import model
from charrnn.nn.cells import packed

#: The multiplications that one core does while a process sends a request to another and reads the answer: 35 µs, at
#: 13 to 16 per nanosecond. Both depend on the machine, and little on the cell (`python -m benchmarks.scaling`).
_REQUEST = 2**19
_MANY = 2**17  # numbers of another process that one adds while it sends a request and reads the answer
MIN_ROWS = 8  # rows per process: matrix products of fewer rows lose more than sharing gains


def available_threads() -> int:
    """Return how many threads NumPy's matrix products use now: its default, or the number that the environment sets."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def threads_to_use(requested: int | None) -> int:
    """Return the requested number of threads, or, for None, all that are available.

    Raises:  ConfigError if it is out of the range of `train --threads`.
    """
    if requested is None:
        return available_threads()
    if isinstance(requested, bool) or not isinstance(requested, int):
        raise ConfigError(f"--threads must be a whole number, got {requested!r}")
    if limit := limit_of(requested, TrainConfig.__dataclass_fields__["threads"].metadata):
        raise ConfigError(f"--threads must be {limit}, got {requested}")
    return requested


def usual_threads(config: ModelConfig, batch_size: int, seq_len: int, available: int) -> int:
    """Return how many threads read windows of this size fastest: fewer than are available if windows are small.

    With n threads a window takes the time  work / n + n request,  which is least where n^2 = work / request. The work
    is about one multiplication for each parameter and character. The result depends on nothing that is measured while
    the program runs, so the same command gives the same weights.
    """
    weights = sum(math.prod(shape) for shape in model.param_shapes(config).values())
    return max(1, min(available, math.isqrt(weights * batch_size * seq_len // _REQUEST)))


class Plan(NamedTuple):
    """The plan of how processes share the windows of a model.

    batch_size, seq_len  the largest window, in batch rows and time steps
    processes            the number of processes that share it
    threads              the threads of matrix products in each process
    """

    config: ModelConfig
    seed: int | None
    batch_size: int
    seq_len: int
    processes: int
    threads: int

    def share(self, rank: int, of: int) -> slice:
        """Return which of so many batch rows, or of other items, the process with this rank gets; ranks begin at 0.

        Any two processes differ by at most one item.
        """
        return slice(of * rank // self.processes, of * (rank + 1) // self.processes)

    def adds_together(self, numbers: int) -> bool:
        """Return whether each process adds up a share of the gradients, so many numbers in each process.

        That takes another request to each process. If the gradients are few, the first process adds them up sooner.
        """
        return (self.processes - 1) * numbers >= self.processes * _MANY


def make_plan(config: ModelConfig, seed: int | None, batch_size: int, seq_len: int, threads: int) -> Plan:
    """Plan one process per thread, if there are enough batch rows; threads left over go to the matrix products.

    Plan only one process if others cannot help.
    """
    processes = max(1, min(threads, batch_size // MIN_ROWS)) if others_can_help(config) else 1
    return Plan(config, seed, batch_size, seq_len, processes, max(1, threads // processes))


def others_can_help(config: ModelConfig) -> bool:
    """Return whether the system can share memory between processes, and others could import the cell."""
    return os.name == "posix" and bool(sys.executable) and packed(config.cell) is not None
