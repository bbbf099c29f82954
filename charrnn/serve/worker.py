"""The thread that steps a batch: one for each model, asleep while nothing is to be written."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from charrnn.generation.ensemble import Nets
from charrnn.serve.batch import Batch, Job

TOGETHER = 128  # texts that are written side by side; others wait. More bring no more speed, and slow each other


class Worker:
    """Writes the texts that are added, from any thread, until they have ended or are told to.

    news  is called, by this thread, after every step with what `Batch.step` returns and the texts that were let go
    """

    def __init__(self, nets: Nets, news: Callable[[Iterable[Job]], None]) -> None:
        self._nets, self._batch, self._news = nets, Batch(nets), news
        self._waiting: deque[Job] = deque()
        self._ending: dict[Job, str] = {}
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="charrnn batch", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Return how many texts are being written."""
        return len(self._batch)

    @property
    def waiting(self) -> int:
        """Return how many texts wait for a place."""
        return len(self._waiting)

    def add(self, job: Job) -> None:
        """Write this text as soon as there is a place."""
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def end(self, job: Job, why: str) -> None:
        """Let a text end for this reason where it is; one that has ended stays as it is."""
        with self._changed:
            self._ending[job] = why
            self._changed.notify()

    def close(self) -> None:
        """End the thread after the step that it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._wait():
            jobs = self._batch.jobs
            try:
                self._leave()
                self._join()
                jobs = self._batch.jobs  # before some of them end, and leave
                self._news(self._batch.step())
            except Exception as error:  # such as too little memory: told to all, and the next ones are served
                self._batch = Batch(self._nets)
                self._news(_ended(dict.fromkeys(jobs, _told(error))))

    def _wait(self) -> bool:
        """Wait until there is something to do; return False where all is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ending or self._waiting or len(self._batch))
            return not self._closed

    def _leave(self) -> None:
        """Let the texts go that were told to end."""
        with self._changed:
            ending, self._ending = self._ending, {}
            if ending:
                self._waiting = deque(job for job in self._waiting if job not in ending)
        self._news(_ended(ending))
        self._batch.leave(ending.keys())

    def _join(self) -> None:
        """Take in as many of those that wait as there are places."""
        while self._waiting and len(self._batch) < TOGETHER:
            job = self._waiting.popleft()
            try:
                self._batch.join(job)
            except Exception as error:  # of this text alone
                self._news(_ended({job: _told(error)}))


def _told(error: Exception) -> str:
    return f"error: {type(error).__name__} {error}"


def _ended(reasons: dict[Job, str]) -> Iterable[Job]:
    """Return the texts, each ended for its reason where it had not for another."""
    for job, why in reasons.items():
        job.written.ended = job.written.ended or why
    return reasons.keys()
