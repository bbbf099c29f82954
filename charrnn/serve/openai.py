"""OpenAI's completions protocol: how its answers and errors are written. A token is a character.

A model of bytes has tokens like OpenAI's own: a byte beyond ASCII is `bytes:\\xe4`.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from charrnn.data.vocab import Vocab
from charrnn.generation.rules import Rules
from charrnn.generation.sample import Draft, Sample
from charrnn.generation.settings import SampleConfig
from charrnn.generation.writer import checked_seed
from charrnn.serve.batch import Job
from charrnn.serve.logprobs import Prompt, TopLogProbs
from charrnn.serve.pieces import Pieces
from charrnn.serve.requests import Completions
from charrnn.version import __version__

_END, _UNKNOWN = "<|endoftext|>", "\ufffd"  # the tokens of special symbols
_CODES = {(401, None): "invalid_api_key", (404, "model"): "model_not_found"}


def error(status: int, message: str, field: str | None) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": field, "code": _CODES.get((status, field))}}


def model(name: str, created: int) -> dict[str, Any]:
    """Return the description of a model in OpenAI's form."""
    return {"id": name, "object": "model", "created": created, "owned_by": "charrnn"}


class Completion:
    """The answer to a request: its samples while they are drawn, and the objects to send.

    jobs  one for each sample to draw, the samples of each prompt in a row
    """

    def __init__(
        self,
        request: Completions,
        model: str,
        config: SampleConfig,
        rules: Rules,
        prompts: Sequence[Prompt],
        vocab: Vocab,
    ) -> None:
        self._request, self._prompts = request, prompts
        self._draws, seed = request.best_of or request.n, checked_seed(request.seed)
        self._choices = [
            _Choice(
                Job(config, rules, prompt.primed, seed, index, request.stream, request.logprobs),
                prompt,
                vocab,
                request.echo,
            )
            for index, prompt in enumerate(prompt for prompt in prompts for _ in range(self._draws))
        ]
        self.jobs = [choice.job for choice in self._choices]
        for job in self.jobs:
            job.draft.ended = "" if config.length else "length"
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": f"charrnn-{__version__}",
        }

    @property
    def ended(self) -> bool:
        """Return whether all samples have ended."""
        return all(job.draft.ended for job in self.jobs)

    def chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return an object with these choices, which others may follow."""
        return self._head | {"choices": choices}

    def echoes(self) -> list[dict[str, Any]]:
        """Return a choice with the prompt for each sample."""
        return [choice.echo() for choice in self._choices]

    def pieces(self) -> list[dict[str, Any]]:
        """Return a choice for each sample whose text has grown."""
        return [piece for choice in self._choices for piece in choice.piece()]

    def last(self) -> Iterator[dict[str, Any]]:
        """Yield the objects that end the answer; not of a stream, there is only one."""
        samples = [choice.pieces.finished() for choice in self._choices]
        if not self._request.stream:
            choices = [choice.whole(index) for index, choice in enumerate(self._best(samples))]
            yield self.chunk(choices) | {"usage": self._usage()}
            return
        yield self.chunk([choice.rest() for choice in self._choices])
        if (self._request.stream_options or {}).get("include_usage"):
            yield self.chunk([]) | {"usage": self._usage()}

    def _best(self, samples: Sequence[Sample]) -> Iterator[_Choice]:
        """Yield the choices to return: of each prompt, those with the fewest bits per character."""
        n, draws = self._request.n, self._draws
        pairs = list(zip(self._choices, samples, strict=True))
        for at in range(0, len(pairs), draws):
            drawn = pairs[at : at + draws]
            if draws > n:
                drawn.sort(key=lambda pair: math.inf if pair[1].bpc is None else pair[1].bpc)
            yield from (choice for choice, _ in drawn[:n])

    def _usage(self) -> dict[str, int]:
        read, drawn = sum(len(prompt.ids) for prompt in self._prompts), sum(len(job.draft.ids) for job in self.jobs)
        return {"prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn}


class _Choice:
    """A sample as one of the choices of an answer."""

    def __init__(self, job: Job, prompt: Prompt, vocab: Vocab, echo: bool) -> None:
        self.job, self.pieces = job, Pieces(job, vocab, prompt.text)
        self._prompt, self._vocab, self._echo = prompt, vocab, echo
        self._tokens, self._sent = _Tokens(vocab, "" if echo else prompt.text), 0

    def echo(self) -> dict[str, Any]:
        """Return the prompt as the model reads it."""
        prompt = self._prompt
        ids = prompt.ids.tolist()
        text = self._vocab.decoder()(_symbols(self._vocab, ids))
        return self._choice(text, ids, prompt.log_probs, prompt.top_log_probs)

    def piece(self) -> Iterator[dict[str, Any]]:
        """Yield what was added to the text, if anything was."""
        if text := self.pieces.next():
            yield self._drawn(text, self.job.draft, self.pieces.settled)

    def rest(self) -> dict[str, Any]:
        """Return the rest of the text, with the reason why it ended."""
        text = self.pieces.finished().text[self.pieces.shown :]
        draft = self.job.draft.before_stop(self.job.rules)
        symbols = len(draft.ids) - (draft.ended == "document")  # without the end mark
        reason = "stop" if draft.ended in ("stop", "document", "constraint") else "length"
        return self._drawn(text, draft, symbols) | {"finish_reason": reason}

    def whole(self, index: int) -> dict[str, Any]:
        """Return all of the text."""
        parts = [self.echo(), self.rest()] if self._echo else [self.rest()]
        whole = parts[-1] | {"index": index, "text": "".join(part["text"] for part in parts)}
        if self.job.top is not None:
            whole["logprobs"] = {
                name: [entry for part in parts for entry in part["logprobs"][name]] for name in whole["logprobs"]
            }
        return whole

    def _drawn(self, text: str, draft: Draft, end: int) -> dict[str, Any]:
        """Return a piece of the text, whose symbols end here."""
        part = slice(self._sent, end)
        self._sent = end
        return self._choice(text, draft.ids[part], draft.log_probs[part], self.job.top_log_probs[part])

    def _choice(
        self, text: str, ids: Sequence[int], log_probs: Sequence[float | None], tops: Sequence[TopLogProbs | None]
    ) -> dict[str, Any]:
        logprobs = None if self.job.top is None else self._tokens.describe(ids, log_probs, tops)
        return {"index": self.job.index, "text": text, "logprobs": logprobs, "finish_reason": None}


class _Tokens:
    """Describes the tokens of a text in their order.

    before  the text before the first of them
    """

    def __init__(self, vocab: Vocab, before: str) -> None:
        self._vocab, self._decode, self._offset = vocab, vocab.decoder(before), 0

    def describe(
        self, ids: Sequence[int], log_probs: Sequence[float | None], tops: Sequence[TopLogProbs | None]
    ) -> dict[str, list[Any]]:
        """Return the next tokens with their log-probabilities, the most likely ones, and their offsets in the text."""
        return {
            "tokens": [_token(self._vocab, id_) for id_ in ids],
            "token_logprobs": list(log_probs),
            "top_logprobs": [
                None if top is None else {_token(self._vocab, other): own for other, own in (top | {id_: p}).items()}
                for id_, p, top in zip(ids, log_probs, tops, strict=True)
            ],
            "text_offset": [self._advance(id_) for id_ in ids],
        }

    def _advance(self, id_: int) -> int:
        """Return the offset of a token, and move past it."""
        offset = self._offset
        self._offset += len(self._decode(_symbols(self._vocab, [id_])))
        return offset


def _symbols(vocab: Vocab, ids: Sequence[int]) -> str:
    """Return the symbols of a prompt, with U+FFFD for unknown ones."""
    return vocab.characters(ids, _UNKNOWN * len(vocab.specials))


def _token(vocab: Vocab, id_: int) -> str:
    if id_ == vocab.end:
        return _END
    symbol = _symbols(vocab, [id_])
    return symbol if vocab.kind == "chars" or symbol.isascii() else f"bytes:\\x{ord(symbol):02x}"
