"""The shared batch: samples of several requests, each of which grows by one character a step."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from charrnn.generation.ensemble import Ensemble, Primed
from charrnn.generation.loop import Streams, advance
from charrnn.generation.rules import Rules
from charrnn.generation.sample import Draft, append_step
from charrnn.generation.settings import SampleConfig
from charrnn.serve.logprobs import TopLogProbs, top_log_probs


@dataclass(frozen=True, eq=False)
class Job:
    """A sample that a request waits for.

    seed, index    determine its random numbers
    stream         whether the client reads the text as it grows
    top            how many of the most likely ids to record in the place of each character; None: none are recorded
    draft          the text so far, which other threads read while it grows
    top_log_probs  the most likely ids in the place of each character of the draft, and perhaps of the next one
    """

    config: SampleConfig
    rules: Rules
    primed: Primed
    seed: int
    index: int = 0
    stream: bool = False
    top: int | None = None
    draft: Draft = field(default_factory=lambda: Draft([], [], ""))
    top_log_probs: list[TopLogProbs | None] = field(default_factory=list)


class Batch:
    """Samples drawn side by side. They join between two steps, and leave when they have ended or are cancelled.

    Samples with equal settings are filtered and drawn together; the models read the last characters of all at once.
    A sample is the same whatever others are in the batch, except for rounding.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._groups: dict[SampleConfig, Streams] = {}
        self._jobs: dict[int, Job] = {}
        self._joined = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def jobs(self) -> list[Job]:
        """Return the jobs in the batch."""
        return list(self._jobs.values())

    def join(self, job: Job) -> None:
        """Add a job, whose length must not be 0."""
        number, self._joined = self._joined, self._joined + 1
        streams = Streams.start(
            [job.primed],
            [[job.seed, job.index]],
            rules=job.rules,
            filters=job.config,
            first=number,
            memory=self._ensemble.memory_for(job.config.temperature),
        )
        self._jobs[number] = job
        if job.config in self._groups:
            self._groups[job.config].join(streams)
        else:
            self._groups[job.config] = streams

    def leave(self, jobs: Collection[Job]) -> None:
        """Remove jobs that have not ended."""
        self._keep({number: job for number, job in self._jobs.items() if job not in jobs})

    def step(self) -> list[Job]:
        """Draw one more character of each sample; return the jobs that ended, and those that stream their text.

        Jobs that ended leave the batch.
        """
        changed = [job for streams in self._groups.values() for job in self._draw(streams)]
        self._keep({number: job for number, job in self._jobs.items() if not job.draft.ended})
        if self._groups:
            advance(self._ensemble, list(self._groups.values()))
        return changed

    def _draw(self, streams: Streams) -> list[Job]:
        """Draw one more character of each sample in a group, and return the jobs to report."""
        jobs = [self._jobs[number] for number in streams.samples.tolist()]
        for job, logits in zip(jobs, streams.logits, strict=True):
            if job.top is not None:
                job.top_log_probs.append(top_log_probs(logits, job.top))
        step = streams.draw(scored=True)
        append_step([job.draft for job in jobs], step)
        return [job for job in jobs if job.stream or job.draft.ended]

    def _keep(self, jobs: dict[int, Job]) -> None:
        """Remove all other jobs."""
        if len(jobs) == len(self._jobs):
            return
        for config, streams in list(self._groups.items()):
            rows = [row for row, number in enumerate(streams.samples.tolist()) if number in jobs]
            if not rows:
                del self._groups[config]
            elif len(rows) < len(streams):
                streams.keep(rows)
        self._jobs = jobs
