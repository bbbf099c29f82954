"""Encoded texts with their labels, and the batches of texts of similar lengths that training reads, by the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.data.padding import batches, pad
from charrnn.data.vocab import Vocab
from charrnn.evaluation.packing import run_sums

_Numbers = npt.NDArray[np.intp]

_CHUNK = 1 << 20  # characters that are encoded at once
_SORTED = 50  # batches whose texts are sorted by length together: little padding, and still many different batches
_DRAW = 0x7E75  # separates the draws of orders from all other draws of this seed


class TextBatch(NamedTuple):
    """Texts side by side: `ids` (T, B), zeros behind the shorter ones.

    labels   (B,) the number of each text's label
    weights  (B,) its share of the loss, in relation to those of the others
    """

    ids: Ids
    lengths: _Numbers
    labels: _Numbers
    weights: Array

    @property
    def chars(self) -> int:
        """Return the number of characters that are read, without the padding."""
        return int(self.lengths.sum())

    @property
    def counted(self) -> None:
        """Return None: the loss counts every text."""
        return None

    def rows(self, rows: slice) -> TextBatch:
        """Return these texts of the batch, without the padding that only others needed."""
        lengths = self.lengths[rows]
        longest = max(1, int(lengths.max(initial=0)))
        return TextBatch(self.ids[:longest, rows], lengths, self.labels[rows], self.weights[rows])


class PaddedTexts(NamedTuple):
    """Texts of similar lengths side by side: their indices (B,), padded ids (T, B), and lengths (B,)."""

    indices: _Numbers
    ids: Ids
    lengths: _Numbers


@dataclass(frozen=True, eq=False)
class Texts:
    """N encoded texts, end to end.

    ids      of all texts
    lengths  (N,)
    cut      how many texts were longer than the limit
    """

    ids: Ids
    lengths: _Numbers
    cut: int = 0
    starts: _Numbers = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", self.lengths.cumsum() - self.lengths)

    @classmethod
    def of(cls, vocab: Vocab, texts: Sequence[str], most: int) -> Texts:
        """Encode the first `most` characters of each text, between two marks as the vocabulary has them.

        Characters without an id are left out.
        """
        mark = vocab.mark
        ids, lengths, cut = [], [], 0
        for chunk in _chunks(texts, most):
            formed = [vocab.in_form(text[:most])[:most] for text in chunk]
            cut += sum(len(text) > most for text in chunk)
            marked = [mark + text + mark for text in formed]
            found, absent = vocab.look_up("".join(marked))
            sizes = np.fromiter(map(len, marked), np.intp, len(marked))
            kept = np.ones_like(absent) if vocab.unknown is not None else ~absent
            ids.append(found[kept])
            lengths.append(run_sums(kept, sizes))
        empty = np.empty(0, np.intp)
        return cls(np.concatenate(ids) if ids else empty, np.concatenate(lengths) if lengths else empty, cut)

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, indices: _Numbers) -> tuple[Ids, _Numbers]:
        """Return these texts as the columns of one array, and their lengths."""
        return pad([self.ids[self.starts[at] : self.starts[at] + self.lengths[at]] for at in indices.tolist()])

    def batches(self, most_texts: int, most_chars: int) -> Iterator[PaddedTexts]:
        """Yield all texts in batches of similar lengths."""
        for indices in batches(self.lengths, most_texts, most_chars):
            yield PaddedTexts(indices, *self.padded(indices))


def _chunks(texts: Sequence[str], most: int) -> Iterator[list[str]]:
    """Yield the texts in lists of about a million characters that will be read."""
    chunk, size = list[str](), 0
    for text in texts:
        chunk.append(text)
        size += min(most, len(text))
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True, eq=False)
class TextStream:
    """The batches of labelled texts for training, addressed by the global step: `stream[step]`.

    Each epoch has all texts once, in another order. Texts of similar lengths share a batch.

    labels      (N,) the number of each text's label
    weights     (N,) of each text in the loss
    batch_size  texts of a batch; the last batch of an epoch may be smaller
    """

    texts: Texts
    labels: _Numbers
    weights: Array
    batch_size: int
    seed: int
    _orders: dict[int, list[_Numbers]] = field(default_factory=dict, repr=False)

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.texts) // self.batch_size)

    def chars_before(self, step: int) -> int:
        """Return about how many characters all steps before this one read: whole epochs exactly, batches on average."""
        return round(len(self.texts.ids) * step / self.steps_per_epoch)

    def __getitem__(self, step: int) -> TextBatch:
        """Return the batch of this step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        indices = self._order(epoch)[index]
        return TextBatch(*self.texts.padded(indices), self.labels[indices], self.weights[indices])

    def _order(self, epoch: int) -> list[_Numbers]:
        """Return the indices of each batch of an epoch; the newest epoch's are kept, as all its steps need them."""
        if epoch not in self._orders:
            self._orders.clear()
            self._orders[epoch] = self._draw(np.random.default_rng([self.seed, epoch, _DRAW]))
        return self._orders[epoch]

    def _draw(self, rng: np.random.Generator) -> list[_Numbers]:
        order, together = rng.permutation(len(self.texts)), _SORTED * self.batch_size
        drawn = []
        for begin in range(0, len(order), together):
            group = order[begin : begin + together]
            group = group[np.argsort(self.texts.lengths[group], kind="stable")]
            drawn += [group[at : at + self.batch_size] for at in range(0, len(group), self.batch_size)]
        return [drawn[at] for at in rng.permutation(len(drawn))]
