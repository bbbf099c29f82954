"""Novelty: find the runs of consecutive characters that texts have in common with a corpus, and where.

The runs of the texts are indexed, and the corpus is read once in chunks, so memory does not depend on its size. Runs
are compared by 64-bit hashes. A false alarm, which redraws a sample for nothing, has a probability of 1e-6 for texts
of 1e5 characters and a corpus of 1e8.
Source:  Karp & Rabin 1987 (rolling hashes; here, differences of running sums).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from charrnn.data.text import Alphabet, Text

_Hashes = npt.NDArray[np.uint64]
_Places = npt.NDArray[np.intp]

_FACTOR = 0x9E3779B97F4A7C15  # odd, with its bits spread over the word
_INVERSE = pow(_FACTOR, -1, 2**64)
_TABLE_BITS = 20  # a table of the hashes' leading bits rules out most of the corpus


def copied(texts: Sequence[str], corpus: Text, size: int) -> list[bool]:
    """Return which texts have `size` consecutive characters in common with the corpus."""
    return [bool((found >= 0).any()) for found in places(texts, corpus, size)]


def places(texts: Sequence[str], corpus: Text, size: int) -> list[_Places]:
    """Return for each run of `size` characters of each text the position where the corpus first has it; -1 for none.

    Shapes:  for a text of N characters (N - size + 1,), empty if N < size
    """
    alphabet, shift = Alphabet(corpus.symbols), np.uint64(64 - _TABLE_BITS)
    codes = _mixed(np.arange(1, alphabet.absent + 2, dtype=np.uint64))  # one for each symbol, and one for all others
    own = [_hashes(codes[alphabet.encode(text)], size) for text in texts]
    indexed, run_of = np.unique(np.concatenate(own), return_inverse=True)
    first = np.full(len(indexed), len(corpus))
    table = np.zeros(1 << _TABLE_BITS, bool)
    table[indexed >> shift] = True
    begin = 0  # of the chunk
    for ids in corpus.chunks(overlap=size - 1) if len(indexed) else ():
        runs = _hashes(codes[ids], size)
        at = np.flatnonzero(table[runs >> shift])
        nearest = np.searchsorted(indexed, runs[at]).clip(max=len(indexed) - 1)
        same = indexed[nearest] == runs[at]
        np.minimum.at(first, nearest[same], begin + at[same])
        begin += len(runs)
    first[first == len(corpus)] = -1
    return np.split(first[run_of], np.cumsum([len(runs) for runs in own])[:-1])


def _mixed(numbers: _Hashes) -> _Hashes:
    """Return the numbers with their bits mixed, so that each input bit affects many output bits."""
    numbers = numbers * np.uint64(_FACTOR)
    return (numbers ^ numbers >> np.uint64(32)) * np.uint64(_FACTOR)


def _hashes(codes: _Hashes, size: int) -> _Hashes:
    """Return a hash of each run of `size` codes, at a cost that is independent of the size.

    hash[i] = mixed(sum over k of codes[i + k] * F ** k), from differences of running sums, modulo 2 ** 64
    Shapes:  codes (N,) · returns (N - size + 1,), empty if N < size
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
