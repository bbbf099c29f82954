"""The n-gram model that counts what it reads: against the formula written out slowly, and streams side by side."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.memory import adaptive
from charrnn.memory.adaptive import Adaptive
from charrnn.memory.ngram import NGrams
from charrnn.memory.trie import Trie

from .test_ngram import V, array, ferry

symbols = st.integers(0, V - 1)


class Oracle:
    """The model, by the formula, with a table of counts for each context that has been read."""

    def __init__(self, n):
        self.n, self.text, self.tables, self.last = n, [], {}, {}

    def contexts(self):
        """Return the contexts that end here, from short to long."""
        end = len(self.text)
        return [tuple(self.text[end - k :]) for k in range(2, min(self.n - 1, end) + 1)]

    def add(self, symbol):
        new = True
        for context in reversed(self.contexts()):
            counts = self.tables.setdefault(context, {})
            if new:
                new = symbol not in counts
                counts[symbol] = counts.get(symbol, 0) + 1
            self.last[context] = symbol
        self.text.append(symbol)

    def prob(self, symbol, p):
        """Return p(symbol | text), given what the other model says."""
        for context in self.contexts():
            if counts := self.tables.get(context):
                d, a, recency, rest, total = self.shares(counts)
                own = (1 - recency) * max(counts.get(symbol, 0) - d, 0) / (total + a)
                p = own + recency * (1 - rest) * (self.last[context] == symbol) + rest * p
        return p

    def shares(self, counts):
        """Return the discount, the strength, the recency, the rest and the sum of the counts."""
        total, a = sum(counts.values()), 0.6 if len(counts) == 1 else 2.0
        return 0.75, a, 0.4, (0.75 * len(counts) + a) / (total + a), total

    def left(self):
        """Return what all contexts leave to the other model."""
        return math.prod(self.shares(self.tables[context])[3] for context in self.contexts() if context in self.tables)


def some_base(*shape):
    """Return probabilities that another model could give."""
    return np.random.default_rng(7).dirichlet(np.ones(shape[-1]), shape[:-1])


def assert_like_the_oracle(text, vocab_size, n):
    model, oracle, base = Adaptive(vocab_size, n), Oracle(n), some_base(len(text), 1, vocab_size)
    probs, left = model.read(array(text).reshape(-1, 1), model.start(1), base)
    for at, symbol in enumerate(text):
        oracle.add(symbol)
        wanted = [oracle.prob(w, base[at, 0, w]) for w in range(vocab_size)]
        np.testing.assert_allclose(probs[at, 0], wanted, rtol=1e-9)
        assert left[at, 0] == pytest.approx(oracle.left())


@given(st.lists(symbols, min_size=1, max_size=60), st.integers(3, 7))
def test_probabilities_are_those_of_the_formula(text, n):
    assert_like_the_oracle(text, V, n)


def test_probabilities_of_many_symbols_are_those_of_the_formula():
    rng = np.random.default_rng(1)
    assert_like_the_oracle((rng.integers(0, 20, 600) * rng.integers(0, 2, 600)).tolist(), 21, 4)


def test_repeated_text_is_that_of_the_formula_and_soon_certain():
    text = [0, 1, 2, 0, 2, 1] * 8
    assert_like_the_oracle(text, V, 12)
    probs, left = Adaptive(V).read(array(text).reshape(-1, 1), Adaptive(V).start(1), some_base(48, 1, V))
    assert probs[-1, 0, 0] > 0.95
    assert left[-1, 0] < 0.03


def test_text_that_repeats_nothing_is_left_to_the_other_model():
    ids, base = np.arange(20)[:, None], some_base(20, 1, 20)
    probs, left = Adaptive(20).read(ids, Adaptive(20).start(1), base)
    np.testing.assert_array_equal(probs, base)
    np.testing.assert_array_equal(left, 1)


@given(st.data())
def test_streams_side_by_side_are_those_read_alone_in_any_chunks(data):
    model = Adaptive(V, 4)
    T, B = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    ids = np.array(data.draw(st.lists(symbols, min_size=T * B, max_size=T * B))).reshape(T, B)
    reset = np.array(data.draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))).reshape(T, B)
    base, cut = some_base(T, B, V), data.draw(st.integers(0, T))
    whole, left = model.read(ids, model.start(B), base, reset)
    streams = model.start(B)
    halves = [model.read(ids[part], streams, base[part], reset[part]) for part in (slice(cut), slice(cut, T))]
    np.testing.assert_array_equal(np.concatenate([probs for probs, _ in halves]), whole)
    for b in range(B):
        begin = max([t for t in range(T) if reset[t, b]], default=0)  # nothing before counts
        one = (slice(begin, T), slice(b, b + 1))
        probs, alone = model.read(ids[one], model.start(1), base[one])
        np.testing.assert_array_equal(probs, whole[one])
        np.testing.assert_array_equal(alone, left[one])


@pytest.mark.parametrize("cells", [1, 50, 1000])
def test_how_many_are_computed_at_once_changes_no_result(monkeypatch, cells):
    ids, base = np.random.default_rng(2).integers(0, V, (40, 2)), some_base(40, 2, V)
    model, reset = Adaptive(V), np.zeros((40, 2), bool)
    reset[30, 0] = True
    wanted, _ = model.read(ids, model.start(2), base, reset)
    monkeypatch.setattr(adaptive, "_CELLS", cells)
    np.testing.assert_array_equal(model.read(ids, model.start(2), base, reset)[0], wanted)


def test_a_text_that_was_learnt_counts_as_one_that_was_read():
    text, base = np.random.default_rng(3).integers(0, 3, (80, 2)), some_base(80, 2, V)
    model = Adaptive(V, 5)
    read, learnt = model.start(2), model.start(2)
    wanted, _ = model.read(text, read, base)
    model.learn(text[:50], learnt)
    np.testing.assert_array_equal(model.read(text[50:], learnt, base[50:])[0], wanted[50:])


def test_on_real_text_all_probabilities_sum_to_one_and_add_to_a_static_model():
    train, val, vocab_size = ferry()
    static = Trie.of(NGrams.of(train, vocab_size, 6))
    base = static.distributions(static.read(val[:, None], static.start(1)))
    model = Adaptive(vocab_size)
    probs, _ = model.read(val[:, None], model.start(1), base)
    assert probs.min() > 0
    np.testing.assert_allclose(probs.sum(axis=2), 1, rtol=0, atol=1e-6)
    at = np.arange(len(val) - 1)
    nats = [-np.log(p[at, 0, val[1:]]).mean() for p in (base, probs, (base + probs) / 2)]
    np.testing.assert_allclose(nats, [1.2099, 1.3829, 1.2096], rtol=0, atol=1e-4)


@given(st.lists(symbols, max_size=30), st.lists(symbols, min_size=1, max_size=30))
def test_a_copy_and_its_original_change_apart(text, more):
    model = Adaptive(V, 5)
    ids, base = array([*text, *more]).reshape(-1, 1), some_base(len(text) + len(more), 1, V)
    wanted = model.read(ids, model.start(1), base)[0][len(text) :]
    streams = model.start(1)
    model.learn(ids[: len(text)], streams)
    copies = [streams[0].copy()]
    for each in (copies, streams):
        np.testing.assert_array_equal(model.read(ids[len(text) :], each, base[len(text) :])[0], wanted)


def test_what_occurs_once_takes_at_most_two_nodes_and_contexts_end_at_n_less_one():
    text = np.random.default_rng(4).integers(0, 3, 500)
    long, short = Adaptive(V, 12), Adaptive(V, 3)
    streams = [*long.start(1), *short.start(1)]
    for model, stream in zip((long, short), streams, strict=True):
        model.learn(text[:, None], [stream])
    assert sum(not followers for followers in streams[0].followers) <= 2 * len(text)
    assert len(streams[1].followers) == V + 9  # the bigrams of three symbols


def test_no_text_gives_no_probabilities():
    model = Adaptive(V)
    streams = model.start(2)
    probs, left = model.read(np.empty((0, 2), np.uint8), streams, np.empty((0, 2, V)))
    assert probs.shape == (0, 2, V)
    assert left.shape == (0, 2)
    assert streams[0].text == []
