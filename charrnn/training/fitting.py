"""Fit the memory of a trained model: keys and n-grams to the training text, gates to the validation split.

The weights stay as they are. Several sizes and sharpnesses are tried side by side in one pass over the text, and the
figures that decide between them are out of fold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, IdSource, Params, Window
from charrnn.config import ModelConfig
from charrnn.data.stream import window_at
from charrnn.errors import CorpusError
from charrnn.evaluation.baselines import learned_from
from charrnn.memory.adaptive import Adaptive
from charrnn.memory.cache import FEATURES, KEY_SIZE, Cache
from charrnn.memory.gate import fit_folds, fold_of, shares
from charrnn.memory.grams import FEATURES as GRAM_FEATURES
from charrnn.memory.grams import Grams
from charrnn.memory.memory import Memory
from charrnn.memory.ngram import NGrams
from charrnn.memory.trie import Trie
from charrnn.nn import model
from charrnn.nn.functional import softmax
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
_CERTAIN = (
    3  # standard errors of its gain that a cache gains at least: with fewer, random texts seem to repeat themselves
)


class MemoryFitted(NamedTuple):
    """A cache was fitted to the best model.

    alone, both  the loss on the text that it was fitted to, in nats per character: of the net, and with the cache, out
                 of fold
    chars        of the validation split that it was fitted to
    """

    cache: Cache
    alone: float
    both: float
    chars: int


def fit_cache(
    params: Params,
    config: ModelConfig,
    train_ids: IdSource,
    val_ids: IdSource,
    *,
    end: int | None,
    tab: int | None = None,
    trained: int,
    text: str,
    threads: int,
) -> MemoryFitted | None:
    """Return the cache that suits the model best; of size 0 if none helps; None if there is too little text.

    end      id of the end mark between documents, where the cache forgets
    tab      id of the tab, if only predictions in targets count: then the gate is fitted to these
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
    kept = _kept(val_ids, indices, end, tab)
    alone, found = alone.reshape(-1)[kept], found.reshape(len(caches), -1)[:, kept]
    features = np.moveaxis(features, 1, -1).reshape(len(caches), -1, FEATURES)[:, kept]
    folds = fold_of(indices).reshape(-1)[kept]
    if len(folds) < LEAST:
        return None
    net_loss = -float(np.log(alone).mean())
    fitted = []
    for cache, q, own in zip(caches, found, features, strict=True):
        gates = fit_folds(own, alone, q, folds)
        share = shares(own, gates, folds)
        gains = np.log((1 - share) * alone + share * q) - np.log(alone)
        error = float(gains.std()) / math.sqrt(len(gains))
        loss = net_loss - float(gains.mean())
        fitted.append((MemoryFitted(replace(cache, gates=gates, fitted_to=text), net_loss, loss, len(gains)), error))
    best, error = min(fitted, key=lambda one: one[0].both + (_WORTH if one[0].cache.size > SIZE else 0))
    if best.alone - best.both < max(_WORTH, _CERTAIN * error):
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

    While a cache is empty, its probabilities are those of the net, so that no gate learns from them.
    Shapes:  indices (N, B), each column in a row · returns (N, B), (C, N, B), (C, FEATURES, N, B)
    """
    shape = indices.shape
    entries = [cache.entries(shape[1]) for cache in caches]
    alone, found = np.empty(shape), np.empty((len(caches), *shape))
    features = np.empty((len(caches), FEATURES, *shape))
    for part, window, h, logits in _read(weights, config, ids, indices, end):
        p = alone[part] = _picked(softmax(logits), window.targets)
        for n, (cache, own) in enumerate(zip(caches, entries, strict=True)):
            q = logits.copy()
            seen = cache.recall(own, window.inputs, h, q, reset=window.reset, fitting=True)
            assert seen is not None
            features[n, :, part] = np.moveaxis(seen, -1, 0)
            found[n, part] = np.where(q.any(axis=-1), _picked(q, window.targets), p)
    return alone, found, features


def _read(
    weights: model.Weights, config: ModelConfig, ids: IdSource, indices: npt.NDArray[np.intp], end: int | None
) -> Iterator[tuple[slice, Window, Array, Array]]:
    """Yield windows of a text: where each is in its row, the window, the last layer's outputs, and the logits.

    Shapes:  indices (N, B) of the predictions
    """
    state = model.zero_state(config, indices.shape[1])
    for at in range(0, len(indices), _WINDOW):
        part = slice(at, at + _WINDOW)
        window = window_at(ids, indices[part], end)
        h = model.outputs(weights, window.inputs, state, reset=window.reset)
        yield part, window, h, model.logits_by_row(weights, h, window.inputs, state, reset=window.reset)


def _kept(
    ids: IdSource, indices: npt.NDArray[np.intp], end: int | None, tab: int | None
) -> slice | npt.NDArray[np.bool_]:
    """Return which predictions count, in the order of the flattened indices (N, B).

    Shapes:  returns (N B,)
    """
    if tab is None or not len(indices):
        return slice(None)
    counted = window_at(ids, indices, end, tab).counted
    assert counted is not None
    return counted.reshape(-1)


def _picked(values: Array, targets: Ids) -> Array:
    """Return the values (T, B, V) of the targets (T, B)."""
    picked: Array = np.take_along_axis(values, targets[..., None], -1)[..., 0]
    return picked


def fit_grams(
    params: Params,
    config: ModelConfig,
    cache: Cache | None,
    train_ids: IdSource,
    val_ids: IdSource,
    *,
    end: int | None,
    tab: int | None = None,
    adaptive: bool,
) -> Grams:
    """Return n-gram models that are mixed with a model and its cache, with gates fitted to the validation split.

    tab       as for `fit_cache`
    adaptive  True: also count what is read
    Raises:   CorpusError if the validation split is too short.
    """
    total = min(len(val_ids) - 1, _MOST)
    rows = max(1, min(_ROWS, total // _ROW))
    indices = np.arange(max(0, total) // rows * rows).reshape(rows, -1).T
    folds, kept = fold_of(indices), _kept(val_ids, indices, end, tab)
    if len(folds.reshape(-1)[kept]) < LEAST:
        raise CorpusError(
            f"--with-ngram fits a gate to the validation split, which has fewer than {LEAST:,} characters: leave it out"
        )
    V, weights = config.vocab_size, model.prepare(params, config)
    counted = NGrams.of(learned_from(train_ids), V).best_on(val_ids[np.arange(total + 1)])
    grams = Grams(Trie.of(counted), Adaptive(V) if adaptive else None)
    memory = Memory(cache)
    remembered, context = memory.start(rows), grams.start(rows)
    models = 2 if adaptive else 1
    mixed, found = np.empty(indices.shape), np.empty((models, *indices.shape))
    features = np.empty((models, *indices.shape, GRAM_FEATURES))
    for part, window, h, logits in _read(weights, config, val_ids, indices, end):
        memory.recall(remembered, window.inputs, h, logits, reset=window.reset, folds=folds[part])
        p = softmax(logits)
        mixed[part] = _picked(p, window.targets)
        for n, (q, seen) in enumerate(grams.look_up(context, window.inputs, p, window.reset)):
            found[n, part], features[n, part] = _picked(q, window.targets), seen
    gates = []
    for q, own in zip(found, features, strict=True):
        flat = own.reshape(-1, GRAM_FEATURES)
        gates.append(fit_folds(flat[kept], mixed.reshape(-1)[kept], q.reshape(-1)[kept], folds.reshape(-1)[kept]))
        share = shares(own, gates[-1], folds)
        mixed = (1 - share) * mixed + share * q
    return replace(grams, gates=tuple(gates))
