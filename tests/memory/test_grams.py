"""A model mixed with n-gram models: one distribution, whatever way a text is read."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures_memory import some_grams

from charrnn.memory.gate import CAUTION, FOLDS, shares
from charrnn.memory.grams import FEATURES, Context
from charrnn.memory.ngram import NGrams
from charrnn.memory.trie import Trie
from charrnn.nn.functional import log_softmax, softmax

T, B, V = 200, 3, 7
RNG = np.random.default_rng(1)
TRAIN = RNG.integers(0, V - 1, 50)[RNG.integers(0, 50, 30)[:, None] + np.arange(6) - 6].reshape(-1)
IDS = RNG.integers(0, V, (T, B))
IDS[T // 2 :] = IDS[: T - T // 2]  # the text repeats itself
LOGITS = 2 * RNG.standard_normal((T, B, V))
RESET = RNG.random((T, B)) < 0.03
TRIE = Trie.of(NGrams.of(TRAIN, V, 4))
both_kinds = pytest.mark.parametrize("adaptive", [False, True])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def mixed(grams, context=None, chunks=(T,), *, reset=RESET, dtype=np.float64, folds=None):
    """Return the mixed logits of a text that is read in chunks of these sizes."""
    context = context or grams.start(B)
    logits, at = LOGITS.astype(dtype), 0
    for size in chunks:
        part = slice(at, at := at + size)
        own = [None if each is None else each[part] for each in (reset, folds)]
        grams.mix(context, IDS[part], logits[part], reset=own[0], folds=own[1])
    assert at == T
    return logits


def expected(grams, b, *, begin=0, first=None, gate=0):
    """Return the probabilities of one row from a position on, by the two models and their gates one after another."""
    ids, p = IDS[begin:, b : b + 1], softmax(LOGITS[begin:, b : b + 1])
    states = TRIE.read(ids, TRIE.start(1))
    q, own = TRIE.distributions(states), TRIE.longest(states).astype(float)
    result = share_of(p, q, own, grams.gates[0][gate], p)
    if grams.adaptive:
        counts = grams.adaptive.start(1)
        if first is not None:
            grams.adaptive.learn(first, counts)
        q, left = grams.adaptive.read(ids, counts, p)
        result = share_of(p, q, np.log(left + 1e-6), grams.gates[1][gate], result)
    return result[:, 0]


def share_of(p, q, own, gate, before):
    """Return the mixture with q, whose share is the gate's."""
    dot = lambda one, other: (one * other).sum(axis=-1)  # noqa: E731
    logs = [np.log(dot(p, p)), np.log(dot(q, q)), np.log(dot(p, q) + 1e-6)]
    X = np.stack([*logs, p.max(axis=-1), q.max(axis=-1), own], axis=-1)
    share = (1 / (1 + np.exp(-(X @ gate[:-1] + gate[-1]))))[..., None]
    return (1 - share) * before + share * q


@both_kinds
@both_dtypes
def test_probabilities_are_those_of_the_formula_and_sum_to_one(adaptive, dtype):
    grams = some_grams(TRAIN, V, adaptive)
    probs = np.exp(mixed(grams, dtype=dtype, reset=None).astype(np.float64))
    np.testing.assert_allclose(probs.sum(axis=-1), 1, rtol=0, atol=1e-6)
    assert probs.min() > 0
    for b in range(B):
        np.testing.assert_allclose(probs[:, b], expected(grams, b), rtol=1e-9 if dtype == np.float64 else 1e-4)


@both_kinds
@pytest.mark.parametrize("chunks", [[1] * T, [7] * 28 + [4], [90, 109, 1]])
def test_chunks_are_the_whole(adaptive, chunks):
    grams = some_grams(TRAIN, V, adaptive)
    np.testing.assert_allclose(mixed(grams, chunks=chunks), mixed(grams), rtol=1e-12)


@both_kinds
def test_a_reset_is_a_fresh_start_of_that_row_alone(adaptive):
    grams = some_grams(TRAIN, V, adaptive)
    reset = np.zeros((T, B), bool)
    reset[123, 1] = True
    found = np.exp(mixed(grams, reset=reset))
    np.testing.assert_allclose(found[123:, 1], expected(grams, 1, begin=123), rtol=1e-9)
    np.testing.assert_allclose(found[:123, 1], expected(grams, 1)[:123], rtol=1e-9)
    np.testing.assert_allclose(found[:, 0], expected(grams, 0), rtol=1e-9)


