"""Shared by the commands that train: they show a run's events, save it when it is stopped, and print how to go on."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from charrnn.cli._new_run import resume_command
from charrnn.cli._signals import StopSignals
from charrnn.config import DEFAULT_MINUTES
from charrnn.errors import RECURS, exit_code_of

if TYPE_CHECKING:
    from charrnn.cli._train_screen import TrainScreen
    from charrnn.training.run import Run

    R = TypeVar("R", bound=Run)
    S = TypeVar("S", bound=TrainScreen)


def open_and_train(opened: Callable[[], R], train: Callable[[R, StopSignals], object], *, quiet: bool) -> None:
    """Open a run and train it, or say that it is complete.

    opened  starts or resumes the run
    train   trains it, while signals stop it only between two events
    """
    with StopSignals(saves=True) as signals:
        try:
            run = opened()
        except BrokenPipeError as error:  # stderr is closed, and nothing has begun
            click.get_current_context().exit(_unread_code(error))
        try:
            if run.finished:
                _say_complete(run, quiet=quiet)
            else:
                train(run, signals)
        finally:
            run.close()


def carry_out(
    run: Run,
    signals: StopSignals,
    *,
    quiet: bool,
    plan: Callable[[], object],
    screen_of: Callable[[], S],
    closing: Callable[[S], dict[str, str]],
) -> None:
    """Train and show the events; end with the figures and commands, or with the command that resumes.

    plan       prints what will be done
    screen_of  returns the screen
    closing    returns the figures and the commands to print at the end
    """
    from charrnn.cli._console import note, print_facts

    signals.patient = True
    try:
        if not quiet:
            plan()
        with screen_of() as screen:
            for event in run.events():
                screen.show(event)
                if signals.received and not run.finished:
                    break
                if signals.saves_for:
                    run.save()
                    screen.note_save(signals.saves_for)
                    signals.saves_for = None
    except BrokenPipeError as error:  # the terminal or pipe was closed: save the run
        run.save()
        run.conclude()
        click.get_current_context().exit(128 + signals.received if signals.received else _unread_code(error))
    if signals.received and not run.finished:
        run.save()
        run.conclude()
        note(f"Saved after step {run.state.step:,}. Continue with: {resume_command(run)}")
        click.get_current_context().exit(128 + signals.received)
    if not quiet:
        if run.state.step < run.state.course.total:
            note(f"Stopped early: no {run.training.better} in {run.training.config.patience} evaluations.")
        print_facts(closing(screen), err=True)


def _unread_code(error: OSError) -> int:
    """Return the exit code where standard error cannot be written: its reader, once gone, does not return."""
    return RECURS if error.errno == errno.EPIPE else exit_code_of(error)


def _say_complete(run: Run, *, quiet: bool) -> None:
    """Say that a run has no steps left, and how to extend it; fit its memory if a kill came before that."""
    from charrnn.cli._console import note

    for _ in run.events():
        pass
    if not quiet:
        step = run.state.step
        ends = "stopped early after" if step < run.state.course.total else "is complete after"
        note(f"The run in {run.folder.path} {ends} {step:,} steps. Extend it with: {extend_command(run)}")


def extend_command(run: Run) -> str:
    """Return the command line that extends a finished run."""
    early = run.state.step < run.state.course.total
    return resume_command(run, **{"patience": "0"} if early else {"minutes": f"{DEFAULT_MINUTES:g}"})
