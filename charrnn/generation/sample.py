"""A sample: its draft while it grows, and the finished text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.data.vocab import Vocab
from charrnn.generation.loop import Step
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
    draws    the number of samples drawn for it, to get a novel one or to keep the best
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
        """Return the draft without the stop string, if one ended it.

        A draft of lines that was written backwards ends with the end of the line before them, which is left out too.
        """
        if self.ended != "stop":
            is_before = rules.backwards and rules.lines > 0 and self.ids[-1:] == [rules.newline]
            return Draft(self.ids[:-1], self.log_probs[:-1], self.ended) if is_before else self
        cut = max(len(stop) for stop in rules.stops if self.ids[-len(stop) :] == stop.tolist())
        return Draft(self.ids[:-cut], self.log_probs[:-cut], self.ended)

    def sample(self, vocab: Vocab, *, prime: str, **more: Any) -> Sample:
        """Return the finished sample.

        more  the fields of `Sample` that the draft lacks
        """
        characters, logprob = len(vocab.characters(self.ids)), math.fsum(self.log_probs)
        bpc = -logprob / math.log(2) / characters if characters else None
        text, begun = vocab.continuation(prime, self.ids), vocab.finished(prime)
        return Sample(text=text, logprob=logprob, bpc=bpc, ended=self.ended, prime=begun, **more)


def append_step(drafts: Sequence[Draft], step: Step) -> None:
    """Append a scored step to the drafts, one for each of its rows.

    Why a draft ended is set last, since other threads may read it.
    """
    assert step.log_probs is not None
    rows = zip(drafts, step.ids.tolist(), step.log_probs.tolist(), step.ended, strict=True)
    for draft, id_, log_prob, ended in rows:
        draft.log_probs.append(log_prob)
        draft.ids.append(id_)
        draft.ended = ended
