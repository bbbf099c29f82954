"""The command `charrnn`: each file in this folder that defines `command` is a subcommand."""

from __future__ import annotations

import functools
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import SectionedOption, commands_with, flags_of
from charrnn.cli._errors import errors_as_exit_codes
from charrnn.cli._names import COMMAND_ALIASES, meant_options, model_after_command, near_commands, near_options
from charrnn.cli._ranks import ending_all, hush
from charrnn.cli._streams import color_wanted, open_streams
from charrnn.errors import EXIT_CODES
from charrnn.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The commands in `charrnn --help`, in the order of use, so that it need not load them; those of other files come last.
_SECTIONS = {
    "Models": {
        "train": "Train a model on a text.",
        "sample": "Generate text with a model.",
        "complete": "Complete a word or a line.",
        "fill": "Fill gaps in a text.",
        "eval": "Measure how well a model predicts a text.",
        "score": "Score each line by its likelihood under a model.",
        "serve": "Answer requests over HTTP or standard input.",
    },
    "Runs and texts": {
        "list": "List runs.",
        "compare": "Compare runs by their settings.",
        "sweep": "Train a run for each combination of settings.",
        "info": "Show the contents of a model.",
        "rm": "Remove runs.",
        "vocab": "List the characters of a text.",
        "cache": "List or remove encoded copies of large texts.",
    },
    "Pictures": {
        "plot": "Draw the learning curves of runs.",
        "inspect": "Show how a model reads a text, and what its units follow.",
        "report": "Write a page about a run.",
        "export-log": "Write the log of a run for TensorBoard.",
    },
    "This machine": {
        "doctor": "Measure this machine's speed and suggest improvements.",
    },
}


@functools.cache
def _command_names(folders: tuple[str, ...]) -> tuple[str, ...]:
    """Look for the modules that are commands; once, since Click asks often, and looking takes time."""
    files = sorted(file for folder in folders for file in os.listdir(folder) if file.endswith(".py"))
    found = [file.removesuffix(".py").replace("_", "-") for file in files if not file.startswith("_")]
    order = [name for names in _SECTIONS.values() for name in names]
    return tuple(sorted(found, key=lambda name: order.index(name) if name in order else len(order)))


class Commands(click.Group):
    """The group of commands: it finds them in this package, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the modules that are commands, with - for _, in the order of use."""
        return [*_command_names(tuple(__path__))]  # `list` is a command here

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of one command, which may be named by an alias."""
        name = COMMAND_ALIASES.get(name, name)
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{__name__}.{name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each section."""
        for section, commands in (_SECTIONS | {"Others": self._others(ctx)}).items():
            if commands:
                with formatter.section(section):
                    formatter.write_dl([*commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options with this beginning."""
        from click.shell_completion import CompletionItem

        helps = {name: help for commands in (*_SECTIONS.values(), self._others(ctx)) for name, help in commands.items()}
        found = [CompletionItem(name, help=help) for name, help in helps.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def _others(self, ctx: click.Context) -> dict[str, str]:
        """Return the commands without a section, each with its short help."""
        names = [name for name in self.list_commands(ctx) if not any(name in own for own in _SECTIONS.values())]
        commands = {name: self.get_command(ctx, name) for name in names}
        return {name: each.get_short_help_str() for name, each in commands.items() if each and not each.hidden}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command.

        Raises:  a usage error for an unknown one, with the command that it belongs to.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flag = error.option_name
            others = commands_with(flag, ctx)
            hint = self._meant(flag, ctx) or "see `charrnn --help`"
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
        hint = near_commands(name, known) or self._meant(f"--{name}", ctx) or "`charrnn --help` lists the commands"
        if os.path.exists(name):
            from shlex import quote

            hint = f"to train on this file, type `charrnn train {quote(name)}`"
        raise click.UsageError(f"no such command {name!r}: {hint}", ctx)

    def _meant(self, flag: str, ctx: click.Context) -> str:
        """Return a hint for an unknown option: which one of the group may be meant; empty if none is."""
        flags = flags_of(self, ctx)
        return meant_options(flag, flags) or near_options(flag, flags)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the command line; the group's `--help` and `--version` print and exit here."""
        open_streams()
        args = model_after_command(args)
        hush(self._named(args), args)
        extra = {"color": color_wanted()} | extra
        with errors_as_exit_codes():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from charrnn.system.processor import set_kernel

        ctx.obj = set_kernel()  # before a command loads NumPy; `doctor` reports it
        with ending_all(ctx), errors_as_exit_codes():
            return super().invoke(ctx)

    @staticmethod
    def _named(args: list[str]) -> str:
        """Return the name of the command in a command line; empty if there is no such command."""
        word = next((arg for arg in args if not arg.startswith("-")), "").lower().replace("_", "-")
        name = COMMAND_ALIASES.get(word, word)
        return name if name in _command_names(tuple(__path__)) else ""


def _exit_codes() -> str:
    lines = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
    return f"\b\nExit codes:\n{lines}"


@click.group(
    cls=Commands,
    epilog=_exit_codes(),
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 80,
        "auto_envvar_prefix": "CHARRNN",
        # Flags, choices and commands in any case, with _ for -; one letter alone keeps its case, as in -V and -v.
        "token_normalize_func": lambda word: word if len(word) == 1 else word.replace("_", "-").lower(),
    },
)
@click.version_option(
    __version__,
    message="charrnn %(version)s",
    allow_from_autoenv=False,
    cls=SectionedOption,
    help="Show the version and exit.",
)
def main() -> None:
    """Train a small character-level language model on your text, evaluate it, and sample from it.

    \b
    Examples:
      charrnn train corpus.txt --minutes 5
      charrnn eval
      charrnn sample --temp 0.8 --prime "Once upon a time"
    """
