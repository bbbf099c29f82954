"""Drawing: groups of samples, drawn side by side in several threads, and redrawn if they have to be novel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from charrnn.data.text import Text
from charrnn.generation.ensemble import Primed
from charrnn.generation.loop import generate, group_size
from charrnn.generation.novelty import copied
from charrnn.generation.rules import Rules
from charrnn.generation.sample import Draft, Sample, append_step
from charrnn.generation.settings import SampleConfig
from charrnn.parallel.threads import side_by_side

if TYPE_CHECKING:
    from charrnn.generation.writer import DrawCounts, Writer

T = TypeVar("T")

_BATCH = 256  # samples that are compared with the corpora at once, since each comparison reads all of these


class Prime:
    """The text of a prime, which the first thread that needs the state after it reads."""

    def __init__(self, text: str, read: Callable[[], Primed]) -> None:
        self.text = text
        self._read, self._lock = read, Lock()

    @cached_property
    def _primed(self) -> Primed:
        return self._read()

    def primed(self) -> Primed:
        """Return the state after the prime."""
        with self._lock:
            return self._primed


class Draw(NamedTuple):
    """A sample to draw: its number and its prime."""

    number: int
    prime: Prime
    redraw: int = 0


class Drawn(NamedTuple):
    """A sample that was drawn, and its symbols, which are compared with those of the corpora."""

    draw: Draw
    sample: Sample
    symbols: str


class Drawing:
    """Draws samples in groups, in several threads."""

    def __init__(self, writer: Writer, config: SampleConfig, rules: Rules, seed: int, threads: int) -> None:
        self._writer, self._config, self._rules, self._seed, self._threads = writer, config, rules, seed, threads

    def all(self, draws: Iterable[Draw]) -> Iterator[Drawn]:
        """Yield the sample of each draw, in order."""
        return chain.from_iterable(
            side_by_side(self._group, _groups(draws, group_size(self._writer.ensemble)), self._threads)
        )

    def _group(self, draws: Sequence[Draw]) -> list[Drawn]:
        """Return the samples of draws, drawn side by side."""
        writer, rules, seed = self._writer, self._rules, self._seed
        drafts = [Draft([], [], "length") for _ in draws]
        entropy = [[seed, draw.number, draw.redraw] for draw in draws]
        primed = [draw.prime.primed() for draw in draws]
        for step in generate(writer.ensemble, primed, entropy, rules=rules, filters=self._config, scored=True):
            append_step([drafts[number] for number in step.samples.tolist()], step)
        drawn = []
        for draw, draft in zip(draws, (draft.before_stop(rules) for draft in drafts), strict=True):
            sample = draft.sample(
                writer.vocab, seed=seed, index=draw.number, prime=draw.prime.text, draws=draw.redraw + 1
            )
            drawn.append(Drawn(draw, sample, writer.vocab.turned(writer.vocab.characters(draft.ids))))
        return drawn


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of this many items; the last one may be shorter."""
    waiting = iter(items)
    while group := list(islice(waiting, size)):
        yield group


def novel_samples(
    drawing: Drawing, draws: Iterable[Draw], novel: int, corpora: Sequence[Text], counts: DrawCounts, most_draws: int
) -> Iterator[Sample]:
    """Yield the sample of each draw; redraw those that are not novel, at most so often, and leave out the others."""
    for batch in _groups(drawing.all(draws), _BATCH if novel else 1):
        samples = {own.draw.number: own.sample for own in batch}
        counts.drawn += len(batch)
        copying = _copying(batch, corpora, novel)
        while copying and copying[0].redraw + 1 < most_draws:
            again = [*drawing.all(draw._replace(redraw=draw.redraw + 1) for draw in copying)]
            samples |= {own.draw.number: own.sample for own in again}
            counts.drawn += len(again)
            counts.redrawn += len(again)
            copying = _copying(again, corpora, novel)
        left_out = [draw.number for draw in copying]
        counts.left_out += left_out
        yield from (sample for number, sample in samples.items() if number not in left_out)


def _copying(drawn: Sequence[Drawn], corpora: Sequence[Text], novel: int) -> list[Draw]:
    """Return the draws whose samples are not novel."""
    copies = [copied([own.symbols for own in drawn], corpus, novel) for corpus in corpora]
    return [own.draw for own, *copy in zip(drawn, *copies, strict=True) if any(copy)]
