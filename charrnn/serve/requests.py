"""Requests: their limits, and how their JSON is parsed and validated before anything is computed. Imports no NumPy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from charrnn.config import setting
from charrnn.errors import CharRNNError

MOST_BYTES = 1_000_000  # bytes of a request
_FLAG = re.compile(r"--([a-z][a-z-]*)")
_LIMITS = "Limits of a request"  # the section of their options in the help
_TOO_LARGE = 2**63  # no array holds numbers this large
_WORDS = {
    "str": "a string",
    "int": "a whole number, at least 0",
    "float": "a number",
    "bool": "true or false",
    "tuple[str, ...]": "a list of strings",
}


class RequestError(CharRNNError):
    """A request that is refused, with the HTTP status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """The limits of one request, and of how many are served at once.

    chars     characters of a prime or of a text to complete, and characters to draw
    seconds   time of a request; then a sample is cut off, and any other request is refused
    requests  requests at the same time, including those that wait
    """

    chars: int = setting(
        10_000,
        _LIMITS,
        "The most characters of a request's prime, and of the text that it asks for.",
        low=1,
        flags=("--max-chars",),
    )
    seconds: float = setting(
        60.0,
        _LIMITS,
        "How long a request may take; a text then ends where it is.",
        low=0,
        open_low=True,
        flags=("--max-seconds",),
    )
    requests: int = setting(
        256,
        _LIMITS,
        "The most requests at once, those that wait among them; others are told to come again.",
        low=1,
        flags=("--max-requests",),
    )


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


def validate(request: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a request after checking their types.

    types    of each field, as annotations spell them: "int", "str | None", "tuple[str, ...]"; null is allowed only
             with "| None"
    Raises:  RequestError with 422 for an unknown field, or one of another type.
    """
    for name, value in request.items():
        if name not in types:
            raise RequestError(422, f"{name!r} is no field of this request: there are {', '.join(types)}")
        type_, _, optional = types[name].partition(" | ")
        if not (_is(value, type_) or (optional and value is None)):
            raise RequestError(422, f"{name} is not {_WORDS[type_]}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in request.items()}


def _is(value: Any, type_: str) -> bool:
    if type_ == "tuple[str, ...]":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if type_ in ("int", "float"):
        number = isinstance(value, (int, float) if type_ == "float" else int) and not isinstance(value, bool)
        return number and (type_ == "float" or value >= 0) and abs(value) < _TOO_LARGE
    return isinstance(value, {"str": str, "bool": bool}[type_])
