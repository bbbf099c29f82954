"""The place among several processes, as the launchers' variables tell it, and the word that ends all."""

import os

import pytest

from charrnn.system.launch import Launch, end_all, launch, unconnected_tasks

#: What each launcher sets for the third of four processes.
LAUNCHERS = {
    "MPICH": {"PMI_RANK": "2", "PMI_SIZE": "4", "MPI_LOCALRANKID": "2", "PMI_FD": "9"},
    "Open MPI": {"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "2"},
    "srun --mpi=pmi2": {"PMI_RANK": "2", "PMI_SIZE": "4", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"},
    "srun --mpi=pmix": {"PMIX_RANK": "2", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4"},
}
#: What they set for a process that has no others.
ALONE = {
    "nothing": {},
    "one of MPICH": {"PMI_RANK": "0", "PMI_SIZE": "1"},
    "one of Open MPI": {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"},
    "one of srun": {"PMIX_RANK": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
    "a batch script": {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
    "no numbers": {"PMI_RANK": "", "PMI_SIZE": "four"},
}


@pytest.fixture
def started_by(monkeypatch):
    """Return a function that puts these variables, and no others of launchers, into the environment."""
    for name in os.environ:
        if name.startswith(("PMI", "OMPI", "MPI_", "SLURM")):
            monkeypatch.delenv(name)

    def put(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_tells_rank_and_size(started_by, launcher):
    started_by(LAUNCHERS[launcher])
    assert launch() == Launch(2, 4, by_pmix=launcher == "srun --mpi=pmix")
    assert unconnected_tasks() == 0


@pytest.mark.parametrize("alone", ALONE)
def test_one_process_is_alone(started_by, alone):
    started_by(ALONE[alone])
    assert launch() is None
    assert unconnected_tasks() == 0


@pytest.mark.parametrize(("rank", "tasks"), [("0", 4), ("1", 0)])
def test_the_first_of_tasks_that_nothing_connects_counts_them(started_by, rank, tasks):
    started_by({"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": "4"})
    assert launch() is None
    assert unconnected_tasks() == tasks


def test_the_launcher_that_would_wait_is_told_to_end_all(started_by):
    reading, writing = os.pipe()
    with open(reading, "rb") as told:
        started_by(LAUNCHERS["MPICH"] | {"PMI_FD": str(writing)})
        end_all(2)
        os.close(writing)
        assert told.read() == b"cmd=abort exitcode=2\n"
        end_all(2)  # nobody listens: no error


@pytest.mark.parametrize("launcher", ["Open MPI", "srun --mpi=pmi2"])
def test_another_launcher_is_told_nothing(started_by, launcher):
    reading, writing = os.pipe()
    with open(reading, "rb") as told:
        started_by(LAUNCHERS[launcher] | {"PMI_FD": str(writing)})
        end_all(2)
        os.close(writing)
        assert told.read() == b""