@both_kinds
def test_what_was_learnt_is_what_was_read(adaptive):
    grams, half, reset = some_grams(TRAIN, V, adaptive), T // 2, RESET.copy()
    reset[half - 2 : half, 0], reset[half - 1, 1] = [True, False], True  # what came before is no context
    learnt = grams.start(B)
    grams.learn(learnt, IDS[:0])
    grams.learn(learnt, IDS[:half], reset[:half])
    logits = LOGITS[half:].copy()
    grams.mix(learnt, IDS[half:], logits, reset=reset[half:])
    np.testing.assert_allclose(logits, mixed(grams, reset=reset)[half:], rtol=1e-12)


def test_a_reset_begins_with_the_counts_of_the_text_that_was_read_first():
    grams, first = some_grams(TRAIN, V), IDS[40:90, :1]
    context = grams.start(1)
    grams.learn(context, first)
    found = np.exp(mixed(grams, grams.start(B, context)))
    for b in range(B):
        begin = max(np.flatnonzero(RESET[:, b]), default=0)
        np.testing.assert_allclose(found[begin:, b], expected(grams, b, begin=begin, first=first), rtol=1e-9)
    assert not np.allclose(found, np.exp(mixed(grams)), rtol=1e-3)
    # The rows share nothing, and the text that was read first stays as it was.
    np.testing.assert_array_equal(np.exp(mixed(grams, grams.start(B, context))), found)


def test_the_trie_alone_knows_nothing_of_a_text_that_was_read_first():
    grams = some_grams(TRAIN, V, adaptive=False)
    context = grams.start(1)
    grams.learn(context, IDS[:50, :1])
    np.testing.assert_array_equal(mixed(grams, grams.start(B, context), reset=None), mixed(grams, reset=None))


@both_kinds
def test_each_fold_has_its_gates(adaptive):
    grams = some_grams(TRAIN, V, adaptive)
    folds = np.arange(T)[:, None] // 7 % FOLDS + np.zeros((1, B), np.intp)
    found = np.exp(mixed(grams, reset=None, folds=folds))
    for fold in range(FOLDS):
        wanted = expected(grams, 1, gate=1 + fold)
        np.testing.assert_allclose(found[folds[:, 1] == fold, 1], wanted[folds[:, 1] == fold], rtol=1e-9)


@both_kinds
def test_rows_can_leave_join_and_be_copied(adaptive):
    grams, half = some_grams(TRAIN, V, adaptive), T // 2
    whole, context = mixed(grams, reset=None)[half:], grams.start(B)
    grams.learn(context, IDS[:half])
    doubled = Context.joined([context.copies([1, 1]), context.copies([2])])
    kept = context.only(np.array([2, 0]))
    for own, rows in ((doubled, [1, 1, 2]), (kept, [2, 0])):
        logits = LOGITS[half:, rows].copy()
        grams.mix(own, IDS[half:, rows], logits)
        np.testing.assert_allclose(logits, whole[:, rows], rtol=1e-12)


@both_kinds
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_temperature_acts_on_the_net_alone_and_what_was_read_has_less(adaptive, temperature):
    grams = some_grams(TRAIN, V, adaptive)
    sampling = grams.for_sampling(temperature)
    assert np.array_equal(sampling.gates[0], grams.gates[0])
    for before, after in zip(grams.gates[1:], sampling.gates[1:], strict=True):
        np.testing.assert_allclose(after[:, -1], before[:, -1] - CAUTION)
        assert np.array_equal(after[:, :-1], before[:, :-1])
    found = mixed(sampling, reset=None) / temperature
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1, atol=1e-6)
    cold = replace(sampling, temperature=1.0)
    logits = log_softmax(LOGITS / temperature)
    cold.mix(cold.start(B), IDS, logits)
    np.testing.assert_allclose(found, logits, rtol=1e-9)
    assert grams.for_sampling(0.0).temperature == 1


def test_a_character_that_the_net_excludes_has_the_probability_of_the_others():
    grams, logits = some_grams(TRAIN, V), LOGITS.astype(np.float32)
    logits[:, :, 3] = -500
    q = TRIE.distributions(TRIE.read(IDS, TRIE.start(B)))
    grams.mix(grams.start(B), IDS, logits)
    assert np.isfinite(logits).all()
    assert logits[:, :, 3].max() < np.log(q[:, :, 3].max())
    assert shares(np.zeros((1, FEATURES)), grams.gates[0], None) > 0
