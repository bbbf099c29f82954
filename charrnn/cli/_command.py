"""The class of all commands: sections in the help, a short help, aliases, and settings from variables and files.

Imports neither NumPy nor rich.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

from charrnn.cli._modules import import_modules
from charrnn.cli._names import meant_options, near_options
from charrnn.cli._origins import naming_origins, variables
from charrnn.cli._types import OneOf
from charrnn.errors import ConfigError
from charrnn.wording import OPTION_ALIASES

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])
_ALL = "charrnn.help_all"  # the key in a context's `meta`


class SectionedOption(click.Option):
    """An option in a named section of the help, with hidden aliases."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser accept the flags and their aliases, which the help does not show."""
        shown = self.opts
        self.opts = shown + [alias for flag in shown for alias in OPTION_ALIASES.get(flag, ())]
        super().add_to_parser(parser, ctx)
        self.opts = shown

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value in the environment; variables are named after flags, not after parameters."""
        return next(filter(None, map(os.environ.get, variables(self, ctx))), None)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return that value in the form Click expects; for a repeatable option, one value with its spaces."""
        value = self.resolve_envvar_value(ctx)
        return [value] if self.multiple and value is not None else super().value_from_envvar(ctx)

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what the help shows in brackets: 1 for 1.0, and no limits, which errors name in words."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        if "default" in extra:
            extra["default"] = extra["default"].removesuffix(".0")
        return extra

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the flags and the help, with one space before each bracket."""
        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("  [", " ["))


def section(name: str) -> Callable[..., Callable[[F], F]]:
    """Return `click.option` for this section of a command's help."""
    return partial(click.option, cls=SectionedOption, section=name)


_STRENGTH = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)


