"""Memorisation: how much of a model's samples occurs word for word in its training text, and the longest copy.

Real text that the model has not seen shows how much is usual: common words occur in every text.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.config import TextConfig
from charrnn.data.files import list_files
from charrnn.data.reading import read_text
from charrnn.data.source import Source
from charrnn.data.summary import repeated_share
from charrnn.data.text import END, Text
from charrnn.errors import CorpusError
from charrnn.generation.novelty import places

#: The lengths of the n-grams that are looked for, in characters.
SIZES = (8, 12, 20, 30, 50)


class Copy(NamedTuple):
    """A passage of a sample that occurs in the training text.

    text    the passage; sample: the number of the sample that has it
    begin   its position in the sample; at: where the training text first has it, both in characters
    """

    text: str
    sample: int
    begin: int
    at: int


class Shared(NamedTuple):
    """The share of n-grams that occur in the training text: of samples, and of text that the model was not trained on.

    size  n, in characters; a share is None for texts without n-grams
    """

    size: int
    samples: float | None
    real: float | None


@dataclass(frozen=True)
class Memorisation:
    """What samples have in common with a training text.

    shared        for each size of n-grams
    longest       the longest copy; None if not even the shortest n-gram of a sample occurs
    real_longest  the length of the longest passage that the other text shares; None likewise
    repeated      the share of the samples' characters in lines, or documents, that the training text has too; None for
                  samples without any
    """

    shared: list[Shared]
    longest: Copy | None
    real_longest: int | None
    repeated: float | None


def memorisation(
    samples: Sequence[str], real: Sequence[str], train: Text, sizes: Sequence[int] = SIZES
) -> Memorisation:
    """Return what samples have in common with a training text, which is read once for each size and in the search.

    samples, real  in the form of the training text; a model of bytes has one character for each byte
    sizes          ascending
    N-grams are compared by 64-bit hashes, so memory does not depend on the length of the training text.
    """
    found = {size: places([*samples, *real], train, size) for size in sizes}
    own, other = slice(len(samples)), slice(len(samples), None)
    longest, usual = (
        _longest(texts, train, {size: found[size][part] for size in sizes})
        for texts, part in ((samples, own), (real, other))
    )
    separator = END if END in train.symbols else "\n"
    return Memorisation(
        [Shared(size, _share(found[size][own]), _share(found[size][other])) for size in sizes],
        longest,
        None if usual is None else len(usual.text),
        repeated_share(train, Text.of(separator + separator.join(samples) + separator)),
    )


def _share(found: Sequence[npt.NDArray[np.intp]]) -> float | None:
    """Return the share of n-grams that occur, of all texts together."""
    every = np.concatenate([np.empty(0, np.intp), *found])
    return float((every >= 0).mean()) if len(every) else None


def _longest(samples: Sequence[str], train: Text, found: dict[int, list[npt.NDArray[np.intp]]]) -> Copy | None:
    """Return the longest copy: longer than the largest n that occurs by at most the n-grams that follow one another."""
    occurring = [size for size, at in found.items() if _most_in_a_row(at)]
    if not occurring:
        return None
    low = max(occurring)
    at = found[low]
    high = low + _most_in_a_row(at) - 1
    while low < high:
        middle = (low + high + 1) // 2
        longer = places(samples, train, middle)
        if count := _most_in_a_row(longer):
            low, at, high = middle, longer, min(high, middle + count - 1)
        else:
            high = middle - 1
    sample = next(number for number, own in enumerate(at) if (own >= 0).any())
    begin = int(np.flatnonzero(at[sample] >= 0)[0])
    return Copy(samples[sample][begin : begin + low], sample, begin, int(at[sample][begin]))


def _most_in_a_row(found: Sequence[npt.NDArray[np.intp]]) -> int:
    """Return how many n-grams that follow one another occur, at most."""
    most = 0
    for own in found:
        misses = np.flatnonzero(np.concatenate([[True], own < 0, [True]]))
        most = max(most, int(np.diff(misses).max()) - 1)
    return most


class Place(NamedTuple):
    """The file in which a passage of a corpus begins, and its line there, from 1."""

    file: str
    line: int


def place_of(at: int, passage: str, source: Source, config: TextConfig) -> Place | None:
    """Return the place of a passage at this position of a corpus, whose files are read again.

    None if the corpus is split into documents, whose positions do not follow the files, or if its files have changed.
    """
    if config.has_documents:
        return None
    for file in list_files(source.paths):
        with suppress(CorpusError):  # an empty file
            text = read_text(file, config=config)
            if at < len(text):
                here = str(text[at : at + len(passage)])
                return Place(file, 1 + _newlines(text[:at])) if passage.startswith(here) else None
            at -= len(text)
    return None


def _newlines(text: Text) -> int:
    """Return how many lines end in a text."""
    newline = text.symbols.find("\n")
    return sum(int(np.count_nonzero(ids == newline)) for ids in text.chunks()) if newline >= 0 else 0
