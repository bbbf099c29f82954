"""Baselines: majority by counting; n-grams learn what sets two made-up languages apart."""

import sys

import numpy as np
import pytest

from charrnn.classification import baselines as module
from charrnn.classification.baselines import baselines, majority, n_gram_baselines, sample
from charrnn.classification.examples import Example, labels
from charrnn.errors import MissingExtraError


def words(count, seed):
    """Return words of three languages: one has its own letters, two only begin or end differently."""
    rng = np.random.default_rng(seed)
    stems = ["".join(rng.choice(list("abcd"), 4)) for _ in range(count)]
    forms = {"begins": "x{}", "ends": "{}x", "letters": "{}yz"}
    return [Example(form.format(stem), label) for stem in stems for label, form in forms.items()]


def test_majority_predicts_the_shares_of_the_labels():
    train = [Example(f"{at}", label) for at, label in enumerate("bbba")]
    found = majority(train, [Example("5", "a"), Example("6", "b"), Example("7", "c")])
    assert found.accuracy == 1 / 3
    assert found.unseen == ("c",)
    assert found.log_loss == pytest.approx(-np.log([0.25, 0.75]).mean())
    assert found.confusion.tolist() == [[0, 1], [0, 1], [0, 1]]


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(MissingExtraError, match=r'needs scikit-learn: pip install "charrnn-numpy\[baselines\]"'):
        baselines(words(2, 0), words(2, 1))


def test_n_grams_tell_where_a_character_is():
    pytest.importorskip("sklearn")
    found = baselines(words(40, 0), words(20, 1))
    assert list(found) == ["majority", "naive_bayes", "logistic_regression"]
    assert found["majority"].accuracy == pytest.approx(1 / 3)
    assert found["naive_bayes"].accuracy == found["logistic_regression"].accuracy == 1
    assert found["logistic_regression"].labels == found["majority"].labels == ("begins", "ends", "letters")


def test_two_labels_and_one_that_was_not_learned():
    pytest.importorskip("sklearn")
    train = [example for example in words(40, 0) if example.label != "letters"]
    for found in n_gram_baselines(train, words(10, 1)).values():
        assert found.unseen == ("letters",)
        assert found.accuracy == pytest.approx(2 / 3)
        assert found.confusion.shape == (3, 2)


def test_of_many_characters_a_sample_is_learned(monkeypatch):
    train = [*words(100, 0), Example("q", "rare")]
    assert sample(train) is train
    monkeypatch.setattr(module, "READ", 500)
    found = sample(train)
    assert labels(found) == labels(train)
    assert 300 < sum(len(example.text) for example in found) < 700
    assert sample(train) == found
