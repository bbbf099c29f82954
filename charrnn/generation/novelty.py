"""Which texts have a long run of characters that also stands in a corpus.

The runs of the texts are indexed, not those of the corpus, which is read from its beginning to its end in pieces:
memory does not depend on its size. Runs are compared by hashes of 64 bits: a false alarm, after which a text is drawn
again for nothing, has a chance of 1 in 10^6 for texts of 10^5 characters and a corpus of 10^8.
Source:  Karp & Rabin 1987 (the hash of a run from that of the run before; here, from the sums of all before).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charrnn.data.text import Alphabet, Text

_Hashes = npt.NDArray[np.uint64]

_FACTOR = 0x9E3779B97F4A7C15  # odd, with bits all over
_INVERSE = pow(_FACTOR, -1, 2**64)
_TABLE_BITS = 20  # a table of the hashes' first bits sorts most of the corpus out


def copied(texts: Sequence[str], corpus: Text, size: int) -> list[bool]:
    """Return which texts have `size` characters in a row that stand in the corpus too."""
    alphabet, shift = Alphabet(corpus.symbols), np.uint64(64 - _TABLE_BITS)
    codes = _mixed(np.arange(1, alphabet.absent + 2, dtype=np.uint64))  # of the symbols, and of all others
    own = [_hashes(codes[alphabet.encode(text)], size) for text in texts]
    rows = np.repeat(np.arange(len(texts)), [len(runs) for runs in own])
    wanted, of_wanted = np.unique(np.concatenate(own), return_inverse=True)
    if not len(wanted):
        return [False] * len(texts)
    table = np.zeros(1 << _TABLE_BITS, bool)
    table[wanted >> shift] = True
    found = np.zeros(len(wanted), bool)
    for ids in corpus.chunks(overlap=size - 1):
        runs = _hashes(codes[ids], size)
        runs = runs[table[runs >> shift]]
        places = np.searchsorted(wanted, runs).clip(max=len(wanted) - 1)
        found[places[wanted[places] == runs]] = True
    shared: list[bool] = (np.bincount(rows[found[of_wanted]], minlength=len(texts)) > 0).tolist()
    return shared


def _mixed(numbers: _Hashes) -> _Hashes:
    """Return the numbers with each of their bits spread over all."""
    numbers = numbers * np.uint64(_FACTOR)
    return (numbers ^ numbers >> np.uint64(32)) * np.uint64(_FACTOR)


def _hashes(codes: _Hashes, size: int) -> _Hashes:
    """Return a hash of each run of `size` codes, at a cost that does not depend on the size.

    hash[i] = mixed(sum over k of codes[i + k] * F ** k), by the differences of running sums, modulo 2 ** 64
    Shapes:  codes (N,) · returns (N - size + 1,), none if N is less than the size
    """
    count = len(codes) - size + 1
    if count < 1:
        return codes[:0]
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * _powers(_FACTOR, len(codes)), out=sums[1:])
    return _mixed((sums[size:] - sums[:count]) * _powers(_INVERSE, count))


def _powers(base: int, count: int) -> _Hashes:
    """Return base ** 0 .. base ** (count - 1), modulo 2 ** 64."""
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)
