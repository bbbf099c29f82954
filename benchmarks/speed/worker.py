"""The process of one side: it answers requests, one line of JSON each, and sleeps in between."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from importlib import import_module
from typing import Any

from benchmarks.speed.cases import COMPILED, FLOOR, MEMORY_CASE, MEMORY_STEPS, THEIRS, Case, Work

MODULES = {THEIRS: "theirs", FLOOR: "floor"} | dict.fromkeys(COMPILED, "ours")
TRIAL = 0.1  # seconds of a run of each way, of which only the fastest is measured


def side_module(side: str, threads: int) -> Any:
    """Set the threads of a side and return its module."""
    if side == THEIRS:
        import torch

        torch.set_num_threads(threads)
    return import_module(f"benchmarks.speed.{MODULES[side]}")


def turn(work: Work, count: int) -> float:
    """Return the seconds of one run: the mean of `count` runs after one to warm up."""
    work.before()
    work.run()
    start = time.perf_counter()
    for _ in range(count):
        work.run()
    return (time.perf_counter() - start) / count


def count_for(work: Work, seconds: float) -> int:
    """Return how many runs take about this long, at least one."""
    turn(work, 1)  # allocates memory, starts threads, loads code
    took = turn(work, 1)
    if took < seconds / 3:
        took = turn(work, 3)
    return max(1, math.ceil(seconds / took))


def fastest(ways: dict[str, Work], seconds: float) -> tuple[str, int]:
    """Try the ways in alternation; return the fastest and how many of its runs fill a turn."""
    best = dict.fromkeys(ways, math.inf)
    if len(ways) > 1:
        counts = {name: count_for(work, min(seconds, TRIAL)) for name, work in ways.items()}
        for _ in range(2):
            for name, work in ways.items():
                best[name] = min(best[name], turn(work, counts[name]))
    name = min(best, key=best.__getitem__)
    return name, count_for(ways[name], seconds)


def facts(side: str) -> dict[str, Any]:
    """Return the versions and threads of this process's libraries."""
    import numpy as np
    from threadpoolctl import threadpool_info

    versions: dict[str, Any] = {"numpy": np.__version__}
    if side == THEIRS:
        import torch

        versions = {"torch": torch.__version__, "vectors": torch.backends.cpu.get_cpu_capability()}
        versions["threads"] = torch.get_num_threads()
    if COMPILED.get(side):
        from charrnn.nn.compiled import variant

        versions["core"] = variant()
    fields = ("user_api", "internal_api", "version", "architecture", "threading_layer", "num_threads")
    pools = [{name: pool[name] for name in fields if pool.get(name)} for pool in threadpool_info()]
    return versions | {"pools": pools}


def peak_mib() -> float:
    """Return the peak memory of this process plus that of the largest process it started that has ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(one).ru_maxrss for one in who) / (2**20 if sys.platform == "darwin" else 2**10)


def serve(side: str, threads: int) -> None:
    """Answer requests until standard input closes."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps what libraries print out of the answers
    module, work, count = side_module(side, threads), Work(bool), 0
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        if request["do"] == "build":
            ways = module.variants(Case(**request["case"]), threads)
            name, count = fastest(ways, request["seconds"]) if ways else ("", 0)
            work, answer = ways.get(name, Work(bool)), {"variant": name, "count": count}
            del ways
        elif request["do"] == "turn":
            answer = {"seconds": turn(work, count)}
        elif request["do"] == "facts":
            answer = facts(side)
        else:  # memory
            first = next(iter(module.variants(MEMORY_CASE, threads).values()))
            for _ in range(MEMORY_STEPS):
                first.run()
            if MODULES[side] == "ours":
                module.end()
            answer = {"mib": peak_mib()}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
