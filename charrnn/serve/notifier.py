"""Notify the event loop, from the workers' threads, that samples have grown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from charrnn.serve.batch import Job

_INTERVAL = 0.02  # seconds between two pieces of a text: too short to see, and long enough to cost little


class Notifier:
    """Wakes the requests whose samples have grown, at most once in an interval."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._grown: set[Job] = set()
        self._lock = threading.Lock()  # guards `_grown`, which the workers write
        self._events: dict[Job, asyncio.Event] = {}

    @contextmanager
    def watch(self, jobs: Sequence[Job]) -> Iterator[asyncio.Event]:
        """Return an event that is set whenever the sample of one of the jobs has grown or ended."""
        event = asyncio.Event()
        self._events |= dict.fromkeys(jobs, event)
        try:
            yield event
        finally:
            for job in jobs:
                del self._events[job]

    def notify(self, jobs: Iterable[Job]) -> None:
        """Record, in a worker's thread, which samples have grown; the event loop is woken for all of them at once."""
        with self._lock:
            first = not self._grown
            self._grown.update(jobs)
            first = first and bool(self._grown)
        if first:
            self._loop.call_soon_threadsafe(self._loop.call_later, _INTERVAL, self._wake)

    def _wake(self) -> None:
        with self._lock:
            grown, self._grown = self._grown, set()
        for job in grown:
            if job in self._events:
                self._events[job].set()
