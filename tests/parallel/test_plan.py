"""How batch rows are shared out: enough rows for each process, and no thread left over."""

import os

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.parallel import plan as plan_module
from charrnn.parallel.plan import make_plan, usual_threads


@pytest.mark.parametrize(
    ("threads", "batch_size", "processes", "each"),
    [(1, 32, 1, 1), (2, 32, 2, 1), (2, 15, 1, 2), (2, 16, 2, 1), (16, 32, 4, 4), (3, 100, 3, 1), (2, 1, 1, 2)],
)
@pytest.mark.skipif(os.name != "posix", reason="elsewhere there is one process")
def test_each_process_has_enough_rows_and_threads_left_over_serve_its_products(threads, batch_size, processes, each):
    plan = make_plan(ModelConfig(9), 1, batch_size, 10, threads)
    assert (plan.processes, plan.threads) == (processes, each)
    rows = [np.arange(batch_size)[plan.share(rank, batch_size)] for rank in range(processes)]
    assert np.concatenate(rows).tolist() == list(range(batch_size))
    assert max(map(len, rows)) - min(map(len, rows)) <= 1


@pytest.mark.parametrize(
    ("units", "batch_size", "seq_len", "threads"),
    [
        (16, 8, 10, 1),  # half a million multiplications, as long as one request
        (16, 32, 25, 3),  # 5.1 million, as long as 9.7 requests: sqrt(9.7) processes
        (16, 512, 100, 24),
        (128, 32, 25, 12),
        (384, 32, 100, 64),
    ],
)
def test_small_windows_use_fewer_threads_than_there_are(units, batch_size, seq_len, threads):
    config = ModelConfig(65, hidden_size=units)
    assert usual_threads(config, batch_size, seq_len, 64) == threads
    assert usual_threads(config, batch_size, seq_len, 2) == min(2, threads)
    assert usual_threads(config, batch_size, seq_len, 1) == 1


@pytest.mark.parametrize("processes", [2, 3, 7, 64])
@pytest.mark.parametrize("total", [1, 5, 64, 1000])
def test_shares_cover_everything_once(processes, total):
    plan = make_plan(ModelConfig(9), 1, 32, 10, 1)._replace(processes=processes)
    shares = [np.arange(total)[plan.share(rank, total)] for rank in range(processes)]
    assert np.concatenate(shares).tolist() == list(range(total))


def test_there_is_one_process_where_processes_cannot_share_memory(monkeypatch):
    monkeypatch.setattr(plan_module.os, "name", "nt")
    plan = make_plan(ModelConfig(9), 1, 32, 10, 2)
    assert (plan.processes, plan.threads) == (1, 2)
