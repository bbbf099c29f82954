"""A sample: its draft while it grows, its end at a stop string, and the finished text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.data.vocab import Vocab
from charrnn.generation.rules import Rules


@dataclass(frozen=True)
class Sample:
    """A text that a model wrote.

    text     the text without the prime; if the model writes bytes, U+FFFD replaces bytes that are not UTF-8, and an
             incomplete character at the end is left out
    logprob  the model's log-probability of the text after the prime, in nats, including the end mark if it was drawn
    bpc      bits per character, or per byte if the model writes bytes; None for an empty text
    seed     the seed of the random numbers
    index    its number among the samples of this seed
    ended    why it ended: length, stop, document or constraint
    prime    the prime, without the first bytes of a character that the text completes
    draws    how many were drawn for it, until one was novel or to keep the best
    """

    text: str
    logprob: float
    bpc: float | None
    seed: int
    index: int
    ended: str
    prime: str
    draws: int = 1


@dataclass
class Draft:
    """A sample that is being drawn."""

    ids: list[int]
    log_probs: list[float]
    ended: str

    def before_stop(self, rules: Rules) -> Draft:
        """Return the draft without the stop string, if one ended it."""
        if self.ended != "stop":
            return self
        cut = max(len(stop) for stop in rules.stops if self.ids[-len(stop) :] == stop.tolist())
        return Draft(self.ids[:-cut], self.log_probs[:-cut], self.ended)

    def sample(self, vocab: Vocab, *, prime: str, **more: Any) -> Sample:
        """Return the finished sample.

        more  fields of `Sample` that the draft does not know
        """
        characters, logprob = vocab.characters(self.ids), math.fsum(self.log_probs)
        bpc = -logprob / math.log(2) / len(characters) if characters else None
        text, begun = vocab.decoder(prime)(characters), vocab.finished(prime)
        return Sample(text=text, logprob=logprob, bpc=bpc, ended=self.ended, prime=begun, **more)


def held_back(characters: Iterator[str], stops: tuple[str, ...]) -> Iterator[str]:
    """Yield the characters before the first stop string, each as soon as it cannot be part of one."""
    if not stops:
        yield from (character for character in characters if character)
        return
    held = ""
    for character in characters:
        held += character
        if cut := max((len(stop) for stop in stops if held.endswith(stop)), default=0):
            yield from held[:-cut]
            return
        sure = len(held) - unsure(held, stops)
        yield from held[:sure]
        held = held[sure:]
    yield from held


def unsure(text: str, stops: tuple[str, ...]) -> int:
    """Return how many characters at the text's end are, or may be the start of, a stop string."""
    return max(
        (size for stop in stops for size in range(min(len(stop), len(text)) + 1) if text.endswith(stop[:size])),
        default=0,
    )
