"""What filters share that read lines or records one by one: their input, and how it grows. Imports no NumPy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from charrnn.cli._command import section
from charrnn.config import STDIN
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.data.items import Items

F = TypeVar("F", bound=Callable[..., Any])


def growing_options(function: F) -> F:
    """Add `--follow` and `--line-buffered`: answer lines as they are written."""
    add = section("Input")
    function = add("--line-buffered", is_flag=True, help="Read lines as they arrive, as from a terminal.")(function)
    return add("--follow", is_flag=True, help="Wait for more lines; FILE may be truncated or replaced.")(function)


def json_line(values: dict[str, Any]) -> bytes:
    """Return a JSON object as a line."""
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def is_typed(texts: tuple[str, ...]) -> bool:
    """Return whether the lines are typed at a terminal."""
    return (not texts or STDIN in texts) and sys.stdin is not None and sys.stdin.isatty()


def check_texts(texts: tuple[str, ...], *, follow: bool) -> None:
    """Refuse models in the place of texts, and anything but one file with `--follow`."""
    from charrnn.cli._console import refuse_models

    if follow and (len(texts) != 1 or texts == (STDIN,)):
        raise ConfigError("--follow needs exactly one FILE: name it")
    refuse_models(texts)


def open_items(texts: tuple[str, ...], field: str | None, encoding: str, *, follow: bool, any_kind: bool) -> Items:
    """Return the lines or records of the texts, or of standard input, and print notes about their files."""
    from charrnn.cli._console import note
    from charrnn.data.files import find_files
    from charrnn.data.items import Items

    items = Items(texts or (STDIN,), field, encoding, follow, any_kind)
    for sentence in find_files(items.paths).notes:
        note(f"Note: {sentence}")
    return items
