"""Options that commands share, and options made from the fields of the settings. Imports neither NumPy nor rich."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import Field, dataclass
from functools import partial
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from charrnn.cli._settings import naming_origins, read_settings, variables
from charrnn.config import UNKNOWN_POLICIES, flag_of, setting_fields, setting_names
from charrnn.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


class SectionedOption(click.Option):
    """An option in a named section of the help."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value in the environment; variables are named after flags, not after parameters."""
        return next(filter(None, map(os.environ.get, variables(self, ctx))), None)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return that value in the form Click expects; for a repeatable option, one value with its spaces."""
        value = self.resolve_envvar_value(ctx)
        return [value] if self.multiple and value is not None else super().value_from_envvar(ctx)


def section(name: str) -> Callable[..., Callable[[F], F]]:
    """Return `click.option` for this section of a command's help."""
    return partial(click.option, cls=SectionedOption, section=name)


_STRENGTH = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)


@dataclass(frozen=True)
class Conflict:
    """Options that contradict each other, and the error that says so.

    If all conditions apply, options from a weaker source are ignored. The command line is the strongest source, then
    the environment, then a file. If all options come from the same source, the message is an error. An option that
    lacks another one is an error on the command line, and is ignored elsewhere.

    message     what is wrong, and what to do
    conditions  each says that a parameter is set ("test"), is not set ("!beam"), or has a value ("to=char")
    harmless    a further condition, under which options set in the same place are no error
    """

    message: str
    conditions: tuple[str, ...]
    harmless: str | None = None

    def strengths(self, ctx: click.Context) -> dict[str, int]:
        """Return the source of each option in conflict, 0 the strongest; empty if a condition does not apply."""
        strengths = {}
        for condition in self.conditions:
            if not _applies(condition, ctx):
                return {}
            if not condition.startswith("!"):
                name = condition.partition("=")[0]
                strengths[name] = _STRENGTH.index(ctx.get_parameter_source(name))
        return strengths

    def is_error(self, ctx: click.Context) -> bool:
        """Return whether options conflict; call it once those that a stronger place overrules have been reset."""
        return bool(self.strengths(ctx)) and not (self.harmless and _applies(self.harmless, ctx))


def _applies(condition: str, ctx: click.Context) -> bool:
    name, has_value, value = condition.removeprefix("!").partition("=")
    is_set = _is_set(name, ctx) and (not has_value or str(ctx.params[name]) == value)
    return is_set != condition.startswith("!")


def _is_set(name: str, ctx: click.Context) -> bool:
    value = ctx.params[name]
    return source_of(name, ctx) in _STRENGTH and value not in (None, ()) and value is not False


