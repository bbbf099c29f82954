"""The service: samples do not depend on the batch, and no request brings it down."""

import asyncio
import json
import math
import queue
import re
import socket
import threading
from contextlib import aclosing, suppress
from dataclasses import fields
from io import BytesIO

import numpy as np
import pytest

from charrnn.api import LanguageModel
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.corpus import Source
from charrnn.data.vocab import Vocab
from charrnn.errors import CharRNNError
from charrnn.generation.ensemble import Ensemble
from charrnn.generation.loop import Streams
from charrnn.generation.settings import SampleConfig
from charrnn.nn import model
from charrnn.parallel.plan import available_threads
from charrnn.serve import batch as batches
from charrnn.serve import deadlines, scoring
from charrnn.serve import worker as workers
from charrnn.serve.batch import Batch, Job
from charrnn.serve.deadlines import Deadlines
from charrnn.serve.limits import Limits
from charrnn.serve.openapi import GETS, POSTS, document
from charrnn.serve.pieces import Pieces
from charrnn.serve.requests import ACTIONS, MOST_BYTES, Generate, RequestError, parse, read
from charrnn.serve.service import ServedModel, Service
from charrnn.serve.stdio import LineClient
from charrnn.serve.worker import Team, Worker

VOCAB = Vocab("\n abcdexyz", starts=(0, 0, 5, 3, 0, 0, 0, 0, 0, 0))


def random_model(seed=4, vocab=VOCAB):
    """Return a model whose predictions depend on the context."""
    config = ModelConfig(vocab.size, cell="gru", hidden_size=8, dtype="float64")
    params = model.init_params(config, np.random.default_rng(seed))
    params["out.W_hy"] *= 6
    return LanguageModel(Checkpoint(config, TrainConfig(), vocab, params, 3, Source((), "")))


LM = random_model()


def sample(settings, lm=LM):
    """Return the sample that the library draws with these settings."""
    (own,) = lm.samples(1, primes=[settings.get("prime", "")], **{k: v for k, v in settings.items() if k != "prime"})
    return own


# The batch

SETTINGS = [
    {"seed": 1, "length": 40},
    {"seed": 2, "length": 40, "prime": "abc"},
    {"seed": 3, "length": 12, "prime": "a b"},
    {"seed": 4, "lines": 2, "length": 100},
    {"seed": 5, "stop": ("x", "ab"), "length": 100},
    {"seed": 6, "stop": ("x", "ab"), "length": 100, "prime": "aa"},
    {"seed": 7, "repeat_penalty": 2.0, "repeat_window": 5, "prime": "abcdexyz"},
    {"seed": 8, "charset": "a-e", "length": 9},
    {"seed": 9, "regex": "[abc]{3,5} (x|y)+z", "length": 11},
    {"seed": 10, "regex": "[abc]{3,5} (x|y)+z", "length": 11},
    {"seed": 11, "temperature": 0.0, "length": 20},
]


def job_of(settings):
    given = {"length": 60} | settings
    prime, seed = given.pop("prime", ""), given.pop("seed")
    config = SampleConfig(**given)
    rules = LM.writer.rules(config)
    return Job(config, rules, LM.writer.prime(VOCAB.encode(prime), rules), seed)


def text_of(job):
    return job.draft.before_stop(job.rules).sample(VOCAB, seed=job.seed, index=0, prime="")


def test_a_sample_does_not_depend_on_its_neighbours():
    batch, jobs = Batch(LM.writer.ensemble), [job_of(settings) for settings in SETTINGS]
    for job in jobs:  # each joins three steps after the one before
        batch.join(job)
        for _ in range(3):
            batch.step()
    while len(batch):
        batch.step()
    for job, settings in zip(jobs, SETTINGS, strict=True):
        alone = sample({"length": 60} | settings)
        assert (text_of(job).text, job.draft.ended) == (alone.text, alone.ended), settings
        assert text_of(job).logprob == pytest.approx(alone.logprob, rel=1e-12)


def test_the_models_read_for_all_groups_in_one_step(monkeypatch):
    sizes, step = [], Ensemble.step
    monkeypatch.setattr(
        Ensemble, "step", lambda self, ids, states: (sizes.append(len(ids)), step(self, ids, states))[1]
    )
    batch = Batch(LM.writer.ensemble)
    for settings in SETTINGS[:4]:
        batch.join(job_of(settings))
    batch.step()
    assert sizes == [4]


def test_a_cancelled_sample_stops_and_the_others_continue():
    batch, jobs = Batch(LM.writer.ensemble), [job_of({"seed": seed, "length": 30}) for seed in range(3)]
    for job in jobs:
        batch.join(job)
    for _ in range(5):
        batch.step()
    batch.leave([jobs[1]])
    assert batch.jobs == [jobs[0], jobs[2]]
    while len(batch):
        batch.step()
    assert [len(job.draft.ids) for job in jobs] == [30, 5, 30]
    assert [text_of(job).text for job in jobs[::2]] == [sample({"seed": seed, "length": 30}).text for seed in (0, 2)]


