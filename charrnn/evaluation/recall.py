"""Score windows with a net and its cache: each prediction by the net alone, and by both.

Batch rows are shared between threads of this process, not between processes: each row's entries, half a megabyte for
2,000 positions, stay where they are, and the compiled core lets threads compute at once. A row does not depend on the
others, so neither do the scores on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, IdSource, Mask, Params, Window, aligned
from charrnn.config import ModelConfig
from charrnn.memory.cache import Cache, Entries
from charrnn.memory.gate import fold_of
from charrnn.nn import model
from charrnn.nn.functional import log_prob, log_softmax
from charrnn.parallel.plan import Plan
from charrnn.parallel.threads import Threads

_READ = 256  # characters of a text that fills the memory which are read at once
_BLOCK = 1 << 18  # logits that a thread computes at once: a megabyte of float32


class Carried(NamedTuple):
    """What B batch rows carry from window to window.

    state      (L, S, B, H)
    entries    of the cache; changed in place
    positions  (B,) in the text, of the next predictions
    """

    state: Array
    entries: Entries
    positions: npt.NDArray[np.intp]

    def first(self, rows: int) -> Carried:
        """Return what the first rows carry."""
        own = slice(rows)
        return Carried(self.state[:, :, own], self.entries.only(own), self.positions[own])


class Recall(NamedTuple):
    """How a net's cache is used on a text.

    cache       with the number of positions to remember
    first       what each row remembers from the beginning: the entries of one row that has read another text
    across      True: rows keep their entries where a document ends
    is_fitted   True: the gate was fitted to this text, so each prediction uses the gate of its fold
    """

    cache: Cache
    first: Entries | None = None
    across: bool = False
    is_fitted: bool = False


class Recalling:
    """Scores windows as `Workers` does, with a cache; it is used like them."""

    def __init__(self, plan: Plan, recall: Recall, threads: int) -> None:
        self.plan = plan
        self._recall, self._threads = recall, Threads(threads)
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
        """Return what batch rows carry that begin at these positions of a text: a zero state, and no new entries.

        longest  the most characters between two resets, if that is known
        """
        recall, rows = self._recall, len(positions)
        entries = recall.cache.entries(rows, recall.first, longest)
        return Carried(model.zero_state(self.plan.config, rows), entries, positions)

    def read(self, window: Window, carried: Any) -> Carried:
        """Return what the rows carry after the window; its targets are not used."""

        def read(rows: slice) -> Array:
            own, state = window.rows(rows), aligned(carried.state[:, :, rows])
            h = model.outputs(self._prepared, own.inputs, state, reset=own.reset)
            model.remember(self._prepared, h, own.inputs, state, reset=own.reset)
            self._recall.cache.recall(carried.entries.only(rows), own.inputs, h, reset=self._forgets(own))
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
            entries, forgets = carried.entries.only(rows), self._forgets(own)
            step = max(1, _BLOCK // (h.shape[1] * self.plan.config.vocab_size))
            for at in range(0, len(h), step):
                part = slice(at, at + step)
                read = own._replace(inputs=own.inputs[part], reset=None if own.reset is None else own.reset[part])
                logits = model.logits_after(self._prepared, h[part], read.inputs, state, reset=read.reset)
                targets = own.targets[part].reshape(-1)
                V = logits.shape[-1]
                alone = log_prob(logits.reshape(-1, V).copy(), targets)
                reset = None if forgets is None else forgets[part]
                self._mix(entries, own.inputs[part], h[part], logits, reset, carried.positions[rows] + at)
                both = log_prob(logits.reshape(-1, V), targets)
                for score, found in zip(scores, (*alone, *both), strict=True):
                    score[part, rows] = found.reshape(own.targets[part].shape)
            return state

        states = self._in_threads(score, carried)
        log_probs, correct, both_log_probs, both_correct = scores
        return log_probs, correct, both_log_probs, both_correct, self._after(window, carried, states)

    def _mix(
        self, entries: Entries, ids: Ids, h: Array, logits: Array, reset: Mask | None, begin: npt.NDArray[np.intp]
    ) -> None:
        """Replace the logits by those with the cache.

        begin  (B,) the positions of the first predictions in the text
        """
        cache = self._recall.cache
        if not self._recall.is_fitted:
            cache.recall(entries, ids, h, logits, reset=reset)
            return
        q = logits.copy()
        features = cache.recall(entries, ids, h, q, reset=reset, fitting=True)
        assert features is not None
        logits[...] = cache.mixed(log_softmax(logits), q, features, fold_of(begin + np.arange(len(ids))[:, None]))

    @property
    def _prepared(self) -> model.Weights:
        assert self._weights is not None
        return self._weights

    def _forgets(self, window: Window) -> Mask | None:
        return None if self._recall.across else window.reset

    def _in_threads(self, function: Callable[[slice], Array], carried: Carried) -> Sequence[Array]:
        """Return the function's result for each share of the rows, one for each thread."""
        rows, threads = len(carried.positions), self._threads.count
        shares = [slice(rows * n // threads, rows * (n + 1) // threads) for n in range(threads)]
        return [*self._threads.map(function, [own for own in shares if own.start < own.stop])]

    def _after(self, window: Window, carried: Carried, states: Sequence[Array]) -> Carried:
        return Carried(np.concatenate(states, axis=2), carried.entries, carried.positions + len(window.inputs))


def entries_after(weights: model.Weights, config: ModelConfig, cache: Cache, ids: IdSource) -> Entries:
    """Return the entries of one row that has read a text from a zero state; only the text's end is read.

    Shapes:  ids (N,)
    """
    entries, state = cache.entries(1), model.zero_state(config, 1)
    for at in range(max(0, len(ids) - cache.size - 1), len(ids), _READ):
        window = ids[np.arange(at, min(at + _READ, len(ids)))[:, None]]
        cache.recall(entries, window, model.outputs(weights, window, state))
    return entries
