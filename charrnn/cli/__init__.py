"""The command `charrnn`: each module in this folder that defines `command` is a subcommand."""

from __future__ import annotations

from typing import Any

import click

from charrnn.cli._command import SectionedOption
from charrnn.cli._errors import errors_as_exit_codes
from charrnn.cli._group import Group
from charrnn.cli._names import COMMAND_ALIASES, model_after_command
from charrnn.cli._ranks import ending_all, hush
from charrnn.cli._streams import color_wanted, open_streams
from charrnn.errors import EXIT_CODES
from charrnn.version import __version__

#: The commands in `charrnn --help`, in the order of use, so that it need not load them; those of other files come last.
_SECTIONS = {
    "Models": {
        "train": "Train a model on a text.",
        "sample": "Generate text with a model.",
        "complete": "Complete a word or a line.",
        "fill": "Fill gaps in a text.",
        "repair": "Undo typing errors in each line.",
        "eval": "Measure how well a model predicts a text.",
        "score": "Score each line by its likelihood under a model.",
        "embed": "Print a vector for each line, or the most similar lines.",
        "serve": "Answer requests over HTTP or standard input.",
    },
    "Whole texts": {
        "classify": "Give texts labels: train a classifier, evaluate it, and use it.",
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


class Commands(Group):
    """The group of all commands: it turns errors into exit codes."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the command line; the group's `--help` and `--version` print and exit here."""
        open_streams()
        args = model_after_command(args)  # so that the first word is the command
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

    def _named(self, args: list[str]) -> str:
        """Return the name of the command in a command line; empty if there is no such command."""
        word = next((arg for arg in args if not arg.startswith("-")), "").lower().replace("_", "-")
        name = COMMAND_ALIASES.get(word, word)
        return name if name in self.list_commands(None) else ""


def _exit_codes() -> str:
    lines = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
    return f"\b\nExit codes:\n{lines}"


@click.group(
    cls=Commands,
    package=__name__,
    sections=_SECTIONS,
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