def test_a_step_returns_jobs_that_stream_or_ended():
    batch, quiet, watched = (
        Batch(LM.writer.ensemble),
        job_of({"seed": 1, "length": 2}),
        job_of({"seed": 2, "length": 3}),
    )
    object.__setattr__(watched, "stream", True)
    batch.join(quiet)
    batch.join(watched)
    assert [batch.step() for _ in range(3)] == [[watched], [quiet, watched], [watched]]
    assert batch.step() == []


def test_one_worker_gets_a_whole_group_before_the_next_gets_any(monkeypatch):
    monkeypatch.setattr(workers, "group_size", lambda ensemble: 2)
    told, jobs = set(), [job_of({"seed": number, "length": 10**9}) for number in range(7)]
    team = Team(LM.writer.ensemble, told.update, 2)
    loads = []
    for job in jobs:
        team.add(job)
        loads.append([worker.running + worker.waiting for worker in team._workers])
        asyncio.run(asyncio.wait_for(until(lambda: team.waiting == 0 and team.running == sum(loads[-1])), 60))
    assert loads == [[1], [2], [2, 1], [2, 2], [3, 2], [3, 3], [4, 3]]
    for job in jobs[2:]:
        team.cancel(job, "gone")
    asyncio.run(asyncio.wait_for(until(lambda: team.running == 2), 60))
    assert {job.draft.ended for job in jobs[:2]} == {""}
    assert {job.draft.ended for job in jobs[2:]} == {"gone"}
    team.close()


# The service


def serving(limits=None, models=None, threads=1):
    """Return a decorator that runs a coroutine function with a service."""

    def decorate(talk):
        async def run():
            async with Service(models or {"one": LM}, limits or Limits(), threads) as service:
                return await asyncio.wait_for(talk(service), 60)

        return asyncio.run(run())

    return decorate


async def answers(service, ask, what="generate"):
    async with aclosing(service.answer(what, ask)) as found:
        return [answer async for answer in found]


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


@pytest.fixture
def gate(monkeypatch):
    """Return an event that every batch waits for before each step; its `sizes` are those of the batches."""
    opened, step = threading.Event(), Batch.step
    opened.sizes = []

    def wait(self):
        assert opened.wait(60)
        opened.sizes.append(len(self))
        return step(self)

    monkeypatch.setattr(Batch, "step", wait)
    yield opened
    opened.set()


def test_a_text_is_that_of_the_library():
    settings = {"prime": "ab", "seed": 7, "length": 50, "temperature": 1.0, "top_k": 4}

    @serving()
    async def found(service):
        return await answers(service, settings)

    alone = sample(settings)
    assert found == [
        {"text": alone.text, "logprob": alone.logprob, "bpc": alone.bpc, "seed": 7, "ended": "length"},
    ]


@pytest.mark.parametrize("stop", [[], ["ab", "xyz"]])
def test_pieces_make_up_the_text(stop):
    @serving()
    async def found(service):
        return [await answers(service, {"seed": seed, "stop": stop, "stream": True}) for seed in range(4)]

    for *pieces, last in found:
        assert "".join(piece["piece"] for piece in pieces) == last["text"]
        assert all(piece["piece"] for piece in pieces)
        assert not any(string in last["text"] for string in stop)


def test_no_piece_has_part_of_a_possible_stop_string():
    job, seen = job_of({"seed": 1, "stop": ("abc", "xy")}), []
    pieces = Pieces(job, VOCAB, "")
    for id_ in VOCAB.encode("dabxaxy").tolist():
        job.draft.ids.append(id_)
        seen.append(pieces.next())
    job.draft.log_probs.extend([0.0] * 7)
    job.draft.ended = "stop"
    assert [*seen, pieces.next()] == ["d", "", "", "ab", "x", "a", "", ""]
    assert (pieces.finished().text, pieces.shown, pieces.settled) == ("dabxa", 5, 5)


def test_a_text_that_has_ended_keeps_its_reason():
    told = queue.Queue()
    worker, job = Worker(LM.writer.ensemble, told.put), job_of({"seed": 1, "length": 2})
    worker.add(job)
    while not job.draft.ended:
        told.get(timeout=60)
    worker.cancel(job, "gone")
    while job not in told.get(timeout=60):
        pass
    worker.close()
    assert (job.draft.ended, len(job.draft.ids)) == ("length", 2)


def test_requests_at_the_same_time_share_a_batch(gate):
    settings = [{"seed": 1, "length": 30}, {"seed": 2, "length": 30}, {"seed": 3, "length": 30, "top_p": 0.9}]

    @serving()
    async def found(service):
        tasks = [asyncio.create_task(answers(service, ask)) for ask in settings]
        await until(lambda: service.health()["waiting"] + service.health()["writing"] == 3)
        gate.set()
        return await asyncio.gather(*tasks)

    assert max(gate.sizes) == 3
    assert [text for ((answer,), ask) in zip(found, settings, strict=True) for text in [answer["text"]]] == [
        sample(ask).text for ask in settings
    ]


