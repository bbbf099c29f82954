"""A process for one side: it does what the parent asks for, a line of JSON at a time, and sleeps in between."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from importlib import import_module
from typing import Any

from benchmarks.speed.cases import FAST, MEMORY_CASE, MEMORY_STEPS, Case, Work

MODULES = {"charrnn": "ours", FAST: "ours", "PyTorch": "theirs", "floor": "floor"}


def side_module(side: str, threads: int) -> Any:
    """Return the module of a side, with its threads set."""
    if side == "PyTorch":
        import torch

        torch.set_num_threads(threads)
    return import_module(f"benchmarks.speed.{MODULES[side]}")


def turn(work: Work, count: int) -> float:
    """Return the seconds of one run, as the mean of `count` after one that does not count."""
    work.before()
    work.run()
    start = time.perf_counter()
    for _ in range(count):
        work.run()
    return (time.perf_counter() - start) / count


def count_for(work: Work, seconds: float) -> int:
    """Return how many runs take about so long, at least one."""
    turn(work, 1)  # memory, threads and code are there after this
    took = turn(work, 1)
    if took < seconds / 3:
        took = turn(work, 3)
    return max(1, math.ceil(seconds / took))


def fastest(ways: dict[str, Work], seconds: float) -> tuple[str, int]:
    """Return the fastest way and how many of its runs make a turn; ways are tried in alternation."""
    counts = {name: count_for(work, seconds) for name, work in ways.items()}
    best = dict.fromkeys(ways, math.inf)
    if len(ways) > 1:
        for _ in range(3):
            for name, work in ways.items():
                best[name] = min(best[name], turn(work, counts[name]))
    name = min(best, key=best.__getitem__)
    return name, counts[name]


def facts(side: str) -> dict[str, Any]:
    """Return the versions and the threads of this process's libraries."""
    import numpy as np
    from threadpoolctl import threadpool_info

    found: dict[str, Any] = {"numpy": np.__version__}
    if side == "PyTorch":
        import torch

        found = {"torch": torch.__version__, "vectors": torch.backends.cpu.get_cpu_capability()}
        found["threads"] = torch.get_num_threads()
    if side == FAST:
        from charrnn.nn.compiled import numba_version

        found["numba"] = numba_version()
    wanted = ("user_api", "internal_api", "version", "architecture", "threading_layer", "num_threads")
    pools = [{name: pool[name] for name in wanted if pool.get(name)} for pool in threadpool_info()]
    return found | {"pools": pools}


def peak_mib() -> float:
    """Return the most memory that this process ever held, and that one that it started and that has ended did."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(one).ru_maxrss for one in who) / (2**20 if sys.platform == "darwin" else 2**10)


def serve(side: str, threads: int) -> None:
    """Answer requests until there are none."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
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
