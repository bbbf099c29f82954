"""The n-gram model: against the formula written out slowly, and what any model of text has to be."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.corpus import split_characters
from charrnn.data.text import Text
from charrnn.memory import ngram
from charrnn.memory.ngram import LONGEST, NGrams, discounts

FERRY = Path(__file__).parents[2] / "data" / "ferry.txt"
V = 4  # of the texts that are drawn: they have three symbols, so that one is never seen
texts = st.lists(st.integers(0, V - 2), min_size=1, max_size=60)


class Oracle:
    """One n-gram model, by the formula of Chen & Goodman, gram by gram."""

    def __init__(self, text, vocab_size, n):
        self.n, self.vocab_size = n, vocab_size
        self.counts, self.followers, self.off = {}, {}, {}
        for k in range(1, n + 1):
            ends = range(k, len(text) + 1)
            if k == n:
                occurrences = [(tuple(text[end - k : end]), end) for end in ends]
            else:  # distinct characters before it; the first gram of the text has none
                occurrences = {(tuple(text[end - k : end]), text[end - k - 1]) for end in ends if end > k}
            counts = self.counts[k] = {}
            for gram, _ in occurrences:
                counts[gram] = counts.get(gram, 0) + 1
            followers = self.followers[k] = {}
            for gram in counts:
                followers.setdefault(gram[:-1], []).append(gram)
            n1, n2, n3, n4 = (sum(count == wanted for count in counts.values()) for wanted in (1, 2, 3, 4))
            self.off[k] = [0.5, 1.0, 1.5]
            if n1 * n2 * n3 > 0:
                y = n1 / (n1 + 2 * n2)
                found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
                if all(discount > 0 for discount in found):
                    self.off[k] = found

    def prob(self, context, char):
        """Return p(char | context), of a context of less than n characters, given as a tuple."""
        k = len(context) + 1
        below = self.prob(context[1:], char) if context else 1 / self.vocab_size
        grams = self.followers[k].get(context, [])
        if not grams:
            return below
        total = sum(self.counts[k][gram] for gram in grams)
        rest = sum(self.off[k][min(self.counts[k][gram], 3) - 1] for gram in grams) / total
        count = self.counts[k].get((*context, char), 0)
        own = (count - self.off[k][min(count, 3) - 1]) / total if count else 0.0
        return own + rest * below

    def log_probs(self, text):
        """Return the log-probability of each character but the first."""
        return [math.log(self.prob(tuple(text[max(0, at - self.n + 1) : at]), text[at])) for at in range(1, len(text))]


def array(text):
    return np.array(text, np.uint8)


# The formula


@given(texts, st.lists(st.integers(0, V - 1), min_size=2, max_size=30), st.integers(1, 6))
def test_every_log_probability_is_that_of_the_formula(text, scored, longest):
    rows = NGrams.of(array(text), V, longest).log_probs(array(scored))
    assert rows.shape == (min(longest, len(text)), len(scored) - 1)
    for n, row in enumerate(rows, 1):
        np.testing.assert_allclose(row, Oracle(text, V, n).log_probs(scored), rtol=0, atol=2e-6)


def test_long_texts_with_true_discounts_are_those_of_the_formula():
    # The texts above are so short that nearly all discounts are the fallback.
    rng = np.random.default_rng(1)
    text = rng.choice(6, 1500, p=[0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
    scored = rng.choice(7, 200)
    rows = NGrams.of(text, 7, 5).log_probs(scored)
    for n, row in enumerate(rows, 1):
        oracle = Oracle(text.tolist(), 7, n)
        assert n not in (4, 5) or oracle.off[n] != [0.5, 1.0, 1.5]
        np.testing.assert_allclose(row, oracle.log_probs(scored.tolist()), rtol=0, atol=2e-6)


def test_an_example_worked_by_hand():
    # "aab": the bigrams are aa and ab, once each; a and b both follow one character, which is a. All discounts are 0.5.
    # So p(a) = p(b) = 0.5 / 2 + 1 / 2 * 1 / 3 and p(c) = 1 / 6; p(a|a) = 0.5 / 2 + 1 / 2 * p(a).
    model = NGrams.of(array([0, 0, 1]), 3, 2)
    bigrams = np.exp(model.log_probs(array([0, 0, 1, 1, 2, 0, 2]))[1])
    np.testing.assert_allclose(bigrams, [11 / 24, 11 / 24, 5 / 12, 1 / 6, 5 / 12, 1 / 12], rtol=1e-6)
    unigrams = np.exp(model.log_probs(array([0, 0, 1, 2]))[0])  # 2 and 1 of 3 characters, off 1 and 0.5
    np.testing.assert_allclose(unigrams, [1 / 3 + 1 / 6, 1 / 6 + 1 / 6, 1 / 6], rtol=1e-6)


def test_discounts_are_made_from_the_counts_of_counts():
    counts = np.array([0, 1, 1, 1, 1, 2, 2, 3, 4, 9])  # Y = 4 / 8
    np.testing.assert_allclose(discounts(counts), [0, 1 - 2 / 4, 2 - 3 / 4, 3 - 4 / 2], rtol=1e-12)


@pytest.mark.parametrize("counts", [[], [0, 5], [1], [1, 1, 2], [2, 3], [1, 2] + [3] * 10, [1, 1, 2, 3] + [4] * 9])
def test_where_the_counts_give_no_discounts_others_serve(counts):
    assert discounts(np.array(counts, int)).tolist() == [0, 0.5, 1, 1.5]


# What a model of text has to be


@given(texts, st.lists(st.integers(0, V - 1), min_size=1, max_size=6))
def test_the_probabilities_of_all_characters_sum_to_one(text, context):
    # Contexts end in what the text has and in what it lacks; the character V - 1 is nowhere in it.
    model = NGrams.of(array(text), V, 5)
    for before in (context, text[-4:], text[: len(text) // 2 + 1]):
        logs = np.array([model.log_probs(array([*before, char]))[:, -1] for char in range(V)])
        assert np.isfinite(logs).all()
        np.testing.assert_allclose(np.exp(logs).sum(axis=0), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("piece", [1, 2, 7, 1000])
def test_the_size_of_a_piece_changes_no_result(monkeypatch, piece):
    rng = np.random.default_rng(3)
    model, scored = NGrams.of(rng.integers(0, 3, 300), 3), rng.integers(0, 3, 150)
    monkeypatch.setattr(ngram, "_PIECE", piece)
    sums = model.nats(scored)
    assert sums.shape == (LONGEST,)
    np.testing.assert_allclose(sums, -model.log_probs(scored).sum(axis=1), rtol=1e-12)


def test_what_is_too_short_to_score_costs_nothing():
    model = NGrams.of(array([0, 1, 1]), 2)
    for scored in ([], [1]):
        assert model.log_probs(array(scored)).shape == (3, 0)
        assert model.nats(array(scored)).tolist() == [0, 0, 0]


def test_a_shorter_model_is_the_same_without_the_longer_ones():
    text = np.random.default_rng(4).integers(0, 3, 300)
    model = NGrams.of(text, 3)
    np.testing.assert_array_equal(model.up_to(4).log_probs(text), model.log_probs(text)[:4])
    np.testing.assert_array_equal(model.up_to(4).nats(text), model.nats(text)[:4])


def test_a_large_vocabulary_does_not_run_over():
    # 65,535 symbols in two bytes, and keys that need more than four.
    text = np.random.default_rng(5).permutation(65_535).astype(np.uint16)
    model = NGrams.of(np.tile(text, 2), len(text), 3)
    bigrams, trigrams = np.exp(model.log_probs(text))[1:]
    # Every gram occurs twice, but those across the seam once; the last character has two successors.
    np.testing.assert_allclose(bigrams, 0.5, atol=1e-4)
    np.testing.assert_allclose(trigrams[1:], 0.75, atol=1e-4)


# Real text


def ferry():
    """Return the training and validation splits as ids, and V."""
    text = Text.of(FERRY.read_text(encoding="utf-8"))
    return (*(part.ids for part in split_characters(text, 0.1)[:2]), len(text.symbols))


def test_figures_on_real_text_stay_what_they_were():
    train, val, vocab_size = ferry()
    figures = NGrams.of(train, vocab_size).nats(val) / (len(val) - 1)
    wanted = [3.0466, 2.2774, 1.6647, 1.3553, 1.2461, 1.2099, 1.2017, 1.1988, 1.1989, 1.1988]
    np.testing.assert_allclose(figures, wanted, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_figures_on_real_text_are_those_of_the_formula():
    train, val, vocab_size = ferry()
    figures = NGrams.of(train, vocab_size).nats(val)
    for n in (1, 3, 6, 10):
        assert -sum(Oracle(train.tolist(), vocab_size, n).log_probs(val.tolist())) == pytest.approx(figures[n - 1])