def test_no_more_requests_than_the_limit(gate):
    @serving(Limits(requests=2))
    async def found(service):
        tasks = [asyncio.create_task(answers(service, {"length": 3})) for _ in range(2)]
        await until(lambda: service.health()["requests"] == 2)
        with pytest.raises(RequestError, match="retry in a moment") as raised:
            await answers(service, {})
        assert raised.value.status == 503
        gate.set()
        await asyncio.gather(*tasks)
        return await answers(service, {"length": 3})

    assert len(found[0]["text"]) == 3


def test_a_text_is_cut_off_when_its_time_is_over():
    @serving(Limits(chars=10**9, seconds=1.0))
    async def found(service):
        *_, last = await answers(service, {"length": 10**9, "stream": True})
        return last

    assert found["ended"] == "time"


def test_the_time_of_a_prime_is_that_of_its_text(monkeypatch):
    ends, enforce = [], Deadlines.enforce
    monkeypatch.setattr(
        Deadlines, "enforce", lambda self, end, until: (ends.append(until), enforce(self, end, until))[1]
    )

    @serving()
    async def _(service):
        began = asyncio.get_running_loop().time()
        await answers(service, {"length": 5})
        assert ends[0] == ends[1] <= asyncio.get_running_loop().time() + service.limits.seconds
        assert ends[0] >= began + service.limits.seconds


def test_running_samples_are_returned_when_the_service_stops(gate, monkeypatch):
    monkeypatch.setattr(deadlines, "GRACE", 0.0)

    @serving()
    async def found(service):
        task = asyncio.create_task(answers(service, {"length": 5000}))
        await until(lambda: service.health()["writing"] == 1)
        service.stop()
        with pytest.raises(RequestError, match="stopping"):
            await answers(service, {})
        gate.set()
        return await task, service.health()["status"]

    assert found[0][0]["ended"] == "shutdown"
    assert found[1] == "stopping"


def test_a_cancelled_request_stops_its_sample(gate):
    @serving(Limits(chars=10**9))
    async def _(service):
        task = asyncio.create_task(answers(service, {"length": 10**9}))
        await until(lambda: service.health()["writing"] == 1)
        task.cancel()
        gate.set()
        await until(lambda: not service.health()["writing"])
        assert service.health()["requests"] == 0


def test_an_error_in_a_step_is_reported_and_the_next_text_written(monkeypatch):
    step = Batch.step

    def fail(self):
        monkeypatch.setattr(Batch, "step", step)
        raise MemoryError

    @serving()
    async def found(service):
        monkeypatch.setattr(Batch, "step", fail)
        with pytest.raises(RequestError, match="MemoryError") as raised:
            await answers(service, {})
        assert raised.value.status == 500
        return await answers(service, {"length": 5, "seed": 1})

    assert found[0]["text"] == sample({"length": 5, "seed": 1}).text


def test_an_error_after_a_step_leaves_what_ended_in_it_as_it_is(monkeypatch):
    slow, quick = job_of({"seed": 1, "length": 10**9}), job_of({"seed": 2, "length": 1})
    told, advance = set(), batches.advance

    def failing(ensemble, groups):
        if quick.draft.ended:
            raise MemoryError
        advance(ensemble, groups)

    monkeypatch.setattr(batches, "advance", failing)
    worker = Worker(LM.writer.ensemble, told.update)
    worker.add(slow)
    worker.add(quick)
    asyncio.run(asyncio.wait_for(until(lambda: {slow, quick} <= told), 60))
    worker.close()
    assert quick.draft.ended == "length"
    assert slow.draft.ended.startswith("error: MemoryError")


def test_an_error_of_one_text_reaches_no_other_request(gate, monkeypatch):
    begin = Streams.start

    def fail(begins, entropy, **given):
        if entropy == [[2, 0]]:
            raise MemoryError
        return begin(begins, entropy, **given)

    monkeypatch.setattr(Streams, "start", fail)

    @serving()
    async def found(service):
        asks = [{"seed": seed, "length": 5} for seed in (1, 2, 3)]
        tasks = [asyncio.create_task(answers(service, ask)) for ask in asks]
        gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [found[0][0]["text"], found[2][0]["text"]] == [sample({"seed": seed, "length": 5}).text for seed in (1, 3)]
    assert "MemoryError" in str(found[1])


def test_models_are_chosen_by_name():
    other = random_model(5)

    @serving(models={"one": LM, "two": other})
    async def found(service):
        assert [one["name"] for one in service.models()["models"]] == ["one", "two"]
        return [(await answers(service, {"seed": 1} | ask))[0]["text"] for ask in ({}, {"model": "two"})]

    assert found == [LM.writer.samples(1, seed=1).__next__().text, next(other.samples(1, seed=1)).text]


