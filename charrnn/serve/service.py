"""The service: answers requests, within limits that keep it responsive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from dataclasses import fields
from functools import lru_cache, partial
from typing import Any, TypeVar

from charrnn.api import LanguageModel
from charrnn.data.vocab import Vocab
from charrnn.generation.rules import Rules
from charrnn.generation.sample import StopBuffer
from charrnn.generation.settings import SampleConfig
from charrnn.generation.writer import checked_seed
from charrnn.serve.batch import Job
from charrnn.serve.deadlines import Deadlines
from charrnn.serve.notifier import Notifier
from charrnn.serve.requests import Limits, RequestError, validate
from charrnn.serve.scoring import Scorer
from charrnn.serve.worker import Worker
from charrnn.system.blas import thread_limit
from charrnn.version import __version__

T = TypeVar("T")

_THREADS = 2  # threads for work outside the batches: reading primes, scoring, completing
_RULES = 16  # rules that are cached, since an automaton takes time to build, and memory to keep
_MOST = {"count": 100, "max_length": 1000}  # limits of a completion request, which then takes a second or two
_STOPS, _LONGEST_STOP = 16, 1000  # stop strings, and characters of one: each is compared at every step
_LONGEST_RULE = 10_000  # characters of a regular expression or a charset
_WINDOW = 10_000  # characters that a penalty looks back on
_SCORE = {"model": "str", "lines": "tuple[str, ...]", "per_char": "bool"}
_COMPLETE = {
    "model": "str",
    "text": "str",
    "to": "str",
    "count": "int",
    "max_length": "int | None",
    "unknown": "str",
}
_GENERATE = {item.name: str(item.type) for item in fields(SampleConfig)} | {
    "model": "str",
    "prime": "str",
    "seed": "int | None",
    "stream": "bool",
}


class ServedModel:
    """A model with its worker, which draws samples, and its scorer."""

    def __init__(self, model: LanguageModel, notify: Callable[[Iterable[Job]], None], scorer: Scorer) -> None:
        self.model, self.scorer = model, scorer
        self.writer = model.writer
        self.worker = Worker(self.writer.ensemble, notify)
        self._rules: Callable[[SampleConfig], Rules] = lru_cache(_RULES)(self.writer.rules)

    def job(self, prime: str, seed: int | None, config: SampleConfig, stream: bool) -> Job:
        """Return a job whose prime has been read.

        Raises:  ConfigError or VocabError for settings that the model cannot follow.
        """
        rules = self._rules(config)
        primed = self.writer.prime(self.writer.vocab.encode(prime, config.unknown), rules)
        return Job(config, rules, primed, checked_seed(seed), stream)

    def describe(self) -> dict[str, Any]:
        """Return the model's cell, sizes and training steps."""
        saved = self.model.checkpoint
        config = saved.model_config
        return {
            "cell": config.cell,
            "layers": config.num_layers,
            "hidden": config.hidden_size,
            "symbols": saved.vocab.size,
            "step": saved.step,
        }


