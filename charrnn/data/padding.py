"""Padded batches: texts of similar lengths side by side, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids


def batches(lengths: npt.NDArray[np.intp], most_texts: int, most_chars: int) -> Iterator[npt.NDArray[np.intp]]:
    """Yield the indices of the texts of each batch, from the longest texts to the shortest.

    A batch has at most `most_texts` texts, and at most `most_chars` characters with its padding, but always a text.
    Shapes:  lengths (N,)
    """
    order, begin = np.argsort(-lengths, kind="stable"), 0
    while begin < len(order):
        count = max(1, min(most_texts, most_chars // max(1, int(lengths[order[begin]]))))
        yield order[begin : begin + count]
        begin += count


def pad(texts: Sequence[Ids]) -> tuple[Ids, npt.NDArray[np.intp]]:
    """Return the ids of texts as the columns of one array, with zeros behind the shorter ones, and their lengths.

    Shapes:  returns (T, B), T of the longest text, and (B,)
    """
    lengths = np.fromiter(map(len, texts), np.intp, len(texts))
    ids = np.zeros((len(texts), max(1, int(lengths.max(initial=0)))), np.intp)
    if texts:
        ids[np.arange(ids.shape[1]) < lengths[:, None]] = np.concatenate(texts)
    return np.ascontiguousarray(ids.T), lengths
