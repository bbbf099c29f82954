"""Measure the speed of matrix products, with the shapes and processes of training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from statistics import median
from typing import Any

from benchmarks.speed.cases import GATES, VOCAB_SIZE, Case
from benchmarks.speed.processes import Worker

UNITS, BATCH, STEPS = 512, 32, 100  # 32x512 by 512x2048 at each time step, the batch split as in training
TURNS, SECONDS = 3, 1.0


def gemm_rate() -> float:
    """Return 10^9 operations per second of all processes together: the median of three turns of a second."""
    from charrnn.config import ModelConfig
    from charrnn.parallel.plan import available_threads, make_plan

    shared = make_plan(ModelConfig(VOCAB_SIZE, hidden_size=UNITS), None, BATCH, STEPS, available_threads())
    case = Case("evaluate", "lstm", 1, UNITS, BATCH // shared.processes, STEPS)
    with ExitStack() as holds:
        workers = [holds.enter_context(closing(Worker("floor", shared.threads))) for _ in range(shared.processes)]
        pool = holds.enter_context(ThreadPoolExecutor(shared.processes))

        def all_at_once(do: str, **request: Any) -> list[dict[str, Any]]:
            return list(pool.map(lambda worker: worker.ask(do, **request), workers))

        all_at_once("build", case=asdict(case), seconds=SECONDS)
        turns = [all_at_once("turn") for _ in range(TURNS)]
    return median(sum(operations(case) / float(answer["seconds"]) / 1e9 for answer in turn) for turn in turns)


def operations(case: Case) -> int:
    """Count the operations in one layer's forward products: h W_hh at each step, and the readout."""
    return 2 * case.steps * case.batch * case.units * (GATES[case.cell] * case.units + VOCAB_SIZE)
