"""Texts as ids, and padded batches: texts of similar lengths side by side, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids
from charrnn.data.vocab import Vocab


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


class EncodedTexts(NamedTuple):
    """N texts as ids, one after another.

    ids      (K,)
    starts   (N,) where each text begins in `ids`
    lengths  (N,)
    """

    ids: Ids
    starts: npt.NDArray[np.intp]
    lengths: npt.NDArray[np.intp]

    @classmethod
    def of(cls, vocab: Vocab, texts: Iterable[str], most: int) -> EncodedTexts:
        """Encode the beginning of each text, this many characters at most.

        Characters without an id are left out, or have that of the unknown symbol, if the vocabulary has one.
        """
        read = [vocab.in_form(text)[:most] for text in texts]
        sizes = np.fromiter(map(len, read), np.intp, len(read))
        ids, absent = vocab.look_up("".join(read))
        if vocab.unknown is None and absent.any():
            sizes -= np.bincount(np.repeat(np.arange(len(read)), sizes)[absent], minlength=len(read))
            ids = ids[~absent]
        return cls(ids, sizes.cumsum() - sizes, sizes)

    def pad(self, which: npt.NDArray[np.intp]) -> tuple[Ids, npt.NDArray[np.intp]]:
        """Return the ids of these texts as the columns of one array, padded with zeros, and their lengths.

        Shapes:  which (B,) · returns (T, B), T of the longest text, and (B,)
        """
        lengths = self.lengths[which]
        steps = np.arange(max(1, int(lengths.max(initial=0))))[:, None]
        inside = steps < lengths
        ids = np.zeros(inside.shape, self.ids.dtype)
        ids[inside] = self.ids[(self.starts[which] + steps)[inside]]
        return ids, lengths