@pytest.mark.parametrize(
    ("what", "ask", "status", "says"),
    [
        ("generate", {"temprature": 1}, 422, "did you mean temperature?"),
        ("generate", {"prompt": "a"}, 422, "did you mean prime?"),
        ("generate", {"max_tokens": 1}, 422, "did you mean length?"),
        ("generate", {"temperature": "hot"}, 422, "temperature must be a number"),
        ("generate", {"temperature": True}, 422, "temperature must be a number"),
        ("generate", {"temperature": -1}, 422, "temperature must be at least 0, got -1"),
        ("generate", {"top_k": 1.5}, 422, "top_k must be a whole number"),
        ("generate", {"top_k": 10**30}, 422, "top_k must be a whole number"),
        ("generate", {"seed": -1}, 422, "seed must be a whole number"),
        ("generate", {"stop": "a"}, 422, "stop must be a list"),
        ("generate", {"stop": [1]}, 422, "stop must be a list"),
        ("generate", {"stop": [""]}, 422, "stop must have at least one character"),
        ("generate", {"prime": None}, 422, "prime must be a string"),
        ("generate", {"prime": "Q"}, 422, "(U+0051)"),
        ("generate", {"prime": "\ud800"}, 422, "not in the model's vocabulary"),
        ("generate", {"prime": "a" * 10_001}, 422, "prime has 10,001 characters"),
        ("generate", {"length": 10_001}, 422, "length must be 1 to 10,000"),
        ("generate", {"length": 0}, 422, "length must be 1 to 10,000"),
        ("generate", {"repeat_window": 10_001}, 422, "repeat_window is 1 to 10,000"),
        ("generate", {"stop": ["a" * 1001]}, 422, "stop has at most 16 strings here, of 1,000 characters"),
        ("generate", {"stop": ["a"] * 17}, 422, "stop has at most 16"),
        ("generate", {"regex": "("}, 422, "without its )"),
        ("generate", {"regex": "a" * 10_001}, 422, "regex must have at most 10,000 characters"),
        ("generate", {"charset": "[:" * 50_000}, 422, "charset must have at most 10,000 characters"),
        ("generate", {"model": "three"}, 404, "no model 'three' is loaded: choose from one"),
        ("score", {"lines": "a"}, 422, "lines must be a list"),
        ("score", {"lines": ["a" * 10_001]}, 422, "a line has 10,001 characters"),
        ("complete", {"text": "a" * 10_001}, 422, "text has 10,001 characters"),
        ("complete", {"text": "a", "count": 1000}, 422, "count must be at most 100, got 1000"),
        ("complete", {"text": "a", "to": "moon"}, 422, "moon"),
    ],
)
def test_an_impossible_request(what, ask, status, says):
    @serving()
    async def _(service):
        with pytest.raises(CharRNNError) as raised:
            await answers(service, ask, what)
        assert getattr(raised.value, "status", 422) == status
        assert says in str(raised.value)
        assert service.health()["requests"] == 0


def test_optional_fields_may_be_null_and_lists_become_tuples():
    request = read(Generate, {"seed": None, "stop": ["a"], "temperature": 1})
    assert (request.seed, request.stop, request.temperature, request.model) == (None, ("a",), 1, None)


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[1]", b"\xff\xfe\x00", b'{"a": NaN}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_object(body):
    with pytest.raises(RequestError) as raised:
        parse(body)
    assert raised.value.status == 400


def test_scores_are_those_of_the_library(monkeypatch):
    monkeypatch.setattr(scoring, "_BLOCK", 6)  # several blocks
    lines = ["abc", "", "Q", "xyz xyz", "a"]

    @serving()
    async def found(service):
        return await answers(service, {"lines": lines, "per_char": True}, "score")

    scores = found[0]["scores"]
    for line, own, score in zip(lines, LM.score(lines, per_char=True), scores, strict=True):
        assert (score["text"], score["chars"], score["unknown"]) == (line, own.chars, own.unknown)
        assert score["bpc"] == (None if own.bpc is None else pytest.approx(own.bpc, abs=1e-5))
        assert len(score["bits"]) == len(own.bits)


@pytest.fixture
def scored(monkeypatch):
    """Return an event that scoring waits for; its `lines` are those scored together, each time."""
    opened, score = threading.Event(), LanguageModel.score
    opened.lines = []

    def wait(self, lines, **options):
        opened.lines.append(lines)
        assert opened.wait(60)
        return score(self, lines, **options)

    monkeypatch.setattr(LanguageModel, "score", wait)
    yield opened
    opened.set()


def test_scores_wanted_at_the_same_time_share_a_batch(scored, monkeypatch):
    monkeypatch.setattr(scoring, "_BLOCK", 12)
    asks = [{"lines": ["a"]}, {"lines": ["abc", "xyz"]}, {"lines": ["a b c d"]}, {"lines": ["ab"], "per_char": True}]

    @serving()
    async def found(service):
        tasks = [asyncio.create_task(answers(service, ask, "score")) for ask in asks]
        await until(lambda: service.health()["requests"] == 4 and scored.lines)
        scored.set()
        return await asyncio.gather(*tasks)

    assert scored.lines == [["a"], ["abc", "xyz", "ab"], ["a b c d"]]
    for ask, (answer,) in zip(asks, found, strict=True):
        assert [score["text"] for score in answer["scores"]] == ask["lines"]
        for score, own in zip(answer["scores"], LM.score(ask["lines"]), strict=True):
            assert score["logprob"] == pytest.approx(own.logprob, abs=1e-5)
            assert (score.get("bits") is not None) == ("per_char" in ask)


