"""Options that commands share, and options made from the fields of the settings. Imports neither NumPy nor rich."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import Field
from functools import partial
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from charrnn.cli._settings import read_settings, telling_origins, variables
from charrnn.config import UNKNOWN_POLICIES, flag_of, setting_fields, setting_names

F = TypeVar("F", bound=Callable[..., Any])


class SectionedOption(click.Option):
    """An option that stands in a section of its own in the help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return what the environment says; the variable bears the name of the flag, not that of the parameter."""
        return next(filter(None, map(os.environ.get, variables(self, ctx))), None)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the same as Click takes it: of what may be given several times one, blanks and all."""
        value = self.resolve_envvar_value(ctx)
        return [value] if self.multiple and value is not None else super().value_from_envvar(ctx)


def section(name: str) -> Callable[..., Callable[[F], F]]:
    """Return what adds an option to this section of a command's help, as `click.option` does."""
    return partial(click.option, cls=SectionedOption, section=name)


class SectionedCommand(click.Command):
    """A command whose help shows its options by section, and that takes settings from variables and files too.

    section: of the command in the list of all
    rivals:  what cannot all hold together: that a parameter is set ("test"), is not ("!beam"), or has a value
             ("to=char"); what is set at a weaker place gives way to what is set at a stronger one: the command line,
             then the environment, then a file. One that is set alone, and lacks another, gives way to the command line
    """

    def __init__(
        self, *args: Any, section: str = "Models", rivals: tuple[tuple[str, ...], ...] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.section, self.rivals = section, rivals

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and `--help`, which comes before any file is read, then those of all."""
        return [*super().get_params(ctx), COLOR, CONFIG]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; let rivals from elsewhere give way."""
        with telling_origins(ctx):
            rest = super().parse_args(ctx, args)
        for strongest in range(len(_STRENGTH)):  # so that nothing gives way to what itself gives way
            for group in self.rivals:
                ranks = _ranks(group, ctx)
                if strongest == min(ranks.values(), default=None):
                    self._give_way([name for name in ranks if ranks[name] > (strongest if len(ranks) > 1 else 0)], ctx)
        return rest

    def _give_way(self, names: list[str], ctx: click.Context) -> None:
        """Let these parameters have their defaults, as if no place set them."""
        for param in self.params:
            if param.name is not None and param.name in names:
                ctx.params[param.name] = param.type_cast_value(ctx, param.to_info_dict()["default"])
                ctx.set_parameter_source(param.name, ParameterSource.DEFAULT)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with telling_origins(ctx):
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        last = sections.pop("Options")  # what all commands have
        for section, records in (sections | {"Options": last}).items():
            with formatter.section(section):
                formatter.write_dl(records)


_STRENGTH = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)


def _ranks(rivals: tuple[str, ...], ctx: click.Context) -> dict[str, int]:
    """Return the places of the rivals that are set, 0 the strongest; none where not all that is named holds."""
    ranks = {}
    for rival in rivals:
        name, _, wanted = rival.removeprefix("!").partition("=")
        value, source = ctx.params[name], source_of(name, ctx)
        is_set = source in _STRENGTH and value not in (None, ()) and value is not False and wanted in ("", value)
        if is_set == rival.startswith("!"):
            return {}
        if is_set:
            ranks[name] = _STRENGTH.index(source)
    return ranks


def source_of(name: str, ctx: click.Context | None = None) -> ParameterSource | None:
    """Return where the value of a command's parameter came from."""
    return (ctx or click.get_current_context()).get_parameter_source(name)


def set_elsewhere() -> set[str]:
    """Return the parameters that a file or the environment sets, be they overruled by a value on the command line."""
    ctx = click.get_current_context()
    names = {param.name for param in ctx.command.get_params(ctx) if param.value_from_envvar(ctx) is not None}
    return {name for name in names | {*(ctx.default_map or {})} if name and ctx.params.get(name) is not None}


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Let the shell complete the name of a file or folder."""
    return [CompletionItem(incomplete, type="file")]


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of runs that begin so, or let the shell complete the name of a file or folder."""
    from charrnn.training.folder import run_names

    names = [CompletionItem(name) for name in run_names() if name.startswith(incomplete)]
    return names or complete_files(ctx, param, incomplete)


def _set_color(ctx: click.Context, param: click.Parameter, choice: str) -> None:
    """Let Click colour what it prints, or not; by default where it prints to a terminal that can."""
    if choice != "auto":
        ctx.color = choice == "always"
    elif os.environ.get("NO_COLOR"):
        ctx.color = False
    elif os.environ.get("FORCE_COLOR"):
        ctx.color = True
    elif os.environ.get("TERM") == "dumb":
        ctx.color = False


COLOR = SectionedOption(
    ["--color"],
    type=click.Choice(("auto", "always", "never")),
    default="auto",
    show_default=True,
    envvar="CHARRNN_COLOR",
    expose_value=False,
    callback=_set_color,
    help="Colour on terminals, always, or never; auto heeds NO_COLOR, FORCE_COLOR and TERM=dumb.",
)
CONFIG = SectionedOption(
    ["--config"],
    metavar="FILE",
    envvar="CHARRNN_CONFIG",
    allow_from_autoenv=False,
    is_eager=True,
    expose_value=False,
    callback=read_settings,
    shell_complete=complete_files,
    help="Take settings from this file, not from the nearest charrnn.toml or pyproject.toml.",
)


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
        for item in reversed(setting_fields()):
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
    return section(meta["group"])(flag_of(item.name), **kind, help=help_text, default=None)


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
    return {name: options[name] for name in setting_names() if options.get(name) is not None}


def _model(name: str, more_help: str = "", **more: Any) -> Callable[[F], F]:
    return section("Model")(
        "-m",
        "--model",
        name,
        metavar="MODEL",
        envvar="CHARRNN_MODEL",
        show_envvar=True,
        shell_complete=complete_runs,
        help="A checkpoint, a run's folder, or a run's name under ./checkpoints. If not given, the newest run there."
        f"{more_help}",
        **more,
    )


def model_option(function: F) -> F:
    """Add `-m`: which model a command uses."""
    return _model("model_path")(function)


def models_option(more_help: str) -> Callable[[F], F]:
    """Add `-m`, which may be given several times: which models a command uses, and what they are to each other."""
    return _model("models", f" {more_help}", multiple=True)


def unknown_option(default: str) -> Callable[[F], F]:
    """Add `--unknown`: what to do with characters that the vocabulary lacks."""
    return section("Text")(
        "--unknown",
        type=click.Choice(UNKNOWN_POLICIES),
        default=default,
        show_default=True,
        help="What to do with characters that the model does not know.",
    )


def json_option(function: F) -> F:
    """Add `--json`: print one JSON object instead of a table."""
    return section("Output")("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")(
        function
    )
