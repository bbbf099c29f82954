"""Baselines: what counting and compressors reach on the characters that a model was scored on.

They learn from the text that the model was trained on. A net that does no better has learned no more than counting
would have found.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np

from charrnn.arrays import Ids, IdSource
from charrnn.data.text import CHUNK
from charrnn.data.vocab import Vocab
from charrnn.evaluation.whole import bits
from charrnn.memory.ngram import NGrams

#: Characters of the training text, its last ones, that baselines learn from at the most: a bound of time and memory.
READ = 4_000_000
#: What compressors are given for a special symbol, so that it costs them something too.
_SPECIALS = {"end": "\n", "unknown": "\N{REPLACEMENT CHARACTER}"}


class Compressor(Protocol):
    """What the compressors of the standard library have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready of the compressed data."""
        ...

    def flush(self) -> bytes:
        """Return the rest of it."""
        ...


#: The compressors by name, at their strongest. gzip looks back 32 KB, bzip2 over its block of 900 KB, xz over 64 MB.
COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "gzip": lambda: zlib.compressobj(9, wbits=31),
    "bzip2": lambda: bz2.BZ2Compressor(9),
    "xz": lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME),
}


@dataclass(frozen=True)
class Baselines:
    """The figures of one text under what is no net.

    train_chars    characters that were learned from, the last ones
    train_total    characters that the model was trained on
    n              order of the n-gram model: the best one, from 1 to 10
    n_chosen_on    where it was: "the validation part", or "this text" where that was scored or there is no other
    nats_per_char  by name: ngram, gzip, bzip2, xz; None where nothing was scored
    """

    train_chars: int
    train_total: int
    n: int
    n_chosen_on: str
    nats_per_char: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures by the names under which `eval --baselines --json` prints them."""
        figures = {
            name: {"nats_per_char": nats, "bpc": None if nats is None else bits(nats)}
            for name, nats in self.nats_per_char.items()
        }
        return {
            "train_chars": self.train_chars,
            "train_total": self.train_total,
            "n": self.n,
            "n_chosen_on": self.n_chosen_on,
            **figures,
        }


def measure(train: IdSource, val: IdSource, ids: IdSource, vocab: Vocab) -> Baselines:
    """Return what the baselines reach on a text, of which every character but the first is scored.

    A compressor is charged the bits that these characters add to what it makes of the training text and the first.
    val: the text on which n is chosen; where it has nothing to score, that is the text itself
    Shapes:  train, val, ids (N,)
    """
    learned = _part(train, max(0, len(train) - READ), len(train))
    grams = NGrams.of(learned, vocab.size)
    chosen_on, where = (val, "the validation part") if len(val) > 1 else (ids, "this text")
    n = int(grams.nats(_part(chosen_on, 0, READ)).argmin()) + 1
    nats = {"ngram": float(grams.up_to(n).nats(ids)[-1])}
    for name, new in COMPRESSORS.items():
        before = _compressed(new(), _utf8(learned, vocab), _utf8(_part(ids, 0, 1), vocab))
        added = _compressed(new(), _utf8(learned, vocab), _utf8(ids, vocab)) - before
        nats[name] = 8 * added * math.log(2)
    chars = len(ids) - 1
    return Baselines(
        train_chars=len(learned),
        train_total=len(train),
        n=n,
        n_chosen_on=where,
        nats_per_char={name: value / chars if chars > 0 else None for name, value in nats.items()},
    )


def _part(ids: IdSource, begin: int, end: int) -> Ids:
    """Return the ids from one place to before another, or to the end."""
    return ids[np.arange(begin, min(end, len(ids)))]


def _utf8(ids: IdSource, vocab: Vocab) -> Iterator[bytes]:
    """Yield the text of the ids as bytes, in pieces, with a character for each special symbol too."""
    specials = "".join(_SPECIALS[name] for name in vocab.specials)
    for begin in range(0, len(ids), CHUNK):
        yield vocab.to_bytes(_part(ids, begin, begin + CHUNK), specials)


def _compressed(compressor: Compressor, *texts: Iterable[bytes]) -> int:
    """Return how many bytes the compressor makes of the texts as one."""
    return sum(len(compressor.compress(piece)) for piece in chain(*texts)) + len(compressor.flush())
