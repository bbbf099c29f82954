"""A text that is written: its ids while it grows, where a stop string cuts it, and what it is in the end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from charrnn.data.vocab import Vocab
from charrnn.generation.rules import Rules


@dataclass(frozen=True)
class Sample:
    """A text that was written.

    text     what was written, without the prime; of bytes, those that are no UTF-8 are U+FFFD, and a character that is
             not complete at the end is left out
    logprob  the model's log-probability of it after the prime, in nats; of the end mark too, where it ended with one
    bpc      bits for each of its characters, or of its bytes where the model writes these; None if there are none
    seed     that of the random numbers
    index    its place among the texts of this seed
    ended    why it ended: length, stop, document or constraint
    prime    what it goes on from, but for the first bytes of a character that the text completes
    draws    how many were drawn for it, until one was novel, or to take the best
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
class Written:
    """A text in the making."""

    ids: list[int]
    log_probs: list[float]
    ended: str

    def before_stop(self, rules: Rules) -> Written:
        """Return the same without the stop string, if one ended it."""
        if self.ended != "stop":
            return self
        cut = max(len(stop) for stop in rules.stops if self.ids[-len(stop) :] == stop.tolist())
        return Written(self.ids[:-cut], self.log_probs[:-cut], self.ended)

    def sample(self, vocab: Vocab, *, prime: str, **more: Any) -> Sample:
        """Return what was written after the prime, as text."""
        characters, logprob = vocab.characters(self.ids), math.fsum(self.log_probs)
        bpc = -logprob / math.log(2) / len(characters) if characters else None
        text, begun = vocab.decoder(prime)(characters), vocab.finished(prime)
        return Sample(text=text, logprob=logprob, bpc=bpc, ended=self.ended, prime=begun, **more)


def held_back(characters: Iterator[str], stops: tuple[str, ...]) -> Iterator[str]:
    """Yield the characters up to the first stop string, each as soon as it cannot be the beginning of one."""
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
    """Return how many characters at the text's end are a stop string, or may be the beginning of one."""
    return max(
        (size for stop in stops for size in range(min(len(stop), len(text)) + 1) if text.endswith(stop[:size])),
        default=0,
    )
