"""OpenAI's completions protocol, spoken by OpenAI's own client."""

import asyncio
import json
import math

import pytest

from charrnn.data.vocab import Vocab
from charrnn.nn import model
from charrnn.nn.functional import log_prob
from charrnn.serve.limits import Limits
from charrnn.serve.requests import MOST_SAMPLES
from charrnn.serve.service import Service

from .test_service import LM, random_model, until

openai = pytest.importorskip("openai")
server = pytest.importorskip("charrnn.serve.server")


BYTES = random_model(vocab=Vocab("".join(map(chr, range(256))), kind="bytes"))
DOCUMENTS = random_model(vocab=Vocab("abc", specials=("end", "unknown")))
MODELS = {"one": LM, "bytes": BYTES, "documents": DOCUMENTS}


@pytest.fixture
def asking():
    """Return a decorator that runs a coroutine function with OpenAI's client of a service, and the service."""

    def run(talk, token=None, limits=None):
        async def main():
            async with Service(MODELS, limits or Limits()) as service:
                with server.listening("127.0.0.1", 0) as own:
                    task = asyncio.create_task(server.serve(service, own, token))
                    host, port = own.getsockname()
                    url = f"http://{host}:{port}/v1"
                    async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as client:
                        await asyncio.wait_for(talk(client, service), 60)
                    task.cancel()
                    await asyncio.wait([task])

        asyncio.run(main())

    return run


def texts(answer):
    return [choice.text for choice in answer.choices]


async def streamed(events):
    """Return the text of each choice of a stream, its tokens, why it ended, and the usage."""
    found, tokens, reasons, usage = {}, {}, {}, None
    async for event in events:
        usage = event.usage or usage
        for choice in event.choices:
            found[choice.index] = found.get(choice.index, "") + choice.text
            if choice.logprobs:
                tokens.setdefault(choice.index, []).extend(choice.logprobs.tokens)
            if choice.finish_reason:
                assert choice.index not in reasons
                reasons[choice.index] = choice.finish_reason
    return found, tokens, reasons, usage


def test_models(asking):
    @asking
    async def _(client, service):
        assert [one.id async for one in client.models.list()] == ["one", "bytes", "documents"]
        found = await client.models.retrieve("bytes")
        assert (found.id, found.object, found.owned_by) == ("bytes", "model", "charrnn")
        with pytest.raises(openai.NotFoundError, match="no model 'gpt-5'"):
            await client.models.retrieve("gpt-5")


def test_completions_are_the_samples_of_the_library(asking):
    settings = {"temperature": 0.7, "top_p": 0.9, "seed": 7}
    library = list(LM.samples(2, length=30, primes=["ab", "xy "], **settings))

    @asking
    async def _(client, service):
        answer = await client.completions.create(model="one", prompt=["ab", "xy "], n=2, max_tokens=30, **settings)
        assert texts(answer) == [own.text for own in library]
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        assert {choice.finish_reason for choice in answer.choices} == {"length"}
        assert (answer.object, answer.model, answer.id[:5]) == ("text_completion", "one", "cmpl-")
        assert answer.choices[0].logprobs is None
        usage = answer.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 120, 125)


def test_the_protocols_defaults(asking):
    @asking
    async def _(client, service):
        answer = await client.completions.create(model="one", prompt="ab", seed=7)
        assert texts(answer) == [next(LM.samples(1, length=16, primes=["ab"], seed=7, temperature=1.0)).text]
        nulls = dict.fromkeys(("max_tokens", "temperature", "n", "stop", "logit_bias", "suffix", "best_of"))
        again = await client.completions.create(model="one", prompt="ab", seed=7, presence_penalty=0, **nulls)
        assert texts(again) == texts(answer)


@pytest.mark.parametrize("stop", ["ab", ["x", "ab"]])
def test_stop_strings(asking, stop):
    @asking
    async def _(client, service):
        answer = await client.completions.create(model="one", prompt="a", seed=3, max_tokens=500, stop=stop)
        (choice,) = answer.choices
        assert choice.finish_reason == "stop"
        assert not any(string in choice.text for string in ([stop] if isinstance(stop, str) else stop))
        stream = await client.completions.create(
            model="one", prompt="a", seed=3, max_tokens=500, stop=stop, stream=True
        )
        assert (await streamed(stream))[:3:2] == ({0: choice.text}, {0: "stop"})


