"""The writer: generates samples that follow a request's settings."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby, repeat
from typing import TYPE_CHECKING, Unpack

import numpy as np

from charrnn.arrays import Ids
from charrnn.data.text import Text
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError, ConfigError, VocabError
from charrnn.generation.ensemble import Ensemble, Primed, start_logits
from charrnn.generation.loop import Step, generate
from charrnn.generation.rules import NEVER, Rules
from charrnn.generation.settings import BeamConfig, DrawConfig, SampleConfig
from charrnn.generation.stops import StopBuffer
from charrnn.signatures import spell_out

if TYPE_CHECKING:
    from charrnn.generation.constraint import Constraint
    from charrnn.generation.sample import Sample
    from charrnn.keywords import SampleSettings

MOST_DRAWS = 20  # draws of a sample that has to be novel
MOST_SEEDS = 2**63  # the same limit as in training
MOST_CHARS = 100_000  # limit of a sample without a length, if samples are drawn side by side and shown when finished


@dataclass
class DrawCounts:
    """Counts of the samples that were drawn.

    drawn     all of them
    redrawn   those that replaced a sample that was not novel
    left_out  the indices of samples that were not novel in any of `MOST_DRAWS` draws
    """

    drawn: int = 0
    redrawn: int = 0
    left_out: list[int] = field(default_factory=list)


@dataclass(frozen=True, eq=False, repr=False)
class Writer:
    """An ensemble with its vocabulary. It keeps no state: every call starts anew.

    corpora  returns the texts that the models were trained on, for samples that have to be novel
    """

    ensemble: Ensemble
    vocab: Vocab
    corpora: Callable[[], Sequence[Text]] = tuple

    def __repr__(self) -> str:
        count = len(self.ensemble.members)
        return f"Writer({count} model{'s' * (count > 1)}, {self.vocab.summary})"

    def clamped(self, clamp: Mapping[str, float] | None) -> Writer:
        """Return a writer that holds units of the model at a value, such as {"layer0.c[123]": 2.0}.

        Raises:  ConfigError for a unit that the model does not have; see `clamps.held`.
        """
        if not clamp:
            return self
        from charrnn.generation.clamps import held

        return replace(self, ensemble=self.ensemble._replace(held=held(clamp, self.ensemble.members)))

    @spell_out(SampleConfig)
    def stream(self, *, prime: str = "", seed: int | None = None, **settings: Unpack[SampleSettings]) -> Iterator[str]:
        """Return an iterator of the characters that continue the prime, as they are drawn.

        A model that reads backwards begins with the last one, so they come in one piece when all are drawn.
        seed      random if None
        settings  fields of `SampleConfig`
        Raises:  ConfigError or VocabError, at once, for settings that the model cannot follow.
        """
        config = SampleConfig(**settings)
        rules = self.rules(self._finite(config) if self.vocab.reverse else config)
        primed = self.prime(self.vocab.encode(prime, config.unknown), rules, config.temperature)
        steps = generate(self.ensemble, [primed], [[checked_seed(seed)]], rules=rules, filters=config)
        if self.vocab.reverse:
            return (self._all(steps, rules, prime) for _ in range(1))
        characters = chain.from_iterable(self._until_stop(steps, rules))
        return filter(None, map(self.vocab.decoder(prime), characters))

    @spell_out(SampleConfig)
    def text(self, *, prime: str = "", seed: int | None = None, **settings: Unpack[SampleSettings]) -> Iterator[str]:
        """Return an iterator of the prime and what `stream` yields, in the order of the text; arguments as there."""
        pieces = self.stream(prime=prime, seed=seed, **settings)
        shown = self.vocab.finished(prime)
        return chain(pieces, [shown]) if self.vocab.reverse else chain([shown], pieces)

    def _all(self, steps: Iterable[Step], rules: Rules, prime: str) -> str:
        """Return the text of all steps of one sample."""
        from charrnn.generation.sample import Draft

        draft = Draft([], [], "length")
        for step in steps:
            draft.ids += step.ids.tolist()
            draft.ended = step.ended[0]
        return self.vocab.continuation(prime, draft.before_stop(rules).ids)

    def _finite(self, config: SampleConfig) -> SampleConfig:
        """Return the settings with a length, of at most `MOST_CHARS` if it was unlimited."""
        if config.length is not None:
            return config
        if not (config.lines or config.stop or self.vocab.end is not None):
            raise ConfigError("a sample of unlimited length would never be finished: give -n, --lines or --stop")
        return replace(config, length=MOST_CHARS)

    def _until_stop(self, steps: Iterator[Step], rules: Rules) -> Iterator[str]:
        """Yield the characters before a stop string, each as soon as it cannot be part of one."""
        characters = self.vocab.characters
        buffer, ended = StopBuffer(tuple(map(characters, rules.stops))), ""
        for step in steps:
            yield buffer.push(characters(step.ids))
            ended = step.ended[0]
        yield buffer.finish(ended)

    @spell_out(SampleConfig)
    def samples(
        self,
        count: int = 1,
        *,
        primes: Iterable[str] = ("",),
        seed: int | None = None,
        best_of: int = 1,
        novel: int = 0,
        counts: DrawCounts | None = None,
        threads: int | None = None,
        **settings: Unpack[SampleSettings],
    ) -> Generator[Sample, None, None]:
        """Return an iterator of `count` samples for each prime, drawn side by side.

        seed      random if None; seed and index determine a sample
        best_of   draw this many for each sample, and keep the one with the fewest bits per character
        novel     redraw a sample that copies this many consecutive characters of a corpus, or bytes if the model
                  writes bytes; 0: redraw none
        counts    is updated as samples are drawn
        threads   CPU cores to use; all if None. The samples are the same for any number
        settings  fields of `SampleConfig`
        A sample of unlimited length is cut off after `MOST_CHARS` characters.
        Raises:  ConfigError or VocabError for settings that the model cannot follow, at once unless a prime causes
                 it; CharRNNError after the last sample if some were left out, since no draw of them was novel.
        """
        _refuse_one_string(primes)
        config, _ = SampleConfig(**settings), DrawConfig(count, best_of, novel)
        config = self._finite(config)
        rules = self.rules(config)
        corpora = self.corpora() if novel else ()
        from charrnn.generation.drawing import Draw, Drawing, Prime, novel_samples
        from charrnn.parallel.plan import threads_to_use

        encoded = ((prime, self.vocab.encode(prime, config.unknown)) for prime in primes)
        read = (Prime(prime, partial(self.prime, ids, rules, config.temperature)) for prime, ids in encoded)
        repeated = chain.from_iterable(repeat(prime, count * best_of) for prime in read)
        draws = (Draw(number, prime) for number, prime in enumerate(repeated))
        counts = DrawCounts() if counts is None else counts
        drawing = Drawing(self, config, rules, checked_seed(seed), threads_to_use(threads))
        samples = novel_samples(drawing, draws, novel, corpora, counts, MOST_DRAWS)
        best = samples if best_of == 1 else _best_of(samples, best_of)
        return _then_report(best, counts.left_out, best_of, novel)

    @spell_out(SampleConfig)
    def beam_search(
        self,
        width: int,
        *,
        count: int = 1,
        primes: Iterable[str] = ("",),
        length_norm: float = 1.0,
        threads: int | None = None,
        **settings: Unpack[SampleSettings],
    ) -> Generator[Sample, None, None]:
        """Return an iterator of likely samples for each prime, found by beam search without any randomness.

        width        hypotheses that are kept at each step
        count        samples for each prime, the best first, if so many are found
        length_norm  the score is the log-probability divided by the length to this power
        threads      CPU cores to use; all if None. The samples are the same for any number
        settings     fields of `SampleConfig`; the filters are ignored
        Raises:      as for `samples`.
        """
        from charrnn.generation.beam import beam_search
        from charrnn.generation.sample import Draft
        from charrnn.parallel.plan import threads_to_use
        from charrnn.parallel.threads import side_by_side

        _refuse_one_string(primes)
        config, _, _ = SampleConfig(**settings), BeamConfig(width, length_norm), DrawConfig(count)
        if count > width:
            raise ConfigError(f"a beam of {width} finds at most {width}, not {count}: give --beam {count}")
        rules = self.rules(config)
        if config.length is None:
            raise ConfigError("--beam needs a maximum length: give -n")

        def find(task: tuple[int, str, Ids]) -> list[Sample]:
            first, prime, ids = task
            found = beam_search(
                self.ensemble, self.prime(ids, rules), rules, width=width, length_norm=length_norm, count=count
            )
            drafts = (
                Draft(best.ids.tolist(), best.log_probs.tolist(), best.ended).before_stop(rules) for best in found
            )
            return [
                draft.sample(self.vocab, seed=0, index=index, prime=prime) for index, draft in enumerate(drafts, first)
            ]

        tasks = (
            (number * count, prime, self.vocab.encode(prime, config.unknown)) for number, prime in enumerate(primes)
        )
        return _each(side_by_side(find, tasks, threads_to_use(threads)))

    def prime(self, ids: Ids, rules: Rules, temperature: float | None = None) -> Primed:
        """Return the state after a prime; after an empty one, the state at the start of a document or a line.

        temperature  of samples that continue it; None: they will not be drawn
        Shapes:  ids (N,), of the prime
        """
        vocab, memory = self.vocab, None if temperature is None else self.ensemble.memory_for(temperature)
        if vocab.end is not None:
            return self.ensemble.read(np.append(vocab.end, ids), memory)._replace(recent=ids)
        if len(ids):
            return self.ensemble.read(ids, memory)
        primed = self.ensemble.read(vocab.encode("\n" * ("\n" in vocab.symbols)), memory)._replace(recent=ids)
        first = start_logits(vocab.starts, vocab.size)
        fits = np.isfinite(rules.mask(first, 0, np.zeros(1, np.intp))).any()
        return primed._replace(logits=first) if fits else primed

    def rules(self, config: SampleConfig) -> Rules:
        """Return the rules of a sample in ids of the vocabulary.

        Raises:  ConfigError or VocabError for settings that the model cannot follow.
        """
        vocab = self.vocab
        if config.lines and "\n" not in vocab.symbols:
            raise ConfigError("--lines: the model does not know line ends: give -n")
        stops = tuple(self._stop_ids(stop) for stop in config.stop)
        return Rules(
            length=config.length,
            lines=config.lines,
            newline=vocab.symbols.find("\n"),
            stops=stops,
            end=vocab.end,
            never=vocab.unknown,
            constraint=self._constraint(config, stops),
            backwards=vocab.reverse,
        )

    def may_write_lines(self, **settings: Unpack[SampleSettings]) -> bool:
        """Return whether a sample with these fields of `SampleConfig` can go beyond its first line."""
        config = SampleConfig(**settings)
        if "\n" not in self.vocab.symbols or config.lines == 1 or "\n" in config.stop:
            return False
        constraint = self.rules(config).constraint
        return constraint is None or constraint.can_write(self.vocab.symbols.index("\n"))

    def _constraint(self, config: SampleConfig, stops: Sequence[Ids]) -> Constraint | None:
        """Return the constraint on a whole sample; refuse one under which the sample cannot end as requested."""
        vocab = self.vocab
        if config.regex is None and config.charset is None:
            return None
        from charrnn.generation.constraint import Constraint

        if vocab.reverse and config.regex is not None:
            raise ConfigError(
                "--regex needs a model that reads forwards, and this one writes a text from its end: leave it out"
            )
        if vocab.kind == "bytes":
            raise ConfigError(
                "--regex and --charset need a model of characters, and this one generates bytes: leave them out"
            )
        constraint = Constraint.of(
            vocab.symbols,
            vocab.size,
            regex=config.regex,
            charset=config.charset,
            end=vocab.end,
            normalize=vocab.normalize,
            lowercase=vocab.lowercase,
        )
        if config.length is not None and constraint.shortest > config.length:
            raise ConfigError(
                f"--regex {config.regex!r} matches no text of at most {config.length} characters: "
                f"give -n {constraint.shortest} or more"
            )
        start, most = np.zeros(1, np.intp), NEVER if config.length is None else config.length
        if most and not constraint.allowed(start, most).any():
            raise ConfigError(
                f"--regex {config.regex!r} matches only the empty text: give another expression, or a larger -n"
            )
        drawable = constraint.allowed(start, NEVER)[0]
        if config.lines and not drawable[vocab.symbols.index("\n")]:
            raise ConfigError(rf"--charset {config.charset!r} has no line end, which --lines needs: add \n to it")
        for stop, ids in zip(config.stop, stops, strict=True):
            if not drawable[ids].all():
                raise ConfigError(
                    f"--charset {config.charset!r} lacks characters of --stop {stop!r}, so it can never occur: "
                    "add them to it"
                )
        return constraint

    def _stop_ids(self, stop: str) -> Ids:
        """Return the ids of a stop string, normalized like the training text."""
        in_form = self.vocab.in_form(stop)
        for char in in_form:
            if char not in self.vocab.symbols:
                named = f"{char!r} (U+{ord(char):04X})"
                raise VocabError(f"--stop {stop!r} can never occur: {named} is not in the model's vocabulary")
        return self.vocab.look_up(self.vocab.turned(in_form))[0]


def _refuse_one_string(primes: Iterable[str]) -> None:
    """Raise ConfigError if primes are one string, whose characters would be the primes."""
    if isinstance(primes, str):
        raise ConfigError("primes must be a list of texts: for one text, pass primes=[text]")


def _each(groups: Generator[list[Sample], None, None]) -> Generator[Sample, None, None]:
    """Yield the samples of each group."""
    with closing(groups):
        yield from chain.from_iterable(groups)


def checked_seed(seed: int | None) -> int:
    """Return the seed, or a random one for None.

    Raises:  ConfigError if it is out of range.
    """
    if seed is None:
        return secrets.randbelow(2**32)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ConfigError(f"seed must be a whole number, got {seed!r}")
    if not 0 <= seed < MOST_SEEDS:
        raise ConfigError(f"seed {seed} is out of range: give 0 to {MOST_SEEDS - 1}")
    return seed


def _best_of(samples: Iterator[Sample], size: int) -> Iterator[Sample]:
    """Yield the best of every `size` samples, by bits per character; an empty one only if all are empty."""
    for index, drawn in groupby(samples, lambda sample: sample.index // size):
        group = list(drawn)
        best = min(group, key=lambda sample: math.inf if sample.bpc is None else sample.bpc)
        draws = sum(sample.draws for sample in group) + MOST_DRAWS * (size - len(group))  # those left out count too
        yield replace(best, index=index, draws=draws)


def _then_report(
    samples: Iterator[Sample], left_out: list[int], size: int, novel: int
) -> Generator[Sample, None, None]:
    """Yield the samples, then raise a CharRNNError if all `size` draws of a sample were left out."""
    yield from samples
    missing = [index for index, count in Counter(draw // size for draw in left_out).items() if count == size]
    if missing:
        raise CharRNNError(
            f"samples left out: {len(missing)}, first number {missing[0]}; in all {MOST_DRAWS} draws they copied "
            f"{novel} consecutive characters of the corpus: give a larger --novel or a higher --temp"
        )
