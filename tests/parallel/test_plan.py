"""How batch rows are shared out: enough rows for each process, and no thread left over."""

import os

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.parallel import plan as plan_module
from charrnn.parallel.plan import make_plan


@pytest.mark.parametrize(
    ("threads", "batch_size", "processes", "each"),
    [(1, 32, 1, 1), (2, 32, 2, 1), (2, 15, 1, 2), (2, 16, 2, 1), (16, 32, 4, 4), (3, 100, 3, 1), (2, 1, 1, 2)],
)
@pytest.mark.skipif(os.name != "posix", reason="elsewhere there is one process")
def test_each_process_has_enough_rows_and_threads_left_over_serve_its_products(threads, batch_size, processes, each):
    plan = make_plan(ModelConfig(9), 1, batch_size, 10, threads)
    assert (plan.processes, plan.threads) == (processes, each)
    rows = [np.arange(batch_size)[plan.rows(rank, batch_size)] for rank in range(processes)]
    assert np.concatenate(rows).tolist() == list(range(batch_size))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


def test_there_is_one_process_where_processes_cannot_share_memory(monkeypatch):
    monkeypatch.setattr(plan_module.os, "name", "nt")
    plan = make_plan(ModelConfig(9), 1, 32, 10, 2)
    assert (plan.processes, plan.threads) == (1, 2)