@pytest.mark.parametrize(("prompt", "echo"), [("ab", False), (["ab", "", "xyz"], True)])
def test_a_stream_is_the_answer_in_pieces(asking, prompt, echo):
    ask = {"model": "one", "prompt": prompt, "n": 2, "max_tokens": 200, "seed": 5, "logprobs": 2, "echo": echo}

    @asking
    async def _(client, service):
        answer = await client.completions.create(**ask)
        found, tokens, reasons, usage = await streamed(
            await client.completions.create(**ask, stream=True, stream_options={"include_usage": True})
        )
        assert found == dict(enumerate(texts(answer)))
        assert tokens == {choice.index: choice.logprobs.tokens for choice in answer.choices}
        assert reasons == dict.fromkeys(found, "length")
        assert usage == answer.usage
        assert (await streamed(await client.completions.create(**ask, stream=True)))[3] is None


@pytest.mark.parametrize(("name", "prompt"), [("one", "ab xyz"), ("bytes", "ä€"), ("documents", "abQa")])
def test_log_probabilities(asking, name, prompt):
    lm, chars = MODELS[name], len(MODELS[name].checkpoint.vocab.encode(prompt))

    @asking
    async def _(client, service):
        answer = await client.completions.create(
            model=name, prompt=prompt, seed=1, max_tokens=40, logprobs=3, echo=True, temperature=1.5
        )
        (choice,) = answer.choices
        own, size = choice.logprobs, len(choice.logprobs.tokens)
        assert size == len(own.token_logprobs) == len(own.top_logprobs) == len(own.text_offset)
        assert own.token_logprobs[0] is own.top_logprobs[0] is None
        for token, logprob, top in list(zip(own.tokens, own.token_logprobs, own.top_logprobs, strict=True))[1:]:
            assert top[token] == pytest.approx(logprob, abs=1e-9)
            assert 3 <= len(top) <= 4
            assert logprob <= max(top.values()) <= 0
            assert sum(map(math.exp, top.values())) <= 1 + 1e-9
        if name != "bytes":
            assert "".join(own.tokens) == choice.text
            assert own.text_offset == list(range(size))
        assert all(offset <= len(choice.text) for offset in own.text_offset)
        (library,) = lm.samples(1, length=40, primes=[prompt], seed=1, temperature=1.5)
        assert choice.text.endswith(library.text)
        drawn = own.token_logprobs[chars:]
        if library.ended != "document":  # else the library counts the end mark too
            assert sum(drawn) == pytest.approx(library.logprob, rel=1e-9)


def test_the_prompt_alone_is_scored_without_a_sample(asking):
    @asking
    async def _(client, service):
        answer = await client.completions.create(model="one", prompt="ab xyz", max_tokens=0, logprobs=0, echo=True)
        (choice,) = answer.choices
        assert (choice.text, choice.finish_reason, answer.usage.completion_tokens) == ("ab xyz", "length", 0)
        saved, ids = LM.checkpoint, LM.checkpoint.vocab.encode("ab xyz")[:, None]
        state = model.zero_state(saved.model_config, 1)
        logits, _, _ = model.forward(LM.weights, ids[:-1], state)
        log_probs, _ = log_prob(logits[:, 0], ids[1:, 0])
        assert choice.logprobs.token_logprobs[1:] == pytest.approx(log_probs.tolist(), rel=1e-9)
        assert texts(await client.completions.create(model="one", prompt="ab", max_tokens=0)) == [""]


def test_the_best_of_several(asking):
    drawn = sorted(LM.samples(6, length=20, primes=["ab"], seed=2), key=lambda sample: sample.bpc)

    @asking
    async def _(client, service):
        ask = {"model": "one", "prompt": "ab", "seed": 2, "temperature": 0.8, "max_tokens": 20}
        answer = await client.completions.create(**ask, n=2, best_of=6)
        assert texts(answer) == [sample.text for sample in drawn[:2]]
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.usage.completion_tokens == 120


def test_fields_beyond_the_protocol(asking):
    @asking
    async def _(client, service):
        answer = await client.completions.create(model="one", prompt="Qab", extra_body={"unknown": "skip", "top_k": 1})
        assert texts(answer) == [next(LM.samples(1, length=16, primes=["ab"], temperature=0)).text]


