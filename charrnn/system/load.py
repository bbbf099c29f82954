"""The cores of this machine, and the load that other programs put on them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CROWDED = 1.25  # runnable threads per core above which threads wait for one another


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return int(os.process_cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """Return the mean number of runnable threads in the last minute; None if the system does not report it."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has no load average
        return None


def busy_now() -> float | None:
    """Return about how many other threads want a core now; None if the system does not report it.

    The load average alone may be that of a program that has just ended; on Linux, the threads of this moment are known.
    """
    load = load_average()
    if load is None:
        return None
    with suppress(OSError, ValueError, IndexError):
        running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
        return min(load, float(running) - 1)  # this thread is one of them
    return load


def is_crowded(load: float, threads: int, cores: int) -> bool:
    """Return whether threads would wait for one another if this many started beside this load on this many cores."""
    return load + threads > _CROWDED * cores
