"""The threads that step batches of a model, asleep while there is nothing to draw."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from weakref import WeakKeyDictionary

from charrnn.generation.ensemble import Ensemble
from charrnn.generation.loop import group_size
from charrnn.serve.batch import Batch, Job

MAX_BATCH = 128  # samples drawn side by side; more are no faster, and slow each other


class Worker:
    """Draws the samples of jobs that any thread may add, until they end or are cancelled.

    notify  is called in this thread after every step, with the jobs that `Batch.step` returns and those cancelled
    """

    def __init__(self, ensemble: Ensemble, notify: Callable[[Iterable[Job]], None]) -> None:
        self._ensemble, self._batch, self._notify = ensemble, Batch(ensemble), notify
        self._waiting: deque[Job] = deque()
        self._cancelled: dict[Job, str] = {}
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="charrnn batch", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Return how many samples are being drawn."""
        return len(self._batch)

    @property
    def waiting(self) -> int:
        """Return how many jobs wait for a place in the batch."""
        return len(self._waiting)

    def add(self, job: Job) -> None:
        """Start this job as soon as there is room in the batch."""
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job, reason: str) -> None:
        """Cut off the sample of a job and set why it ended; a job that has ended stays unchanged."""
        with self._changed:
            self._cancelled[job] = reason
            self._changed.notify()

    def close(self) -> None:
        """End the thread after its current step."""
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
                jobs = self._batch.jobs  # taken before the step, after which ended jobs leave
                self._notify(self._batch.step())
            except Exception as error:  # such as a MemoryError: these jobs fail, and later ones are served
                self._batch = Batch(self._ensemble)
                self._notify(_ended(dict.fromkeys(jobs, _reason(error))))

    def _wait(self) -> bool:
        """Wait for something to do; return False if the worker is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._cancelled or self._waiting or len(self._batch))
            return not self._closed

    def _leave(self) -> None:
        """Remove the cancelled jobs."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, {}
            if cancelled:
                self._waiting = deque(job for job in self._waiting if job not in cancelled)
        self._notify(_ended(cancelled))
        self._batch.leave(cancelled.keys())

    def _join(self) -> None:
        """Move waiting jobs into the batch while there is room."""
        while self._waiting and len(self._batch) < MAX_BATCH:
            job = self._waiting.popleft()
            try:
                self._batch.join(job)
            except Exception as error:  # only this job fails
                self._notify(_ended({job: _reason(error)}))


class Team:
    """Up to `threads` workers of a model, of which one draws a whole group of samples before the next gets any.

    So few samples share one batch, and many use several cores. One thread adds and cancels the jobs.
    """

    def __init__(self, ensemble: Ensemble, notify: Callable[[Iterable[Job]], None], threads: int) -> None:
        self._start = partial(Worker, ensemble, notify)
        self._threads, self._group = threads, group_size(ensemble)
        self._workers = [self._start()]
        self._of: WeakKeyDictionary[Job, Worker] = WeakKeyDictionary()

    @property
    def running(self) -> int:
        """Return how many samples are being drawn."""
        return sum(worker.running for worker in self._workers)

    @property
    def waiting(self) -> int:
        """Return how many jobs wait for a place in a batch."""
        return sum(worker.waiting for worker in self._workers)

    def add(self, job: Job) -> None:
        """Start this job as soon as there is room in a batch."""
        self._of[job] = worker = self._next()
        worker.add(job)

    def _next(self) -> Worker:
        """Return the first worker without a whole group; if there is none, a new one, or the one with the least."""
        loads = [worker.running + worker.waiting for worker in self._workers]
        if min(loads) >= self._group and len(loads) < self._threads:
            self._workers.append(self._start())
            return self._workers[-1]
        room = (number for number, load in enumerate(loads) if load < self._group)
        return self._workers[next(room, loads.index(min(loads)))]

    def cancel(self, job: Job, reason: str) -> None:
        """Cut off the sample of a job and set why it ended; a job that has ended, or never began, stays unchanged."""
        if worker := self._of.get(job):
            worker.cancel(job, reason)

    def close(self) -> None:
        """End the threads after their current steps."""
        for worker in self._workers:
            worker.close()


def _reason(error: Exception) -> str:
    return f"error: {type(error).__name__} {error}"


def _ended(reasons: dict[Job, str]) -> Iterable[Job]:
    """Set why each job ended, unless it ended before, and return the jobs."""
    for job, reason in reasons.items():
        job.draft.ended = job.draft.ended or reason
    return reasons.keys()