def test_as_many_blocks_are_scored_at_a_time_as_there_are_threads(monkeypatch):
    meeting, score, counted = threading.Barrier(2, timeout=60), LanguageModel.score, []

    def meet(self, lines, **options):
        counted.append(len(lines))
        meeting.wait()
        return score(self, lines, **options)

    monkeypatch.setattr(scoring, "_BLOCK", 3)
    monkeypatch.setattr(LanguageModel, "score", meet)

    @serving(threads=2)
    async def found(service):
        return await asyncio.gather(*(answers(service, {"lines": [f"a{line}"]}, "score") for line in "abcd"))

    assert [answer["scores"][0]["text"] for (answer,) in found] == ["aa", "ab", "ac", "ad"]
    assert counted == [1] * 4


def test_a_line_that_cannot_be_read_reaches_no_other_request(scored, monkeypatch):
    def in_form(self, text):
        if text == "bad":
            raise CharRNNError("no")
        return text

    monkeypatch.setattr(Vocab, "in_form", in_form)

    @serving()
    async def found(service):
        asks = [{"lines": ["a"]}, {"lines": ["b"]}, {"lines": ["c", "bad"]}, {"lines": ["d"]}]
        tasks = [asyncio.create_task(answers(service, ask, "score")) for ask in asks]
        await until(lambda: scored.lines)
        scored.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert str(found.pop(2)) == "no"
    assert [answer["scores"][0]["text"] for (answer,) in found] == ["a", "b", "d"]


def test_a_client_that_leaves_cancels_no_other_scores(scored):
    @serving()
    async def found(service):
        tasks = [asyncio.create_task(answers(service, {"lines": [line]}, "score")) for line in "abcd"]
        await until(lambda: service.health()["requests"] == 4 and scored.lines)
        tasks[0].cancel()
        tasks[2].cancel()
        await until(lambda: len(scored.lines) == 2)
        scored.set()
        return [(await task)[0]["scores"][0]["text"] for task in (tasks[1], tasks[3])]

    assert scored.lines == [["a"], ["b", "d"]]
    assert found == ["b", "d"]


def test_a_score_that_takes_too_long_is_refused(scored):

    @serving(Limits(seconds=0.001))
    async def _(service):
        with pytest.raises(RequestError, match="longer than") as raised:
            await answers(service, {"lines": ["a"]}, "score")
        assert raised.value.status == 504
        scored.set()


def test_a_prime_that_takes_too_long_to_read_is_refused(monkeypatch):
    going = threading.Event()
    monkeypatch.setattr(ServedModel, "read", lambda *args: going.wait(60))

    @serving(Limits(seconds=0.001))
    async def _(service):
        with pytest.raises(RequestError, match="longer than"):
            await answers(service, {})
        going.set()


def test_completions_are_those_of_the_library():
    @serving()
    async def found(service):
        return await answers(service, {"text": "ab", "to": "line", "count": 3, "max_length": 6}, "complete")

    assert found == [LM.complete("ab", to="line", count=3, max_length=6).to_dict()]


# Over HTTP, without a socket


