"""`charrnn help`: show the help of a command; an alias of `--help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charrnn.cli._command import SectionedCommand

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete_commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of commands with this beginning, in the group that the words before it name."""
    group = ctx.find_root()
    for name in ctx.params.get("commands") or ():
        found = group.command.get_command(group, name) if isinstance(group.command, click.Group) else None
        if found is None:
            return []
        group = click.Context(found, parent=group, info_name=name)
    return group.command.shell_complete(group, incomplete)


@click.command(cls=SectionedCommand, hidden=True)
@click.argument("commands", metavar="[COMMAND]...", nargs=-1, shell_complete=_complete_commands)
@click.pass_context
def command(ctx: click.Context, commands: tuple[str, ...]) -> None:
    """Show the help of COMMAND, as `charrnn COMMAND --help` does.

    \b
    Examples:
      charrnn help
      charrnn help train
      charrnn help classify predict
    """
    asked = ctx.find_root()
    for command in commands:
        if not isinstance(asked.command, click.Group):
            raise click.UsageError(f"{asked.command_path} has no commands: leave out {command!r}", ctx)
        name, found, _ = asked.command.resolve_command(asked, [command])
        asked = click.Context(found, parent=asked, info_name=name) if found else asked
    click.echo(asked.get_help(), color=ctx.color)
