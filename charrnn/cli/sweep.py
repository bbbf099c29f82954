"""`charrnn sweep`: train a run for each combination of settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, section
from charrnn.cli._new_run import NEW_RUN_CONFLICTS, file_options, train_command
from charrnn.cli._options import given, settings
from charrnn.cli._signals import StopSignals
from charrnn.cli._types import Values
from charrnn.config import TextConfig, setting_names

if TYPE_CHECKING:
    from charrnn.training.sweep import Planned, Sweep

F = TypeVar("F", bound=Callable[..., Any])
_files, _screen = section("Files"), section("Screen")
#: Settings with one value for all runs: with several, the losses could not be compared.
_SHARED = (*TextConfig.__dataclass_fields__, "val_chars")
#: The options that people use most, for the first screen of the help.
_BASICS = (
    *("cell", "hidden_size", "num_layers", "dropout", "learning_rate", "seed"),
    *("minutes", "steps", "epochs", "val_chars", "out", "dry_run"),
)


def _grid_options(function: F) -> F:
    """Add the settings of `train`; those of model and training take several values, separated by commas."""
    names = [name for name in setting_names() if name != "length_changes"]  # that repeats a single run
    function = settings(*names)(function)
    for option in function.__click_params__:  # type: ignore[attr-defined]
        if option.name == "seed":
            option.help = "Random seed. [default: 1]"
        if option.name in names and option.name not in _SHARED and not option.is_flag:
            option.type = Values(option.type)
    return function


@click.command(
    cls=SectionedCommand,
    basics=_BASICS,
    conflicts=tuple(Conflict(message, names) for names, message in NEW_RUN_CONFLICTS),
)
@click.argument("corpus", metavar="CORPUS...", nargs=-1, required=True, shell_complete=complete_files)
@_grid_options
@file_options(
    out="Write the runs to this folder. [default: ./checkpoints/<corpus name>-sweep]",
    init_from="Start each run from the weights of another model.",
)
@_screen("--dry-run", is_flag=True, help="Only print the commands of unfinished runs.")
@_screen("--quiet", is_flag=True, help="Print only errors and the table.")
def command(corpus: tuple[str, ...], **options: Any) -> None:
    """Train a run on CORPUS for each combination of settings, and compare them. Separate values by commas: --cell
    rnn,lstm --seed 1,2,3 makes six runs.

    Settings of the model, the length and training take several values. Settings of the text and switches such as
    --tied take one, which applies to all runs.

    Each run equals a `charrnn train` with the same settings. With --minutes, the first run chooses --val-chars for all
    runs, unless you give it.

    Ctrl-C saves the run in progress. The same command continues: it skips finished runs and resumes the interrupted
    one. With more values, it adds the new runs.

    \b
    Examples:
      charrnn sweep corpus.txt --cell rnn,lstm --seed 1,2,3 --steps 2000
      charrnn sweep corpus.txt --hidden-size 128,256 --dropout 0,0.3 --epochs 10
      charrnn sweep corpus.txt --cell gru,lstm --minutes 5 --dry-run
    """
    with StopSignals(saves=True) as signals:
        sweep = _plan(corpus, options)
        if options["dry_run"]:
            for run in sweep.runs:
                if not ((found := run.summary()) and found.finished):
                    click.echo(_command(sweep, run))
            return
        failed = _train_all(sweep, signals, quiet=options["quiet"])
    _print_results(sweep, failed)


def _plan(paths: tuple[str, ...], options: dict[str, Any]) -> Sweep:
    """Return the runs that the options ask for."""
    from charrnn.cli._bars import ReadingBar
    from charrnn.training.folder import find_model
    from charrnn.training.sweep import Sweep

    values = {name: value if isinstance(value, tuple) else (value,) for name, value in given(options).items()}
    with ReadingBar(quiet=options["quiet"]) as reading:
        return Sweep.plan(
            paths,
            values,
            Path(options["out"]) if options["out"] else None,
            val_path=options["val_file"],
            init_from=find_model(options["init_from"]) if options["init_from"] else None,
            reading=reading,
        )


def _command(sweep: Sweep, run: Planned) -> str:
    """Return the command line that trains the same run."""
    return train_command(sweep.corpus.source.paths, sweep.options_of(run))


def _train_all(sweep: Sweep, signals: StopSignals, *, quiet: bool) -> list[int]:
    """Train the runs that are not finished, and print a line for each; return the exit codes of those that failed."""
    from charrnn.cli._console import note
    from charrnn.data.files import describe_paths
    from charrnn.errors import CharRNNError, DivergedError

    failed, total = list[int](), len(sweep.runs)
    if not quiet:
        runs = "1 run" if total == 1 else f"{total} runs"
        note(f"{runs} on {describe_paths(sweep.corpus.source.paths)}, in {sweep.folder}")
    width = max(len(run.name) for run in sweep.runs)
    for number, planned in enumerate(sweep.runs, 1):
        name = f"{number:>{len(str(total))}}/{total}  {planned.name:<{width}}"
        try:
            outcome = _train(sweep, planned, name, signals, quiet=quiet)
        except CharRNNError as error:
            failed.append(error.exit_code)
            outcome = f"failed: {error}"
            if isinstance(error, DivergedError):
                sweep.record_divergence(planned, error)
        if not quiet or outcome.startswith("failed"):
            note(f"{name}  {outcome}")
    return failed


def _train(sweep: Sweep, planned: Planned, name: str, signals: StopSignals, *, quiet: bool) -> str:
    """Train a run of the sweep to its end, and return its outcome. On a signal, save it and exit."""
    from charrnn.cli._bars import SweepBar
    from charrnn.cli._console import note
    from charrnn.errors import RunFolderError

    found = planned.summary()
    if found and found.finished:
        return f"{_loss(found.best_loss)}, already finished"
    if error := sweep.divergence(planned):
        raise RunFolderError(f"it diverged earlier ({error}): to train it again, remove {planned.folder.path}")
    run = sweep.open(planned, _command(sweep, planned))
    try:
        signals.patient = True
        with SweepBar(run, name, quiet=quiet) as bar:
            for event in run.events():
                bar.show(event)
                if signals.received:
                    break
                if signals.saves_for:
                    run.save()
                    bar.note_save(signals.saves_for)
                    signals.saves_for = None
        if signals.received:
            run.save()
            note(f"Saved {planned.name} after step {run.state.step:,}. Run the same command to continue.")
            click.get_current_context().exit(128 + signals.received)
    finally:
        signals.patient = False
        run.close()
    return f"{_loss(run.state.progress.best_loss)}, {run.seconds:,.1f} seconds"


def _loss(loss: float | None) -> str:
    return "no validation" if loss is None else f"{loss:.4f} nats per character"


def _print_results(sweep: Sweep, failed: list[int]) -> None:
    """Compare the runs by the settings that the sweep varies; raise an error if some failed.

    failed: the exit codes of their errors; if one may pass, that of the sweep may
    """
    from charrnn.cli._comparison import print_comparison
    from charrnn.errors import CharRNNError
    from charrnn.training.compare import compare

    found = [summary for run in sweep.runs if (summary := run.summary())]
    if found:
        print_comparison(compare(found, [name for name in sweep.names if name != "seed"]))
    if failed:
        raise CharRNNError(
            f"{len(failed)} of {len(sweep.runs)} runs failed, for the reasons above; the same command retries those "
            "that did not diverge",
            min(failed),
        )
