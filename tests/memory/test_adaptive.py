"""The n-gram model that counts what it reads: against the formula written out slowly, and streams side by side."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.memory import adaptive
from charrnn.memory.adaptive import Adaptive

from .test_ngram import V, array, ferry

symbols = st.integers(0, V - 1)
BANDS = (1, 2, 3, 4, 6, 9, 16)


class Oracle:
    """The model, by the formula, with a table of counts for each context that has been read."""

    def __init__(self, vocab_size, n):
        self.vocab_size, self.n, self.text, self.tables, self.last = vocab_size, n, [], {}, {}

    def contexts(self):
        """Return the contexts that end here, from short to long."""
        end = len(self.text)
        return [tuple(self.text[end - k :]) for k in range(min(self.n - 1, end) + 1)]

    def add(self, symbol):
        new = True
        for context in reversed(self.contexts()):
            counts = self.tables.setdefault(context, {})
            if new:
                new = symbol not in counts
                counts[symbol] = counts.get(symbol, 0) + 1
            self.last[context] = symbol
        self.text.append(symbol)

    def prob(self, symbol):
        p = 1 / self.vocab_size
        for context in self.contexts():
            if counts := self.tables.get(context):
                band = max(i for i, fanout in enumerate(BANDS) if len(counts) >= fanout)
                d, a = adaptive._DISCOUNT[band], adaptive._STRENGTH[band]
                recency = adaptive._RECENCY[band]
                total = sum(counts.values()) + a
                rest = (d * len(counts) + a) / total
                own = (1 - recency) * max(counts.get(symbol, 0) - d, 0) / total
                p = own + recency * (1 - rest) * (self.last[context] == symbol) + rest * p
        return p

    def longest(self):
        """Return the length of the longest context with counts, its fan-out and its sum."""
        context = [context for context in self.contexts() if context in self.tables][-1]
        counts = self.tables[context]
        return len(context), len(counts), sum(counts.values())


def assert_like_the_oracle(text, vocab_size, n):
    model, oracle = Adaptive(vocab_size, n), Oracle(vocab_size, n)
    probs, longest = model.read(array(text).reshape(-1, 1), model.start(1))
    for at, symbol in enumerate(text):
        oracle.add(symbol)
        wanted = [oracle.prob(w) for w in range(vocab_size)]
        np.testing.assert_allclose(probs[at, 0], wanted, rtol=1e-9)
        assert tuple(figures[at, 0] for figures in longest) == oracle.longest()


@given(st.lists(symbols, min_size=1, max_size=60), st.integers(1, 6))
def test_probabilities_are_those_of_the_formula(text, n):
    assert_like_the_oracle(text, V, n)


def test_probabilities_of_many_symbols_are_those_of_the_formula():
    rng = np.random.default_rng(1)
    assert_like_the_oracle((rng.integers(0, 20, 600) * rng.integers(0, 2, 600)).tolist(), 21, 4)


def test_repeated_text_is_that_of_the_formula_and_soon_certain():
    text = [0, 1, 2, 0, 2, 1] * 8
    assert_like_the_oracle(text, V, 12)
    probs, longest = Adaptive(V).read(array(text).reshape(-1, 1), Adaptive(V).start(1))
    assert probs[-1, 0, 0] > 0.95
    assert longest.length[-1, 0] == 11


@given(st.data())
def test_streams_side_by_side_are_those_read_alone_in_any_chunks(data):
    model = Adaptive(V, 4)
    T, B = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    ids = np.array(data.draw(st.lists(symbols, min_size=T * B, max_size=T * B))).reshape(T, B)
    reset = np.array(data.draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B))).reshape(T, B)
    cut = data.draw(st.integers(0, T))
    whole, longest = model.read(ids, model.start(B), reset)
    streams = model.start(B)
    halves = [model.read(ids[part], streams, reset[part]) for part in (slice(cut), slice(cut, T))]
    np.testing.assert_array_equal(np.concatenate([probs for probs, _ in halves]), whole)
    for b in range(B):
        begin = max([t for t in range(T) if reset[t, b]], default=0)  # nothing before counts
        probs, alone = model.read(ids[begin:, b : b + 1], model.start(1))
        np.testing.assert_array_equal(probs[:, 0], whole[begin:, b])
        for figures, wanted in zip(alone, longest, strict=True):
            np.testing.assert_array_equal(figures[:, 0], wanted[begin:, b])


@pytest.mark.parametrize("cells", [1, 50, 1000])
def test_how_many_are_computed_at_once_changes_no_result(monkeypatch, cells):
    ids = np.random.default_rng(2).integers(0, V, (40, 2))
    model = Adaptive(V)
    wanted, _ = model.read(ids, model.start(2))
    monkeypatch.setattr(adaptive, "_CELLS", cells)
    np.testing.assert_array_equal(model.read(ids, model.start(2))[0], wanted)


def test_a_text_that_was_learnt_counts_as_one_that_was_read():
    text = np.random.default_rng(3).integers(0, 3, (80, 2))
    model = Adaptive(V, 5)
    read, learnt = model.start(2), model.start(2)
    wanted, _ = model.read(text, read)
    model.learn(text[:50], learnt)
    np.testing.assert_array_equal(model.read(text[50:], learnt)[0], wanted[50:])


def test_real_text_sums_to_one_and_is_learnt():
    _, val, vocab_size = ferry()
    model = Adaptive(vocab_size)
    probs, longest = model.read(val[:, None], model.start(1))
    assert probs.min() > 0
    np.testing.assert_allclose(probs.sum(axis=2), 1, rtol=0, atol=1e-9)
    bits = -np.log2(probs[np.arange(len(val) - 1), 0, val[1:]])
    assert bits.mean() == pytest.approx(2.3998, abs=1e-4)
    assert longest.length.max() == model.n - 1


def test_no_text_gives_no_probabilities():
    model = Adaptive(V)
    streams = model.start(2)
    probs, longest = model.read(np.empty((0, 2), np.uint8), streams)
    assert probs.shape == (0, 2, V)
    assert longest.length.shape == (0, 2)
    assert streams[0].text == []
