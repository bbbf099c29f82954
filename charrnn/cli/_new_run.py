"""Shared by `train` and `sweep`: options of files, conflicts between options, and the command that trains a run."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from charrnn.cli._command import complete_files, complete_runs, section
from charrnn.cli._modules import import_options
from charrnn.config import CONFLICTS, exclusive, train_words

F = TypeVar("F", bound=Callable[..., Any])

#: Options that conflict in a new run, and the errors that say so.
NEW_RUN_CONFLICTS = (
    *CONFLICTS,
    *exclusive("give one", "val_file", "val_fraction", "val_documents"),
    *exclusive("give one", "test_fraction", "test_documents"),
    (("extend_vocab", "!init_from"), "--extend-vocab needs --init-from: give it too"),
)


def train_command(paths: Sequence[str], options: Mapping[str, object]) -> str:
    """Return a command line that trains on these paths with these options by name, quoted for a shell.

    It imports the modules that the command in progress has imported.
    """
    return with_imports(train_words(paths, options))


def with_imports(words: Sequence[str]) -> str:
    """Return the words of a command line, quoted for a shell, with options that import the same modules as this one."""
    return shlex.join([*words, *import_options(click.get_current_context())])


def file_options(*, out: str, init_from: str) -> Callable[[F], F]:
    """Add `--out`, `--val-file` and `--init-from`; the help of the first and the last differs."""
    files = section("Files")

    def add(function: F) -> F:
        for option in (
            files("--init-from", metavar="MODEL", shell_complete=complete_runs, help=init_from),
            files(
                "--val-file",
                metavar="TEXT",
                shell_complete=complete_files,
                help="Validate on this text and train on the whole corpus.",
            ),
            files("--out", metavar="FOLDER", shell_complete=complete_files, help=out),
        ):
            function = option(function)
        return function

    return add
