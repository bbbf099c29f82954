"""`charrnn classify predict`: print the most likely label of each line."""

from __future__ import annotations

import click

from charrnn.cli._command import SectionedCommand
from charrnn.cli._options import model_option


@click.command(cls=SectionedCommand)
@model_option
def command(model_path: str | None) -> None:
    """Print the most likely label of each line.

    \b
    Examples:
      charrnn classify predict
      charrnn classify predict -m languages
      charrnn classify predict --color never
    """