class Conflict(NamedTuple):
    """Options that conflict, and the error that says so.

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

    conflicts  options that must not be set together
    basics     the parameters that `--help` shows, in this order; the others need `--help-all`. None: it shows all
    """

    def __init__(
        self,
        *args: Any,
        conflicts: tuple[Conflict, ...] = (),
        basics: tuple[str, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.conflicts, self.basics = conflicts, basics

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, `--help` (before any file is read), and the shared ones."""
        return [*super().get_params(ctx), HELP_ALL if self.basics else HIDDEN_HELP_ALL, IMPORT, COLOR, CONFIG]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, and resolve conflicts between options.

        Raises:  ConfigError if conflicting options come from the same source; a usage error for an unknown option, and
                 for an argument that is missing or too many.
        """
        ctx.allow_extra_args = True  # they are refused below, in words that say what to do
        with naming_origins(ctx):
            try:
                rest = super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                raise click.UsageError(
                    f"no such option {error.option_name}: {self._hint(error.option_name, ctx)}", ctx
                ) from None
            except click.MissingParameter as error:
                problem = error.format_message().rstrip(".")
                raise click.UsageError(f"{problem}: `{ctx.command_path} --help` has examples", ctx) from None
            if not ctx.resilient_parsing:
                if rest:
                    remedy = "leave it out, or put quotes around a name with spaces"
                    raise click.UsageError(f"unexpected argument {rest[0]!r}: {remedy}", ctx)
                self._resolve_conflicts(ctx)
        return rest

    def _hint(self, flag: str, ctx: click.Context) -> str:
        """Return a hint for an unknown option: what may be meant, or another command that has it."""
        flags = flags_of(self, ctx)
        if hint := meant_options(flag, flags):
            return hint
        if others := commands_with(flag, ctx):
            return f"`charrnn {others[0]}` has it"
        every = "--help" if self.basics is None else "--help-all"
        return near_options(flag, flags) or f"`{ctx.command_path} {every}` lists all options"

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

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description; for a short help, its first paragraph and the examples."""
        text = self.help
        if self._is_short(ctx):
            first, *others = inspect.cleandoc(self.help or "").split("\n\n")
            self.help = "\n\n".join([first, *(each for each in others if each.startswith("\b"))])
        super().format_help_text(ctx, formatter)
        self.help = text

    def _is_short(self, ctx: click.Context) -> bool:
        return self.basics is not None and not ctx.meta.get(_ALL)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of options for each section; for a short help, one list of the basic options."""
        if self._is_short(ctx):
            options = {param.name: param for param in self.get_params(ctx) if isinstance(param, click.Option)}
            basics = filter(None, (options[name].get_help_record(ctx) for name in self.basics or ()))
            with formatter.section("Options"):
                formatter.write_dl([(flags, re.split(r"[.;:] | \[", text)[0].rstrip(".")) for flags, text in basics])
            formatter.write(f"\n  All {len(options)} options: {ctx.command_path} --help-all\n")
            return
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(param, "section", "Options"), []).append(record)
        last = sections.pop("Options")  # the options of all commands come last
        for section, records in (sections | {"Options": last}).items():
            with formatter.section(section):
                formatter.write_dl(records)


def flags_of(command: click.Command, ctx: click.Context) -> set[str]:
    """Return the flags of a command's options, with their aliases."""
    shown = {flag for param in command.get_params(ctx) for flag in param.opts}
    return shown.union(*(OPTION_ALIASES.get(flag, ()) for flag in shown))


def commands_with(flag: str, ctx: click.Context) -> list[str]:
    """Return the names of the commands that have an option; first those of the nearest group."""
    found = list[str]()
    for group in reversed(groups_of(ctx)):
        found += [name for name, command in commands_of(group) if flag in flags_of(command, group)]
    return [*dict.fromkeys(found)]


def groups_of(ctx: click.Context) -> list[click.Context]:
    """Return the contexts of the groups that a command is in, and its own if it is a group; the outermost first."""
    outer = groups_of(ctx.parent) if ctx.parent else []
    return [*outer, ctx] if isinstance(ctx.command, click.Group) else outer


def path_of(ctx: click.Context) -> tuple[str, ...]:
    """Return the words that name a command after `charrnn`; none for the group of all commands."""
    return (*path_of(ctx.parent), ctx.info_name or "") if ctx.parent else ()


def commands_of(ctx: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands in a group and in its groups, each with the words that name it after `charrnn`."""
    group = ctx.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        inner = click.Context(command, parent=ctx, info_name=name)
        if isinstance(command, click.Group):
            yield from commands_of(inner)
        else:
            yield " ".join(path_of(inner)), command


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
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of runs with this beginning, or let the shell complete the name of a file or folder."""
    from click.shell_completion import CompletionItem

    from charrnn.training.folder import run_names

    names = [CompletionItem(name) for name in run_names() if name.startswith(incomplete)]
    return names or complete_files(ctx, param, incomplete)


def _read_settings(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    """Use the settings in this file, or the nearest one, as defaults of the command."""
    if not ctx.resilient_parsing:  # a shell completes
        from charrnn.cli._settings import read_settings

        read_settings(ctx, name)


def _set_color(ctx: click.Context, param: click.Parameter, choice: str) -> None:
    """Let Click print colours or not, also in errors, which the group prints."""
    if choice != "auto":
        ctx.color = ctx.find_root().color = choice == "always"


def _show_all(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Print the whole help and exit."""
    if asked and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


HELP_ALL, HIDDEN_HELP_ALL = (
    SectionedOption(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        allow_from_autoenv=False,
        callback=_show_all,
        hidden=hidden,
        help="Show all options and exit.",
    )
    for hidden in (False, True)
)
IMPORT = SectionedOption(
    ["--import", "modules"],
    metavar="MODULE",
    multiple=True,
    envvar="CHARRNN_IMPORT",
    allow_from_autoenv=False,
    is_eager=True,
    expose_value=False,
    callback=import_modules,
    help="Import a Python module that defines your own cells, from this folder or an installed package.",
)
COLOR = SectionedOption(
    ["--color"],
    type=OneOf(("auto", "always", "never")),
    default="auto",
    show_default=True,
    envvar="CHARRNN_COLOR",
    expose_value=False,
    callback=_set_color,
    help="Print colours. auto: on terminals, unless NO_COLOR, FORCE_COLOR or TERM=dumb say otherwise.",
)
CONFIG = SectionedOption(
    ["--config"],
    metavar="FILE",
    envvar="CHARRNN_CONFIG",
    allow_from_autoenv=False,
    is_eager=True,
    expose_value=False,
    callback=_read_settings,
    shell_complete=complete_files,
    help="Read settings from this file instead of the nearest charrnn.toml or pyproject.toml.",
)
