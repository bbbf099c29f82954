"""Score windows with a net and its memory: each prediction by the net alone, and by both.

Batch rows are shared between threads of this process, not between processes: each row's entries, a quarter of a
megabyte for 2,000 positions, stay where they are, and the compiled core lets threads compute at once. A row does not
depend on the others, so neither do the scores on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, IdSource, Mask, Params, Window, aligned
from charrnn.config import ModelConfig
from charrnn.memory.gate import fold_of
from charrnn.memory.memory import Memory, Remembered
from charrnn.nn import compiled, model
from charrnn.nn.cells import cell_of
from charrnn.nn.functional import log_prob
from charrnn.parallel.plan import Plan
from charrnn.parallel.threads import Threads

_READ = 256  # characters of a text that fills the memory which are read at once
_BLOCK = 1 << 18  # logits that all threads compute at once: a megabyte of float32


class Carried(NamedTuple):
    """What B batch rows carry from window to window.

    state       (L, S, B, H)
    remembered  by the memory; changed in place
    positions   (B,) in the text, of the next predictions
    """

    state: Array
    remembered: Remembered
    positions: npt.NDArray[np.intp]

    def first(self, rows: int) -> Carried:
        """Return what the first rows carry."""
        own = slice(rows)
        return Carried(self.state[:, :, own], self.remembered.only(own), self.positions[own])


class Recall(NamedTuple):
    """How a model's memory is used on a text.

    first      what each row remembers from the beginning: what one row has read of another text
    across     True: rows remember a document when it ends
    is_fitted  True: the gates were fitted to this text, so each prediction uses those of its fold
    """

    memory: Memory
    first: Remembered | None = None
    across: bool = False
    is_fitted: bool = False


class Recalling:
    """Scores windows as `Workers` does, with a memory; it is used like them.

    There is one thread where more would not help, as n-gram models compute in Python; or where they would change
    results, as NumPy's products with fewer rows may have other bits.
    """

    def __init__(self, plan: Plan, recall: Recall, threads: int) -> None:
        self.plan = plan
        alone = recall.memory.grams is not None or not compiled.core() or cell_of(plan.config.cell).layer is None
        self.recall, self._threads = recall, Threads(1 if alone else threads)
        self._weights: model.Weights | None = None
        self._open = ExitStack()

    def __enter__(self) -> Recalling:
        self._open.enter_context(self._threads)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def set_params(self, params: Params) -> None:
        """Use these parameters from now on."""
        self._weights = model.prepare(params, self.plan.config)

    def start(self, positions: npt.NDArray[np.intp], longest: int | None = None) -> Carried:
        """Return what batch rows carry that begin at these positions of a text: a zero state, and an empty memory.

        longest  the most characters between two resets, if that is known
        """
        recall, rows = self.recall, len(positions)
        remembered = recall.memory.start(rows, recall.first, longest)
        return Carried(model.zero_state(self.plan.config, rows), remembered, positions)

    def read(self, window: Window, carried: Any) -> Carried:
        """Return what the rows carry after the window; its targets are not used."""

        def read(rows: slice) -> Array:
            own, state = window.rows(rows), aligned(carried.state[:, :, rows])
            h = model.outputs(self._prepared, own.inputs, state, reset=own.reset)
            model.remember(self._prepared, h, own.inputs, state, reset=own.reset)
            self.recall.memory.recall(
                self._own(carried, rows), own.inputs, h, reset=self._forgets(own, carried.positions[rows])
            )
            return state

        states = self._in_threads(read, carried)
        return self._after(window, carried, states)

    def score(self, window: Window, carried: Any) -> tuple[Any, ...]:
        """Return the targets' log-probabilities, and whether each was the most likely symbol, by the net alone.

        Then the same with the cache, and what the rows carry after the window.
        Shapes:  window (T, B) · returns (T, B), (T, B), (T, B), (T, B)
        Units:   nats.
        """
        scores = tuple(np.empty(window.inputs.shape, dtype) for dtype in 2 * (carried.state.dtype, np.bool_))

        def score(rows: slice) -> Array:
            own, state = window.rows(rows), aligned(carried.state[:, :, rows])
            h = model.outputs(self._prepared, own.inputs, state, reset=own.reset)
            remembered, forgets = self._own(carried, rows), self._forgets(own, carried.positions[rows])
            step = max(1, _BLOCK // (len(carried.positions) * self.plan.config.vocab_size))
            for at in range(0, len(h), step):
                part = slice(at, at + step)
                read = own._replace(inputs=own.inputs[part], reset=None if own.reset is None else own.reset[part])
                logits = model.logits_by_row(self._prepared, h[part], read.inputs, state, reset=read.reset)
                targets = own.targets[part].reshape(-1)
                V = logits.shape[-1]
                alone = log_prob(logits.reshape(-1, V).copy(), targets)
                reset = None if forgets is None else forgets[part]
                folds = self._folds(carried.positions[rows] + at, len(read.inputs))
                self.recall.memory.recall(remembered, read.inputs, h[part], logits, reset=reset, folds=folds)
                both = log_prob(logits.reshape(-1, V), targets)
                for score, found in zip(scores, (*alone, *both), strict=True):
                    score[part, rows] = found.reshape(own.targets[part].shape)
            return state

        states = self._in_threads(score, carried)
        log_probs, correct, both_log_probs, both_correct = scores
        return log_probs, correct, both_log_probs, both_correct, self._after(window, carried, states)

    def _own(self, carried: Carried, rows: slice) -> Remembered:
        """Return what these rows remember, to be changed in place."""
        return carried.remembered if self._threads.count == 1 else carried.remembered.only(rows)

    def _folds(self, begin: npt.NDArray[np.intp], steps: int) -> npt.NDArray[np.intp] | None:
        """Return the folds of a window's predictions; None unless the gates were fitted to this text.

        Shapes:  begin (B,) · returns (T, B)
        """
        return fold_of(begin + np.arange(steps)[:, None]) if self.recall.is_fitted else None

    @property
    def _prepared(self) -> model.Weights:
        assert self._weights is not None
        return self._weights

    def _forgets(self, window: Window, begin: npt.NDArray[np.intp]) -> Mask | None:
        """Return where rows forget: where the state is reset, or only up to the text's beginning."""
        if not self.recall.across:
            return window.reset
        return begin + np.arange(len(window.inputs))[:, None] <= 0

    def _in_threads(self, function: Callable[[slice], Array], carried: Carried) -> Sequence[Array]:
        """Return the function's result for each share of the rows, one for each thread."""
        rows, threads = len(carried.positions), self._threads.count
        shares = [slice(rows * n // threads, rows * (n + 1) // threads) for n in range(threads)]
        return [*self._threads.map(function, [own for own in shares if own.start < own.stop])]

    def _after(self, window: Window, carried: Carried, states: Sequence[Array]) -> Carried:
        return Carried(np.concatenate(states, axis=2), carried.remembered, carried.positions + len(window.inputs))


def remembered_after(
    weights: model.Weights, config: ModelConfig, memory: Memory, ids: IdSource, end: int | None = None
) -> Remembered:
    """Return what one row remembers that has read a text from a zero state; without n-grams only its end is read.

    end  id of the end mark between documents: all of them are remembered, and each is read from a zero state
    Shapes:  ids (N,)
    """
    remembered, state = memory.start(1), model.zero_state(config, 1)
    for at in range(0 if memory.grams else max(0, len(ids) - memory.size - 1), len(ids), _READ):
        window = ids[np.arange(at, min(at + _READ, len(ids)))[:, None]]
        reset = None if end is None else window == end
        h = model.outputs(weights, window, state, reset=reset)
        model.remember(weights, h, window, state, reset=reset)
        memory.recall(remembered, window, h)
    return remembered
