"""Measure how fast something runs here, by running it repeatedly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeAlias

#: Returns one number for several.
Average: TypeAlias = Callable[[Sequence[float]], float]

_SHORTEST = 1e-9  # seconds that a call counts at least, in case the clock is too coarse to measure it


def seconds_per_unit(work: Callable[[], int], seconds: float, average: Average = median) -> float:
    """Return the average time that `work` takes for one unit, from calls repeated for about this many seconds.

    The first call is not counted: it allocates memory and starts processes. At least one more is made.
    work     does something and returns how many units that was, such as characters or operations
    average  of the calls
    """
    work()
    end = time.perf_counter() + seconds
    times = [_seconds_per_unit(work)]
    while time.perf_counter() < end:
        times.append(_seconds_per_unit(work))
    return average(times)


def _seconds_per_unit(work: Callable[[], int]) -> float:
    begin = time.perf_counter()
    units = work()
    return max(_SHORTEST, time.perf_counter() - begin) / units
