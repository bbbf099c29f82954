"""The service with a model that has a memory: each request has its own, whatever is answered beside it."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from fixtures_memory import memory_model, some_grams, text_of

from charrnn.generation.settings import SampleConfig
from charrnn.memory.memory import Memory
from charrnn.serve.batch import Batch, Job
from charrnn.serve.limits import Limits
from charrnn.serve.requests import RequestError
from charrnn.serve.service import Service

PRIME = text_of(150, seed=4)
SETTINGS = [
    {"seed": 1, "length": 40},
    {"seed": 2, "length": 60, "prime": PRIME},
    {"seed": 3, "length": 20, "prime": PRIME[:70]},
    {"seed": 4, "length": 60, "prime": PRIME, "temperature": 0.5},
    {"seed": 5, "length": 60, "prime": PRIME, "stop": ("ab",)},
    {"seed": 2, "length": 60, "prime": PRIME, "temperature": 0.0},
    {"seed": 6, "length": 60, "prime": PRIME[:30]},  # drawn beside the second one
]


def served_model(kind):
    """Return a model with a memory of this kind."""
    lm = memory_model(size=100)
    if "counts" in kind:
        vocab = lm.checkpoint.vocab
        grams = some_grams(vocab.encode(text_of(500)), vocab.size)
        lm.__dict__["_memory"] = Memory(lm.cache if "cache" in kind else None, grams)
    return lm


@pytest.fixture(scope="module", params=["cache", "counts", "cache and counts"])
def lm(request):
    return served_model(request.param)


def alone(lm, settings):
    """Return the sample that the library draws with these settings."""
    settings = {"temperature": 1.0} | settings
    prime = settings.pop("prime", "")
    (own,) = lm.samples(1, primes=[prime], **settings)
    return own


def job_of(lm, settings):
    given = {"temperature": 1.0} | settings
    prime, seed = given.pop("prime", ""), given.pop("seed")
    config = SampleConfig(**given)
    rules = lm.writer.rules(config)
    primed = lm.writer.prime(lm.checkpoint.vocab.encode(prime), rules, config.temperature)
    return Job(config, rules, primed, seed)


def test_samples_that_join_and_leave_leave_the_others_alone(lm):
    batch, jobs = Batch(lm.writer.ensemble), [job_of(lm, settings) for settings in SETTINGS]
    gone = job_of(lm, SETTINGS[1] | {"seed": 9})
    for number, job in enumerate(jobs):
        batch.join(job)
        if number == 1:
            batch.join(gone)
        for _ in range(3):
            batch.step()
    batch.leave([gone])
    while len(batch):
        batch.step()
    for job, settings in zip(jobs, SETTINGS, strict=True):
        draft = job.draft.before_stop(job.rules)
        own = draft.sample(lm.checkpoint.vocab, seed=job.seed, index=0, prime="")
        expected = alone(lm, settings)
        assert (own.text, job.draft.ended) == (expected.text, expected.ended), settings
        assert own.logprob == pytest.approx(expected.logprob, rel=1e-9)


def test_a_prime_that_several_requests_share_stays_as_it_is(lm):
    job = job_of(lm, SETTINGS[1])
    same = replace(job, draft=replace(job.draft, ids=[], log_probs=[]), top_log_probs=[])
    for each in (job, same):  # one after the other, from the same state
        batch = Batch(lm.writer.ensemble)
        batch.join(each)
        while len(batch):
            batch.step()
    assert job.draft.ids == same.draft.ids


def asked(lm, *requests, threads=2):
    """Return the answers to requests at the same time; each is an action and its fields."""

    async def answer(service, action, fields):
        return [each async for each in service.answer(action, fields)][-1]

    async def talk():
        async with Service({"one": lm}, Limits(), threads) as service:
            waiting = (answer(service, action, fields) for action, fields in requests)
            return await asyncio.wait_for(asyncio.gather(*waiting), 60)

    return asyncio.run(talk())


def test_answers_at_the_same_time_are_those_of_the_library(lm):
    lines, text = [PRIME[:40].replace("\n", "a"), "abc", PRIME[:90].replace("\n", "a")], PRIME[:120]
    requests = [("generate", {"temperature": 1.0} | settings | {"stop": [*settings.get("stop", ())]})
                for settings in SETTINGS]  # fmt: skip
    *texts, scores, completions = asked(
        lm, *requests, ("score", {"lines": lines}), ("complete", {"text": text, "to": "char", "count": 3})
    )
    assert [own["text"] for own in texts] == [alone(lm, settings).text for settings in SETTINGS]
    expected = [found.logprob for found in lm.score(lines)]
    assert [own["logprob"] for own in scores["scores"]] == [pytest.approx(each, rel=1e-6) for each in expected]
    assert completions["completions"] == lm.complete(text, to="char", count=3).to_dict()["completions"]


def test_an_echoed_prompt_continues_as_one_that_is_not(lm):
    fields = {"prompt": PRIME[:100], "max_tokens": 5, "seed": 4, "temperature": 0.4, "n": 12}
    plain, echoed = asked(
        lm, ("completions", fields), ("completions", fields | {"echo": True, "logprobs": 2}), threads=1
    )
    texts, wholes = ([choice["text"] for choice in answer["choices"]] for answer in (plain, echoed))
    assert wholes == [PRIME[:100] + text for text in texts]
    log_probs = echoed["choices"][0]["logprobs"]["token_logprobs"]
    ids = lm.checkpoint.vocab.encode(PRIME[:100])
    for at in (1, 50, 99):
        logits = lm.writer.ensemble.read(ids[:at]).logits[0]
        assert log_probs[at] == pytest.approx(logits[ids[at]] - np.logaddexp.reduce(logits), rel=1e-6)


def test_a_bad_request_leaves_the_memory_alone(lm):
    with pytest.raises(RequestError):
        asked(lm, ("generate", {"length": -1}))
    (answer,) = asked(lm, ("generate", {"temperature": 1.0} | SETTINGS[1]))
    assert answer["text"] == alone(lm, SETTINGS[1]).text