class SectionedCommand(click.Command):
    """A command whose help lists its options by section, and that also reads settings from variables and files.

    section    the command's own section in the list of all commands
    conflicts  options that must not be set together
    """

    def __init__(
        self, *args: Any, section: str = "Models", conflicts: tuple[Conflict, ...] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.section, self.conflicts = section, conflicts

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, `--help` (before any file is read), and the shared ones."""
        return [*super().get_params(ctx), COLOR, CONFIG]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, and resolve conflicts between options.

        Raises:  ConfigError if conflicting options come from the same source.
        """
        with naming_origins(ctx):
            rest = super().parse_args(ctx, args)
            if not ctx.resilient_parsing:
                self._resolve_conflicts(ctx)
        return rest

    def _resolve_conflicts(self, ctx: click.Context) -> None:
        """Ignore all options that a stronger place overrules, and then raise an error if any still conflict."""
        for strength in range(len(_STRENGTH)):  # strongest first, so that an ignored option overrules nothing
            for conflict in self.conflicts:
                strengths = conflict.strengths(ctx)
                if strengths and min(strengths.values()) == strength:
                    overruled = strength if len(strengths) > 1 else 0
                    self._reset([name for name, own in strengths.items() if own > overruled], ctx)
        for conflict in self.conflicts:
            if conflict.is_error(ctx):
                raise ConfigError(conflict.message)

    def _reset(self, names: list[str], ctx: click.Context) -> None:
        """Reset these parameters to their defaults, as if no source had set them."""
        for param in self.params:
            if param.name is not None and param.name in names:
                ctx.params[param.name] = param.type_cast_value(ctx, param.to_info_dict()["default"])
                ctx.set_parameter_source(param.name, ParameterSource.DEFAULT)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with naming_origins(ctx):
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        last = sections.pop("Options")  # the options of all commands come last
        for section, records in (sections | {"Options": last}).items():
            with formatter.section(section):
                formatter.write_dl(records)


def source_of(name: str, ctx: click.Context | None = None) -> ParameterSource | None:
    """Return where the value of a command's parameter came from."""
    return (ctx or click.get_current_context()).get_parameter_source(name)


def set_elsewhere() -> set[str]:
    """Return the parameters that a file or the environment sets, even if the command line overrides them."""
    ctx = click.get_current_context()
    names = {param.name for param in ctx.command.get_params(ctx) if param.value_from_envvar(ctx) is not None}
    return {name for name in names | {*(ctx.default_map or {})} if name and ctx.params.get(name) is not None}


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Let the shell complete the name of a file or folder."""
    return [CompletionItem(incomplete, type="file")]


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of runs with this beginning, or let the shell complete the name of a file or folder."""
    from charrnn.training.folder import run_names

    names = [CompletionItem(name) for name in run_names() if name.startswith(incomplete)]
    return names or complete_files(ctx, param, incomplete)


def _set_color(ctx: click.Context, param: click.Parameter, choice: str) -> None:
    """Let Click print colours or not; by default, it does on terminals that support them."""
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
    """Click's range of integers, under a plain name for its errors."""

    name = "whole number"


class Number(click.FloatRange):
    """Click's range of floats, under a plain name for its errors; only finite numbers."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail with a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def settings(*names: str) -> Callable[[F], F]:
    """Add an option for each of these settings of model and training; None if it is not given."""

    def add(function: F) -> F:
        for item in reversed(setting_fields()):
            if item.name in names:
                default = "" if item.default is None else f" [default: {item.default}]"
                function = _option(item, default=None, help=f"{item.metadata['help']}{default}")(function)
        return function

    return add


def options_of(config: type[Any], *names: str) -> Callable[[F], F]:
    """Add an option for each of these fields of a dataclass, in this order.

    An option that is not given has the field's default. If its least value differs from the field's (`flag_low`), it
    is None, and the command decides.
    """

    def add(function: F) -> F:
        for item in map(config.__dataclass_fields__.__getitem__, reversed(names)):
            several = str(item.type).startswith("tuple")
            hidden = several or "flag_low" in item.metadata or item.default is None
            default = {} if hidden else {"default": item.default, "show_default": item.type != "bool"}
            function = _option(item, **default, **({"multiple": True} if several else {}))(function)
        return function

    return add


_METAVARS = {"int": "N", "float": "X", "str": "TEXT"}


def _option(item: Field[Any], **more: Any) -> Callable[[F], F]:
    """Return a decorator that adds the option of a field, with the flags and metavar of its metadata if it has any."""
    meta = item.metadata
    flags = meta.get("flags", (flag_of(item.name),))
    name = flags[-1].removeprefix("--").replace("-", "_")
    if item.type == "bool":
        more["is_flag"] = True
    else:
        more["type"] = _type(item)
        more["metavar"] = None if meta["choices"] else meta.get("metavar", _METAVARS.get(str(item.type).split(" ")[0]))
    return section(meta["group"])(*flags, name, **{"help": meta["help"]} | more)


def _type(item: Field[Any]) -> Any:
    """Return the type of an option; `flag_low` replaces the least value of the field."""
    meta = item.metadata
    if meta["choices"]:
        return click.Choice(meta["choices"])
    if str(item.type).startswith("str"):
        return click.STRING
    if str(item.type).startswith("tuple"):
        return text_with_escapes
    kind = WholeNumber if str(item.type).startswith("int") else Number
    open_low = meta["open_ends"] or meta.get("open_low", False)
    return kind(meta.get("flag_low", meta["low"]), meta["high"], min_open=open_low, max_open=meta["open_ends"])


def text_with_escapes(value: str) -> str:
    """Return the text with its escapes, such as \\n, replaced by their characters."""
    from charrnn.data.escapes import unescaped

    return unescaped(value)


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
    """Add `-m`, which may be given several times: the models that a command uses; `more_help` says how."""
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
