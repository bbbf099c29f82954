"""`charrnn train`: train a model on a text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from charrnn.cli._command import (
    Conflict,
    SectionedCommand,
    complete_files,
    section,
    source_of,
)
from charrnn.cli._new_run import NEW_RUN_CONFLICTS, file_options, repeat_command, with_imports
from charrnn.cli._options import given, settings
from charrnn.cli._ranks import follow, join
from charrnn.cli._signals import StopSignals
from charrnn.cli._training import carry_out, extend_command, open_and_train
from charrnn.cli._types import WholeNumber
from charrnn.config import seeded, setting_names, sort_settings
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.cli._train_screen import TrainScreen
    from charrnn.data.corpus import Corpus
    from charrnn.data.summary import Summary
    from charrnn.parallel.ranks import Ranks
    from charrnn.training.run import Run

_files, _screen = section("Files"), section("Screen")
_NEW = "!resume"  # a resumed run ignores settings of files and variables

#: The options that people use most, for the first screen of the help.
_BASICS = (
    "minutes",
    "steps",
    "cell",
    "hidden_size",
    "num_layers",
    "split_documents",
    "out",
    "resume",
    "init_from",
    "seed",
    "live",
)


@click.command(
    cls=SectionedCommand,
    basics=_BASICS,
    conflicts=(
        *(Conflict(message, (*names, _NEW)) for names, message in NEW_RUN_CONFLICTS),
        Conflict("--live draws a screen and --quiet prints only errors: leave one out", ("live", "quiet")),
    ),
)
@click.argument("corpus", metavar="[CORPUS]...", nargs=-1, shell_complete=complete_files)
@settings(*setting_names())
@file_options(
    out="Write the run to this folder. [default: ./checkpoints/<corpus name>]",
    init_from="Start from the weights of another model.",
)
@_files(
    "--resume",
    is_flag=True,
    allow_from_autoenv=False,
    help="Continue the run of CORPUS or --out; with --minutes, for this many minutes more.",
)
@_files(
    "--force",
    is_flag=True,
    allow_from_autoenv=False,
    help="Replace the run that is already in the folder.",
)
@_screen("--live", is_flag=True, help="Show curves, figures and samples full screen.")
@_screen(
    "--sample-every",
    type=WholeNumber(0),
    metavar="N",
    default=0,
    help="Print a sample every N steps, and add it to log.jsonl; 0 for never.",
)
@_screen("--verbose", is_flag=True, help="Also print facts about the text, reasons for settings, and memory use.")
@_screen("--quiet", is_flag=True, help="Print only errors.")
def command(corpus: tuple[str, ...], **options: Any) -> None:
    """Train a model on CORPUS: files, folders, quoted patterns, or "-" for stdin.

    Files are read in the given order; within a folder, files by name, then
    subfolders by name. Files ending in .gz, .bz2, .xz, .zst or .zip are
    unpacked. Line ends are kept unchanged.

    Without --steps or --epochs, charrnn trains for --minutes (default 5). It
    then chooses every "auto" setting that you leave out, from the text size
    and the time budget; --verbose explains each choice.

    The run folder gets best.npz (lowest validation loss), last.npz (to resume)
    and log.jsonl. Ctrl-C finishes the step, saves, and prints the command to
    continue.

    \b
    Examples:
      charrnn train corpus.txt
      charrnn train corpus.txt --minutes 20
      charrnn train names.txt --split-documents lines
      charrnn train corpus.txt --resume --minutes 10
      charrnn train letters.txt --init-from corpus
    """
    began = time.monotonic()
    if options["live"]:
        from charrnn.cli._live import check_charts

        check_charts()
    if options["resume"]:
        options = _resuming(options)
    if (ranks := join()) and ranks.rank:
        follow(ranks)
    open_and_train(
        lambda: _open(corpus, options, began, ranks),
        lambda run, signals: _train(run, options, signals),
        quiet=options["quiet"],
    )


def _resuming(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without settings from files and variables: a resumed run has its own."""
    typed = [name for name in options if source_of(name) is ParameterSource.COMMANDLINE]
    ignored = {*setting_names(), "val_file", "init_from"}.difference(typed)
    return options | dict.fromkeys(ignored)


