"""Commands under `mpiexec` or `srun`: which of them use several processes, which process prints, and how all end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from click.exceptions import Exit

from charrnn.system.launch import launch, unconnected_tasks

if TYPE_CHECKING:
    from charrnn.parallel.ranks import Ranks

_JOINED = "charrnn.ranks"  # the key in a context's `meta`


def hush(command: str, args: Sequence[str]) -> None:
    """Let only rank 0 print, and let only it run a command that has no use for others.

    Raises:  SystemExit in the others, if they are of no use.
    """
    place = launch()
    if place is None or (command == "score" and any(arg.startswith("--shard") for arg in args)):
        return
    is_shared = command == "train" or (command == "doctor" and "--mpi" in map(str.lower, args))
    if place.rank == 0:
        if command and not is_shared:
            click.echo(f"Note: {place.size} processes were started, and `{command}` uses one.", err=True)
        return
    if not is_shared:
        raise SystemExit(0)
    sys.stdout = sys.stderr = open(os.devnull, "w")


def join() -> Ranks | None:
    """Meet the other processes if this one was started with others; return None if it was started alone.

    A rank that follows is deaf to the signals that rank 0 answers: `mpiexec` passes them on to all.

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

    from charrnn.config import flag_of
    from charrnn.parallel.ranks import Ranks
    from charrnn.system.signals import SAVING, STOPPING

    ctx = click.get_current_context()
    settings = {flag_of(name): str(value) for name, value in ctx.params.items() if value not in (None, False, ())}
    ranks = ctx.meta[_JOINED] = Ranks(settings)
    if ranks.rank:
        for number in STOPPING + SAVING:
            signal.signal(number, signal.SIG_IGN)
    return ranks


def follow(ranks: Ranks) -> None:
    """Do what rank 0 asks for, then exit as it does. An unexpected error ends all ranks: rank 0 would wait for ever."""
    from charrnn.training.follow import follow

    try:
        code = follow(ranks)
    except BaseException:
        import traceback

        print(f"Error in {ranks.names[ranks.rank]}:", file=sys.__stderr__)
        traceback.print_exc(file=sys.__stderr__)
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
        raise
    finally:
        ranks: Ranks | None = ctx.meta.get(_JOINED)
        if ranks is not None and ranks.rank == 0:
            ranks.end(code)
