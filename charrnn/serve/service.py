"""The service: requests -> answers, with the limits that keep it answering."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

from charrnn.api import LanguageModel
from charrnn.data.vocab import Vocab
from charrnn.generation.sample import unsure
from charrnn.generation.writer import Wishes
from charrnn.serve.batch import Job
from charrnn.serve.requests import Limits, RequestError, checked
from charrnn.serve.scoring import Scoring
from charrnn.serve.served import Served
from charrnn.system.blas import one_thread
from charrnn.version import __version__

T = TypeVar("T")

GRACE = 2.0  # seconds that running requests have when the service stops
_EVERY = 0.02  # seconds between two pieces of a text: quicker than eyes, and rarely enough to cost little
_ASIDE = 2  # threads for what is no step of a batch: primes that are read, scores, completions
_MOST = {"count": 100, "max_length": 1000}  # of completions: no more than a second or two
_STOPS, _LONGEST_STOP = 16, 1000  # strings, and characters of one: each is looked for at every step
_LONGEST_RULE = 10_000  # characters of a regular expression or a charset
_WINDOW = 10_000  # ids that a penalty looks at
_SCORE = {"model": "str", "lines": "tuple[str, ...]", "per_char": "bool"}
_COMPLETE = {
    "model": "str",
    "text": "str",
    "to": "str",
    "count": "int",
    "max_length": "int | None",
    "unknown": "str",
}
_GENERATE = {item.name: str(item.type) for item in fields(Wishes)} | {
    "model": "str",
    "prime": "str",
    "seed": "int | None",
    "stream": "bool",
}


class Service:
    """Answers requests while it is entered, in the event loop in which that was done."""

    def __init__(self, models: Mapping[str, LanguageModel], limits: Limits) -> None:
        self.limits = limits
        self._models = models
        self._asked = 0
        self._stopping = False
        self._ends: set[Callable[[str], None]] = set()
        self._grown: set[Job] = set()
        self._lock = threading.Lock()  # of what the workers tell
        self._events: dict[Job, asyncio.Event] = {}

    async def __aenter__(self) -> Service:
        self._loop = asyncio.get_running_loop()
        self._holds = ExitStack()
        self._holds.enter_context(one_thread())  # several of one product would wait for each other where requests wait
        self._pool = ThreadPoolExecutor(_ASIDE, "charrnn aside")
        turn = asyncio.Lock()
        self._served = {
            name: Served(model, self._news, Scoring(model, self._aside, turn)) for name, model in self._models.items()
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        for served in self._served.values():
            served.worker.close()
        self._holds.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def health(self) -> dict[str, Any]:
        """Return how the service is."""
        workers = [served.worker for served in self._served.values()]
        return {
            "status": "stopping" if self._stopping else "ok",
            "version": __version__,
            "requests": self._asked,
            "writing": sum(worker.running for worker in workers),
            "waiting": sum(worker.waiting for worker in workers),
        }

    def models(self) -> dict[str, Any]:
        """Return the models by name; the first serves requests that name none."""
        return {"models": [{"name": name} | served.about() for name, served in self._served.items()]}

    def stop(self) -> None:
        """Refuse what comes from now on, and end what still runs after a time of grace."""
        self._stopping = True
        self._loop.call_later(GRACE, self._end_all)

    async def answer(self, what: str, ask: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the answer to a request, and before it the pieces of a text, if they are wanted.

        what     "generate", "score" or "complete"
        Raises:  RequestError, or another CharRNNError for what the request has wrong.
        """
        if self._stopping:
            raise RequestError(503, "the service is stopping: ask another one")
        if self._asked >= self.limits.requests:
            raise RequestError(503, f"{self._asked} requests are being served: ask again in a moment")
        self._asked += 1
        try:
            if what == "generate":
                async with aclosing(self._generate(ask)) as answers:
                    async for answer in answers:
                        yield answer
            else:
                yield await (self._score if what == "score" else self._complete)(ask)
        finally:
            self._asked -= 1

    async def _generate(self, ask: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        until = self._loop.time() + self.limits.seconds
        given = checked(ask, _GENERATE)
        served = self._chosen(given.pop("model", None))
        prime, seed, pieces = given.pop("prime", ""), given.pop("seed", None), given.pop("stream", False)
        wanted = self._wishes(given)
        self._limit("prime", prime)
        async with self._or_refused(until):
            job = await self._aside(served.job, prime, seed, wanted, pieces)
        self._events[job] = asyncio.Event()
        end = partial(served.worker.end, job)
        served.worker.add(job)
        try:
            with self._in_time(end, until):
                shown = 0
                async for piece in self._growing(job, served.writer.vocab, prime):
                    yield {"piece": piece}
                    shown += len(piece)
        finally:
            del self._events[job]
            end("gone")
        if job.written.ended.startswith("error"):
            raise RequestError(500, f"the text could not be written, {job.written.ended}")
        sample = job.written.before_stop(job.rules).sample(served.writer.vocab, seed=job.seed, index=0, prime=prime)
        if pieces and sample.text[shown:]:
            yield {"piece": sample.text[shown:]}
        yield {name: getattr(sample, name) for name in ("text", "logprob", "bpc", "seed", "ended")}

    async def _growing(self, job: Job, vocab: Vocab, prime: str) -> AsyncIterator[str]:
        """Yield more of the text as soon as it is sure, whenever it has grown, until it has ended."""
        event, decode, held, read = self._events[job], vocab.decoder(prime), "", 0
        stops = tuple(map(vocab.characters, job.rules.stops))
        while not job.written.ended:
            await event.wait()
            event.clear()
            ids = job.written.ids[read:]
            read, held = read + len(ids), held + vocab.characters(ids)
            sure = len(held) - unsure(held, stops)
            piece, held = decode(held[:sure]), held[sure:]
            if piece and not job.written.ended:
                yield piece

    async def _score(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        given = checked(ask, _SCORE)
        scoring = self._chosen(given.pop("model", None)).scoring
        lines, per_char = given.pop("lines", ()), given.pop("per_char", False)
        for line in lines:
            self._limit("a line", line)
        async with self._or_refused():
            found = await scoring.score(lines, per_char)
        names = ("bpc", "logprob", "chars", "unknown", "text", *(["bits"] if per_char else []))
        return {"scores": [{name: getattr(one, name) for name in names} for one in found]}

    async def _complete(self, ask: Mapping[str, Any]) -> dict[str, Any]:
        given = checked(ask, _COMPLETE)
        model, text = self._chosen(given.pop("model", None)).model, given.pop("text", "")
        self._limit("text", text)
        for name, most in _MOST.items():
            if (given.get(name) or 1) > most:
                raise RequestError(422, f"{name} is at most {most:,} here, not {given[name]:,}")
        async with self._or_refused():
            completions = await self._aside(partial(model.complete, text, **given))
        return completions.to_dict()

    def _end_all(self) -> None:
        for end in list(self._ends):
            end("shutdown")

    def _chosen(self, name: str | None) -> Served:
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise RequestError(404, f"there is no model {name!r}: there are {', '.join(self._served)}")
        return self._served[name]

    def _wishes(self, given: dict[str, Any]) -> Wishes:
        """Return the wishes; a length that is not given is the usual one, or for lines the most."""
        most = self.limits.chars
        wanted = Wishes(**{"length": most if given.get("lines") else min(Wishes.length or most, most)} | given)
        if wanted.length is None or not 1 <= wanted.length <= most:
            raise RequestError(422, f"length is 1 to {most:,} characters here, not {wanted.length}")
        if wanted.repeat_window > _WINDOW:
            raise RequestError(422, f"repeat_window is 1 to {_WINDOW:,} characters here, not {wanted.repeat_window:,}")
        if len(wanted.stop) > _STOPS or any(len(stop) > _LONGEST_STOP for stop in wanted.stop):
            raise RequestError(422, f"stop has at most {_STOPS} strings here, of {_LONGEST_STOP:,} characters each")
        for name in ("regex", "charset"):
            if len(getattr(wanted, name) or "") > _LONGEST_RULE:
                raise RequestError(422, f"{name} is at most {_LONGEST_RULE:,} characters long here")
        return wanted

    def _limit(self, name: str, text: str) -> None:
        if len(text) > self.limits.chars:
            raise RequestError(422, f"{name} has {len(text):,} characters: the most here are {self.limits.chars:,}")

    async def _aside(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function in a thread, so that nobody waits but who asked."""
        return await self._loop.run_in_executor(self._pool, function, *args)

    @contextmanager
    def _in_time(self, end: Callable[[str], None], until: float) -> Iterator[None]:
        """Call `end` with the reason where the time of the request, or of the service, is over."""
        timer = self._loop.call_at(until, end, "time")
        self._ends.add(end)
        try:
            yield
        finally:
            timer.cancel()
            self._ends.discard(end)

    @asynccontextmanager
    async def _or_refused(self, until: float | None = None) -> AsyncGenerator[None, None]:
        """Leave off, and refuse, where the time is over: what has no part that could be told.

        until: by the loop's clock; the time of a request from now on if None
        """
        until = self._loop.time() + self.limits.seconds if until is None else until
        try:
            async with asyncio.timeout(None) as timeout:
                with self._in_time(lambda why: timeout.reschedule(0), until):
                    yield
        except TimeoutError:
            if self._stopping:
                raise RequestError(503, "the service is stopping: ask another one") from None
            raise RequestError(504, f"it took longer than {self.limits.seconds:g} seconds: ask for less") from None

    def _news(self, jobs: Iterable[Job]) -> None:
        """Note, in a worker's thread, which texts have grown; it is handed on for all of them at once."""
        with self._lock:
            first = not self._grown
            self._grown.update(jobs)
            first = first and bool(self._grown)
        if first:
            self._loop.call_soon_threadsafe(self._loop.call_later, _EVERY, self._hand_on)

    def _hand_on(self) -> None:
        with self._lock:
            grown, self._grown = self._grown, set()
        for job in grown:
            if job in self._events:
                self._events[job].set()
