"""The writer: what a model writes, as text, and when it is done."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from charrnn.arrays import Ids
from charrnn.constraint import Constraint
from charrnn.errors import ConfigError, VocabError
from charrnn.filters import Filters
from charrnn.sample import Beginning, Nets, Rules, generate, start_logits
from charrnn.vocab import Vocab

_TOGETHER = 256  # texts that are written side by side: more bring no more speed, and would take more memory


@dataclass(frozen=True)
class Wishes(Filters):
    """What is to be written: the filters, what ends a text, and what all of it has to be.

    length   characters to write; None: as many as it takes
    lines    line ends to write; 0: any number
    stop     strings that end a text, which then has all that stood before
    regex    a regular expression that every text matches in full
    charset  the characters that may be written, as they stand between [ and ] in a regular expression
    unknown  what to do with characters of a prime that the vocabulary lacks: "error" or "skip"
    """

    length: int | None = 500
    lines: int = 0
    stop: tuple[str, ...] = ()
    regex: str | None = None
    charset: str | None = None
    unknown: str = "error"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.length or 0) < 0 or self.lines < 0:
            raise ConfigError("length and lines are at least 0")
        if isinstance(self.stop, str) or not all(self.stop):
            raise ConfigError("a stop string has one character at least, and several stand in a tuple")
        if self.regex is not None and (self.stop or self.lines):
            raise ConfigError("--regex takes no --stop and no --lines, which would cut a match short: give one of them")


@dataclass(frozen=True)
class Sample:
    """A text that was written.

    text     what was written, without the prime
    logprob  the model's log-probability of it after the prime, in nats; of the end mark too, where it ended with one
    bpc      bits for each of its characters; None if there are none
    seed     that of the random numbers
    index    its place among the texts of this seed
    ended    why it ended: length, stop, document or constraint
    prime    what it goes on from
    """

    text: str
    logprob: float
    bpc: float | None
    seed: int
    index: int
    ended: str
    prime: str


@dataclass(frozen=True)
class Writer:
    """Models that write together, and their vocabulary. It keeps no state: every call begins anew."""

    nets: Nets
    vocab: Vocab

    def stream(self, *, prime: str = "", seed: int | None = None, **wishes: Any) -> Iterator[str]:
        """Return an iterator of the characters that continue the prime, as they are drawn.

        seed    random if None
        wishes  fields of `Wishes`
        Raises:  ConfigError or VocabError, at once, for a wish that cannot be met.
        """
        wanted = Wishes(**wishes)
        rules = self._rules(wanted)
        begin = self._begin(prime, wanted, rules)
        steps = generate(self.nets, [begin], [[_seed(seed)]], rules=rules, filters=wanted)
        return _held_back((self.vocab.decode(step.ids) for step in steps), wanted.stop)

    def samples(
        self, count: int = 1, *, primes: Iterable[str] = ("",), seed: int | None = None, best_of: int = 1, **wishes: Any
    ) -> Iterator[Sample]:
        """Return an iterator of `count` texts for each prime, written side by side.

        seed     random if None; seed and index decide a text
        best_of  so many are drawn for each, and the one with the fewest bits per character is taken
        wishes   fields of `Wishes`
        Raises:  ConfigError or VocabError for a wish that cannot be met, at once but for what a prime has.
        """
        wanted = Wishes(**wishes)
        rules = self._rules(wanted)
        if count < 1 or best_of < 1:
            raise ConfigError("count and best_of are at least 1")
        if wanted.length is None and not (wanted.lines or wanted.stop or wanted.regex or self.vocab.end is not None):
            raise ConfigError("a text without an end can only be shown as it is written: give -n, --lines or --stop")
        drawn = self._drawn(primes, count * best_of, _seed(seed), wanted, rules)
        if best_of == 1:
            return drawn
        return _best(drawn, best_of)

    def _drawn(self, primes: Iterable[str], count: int, seed: int, wanted: Wishes, rules: Rules) -> Iterator[Sample]:
        """Yield `count` texts for each prime."""
        tasks = (
            (prime, begin) for prime in primes for begin in [self._begin(prime, wanted, rules)] for _ in range(count)
        )
        first = 0
        while together := list(islice(tasks, _TOGETHER)):
            entropy = [[seed, index] for index in range(first, first + len(together))]
            written = [_Written() for _ in together]
            begins = [begin for _, begin in together]
            for step in generate(self.nets, begins, entropy, rules=rules, filters=wanted, scored=True):
                assert step.log_probs is not None
                rows = zip(step.texts.tolist(), step.ids.tolist(), step.log_probs.tolist(), step.ended, strict=True)
                for row, id_, log_prob, ended in rows:
                    written[row].add(id_, log_prob, ended)
            for index, ((prime, _), own) in enumerate(zip(together, written, strict=True), first):
                yield own.sample(self.vocab, wanted.stop, seed=seed, index=index, prime=prime)
            first += len(together)

    def _begin(self, prime: str, wanted: Wishes, rules: Rules) -> Beginning:
        """Return what a text goes on from: its prime; without one, the beginning of a document or a line."""
        vocab, ids = self.vocab, self.vocab.encode(prime, wanted.unknown)
        if vocab.end is not None:
            return self.nets.read(np.append(vocab.end, ids))._replace(recent=ids)
        if len(ids):
            return self.nets.read(ids)
        begin = self.nets.read(vocab.encode("\n", "skip"))._replace(recent=ids)
        first = start_logits(vocab.starts, vocab.size)
        fits = np.isfinite(rules.possible(first, 0, np.zeros(1, np.intp))).any()
        return begin._replace(logits=first) if fits else begin

    def _rules(self, wanted: Wishes) -> Rules:
        """Return the wishes in terms of the vocabulary's ids."""
        vocab = self.vocab
        if wanted.lines and "\n" not in vocab.symbols:
            raise ConfigError("--lines: the model knows no line ends: give -n")
        constraint = None
        if wanted.regex is not None or wanted.charset is not None:
            constraint = Constraint.of(
                vocab.symbols, vocab.size, regex=wanted.regex, charset=wanted.charset, end=vocab.end
            )
            if wanted.length is not None and constraint.shortest > wanted.length:
                raise ConfigError(
                    f"--regex {wanted.regex!r} is matched by no text of {wanted.length} characters: "
                    f"give -n {constraint.shortest} or more"
                )
        return Rules(
            length=wanted.length,
            lines=wanted.lines,
            newline=vocab.symbols.find("\n"),
            stops=tuple(self._stop(stop) for stop in wanted.stop),
            end=vocab.end,
            never=vocab.unknown,
            constraint=constraint,
        )

    def _stop(self, stop: str) -> Ids:
        absent = [char for char in stop if char not in self.vocab.symbols]
        if absent:
            raise VocabError(
                f"--stop {stop!r} can never be written: {absent[0]!r} (U+{ord(absent[0]):04X}) is not in the model's "
                "vocabulary"
            )
        return self.vocab.encode(stop)


