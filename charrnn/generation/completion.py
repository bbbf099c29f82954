"""Completion: the most likely continuations of a text, to its next character or the end of its word or line.

A word consists of letters, digits, their combining marks, and the characters used within words: apostrophes,
underscores, and the invisible joiners of some scripts. Any other character ends it, as does the end of a document; in
a model of bytes, all bytes beyond ASCII count as letters. If the text ends between words, the completion includes the
characters before the next word. A word or line has the total probability of all the ways it may end.
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
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.generation.beam import Hypothesis, beam_search
from charrnn.generation.constraint import Constraint
from charrnn.generation.rules import NEVER, Rules
from charrnn.generation.settings import GOALS, CompletionConfig
from charrnn.generation.writer import Writer

#: Only this many characters at the end of a text are read, or as many as the memory remembers if that is more. With
#: LSTMs of 320 and 384 units on tiny Shakespeare and a layer-normalised LSTM of 384 units on a story, but no memory,
#: reading more changes no probability by over 6e-7, which is rounding. Attention adds as many as it looks back, and
#: a model that counts what it reads reads all.
CONTEXT = 256
_WIDTH = 16  # hypotheses that are kept, at least
_WITHIN_WORDS = "'’\u200c\u200d"


@dataclass(frozen=True)
class Completion:
    """A continuation of a text.

    text     the added characters, without the one that ends a word or line
    logprob  the model's log-probability of this continuation and, if it is complete, of its end, in nats
    ended    the unit that is complete: char, word or line; "document" at the end mark; "length" if it was cut off
    """

    text: str
    logprob: float
    ended: str

    @property
    def probability(self) -> float:
        """Return the probability of the completion."""
        return math.exp(self.logprob)


@dataclass(frozen=True)
class Completions:
    """The most likely completions of a text, best first."""

    text: str
    completions: tuple[Completion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that `complete --json` prints."""
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
    """Return the most likely completions of the text, found by beam search; fewer than `count` if there are no more.

    Raises:  as for `LanguageModel.complete`.
    """
    CompletionConfig(to, count, max_length)
    vocab = writer.vocab
    if vocab.reverse:
        raise ConfigError("a completion continues a text, and this model reads backwards: use one trained forwards")
    memory = writer.ensemble.memory
    reach = max(member.config.attention for member in writer.ensemble.members)
    ids = vocab.encode(text, unknown)
    if memory is None or not memory.counts:
        ids = ids[-max(CONTEXT + reach, memory.size if memory else 0) :]
    rules = Rules(
        length=max_length or GOALS[to],
        end=vocab.end,
        never=vocab.unknown,
        constraint=None if to == "char" else _until_end(vocab, to, ids),
    )
    primed, width = writer.prime(ids, rules), max(_WIDTH, count)
    hypotheses = beam_search(writer.ensemble, primed, rules, width=width, length_norm=0, count=count, join_ends=True)
    return Completions(text, tuple(_completion(vocab, to, one) for one in hypotheses))


def _until_end(vocab: Vocab, to: str, ids: Ids) -> Constraint:
    """Return the constraint to one word or line, with the character that ends it."""
    kinds = _end_kinds(vocab, to)
    if to == "line" and vocab.end is None and not kinds.any():
        raise ConfigError("--to line: the model does not know line ends: use --to word")
    if to == "line" or (len(ids) and not kinds[ids[-1]]):
        table = [[0, 1], [2, 2], [2, 2]]  # states: within, after its end, dead
    else:
        table = [[1, 0], [1, 2], [3, 3], [3, 3]]  # states: before the word, within, after its end, dead
    needs = np.zeros(len(table), np.intp)
    needs[-1] = NEVER
    return Constraint(vocab.end, kinds, np.array(table), needs)


@lru_cache(8)
def _end_kinds(vocab: Vocab, to: str) -> npt.NDArray[np.intp]:
    """Return 1 for each symbol that ends a word or line, else 0, (V,)."""
    kinds = np.zeros(vocab.size, np.intp)
    ends = _ends_line if to == "line" else _ends_word
    of_bytes = vocab.kind == "bytes"
    kinds[: len(vocab.symbols)] = [ends(char) and not (of_bytes and char > "\x7f") for char in vocab.symbols]
    return kinds


def _ends_line(char: str) -> bool:
    return char in "\r\n"


def _ends_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] not in "LMN" and category != "Pc" and char not in _WITHIN_WORDS


def _completion(vocab: Vocab, to: str, best: Hypothesis) -> Completion:
    ids, ended = best.ids, best.ended
    if to == "char":
        ended = "document" if ended == "document" else "char"
    elif ended != "length":
        ids, ended = ids[:-1], to
    # A byte that is not UTF-8 becomes a lone surrogate, which `Vocab.encode` turns back into the same byte.
    text = vocab.to_bytes(ids).decode("utf-8", "surrogateescape")
    return Completion(text, math.fsum(best.log_probs.tolist()), ended)
