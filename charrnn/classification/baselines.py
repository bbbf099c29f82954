"""Baselines: classifiers that learn without a net from the same examples, and their metrics on the same texts.

majority             gives each text the labels by their shares of the training split
naive_bayes          multinomial naive Bayes on the counts of character n-grams
logistic_regression  logistic regression, one against the rest, on the same counts
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from charrnn.arrays import Array
from charrnn.classification.examples import Example, labels, split
from charrnn.classification.metrics import Metrics, measure
from charrnn.errors import MissingExtraError

#: n-grams are learned from about this many characters at most: bounds time and memory.
READ = 1_000_000
_LONGEST = 5  # characters of an n-gram
#: Characters that no text has, before and after it, so that an n-gram can be bound to the beginning or the end.
_BEGIN, _END = "\N{START OF TEXT}", "\N{END OF TEXT}"
# Both were chosen on the validation split of the names of 18 languages, 70 % training and 15 % validation.
_ALPHA = 0.1  # added to each count
_C = 1.0  # the inverse strength of the L2 penalty


def baselines(train: Sequence[Example], test: Sequence[Example]) -> dict[str, Metrics]:
    """Train each baseline on examples of two labels or more, and return its metrics on others, by name.

    n-grams are learned from `sample(train)`.
    Raises:  MissingExtraError without scikit-learn.
    """
    return {"majority": majority(train, test)} | n_gram_baselines(sample(train), test)


def sample(train: Sequence[Example]) -> Sequence[Example]:
    """Return the examples that n-grams are learned from: all, or a random sample of about READ characters."""
    chars = sum(len(example.text) for example in train)
    return train if chars <= READ else split(train, 0.0, 1 - READ / chars, seed=0)[0]


def majority(train: Sequence[Example], test: Sequence[Example]) -> Metrics:
    """Return the metrics of the labels' shares of the training split: the most frequent label is predicted."""
    learned, counts = labels(train), Counter(example.label for example in train)
    shares = np.array([counts[label] / len(train) for label in learned])
    return _measure(np.tile(shares, (len(test), 1)), test, learned)


def n_gram_baselines(train: Sequence[Example], test: Sequence[Example]) -> dict[str, Metrics]:
    """Return the metrics of naive Bayes and of logistic regression on n-grams of 1 to 5 characters.

    Raises:  MissingExtraError without scikit-learn.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.naive_bayes import MultinomialNB
    except ImportError:
        raise MissingExtraError("a baseline on n-grams", "scikit-learn", "baselines") from None
    counter = CountVectorizer(analyzer="char", ngram_range=(1, _LONGEST), lowercase=False, dtype=np.float64)
    learned, others = counter.fit_transform(_marked(train)), counter.transform(_marked(test))
    models: dict[str, Any] = {
        "naive_bayes": MultinomialNB(alpha=_ALPHA),
        # Each class by itself: several times as fast as all in one softmax, with 18 classes.
        "logistic_regression": OneVsRestClassifier(LogisticRegression(C=_C, solver="liblinear")),
    }
    truth, metrics = [example.label for example in train], {}
    for name, model in models.items():
        model.fit(learned, truth)
        metrics[name] = _measure(model.predict_proba(others), test, model.classes_.tolist())
    return metrics


def _marked(examples: Sequence[Example]) -> list[str]:
    return [f"{_BEGIN}{example.text}{_END}" for example in examples]


def _measure(probabilities: Array, test: Sequence[Example], learned: Sequence[str]) -> Metrics:
    return measure(probabilities, [example.label for example in test], learned)
