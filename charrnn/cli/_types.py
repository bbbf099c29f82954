"""Types of options: numbers, durations and choices, with errors in plain words.

Their errors are whole sentences that name the option: "--top-p must be at most 1, got 2". Imports neither NumPy nor
rich.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from charrnn.wording import broken_limit, choice_hint, in_words

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_MINUTES = {"s": 1 / 60, "sec": 1 / 60, "m": 1.0, "min": 1.0, "h": 60.0, "d": 1440.0}
_FACTORS = {"%": 0.01, "k": 1e3, "m": 1e6}
_DURATION = r"(\d+(?:\.\d+)?)\s*(sec|s|min|m|h|d)\s*"


class WholeNumber(click.IntRange):
    """Click's range of integers; also understands 1e6, but not 1.000, which may be a thousand."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail with a usage error."""
        try:
            number = int(value)
        except ValueError:
            real = _float(value, param, ctx, "a whole number")
            if not real.is_integer() or re.fullmatch(r"\d+\.\d+", str(value).strip()):
                fail(param, ctx, f"must be a whole number, got {value}")
            number = int(real)
        _check_limits(self, number, value, param, ctx)
        return number


class Number(click.FloatRange):
    """Click's range of floats; only finite numbers."""

    name = "number"
    wanted = "a number"
    form: str | None = None  # a string that it takes too, in files of settings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with a usage error."""
        number = _float(value, param, ctx, self.wanted)
        _check_limits(self, number, value, param, ctx)
        return number


class Minutes(Number):
    """A number of minutes; also understands durations such as 90s, 5m and 1h30m."""

    name = "minutes"
    wanted = "a number of minutes, or a duration such as 90s or 1h30m"
    form = "a duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the minutes, or fail with a usage error."""
        if isinstance(value, str) and re.fullmatch(rf"(?:{_DURATION})+", value.strip().lower()):
            pieces = re.findall(_DURATION, value.lower())
            value = sum(float(amount) * _MINUTES[unit] for amount, unit in pieces)
        return super().convert(value, param, ctx)


class OneOf(click.Choice):  # type: ignore[type-arg]  # Click 8.1 has no type parameter
    """Click's choice between words; in any case, and with _ for -.

    otherwise: what to do instead of giving a word that resembles none of them, as in `choice_hint`
    """

    def __init__(self, choices: Sequence[str], otherwise: str = "") -> None:
        super().__init__(choices)
        self._otherwise = otherwise

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the choice, or fail with a usage error that names the nearest one."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            words = [str(choice) for choice in self.choices]
            hint = choice_hint(str(value), words, self._otherwise)
            fail(param, ctx, f"must be {in_words(words, 'or')}, got {str(value)!r}{hint}")


class Values(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Several values of one type, separated by commas; in a file of settings, a list."""

    def __init__(self, each: click.ParamType) -> None:  # type: ignore[type-arg,unused-ignore]
        self.each, self.name = each, each.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Return the values in their order, each once, or fail with a usage error."""
        typed = value if isinstance(value, tuple) else [part.strip() for part in str(value).split(",")]
        return tuple(dict.fromkeys(self.each.convert(part, param, ctx) for part in typed))

    def get_metavar(self, param: click.Parameter, *ctx: Any) -> str | None:
        """Return the placeholder of a single value."""
        return self.each.get_metavar(param, *ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Return the completions of the last value, with the values before it."""
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        found = self.each.shell_complete(ctx, param, last)
        return [CompletionItem(f"{before}{comma}{item.value}", item.type) for item in found]


def _float(value: Any, param: click.Parameter | None, ctx: click.Context | None, kind: str) -> float:
    """Return the value as a float, or fail with an error that shows the right form."""
    try:
        return float(value)
    except ValueError:
        form = _right_form(str(value).strip(), whole=kind == "a whole number")
        fail(param, ctx, f"must be {kind}, got {str(value)!r}{form and f': write {form}'}")


def _right_form(text: str, *, whole: bool) -> str:
    """Return what to write for a number such as 0,8, 1,000, 50% or 2k; empty if it is not one of these."""
    if whole and re.fullmatch(r"[1-9]\d{0,2}(,\d{3})+", text):
        return text.replace(",", "")
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        return "" if whole else text.replace(",", ".")
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([%km])", text.lower()):
        number = float(match[1]) * _FACTORS[match[2]]
        return f"{number:.12g}" if number.is_integer() or not whole else ""
    return ""


def _check_limits(
    kind: WholeNumber | Number, number: float, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> None:
    """Fail if a number is not finite, or outside the range of its type."""
    if limit := broken_limit(number, kind.min, kind.max, open_low=kind.min_open, open_high=kind.max_open):
        fail(param, ctx, f"must be {limit}, got {value}")


def fail(param: click.Parameter | None, ctx: click.Context | None, problem: str) -> NoReturn:
    """Raise a usage error that begins with the name of the option."""
    raise click.UsageError(f"{name_of(param)} {problem}", ctx)


def name_of(param: click.Parameter | None) -> str:
    """Return the name of an option or argument in messages."""
    if param is None:
        return "the value"
    return next((flag for flag in param.opts if flag.startswith("--")), param.human_readable_name)