class Service:
    """Answers requests as an asynchronous context manager, in the event loop that entered it."""

    def __init__(self, models: Mapping[str, LanguageModel], limits: Limits) -> None:
        self.limits = limits
        self._models = models
        self._active = 0

    async def __aenter__(self) -> Service:
        self._loop = asyncio.get_running_loop()
        self._deadlines, self._notifier = Deadlines(self.limits.seconds, self._loop), Notifier(self._loop)
        self._resources = ExitStack()
        # BLAS threads of one product would wait for each other while requests wait for them.
        self._resources.enter_context(thread_limit(1))
        self._pool = ThreadPoolExecutor(_THREADS, "charrnn request")
        lock = asyncio.Lock()
        self._served = {
            name: ServedModel(model, self._notifier.notify, Scorer(model, self._in_thread, lock))
            for name, model in self._models.items()
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        for served in self._served.values():
            served.worker.close()
        self._resources.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def health(self) -> dict[str, Any]:
        """Return the status of the service and its load."""
        workers = [served.worker for served in self._served.values()]
        return {
            "status": "stopping" if self._deadlines.stopping else "ok",
            "version": __version__,
            "requests": self._active,
            "writing": sum(worker.running for worker in workers),
            "waiting": sum(worker.waiting for worker in workers),
        }

    def models(self) -> dict[str, Any]:
        """Return the models by name; the first one answers requests that name none."""
        return {"models": [{"name": name} | served.describe() for name, served in self._served.items()]}

    def stop(self) -> None:
        """Refuse new requests, and end the running ones after a grace period."""
        self._deadlines.stop()

    async def answer(self, action: str, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the answer to a request, after the pieces of its text if the request asks for a stream.

        action   "generate", "score" or "complete"
        Raises:  RequestError, or another CharRNNError for a mistake in the request.
        """
        self._deadlines.check_running()
        if self._active >= self.limits.requests:
            raise RequestError(503, f"{self._active} requests are being served: ask again in a moment")
        self._active += 1
        try:
            if action == "generate":
                async with aclosing(self._generate(request)) as answers:
                    async for answer in answers:
                        yield answer
            else:
                yield await (self._score if action == "score" else self._complete)(request)
        finally:
            self._active -= 1

    async def _generate(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        deadline = self._deadlines.next()
        given = validate(request, _GENERATE)
        served = self._model(given.pop("model", None))
        prime, seed, stream = given.pop("prime", ""), given.pop("seed", None), given.pop("stream", False)
        config = self._sample_config(given)
        self._check_length("prime", prime)
        async with self._deadlines.limit(deadline):
            job = await self._in_thread(served.job, prime, seed, config, stream)
        cancel = partial(served.worker.cancel, job)
        shown = 0
        with self._notifier.watch(job) as event:
            served.worker.add(job)
            try:
                with self._deadlines.enforce(cancel, deadline):
                    async for piece in _pieces(job, event, served.writer.vocab, prime):
                        yield {"piece": piece}
                        shown += len(piece)
            finally:
                cancel("gone")
        if job.draft.ended.startswith("error"):
            raise RequestError(500, f"the text could not be written, {job.draft.ended}")
        sample = job.draft.before_stop(job.rules).sample(served.writer.vocab, seed=job.seed, index=0, prime=prime)
        if stream and sample.text[shown:]:
            yield {"piece": sample.text[shown:]}
        yield {name: getattr(sample, name) for name in ("text", "logprob", "bpc", "seed", "ended")}

    async def _score(self, request: Mapping[str, Any]) -> dict[str, Any]:
        given = validate(request, _SCORE)
        scorer = self._model(given.pop("model", None)).scorer
        lines, per_char = given.pop("lines", ()), given.pop("per_char", False)
        for line in lines:
            self._check_length("a line", line)
        async with self._deadlines.limit(self._deadlines.next()):
            scores = await scorer.score(lines, per_char)
        names = ("bpc", "logprob", "chars", "unknown", "text", *(["bits"] if per_char else []))
        return {"scores": [{name: getattr(one, name) for name in names} for one in scores]}

    async def _complete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        given = validate(request, _COMPLETE)
        model, text = self._model(given.pop("model", None)).model, given.pop("text", "")
        self._check_length("text", text)
        for name, most in _MOST.items():
            if (given.get(name) or 1) > most:
                raise RequestError(422, f"{name} is at most {most:,} here, not {given[name]:,}")
        async with self._deadlines.limit(self._deadlines.next()):
            completions = await self._in_thread(partial(model.complete, text, **given))
        return completions.to_dict()

    def _model(self, name: str | None) -> ServedModel:
        """Return the model of this name, or the first one for None."""
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise RequestError(404, f"there is no model {name!r}: there are {', '.join(self._served)}")
        return self._served[name]

    def _sample_config(self, given: dict[str, Any]) -> SampleConfig:
        """Return checked settings; a sample that ends after some lines has the maximum length by default."""
        most = self.limits.chars
        default = most if given.get("lines") else min(SampleConfig.length or most, most)
        config = SampleConfig(**{"length": default} | given)
        if config.length is None or not 1 <= config.length <= most:
            raise RequestError(422, f"length is 1 to {most:,} characters here, not {config.length}")
        if config.repeat_window > _WINDOW:
            raise RequestError(422, f"repeat_window is 1 to {_WINDOW:,} characters here, not {config.repeat_window:,}")
        if len(config.stop) > _STOPS or any(len(stop) > _LONGEST_STOP for stop in config.stop):
            raise RequestError(422, f"stop has at most {_STOPS} strings here, of {_LONGEST_STOP:,} characters each")
        for name in ("regex", "charset"):
            if len(getattr(config, name) or "") > _LONGEST_RULE:
                raise RequestError(422, f"{name} is at most {_LONGEST_RULE:,} characters long here")
        return config

    def _check_length(self, name: str, text: str) -> None:
        if len(text) > self.limits.chars:
            raise RequestError(422, f"{name} has {len(text):,} characters: the most here are {self.limits.chars:,}")

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function in another thread, so that the event loop keeps serving other requests."""
        return await self._loop.run_in_executor(self._pool, function, *args)


async def _pieces(job: Job, event: asyncio.Event, vocab: Vocab, prime: str) -> AsyncIterator[str]:
    """Yield each piece of a growing text as soon as it cannot be part of a stop string, until the text ends."""
    decode, buffer, read = vocab.decoder(prime), StopBuffer(tuple(map(vocab.characters, job.rules.stops))), 0
    while not job.draft.ended:
        await event.wait()
        event.clear()
        ids = job.draft.ids[read:]
        read += len(ids)
        piece = decode(buffer.push(vocab.characters(ids)))
        if piece and not job.draft.ended:
            yield piece
