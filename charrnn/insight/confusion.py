"""The confusion matrix of a classifier as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charrnn.classification.metrics import Metrics
from charrnn.insight.figures import figure

if TYPE_CHECKING:
    from charrnn.insight.figures import Figure

_CELL = 0.36  # inches of a cell, which has room for four digits
_LETTER = 0.075  # inches of a letter of a label
_MOST_NUMBERS = 40  # labels up to which the counts are written into the cells
_DARK = 0.5  # share of a row from which a cell's count is white


def confusion_matrix(result: Metrics) -> Figure:
    """Return a figure: a row for each label, a column for each prediction, counts, and each row's shares as colours.

    Raises:  MissingExtraError without matplotlib.
    """
    rows, columns = [*result.classes], result.labels
    margin = 0.9 + _LETTER * max(map(len, rows))
    made, axes = figure(margin + _CELL * len(columns) + 0.9, margin + _CELL * len(rows))
    counts = result.confusion
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("Prediction")
    axes.set_ylabel("Label")
    axes.set_title(f"{result.texts:,} texts, accuracy {result.accuracy:.1%}", loc="left", fontsize="medium")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(rows) <= _MOST_NUMBERS:
        for row, column in np.argwhere(counts).tolist():
            color = "white" if shares[row, column] > _DARK else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=7)
    bar = made.colorbar(image, ax=axes, shrink=0.5, label="Share of the label's texts")
    bar.outline.set_visible(False)
    return made
