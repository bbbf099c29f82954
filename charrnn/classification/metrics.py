"""Metrics of a classifier: accuracy, precision and recall of each class, the confusion matrix, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from charrnn.arrays import Array, Ids
from charrnn.evaluation.statistics import wilson

_BINS = 10  # of confidence


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class; a quotient without a denominator is 0.

    precision  the share of texts with this label among those predicted to have it
    recall     the share of texts predicted to have this label among those that have it
    f1         2 precision recall / (precision + recall)
    support    the number of texts with this label
    predicted  the number of texts predicted to have it
    """

    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence, the probability of the predicted label, is in [low, high).

    The last bin includes 1. The means are None if there are none.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class Metrics:
    """The metrics of a classifier of C classes on N texts.

    texts              N
    accuracy           the share of right predictions
    interval           the 95 % Wilson interval of the accuracy
    macro_f1           the mean F1 over the classes that a text has or is predicted to have
    log_loss           mean of -log p(label) in nats, p at least the machine epsilon, over the texts whose label is
                       among the C; None if there are none
    calibration_error  the expected calibration error: the mean of |accuracy - confidence| over the bins, by count
    bins               ten bins of the same width
    labels             (C,) the labels that the classifier has learned
    unseen             (U,) labels of texts that it has not learned: each of these texts counts as an error
    classes            by label, for `labels` and then `unseen`
    confusion          (C + U, C) the number of texts by label, a row each, and predicted label
    """

    texts: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    log_loss: float | None
    calibration_error: float
    bins: tuple[Bin, ...]
    labels: tuple[str, ...]
    unseen: tuple[str, ...]
    classes: dict[str, ClassMetrics]
    confusion: Ids

    def __repr__(self) -> str:
        return f"Metrics({self.texts:,} texts: accuracy {self.accuracy:.4f}, macro-F1 {self.macro_f1:.3f})"

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics in the types of JSON."""
        return {
            "texts": self.texts,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "macro_f1": self.macro_f1,
            "log_loss": self.log_loss,
            "calibration_error": self.calibration_error,
            "bins": [asdict(each) for each in self.bins],
            "labels": list(self.labels),
            "unseen": {label: self.classes[label].support for label in self.unseen},
            "classes": {label: asdict(each) for label, each in self.classes.items()},
            "confusion": self.confusion.tolist(),
        }


def measure(probabilities: Array, truth: Sequence[str], labels: Sequence[str]) -> Metrics:
    """Return the metrics of predicted probabilities.

    truth:   the label of each text
    labels:  those of the columns
    Shapes:  probabilities (N, C), N at least 1 · truth (N,) · labels (C,)
    """
    unseen = sorted({*truth} - {*labels})
    numbers = {label: number for number, label in enumerate([*labels, *unseen])}
    right = np.array([numbers[label] for label in truth])
    predicted = probabilities.argmax(axis=1)
    counts = confusion(right, predicted, len(numbers), len(labels))
    classes = class_metrics(counts)
    bins = calibration(probabilities.max(axis=1), right == predicted)
    correct = int((right == predicted).sum())
    return Metrics(
        texts=len(truth),
        accuracy=correct / len(truth),
        interval=wilson(correct, len(truth)),
        macro_f1=macro_f1(classes),
        log_loss=log_loss(probabilities, right),
        calibration_error=calibration_error(bins),
        bins=bins,
        labels=tuple(labels),
        unseen=tuple(unseen),
        classes=dict(zip(numbers, classes, strict=True)),
        confusion=counts,
    )


def confusion(right: Ids, predicted: Ids, rows: int, columns: int) -> Ids:
    """Return the number of texts by the numbers of their label and of their predicted label.

    Shapes:  right (N,) < rows · predicted (N,) < columns · returns (rows, columns)
    """
    return np.bincount(right * columns + predicted, minlength=rows * columns).reshape(rows, columns)


def class_metrics(counts: Ids) -> list[ClassMetrics]:
    """Return the metrics of each row of a confusion matrix; the classes of its columns come first."""
    support, predicted, hits = counts.sum(axis=1), np.zeros(len(counts), int), np.zeros(len(counts), int)
    predicted[: counts.shape[1]] = counts.sum(axis=0)
    hits[: counts.shape[1]] = counts.diagonal()
    return [
        ClassMetrics(_share(hit, guesses), _share(hit, texts), _share(2 * hit, guesses + texts), texts, guesses)
        for hit, guesses, texts in zip(hits.tolist(), predicted.tolist(), support.tolist(), strict=True)
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def macro_f1(classes: Sequence[ClassMetrics]) -> float:
    """Return the mean F1 over the classes that a text has or is predicted to have, as scikit-learn takes it."""
    return float(np.mean([each.f1 for each in classes if each.support or each.predicted]))


def log_loss(probabilities: Array, right: Ids) -> float | None:
    """Return the mean of -log p(label) in nats over the texts whose label has a column; None if there are none.

    p is at least the machine epsilon, as in scikit-learn: a single 0 would make the mean infinite.
    Shapes:  probabilities (N, C) · right (N,), C or more for a label without a column
    """
    known = right < probabilities.shape[1]
    if not known.any():
        return None
    picked = probabilities[known, right[known]]
    return -float(np.log(np.maximum(picked, np.finfo(picked.dtype).eps)).mean(dtype=np.float64))


def calibration(confidence: Array, correct: Ids) -> tuple[Bin, ...]:
    """Return ten bins of the same width with the mean confidence and the accuracy of the predictions in each.

    Shapes:  confidence (N,) of the predicted labels · correct (N,) whether they are right
    """
    places = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(places, minlength=_BINS)
    sums = [np.bincount(places, weights, _BINS) for weights in (confidence, correct)]
    with np.errstate(invalid="ignore"):
        means = [np.where(counts > 0, total / counts, np.nan).tolist() for total in sums]
    return tuple(
        Bin(place / _BINS, (place + 1) / _BINS, count, *((mean, share) if count else (None, None)))
        for place, (count, mean, share) in enumerate(zip(counts.tolist(), *means, strict=True))
    )


def calibration_error(bins: Sequence[Bin]) -> float:
    """Return the expected calibration error, the mean over all predictions of |accuracy - confidence| of their bin.

    Source:  Naeini, Cooper & Hauskrecht 2015.
    """
    gaps = sum(
        each.count * abs(each.accuracy - each.confidence)
        for each in bins
        if each.accuracy is not None and each.confidence is not None
    )
    return gaps / sum(each.count for each in bins)
