"""Commands under `mpiexec` or `srun`: which of them use several processes, which process prints, and how all end."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from click.exceptions import Exit

from charrnn.system.launch import Launch, end_all, launch, unconnected_tasks

if TYPE_CHECKING:
    from charrnn.parallel.ranks import Ranks

_JOINED = "charrnn.ranks"  # the key in a context's `meta`
_SHARED = ("train", "doctor")  # the commands in which all ranks may take part
_PATIENCE = 1.0  # seconds for which another rank waits with an error: if rank 0 has it too, rank 0 prints it


def hush(command: str, args: Sequence[str]) -> None:
    """Let only rank 0 print, and let only it run a command that has no use for others.

    command: its name; empty if there is none of that name
    Raises:  SystemExit in the others, if they are of no use.
    """
    place = launch()
    if place is None or (command == "score" and any(arg.startswith("--shard") for arg in args)):
        return
    is_shared = command in _SHARED and (command == "train" or "--mpi" in map(str.lower, args))
    if place.rank == 0:
        if command and not is_shared:
            click.echo(f"Note: {place.size} processes were started, and `{command}` uses one.", err=True)
        return
    if not is_shared:
        raise SystemExit(0)
    sys.stdout = sys.stderr = io.StringIO()  # kept: an error that only this process has is printed


def join() -> Ranks | None:
    """Meet the other processes if this one was started with others; return None if it was started alone.

    A rank that follows ignores the signals that rank 0 handles: `mpiexec` sends them to all.

    Raises:  CharRNNError as `Ranks` does.
    """
    if tasks := unconnected_tasks():
        click.echo(
            f"Note: srun started {tasks} tasks, and each trains by itself: with srun --mpi=pmi2 they train together",
            err=True,
        )
    if launch() is None:
        return None
    import signal

    from charrnn.parallel.ranks import Ranks
    from charrnn.system.signals import SAVING, STOPPING

    ctx = click.get_current_context()
    ranks = ctx.meta[_JOINED] = Ranks(_given(ctx))
    ranks.refuse_differences()
    if ranks.rank:
        for number in STOPPING + SAVING:
            signal.signal(number, signal.SIG_IGN)
    return ranks


def _given(ctx: click.Context) -> dict[str, str]:
    """Return what a command was given, by the name of the argument or option: the words that give it."""
    from shlex import join

    from charrnn.config import option_words

    given = {}
    for param in ctx.command.params:
        name = param.name or ""
        if ctx.get_parameter_source(name) not in (None, ParameterSource.DEFAULT):
            value, is_argument = ctx.params[name], isinstance(param, click.Argument)
            given[name] = join([name.upper(), *value] if is_argument else option_words(name, value))
    return given


def follow(ranks: Ranks) -> None:
    """Do what rank 0 asks for, then exit as it does. An unexpected error ends all ranks, since rank 0 waits."""
    from charrnn.training.follow import follow

    try:
        code = follow(ranks)
    except BaseException:
        _print_traceback(ranks.names[ranks.rank])
        ranks.abort(1)
    click.get_current_context().exit(code)


def this_rank(ctx: click.Context | None) -> str:
    """Return which rank this is, for an error that only its machine may have: "rank 0 on host: ", or nothing."""
    ranks: Ranks | None = ctx.meta.get(_JOINED) if ctx else None
    return f"{ranks.names[ranks.rank]}: " if ranks else ""


@contextmanager
def ending_all(ctx: click.Context) -> Iterator[None]:
    """Let the other ranks, if there are any, end with the exit code of this one."""
    code = 1
    try:
        yield
        code = 0
    except Exit as exit:
        code = exit.exit_code
        if code and (place := _unmet(ctx)):
            _end_unmet(place, code)
        raise
    except Exception:
        if (place := _unmet(ctx)) is None:
            raise
        _print_traceback(_name(place))
        end_all(code)
        raise Exit(code) from None
    finally:
        ranks: Ranks | None = ctx.meta.get(_JOINED)
        if ranks is not None and ranks.rank == 0:
            ranks.end(code)


def _unmet(ctx: click.Context) -> Launch | None:
    """Return the place of this process if others will wait for it in vain: it has failed before it met them."""
    return launch() if _JOINED not in ctx.meta and ctx.invoked_subcommand in _SHARED else None


def _end_unmet(place: Launch, code: int) -> None:
    """End this process and those that wait for it.

    Most often all fail alike, and the first one says so. Another that lives on says it: nobody else has.
    """
    if isinstance(sys.stderr, io.StringIO):  # as `hush` has it
        time.sleep(_PATIENCE)
        why = sys.stderr.getvalue().strip().removeprefix("Error: ")
        print(f"Error: {_name(place)}: {why}", file=sys.__stderr__, flush=True)
    end_all(code)


def _name(place: Launch) -> str:
    import socket

    return f"rank {place.rank} on {socket.gethostname()}"


def _print_traceback(name: str) -> None:
    """Print an unexpected error of the rank with this name, even where `hush` lets it print nothing."""
    import traceback

    print(f"Error in {name}:", file=sys.__stderr__)
    traceback.print_exc(file=sys.__stderr__)