def _open(paths: tuple[str, ...], options: dict[str, Any], began: float, ranks: Ranks | None) -> Run:
    """Start or resume the run that the options ask for, and describe it."""
    from charrnn.checkpoint import load_model
    from charrnn.cli._bars import ReadingBar
    from charrnn.cli._console import PassingLine
    from charrnn.data.corpus import Corpus
    from charrnn.training.finetune import adopt_text_form
    from charrnn.training.folder import RUNS, find_model
    from charrnn.training.run import Run

    asked, quiet = given(options), options["quiet"]
    timed = "minutes" in asked if options["resume"] else not {"steps", "epochs"} & asked.keys()
    measuring = PassingLine("measuring speed…", shown=timed and not quiet)

    def ready(corpus: Corpus | None) -> Callable[[Run], None]:
        def describe(run: Run) -> None:
            if not quiet:
                measuring.erase()
                _describe(run, corpus, verbose=options["verbose"])
                measuring.show()

        return describe

    out = Path(options["out"]) if options["out"] else None
    if options["resume"]:
        if options["force"] or options["init_from"]:
            raise ConfigError("--resume continues an existing run: leave out --force and --init-from")
        if not out and not paths:
            raise ConfigError("--resume needs a run: give its CORPUS, or its folder with --out")
        out = out or RUNS / Corpus.name_of(paths[0])
        with measuring, ReadingBar(quiet=quiet) as reading:
            return Run.resume(
                out,
                paths,
                options["val_file"],
                settings=asked,
                reading=reading,
                began=began,
                ready=ready(None),
                ranks=ranks,
            )
    if not paths:
        raise click.UsageError("Missing argument 'CORPUS': name a text file to train on.")
    init_from = find_model(options["init_from"]) if options["init_from"] else None
    asked = seeded(adopt_text_form(asked, load_model(init_from).vocab) if init_from else asked)
    config = sort_settings(asked).text
    with ReadingBar(quiet=quiet) as reading:
        corpus = Corpus.read(paths, config, options["val_file"], seed=asked["seed"], reading=reading)
    with measuring:
        measuring.show()
        return Run.start(
            corpus,
            out,
            settings=asked,
            init_from=init_from,
            force=options["force"],
            began=began,
            ready=ready(corpus),
            ranks=ranks,
        )


def _train(run: Run, options: dict[str, Any], signals: StopSignals) -> None:
    """Train and show the events; end with the figures and what to do next."""
    from charrnn.cli._train_screen import closing_figures

    primes = [] if run.training.stream.tab is None else ["--prime-lines", "-"]
    carry_out(
        run,
        signals,
        quiet=options["quiet"],
        plan=lambda: _print_plan(run, verbose=options["verbose"]),
        screen_of=lambda: _screen_of(run, options),
        closing=lambda screen: (
            closing_figures(run, screen.memory)
            | {
                "Sample": with_imports(["charrnn", "sample", "-m", str(run.folder.path), *primes]),
                "Extend": extend_command(run),
                "Repeat": repeat_command(run.checkpoint(resumable=True)),
            }
        ),
    )


def _screen_of(run: Run, options: dict[str, Any]) -> TrainScreen:
    """Return the screen that the options ask for; a live one needs a terminal that can be redrawn."""
    from charrnn.cli._console import redraws
    from charrnn.cli._live import LiveScreen
    from charrnn.cli._train_screen import BarScreen

    shown = {"verbose": options["verbose"], "sample_every": options["sample_every"]}
    if options["live"] and redraws():
        return LiveScreen(run, **shown)
    return BarScreen(run, quiet=options["quiet"], **shown)


def _describe(run: Run, corpus: Corpus | None, *, verbose: bool) -> None:
    """Print what is trained on what, and a warning if it does not fit into memory.

    corpus: of a new run; None for a run that continues, whose text was described before
    """
    from charrnn.cli._console import print_fact, print_sentence
    from charrnn.data.summary import summarize

    training, config = run.training, run.training.model_config
    weights = sum(array.size for array in run.state.params.values())
    layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    embedding = f", embedding of {config.embed_size}" if config.embed_size else ""
    print_fact(
        "Text", f"{len(training.stream.ids):,} characters for training, {len(training.val_ids):,} for validation"
    )
    print_fact("Model", f"{config.cell}, {layers} of {config.hidden_size} units{embedding}, {weights:,} parameters")
    if corpus is not None:
        _print_summary(summarize(corpus, run.vocab), run.vocab.kind, verbose=verbose)
    memory = run.footprint
    if verbose:
        among = f" in {memory.processes} processes" if memory.processes > 1 else ""
        print_sentence(f"memory: about {_mib(memory.size)}{among}")
    if memory.free is not None and not memory.fits:
        print_sentence(
            f"Note: training needs about {_mib(memory.size)} of memory and only {_mib(memory.free)} is free: it may "
            "become very slow or be killed; stop other programs, or lower --batch-size, --seq-len or --hidden-size"
        )


