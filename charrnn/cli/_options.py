"""Options that commands share, and options made from the fields of the settings. Imports neither NumPy nor rich."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

from charrnn.config import UNKNOWN_POLICIES, ModelConfig, TrainConfig, flag_of, setting_names

F = TypeVar("F", bound=Callable[..., Any])


class SectionedOption(click.Option):
    """An option that stands in a section of its own in the help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help shows its options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


class WholeNumber(click.IntRange):
    """Click's type under a name that its errors can show to people."""

    name = "whole number"


class Number(click.FloatRange):
    """Likewise, and finite."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def settings(*names: str) -> Callable[[F], F]:
    """Add an option for each of these settings of model and training; one that is not given is None."""

    def add(function: F) -> F:
        for item in reversed(fields(ModelConfig) + fields(TrainConfig)):
            if item.name in names:
                function = _option(item)(function)
        return function

    return add


_METAVARS = {"int": "N", "float": "X", "str": "TEXT"}


def _option(item: Field[Any]) -> Callable[[F], F]:
    meta = item.metadata
    help_text = meta["help"] if item.default is None else f"{meta['help']} [default: {item.default}]"
    metavar = None if meta["choices"] else _METAVARS.get(str(item.type).split(" ")[0])
    kind: dict[str, Any] = {"is_flag": True} if item.type == "bool" else {"type": _type(item), "metavar": metavar}
    return click.option(
        flag_of(item.name),
        **kind,
        help=help_text,
        cls=SectionedOption,
        section=meta["group"],
        default=None,
    )


def _type(item: Field[Any]) -> click.ParamType[Any]:
    meta = item.metadata
    if meta["choices"]:
        return click.Choice(meta["choices"])
    if str(item.type).startswith("str"):
        return click.STRING
    kind = WholeNumber if str(item.type).startswith("int") else Number
    return kind(meta["low"], meta["high"], min_open=meta["open_ends"], max_open=meta["open_ends"])


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings among a command's options that the user gave."""
    return {name: options[name] for name in setting_names() if options[name] is not None}


class ModelName(click.types.StringParamType):
    """The name of a model, of which there may be several; the variable of the environment has one, spaces and all."""

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return the names in the variable."""
        return [rv] if rv else []


def model_option(function: F) -> F:
    """Add `-m`: which model a command uses."""
    return click.option(
        "-m",
        "--model",
        "model_path",
        metavar="MODEL",
        envvar="CHARRNN_MODEL",
        show_envvar=True,
        help="A checkpoint, or a run's folder. If not given, the newest run under ./checkpoints.",
    )(function)


def unknown_option(default: str) -> Callable[[F], F]:
    """Add `--unknown`: what to do with characters that the vocabulary lacks."""
    return click.option(
        "--unknown",
        type=click.Choice(UNKNOWN_POLICIES),
        default=default,
        show_default=True,
        help="What to do with characters that the model does not know.",
    )


def json_option(function: F) -> F:
    """Add `--json`: print one JSON object instead of a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(function)
