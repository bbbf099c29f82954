"""The place of this process among those that `mpiexec` or `srun` started with it, as the environment tells it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import NamedTuple

#: Seconds in which `mpiexec` passes on what a process has printed: what is on its way when it ends all is lost.
FLUSHED = 0.2
#: The variables with a process's rank and with the number of processes: of MPICH, Intel MPI and `srun --mpi=pmi2`, of
#: Open MPI, and of `srun --mpi=pmix`.
_VARIABLES = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)


class Launch(NamedTuple):
    """The place of this process among several, which MPI can connect.

    rank     begins at 0
    by_pmix  whether the launcher speaks PMIx alone
    """

    rank: int
    size: int
    by_pmix: bool


def launch() -> Launch | None:
    """Return the place of this process among several that were started together; None if it was started alone."""
    for rank, size in _VARIABLES:
        own, of = os.environ.get(rank, ""), os.environ.get(size, "")
        if own.isdecimal() and of.isdecimal() and int(of) > 1:
            return Launch(int(own), int(of), rank == "PMIX_RANK")
    return None


def unconnected_tasks() -> int:
    """Return how many tasks `srun` started with this one as the first, without a way for MPI to connect them; or 0."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "")
    is_first = os.environ.get("SLURM_PROCID") == "0" and launch() is None
    return int(tasks) if is_first and tasks.isdecimal() and int(tasks) > 1 else 0


def end_all(code: int) -> None:
    """Let the launcher end this process and those that it started with it, before MPI connects them.

    Where it is MPICH's or Intel's, which would let the others wait for this one; another ends them by itself.

    Source:  PMI-1's wire protocol, which they speak on the descriptor PMI_FD.
    """
    descriptor = os.environ.get("PMI_FD", "")
    if "MPI_LOCALRANKID" in os.environ and descriptor.isdecimal():
        time.sleep(FLUSHED)
        with suppress(OSError):
            os.write(int(descriptor), f"cmd=abort exitcode={code}\n".encode())