def _print_summary(facts: Summary, kind: str, *, verbose: bool) -> None:
    """Print facts about the text; without `verbose` only what the user may want to change."""
    from charrnn.cli._console import print_sentence

    if (facts.crlf or facts.cr) and kind != "bytes":
        print_sentence(f"Note: {_describe_returns(facts)}")
    if not verbose:
        return
    files = "1 file" if facts.files == 1 else f"{facts.files:,} files"
    size = f", {facts.bytes:,} bytes" if facts.bytes else ""  # unknown for standard input
    documents = "" if facts.documents is None else f" in {facts.documents:,} document{'s' * (facts.documents != 1)}"
    print_sentence(f"{files}{size}; {facts.chars:,} characters{documents}, {facts.symbols:,} distinct")
    rarest = [(f"0x{ord(char):02x}" if kind == "bytes" else repr(char), count) for char, count in facts.rarest]
    print_sentence("rarest in the training split: " + ", ".join(f"{shown} {count:,}" for shown, count in rarest))
    if facts.unknown_share:
        print_sentence(
            f"unknown: {facts.unknown:,} distinct characters, {facts.unknown_share:.2%} of the training split"
        )
    if facts.repeated is not None:
        lines = "lines" if facts.documents is None else "documents"
        print_sentence(f"{facts.repeated:.1%} of the validation split repeats training {lines}")


def _describe_returns(facts: Summary) -> str:
    """Return the note on carriage returns, with the command that turns all line ends into newlines."""
    if facts.crlf and facts.cr:
        return r"lines end with \r\n or \r, and \r is learned; to convert them: perl -pe 's/\r\n?/\n/g' FILE > NEW"
    if facts.crlf:
        return r"lines end with \r\n, and \r is learned; to convert them: tr -d '\r' < FILE > NEW"
    return r"lines end with \r, which is learned; to convert them: tr '\r' '\n' < FILE > NEW"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _print_plan(run: Run, *, verbose: bool) -> None:
    """Print the length of the run with a forecast of its time, and the notes."""
    from charrnn.cli._console import PassingLine, duration, print_fact, print_sentence
    from charrnn.parallel.cost import WORTHWHILE
    from charrnn.training.budget import expected_seconds, gain_in_words, sharing_gain, step_seconds

    config, total, ranks, notes = run.config, run.state.course.total, run.training.ranks, [*run.notes]
    if run.timer is not None:
        seconds: float | None = run.timer.seconds_left(run.training, run.state)
        step: float | None = step_seconds(run.training, run.timer.pace.char)
    else:
        with PassingLine("measuring speed…", shown=True) as measuring:
            measuring.show()
            seconds = expected_seconds(run.training, run.state)
        step = None if seconds is None else seconds / (total - run.state.step)
    steps = "1 step" if total == 1 else f"{total:,} steps"
    since = f" from step {run.state.step:,}" if run.state.step else ""
    takes = "" if seconds is None else f" in about {duration(seconds)}"
    print_fact("Run", f"{steps}{since}{takes}, seed {config.seed}, in {run.folder.path}")
    if verbose:
        rate = f"{config.optimizer} at {config.learning_rate:g}"
        print_sentence(f"{config.batch_size} batch rows of {config.seq_len} characters per step, {rate}")
        for reason in run.reasons:
            print_sentence(reason)
    gain = math.inf
    if step is not None and (verbose or ranks):
        gain = sharing_gain(run.training, run.state, step, run.timer.budget if run.timer else math.inf)
        print_sentence(gain_in_words(config.threads or 1, step, gain, config.ranks))
    if ranks and len({*ranks.hosts}) == 1:
        threads = min(ranks.cores[0], ranks.size * (config.threads or 1))
        notes.append(f"all ranks are on one host: --threads {threads} without mpiexec is as fast there")
    elif ranks and gain < WORTHWHILE:
        notes.append(
            f"{ranks.size} ranks hardly pay here: train without mpiexec, or ask `mpiexec -n {ranks.size} charrnn "
            "doctor --mpi` what would help"
        )
    for sentence in notes:
        print_sentence(f"Note: {sentence}")
