"""Web pages: each is a template here that extends `base.html`, and needs nothing but itself to be shown."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from charrnn.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment


def render(name: str, **values: Any) -> str:
    """Return a page as HTML; every value that a template inserts is escaped, and `|json` makes it a JavaScript value.

    Raises:  MissingExtraError without Jinja2.
    """
    page: str = _environment().get_template(name).render(values)
    return page


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise MissingExtraError("a page", "Jinja2", "pages") from None
    environment = Environment(
        loader=PackageLoader("charrnn", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["json"] = _json
    return environment


def _json(value: Any) -> Any:
    """Return a value as JSON that is safe inside a script element."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)
