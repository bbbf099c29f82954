"""A forecast of the memory that a training run takes, made before its first step.

The size of nearly every array of a step is the product of two of these: predictions (rows x time steps), batch rows,
units, symbols, embedding size. So one step is traced in miniature: each of them is scaled by the same factor, and the
peak is divided by the square of that factor. No formula has to know the arrays of cells, dropout and optimizers. The
memory of Python, the text and the weights is in use already, so the system reports it.
"""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from charrnn.data.stream import Stream
from charrnn.nn import model
from charrnn.nn.functional import ONE_HOT_LIMIT
from charrnn.system.ram import free_bytes, own_bytes
from charrnn.training.loop import Training, TrainState, train_step

_NUMBERS = 2**16  # elements of the miniature's largest arrays, about: it takes 1 to 4 MB and some 20 ms
_PYTHON = 30 << 20  # bytes of Python, NumPy and this program, if the system does not report them


class Footprint(NamedTuple):
    """The memory that a run takes, and the memory that is free.

    size       bytes at the peak of all processes; shared memory counts once, mapped files do not count
    processes  number of processes
    free       bytes that the run can have; None if the system does not report them
    """

    size: int
    processes: int
    free: int | None

    @property
    def fits(self) -> bool:
        """Return whether the run fits into memory, as far as is known."""
        return self.free is None or self.size <= self.free


class _Taken(NamedTuple):
    """Bytes of the parameters, of these with the optimizer's state, and of the arrays of a step at its peak."""

    params: float
    state: float
    step: float


def footprint(training: Training) -> Footprint:
    """Return the memory of a run; call it in the run's own process, with text and weights loaded, before any step.

    A copy of the state counts too: the one on which the speed is measured and, later, the last good state.

    With more than 512 symbols, rows are summed without one-hot matrices, so the miniature has at least 513 too: with
    slightly more symbols than that, it is nearly as large as the step.
    """
    plan = training.workers().plan
    small, share = _miniature(training, -(-plan.batch_size // plan.processes))
    before = own_bytes()
    _step(small, _begin(small))  # loads everything that loads at first use, such as compiled loops
    taken = _measure(small, share)
    now = own_bytes()
    size = (now or _PYTHON + taken.state) + taken.state + taken.step
    if training.ranks:
        size += 2 * taken.params  # gradients to be summed: this rank's, and its shards of those of all ranks
    if plan.processes > 1:
        other = _AT_IMPORT + now - before if _AT_IMPORT and now and before else _PYTHON
        size += (plan.processes - 1) * (other + taken.step) + (plan.processes + 1) * taken.params
    return Footprint(round(size), plan.processes, free_bytes())


def _miniature(training: Training, rows: int) -> tuple[Training, float]:
    """Return a miniature of the training of one process with this many batch rows, and its scale factor."""
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
        attention=whole.attention and part(whole.attention),
    )
    ids = np.arange(few * steps + 1) % small.vocab_size
    config = replace(config, batch_size=few, seq_len=steps, threads=1)
    return Training(small, config, Stream(ids, few, steps), ids[:0]), share


def _measure(small: Training, share: float) -> _Taken:
    """Trace the first step of a miniature; return the memory of the training that it models."""
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


_AT_IMPORT = own_bytes()  # a worker process has imported as much
