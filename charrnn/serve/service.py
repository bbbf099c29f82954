"""The service: answers requests, within limits that keep it responsive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import fields, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

from charrnn.api import LanguageModel
from charrnn.generation.rules import Rules
from charrnn.generation.settings import Filters, SampleConfig
from charrnn.generation.writer import checked_seed
from charrnn.parallel.plan import threads_to_use
from charrnn.serve.batch import Job
from charrnn.serve.deadlines import Deadlines
from charrnn.serve.limits import Limits
from charrnn.serve.logprobs import Prompt, read_scored
from charrnn.serve.notifier import Notifier
from charrnn.serve.openai import Completion
from charrnn.serve.pieces import Pieces
from charrnn.serve.requests import (
    ACTIONS,
    LONGEST_STOP,
    MOST_STOPS,
    Complete,
    Completions,
    Generate,
    Request,
    RequestError,
    Score,
    read,
)
from charrnn.serve.scoring import Scorer
from charrnn.serve.worker import Team
from charrnn.system.blas import thread_limit
from charrnn.version import __version__

T = TypeVar("T")

_RULES = 16  # rules that are cached, since an automaton takes time to build, and memory to keep
_LONGEST_RULE = 10_000  # characters of a regular expression or a charset
_WINDOW = 10_000  # characters that a penalty looks back on


class ServedModel:
    """A model with its workers, which draw samples, and its scorer."""

    def __init__(
        self, model: LanguageModel, notify: Callable[[Iterable[Job]], None], scorer: Scorer, threads: int
    ) -> None:
        self.model, self.scorer = model, scorer
        self.writer = model.writer
        self.workers = Team(self.writer.ensemble, notify, threads)
        self._rules: Callable[[SampleConfig], Rules] = lru_cache(_RULES)(self.writer.rules)

    def rules(self, config: SampleConfig) -> Rules:
        """Return the rules of a sample.

        Raises:  ConfigError or VocabError for settings that the model cannot follow.
        """
        return self._rules(config)

    def read(self, text: str, config: SampleConfig, top: int | None = None) -> Prompt:
        """Read a prompt.

        top      how many of the most likely ids to record in the place of each character; None: none are recorded
        Raises:  ConfigError or VocabError, as for `rules`, and for a character that the model does not know.
        """
        ids, rules = self.writer.vocab.encode(text, config.unknown), self.rules(config)
        if top is None or not len(ids):
            return Prompt(text, ids, self.writer.prime(ids, rules, config.temperature))
        prompt = read_scored(self.writer, text, ids, rules, top)
        if self.writer.ensemble.memory is None:
            return prompt
        return replace(prompt, primed=self.writer.prime(ids, rules, config.temperature))

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
    """Answers requests as an asynchronous context manager, in the event loop that entered it.

    threads  CPU cores to use; all if None
    """

    def __init__(self, models: Mapping[str, LanguageModel], limits: Limits, threads: int | None = None) -> None:
        self.limits, self._threads = limits, threads_to_use(threads)
        self._models = models
        self._active = 0

    async def __aenter__(self) -> Service:
        self._loop = asyncio.get_running_loop()
        self._deadlines, self._notifier = Deadlines(self.limits.seconds, self._loop), Notifier(self._loop)
        self._resources = ExitStack()
        # BLAS threads of one product would wait for each other while requests wait for them.
        self._resources.enter_context(thread_limit(1))
        # For work outside the batches: reading primes and completing, while every core may be scoring.
        self._pool = ThreadPoolExecutor(self._threads + 1, "charrnn request")
        cores = asyncio.Semaphore(self._threads)
        self._served = {
            name: ServedModel(model, self._notifier.notify, Scorer(model, self._in_thread, cores), self._threads)
            for name, model in self._models.items()
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        for served in self._served.values():
            served.workers.close()
        self._resources.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def health(self) -> dict[str, Any]:
        """Return the status of the service and its load."""
        workers = [served.workers for served in self._served.values()]
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

    def created(self) -> dict[str, int]:
        """Return when each model was saved, in seconds since 1970; 0 for one that has no file."""
        paths = {name: served.model.path for name, served in self._served.items()}
        return {name: int(path.stat().st_mtime) if path and path.exists() else 0 for name, path in paths.items()}

    def stop(self) -> None:
        """Refuse new requests, and end the running ones after a grace period."""
        self._deadlines.stop()

    async def answer(self, action: str, data: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the answer to a request, after the pieces of its text if the request asks for a stream.

        action   a key of `ACTIONS`
        Raises:  RequestError, or another CharRNNError for a mistake in the request.
        """
        self._deadlines.check_running()
        if self._active >= self.limits.requests:
            raise RequestError(503, f"{self._active} requests are already in progress: retry in a moment")
        if action == "completions":  # in OpenAI's protocol, null asks for the default
            data = {name: value for name, value in data.items() if value is not None}
        request: Request = read(ACTIONS[action], data)
        self._active += 1
        try:
            async with aclosing(self._answers(request)) as answers:
                async for answer in answers:
                    yield answer
        finally:
            self._active -= 1

    async def _answers(self, request: Request) -> AsyncGenerator[dict[str, Any], None]:
        if isinstance(request, Score):
            yield await self._score(request)
        elif isinstance(request, Complete):
            yield await self._complete(request)
        else:
            several = self._generate(request) if isinstance(request, Generate) else self._completions(request)
            async with aclosing(several) as answers:
                async for answer in answers:
                    yield answer

    async def _generate(self, request: Generate) -> AsyncGenerator[dict[str, Any], None]:
        deadline = self._deadlines.next()
        _, served = self._model(request.model)
        config = self._sample_config(request)
        self._check_length("prime", request.prime)
        async with self._deadlines.limit(deadline):
            prompt = await self._in_thread(served.read, request.prime, config)
        seed = checked_seed(request.seed)
        job = Job(config, served.rules(config), prompt.primed, seed, stream=request.stream)
        pieces = Pieces(job, served.writer.vocab, request.prime)
        with self._drawing(served, [job], deadline) as grown:
            while not job.draft.ended:
                await grown.wait()
                grown.clear()
                if request.stream and (piece := pieces.next()):
                    yield {"piece": piece}
        sample = pieces.finished()
        if request.stream and (rest := sample.text[pieces.shown :]):
            yield {"piece": rest}
        yield {name: getattr(sample, name) for name in ("text", "logprob", "bpc", "seed", "ended")}

    async def _completions(self, request: Completions) -> AsyncGenerator[dict[str, Any], None]:
        deadline = self._deadlines.next()
        name, served = self._model(request.model)
        config, top = self._completion_config(request), request.logprobs
        for text in request.prompts:
            self._check_length("prompt", text)
        async with self._deadlines.limit(deadline):
            read_ = partial(served.read, config=config, top=top if request.echo else None)
            prompts = [await self._in_thread(read_, text) for text in request.prompts]
        completion = Completion(request, name, config, served.rules(config), prompts, served.writer.vocab)
        if request.stream and request.echo:
            yield completion.chunk(completion.echoes())
        with self._drawing(served, completion.jobs, deadline) as grown:
            while not completion.ended:
                await grown.wait()
                grown.clear()
                if request.stream and (choices := completion.pieces()):
                    yield completion.chunk(choices)
        for answer in completion.last():
            yield answer

    @contextmanager
    def _drawing(self, served: ServedModel, jobs: Sequence[Job], deadline: float) -> Iterator[asyncio.Event]:
        """Draw samples until they end, time is over, or the block ends; the event is set whenever one has grown."""

        def cancel(reason: str) -> None:
            for job in jobs:
                served.workers.cancel(job, reason)

        with self._notifier.watch(jobs) as grown, self._deadlines.enforce(cancel, deadline):
            for job in jobs:
                if not job.draft.ended:  # it has a length of 0
                    served.workers.add(job)
            try:
                yield grown
            finally:
                cancel("gone")

    async def _score(self, request: Score) -> dict[str, Any]:
        _, served = self._model(request.model)
        for line in request.lines:
            self._check_length("a line", line)
        async with self._deadlines.limit(self._deadlines.next()):
            scores = await served.scorer.score(request.lines, request.per_char)
        names = ("bpc", "logprob", "chars", "unknown", "text", *(["bits"] if request.per_char else []))
        return {"scores": [{name: getattr(one, name) for name in names} for one in scores]}

    async def _complete(self, request: Complete) -> dict[str, Any]:
        _, served = self._model(request.model)
        self._check_length("text", request.text)
        options = {name: getattr(request, name) for name in ("to", "count", "max_length", "unknown")}
        async with self._deadlines.limit(self._deadlines.next()):
            completions = await self._in_thread(partial(served.model.complete, request.text, **options))
        return completions.to_dict()

    def _model(self, name: str | None) -> tuple[str, ServedModel]:
        """Return the model of this name, or the first one for None, with its name."""
        if name is None:
            return next(iter(self._served.items()))
        if name not in self._served:
            raise RequestError(404, f"no model {name!r} is loaded: choose from {', '.join(self._served)}", "model")
        return name, self._served[name]

    def _sample_config(self, request: Generate) -> SampleConfig:
        """Return checked settings; a sample that ends after some lines has the maximum length by default."""
        given = {item.name: getattr(request, item.name) for item in fields(SampleConfig)}
        most = self.limits.chars
        if given["length"] is None:
            given["length"] = most if request.lines else min(SampleConfig.length or most, most)
        if not 1 <= given["length"] <= most:
            raise RequestError(422, f"length must be 1 to {most:,} on this server, got {given['length']}", "length")
        for name in ("regex", "charset"):
            if len(given[name] or "") > _LONGEST_RULE:
                raise RequestError(422, f"{name} must have at most {_LONGEST_RULE:,} characters", name)
        return self._checked(SampleConfig(**given))

    def _completion_config(self, request: Completions) -> SampleConfig:
        given = {item.name: getattr(request, item.name) for item in fields(Filters)}
        length, most = request.max_tokens, self.limits.chars
        if length > most:
            raise RequestError(422, f"max_tokens must be 0 to {most:,} on this server, got {length}", "max_tokens")
        return self._checked(SampleConfig(**given, length=length, stop=request.stops, unknown=request.unknown))

    def _checked(self, config: SampleConfig) -> SampleConfig:
        """Return the settings, after checking that a step of the sample takes little time."""
        if config.repeat_window > _WINDOW:
            message = f"repeat_window is 1 to {_WINDOW:,} characters here, not {config.repeat_window:,}"
            raise RequestError(422, message, "repeat_window")
        if len(config.stop) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in config.stop):
            message = f"stop has at most {MOST_STOPS} strings here, of {LONGEST_STOP:,} characters each"
            raise RequestError(422, message, "stop")
        return config

    def _check_length(self, name: str, text: str) -> None:
        if len(text) > self.limits.chars:
            message = f"{name} has {len(text):,} characters: the most here are {self.limits.chars:,}"
            raise RequestError(422, message, name.split()[-1])

    async def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Call the function in another thread, so that the event loop keeps serving other requests."""
        return await self._loop.run_in_executor(self._pool, function, *args)