def http(service, path, *parts, method="POST", token=None, headers=None, stays=True):
    """Send a request to the application; return the status, the headers and the lines of the answer."""

    app = pytest.importorskip("charrnn.serve.web").application

    async def talk():
        sent = []
        inbox = [{"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]]
        inbox += [{"type": "http.request", "body": part, "more_body": False} for part in parts[-1:]]

        async def receive():
            if inbox:
                return inbox.pop(0)
            if stays:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        given = {"host": "localhost:80"} | (headers or {})
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
        scope = {
            "type": "http",
            "path": path,
            "method": method,
            "headers": pairs,
            "query_string": b"",
            "scheme": "http",
        }
        with suppress(KeyError):  # the bug of a test, which the server would log
            await app(service, token)(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        assert not sent[-1].get("more_body", False)
        got = dict(sent[0]["headers"])
        if got.get(b"content-type", b"").startswith(b"text/"):
            return sent[0]["status"], got, body.decode()
        return sent[0]["status"], got, [json.loads(line) for line in body.splitlines()]

    return talk()


def test_the_answers_by_http():
    ask = json.dumps({"seed": 1, "length": 20}).encode()

    @serving()
    async def _(service):
        status, headers, (answer,) = await http(service, "/generate", ask[:5], ask[5:])
        assert (status, headers[b"content-type"]) == (200, b"application/json")
        assert answer["text"] == sample({"seed": 1, "length": 20}).text
        status, headers, (*pieces, last) = await http(service, "/generate", ask[:-1] + b', "stream": true}')
        assert (status, headers[b"content-type"]) == (200, b"application/x-ndjson")
        assert "".join(piece["piece"] for piece in pieces) == last["text"] == answer["text"]
        assert (await http(service, "/health", method="GET"))[2][0]["status"] == "ok"
        assert (await http(service, "/models", method="GET"))[2][0]["models"][0]["cell"] == "gru"
        assert (await http(service, "/score", b'{"lines": ["ab"]}'))[2][0]["scores"][0]["chars"] == 3
        assert (await http(service, "/complete", b'{"text": "ab"}'))[2][0]["text"] == "ab"


@pytest.mark.parametrize(
    ("status", "says", "request_"),
    [
        (400, "not JSON", {"parts": [b"garbage"]}),
        (400, "cut short", {"parts": [], "stays": False}),
        (404, "there is no /x: see /docs", {"path": "/x", "parts": [b""]}),
        (405, "/generate is for POST, not GET", {"method": "GET", "parts": [b""]}),
        (405, "/health is for GET", {"path": "/health", "parts": [b""]}),
        (413, "more than 1,000,000 bytes", {"parts": [b" " * MOST_BYTES, b" "]}),
        (413, "more than 1,000,000 bytes", {"parts": [], "headers": {"content-length": "1000001"}}),
        (422, "unknown field", {"parts": [b'{"x": 1}']}),
        (403, "'evil.com'", {"parts": [b"{}"], "headers": {"host": "evil.com"}}),
        (403, "''", {"parts": [b"{}"], "headers": {"host": ""}}),
        (403, "for host", {"parts": [b"{}"], "headers": {"host": "localhost.evil.com:80"}}),
        (403, "for host", {"parts": [b"{}"], "headers": {"host": "[::"}}),
        (403, "web page", {"parts": [b"{}"], "headers": {"origin": "https://evil.com"}}),
        (403, "web page", {"parts": [b"{}"], "headers": {"origin": "null"}}),
        (401, "lacks the token", {"parts": [b"{}"], "token": "secret"}),
        (401, "lacks the token", {"parts": [b"{}"], "token": "s", "headers": {"authorization": "Bearer \xe4"}}),
        (401, "lacks the token", {"parts": [b"{}"], "token": "s", "headers": {"host": "x/docs#"}}),
    ],
)
def test_a_bad_request_by_http(status, says, request_):
    @serving()
    async def _(service):
        options = {"path": "/generate"} | request_
        found, headers, (answer,) = await http(service, options.pop("path"), *options.pop("parts"), **options)
        assert found == status
        assert says in answer["error"]
        assert (b"www-authenticate" in headers) == (status == 401)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8765", "[::1]:80", "127.8.8.8"])
def test_names_of_this_machine(host):
    @serving()
    async def _(service):
        headers = {"host": host, "origin": f"http://{host}"}
        assert (await http(service, "/health", method="GET", headers=headers))[0] == 200


def test_a_token_opens_the_service_to_any_host():
    @serving()
    async def _(service):
        headers = {"host": "models.example", "authorization": "Bearer secret"}
        assert (await http(service, "/health", method="GET", token="secret", headers=headers))[0] == 200


def test_a_client_that_leaves_is_not_written_for(gate):
    @serving(Limits(chars=10**9))
    async def _(service):
        assert (await http(service, "/generate", b'{"length": 1000000000}', stays=False))[0] == 499
        gate.set()
        await until(lambda: not service.health()["writing"] + service.health()["waiting"])
        assert service.health()["requests"] == 0


def test_a_full_service_says_when_to_come_again():
    @serving(Limits(requests=0))
    async def _(service):
        status, headers, _ = await http(service, "/generate", b"{}")
        assert (status, headers[b"retry-after"]) == (503, b"1")


def test_a_body_that_does_not_arrive(monkeypatch):
    monkeypatch.setattr(pytest.importorskip("charrnn.serve.web"), "_BODY_SECONDS", 0.0)

    @serving()
    async def _(service):
        assert (await http(service, "/generate"))[0] == 408


def test_a_bug_is_reported_on_one_line(monkeypatch):
    async def broken(self, ask):
        raise KeyError("a\nb")

    monkeypatch.setattr(Service, "_complete", broken)

    @serving()
    async def _(service):
        status, _, (answer,) = await http(service, "/complete", b"{}")
        assert (status, answer["error"]) == (500, r"KeyError: 'a\nb'")


def test_an_error_after_the_first_piece_is_the_last_line(monkeypatch):
    async def broken(self, ask):
        yield {"piece": "a"}
        raise RequestError(500, "lost")

    monkeypatch.setattr(Service, "_generate", broken)

    @serving()
    async def _(service):
        assert (await http(service, "/generate", b'{"stream": true}'))[::2] == (
            200,
            [{"piece": "a"}, {"error": "lost"}],
        )


# The pages and the description


@pytest.mark.parametrize(("path", "calls"), [("/", POSTS.keys()), ("/docs", {"/openapi.json"})])
def test_a_page_needs_nothing_but_this_server(path, calls):
    @serving()
    async def _(service):
        for token in (None, "secret"):  # a browser cannot send a token with an address
            status, headers, page = await http(service, path, method="GET", token=token)
            assert (status, headers[b"content-type"]) == (200, b"text/html; charset=utf-8")
        assert b"default-src 'none'" in headers[b"content-security-policy"]
        assert b"connect-src 'self'" in headers[b"content-security-policy"]
        assert "://" not in page
        assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)=(?!\"data:,\")|@import|url\(", page)
        called = {f"/{name}" for name in re.findall(r'(?:ask|fetch)\("([a-z0-9./]+)"', page)}
        assert called <= {*GETS, *POSTS}
        assert called & set(calls)


def test_a_page_of_another_host_gets_nothing():
    @serving()
    async def _(service):
        for path in GETS:
            status, headers, _ = await http(service, path, method="GET", headers={"origin": "https://evil.com"})
            assert status == 403
            assert not any(name.startswith(b"access-control") for name in headers)


def test_the_description_has_every_path_and_its_examples_work():
    @serving(models={"one": random_model(vocab=Vocab("".join(map(chr, range(32, 127)))))})
    async def _(service):
        _, _, (described,) = await http(service, "/openapi.json", method="GET")
        paths = {(path, method) for path, methods in described["paths"].items() for method in methods}
        routes = pytest.importorskip("charrnn.serve.web").application(service, None).routes
        assert paths == {(route.path, method.lower()) for route in routes for method in route.methods - {"HEAD"}}
        for path in POSTS:
            example = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
            assert (await http(service, path, json.dumps(example).encode()))[0] == 200


OTHERS = [None, "text", True, -1, 0, 0.5, 1, 10**9, 10**20, [], ["a"], [1], {}, {"a": True}, {"a": 1}, {"a": "b"}]
NOT_SUPPORTED = ("suffix", "logit_bias", "presence_penalty", "frequency_penalty")


def fits(schema, value):
    """Return whether a value fits a JSON schema of the kinds that the description has."""
    if "anyOf" in schema:
        return any(fits(one, value) for one in schema["anyOf"])
    match schema["type"]:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str) and value in schema.get("enum", [value])
        case "array":
            return isinstance(value, list) and all(fits(schema["items"], item) for item in value)
        case "object":
            inner = schema["additionalProperties"]
            return isinstance(value, dict) and all(fits(inner, item) for item in value.values())
    if isinstance(value, bool) or not isinstance(value, int if schema["type"] == "integer" else (int, float)):
        return False
    low, above = schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf)
    return low <= value <= schema.get("maximum", 2**63 - 1) and value > above