MISTAKES = [
    ({"temperature": "hot"}, "temperature must be a number", "temperature"),
    ({"temperature": -1}, "temperature must be at least 0, got -1", "temperature"),
    ({"top_p": 0}, "top_p must be greater than 0, got 0", "top_p"),
    ({"prompt": [1, 2]}, "prompt must be a list of strings or a string", "prompt"),
    ({"prompt": "Q"}, "(U+0051)", None),
    ({"prompt": "a" * 10_001}, "prompt has 10,001 characters", "prompt"),
    ({"max_tokens": 10_001}, "max_tokens must be 0 to 10,000", "max_tokens"),
    ({"n": 0}, "n must be at least 1, got 0", "n"),
    ({"n": 2, "best_of": 1}, "best_of must be at least n, which is 2, got 1", "best_of"),
    ({"best_of": 2, "stream": True}, "best_of cannot be streamed", "best_of"),
    ({"n": MOST_SAMPLES, "prompt": ["a", "b"]}, f"at most {MOST_SAMPLES}", "n"),
    ({"logprobs": 21}, "logprobs must be at most 20, got 21", "logprobs"),
    ({"stop": ["a"] * 17}, "stop has at most 16", "stop"),
    ({"suffix": "x"}, "suffix is not supported", "suffix"),
    ({"logit_bias": {"50256": -100}}, "logit_bias is not supported", "logit_bias"),
    ({"presence_penalty": 0.5}, "use repeat_penalty", "presence_penalty"),
    ({"frequency_penalty": 0.5}, "use repeat_penalty", "frequency_penalty"),
    ({"extra_body": {"mystery": 1}}, "unknown field 'mystery' in this request", "mystery"),
]


def test_a_mistake_is_a_bad_request(asking):
    @asking
    async def _(client, service):
        for fields, says, param in MISTAKES:
            with pytest.raises(openai.BadRequestError) as raised:
                await client.completions.create(**{"model": "one", "prompt": "a"} | fields)
            error = raised.value
            assert says in error.body["message"]
            assert (error.param, error.type, error.code) == (param, "invalid_request_error", None)


def test_other_errors_have_the_protocols_statuses(asking, monkeypatch):
    @asking
    async def _(client, service):
        with pytest.raises(openai.NotFoundError) as raised:
            await client.completions.create(model="gpt-5", prompt="a")
        assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
        monkeypatch.setattr(Service, "_completions", None)  # a bug
        with pytest.raises(openai.InternalServerError) as raised:
            await client.completions.create(model="one", prompt="a")
        assert raised.value.type == "server_error"


def test_the_token_is_the_api_key(asking):
    async def talk(client, service):
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.completions.create(model="one", prompt="a")
        assert raised.value.code == "invalid_api_key"
        known = client.with_options(api_key="secret")
        assert len(texts(await known.completions.create(model="one", prompt="a"))[0]) == 16

    asking(talk, token="secret")


def test_an_error_in_a_stream_reaches_the_client(asking, monkeypatch):
    monkeypatch.setattr("charrnn.serve.openai.Completion.last", lambda self: (_ for _ in [1 / 0]))

    @asking
    async def _(client, service):
        stream = await client.completions.create(model="one", prompt="a", stream=True, max_tokens=2000)
        with pytest.raises(openai.APIError, match="ZeroDivisionError"):
            await streamed(stream)


def test_a_client_that_closes_a_stream_stops_its_samples(asking):
    async def talk(client, service):
        stream = await client.completions.create(model="one", prompt="a", stream=True, n=3, max_tokens=10**9)
        assert (await anext(stream)).choices[0].text
        await stream.close()
        await until(lambda: not service.health()["writing"] + service.health()["requests"])

    asking(talk, limits=Limits(chars=10**9))


def test_a_stream_ends_with_done(asking):
    @asking
    async def _(client, service):
        response = await client.completions.with_raw_response.create(model="one", prompt="a", stream=True)
        assert response.headers["content-type"].startswith("text/event-stream")
        *events, done, rest = (await response.http_response.aread()).decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        assert all(json.loads(event.removeprefix("data: "))["object"] == "text_completion" for event in events)


def test_a_service_that_is_busy(asking):
    async def talk(client, service):
        with pytest.raises(openai.InternalServerError, match="retry in a moment") as raised:
            await client.completions.create(model="one", prompt="a")
        assert (raised.value.status_code, raised.value.response.headers["retry-after"]) == (503, "1")

    asking(talk, limits=Limits(requests=0))
