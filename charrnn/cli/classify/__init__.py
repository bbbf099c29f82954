"""The command `charrnn classify`: each module in this folder that defines `command` is a subcommand."""

from __future__ import annotations

import click

from charrnn.cli._group import Group


@click.group(
    cls=Group,
    package=__name__,
    sections={
        "Commands": {
            "train": "Train a classifier on labelled texts.",
            "predict": "Print the most likely label of each line.",
            "eval": "Measure how well a classifier labels texts.",
        }
    },
)
def command() -> None:
    """Give texts labels: train a classifier, evaluate it, and use it.

    \b
    Examples:
      charrnn classify train names/*.txt
      charrnn classify eval --baselines
      charrnn classify predict lines.txt
    """
