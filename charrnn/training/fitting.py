"""Fit the cache of a trained model: its keys to the training text, its gate to the validation split.

The weights stay as they are. Several sizes and sharpnesses are tried side by side in one pass over the text, and the
figures that decide between them are out of fold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, IdSource, Params
from charrnn.config import ModelConfig
from charrnn.data.stream import window_at
from charrnn.memory.cache import FEATURES, KEY_SIZE, Cache
from charrnn.memory.gate import fit_folds, fold_of, shares
from charrnn.nn import model
from charrnn.nn.functional import log_prob
from charrnn.parallel.threads import side_by_side

SIZE = 2_000  # positions to remember, usually
_CANDIDATES = ((SIZE, 15.0), (SIZE, 25.0), (SIZE, 40.0), (10_000, 25.0))  # sizes, with the sharpness of each
#: Characters of the validation split that a cache is fitted to, at least.
LEAST = 1_000
_MOST = 40_000  # and at most
_TRAINED_SHARE = 100  # one character for so many that were trained on: the fit takes about a hundredth of the run
_ROWS, _ROW = 4, 10_000  # batch rows, at most; and characters of each, at least, if there are so many
_SAMPLE = 16, 1_024  # batch rows and characters of the training text for the keys
_WINDOW = 128
_WORTH = 0.002  # nats per character that a cache, or a larger one, gains at least


class MemoryFitted(NamedTuple):
    """A cache was fitted to the best model.

    alone, both  the loss on the text that it was fitted to, in nats per character: of the net, and with the cache, out
                 of fold
    """

    cache: Cache
    alone: float
    both: float


def fit_cache(
    params: Params,
    config: ModelConfig,
    train_ids: IdSource,
    val_ids: IdSource,
    *,
    end: int | None,
    trained: int,
    text: str,
    threads: int,
) -> MemoryFitted | None:
    """Return the cache that suits the model best; of size 0 if none helps; None if there is too little text.

    end      id of the end mark between documents, where the cache forgets
    trained  characters that the model was trained on, which limits how many are read
    text     the hash of the validation split
    """
    total = min(len(val_ids) - 1, _MOST, max(LEAST, trained // _TRAINED_SHARE))
    if total < LEAST:
        return None
    weights = model.prepare(params, config)
    mean, projection = _keys(weights, config, train_ids)
    unfitted = replace(Cache.unfitted(config.hidden_size, config.dtype), mean=mean, projection=projection)
    caches = [
        replace(unfitted, size=size, sharpness=sharpness)
        for size, sharpness in _CANDIDATES
        if size < total or size == SIZE
    ]
    rows = max(1, min(_ROWS, total // _ROW))
    indices = np.arange(total // rows * rows).reshape(rows, -1).T

    def look_up(own: slice) -> tuple[Array, Array, Array]:
        return _looked_up(weights, config, caches, val_ids, indices[:, own], end)

    count = min(rows, threads)
    shared = [slice(rows * n // count, rows * (n + 1) // count) for n in range(count)]
    parts = zip(*side_by_side(look_up, shared, count), strict=True)
    alone, found, features = (np.concatenate(part, axis=-1) for part in parts)
    alone, found = alone.reshape(-1), found.reshape(len(caches), -1)
    features = np.moveaxis(features, 1, -1).reshape(len(caches), -1, FEATURES)
    folds = fold_of(indices).reshape(-1)
    net_loss = -float(np.log(alone).mean())
    fitted = []
    for cache, q, own in zip(caches, found, features, strict=True):
        gates = fit_folds(own, alone, q, folds)
        share = shares(own, gates, folds)
        loss = -float(np.log((1 - share) * alone + share * q).mean())
        fitted.append(MemoryFitted(replace(cache, gates=gates, fitted_to=text), net_loss, loss))
    best = min(fitted, key=lambda one: one.both + (_WORTH if one.cache.size > SIZE else 0))
    if best.alone - best.both < _WORTH:
        best = best._replace(cache=best.cache.with_size(0))
    return best


def _keys(weights: model.Weights, config: ModelConfig, ids: IdSource) -> tuple[Array, Array]:
    """Return the mean of the hidden states in a sample of the text, and the projection on their main directions.

    Shapes:  returns (H,), (H, D)
    """
    rows, length = _SAMPLE
    length = max(1, min(length, len(ids) - 1))
    starts = np.linspace(0, len(ids) - 1 - length, rows).astype(np.intp)
    read = ids[starts + np.arange(length)[:, None]]
    h = model.outputs(weights, read, model.zero_state(config, rows)).reshape(-1, config.hidden_size)
    mean = h.mean(axis=0, dtype=np.float64)
    centred = h - mean
    _, directions = np.linalg.eigh(centred.T @ centred)
    main = directions[:, ::-1][:, :KEY_SIZE]
    return mean.astype(config.dtype), np.ascontiguousarray(main, config.dtype)


def _looked_up(
    weights: model.Weights,
    config: ModelConfig,
    caches: list[Cache],
    ids: IdSource,
    indices: npt.NDArray[np.intp],
    end: int | None,
) -> tuple[Array, Array, Array]:
    """Return the probabilities of these targets by the net and by C caches, and the features of the gates.

    Shapes:  indices (N, B), each column in a row · returns (N, B), (C, N, B), (C, FEATURES, N, B)
    """
    shape, state = indices.shape, model.zero_state(config, indices.shape[1])
    entries = [cache.entries(shape[1]) for cache in caches]
    alone, found = np.empty(shape), np.empty((len(caches), *shape))
    features = np.empty((len(caches), FEATURES, *shape))
    for at in range(0, len(indices), _WINDOW):
        part = slice(at, at + _WINDOW)
        window = window_at(ids, indices[part], end)
        h = model.outputs(weights, window.inputs, state, reset=window.reset)
        logits = model.logits_after(weights, h, window.inputs, state, reset=window.reset)
        for n, (cache, own) in enumerate(zip(caches, entries, strict=True)):
            q = logits.copy()
            seen = cache.recall(own, window.inputs, h, q, reset=window.reset, fitting=True)
            assert seen is not None
            features[n, :, part] = np.moveaxis(seen, -1, 0)
            found[n, part] = np.take_along_axis(q, window.targets[..., None], -1)[..., 0]
        scored, _ = log_prob(logits.reshape(-1, logits.shape[-1]), window.targets.reshape(-1))
        alone[part] = np.exp(scored, dtype=np.float64).reshape(window.targets.shape)
    return alone, found, features
