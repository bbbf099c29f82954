"""`charrnn train`: train a model on a text."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from charrnn.cli._command import (
    Conflict,
    SectionedCommand,
    complete_files,
    complete_runs,
    section,
    set_elsewhere,
    source_of,
)
from charrnn.cli._modules import import_options
from charrnn.cli._new_run import NEW_RUN_CONFLICTS, train_command
from charrnn.cli._options import given, settings
from charrnn.cli._signals import StopSignals
from charrnn.cli._types import WholeNumber
from charrnn.config import (
    ModelConfig,
    TextConfig,
    TrainConfig,
    seeded,
    setting_names,
    sort_settings,
)
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.data.summary import Summary
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
)


@click.command(
    cls=SectionedCommand,
    short_help="Train a model on a text.",
    basics=_BASICS,
    conflicts=tuple(Conflict(message, (*names, _NEW)) for names, message in NEW_RUN_CONFLICTS),
)
@click.argument("corpus", metavar="[CORPUS]...", nargs=-1, shell_complete=complete_files)
@settings(*setting_names())
@_files(
    "--out",
    metavar="FOLDER",
    shell_complete=complete_files,
    help="The run's folder; ./checkpoints/<corpus name> if not given.",
)
@_files(
    "--val-file",
    metavar="TEXT",
    shell_complete=complete_files,
    help="Validate on this text and train on the whole corpus.",
)
@_files(
    "--init-from",
    metavar="MODEL",
    shell_complete=complete_runs,
    help="Begin with the weights of another checkpoint or run.",
)
@_files(
    "--resume",
    is_flag=True,
    allow_from_autoenv=False,
    help="Go on with the run in the folder, exactly.",
)
@_files(
    "--force",
    is_flag=True,
    allow_from_autoenv=False,
    help="Replace the run that is in the folder.",
)
@_screen(
    "--sample-every",
    type=WholeNumber(0),
    metavar="N",
    default=0,
    help="Show what the model writes every so many steps; 0 for never.",
)
@_screen("--quiet", is_flag=True, help="Show nothing but errors.")
def command(corpus: tuple[str, ...], **options: Any) -> None:
    """Train a model on CORPUS: files, folders, quoted patterns, or "-" for stdin.

    Files are read in this order; a folder's files by name, then its subfolders
    by name. Files ending in .gz, .bz2, .xz, .zst or .zip are unpacked. Line
    ends are kept unchanged.

    Without --steps or --epochs, charrnn trains for --minutes (default 5). It
    then picks every setting marked "auto" that you leave out, from the text
    size and the time budget, and explains each choice.

    The run folder gets best.npz (lowest validation loss), last.npz (to resume)
    and log.jsonl. Ctrl-C finishes the step, saves, and prints the command that
    continues.

    \b
    Examples:
      charrnn train corpus.txt
      charrnn train corpus.txt --minutes 20
      charrnn train names.txt --split-documents lines
      charrnn train corpus.txt --resume --minutes 10
      charrnn train letters.txt --init-from corpus
    """
    began = time.monotonic()
    if options["resume"]:
        options = _resuming(options)
    with StopSignals(saves=True) as signals:
        try:
            run = _open(corpus, options, began)
        except BrokenPipeError:  # stderr is closed, and nothing has begun
            click.get_current_context().exit(1)
        try:
            _train(run, options, signals)
        finally:
            run.close()


def _resuming(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without settings from files and variables: a resumed run has its own."""
    typed = [name for name in options if source_of(name) is ParameterSource.COMMANDLINE]
    ignored = {*setting_names(), "val_file", "init_from"}.difference(typed)
    return options | dict.fromkeys(ignored)


