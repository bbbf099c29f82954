"""The windows of a text for training: each step maps to one window.

A text of N characters has N-1 pairs of a character and its successor, which is to be predicted. B batch rows of equal
length start at equal distances in the text. Windows follow one another in all rows at once, so the state of each row
carries over. If B does not divide the pairs, some rows end with the pair that the next row begins with. Sampling starts
from a zero state; so that a model learns to, rows are reset by chance, at `reset_rate`.

A document may be a context, a tab, and a target: then only the predictions after the first tab count, up to the end
mark, which is the last of them. In a document without a tab none counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, IdSource, Mask, Window

_RESETS = 0x5E7  # separates the draws of resets from all other draws of this seed and step
_BACK, _FURTHEST = 64, 1 << 14  # characters before a window that are read at once, at first and at most
_BLOCK = 1 << 20  # characters of a whole text that are counted at once


def window_at(ids: IdSource, positions: npt.NDArray[np.intp], end: int | None = None, tab: int | None = None) -> Window:
    """Return the window of the pairs at these positions; the state is reset where the text or a document begins.

    end, tab:  as in `Stream`
    Shapes:    positions (T, B), each from 0 to N-2; those of a row follow one another
    """
    inputs, reset = ids[positions], positions == 0
    if end is not None:
        reset |= inputs == end
    counted = None if tab is None else _counted(ids, positions, inputs, end, tab)
    return Window(inputs, ids[positions + 1], reset if reset.any() else None, counted)


def _counted(ids: IdSource, positions: npt.NDArray[np.intp], inputs: Ids, end: int | None, tab: int) -> Mask:
    """Return where the last tab or end mark, up to the input itself, is a tab: what follows is in a target.

    Shapes:  positions, inputs (T, B) · returns (T, B)
    """
    is_tab = np.vstack([_begun(ids, positions[0], end, tab), inputs == tab])
    is_mark = is_tab[1:] | (inputs == end)
    last = np.maximum.accumulate(np.where(is_mark, np.arange(1, len(inputs) + 1)[:, None], 0), axis=0)
    return np.take_along_axis(is_tab, last, axis=0)


def _begun(ids: IdSource, positions: npt.NDArray[np.intp], end: int | None, tab: int) -> Mask:
    """Return where the last tab or end mark before a position is a tab; it is looked for further and further back.

    Shapes:  positions (B,) · returns (B,)
    """
    begun, waiting, size = np.zeros(len(positions), bool), np.flatnonzero(positions > 0), _BACK
    before = positions[waiting]
    while len(waiting):
        read = ids[(before - np.arange(1, size + 1)[:, None]).clip(0)]  # the nearest first
        is_mark = (read == tab) | (read == end)
        nearest, found = is_mark.argmax(axis=0), is_mark.any(axis=0)
        begun[waiting] = found & (read[nearest, np.arange(len(waiting))] == tab)
        left = ~found & (before > size)
        waiting, before, size = waiting[left], before[left] - size, min(2 * size, _FURTHEST)
    return begun


def count_targets(ids: IdSource, end: int | None, tab: int) -> tuple[int, int]:
    """Return the number of predictions in a text that count, and the number of documents that have a tab.

    end, tab:  as in `Stream`
    """
    chars = documents = 0
    inside = np.zeros(1, bool)  # whether the prediction before counts
    for at in range(0, len(ids) - 1, _BLOCK):
        positions = np.arange(at, min(at + _BLOCK, len(ids) - 1))[:, None]
        counted = _counted(ids, positions, ids[positions], end, tab)[:, 0]
        chars += int(counted.sum())
        documents += int((counted & ~np.append(inside, counted[:-1])).sum())
        inside = counted[-1:]
    return chars, documents


@dataclass(frozen=True, eq=False)
class Stream:
    """The windows of a text, addressed by the global step: `stream[step]`.

    ids         (N,) with N >= 2
    batch_size  B, at most N-1
    seq_len     T; the last window of an epoch may be shorter
    seed        of the random resets
    reset_rate  the probability that a row begins a window with a zero state; drawn for each window and row
    end         the id of the mark between documents, where the state is reset; None if there are no documents
    tab         the id of the tab, after which the predictions of a document count; None if all predictions count
    """

    ids: IdSource
    batch_size: int
    seq_len: int
    seed: int = 0
    reset_rate: float = 0.0
    end: int | None = None
    tab: int | None = None

    @property
    def row_length(self) -> int:
        """Return the number of predictions in one batch row."""
        return -(-(len(self.ids) - 1) // self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Return the number of windows in an epoch."""
        return -(-self.row_length // self.seq_len)

    def chars(self, step: int) -> int:
        """Return the number of characters that this step predicts."""
        return self.chars_before(step + 1) - self.chars_before(step)

    def chars_before(self, step: int) -> int:
        """Return the number of characters that all steps before this one predict."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return (epoch * self.row_length + index * self.seq_len) * self.batch_size

    def __getitem__(self, step: int) -> Window:
        """Return the window of this step; the state is reset where an epoch or a document begins, and by chance."""
        index = step % self.steps_per_epoch
        at = index * self.seq_len
        rows = np.arange(at, min(at + self.seq_len, self.row_length))[:, None]
        positions = rows + np.arange(self.batch_size) * (len(self.ids) - 1) // self.batch_size
        window = window_at(self.ids, positions, self.end, self.tab)
        if index > 0 and not self.reset_rate:
            return window
        reset = np.zeros(positions.shape, bool) if window.reset is None else window.reset
        if index == 0:
            reset[0] = True
        else:
            rng = np.random.default_rng([self.seed, step, _RESETS])
            reset[0] |= rng.random(self.batch_size) < self.reset_rate
        return window._replace(reset=reset if reset.any() else None)
