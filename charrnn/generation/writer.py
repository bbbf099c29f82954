"""The writer: what a model writes, as text, and when it is done."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Any

import numpy as np

from charrnn.arrays import Ids
from charrnn.config import MOST_LENGTH, MOST_NORM, MOST_WIDTH
from charrnn.data.text import Text
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError, ConfigError, VocabError
from charrnn.generation.beam import beam
from charrnn.generation.constraint import NEVER, Constraint
from charrnn.generation.ensemble import Beginning, Nets, start_logits
from charrnn.generation.filters import Filters
from charrnn.generation.loop import generate
from charrnn.generation.novelty import copied
from charrnn.generation.rules import Rules
from charrnn.generation.sample import Sample, Written, held_back
from charrnn.generation.settings import CONFLICTS

MOST_DRAWS = 20  # of a text that has to be novel
MOST_SEEDS = 2**63  # as many as `train` takes
MOST_CHARS = 100_000  # of a text of no given length: what is written side by side is shown when it is whole
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
        if not 0 <= (self.length or 0) <= MOST_LENGTH or self.lines < 0:
            raise ConfigError(f"length is 0 to {MOST_LENGTH:,} characters, and lines at least 0")
        if isinstance(self.stop, str) or not all(self.stop):
            raise ConfigError("a stop string (--stop) has one character at least; the library takes a tuple of them")
        for names, message in CONFLICTS:
            if all(getattr(self, name) not in (None, (), 0) for name in names):
                raise ConfigError(message)


@dataclass
class Draws:
    """What is counted while texts are drawn.

    made      texts drawn
    again     those of them that were drawn in place of one that was not novel
    left_out  places among all texts of those that were not novel in `MOST_DRAWS` draws
    """

    made: int = 0
    again: int = 0
    left_out: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Writer:
    """Models that write together, and their vocabulary. It keeps no state: every call begins anew.

    corpora  what gives the texts that they learned from, where novel texts are wanted
    """

    nets: Nets
    vocab: Vocab
    corpora: Callable[[], Sequence[Text]] = tuple

    def stream(self, *, prime: str = "", seed: int | None = None, **wishes: Any) -> Iterator[str]:
        """Return an iterator of the characters that continue the prime, as they are drawn.

        seed    random if None
        wishes  fields of `Wishes`
        Raises:  ConfigError or VocabError, at once, for a wish that cannot be met.
        """
        wanted = Wishes(**wishes)
        rules = self.rules(wanted)
        begin = self.begin(self.vocab.encode(prime, wanted.unknown), rules)
        steps = generate(self.nets, [begin], [[_seed(seed)]], rules=rules, filters=wanted)
        characters = self.vocab.characters
        sure = held_back((characters(step.ids) for step in steps), tuple(map(characters, rules.stops)))
        return filter(None, map(self.vocab.decoder(prime), sure))

    def samples(
        self,
        count: int = 1,
        *,
        primes: Iterable[str] = ("",),
        seed: int | None = None,
        best_of: int = 1,
        novel: int = 0,
        draws: Draws | None = None,
        **wishes: Any,
    ) -> Iterator[Sample]:
        """Return an iterator of `count` texts for each prime, written side by side.

        seed     random if None; seed and index decide a text
        best_of  so many are drawn for each, and the one with the fewest bits per character is taken
        novel    a text that has so many characters in a row with a corpus, or bytes where the model writes these, is
                 drawn again; 0: none is
        draws    counts what is drawn
        wishes   fields of `Wishes`
        A text of no given length that does not end by itself ends after `MOST_CHARS` characters.
        Raises:  ConfigError or VocabError for a wish that cannot be met, at once but for what a prime has; CharRNNError
                 after the last text where some are missing, since they were not novel in `MOST_DRAWS` draws.
        """
        wanted = Wishes(**wishes)
        if count < 1 or best_of < 1 or novel < 0:
            raise ConfigError("count and best_of are at least 1, and novel at least 0")
        if wanted.length is None:
            if not (wanted.lines or wanted.stop or self.vocab.end is not None):
                raise ConfigError(
                    "a text without an end can only be shown as it is written: give -n, --lines or --stop"
                )
            wanted = replace(wanted, length=MOST_CHARS)
        rules = self.rules(wanted)
        corpora = self.corpora() if novel else ()
        tasks = (
            (prime, begin)
            for prime in primes
            for begin in [self.begin(self.vocab.encode(prime, wanted.unknown), rules)]
            for _ in range(count * best_of)
        )
        draws = Draws() if draws is None else draws
        drawn = self._drawn(tasks, wanted, rules, _seed(seed), novel, corpora, draws)
        return _told(_best(drawn, best_of), draws.left_out, best_of, novel)

    def likeliest(
        self, width: int, *, primes: Iterable[str] = ("",), length_norm: float = 1.0, **wishes: Any
    ) -> Iterator[Sample]:
        """Return an iterator of a likely text for each prime, found by beam search: nothing is drawn.

        width        beginnings that are kept at each step
        length_norm  what is highest is the log-probability divided by the length to this power
        wishes       fields of `Wishes`; its filters have no say
        Raises:      as for `samples`.
        """
        wanted = Wishes(**wishes)
        rules = self.rules(wanted)
        if not (1 <= width <= MOST_WIDTH and 0 <= length_norm <= MOST_NORM):
            raise ConfigError(f"a beam is 1 to {MOST_WIDTH:,} wide, and its length norm 0 to {MOST_NORM}")
        if wanted.length is None:
            raise ConfigError("--beam compares texts up to a length: give -n")
        found = (
            (prime, beam(self.nets, begin, rules, width=width, length_norm=length_norm)[0])
            for prime in primes
            for begin in [self.begin(self.vocab.encode(prime, wanted.unknown), rules)]
        )
        return (
            Written(own.ids.tolist(), own.log_probs.tolist(), own.ended)
            .before_stop(rules)
            .sample(self.vocab, seed=0, index=index, prime=prime)
            for index, (prime, own) in enumerate(found)
        )

    def _drawn(
        self,
        tasks: Iterator[tuple[str, Beginning]],
        wanted: Wishes,
        rules: Rules,
        seed: int,
        novel: int,
        corpora: Sequence[Text],
        draws: Draws,
    ) -> Iterator[Sample]:
        """Yield a text for each task: a prime, and what it leads to; what is not novel is left out."""
        first = 0
        while together := list(islice(tasks, _TOGETHER)):
            samples: dict[int, Sample] = {}
            rows, draw = list(range(len(together))), 0
            while rows and draw < MOST_DRAWS:
                begins = [together[row][1] for row in rows]
                entropy = [[seed, first + row, draw] for row in rows]
                draws.made += len(rows)
                draws.again += len(rows) if draw else 0
                draw += 1
                written = [own.before_stop(rules) for own in self._written(begins, entropy, wanted, rules)]
                for row, own in zip(rows, written, strict=True):
                    samples[row] = own.sample(
                        self.vocab, seed=seed, index=first + row, prime=together[row][0], draws=draw
                    )
                texts = [self.vocab.characters(own.ids) for own in written]
                copies = [copied(texts, corpus, novel) for corpus in corpora]
                rows = [row for row, *copy in zip(rows, *copies, strict=True) if any(copy)]
            yield from (samples[row] for row in range(len(together)) if row not in rows)
            draws.left_out += [first + row for row in rows]
            first += len(together)

    def _written(
        self, begins: list[Beginning], entropy: list[list[int]], wanted: Wishes, rules: Rules
    ) -> list[Written]:
        """Return what is written after each beginning."""
        written = [Written([], [], "length") for _ in begins]
        for step in generate(self.nets, begins, entropy, rules=rules, filters=wanted, scored=True):
            assert step.log_probs is not None
            for row, id_, log_prob, ended in zip(
                step.texts.tolist(), step.ids.tolist(), step.log_probs.tolist(), step.ended, strict=True
            ):
                own = written[row]
                own.ids.append(id_)
                own.log_probs.append(log_prob)
                own.ended = ended
        return written

    def begin(self, ids: Ids, rules: Rules) -> Beginning:
        """Return what a text goes on from: its prime; without one, the beginning of a document or a line.

        Shapes:  ids (N,), of the prime
        """
        vocab = self.vocab
        if vocab.end is not None:
            return self.nets.read(np.append(vocab.end, ids))._replace(recent=ids)
        if len(ids):
            return self.nets.read(ids)
        begin = self.nets.read(vocab.encode("\n" * ("\n" in vocab.symbols)))._replace(recent=ids)
        first = start_logits(vocab.starts, vocab.size)
        fits = np.isfinite(rules.possible(first, 0, np.zeros(1, np.intp))).any()
        return begin._replace(logits=first) if fits else begin

    def rules(self, wanted: Wishes) -> Rules:
        """Return the wishes in terms of the vocabulary's ids.

        Raises:  ConfigError or VocabError for a wish that cannot be met.
        """
        vocab = self.vocab
        if wanted.lines and "\n" not in vocab.symbols:
            raise ConfigError("--lines: the model knows no line ends: give -n")
        stops = tuple(self._stop(stop) for stop in wanted.stop)
        return Rules(
            length=wanted.length,
            lines=wanted.lines,
            newline=vocab.symbols.find("\n"),
            stops=stops,
            end=vocab.end,
            never=vocab.unknown,
            constraint=self._constraint(wanted, stops),
        )

    def _constraint(self, wanted: Wishes, stops: Sequence[Ids]) -> Constraint | None:
        """Return what all of a text has to match, which must not keep it from its ends."""
        vocab = self.vocab
        if wanted.regex is None and wanted.charset is None:
            return None
        if vocab.kind == "bytes":
            raise ConfigError("--regex and --charset are for models of characters: this one writes bytes")
        constraint = Constraint.of(vocab.symbols, vocab.size, regex=wanted.regex, charset=wanted.charset, end=vocab.end)
        if wanted.length is not None and constraint.shortest > wanted.length:
            raise ConfigError(
                f"--regex {wanted.regex!r} is matched by no text of {wanted.length} characters: "
                f"give -n {constraint.shortest} or more"
            )
        begin, most = np.zeros(1, np.intp), NEVER if wanted.length is None else wanted.length
        if most and not constraint.allowed(begin, most).any():
            raise ConfigError(
                f"--regex {wanted.regex!r} lets nothing be written but the empty text: give another expression, or a "
                "larger -n"
            )
        writable = constraint.allowed(begin, NEVER)[0]
        if wanted.lines and not writable[vocab.symbols.index("\n")]:
            raise ConfigError(rf"--charset {wanted.charset!r} leaves no line ends for --lines: add \n to it")
        for stop, ids in zip(wanted.stop, stops, strict=True):
            if not writable[ids].all():
                raise ConfigError(
                    f"--charset {wanted.charset!r} lacks characters of --stop {stop!r}, which can never be written: "
                    "add them to it"
                )
        return constraint

    def _stop(self, stop: str) -> Ids:
        """Return the ids of a stop string, brought into form as the texts are that the model learned from."""
        in_form = self.vocab.in_form(stop)
        for char in in_form:
            if char not in self.vocab.symbols:
                named = f"{char!r} (U+{ord(char):04X})"
                raise VocabError(f"--stop {stop!r} can never be written: {named} is not in the model's vocabulary")
        return self.vocab.look_up(in_form)[0]


def _seed(seed: int | None) -> int:
    """Return the seed, or a random one.

    Raises:  ConfigError where it is out of range.
    """
    if seed is None:
        return secrets.randbelow(2**32)
    if not 0 <= seed < MOST_SEEDS:
        raise ConfigError(f"seed {seed} is out of range: give 0 to {MOST_SEEDS - 1}")
    return seed


def _best(samples: Iterator[Sample], of: int) -> Iterator[Sample]:
    """Yield the likeliest of each so many samples, by bits per character; an empty text is the last resort."""
    for index, drawn in groupby(samples, lambda sample: sample.index // of):
        group = list(drawn)
        best = min(group, key=lambda sample: math.inf if sample.bpc is None else sample.bpc)
        draws = sum(sample.draws for sample in group) + MOST_DRAWS * (of - len(group))  # of those left out too
        yield replace(best, index=index, draws=draws)


def _told(samples: Iterator[Sample], left_out: list[int], of: int, novel: int) -> Iterator[Sample]:
    """Yield the samples; then, where all draws of one were left out, raise a CharRNNError that tells of it."""
    yield from samples
    missing = [index for index, count in Counter(draw // of for draw in left_out).items() if count == of]
    if missing:
        raise CharRNNError(
            f"texts left out: {len(missing)}, the first is number {missing[0]}; they had {novel} characters in a row "
            f"with the corpus in all {MOST_DRAWS} draws: give a larger --novel or a higher --temp"
        )
