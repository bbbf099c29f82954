"""Baselines: the loss of an n-gram model and of compressors on the characters that a model was scored on.

They learn from the model's training text. A network that does no better has learned no more than counting finds.
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
from charrnn.memory.ngram import NGrams
from charrnn.nn.functional import bits

#: Baselines learn from at most this many characters, the last of the training text: bounds time and memory.
READ = 4_000_000
#: The character that replaces a special symbol, so that compressors pay for it too.
_SPECIALS = {"end": "\n", "unknown": "\N{REPLACEMENT CHARACTER}"}


class Compressor(Protocol):
    """The interface that the standard library's compressors share."""

    def compress(self, data: bytes, /) -> bytes:
        """Compress more data and return the output that is ready."""
        ...

    def flush(self) -> bytes:
        """Finish, and return the remaining output."""
        ...


#: The compressors by name, at their strongest. gzip looks back 32 KB, bzip2 over its block of 900 KB, xz over 64 MB.
COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "gzip": lambda: zlib.compressobj(9, wbits=31),
    "bzip2": lambda: bz2.BZ2Compressor(9),
    "xz": lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME),
}


@dataclass(frozen=True)
class Baselines:
    """The loss of each baseline on one text.

    train_chars    characters that the baselines learned from, the last of the training text
    train_total    characters that the model was trained on
    n              order of the n-gram model, the best from 1 to 10
    n_chosen_on    the text that n was chosen on: "the validation split", or "this text" if that is the text to score or
                   there is no validation split
    nats_per_char  by name: ngram, gzip, bzip2, xz; None if nothing was scored
    """

    train_chars: int
    train_total: int
    n: int
    n_chosen_on: str
    nats_per_char: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures under the names that `eval --baselines --json` prints."""
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
    """Score every character of a text but the first with each baseline.

    A compressor's score is the number of bits by which these characters lengthen its output for the training text.
    val: the text to choose n on; if it has fewer than two characters, n is chosen on the text itself
    Shapes:  train, val, ids (N,)
    """
    learned = learned_from(train)
    chosen_on, where = (val, "the validation split") if len(val) > 1 else (ids, "this text")
    grams = NGrams.of(learned, vocab.size).best_on(_slice(chosen_on, 0, READ))
    nats = {"ngram": float(grams.nats(ids)[-1])}
    for name, new in COMPRESSORS.items():
        before = _compressed(new(), _utf8(learned, vocab), _utf8(_slice(ids, 0, 1), vocab))
        added = _compressed(new(), _utf8(learned, vocab), _utf8(ids, vocab)) - before
        nats[name] = 8 * added * math.log(2)
    chars = len(ids) - 1
    return Baselines(
        train_chars=len(learned),
        train_total=len(train),
        n=len(grams.orders),
        n_chosen_on=where,
        nats_per_char={name: value / chars if chars > 0 else None for name, value in nats.items()},
    )


def learned_from(train: IdSource) -> Ids:
    """Return the part of a training text that n-gram models and compressors learn from."""
    return _slice(train, max(0, len(train) - READ), len(train))


def _slice(ids: IdSource, begin: int, end: int) -> Ids:
    """Return ids[begin:end] as an array."""
    return ids[np.arange(begin, min(end, len(ids)))]


def _utf8(ids: IdSource, vocab: Vocab) -> Iterator[bytes]:
    """Yield the text of the ids in UTF-8, piece by piece, with a character for each special symbol."""
    specials = "".join(_SPECIALS[name] for name in vocab.specials)
    for begin in range(0, len(ids), CHUNK):
        yield vocab.to_bytes(_slice(ids, begin, begin + CHUNK), specials)


def _compressed(compressor: Compressor, *texts: Iterable[bytes]) -> int:
    """Return the compressed size of the texts, as one, in bytes."""
    return sum(len(compressor.compress(piece)) for piece in chain(*texts)) + len(compressor.flush())
