"""Completion: the likeliest ways on from a text, to its next character or to the end of its word or line.

A word is made of letters, digits, the marks that combine with them, and what stands within words: apostrophes,
underscores, and the invisible joiners of some scripts. It ends before any other character, and where a document ends;
of bytes, those beyond ASCII are parts of letters. Behind a word, what stands before the next one belongs to the
completion. All ends are one: the probability of a word or line is that it stands there, whatever ends it.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids
from charrnn.config import GOALS, MOST_COMPLETED
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.generation.beam import Found, beam
from charrnn.generation.constraint import NEVER, Constraint
from charrnn.generation.rules import Rules
from charrnn.generation.settings import MAX_LENGTH_RULE
from charrnn.generation.writer import Writer

#: Characters of a text that are read, its last ones. Of LSTMs of 320 and 384 units on tiny Shakespeare and an LSTM with
#: layer normalisation of 384 units on a story, 256 in place of all change no probability by more than 6e-7, a rounding.
CONTEXT = 256
MOST = 1000  # completions of a text
_WIDTH = 16  # beginnings that are kept, at the least
_WITHIN_WORDS = "'’\u200c\u200d"


@dataclass(frozen=True)
class Completion:
    """What may follow a text.

    text     what is added to it; of a word or line without what ends it
    logprob  the model's log-probability that the text goes on so, and ends there if it is whole, in nats
    ended    what it is: a whole char, word or line; "document" for the end mark; "length" for what was cut
    """

    text: str
    logprob: float
    ended: str

    @property
    def probability(self) -> float:
        """Return the same as a probability."""
        return math.exp(self.logprob)


@dataclass(frozen=True)
class Completions:
    """The likeliest completions of a text, the likeliest first."""

    text: str
    completions: tuple[Completion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return them by the names under which `complete --json` prints them."""
        return {
            "text": self.text,
            "completions": [
                {"text": one.text, "probability": one.probability, "logprob": one.logprob, "ended": one.ended}
                for one in self.completions
            ],
        }


def complete(
    writer: Writer,
    text: str,
    *,
    to: str = "word",
    count: int = 5,
    max_length: int | None = None,
    unknown: str = "error",
) -> Completions:
    """Return the likeliest completions of the text that a beam finds; fewer than `count` where there are no more.

    Raises:  as for `LanguageModel.complete`.
    """
    if to not in GOALS:
        raise ConfigError(f"a text is completed to {', '.join(GOALS)}, not to {to!r}")
    if not 1 <= count <= MOST:
        raise ConfigError(f"{count} completions: ask for 1 to {MOST:,}")
    if max_length is not None and (to == "char" or not 1 <= max_length <= MOST_COMPLETED):
        raise ConfigError(MAX_LENGTH_RULE)
    vocab = writer.vocab
    ids = vocab.encode(text, unknown)[-CONTEXT:]
    rules = Rules(
        length=max_length or GOALS[to],
        end=vocab.end,
        never=vocab.unknown,
        constraint=None if to == "char" else _up_to_end(vocab, to, ids),
    )
    begin, width = writer.begin(ids, rules), max(_WIDTH, count)
    found = beam(writer.nets, begin, rules, width=width, length_norm=0, count=count, ends_alike=True)
    return Completions(text, tuple(_completion(vocab, to, one) for one in found))


def _up_to_end(vocab: Vocab, to: str, ids: Ids) -> Constraint:
    """Return the automaton of what goes on to the end of a word or line, and takes the character that ends it."""
    ending = _ending(vocab, to)
    if to == "line" and vocab.end is None and not ending.any():
        raise ConfigError("--to line: the model knows no line ends: complete to a word")
    if to == "line" or (len(ids) and not ending[ids[-1]]):
        table = [[0, 1], [2, 2], [2, 2]]  # within, behind
    else:
        table = [[1, 0], [1, 2], [3, 3], [3, 3]]  # before the word, within, behind
    needs = np.zeros(len(table), np.intp)
    needs[-1] = NEVER
    return Constraint(vocab.end, ending, np.array(table), needs)


@lru_cache(8)
def _ending(vocab: Vocab, to: str) -> npt.NDArray[np.intp]:
    """Return 1 for the symbols that end a word or a line, else 0, (V,)."""
    ending = np.zeros(vocab.size, np.intp)
    ends = _ends_line if to == "line" else _ends_word
    of_bytes = vocab.kind == "bytes"
    ending[: len(vocab.symbols)] = [ends(char) and not (of_bytes and char > "\x7f") for char in vocab.symbols]
    return ending


def _ends_line(char: str) -> bool:
    return char in "\r\n"


def _ends_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] not in "LMN" and category != "Pc" and char not in _WITHIN_WORDS


def _completion(vocab: Vocab, to: str, found: Found) -> Completion:
    ids, ended = found.ids, found.ended
    if to == "char":
        ended = "document" if ended == "document" else "char"
    elif ended != "length":
        ids, ended = ids[:-1], to
    # A byte that is no UTF-8 becomes half a pair, from which `Vocab.encode` makes the same byte.
    text = vocab.to_bytes(ids).decode("utf-8", "surrogateescape")
    return Completion(text, math.fsum(found.log_probs.tolist()), ended)
