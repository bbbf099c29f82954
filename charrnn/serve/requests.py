"""Requests: their fields, and how their JSON is parsed and validated before anything is computed.

The fields of each request are declared once, as a dataclass: `read` validates by it, and `openapi` describes it.
Imports no NumPy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeAlias, TypeVar

from charrnn.config import limit_of, setting
from charrnn.errors import CharRNNError
from charrnn.generation.settings import GOALS, Filters, SampleConfig
from charrnn.wording import did_you_mean, in_words, likely

R = TypeVar("R")

MOST_BYTES = 1_000_000  # bytes of a request
MOST_SAMPLES = 128  # samples that one request may draw
MOST_STOPS, LONGEST_STOP = 16, 1000  # stop strings, and characters of one: each is compared at every step
_FLAG = re.compile(r"--([a-z][a-z-]*)")
_TOO_LARGE = 2**63  # no array holds numbers this large


class RequestError(CharRNNError):
    """A request that is refused, with the HTTP status that says why, and the field at fault if there is one."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field = status, field


def check_size(size: int) -> None:
    """Refuse a request of more than `MOST_BYTES` bytes.

    Raises:  RequestError with 413.
    """
    if size > MOST_BYTES:
        raise RequestError(413, f"the request has more than {MOST_BYTES:,} bytes: send several")


def one_line(error: CharRNNError) -> str:
    """Return the message of an error on one line, with flags of the command replaced by names of fields."""
    return _FLAG.sub(lambda flag: flag[1].replace("-", "_"), " ".join(str(error).split()))


