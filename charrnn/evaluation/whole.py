"""Score a whole text: every character but the first exactly once.

Protocol `whole` reads the text as one batch row, so the state carries through all of it. Protocol `lanes` splits the
text into several batch rows. Each row first reads the characters before its own without scoring them, so that it starts
from nearly the same state as in `whole`; with attention or a memory, at least as many as that looks back. This is
faster, and the results agree to about 0.002 nats. Protocol `windows` starts every 256 characters from a zero state, for
comparison with models that see no further back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import IdSource, Mask, Params, Window
from charrnn.config import ModelConfig
from charrnn.data.stream import window_at
from charrnn.evaluation.recall import Recall, Recalling
from charrnn.evaluation.statistics import COLD_WINDOW, Predictions, Tally
from charrnn.nn.optimizers import clip_by_global_norm
from charrnn.parallel.plan import make_plan, threads_to_use, usual_threads
from charrnn.parallel.workers import Workers

#: What scores windows: a net, or a net and its cache.
Scorer: TypeAlias = Workers | Recalling

WARM_UP = 512  # unscored characters that each batch row but the first reads before its own, at least
_WINDOW = 128  # time steps of one forward pass: bounds memory, changes no result
_WORTH_SHARING = 3 * 10**10  # multiplications, about a second: with more, a second process is worth its start
_DYNAMIC_WINDOW, _DYNAMIC_RATE, _DYNAMIC_DECAY = 50, 0.4, 0.001


def warm_up_of(config: ModelConfig, recall: Recall | None = None) -> int:
    """Return how many characters each batch row but the first reads before its own, unscored."""
    return max(WARM_UP, config.attention, 0 if recall is None else recall.memory.size)


def rows_for(config: ModelConfig, chars: int, batch_size: int, recall: Recall | None = None) -> int:
    """Return how many batch rows to split a text into: at most `batch_size`, none much shorter than its warm-up."""
    return max(1, min(batch_size, chars // warm_up_of(config, recall)))


def workers_for(
    config: ModelConfig, params: Params, chars: int, rows: int, threads: int | None = None, recall: Recall | None = None
) -> Scorer:
    """Return workers that score a text in batch rows: several only if the text has characters enough for them.

    threads: as many as suit the layers if None
    recall:  score with the model's cache, too
    Raises:  ConfigError if threads is out of range.
    """
    count = threads_to_use(threads)
    if recall is not None:
        return Recalling(make_plan(config, None, rows, _WINDOW, 1), recall, min(count, rows))
    if threads is None:
        count = usual_threads(config, rows, _WINDOW, count)
    work = make_plan(config, None, rows, _WINDOW, count)
    if not is_worth_sharing(chars, params):
        work = work._replace(processes=1, threads=count)
    return Workers(work)


def is_worth_sharing(chars: int, params: Params) -> bool:
    """Return whether so many characters are work enough for several processes."""
    return chars * sum(array.size for array in params.values()) >= _WORTH_SHARING


def predictions(
    params: Params,
    workers: Scorer,
    ids: IdSource,
    rows: int = 1,
    *,
    cold: bool = False,
    end: int | None = None,
    tab: int | None = None,
) -> Iterator[Predictions]:
    """Yield every prediction of the text that counts once, a window at a time.

    rows: batch rows to split the text into; with `cold`, windows to read side by side
    cold: True: start every 256 predictions from a zero state; False: carry the state through each row
    end:  id of the end mark between documents, as for `Stream`: each document starts from a zero state, and its end
          mark is predicted too
    tab:  id of the tab, as for `Stream`: only predictions in targets count
    Shapes:  ids (N,); N - 1 predictions if all count
    """
    total = len(ids) - 1
    workers.set_params(params)
    if cold:
        for begin in range(0, total, COLD_WINDOW * rows):
            indices = np.arange(begin, min(begin + COLD_WINDOW * rows, total))
            since_zero = _since_zero(ids, indices, end)
            for scored in _read_rows(workers, ids, indices[::COLD_WINDOW], COLD_WINDOW, end, tab):
                yield scored._replace(since_zero=since_zero[scored.indices - begin])
    elif total > 0:
        length = -(-total // rows)
        recall = workers.recall if isinstance(workers, Recalling) else None
        warm_up = warm_up_of(workers.plan.config, recall) if rows > 1 else 0
        yield from _read_rows(workers, ids, np.arange(rows) * length, length, end, tab, warm_up)


def _since_zero(ids: IdSource, indices: npt.NDArray[np.intp], end: int | None) -> npt.NDArray[np.intp]:
    """Return the number of predictions since the last zero state at each of these indices, in cold windows."""
    zero = indices % COLD_WINDOW == 0
    if end is not None:
        zero |= ids[indices] == end
    return indices - np.maximum.accumulate(np.where(zero, indices, 0))


def _read_rows(
    workers: Scorer,
    ids: IdSource,
    starts: npt.NDArray[np.intp],
    length: int,
    end_mark: int | None,
    tab: int | None,
    warm_up: int = 0,
) -> Iterator[Predictions]:
    """Yield the predictions that count of batch rows of this length that begin at `starts`, after an unscored warm-up.

    Rows may reach beyond the text's end, and warm-ups beyond its beginning: indices there are clipped, not scored.
    """
    total, window = len(ids) - 1, workers.plan.seq_len
    state: Any = workers.start(starts - warm_up)
    for begin in [*range(-warm_up, 0, window), *range(0, length, window)]:
        end = min(begin + window, length if begin >= 0 else 0)
        indices = starts + np.arange(begin, end)[:, None]
        read = window_at(ids, indices.clip(0, total - 1), end_mark, tab)
        if begin < 0:
            state = workers.read(read, state)
            continue
        *scores, state = workers.score(read, state)
        yield _chosen(indices, scores, _scored(read, indices < total))


def _scored(window: Window, inside: Mask) -> Mask:
    """Return which predictions of a window count, of those inside the text."""
    return inside if window.counted is None else inside & window.counted


def _chosen(indices: npt.NDArray[np.intp], scores: Sequence[Any], scored: Mask) -> Predictions:
    """Return those predictions of a window that are scored."""
    log_probs, correct, *both = (array[scored] for array in scores)
    return Predictions(indices[scored], log_probs, correct, (both[0], both[1]) if both else None)


def dynamic_predictions(
    params: Params,
    config: ModelConfig,
    ids: IdSource,
    end: int | None = None,
    tab: int | None = None,
    threads: int | None = None,
    recall: Recall | None = None,
) -> Iterator[Predictions]:
    """Yield the predictions of a model that learns from the text as it reads it.

    Each window is scored, then learned from by a step down its gradient; the weights also decay towards `params`,
    which is left unchanged. Attention's own weights stay as they are: rates that suit the net make its memory worse.
    end, tab: as for `predictions`; the gradient is of the predictions that count
    recall:   score with the model's cache, too
    Source:  Krause et al. 2018, dynamic evaluation by SGD. Rates chosen on tiny Shakespeare's validation split.
    """
    total, start = len(ids) - 1, np.zeros(1, np.intp)
    config = replace(config, dropout=0.0, input_dropout=0.0, weight_drop=0.0)
    learned = {name: array.copy() for name, array in params.items()}
    plan = make_plan(config, None, 1, _DYNAMIC_WINDOW, threads_to_use(threads))
    with Workers(plan) as workers, ExitStack() as stack:
        scorer: Scorer = workers if recall is None else stack.enter_context(Recalling(plan, recall, 1))
        state = workers.start(start)
        carried: Any = scorer.start(start)
        for begin in range(0, total, _DYNAMIC_WINDOW):
            indices = np.arange(begin, min(begin + _DYNAMIC_WINDOW, total))[:, None]
            window = window_at(ids, indices, end, tab)
            for each in {workers, scorer}:
                each.set_params(learned)
            *scores, carried = scorer.score(window, carried)
            yield _chosen(indices, scores, _scored(window, indices < total))
            _, state, grads = workers.gradients(window, state, 0)
            grads = {name: grad for name, grad in grads.items() if not name.startswith("attention.")}
            clip_by_global_norm(grads, 1.0)
            for name, grad in grads.items():
                learned[name] -= _DYNAMIC_RATE * grad + _DYNAMIC_DECAY * (learned[name] - params[name])


def tally(
    params: Params,
    workers: Scorer,
    ids: IdSource,
    rows: int = 1,
    *,
    end: int | None = None,
    tab: int | None = None,
) -> Iterator[Tally]:
    """Yield the running tally of a text, read as `predictions` does; the last one is the result."""
    total = Tally()
    if len(ids) < 2:
        yield total
    for scored in predictions(params, workers, ids, rows, end=end, tab=tab):
        total = total.plus(scored)
        yield total