def is_read(request, name, value):
    try:
        read(request, {name: value})
    except RequestError:
        return False
    return True


@pytest.mark.parametrize("request_", dict.fromkeys(ACTIONS.values()), ids=lambda request: request.__name__)
def test_the_description_allows_what_the_service_reads(request_):
    properties, defaults = document()["components"]["schemas"][request_.__name__]["properties"], request_()
    assert properties.keys() == {item.name for item in fields(request_)}
    for name, schema in properties.items():
        assert schema.get("default") == getattr(defaults, name)
        assert schema["description"].endswith(".")
        for value in OTHERS:
            if name not in NOT_SUPPORTED:
                assert is_read(request_, name, value) == fits(schema, value), (name, value)


# On a socket


@pytest.fixture
def knocking(monkeypatch):
    """Return a decorator that runs a coroutine function with a reader and a writer connected to a service."""
    server = pytest.importorskip("charrnn.serve.server")

    def run(talk):
        @serving()
        async def _(service):
            with server.listening("127.0.0.1", 0) as own:
                task = asyncio.create_task(server.serve(service, own, "secret"))
                reader, writer = await asyncio.open_connection(*own.getsockname(), limit=1024)
                await talk(reader, writer)
                writer.close()
                task.cancel()
                await asyncio.wait([task])

    return run


HEAD = b"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 2\r\n\r\n"


