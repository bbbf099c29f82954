"""The shared batch: texts that several requests wait for, all of them a character longer with every step."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from charrnn.generation.ensemble import Beginning, Nets
from charrnn.generation.loop import Streams, advance
from charrnn.generation.rules import Rules
from charrnn.generation.sample import Written
from charrnn.generation.writer import Wishes


@dataclass(frozen=True, eq=False)
class Job:
    """A text that was asked for.

    pieces   whether somebody wants to see it grow
    written  as far as it is; it grows while others read it, and why it ended is written last
    """

    wanted: Wishes
    rules: Rules
    begin: Beginning
    seed: int
    pieces: bool = False
    written: Written = field(default_factory=lambda: Written([], [], ""))


class Batch:
    """Texts that are written side by side, join between two steps, and leave when they have ended or are told to.

    Those of equal wishes are filtered and drawn together; the nets read the last characters of all at once. What is
    written does not depend on the company, but for rounding.
    """

    def __init__(self, nets: Nets) -> None:
        self._nets = nets
        self._groups: dict[Wishes, Streams] = {}
        self._jobs: dict[int, Job] = {}
        self._joined = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def jobs(self) -> list[Job]:
        """Return the texts that are here."""
        return list(self._jobs.values())

    def join(self, job: Job) -> None:
        """Take in a text, whose length is not 0."""
        number, self._joined = self._joined, self._joined + 1
        streams = Streams.begin([job.begin], [[job.seed]], rules=job.rules, filters=job.wanted, first=number)
        self._jobs[number] = job
        if job.wanted in self._groups:
            self._groups[job.wanted].join(streams)
        else:
            self._groups[job.wanted] = streams

    def leave(self, jobs: Collection[Job]) -> None:
        """Let texts go that have not ended."""
        self._keep({number: job for number, job in self._jobs.items() if job not in jobs})

    def step(self) -> list[Job]:
        """Write one more character of each text; return those of which there is something to tell.

        These are the ones that have ended, which have left, and those that somebody sees grow.
        """
        news = [job for streams in self._groups.values() for job in self._write(streams)]
        self._keep({number: job for number, job in self._jobs.items() if not job.written.ended})
        if self._groups:
            advance(self._nets, list(self._groups.values()))
        return news

    def _write(self, streams: Streams) -> Iterator[Job]:
        step = streams.write(scored=True)
        assert step.log_probs is not None
        for number, id_, log_prob, ended in zip(
            step.texts.tolist(), step.ids.tolist(), step.log_probs.tolist(), step.ended, strict=True
        ):
            job = self._jobs[number]
            job.written.log_probs.append(log_prob)
            job.written.ids.append(id_)
            job.written.ended = ended
            if job.pieces or ended:
                yield job

    def _keep(self, jobs: dict[int, Job]) -> None:
        """Let all other texts go."""
        if len(jobs) == len(self._jobs):
            return
        for wanted, streams in list(self._groups.items()):
            rows = [row for row, number in enumerate(streams.texts.tolist()) if number in jobs]
            if not rows:
                del self._groups[wanted]
            elif len(rows) < len(streams):
                streams.keep(rows)
        self._jobs = jobs
