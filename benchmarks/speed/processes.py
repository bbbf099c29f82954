"""Start and ask the processes of all sides; measure the start-up time and memory of whole processes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.speed.cases import (
    COMPILED,
    FLOOR,
    LSTM,
    MEMORY_CASE,
    MEMORY_STEPS,
    NUMPY,
    NUMPY_LSTM,
    OURS,
    THEIRS,
    Case,
    Result,
)

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.1  # seconds before a turn, in which the thread pools of the previous side fall asleep
START_HELP = "start --help; floor: import click"
START_SAMPLE = "start sample -n 1; floor: import numpy; PyTorch: import torch"
MEMORY_NAME = f"memory of {MEMORY_STEPS} steps, {MEMORY_CASE.name.removeprefix('train ')}"
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def environment(threads: int | None = None) -> dict[str, str]:
    """Return an environment with this copy of charrnn and so many threads; None leaves the threads to the user."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | ({} if threads is None else dict.fromkeys(_THREADS, str(threads))) | {"PYTHONPATH": path}


def core(compiled: bool) -> dict[str, str]:
    """Return the variable of the environment that leaves charrnn its compiled core, or takes it away."""
    return {"CHARRNN_COMPILED": "" if compiled else "0"}


class Worker:
    """The process of one side, which works only while it answers a request."""

    def __init__(self, side: str, threads: int, policy: str = "") -> None:
        self.side, self.policy = side, policy
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.worker", side, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(threads)
            | core(COMPILED.get(side, False))
            | ({"OMP_WAIT_POLICY": policy} if policy else {}),
            text=True,
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        if not answer:
            raise SystemExit(f"the worker of {self.side} ended; see its error above")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def measure(case: Case, workers: Sequence[Worker], repeats: int, seconds: float) -> Result:
    """Return the seconds of a case; in each round, every side runs once, in the fastest of its processes."""
    ways: dict[str, str] = {}
    chosen: dict[str, Worker] = {}
    for side in dict.fromkeys(worker.side for worker in workers):
        own = case_of(side, case)
        built: dict[Worker, str] = {}
        for worker in workers if own else ():
            if worker.side == side:
                time.sleep(PAUSE)
                answer = worker.ask("build", case=asdict(own), seconds=seconds)
                if answer["count"]:
                    built[worker] = ", ".join(
                        filter(None, (answer["variant"], worker.policy and f"{worker.policy} waiting"))
                    )
        if built:
            chosen[side] = min(built, key=_trial(built).__getitem__)
            ways[side] = built[chosen[side]]
    sides: dict[str, list[float]] = {side: [] for side in chosen}
    for _ in range(repeats):
        for side, worker in chosen.items():
            sides[side].append(_turn(worker))
    used = {side: way for side, way in ways.items() if way}
    return Result(case.name, case.kind, "s", case.amount, sides, used, case)


def case_of(side: str, case: Case) -> Case | None:
    """Return what a side does in this row: beside `lnlstm`, which PyTorch does not have, an LSTM; None for nothing."""
    if case.kind == "encode" and side == NUMPY:  # the core encodes nothing
        return None
    if side in (LSTM, NUMPY_LSTM) and case.cell != "lnlstm":
        return None
    return replace(case, cell="lstm") if case.cell == "lnlstm" and side not in (OURS, NUMPY) else case


def _turn(worker: Worker) -> float:
    time.sleep(PAUSE)
    seconds: float = worker.ask("turn")["seconds"]
    return seconds


def _trial(workers: Iterable[Worker]) -> dict[Worker, float]:
    """Return the shortest turn of each worker, in alternation; a single worker needs no trial."""
    workers = list(workers)
    least = dict.fromkeys(workers, math.inf)
    for _ in range(3 if len(workers) > 1 else 0):
        for worker in workers:
            least[worker] = min(least[worker], _turn(worker))
    return least


def measure_memory(sides: list[str], threads: int, repeats: int) -> Result:
    """Return the peak memory in MiB of processes that train."""
    figures: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            worker = Worker(side, threads)
            figures[side].append(worker.ask("memory")["mib"])
            worker.close()
    return Result(MEMORY_NAME, "memory", "MiB", 0, figures)


def measure_start(only: str, repeats: int, threads: int, *, with_torch: bool) -> list[Result]:
    """Return the wall times of processes that do almost nothing, and of the imports that they need."""
    if not any(only in name for name in (START_HELP, START_SAMPLE)):
        return []
    with tempfile.TemporaryDirectory() as folder:
        text, run = Path(folder, "text.txt"), str(Path(folder, "run"))
        text.write_text("the quick brown fox jumps over the lazy dog\n" * 50, encoding="utf-8")
        sizes = ("--steps", "1", "--hidden-size", "8", "--batch-size", "2", "--seq-len", "10")
        _seconds(("-m", "charrnn", "train", str(text), *sizes, "--out", run), threads)
        one = ("-m", "charrnn", "sample", "-m", run, "-n", "1")
        rows: dict[str, dict[str, tuple[str, ...]]] = {
            START_HELP: {OURS: ("-m", "charrnn", "--help"), FLOOR: ("-c", "import click")},
            START_SAMPLE: {OURS: one, NUMPY: one, FLOOR: ("-c", "import numpy")}
            | ({THEIRS: ("-c", "import torch")} if with_torch else {}),
        }
        results = []
        for name, commands in rows.items():
            if only not in name:
                continue
            sides: dict[str, list[float]] = {side: [] for side in commands}
            for _ in range(repeats + 1):
                for side, command in commands.items():
                    sides[side].append(_seconds(command, threads, compiled=side == OURS))
            for figures in sides.values():
                del figures[0]  # it reads the files into memory
            results.append(Result(name, "start", "s", 0, sides))
        return results


def _seconds(command: tuple[str, ...], threads: int, *, compiled: bool = True) -> float:
    env = environment(threads) | core(compiled) | {"PYTHONDONTWRITEBYTECODE": ""}  # with .pyc files, as installed
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"python {' '.join(command)} failed:\n{done.stderr}")
    return took
