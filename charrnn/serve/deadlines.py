"""Deadlines: end a request when its time is over, or when the service stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from charrnn.serve.requests import RequestError

GRACE = 2.0  # seconds that running requests have when the service stops


class Deadlines:
    """Ends requests after `seconds`, or after a grace period once the service stops."""

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._seconds, self._loop = seconds, loop
        self._ends: set[Callable[[str], None]] = set()
        self.stopping = False

    def stop(self) -> None:
        """Refuse new requests, and end the running ones after the grace period."""
        self.stopping = True
        self._loop.call_later(GRACE, self._end_all)

    def check_running(self) -> None:
        """Refuse a request if the service is stopping.

        Raises:  RequestError with 503.
        """
        if self.stopping:
            raise RequestError(503, "the service is stopping: use another one")

    def next(self) -> float:
        """Return the deadline of a request that arrives now, by the loop's clock."""
        return self._loop.time() + self._seconds

    @contextmanager
    def enforce(self, end: Callable[[str], None], deadline: float) -> Iterator[None]:
        """Call `end` with the reason, "time" or "shutdown", if the block takes too long."""
        timer = self._loop.call_at(deadline, end, "time")
        self._ends.add(end)
        try:
            yield
        finally:
            timer.cancel()
            self._ends.discard(end)

    @asynccontextmanager
    async def limit(self, deadline: float) -> AsyncGenerator[None, None]:
        """Cancel the block, which has no partial result, if it takes too long.

        Raises:  RequestError with 504, or with 503 if the service stops.
        """
        try:
            async with asyncio.timeout(None) as timeout:
                with self.enforce(lambda reason: timeout.reschedule(0), deadline):
                    yield
        except TimeoutError:
            self.check_running()
            raise RequestError(504, f"it took longer than {self._seconds:g} seconds: request less") from None

    def _end_all(self) -> None:
        for end in list(self._ends):
            end("shutdown")
