"""The n-gram model's probabilities of all symbols: against the formula, streams side by side, and step by step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.memory import trie
from charrnn.memory.ngram import NGrams
from charrnn.memory.trie import Trie

from .test_ngram import Oracle, V, array, ferry, texts

symbols = st.integers(0, V - 1)


def column(text):
    return array(text).reshape(-1, 1)


@given(texts, st.lists(symbols, max_size=12), st.integers(1, 6))
def test_distributions_are_those_of_the_formula(text, read, longest):
    model = Trie.of(NGrams.of(array(text), V, longest))
    probs = model.distributions(model.read(column(read), model.start(1)))[:, 0]
    oracle = Oracle(text, V, model.n)
    for at, row in enumerate(probs, 1):
        wanted = [oracle.prob(tuple(read[max(0, at - model.n + 1) : at]), symbol) for symbol in range(V)]
        np.testing.assert_allclose(row, wanted, rtol=0, atol=1e-6)


@given(st.data())
def test_streams_side_by_side_are_those_read_alone_in_any_chunks(data):
    model = Trie.of(NGrams.of(array(data.draw(texts)), V, 5))
    T, B = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 3))
    ids = np.array(data.draw(st.lists(symbols, min_size=T * B, max_size=T * B))).reshape(T, B)
    reset = np.array(data.draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))).reshape(T, B)
    cut = data.draw(st.integers(0, T))
    whole = model.read(ids, model.start(B), reset)
    head = model.read(ids[:cut], model.start(B), reset[:cut])
    before = head[-1] if cut else model.start(B)
    np.testing.assert_array_equal(np.concatenate([head, model.read(ids[cut:], before, reset[cut:])]), whole)
    for b in range(B):
        state = model.start(1)
        for t in range(T):
            state = model.step(ids[t, b : b + 1], model.start(1) if reset[t, b] else state)
            np.testing.assert_array_equal(state[0], whole[t, b])
            np.testing.assert_array_equal(model.distributions(state)[0], model.distributions(whole)[t, b])


@pytest.mark.parametrize("n", [1, 2, 6, 10])
def test_real_text_is_scored_as_by_log_probs_and_all_probabilities_sum_to_one(n):
    train, val, vocab_size = ferry()
    grams = NGrams.of(train, vocab_size).up_to(n)
    model = Trie.of(grams)
    probs = model.distributions(model.read(val[:, None], model.start(1)))[:, 0]
    assert probs.min() > 0
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=0, atol=1e-6)
    scored = np.log(probs[np.arange(len(val) - 1), val[1:]])
    np.testing.assert_allclose(scored, grams.log_probs(val)[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cells", [1, 7, 100])
def test_how_many_are_computed_at_once_changes_no_result(monkeypatch, cells):
    rng = np.random.default_rng(0)
    model = Trie.of(NGrams.of(rng.integers(0, 3, 300), V, 4))
    states = model.read(rng.integers(0, V, (20, 2)), model.start(2))
    wanted = model.distributions(states)
    monkeypatch.setattr(trie, "_CELLS", cells)
    np.testing.assert_array_equal(model.distributions(states), wanted)


def test_a_text_of_nothing_predicts_all_symbols_alike():
    model = Trie.of(NGrams.of(array([]), V))
    state = model.step(array([1, 2]), model.start(2))
    np.testing.assert_array_equal(model.distributions(state), np.full((2, V), 0.25))
    assert model.longest(state).tolist() == [0, 0]


def test_the_longest_context_is_the_longest_that_the_text_continues():
    model = Trie.of(NGrams.of(array([0, 1, 2, 0, 1, 1, 2]), V, 4))
    #            ""   0    01   012  201  12 ends the text once, and 0 follows once; 3 is unknown
    length = model.longest(model.read(column([0, 1, 2, 3, 2, 0, 1, 1]), model.start(1)))
    assert length[:, 0].tolist() == [1, 2, 3, 0, 1, 2, 3, 3]


def test_a_large_vocabulary_does_not_run_over():
    text = np.random.default_rng(5).permutation(65_535).astype(np.uint16)
    model = Trie.of(NGrams.of(np.tile(text, 2), len(text), 3))
    states = model.read(text[:3, None], model.start(1))
    probs = model.distributions(states)[:, 0]
    assert probs.argmax(axis=1).tolist() == text[1:4].tolist()
    np.testing.assert_allclose(probs.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert math.isclose(probs[2].max(), 0.75, rel_tol=1e-4)
