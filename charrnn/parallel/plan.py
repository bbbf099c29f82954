"""The plan of a window: how many processes and threads share it, and which batch rows each process gets."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from threadpoolctl import threadpool_info

from charrnn.config import ModelConfig
from charrnn.nn.cells import packed

_SINGLE_THREAD_UNITS = 32  # up to this layer size, sharing a window costs more than it saves
_MIN_ROWS = 8  # rows per process: matrix products of fewer rows lose more than sharing gains


def available_threads() -> int:
    """Return how many threads NumPy's matrix products use now: its default, or the number that the environment sets."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def usual_threads(hidden_size: int, available: int) -> int:
    """Return how many threads suit a layer of this size best (measured in docs/performance.md)."""
    return 1 if hidden_size <= _SINGLE_THREAD_UNITS else available


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

    def rows(self, rank: int, batch_size: int) -> slice:
        """Return the batch rows of the process with this rank, from 0; any two processes differ by at most one row."""
        return slice(batch_size * rank // self.processes, batch_size * (rank + 1) // self.processes)


def make_plan(config: ModelConfig, seed: int | None, batch_size: int, seq_len: int, threads: int) -> Plan:
    """Plan one process per thread, if there are enough batch rows; threads left over go to the matrix products.

    Plan only one process if the system cannot share memory between processes, or others could not import the cell.
    """
    can_share = os.name == "posix" and sys.executable and packed(config.cell) is not None
    processes = max(1, min(threads, batch_size // _MIN_ROWS)) if can_share else 1
    return Plan(config, seed, batch_size, seq_len, processes, max(1, threads // processes))