def _open(paths: tuple[str, ...], options: dict[str, Any], began: float) -> Run:
    """Start or resume the run that the options ask for."""
    from charrnn.checkpoint import load
    from charrnn.cli._console import ReadingBar
    from charrnn.data.corpus import Corpus
    from charrnn.data.summary import summarize
    from charrnn.training.finetune import adopt_text_form
    from charrnn.training.folder import RUNS, find_model
    from charrnn.training.run import Run

    asked = given(options)
    out = Path(options["out"]) if options["out"] else None
    if options["resume"]:
        if options["force"] or options["init_from"]:
            raise ConfigError("--resume goes on with a run: it takes neither --force nor --init-from")
        if not out and not paths:
            raise ConfigError("--resume needs the CORPUS or the run's folder with --out")
        out = out or RUNS / Corpus.name_of(paths[0])
        with ReadingBar(quiet=options["quiet"]) as reading:
            return Run.resume(out, paths, options["val_file"], settings=asked, reading=reading)
    if not paths:
        raise click.UsageError("Missing argument 'CORPUS': name a text file to train on.")
    init_from = find_model(options["init_from"]) if options["init_from"] else None
    asked = seeded(adopt_text_form(asked, load(init_from).vocab) if init_from else asked)
    config = sort_settings(asked).text
    with ReadingBar(quiet=options["quiet"]) as reading:
        corpus = Corpus.read(paths, config, options["val_file"], seed=asked["seed"], reading=reading)
    return Run.start(
        corpus,
        out,
        settings=asked,
        init_from=init_from,
        force=options["force"],
        began=began,
        ready=None if options["quiet"] else lambda run: _describe(run, summarize(corpus, run.vocab)),
    )


def _train(run: Run, options: dict[str, Any], signals: StopSignals) -> None:
    """Train and show the events; end with the figures, or with the command that resumes."""
    from charrnn.cli._console import TrainScreen, closing_figures, note, print_facts

    signals.patient = True
    quiet = options["quiet"]
    try:
        if not quiet:
            if options["resume"]:  # a new run was described before its speed was measured
                _describe(run)
            by_time = not options["resume"] and options["steps"] is options["epochs"] is None
            _print_course(run, forecast=not by_time)  # under a time budget the speed has been measured already
        with TrainScreen(run, quiet=quiet, sample_every=options["sample_every"]) as screen:
            for event in run.events():
                screen.show(event)
                if signals.received:
                    break
                if signals.saves_for:
                    run.save()
                    screen.note_save(signals.saves_for)
                    signals.saves_for = None
    except BrokenPipeError:  # the terminal or pipe was closed: save the run
        run.save()
        click.get_current_context().exit(128 + signals.received if signals.received else 1)
    if signals.received and not run.finished:
        run.save()
        again = _command(run, resume=True, out=run.folder.path, **_validated_on(run))
        note(f"Saved after step {run.state.step:,}. Go on with: {again}")
        click.get_current_context().exit(128 + signals.received)
    if not quiet:
        if run.state.step < run.training.steps:
            note(f"Stopped early: no better validation loss in {run.training.config.patience} evaluations.")
        imports = import_options(click.get_current_context())
        sample = shlex.join(["charrnn", "sample", "-m", str(run.folder.path), *imports])
        print_facts(closing_figures(run) | {"Repeat": _repeat(run), "Sample": sample}, err=True)


def _describe(run: Run, facts: Summary | None = None) -> None:
    """Describe the corpus, the model and the memory that training takes."""
    from charrnn.cli._console import tell

    if facts is not None:
        _print_summary(facts, run.vocab.kind)
    training, model_config = run.training, run.training.model_config
    weights = sum(array.size for array in run.state.params.values())
    embedding = f"embedding {model_config.embed_size}" if model_config.embed_size else "one-hot input"
    embedding += ", tied" if model_config.tied else ""
    tell(
        f"{model_config.cell} {model_config.num_layers}x{model_config.hidden_size}, {embedding}, "
        f"{weights:,} parameters; {len(training.stream.ids):,} characters to train on, "
        f"{len(training.val_ids):,} to validate, {run.vocab.size} symbols"
    )
    memory = run.footprint
    among = f" in {memory.processes} processes" if memory.processes > 1 else ""
    tell(f"about {_mib(memory.size)} of memory{among}")
    if memory.free is not None and not memory.fits:
        tell(
            f"Note: only {_mib(memory.free)} are free: the run may become very slow, or the system may end it; "
            "stop other programs, or choose a smaller --batch-size, --seq-len or --hidden-size"
        )


