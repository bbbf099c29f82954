"""`charrnn help`: show the help of a command; an alias of `--help`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charrnn.cli._command import SectionedCommand

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _complete_commands(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Return the names of commands with this beginning."""
    group = ctx.find_root()
    return group.command.shell_complete(group, incomplete)


@click.command(cls=SectionedCommand, hidden=True)
@click.argument("command", required=False, shell_complete=_complete_commands)
@click.pass_context
def command(ctx: click.Context, command: str | None) -> None:
    """Show the help of COMMAND, as `charrnn COMMAND --help` does.

    \b
    Examples:
      charrnn help
      charrnn help train
      charrnn help sample
    """
    group = ctx.find_root()
    assert isinstance(group.command, click.Group)
    if command is not None:
        name, found, _ = group.command.resolve_command(group, [command])
        group = click.Context(found, parent=group, info_name=name) if found else group
    click.echo(group.get_help(), color=ctx.color)
