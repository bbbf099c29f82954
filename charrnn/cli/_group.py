"""The class of groups of commands: each module in a group's package that defines `command` is one of them.

Imports neither NumPy nor rich.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import commands_with, flags_of
from charrnn.cli._names import COMMAND_ALIASES, meant_options, model_after_command, near_commands, near_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@functools.cache
def _names_in(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Look for the modules that are commands; once, since Click asks often, and looking takes time."""
    found = set[str]()
    for folder in folders:
        for name in os.listdir(folder):
            if name.endswith(".py"):
                found.add(name.removesuffix(".py"))
            elif os.path.isfile(os.path.join(folder, name, "__init__.py")):  # a group of commands
                found.add(name)
    return tuple(sorted(name.replace("_", "-") for name in found if not name.startswith("_")))


class Group(click.Group):
    """A group of commands: it finds them in its package, and lists them in sections.

    package   the name of the package
    sections  the commands of each section of the help, in the order of use, each with its short help, so that the help
              need not load them; those of other files come last
    """

    def __init__(self, *args: Any, package: str, sections: Mapping[str, Mapping[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.sections = package, sections

    def list_commands(self, ctx: click.Context | None) -> list[str]:
        """Return the names of the modules that are commands, with - for _, in the order of use."""
        order = [name for names in self.sections.values() for name in names]
        found = _names_in(tuple(sys.modules[self.package].__path__))
        return sorted(found, key=lambda name: order.index(name) if name in order else len(order))

    def get_command(self, ctx: click.Context | None, name: str) -> click.Command | None:
        """Import the module of one command, which may be named by an alias."""
        name = COMMAND_ALIASES.get(name, name)
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{self.package}.{name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each section."""
        for section, commands in {**self.sections, "Others": self._others(ctx)}.items():
            if commands:
                with formatter.section(section):
                    formatter.write_dl([*commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options with this beginning."""
        from click.shell_completion import CompletionItem

        lists = (*self.sections.values(), self._others(ctx))
        helps = {name: help for commands in lists for name, help in commands.items()}
        found = [CompletionItem(name, help=help) for name, help in helps.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def _others(self, ctx: click.Context) -> dict[str, str]:
        """Return the commands without a section, each with its short help."""
        names = [name for name in self.list_commands(ctx) if not any(name in own for own in self.sections.values())]
        commands = {name: self.get_command(ctx, name) for name in names}
        return {name: each.get_short_help_str() for name, each in commands.items() if each and not each.hidden}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the options before the command; `-m MODEL` there is an option of the command."""
        return super().make_context(info_name, model_after_command(args), parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command.

        Raises:  a usage error for an unknown one, with the command that it belongs to.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flag = error.option_name
            others = commands_with(flag, ctx)
            hint = self._meant(flag, ctx) or f"see `{ctx.command_path} --help`"
            if others:
                hint = f"options follow the command: `charrnn {others[0]} {flag} …`"
            raise click.UsageError(f"no such option {flag}: {hint}", ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name of the command, the command, and its arguments.

        Raises:  a usage error for an unknown command, with the one that may be meant.
        """
        name, *rest = args
        word, known = name.lower().replace("_", "-"), self.list_commands(ctx)
        word = COMMAND_ALIASES.get(word, word)
        if word in known:
            return super().resolve_command(ctx, [word, *rest])
        if name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        path = ctx.command_path
        hint = near_commands(name, known) or self._meant(f"--{name}", ctx) or f"`{path} --help` lists the commands"
        if os.path.exists(name):
            from shlex import quote

            hint = f"to train on this file, type `{path} train {quote(name)}`"
        raise click.UsageError(f"no such command {name!r}: {hint}", ctx)

    def _meant(self, flag: str, ctx: click.Context) -> str:
        """Return a hint for an unknown option: which one of the group may be meant; empty if none is."""
        flags = flags_of(self, ctx)
        return meant_options(flag, flags) or near_options(flag, flags)
