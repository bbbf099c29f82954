"""The memory that a training run takes, found before its first step.

Nearly every array of a step is as large as the product of two of these: predictions (rows x steps), batch rows, units,
symbols, embedding. So one step is done in miniature, all of them the same small share of what they are, and what it
takes at its peak is divided by the square of that share. No formula has to follow what cells, dropout and optimizers
keep. What Python, the text and the weights take is read from the system, which has given it already.
"""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charrnn.data.stream import Stream
from charrnn.nn import model
from charrnn.nn.functional import ONE_HOT_LIMIT
from charrnn.training.loop import Training, TrainState, train_step

_NUMBERS = 2**16  # about as many as the miniature's largest arrays have: 1 to 4 MB in all, and some 20 ms
_PYTHON = 30 << 20  # bytes of Python, NumPy and this program, where the system does not say


class Footprint(NamedTuple):
    """What a run takes, and what there is.

    size       bytes at the peak: of all processes together, what they share once, mapped files not at all
    processes  how many
    free       bytes that the run can have, or None where the system does not say
    """

    size: int
    processes: int
    free: int | None

    @property
    def fits(self) -> bool:
        """Return whether there is room, as far as is known."""
        return self.free is None or self.size <= self.free


class _Taken(NamedTuple):
    """Bytes: of the parameters, of these with the optimizer's state, and of what a step takes besides, at its peak."""

    params: float
    state: float
    step: float


def footprint(training: Training) -> Footprint:
    """Return what a run takes, asked in its own process when its text and weights are there and no step is done.

    From 513 symbols on, rows are summed without one-hot matrices, so the miniature has at least 513 too: for a
    vocabulary little larger than that it is nearly as large as the step.
    """
    plan = training.workers().plan
    small, share = _miniature(training, -(-plan.batch_size // plan.processes))
    before = _own()
    _step(small, _begin(small))  # what is loaded at first use, such as compiled loops, stays and is in no step
    taken = _measure(small, share)
    now = _own()
    size = (now or _PYTHON + taken.state) + taken.step
    if training.config.minutes is not None:
        size += taken.state  # the copy on which the speed is measured
    if plan.processes > 1:
        other = _AT_IMPORT + now - before if _AT_IMPORT and now and before else _PYTHON
        size += (plan.processes - 1) * (other + taken.step) + plan.processes * taken.params
    return Footprint(round(size), plan.processes, _free())


def _miniature(training: Training, rows: int) -> tuple[Training, float]:
    """Return the training of a process with so many batch rows, made small, and the share of each size that is left."""
    config, whole = training.config, training.model_config
    predictions, weights = rows * config.seq_len, whole.num_layers * whole.hidden_size + whole.vocab_size
    share = math.sqrt(_NUMBERS / ((predictions + whole.hidden_size + whole.vocab_size) * weights))
    if whole.vocab_size > ONE_HOT_LIMIT:
        share = max(share, (ONE_HOT_LIMIT + 1) / whole.vocab_size)
    share = min(1.0, share)

    def part(size: int) -> int:
        return max(1, round(share * size))

    few = part(rows)
    steps = max(1, round(share * predictions / few))
    small = replace(
        whole,
        vocab_size=part(whole.vocab_size),
        hidden_size=part(whole.hidden_size),
        embed_size=whole.embed_size and part(whole.embed_size),
    )
    ids = np.arange(few * steps + 1) % small.vocab_size
    config = replace(config, batch_size=few, seq_len=steps, threads=1)
    return Training(small, config, Stream(ids, few, steps), ids[:0]), share


def _measure(small: Training, share: float) -> _Taken:
    """Return what the training takes of which this is the miniature: its first step, done and traced."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        state = _begin(small)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        _step(small, state)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if not tracing:
            tracemalloc.stop()
    params, more = (sum(array.nbytes for array in arrays.values()) for arrays in (state.params, state.opt_state))
    return _Taken(*(size / share**2 for size in (params, params + more, peak - before)))


def _begin(training: Training) -> TrainState:
    return training.begin(model.init_params(training.model_config, np.random.default_rng(0)))


def _step(training: Training, state: TrainState) -> None:
    with training.workers() as workers:
        train_step(training, training.optimizer(), 0.0, state, training.stream[0], workers)


def _own() -> int | None:
    """Return the bytes that are this process's own: no mapped files, and nothing shared."""
    return _kilobytes("/proc/self/status", "RssAnon:")


def _free() -> int | None:
    """Return the bytes that this process has or can have without any other giving up its own."""
    own, available = _own(), _kilobytes("/proc/meminfo", "MemAvailable:")
    return None if own is None or available is None else own + available


def _kilobytes(path: str, name: str) -> int | None:
    """Return a figure, in bytes, that Linux tells of in this file."""
    try:
        lines = [line.split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return None
    return next((int(words[1]) << 10 for words in lines if words and words[0] == name), None)


_AT_IMPORT = _own()  # as much as another process holds that has loaded the same
