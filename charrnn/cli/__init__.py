"""The command `charrnn`: each file in this folder that defines `command` is a subcommand."""

from __future__ import annotations

import io
import os
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, NoReturn, TextIO

import click
from click.exceptions import Exit

from charrnn.errors import EXIT_CODES, CharRNNError
from charrnn.system.processor import set_kernel
from charrnn.version import __version__


class Commands(click.Group):
    """The group of commands: it finds them in this package, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the modules that are commands."""
        return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the module of one command."""
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(f"{__name__}.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            if command := self.get_command(ctx, name):
                row = (name, command.get_short_help_str())
                sections.setdefault(getattr(command, "section", "Others"), []).append(row)
        for section in sorted(sections):
            with formatter.section(section):
                formatter.write_dl(sections[section])

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the command line; the group's `--help` and `--version` print and exit here."""
        if sys.stderr is None:  # the caller closed it
            sys.stderr = open(os.devnull, "w")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
        with _errors_as_exit_codes():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        ctx.obj = set_kernel()  # before a command loads NumPy; `doctor` reports it
        with _errors_as_exit_codes():
            return super().invoke(ctx)


@contextmanager
def _errors_as_exit_codes() -> Iterator[None]:
    """Turn any error that a user can cause into one line on stderr and an exit code."""
    try:
        if sys.stdout is None:
            raise CharRNNError("standard output is closed: direct it to a file or a pipe")
        yield
        sys.stdout.flush()  # here, while an error can still be reported
    except CharRNNError as error:
        _end(f"Error: {error}", error.exit_code)
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        raise Exit(error.exit_code) from None
    except MemoryError:
        trains = click.get_current_context().invoked_subcommand == "train"
        remedy = "use a smaller --hidden-size, --batch-size or --seq-len" if trains else "ask for less at once"
        _end(f"Error: not enough memory: {remedy}", 1)
    except BrokenPipeError:  # the reader closed the pipe: it has what it needs
        _discard(sys.stdout)
        raise Exit(0) from None
    except OSError as error:
        if error.filename is not None:  # errors of writing name no file
            _end(f"Error: {error.filename}: {error.strerror}: see to its rights, or move it away", 1)
        _discard(sys.stdout)
        _end(f"Error: cannot write to standard output: {error.strerror}: free space there", 1)
    except KeyboardInterrupt as interrupt:
        _end("Stopped.", 128 + getattr(interrupt, "signum", 2))
    finally:
        try:
            sys.stderr.flush()
        except OSError:  # stderr is closed, which is no error
            _discard(sys.stderr)


def _end(line: str, code: int) -> NoReturn:
    """Print a last line to stderr and exit with this code."""
    with suppress(OSError):
        click.echo(line, err=True)
    raise Exit(code) from None


def _discard(stream: TextIO) -> None:
    """Send the rest of a standard stream, its buffer included, to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _exit_codes() -> str:
    lines = "\n".join(f"  {code:<5}{meaning}" for code, meaning in EXIT_CODES.items())
    return f"\b\nExit codes:\n{lines}"


@click.group(
    cls=Commands,
    epilog=_exit_codes(),
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "auto_envvar_prefix": "CHARRNN",
    },
)
@click.version_option(__version__, message="charrnn %(version)s", allow_from_autoenv=False)
def main() -> None:
    """Character-level language models: train a small recurrent net on your text, evaluate it, and let it write.

    \b
    Examples:
      charrnn train corpus.txt --minutes 5
      charrnn eval
      charrnn sample --temp 0.8 --prime "Once upon a time"
    """