def test_a_client_refused_early_is_disconnected(knocking):
    @knocking
    async def _(reader, writer):
        writer.write(HEAD.replace(b"secret", b"wrong"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 401 ")
        writer.write(b"{")
        await reader.read()  # up to its end


def test_a_client_that_never_asks_is_disconnected(knocking, monkeypatch):
    monkeypatch.setattr("charrnn.serve.server._HEAD_SECONDS", 0.05)

    @knocking
    async def _(reader, writer):
        writer.write(b"POST /sco")
        assert await reader.read() == b""


def test_a_client_that_asks_in_time_stays_connected(knocking, monkeypatch):
    monkeypatch.setattr("charrnn.serve.server._HEAD_SECONDS", 0.3)

    @knocking
    async def _(reader, writer):
        for wait in (0.4, 0):
            writer.write(HEAD + b"{}")
            assert (await reader.readuntil(b"]}\n")).startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(wait)


def test_a_client_that_never_reads_is_disconnected(knocking, monkeypatch):
    from charrnn.serve import server

    async def much(self, ask):
        return {"much": "y" * 30_000_000}

    over, guarded = asyncio.Event(), server._guarded

    def noting(app, listener):
        async def noted(scope, receive, send):
            try:
                await guarded(app, listener)(scope, receive, send)
            finally:
                over.set()

        return noted

    monkeypatch.setattr(Service, "_score", much)
    monkeypatch.setattr(server, "_guarded", noting)
    monkeypatch.setattr(server, "_UNREAD_SECONDS", 0.1)

    @knocking
    async def _(reader, writer):
        writer.write(HEAD + b"{}")
        await over.wait()
        with suppress(ConnectionError):
            assert len(await reader.read()) < 30_000_000


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="a limit that only Linux has")
def test_the_system_closes_a_connection_that_is_not_read():
    listening = pytest.importorskip("charrnn.serve.server").listening
    with listening("127.0.0.1", 0) as own, socket.create_connection(own.getsockname()):
        with socket.socket.accept(own)[0] as connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


# As lines of JSON


def conversation(*lines, limits=None):
    """Return the answers to these lines, in order."""
    told = []

    @serving(limits)
    async def _(service):
        await LineClient(service, told.append).converse(BytesIO(b"".join(lines)))

    return [json.loads(line) for line in told]


def test_every_line_has_one_answer():
    found = conversation(
        b'{"do": "generate", "id": "a", "seed": 1, "length": 20}\n',
        b"garbage\n",
        b"\n",
        b"\xff\xfe\n",
        b'{"do": "sing"}\n',
        b'{"do": "health", "id": [1]}\n',
        b'{"do": "generate", "prime": "Q"}\n',
        b"[" * (MOST_BYTES + 10) + b"\n",
        b'{"do": "score", "lines": ["ab"]}\n',
        b'{"do": "complete", "text": "ab"}\n',
        b'{"do": ["sing"], "id": 76}\n',
        b'{"do": "completions", "id": "c", "prompt": "ab", "max_tokens": 3}\n',
        b'{"do": "models", "id": 77}',
    )
    by_id = {str(answer.pop("id")): answer for answer in found}
    assert len(found) == len(by_id) == 12
    assert '"do" must be one of' in by_id["76"]["error"]
    assert len(by_id["c"]["choices"][0]["text"]) == 3
    assert "more than 1,000,000 bytes" in by_id["8"]["error"]
    assert by_id["a"]["text"] == sample({"seed": 1, "length": 20}).text
    assert {name for name, answer in by_id.items() if "error" in answer} == {"2", "4", "5", "[1]", "8", "76", "7"}
    assert by_id["77"]["models"][0]["name"] == "one"


def test_pieces_bear_the_id_of_their_request():
    *pieces, last = conversation(b'{"do": "generate", "id": "s", "seed": 1, "length": 20, "stream": true}\n')
    assert {piece["id"] for piece in pieces} == {"s"}
    assert "".join(piece["piece"] for piece in pieces) == last["text"]


def test_a_request_can_be_cancelled(gate):
    class Asking(BytesIO):
        """Opens the gate once the last line, which cancels, has been read."""

        def readline(self, size=-1):
            line = super().readline(size)
            if not line:
                gate.set()
            return line

    told = []

    @serving()
    async def _(service):
        ask = b'{"do": "generate", "id": 5, "length": 10000}\n'
        await LineClient(service, told.append).converse(
            Asking(ask + ask + b'{"do": "cancel", "id": 5}\n{"do": "cancel", "id": 6}\n')
        )

    found = {(answer["id"], answer["error"].split(":")[0]) for answer in map(json.loads, told)}
    assert found == {
        (5, "cancelled"),
        (5, "a request with this id is in progress"),
        (6, "no request with this id is in progress"),
    }


def test_the_only_request_that_there_may_be_can_be_cancelled(gate):
    told = queue.SimpleQueue()

    @serving(Limits(requests=1))
    async def _(service):
        asks = [{"do": "generate", "id": 5, "length": 10000}, {"do": "cancel", "id": 5}, {"do": "health", "id": 6}]
        lines = b"".join(json.dumps(ask).encode() + b"\n" for ask in asks)
        talk = asyncio.create_task(LineClient(service, told.put).converse(BytesIO(lines)))
        await until(lambda: told.qsize() == 2)
        gate.set()
        await talk

    assert {told.get()[:9] for _ in range(2)} == {b'{"id": 5,', b'{"id": 6,'}


def test_errors_name_fields_and_no_flags():
    found = conversation(b'{"do": "complete", "text": "a", "to": "char", "max_length": 3}\n')
    assert "max_length" in found[0]["error"]
    assert "--" not in found[0]["error"]


def test_more_lines_than_the_service_takes_at_once_wait():
    found = conversation(*[b"\n"] * 3, *[b'{"do": "generate", "length": 3}\n'] * 9, limits=Limits(requests=2))
    assert sorted(answer["id"] for answer in found) == list(range(4, 13))
    assert all(len(answer["text"]) == 3 for answer in found)


def test_a_reader_that_is_gone_ends_the_conversation():
    def write(line):
        raise BrokenPipeError

    @serving()
    async def _(service):
        with pytest.raises(BrokenPipeError):
            await LineClient(service, write).converse(BytesIO(b'{"do": "health"}\n'))


def test_matrix_products_have_one_thread_while_it_serves():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2, "blas"):
        before = available_threads()

        @serving()
        async def found(service):
            return available_threads()

        assert (found, available_threads()) == (1, before)