def parse(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:  RequestError with 400 if the body is anything else.
    """

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        data = json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the request is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise RequestError(400, 'the request is not a JSON object like {"prime": "Once"}')
    return data


class Kind(NamedTuple):
    """A type that a field may have: its name in an error, its JSON schema, and the test of a value."""

    words: str
    schema: Mapping[str, Any]
    fits: Callable[[Any], bool]


def json_line(data: Mapping[str, Any]) -> bytes:
    """Return a line of JSON; a lone surrogate becomes an escape."""
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _TOO_LARGE


#: The types of fields, as annotations spell them.
KINDS = {
    "None": Kind("null", {"type": "null"}, lambda value: value is None),
    "str": Kind("a string", {"type": "string"}, lambda value: isinstance(value, str)),
    "bool": Kind("true or false", {"type": "boolean"}, lambda value: isinstance(value, bool)),
    "float": Kind("a number", {"type": "number"}, _is_number),
    "int": Kind(
        "a whole number, at least 0",
        {"type": "integer", "minimum": 0},
        lambda value: isinstance(value, int) and _is_number(value) and value >= 0,
    ),
    "tuple[str, ...]": Kind(
        "a list of strings",
        {"type": "array", "items": {"type": "string"}},
        lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    ),
    "Mapping[str, bool]": Kind(
        "an object of true and false",
        {"type": "object", "additionalProperties": {"type": "boolean"}},
        lambda value: isinstance(value, dict) and all(isinstance(item, bool) for item in value.values()),
    ),
    "Mapping[str, float]": Kind(
        "an object of numbers",
        {"type": "object", "additionalProperties": {"type": "number"}},
        lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    ),
}


def kinds_of(annotation: str) -> list[Kind]:
    """Return the types in an annotation such as "int | None"."""
    return [KINDS[name] for name in annotation.split(" | ")]


def read(cls: type[R], data: Mapping[str, Any]) -> R:
    """Return the request in a JSON object, after checking the types and limits of its fields.

    Raises:  RequestError with 422 for an unknown field, one of another type, or a value out of range.
    """
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for name, value in data.items():
        if name not in known:
            hint = did_you_mean(likely(name, known)) or f"there are {', '.join(known)}"
            raise RequestError(422, f"unknown field {name!r} in this request: {hint}", name)
        kinds = kinds_of(str(known[name].type))
        if not any(kind.fits(value) for kind in kinds):
            words = in_words([kind.words for kind in kinds if kind.words != "null"], "or")
            raise RequestError(422, f"{name} must be {words}", name)
        if limit := _broken_limit(value, known[name].metadata):
            raise RequestError(422, f"{name} must be {limit}, got {value!r}", name)
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def _broken_limit(value: Any, meta: Mapping[str, Any]) -> str | None:
    """Return in words what a value must be, if it breaks the limits of its field."""
    if isinstance(value, str) and meta["choices"]:
        return None if value in meta["choices"] else in_words(meta["choices"], "or")
    return limit_of(value, meta) if _is_number(value) else None


# The requests


def _field(default: Any, help: str, **limits: Any) -> Any:
    """Return a field of a request, with its description and limits."""
    return setting(default, "", help, **limits)


_MODEL = "The name of the model. If left out, the first one."
_UNKNOWN = "What to do with characters that the model does not know: refuse them, or skip them."
_POLICIES = ("error", "skip")


@dataclass(frozen=True)
class Generate(SampleConfig):
    """Generate one sample.

    Returns text, logprob (of the text, in nats), bpc (bits per character), seed and ended, the reason why it ended:
    length, stop, document, constraint, time or shutdown. With "stream": true, lines with a piece of the text come
    before it.
    """

    EXAMPLE: ClassVar = {"prime": "Once", "length": 100, "seed": 1}

    prime: str = _field("", "The text to continue. The answer does not repeat it.")
    length: int | None = _field(None, "Characters to generate: 500 by default, or the server's limit with lines.")
    lines: int = _field(0, "Stop after this many line ends; 0: never.", low=0)
    stop: tuple[str, ...] = _field((), "Stop before any of these strings.")
    regex: str | None = _field(None, "A regular expression that the whole sample matches.")
    charset: str | None = _field(None, "The only characters to draw, as between [ and ] in a regular expression.")
    unknown: str = _field("error", _UNKNOWN, choices=_POLICIES)
    seed: int | None = _field(None, "The seed of the random numbers. If left out, a random one, which is returned.")
    stream: bool = _field(False, "Send pieces of the sample as they are drawn, each as a line of JSON.")
    model: str | None = _field(None, _MODEL)


@dataclass(frozen=True)
class Score:
    """Score lines: how well does the model predict each?

    Returns scores, with bpc (bits per character), logprob (in nats), chars, unknown and text for each line.
    """

    EXAMPLE: ClassVar = {"lines": ["Once upon a time"]}

    lines: tuple[str, ...] = _field((), "The lines to score.")
    per_char: bool = _field(False, "Also return the bits of each character.")
    model: str | None = _field(None, _MODEL)


@dataclass(frozen=True)
class Complete:
    """Complete a text: which characters, words or lines are the most likely?

    Returns text and completions, best first, each with text, probability, logprob (in nats) and ended.
    """

    EXAMPLE: ClassVar = {"text": "Once upon a t", "count": 3}

    text: str = _field("", "The text to complete.")
    to: str = _field("word", "Complete to the next character, or the end of the word or line.", choices=tuple(GOALS))
    count: int = _field(5, "How many completions to return, at most.", low=1, high=100)
    max_length: int | None = _field(
        None, "Characters at which a completion is cut off: 32 for a word, 200 for a line.", low=1, high=1000
    )
    unknown: str = _field("error", _UNKNOWN, choices=_POLICIES)
    model: str | None = _field(None, _MODEL)


@dataclass(frozen=True)
class Completions(Filters):
    """Generate samples by OpenAI's completions protocol; a token is a character. A field that is null is left out.

    Returns OpenAI's object text_completion: choices, each with text, logprobs and finish_reason, and usage.
    """

    EXAMPLE: ClassVar = {"prompt": "Once", "max_tokens": 100, "seed": 1}

    model: str | None = _field(None, _MODEL)
    prompt: tuple[str, ...] | str = _field("", "The text to continue, or a list of texts. Empty: the start of a text.")
    max_tokens: int = _field(16, "Characters to generate.")
    temperature: float = _field(1.0, "Divides the logits; 0 always picks the most likely character.", low=0)
    n: int = _field(1, "Samples for each prompt.", low=1, high=MOST_SAMPLES)
    best_of: int | None = _field(
        None, "Draw this many for each prompt, and return the n most likely per character.", low=1, high=MOST_SAMPLES
    )
    stop: tuple[str, ...] | str = _field((), "Stop before this string, or before any of these.")
    seed: int | None = _field(None, "The seed of the random numbers. If left out, a random one.")
    logprobs: int | None = _field(
        None, "Return the log-probability of each character, and those of this many most likely ones.", low=0, high=20
    )
    echo: bool = _field(False, "Return the prompt before its continuation.")
    stream: bool = _field(False, "Send pieces as server-sent events, which end with [DONE].")
    stream_options: Mapping[str, bool] | None = _field(None, "With include_usage, the last event has the usage.")
    unknown: str = _field("error", _UNKNOWN, choices=_POLICIES)
    user: str | None = _field(None, "Ignored.")
    suffix: str | None = _field(None, "Not supported: must be empty.")
    logit_bias: Mapping[str, float] | None = _field(None, "Not supported: must be empty.")
    presence_penalty: float = _field(0.0, "Not supported: must be 0. See repeat_penalty.")
    frequency_penalty: float = _field(0.0, "Not supported: must be 0. See repeat_penalty.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("suffix", "logit_bias", "presence_penalty", "frequency_penalty"):
            if getattr(self, name):
                hint = "use repeat_penalty" if name.endswith("penalty") else "leave it out"
                raise RequestError(422, f"{name} is not supported: {hint}", name)
        if self.best_of is not None and self.best_of < self.n:
            raise RequestError(422, f"best_of must be at least n, which is {self.n}, got {self.best_of}", "best_of")
        if self.best_of not in (None, self.n) and self.stream:
            raise RequestError(422, "best_of cannot be streamed: leave out one of best_of and stream", "best_of")
        if len(self.prompts) * (self.best_of or self.n) > MOST_SAMPLES:
            raise RequestError(422, f"prompts times samples must be at most {MOST_SAMPLES}: send several requests", "n")

    @property
    def prompts(self) -> tuple[str, ...]:
        """Return all prompts."""
        return (self.prompt,) if isinstance(self.prompt, str) else self.prompt

    @property
    def stops(self) -> tuple[str, ...]:
        """Return all stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else self.stop


Request: TypeAlias = Generate | Score | Complete | Completions
#: The requests by name: that of a path, and of "do" in a line of JSON.
ACTIONS: dict[str, type[Request]] = {
    "generate": Generate,
    "sample": Generate,
    "score": Score,
    "complete": Complete,
    "completions": Completions,
}
