"""`charrnn report`: write a page about a run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import SectionedCommand, complete_files, section
from charrnn.cli._options import either, model_option, run_argument

if TYPE_CHECKING:
    from charrnn.checkpoint import Checkpoint
    from charrnn.insight.report import Report

_REMEDY = "name another file with --out"


@click.command(
    cls=SectionedCommand,
    conflicts=(either("run", "model_path"),),
)
@run_argument()
@model_option
@section("Output")(
    "--out",
    metavar="FILE",
    shell_complete=complete_files,
    help="Write the page to this file. [default: report.html in the run's folder]",
)
def command(run: str | None, model_path: str | None, out: str | None) -> None:
    """Write a page about a run: its text and settings, curves, scores, errors, samples, and what it copies.

    RUN is a run's name, its folder, or a .npz file. The page is one HTML file that needs no network; its path is
    printed.

    \b
    Examples:
      charrnn report
      charrnn report names
      charrnn report names --out names.html
    """
    from charrnn.cli._bars import ReadingBar
    from charrnn.cli._console import PassingLine, check_pages, open_model
    from charrnn.insight.report import gather
    from charrnn.system.atomic import output_file, replacing

    check_pages()
    opened = open_model(run or model_path)
    assert opened.path is not None  # it was loaded from a file
    name = out or _place(opened.path)
    file = output_file(name, _REMEDY)
    line = PassingLine("", shown=True)

    def show(doing: str) -> None:
        line.erase()
        line.text = f"{doing.capitalize()}…"
        line.show()

    def read(done: int, total: int) -> None:
        line.erase()
        bar(done, total)

    with line, ReadingBar() as bar:
        report = gather(opened, opened.path, progress=show, reading=read)
        show("drawing the page")
        page = _page(report)
    with replacing(file, _REMEDY) as target:
        target.write(page.encode("utf-8", "replace"))
    click.echo(name)


def _place(path: Path) -> Path:
    """Return where the report about a checkpoint is written by default."""
    from charrnn.training.folder import RunFolder

    run = RunFolder(path.parent)
    return run.report if path in run.files() else path.with_suffix(".html")


def _page(report: Report) -> str:
    """Return the page."""
    from charrnn.insight.report import SEARCHED, SEED
    from charrnn.insight.symbols import CLASSES, names_of
    from charrnn.nn.functional import bits
    from charrnn.pages import render

    return render(
        "report.html",
        report=report,
        figures=_figures(report),
        commands=_commands(report),
        settings=_settings(report.saved),
        classes=CLASSES,
        names=names_of(report.saved.vocab),
        parameters=sum(array.size for array in report.saved.params.values()),
        seed=SEED,
        searched=SEARCHED,
        to_bits=bits,
    )


def _figures(report: Report) -> dict[str, str]:
    """Return the figures as SVG by name."""
    from charrnn.insight.report_figures import confusion_map, curve, losses, symbol_figure
    from charrnn.insight.symbols import classes_of, names_of

    vocab, log, scores = report.saved.vocab, report.log, report.scores
    names, figures = names_of(vocab), {}
    if report.run is not None and log is not None:
        figures["loss"] = losses(report.run, log)
        figures["rate"] = curve(log.step, log.learning_rate, "steps", "learning rate")
        figures["norm"] = curve(log.step, log.grad_norm, "steps", "gradient norm", log=True)
    if scores is not None:
        figures["confusions"] = confusion_map(scores.table, names)
    figures["symbols"] = symbol_figure(report.symbols, names, classes_of(vocab))
    return figures


def _settings(saved: Checkpoint) -> dict[str, dict[str, Any]]:
    """Return the settings that have a value, by section."""
    sections = {
        title: {name: value for name, value in settings.items() if value is not None}
        for title, settings in saved.settings().items()
    }
    return {title: settings for title, settings in sections.items() if settings}


def _commands(report: Report) -> dict[str, str]:
    """Return the commands that repeat what the report shows, each with what it does."""
    from charrnn import checkpoint as ckpt
    from charrnn.cli._new_run import repeat_command, with_imports
    from charrnn.errors import CheckpointError
    from charrnn.insight.report import SEARCHED, SEARCHED_LENGTH, SEED
    from charrnn.training.folder import RunFolder

    last, saved = RunFolder(report.path.parent).last, report.saved
    with suppress(CheckpointError):  # without last.npz, the best model is the newest checkpoint
        saved = ckpt.load(last) if report.run is not None else saved
    model = str(report.path.parent if report.run is not None else report.path)
    count = report.copies.count if report.copies is not None else 1
    drawn = {"--temp": SEARCHED, "--seed": SEED, "-n": SEARCHED_LENGTH, "--count": count}
    options = [str(word) for pair in drawn.items() for word in pair]
    training = {} if saved.is_imported else {"Train the model again": repeat_command(saved)}
    return {
        **training,
        "Score it": with_imports(["charrnn", "eval", "-m", model, "--baselines"]),
        "Draw the samples that were searched for copies": with_imports(["charrnn", "sample", "-m", model, *options]),
        "Make this page again": with_imports(["charrnn", "report", model]),
    }
