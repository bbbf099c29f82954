"""The continuous cache: against its equations written out, and whatever way a text is read."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError
from charrnn.memory import cache as module
from charrnn.memory.cache import FEATURES, Cache, Entries, check_memory
from charrnn.memory.gate import FOLDS, shares
from charrnn.nn.functional import log_softmax

pytestmark = pytest.mark.usefixtures("computed_by")
T, B, V, H, N = 300, 3, 11, 24, 40
RNG = np.random.default_rng(1)
IDS = RNG.integers(0, V, (T, B))
OUTPUTS = 0.1 * RNG.standard_normal((T, B, H)).cumsum(axis=0)
OUTPUTS[T // 2 :] = OUTPUTS[: T - T // 2] + 0.01 * RNG.standard_normal((T - T // 2, B, H))  # the text repeats itself
LOGITS = RNG.standard_normal((T, B, V))
RESET = RNG.random((T, B)) < 0.03
GATES = np.tile(0.3 * RNG.standard_normal(FEATURES + 1), (1 + FOLDS, 1))
PROJECTION = RNG.standard_normal((H, 16))


def make_cache(dtype=np.float64, **settings):
    mean = OUTPUTS.mean(axis=(0, 1))
    return Cache(
        **{"size": N, "sharpness": 20.0, "mean": mean.astype(dtype), "gates": GATES} | settings,
        projection=PROJECTION.astype(dtype),
    )


def recalled(cache, entries, chunks=(T,), reset=RESET, dtype=np.float64, h=OUTPUTS, logits=LOGITS):
    """Return the mixed logits of a text that is read in chunks of these sizes."""
    logits, at = logits.astype(dtype), 0
    for size in chunks:
        part = slice(at, at + size)
        own = None if reset is None else reset[part]
        cache.recall(entries, IDS[part], h[part].astype(dtype), logits[part], reset=own)
        at += size
    assert at == T
    return logits


def oracle(cache, b, first=()):
    """Return the mixed log-probabilities of one row, position by position; first: (key, id) pairs in memory before."""
    keys = (OUTPUTS[:, b] - cache.mean) @ cache.projection
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    memory, result = list(first), []
    for t in range(T):
        if RESET[t, b]:
            memory = list(first)
        elif t:
            memory.append((keys[t - 1], IDS[t, b]))
        seen = memory[-cache.size :]
        log_p = log_softmax(LOGITS[t, b])
        if seen:
            p, q = np.exp(log_p), np.zeros(V)
            near = [keys[t] @ key for key, _ in seen]
            weights = [np.exp(cache.sharpness * each) for each in near]
            for weight, (_, id_) in zip(weights, seen, strict=True):
                q[id_] += weight / sum(weights)
            features = [
                *(max(near), np.log(sum(weights)), np.log(p @ p), np.log(q @ q), np.log(p @ q + 1e-6)),
                *(max(p), max(q), np.log(1 + len(seen))),
            ]
            share = min(0.999, 1 / (1 + np.exp(-(features @ cache.gates[0, :-1] + cache.gates[0, -1]))))
            log_p = np.log((1 - share) * p + share * q)
        result.append(log_p)
    return np.array(result)


def test_against_its_equations():
    cache = make_cache()
    found = recalled(cache, cache.entries(B))
    for b in range(B):
        np.testing.assert_allclose(found[:, b], oracle(cache, b), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_sum_to_one(dtype):
    cache = make_cache(dtype)
    sums = np.exp(recalled(cache, cache.entries(B), dtype=dtype)).sum(axis=-1)
    np.testing.assert_allclose(sums, 1, atol=1e-6)


@pytest.mark.parametrize("chunks", [[1] * T, [7] * 42 + [6], [100, 199, 1]])
def test_chunks_give_the_bits_of_the_whole(chunks):
    cache = make_cache(np.float32)
    whole = recalled(cache, cache.entries(B), dtype=np.float32)
    assert np.array_equal(recalled(cache, cache.entries(B), chunks, dtype=np.float32), whole)


def test_a_row_does_not_depend_on_the_others():
    cache = make_cache(np.float32)
    whole, own = recalled(cache, cache.entries(B), dtype=np.float32), LOGITS[:, 1:2].astype(np.float32)
    cache.recall(cache.entries(1), IDS[:, 1:2], OUTPUTS[:, 1:2].astype(np.float32), own, reset=RESET[:, 1:2])
    assert np.array_equal(own[:, 0], whole[:, 1])


def test_a_reset_is_a_fresh_start():
    cache = make_cache()
    reset = np.zeros((T, B), bool)
    reset[123] = True
    found, fresh = recalled(cache, cache.entries(B), reset=reset), LOGITS[123:].copy()
    cache.recall(cache.entries(B), IDS[123:], OUTPUTS[123:], fresh)
    np.testing.assert_allclose(found[123:], fresh, rtol=1e-12)


def test_an_empty_memory_changes_nothing():
    cache, logits = make_cache(), LOGITS[:1].copy()
    cache.recall(cache.entries(B), IDS[:1], OUTPUTS[:1], logits)
    np.testing.assert_allclose(logits, log_softmax(LOGITS[:1]), rtol=1e-12)


@pytest.mark.parametrize("read", [5, 60])  # fewer positions than are remembered, and more
def test_every_row_begins_with_the_text_that_was_read_first(read):
    cache = make_cache(size=30)
    first = cache.entries(1)
    cache.recall(first, IDS[:read, :1], OUTPUTS[:read, :1])
    keys = (OUTPUTS[:read, 0] - cache.mean) @ cache.projection
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    begin = [(keys[t], IDS[t + 1, 0]) for t in range(read - 1)]
    found = recalled(cache, cache.entries(B, first))
    for b in range(B):
        np.testing.assert_allclose(found[:, b], oracle(cache, b, begin), rtol=1e-9, atol=1e-9)


def test_fitting_returns_what_mixes_to_the_same():
    cache = make_cache()
    q = LOGITS.copy()
    features = cache.recall(cache.entries(B), IDS, OUTPUTS, q, reset=RESET, fitting=True)
    empty = ~q.any(axis=-1)
    np.testing.assert_allclose(q.sum(axis=-1)[~empty], 1)
    assert empty.sum() == RESET.sum() + (~RESET[0]).sum()
    mixed = cache.mixed(log_softmax(LOGITS), q, features)
    np.testing.assert_allclose(mixed, recalled(cache, cache.entries(B)), rtol=1e-9)


def test_each_fold_has_its_gate():
    gates = GATES.copy()
    gates[2, -1] = 50  # the second fold trusts the cache alone, up to the limit
    cache = make_cache(gates=gates)
    q = LOGITS.copy()
    features = cache.recall(cache.entries(B), IDS, OUTPUTS, q, fitting=True)
    mixed = cache.mixed(log_softmax(LOGITS), q, features, np.ones((T, B), np.intp))
    expected = 0.001 * np.exp(log_softmax(LOGITS)) + 0.999 * q
    np.testing.assert_allclose(np.exp(mixed[1:]), expected[1:], rtol=1e-9)


def test_a_temperature_acts_on_the_net_alone():
    cache, temperature = make_cache(), 0.5
    sampling = cache.for_sampling(temperature)
    assert np.array_equal(sampling.gates[:, :-1], GATES[:, :-1])
    plain = replace(sampling, temperature=1.0)
    q = LOGITS.copy()
    features = plain.recall(plain.entries(B), IDS, OUTPUTS, q, fitting=True)
    share = np.where(q.any(axis=-1), shares(features, sampling.gates, None), 0)[..., None]
    found = np.exp(recalled(sampling, sampling.entries(B), reset=None) / temperature)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-9)
    cold = np.exp(log_softmax(LOGITS / temperature))
    np.testing.assert_allclose(found, (1 - share) * cold + share * q, rtol=1e-9)


def test_a_temperature_near_zero_leaves_the_mixture_as_it_is():
    assert make_cache().for_sampling(1e-9).temperature == 1
    assert make_cache().for_sampling(0.0).temperature == 1


def test_rows_can_leave_join_and_be_copied():
    cache = make_cache()
    half, rest = slice(T // 2), slice(T // 2, None)
    entries = cache.entries(B)
    cache.recall(entries, IDS[half], OUTPUTS[half])
    whole = recalled(cache, cache.entries(B), reset=None)[rest]
    kept = entries.only([2, 0])
    doubled = Entries.joined([kept.copies([1, 1]), entries.copies([1])])
    for own, rows in ((kept, [2, 0]), (doubled, [0, 0, 1])):
        logits = LOGITS[rest][:, rows].copy()
        cache.recall(own, IDS[rest][:, rows], OUTPUTS[rest][:, rows], logits)
        np.testing.assert_allclose(logits, whole[:, rows], rtol=1e-12)


def test_fewer_slots_do_where_no_row_is_longer():
    cache = make_cache(size=1000)
    short = cache.entries(B, longest=T)
    assert short.size == T
    np.testing.assert_allclose(
        recalled(cache, short, reset=None), recalled(cache, cache.entries(B), reset=None), rtol=1e-12
    )


def test_a_character_that_the_net_excludes_keeps_its_bits():
    cache, logits = make_cache(np.float32), LOGITS.astype(np.float32)
    logits[:, :, 3] = -500
    found = recalled(cache, cache.entries(B), dtype=np.float32, logits=logits)
    assert np.isfinite(found).all()
    assert found[:, :, 3].min() < -400
    assert found[:, :, 3].max() > -60


@pytest.mark.parametrize("size", [-1, 1.5, True, "2000", 10_000_001])
def test_a_size_out_of_range_is_refused(size):
    with pytest.raises(ConfigError, match=r"--memory must be 0 to 10,000,000 characters, got"):
        check_memory(size, ModelConfig(5))


def test_a_memory_larger_than_the_machine_has_is_refused(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda: 1 << 30)
    check_memory(7_000_000, ModelConfig(5, hidden_size=64))
    with pytest.raises(ConfigError, match=r"^--memory 9,000,000 needs 1.1 GiB .* 1.0 GiB are free: give a smaller"):
        check_memory(9_000_000, ModelConfig(5, hidden_size=200))
    monkeypatch.setattr(module, "free_bytes", lambda: None)
    check_memory(9_000_000, ModelConfig(5, hidden_size=32))
