"""Shared by commands that train or repeat runs: options of files, conflicts between options, and command lines."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from charrnn.cli._command import complete_files, complete_runs, section, set_elsewhere
from charrnn.cli._modules import import_options
from charrnn.config import CONFLICTS, ModelConfig, TextConfig, TrainConfig, exclusive, setting_names, train_words

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.training.run import Run

F = TypeVar("F", bound=Callable[..., Any])

#: Options that conflict in a new run, and the errors that say so.
NEW_RUN_CONFLICTS = (
    *CONFLICTS,
    *exclusive("give one", "val_file", "val_fraction", "val_documents"),
    *exclusive("give one", "test_fraction", "test_documents"),
    (("extend_vocab", "!init_from"), "--extend-vocab needs --init-from: give it too"),
)


def resume_command(run: Run, **options: object) -> str:
    """Return the command line that resumes a run with these options, on as many ranks as it has now."""
    return on_ranks(run.config.ranks, with_imports(run.command_to_resume(**options)))


def on_ranks(ranks: int, command: str) -> str:
    """Return the command line that starts a command on so many ranks."""
    return f"mpiexec -n {ranks} {command}" if ranks > 1 else command


def train_command(paths: Sequence[str], options: Mapping[str, object]) -> str:
    """Return a command line that trains on these paths with these options by name, quoted for a shell.

    It imports the modules that the command in progress has imported.
    """
    return with_imports(train_words(paths, options))


def with_imports(words: Sequence[str]) -> str:
    """Return the words of a command line, quoted for a shell, with options that import the same modules as this one."""
    return shlex.join([*words, *import_options(click.get_current_context())])


def repeat_command(saved: Checkpoint) -> str:
    """Return the command that repeats a run bit for bit: it names every setting that is not the default.

    saved: the newest checkpoint of the run
    """
    from charrnn.training.finetune import FREE

    if saved.earlier_totals:
        return "no single command: an earlier version of charrnn extended the run"
    if saved.text_config.document_rules != TextConfig.document_rules:
        return "no command: an earlier version of charrnn split its documents by other rules"
    if not saved.source.paths:
        return "no command: the text was not a file"
    config, elsewhere = saved.train_config, set_elsewhere()
    if 0 < config.patience <= saved.progress.get("waited", 0):
        return "no single command: with this --patience from the start, the run would have stopped earlier"
    usual = (
        vars(ModelConfig(1))
        | vars(TextConfig())
        | vars(TrainConfig(optimizer=config.optimizer))
        | {"optimizer": TrainConfig().optimizer}
    )
    actual: dict[str, Any] = vars(saved.model_config) | vars(saved.text_config) | vars(config)

    def is_named(name: str) -> bool:
        value = actual[name]
        inherits = saved.init_from is not None and name in FREE  # from the earlier model, unless it is named
        return value is not None and (value != usual[name] or inherits or (name in elsewhere and value is not False))

    chosen = {name: actual[name] for name in setting_names() if is_named(name)}
    chosen |= {"init_from": saved.init_from} if saved.init_from else {}
    chosen |= {"val_file": saved.val_source.path} if saved.val_source else {}
    return on_ranks(config.ranks, train_command(saved.source.paths, chosen))


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
