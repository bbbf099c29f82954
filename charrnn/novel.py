"""Which texts have a long run of characters that also stands in a corpus.

The runs of the texts are indexed, not those of the corpus, which is read once from its beginning to its end in pieces:
memory does not depend on its size. Runs are compared by hashes of 64 bits: a false alarm, after which a text is drawn
again for nothing, has a chance of 1 in 10^6 for texts of 10^5 characters and a corpus of 10^8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids
from charrnn.text import Alphabet, Text

_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, with bits all over
_TABLE_BITS = 20  # a table of the hashes' first bits sorts most of the corpus out


def copied(texts: Sequence[str], corpus: Text, size: int) -> list[bool]:
    """Return which texts have `size` characters in a row that stand in the corpus too."""
    alphabet, shift = Alphabet(corpus.symbols), np.uint64(64 - _TABLE_BITS)
    own = [_hashes(alphabet.encode(text), size) for text in texts]
    wanted = np.unique(np.concatenate(own))
    if not len(wanted):
        return [False] * len(texts)
    table = np.zeros(1 << _TABLE_BITS, bool)
    table[wanted >> shift] = True
    found = np.zeros(len(wanted), bool)
    for ids in corpus.chunks(overlap=size - 1):
        runs = _hashes(ids, size)
        runs = runs[table[runs >> shift]]
        places = np.searchsorted(wanted, runs).clip(max=len(wanted) - 1)
        found[places[wanted[places] == runs]] = True
    return [bool(np.isin(runs, wanted[found]).any()) for runs in own]


def _hashes(ids: Ids, size: int) -> npt.NDArray[np.uint64]:
    """Return a hash of each run of `size` ids.

    Shapes:  ids (N,) · returns (N - size + 1,), none if N is less than the size
    """
    hashes = np.zeros(max(0, len(ids) - size + 1), np.uint64)
    for at in range(size):
        hashes *= _FACTOR
        hashes += ids[at : at + len(hashes)].astype(np.uint64) + np.uint64(1)
        hashes ^= hashes >> np.uint64(29)
    return hashes * _FACTOR
