"""Errors as one line on standard error and an exit code."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click
from click.exceptions import Exit, NoArgsIsHelpError

from charrnn.cli._ranks import this_rank
from charrnn.cli._streams import OutputError, discard
from charrnn.errors import MAY_PASS, NO_MEMORY, RECURS, CharRNNError, cause, described, exit_code_of

_MORE_THREADS = "raise the limit on processes (`ulimit -u`)"


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Turn any error that a user can cause into one line on stderr and an exit code."""
    try:
        yield
        sys.stdout.flush()  # here, while an error can still be reported
    except CharRNNError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        _fail_usage(error)
    except MemoryError:
        trains = click.get_current_context().invoked_subcommand == "train"
        _fail(NO_MEMORY if trains else "not enough memory: ask for less at once", MAY_PASS)
    except OutputError as error:
        discard(sys.stdout)
        if error.errno == errno.EPIPE:  # the reader closed the pipe: it has what it needs
            raise Exit(0) from None
        if error.errno == errno.EBADF:
            _fail("standard output is closed: direct it to a file or a pipe", RECURS)
        _fail(f"cannot write to standard output: {cause(error)}", exit_code_of(error))
    except OSError as error:
        _fail(described(error), exit_code_of(error))
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        _fail(f"{error}: {_MORE_THREADS}", MAY_PASS)
    except KeyboardInterrupt as interrupt:
        with suppress(OSError):
            click.echo("Stopped.", err=True)
        raise Exit(128 + getattr(interrupt, "signum", 2)) from None
    finally:
        try:
            sys.stderr.flush()
        except OSError:  # stderr is closed, which is no error
            discard(sys.stderr)


def _fail(message: str, code: int) -> NoReturn:
    named = code == RECURS or message.startswith("rank ")
    print_error(message if named else this_rank(click.get_current_context(silent=True)) + message)
    raise Exit(code) from None


def _fail_usage(error: click.ClickException) -> NoReturn:
    """Print an error of Click's as one line; a command without its arguments shows its help."""
    if isinstance(error, NoArgsIsHelpError):
        with suppress(OSError):
            error.show()
    else:
        print_error(error.format_message())
    raise Exit(error.exit_code) from None


def print_error(message: str) -> None:
    """Print an error to stderr in one line, its first word in red on terminals; ignore a closed pipe."""
    from charrnn.data.escapes import in_one_line

    with suppress(OSError):
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {in_one_line(message)}", err=True)
