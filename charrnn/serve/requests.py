"""A request as JSON gives it -> its fields, each checked before anything is computed with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from charrnn.errors import CharRNNError

MOST_BYTES = 1_000_000  # of a request
_FLAG = re.compile(r"--([a-z][a-z-]*)")
_ABOVE_ALL = 2**63  # numbers that are larger are nobody's wish, and arrays do not hold them
_WORDS = {
    "str": "a string",
    "int": "a whole number, at least 0",
    "float": "a number",
    "bool": "true or false",
    "tuple[str, ...]": "a list of strings",
}


class RequestError(CharRNNError):
    """A request that gets no answer, with the status by which HTTP tells why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and how many there may be at once.

    chars     the most characters to read as a prime or to complete, and to write
    seconds   after which a text ends where it is, and other requests are refused
    requests  the most at once, those that wait among them
    """

    chars: int = 10_000
    seconds: float = 60.0
    requests: int = 256


def check_size(size: int) -> None:
    """Refuse a request that has more bytes than `MOST_BYTES`.

    Raises:  RequestError with 413.
    """
    if size > MOST_BYTES:
        raise RequestError(413, f"the request has more than {MOST_BYTES:,} bytes: send several")


def one_line(error: CharRNNError) -> str:
    """Return what is wrong on one line, with the names of fields where the command has flags."""
    return _FLAG.sub(lambda flag: flag[1].replace("-", "_"), " ".join(str(error).split()))


def parsed(body: bytes) -> dict[str, Any]:
    """Return the JSON object.

    Raises:  RequestError with 400 where it is none.
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


def checked(data: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields that are given, which have to be of these kinds: "int", "tuple[str, ...]" and so on.

    A field that may be None counts as not given where it is null.
    Raises:  RequestError with 422 for a field that nobody knows, or is of another kind.
    """
    for name, value in data.items():
        if name not in kinds:
            raise RequestError(422, f"{name!r} is no field of this request: there are {', '.join(kinds)}")
        kind, _, optional = kinds[name].partition(" | ")
        if not (_is(value, kind) or (optional and value is None)):
            raise RequestError(422, f"{name} is not {_WORDS[kind]}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _is(value: Any, kind: str) -> bool:
    if kind == "tuple[str, ...]":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind in ("int", "float"):
        number = isinstance(value, (int, float) if kind == "float" else int) and not isinstance(value, bool)
        return number and (kind == "float" or value >= 0) and abs(value) < _ABOVE_ALL
    return isinstance(value, {"str": str, "bool": bool}[kind])