class _Written:
    """A text in the making."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.log_probs: list[float] = []
        self.ended = "length"

    def add(self, id_: int, log_prob: float, ended: str) -> None:
        """Take one more id."""
        self.ids.append(id_)
        self.log_probs.append(log_prob)
        self.ended = ended

    def sample(self, vocab: Vocab, stops: tuple[str, ...], **more: Any) -> Sample:
        """Return what was written, without the stop string that ended it."""
        text, log_probs = vocab.decode(self.ids), self.log_probs
        if self.ended == "stop":
            cut = max(len(stop) for stop in stops if text.endswith(stop))
            text, log_probs = text[:-cut], log_probs[:-cut]
        logprob = math.fsum(log_probs)
        bpc = -logprob / math.log(2) / len(text) if text else None
        return Sample(text=text, logprob=logprob, bpc=bpc, ended=self.ended, **more)


def _seed(seed: int | None) -> int:
    return secrets.randbelow(2**32) if seed is None else seed


def _best(samples: Iterator[Sample], of: int) -> Iterator[Sample]:
    """Yield the likeliest of each so many samples, by bits per character; an empty text is the last resort."""
    index = 0
    while group := list(islice(samples, of)):
        best = min(group, key=lambda sample: math.inf if sample.bpc is None else sample.bpc)
        yield replace(best, index=index)
        index += 1


def _held_back(characters: Iterator[str], stops: tuple[str, ...]) -> Iterator[str]:
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
        keep = max(size for stop in stops for size in range(len(stop)) if held.endswith(stop[:size]))
        yield from held[: len(held) - keep]
        held = held[len(held) - keep :]
    yield from held