def _print_summary(facts: Summary, kind: str) -> None:
    from charrnn.cli._console import tell

    files = "1 file" if facts.files == 1 else f"{facts.files:,} files"
    size = f", {facts.bytes:,} bytes" if facts.bytes else ""  # unknown for standard input
    documents = "" if facts.documents is None else f" in {facts.documents:,} document{'s' * (facts.documents != 1)}"
    tell(f"{files}{size}; {facts.chars:,} characters{documents}, {facts.symbols:,} distinct")
    rarest = [(f"0x{ord(char):02x}" if kind == "bytes" else repr(char), count) for char, count in facts.rarest]
    tell("rarest to train on: " + ", ".join(f"{shown} {count:,}" for shown, count in rarest))
    if facts.unknown_share:
        tell(f"learned as unknown: {facts.unknown:,} of the distinct, {facts.unknown_share:.2%} of the training part")
    if (facts.crlf or facts.cr) and kind != "bytes":
        tell(_describe_returns(facts))
    if facts.repeated is not None:
        lines = "lines" if facts.documents is None else "documents"
        tell(f"{facts.repeated:.1%} of the validation part stands in {lines} that the training part has too")


def _describe_returns(facts: Summary) -> str:
    """Return the line about carriage returns, with the command that turns all line ends into newlines."""
    if facts.crlf and facts.cr:
        return r"lines end with \r\n or \r, and \r is learned; to change that: perl -pe 's/\r\n?/\n/g' FILE > NEW"
    if facts.crlf:
        return r"lines end with \r\n, and \r is learned; to change that: tr -d '\r' < FILE > NEW"
    return r"lines end with \r, which is learned; to change that: tr '\r' '\n' < FILE > NEW"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _print_course(run: Run, *, forecast: bool) -> None:
    """Print the notes, the length of the run and, if asked, a forecast of its time."""
    from charrnn.cli._console import tell
    from charrnn.training.budget import expected_seconds

    for sentence in run.notes:
        tell(f"Note: {sentence}")
    if forecast and (seconds := expected_seconds(run.training, run.state)) is not None:
        tell(f"about {seconds / 60:.1f} minutes, evaluations aside")
    config = run.training.config
    where = f", from step {run.state.step:,} on" if run.state.step else ""
    steps = "1 step" if config.steps == 1 else f"{config.steps:,} steps"
    tell(
        f"{steps} of {config.batch_size}x{config.seq_len} characters{where}, "
        f"{config.optimizer} at {config.learning_rate:g}, seed {config.seed}; run in {run.folder.path}"
    )


def _command(run: Run, **options: object) -> str:
    """Return a command line that trains on this run's corpus with these options, quoted for a shell."""
    return train_command(run.source.paths, options)


def _validated_on(run: Run) -> dict[str, Any]:
    """Return the option that names the validation file, if there is one."""
    return {"val_file": run.val_source.path} if run.val_source else {}


def _repeat(run: Run) -> str:
    """Return the command that repeats this run bit for bit: it names every setting that is not the default."""
    from charrnn.training.finetune import FREE

    if run.earlier_totals:
        return f"no single command: its length was raised when it had {run.earlier_totals[0]:,} steps"
    if run.text_config.document_rules != TextConfig.document_rules:
        return "no command: an earlier charrnn split its documents by other rules"
    config, elsewhere = run.training.config, set_elsewhere()
    usual = (
        vars(ModelConfig(1))
        | vars(TextConfig())
        | vars(TrainConfig(optimizer=config.optimizer))
        | {"optimizer": TrainConfig().optimizer}
    )
    actual: dict[str, Any] = vars(run.training.model_config) | vars(run.text_config) | vars(config)

    def is_named(name: str) -> bool:
        value = actual[name]
        inherits = run.init_from is not None and name in FREE  # from the earlier model, unless it is named
        return value is not None and (value != usual[name] or inherits or (name in elsewhere and value is not False))

    chosen = {name: actual[name] for name in setting_names() if is_named(name)}
    chosen |= _validated_on(run)
    chosen |= {"init_from": run.init_from} if run.init_from else {}
    return _command(run, **chosen)
