"""The time of a training step that several processes share, composed of the times of its parts.

The first process writes the parameters to shared memory and sends the requests; all compute the gradients of their
batch rows and write them to shared memory; these are added up, by the first process or by all; the first one updates
the parameters. Work that the processes do side by side counts once, for the process with the most rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Parts(NamedTuple):
    """The times of the parts of a step on one core, all in the same unit.

    gradients  of computing the gradients of so many batch rows
    wake       of waking the other processes and waiting for the last one, however many there are
    request    of one request and its answer, for the process that sends it
    copy       of writing as many numbers as the model has parameters into shared memory
    add        of adding as many numbers to others
    update     of clipping the gradients, updating the parameters and checking them
    """

    gradients: Callable[[int], float]
    wake: float
    request: float
    copy: float
    add: float
    update: float

    def round(self, processes: int) -> float:
        """Return the time of one request to each of the other processes, and of all answers."""
        return self.wake + (processes - 1) * self.request if processes > 1 else 0.0


def step_time(parts: Parts, batch_size: int, processes: int) -> float:
    """Return the time of a step of this many batch rows, if each process has a core of its own."""
    own = parts.gradients(-(-batch_size // processes)) + parts.update
    if processes == 1:
        return own
    adding = min(sum_alone(parts, processes), sum_shared(parts, processes))
    return own + 2 * parts.copy + parts.round(processes) + adding


def sum_alone(parts: Parts, processes: int) -> float:
    """Return the time in which the first process adds up the gradients of all."""
    return (processes - 1) * parts.add


def sum_shared(parts: Parts, processes: int) -> float:
    """Return the time in which each process adds up its share of the gradients, at another request."""
    return sum_alone(parts, processes) / processes + parts.round(processes)
