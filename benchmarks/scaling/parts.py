"""The parts of a training step, and whole steps, measured on this machine."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import NamedTuple

import numpy as np

from benchmarks.scaling.cost import Parts, sum_alone, sum_shared
from benchmarks.speed.cases import VOCAB_SIZE, WINDOWS, Case, random_ids
from charrnn.arrays import Array, Params, Window
from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.stream import Stream
from charrnn.nn import model
from charrnn.nn.bptt import Learner
from charrnn.parallel.plan import make_plan
from charrnn.parallel.shared import add_up
from charrnn.parallel.workers import Workers
from charrnn.system.meter import seconds_per_unit
from charrnn.training.loop import Training, TrainState, train_step

_OTHERS = 31  # processes whose gradients are added to measure one addition


class Bench(NamedTuple):
    """A training of random text, at a state that is not its first."""

    training: Training
    state: TrainState
    window: Window

    @classmethod
    def of(cls, case: Case) -> Bench:
        """Return the training of this case, with the command's settings but without dropout."""
        config = ModelConfig(
            VOCAB_SIZE, cell=case.cell, hidden_size=case.units, num_layers=case.layers, dropout=0.0, dtype="float32"
        )
        settings = TrainConfig(steps=1, batch_size=case.batch, seq_len=case.steps, seed=1, threads=1)
        ids = random_ids(case)
        stream = Stream(ids, case.batch, case.steps)
        training = Training(config, settings, stream, ids[:0])
        return cls(training, training.begin(model.init_params(config, np.random.default_rng(1))), stream[WINDOWS - 1])

    def workers(self, processes: int) -> Workers:
        """Return so many processes, each with one thread, however few rows that leaves them."""
        config = self.training.config
        plan = make_plan(self.training.model_config, 1, config.batch_size, config.seq_len, 1)
        return Workers(plan._replace(processes=processes))

    def step(self, workers: Workers) -> None:
        """Do one update, at a rate of zero: the weights stay the same, and so does the work."""
        train_step(self.training, self.training.optimizer(), 0.0, self.state, self.window, workers)


class Given(Workers):
    """Workers that compute nothing: their gradients are given, so a step has only its other parts."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.workers(1).plan)
        rows = slice(bench.training.config.batch_size)
        learner = Learner(bench.training.model_config, 1)
        learner.set_params(bench.state.params)
        _, self._state, grads = learner.gradients(bench.window, bench.state.state, 1, rows)
        self._grads = {name: grad.copy() for name, grad in grads.items()}
        self._used = {name: grad.copy() for name, grad in grads.items()}

    def gradients(self, window: Window, state: Array, step: int) -> tuple[float, Array, Params]:
        """Return the given gradients, in arrays that the step may overwrite."""
        copy_all(self._used, self._grads)
        return 1.0, self._state, self._used


def copy_all(to: Params, arrays: Params) -> None:
    """Copy arrays into others, as a process does with its gradients."""
    for name, array in arrays.items():
        to[name][...] = array


def processor_seconds(work: Callable[[], object], seconds: float) -> float:
    """Return the median processor time of a call, from calls for about this many seconds after one to warm up."""
    work()
    times, end = list[float](), time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return median(times)


def measure_parts(bench: Bench, seconds: float) -> Parts:
    """Measure the parts of a step for about so many seconds each; those of a number of rows when it is asked for."""
    learner, params = Learner(bench.training.model_config, 1), bench.state.params

    @cache
    def gradients(rows: int) -> float:
        def work() -> None:
            learner.set_params(params)
            learner.gradients(bench.window, bench.state.state, 1, slice(rows))

        return processor_seconds(work, seconds)

    other = {name: array.copy() for name, array in params.items()}
    copy = processor_seconds(lambda: copy_all(other, params), seconds / 4)
    wake, request = measure_requests(seconds)
    add = measure_add(params, seconds / 2)
    given = Given(bench)
    update = processor_seconds(lambda: bench.step(given), seconds) - copy
    return Parts(gradients, wake, request, copy, add, update)


def measure_add(params: Params, seconds: float) -> float:
    """Return the seconds of adding the gradients of another process, which are in that core's cache or in none.

    So the numbers added here are too many for this core's cache.
    """
    grads = np.ones((1 + _OTHERS, sum(array.size for array in params.values())), next(iter(params.values())).dtype)
    return processor_seconds(lambda: add_up(grads, slice(None)), seconds) / _OTHERS


def measure_requests(seconds: float) -> tuple[float, float]:
    """Return the seconds of waking another process, and those that each request takes from the process that sends it.

    The other process computes next to nothing: a step of one unit.
    """
    config = ModelConfig(2, hidden_size=1, dropout=0.0)
    params, state = model.init_params(config, np.random.default_rng(0)), model.zero_state(config, 2)
    window = Window(np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.uint8), None)
    own, wall = list[float](), list[float]()
    for processes in (1, 2):
        with Workers(make_plan(config, 1, 2, 1, 1)._replace(processes=processes)) as workers:
            workers.set_params(params)

            def read(workers: Workers = workers) -> int:
                workers.read(window, state)
                return 1

            own.append(processor_seconds(read, seconds / 2))
            wall.append(seconds_per_unit(read, seconds / 2, min))
    request = own[1] - own[0]
    return max(0.0, wall[1] - wall[0] - request), request


def total_seconds(parts: Parts, batch_size: int, processes: int) -> float:
    """Return the processor time of a step of all processes together."""
    rows, larger = divmod(batch_size, processes)
    gradients = (processes - larger) * parts.gradients(rows) + (larger * parts.gradients(rows + 1) if larger else 0.0)
    if processes == 1:
        return gradients + parts.update
    rounds = 1 + (sum_shared(parts, processes) < sum_alone(parts, processes))
    requests = 2 * rounds * (processes - 1) * parts.request  # the process that reads it takes about as long
    return gradients + parts.update + (processes + 1) * parts.copy + (processes - 1) * parts.add + requests


def steps_here(bench: Bench, processes: int, seconds: float) -> tuple[float, float]:
    """Return the wall time of the fastest step, and the median processor time of steps in the first process.

    Other programs can only make a step slower, and little of them is in the processor time.
    """

    def work() -> int:
        bench.step(workers)
        return 1

    with bench.workers(processes) as workers:
        return seconds_per_unit(work, seconds, min), processor_seconds(work, seconds)


def total_of_steps(bench: Bench, processes: int, steps: int) -> float:
    """Return the processor time of a step of all processes together, without that of starting them."""

    def used() -> float:
        return sum(
            usage.ru_utime + usage.ru_stime
            for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )

    totals = []
    for count in (1, 1 + steps):
        begin = used()
        with bench.workers(processes) as workers:
            for _ in range(count):
                bench.step(workers)
        totals.append(used() - begin)  # a process counts when it has ended
    return (totals[1] - totals[0]) / steps
