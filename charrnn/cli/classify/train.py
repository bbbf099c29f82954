"""`charrnn classify train`: train a classifier on labelled texts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from charrnn.cli._command import Conflict, SectionedCommand, complete_files, complete_runs, section, source_of
from charrnn.cli._new_run import with_imports
from charrnn.cli._options import settings
from charrnn.cli._signals import StopSignals
from charrnn.cli._training import carry_out, extend_command, open_and_train
from charrnn.config import CONFLICTS, ClassifierConfig, classifier_settings

if TYPE_CHECKING:
    from charrnn.classification.run import ClassifierRun

_files, _screen = section("Files"), section("Screen")
_NAMES = classifier_settings()

#: What a setting means for a classifier where it means something else for a language model, with its default.
_HELPS = {
    "cell": "Recurrent cell; mlstm is a multiplicative LSTM, ln stands for layer normalisation, MODULE:NAME is a cell "
    "of your own. [default: gru; lstm with --steps]",
    "weight_drop": "Share of the recurrent weights to drop in training. [default: 0]",
    "warmup_share": "Share of the run that the warm-up takes at most. [default: 0.1]",
    "epochs": "Train for this many passes through the texts.",
    "batch_size": "Number of texts in each training step. [default: auto; 32 with --steps]",
    "threads": "CPU cores. [default: 2 at most]",
    "patience": "Stop after this many evaluations without fewer errors; 0 for never. [default: 0]",
    "val_fraction": "Share of the texts in the validation split; 0 for none. [default: 0.1]",
    "test_fraction": "Share of the texts in the test split, which only `eval --test` uses. [default: 0]",
}

#: The options that people use most, for the first screen of the help.
_BASICS = (
    "minutes",
    "epochs",
    "cell",
    "hidden_size",
    "pool",
    "balance",
    "text_field",
    "label_field",
    "out",
    "resume",
    "init_from",
    "seed",
)


@click.command(
    cls=SectionedCommand,
    basics=_BASICS,
    conflicts=(
        *(
            Conflict(message, (*names, "!resume"))
            for names, message in CONFLICTS
            if all(name in _NAMES for name in names)
        ),
        Conflict("--val-file and --val-fraction cannot be combined: give one", ("val_file", "val_fraction", "!resume")),
        Conflict("--resume continues a run: leave out --force and --init-from", ("resume", "force")),
        Conflict("--resume continues a run: leave out --force and --init-from", ("resume", "init_from")),
        Conflict("--text-field needs --label-field: name the field with the labels", ("text_field", "!label_field")),
        Conflict("--label-field needs --text-field: name the field with the texts", ("label_field", "!text_field")),
    ),
)
@click.argument("texts", metavar="[TEXTS]...", nargs=-1, shell_complete=complete_files)
@settings(*_NAMES, more=(ClassifierConfig,), helps=_HELPS)
@_files(
    "--init-from",
    metavar="MODEL",
    multiple=True,
    shell_complete=complete_runs,
    help="Start from the weights of a language model; give a second one, of train --reverse, for both directions.",
)
@_files(
    "--val-file",
    metavar="TEXTS",
    shell_complete=complete_files,
    help="Validate on these labelled texts and train on all others.",
)
@_files(
    "--out",
    metavar="FOLDER",
    shell_complete=complete_files,
    help="Write the run to this folder. [default: ./checkpoints/<name of TEXTS>]",
)
@_files("--resume", is_flag=True, allow_from_autoenv=False, help="Continue the run of TEXTS or --out.")
@_files("--force", is_flag=True, allow_from_autoenv=False, help="Replace the run that is already in the folder.")
@_screen("--verbose", is_flag=True, help="Also print the reasons for settings.")
@_screen("--quiet", is_flag=True, help="Print only errors.")
def command(texts: tuple[str, ...], **options: Any) -> None:
    """Train a classifier on labelled texts: files, folders, or "-" for stdin.

    A folder with a file for each label has a text on each line. A folder with a
    subfolder for each label has a text in each file. Other files have lines of
    a label, a tab and a text, or records with --text-field and --label-field.

    A share of the texts is held back: --val-fraction of them for validation,
    --test-fraction for `classify eval --test`. No text is in two splits.

    Without --steps or --epochs, charrnn trains for at most --minutes (default
    5) and chooses every "auto" setting that you leave out. The run folder gets
    best.npz (fewest errors), last.npz and log.jsonl.

    \b
    Examples:
      charrnn classify train names18 --minutes 1
      charrnn classify train reviews.csv --text-field text --label-field stars
      charrnn classify train spam.tsv --epochs 10 --pool mean
      charrnn classify train names18 --resume --minutes 1
    """
    began = time.monotonic()
    open_and_train(
        lambda: _open(texts, options, began), lambda run, signals: _train(run, options, signals), quiet=options["quiet"]
    )


def _open(texts: tuple[str, ...], options: dict[str, Any], began: float) -> ClassifierRun:
    """Start or resume the run that the options ask for, and describe it."""
    from charrnn.classification.run import ClassifierRun
    from charrnn.data.corpus import Corpus
    from charrnn.errors import ConfigError
    from charrnn.training.folder import RUNS, find_model

    given = {name: options[name] for name in _NAMES if options[name] is not None}
    out = Path(options["out"]) if options["out"] else None
    ready = None if options["quiet"] else _describe
    if options["resume"]:
        if not out and not texts:
            raise ConfigError("--resume needs a run: give its TEXTS, or its folder with --out")
        typed = {name: value for name, value in given.items() if source_of(name) is ParameterSource.COMMANDLINE}
        folder = out or RUNS / Corpus.name_of(texts[0])
        return ClassifierRun.resume(folder, texts, options["val_file"], settings=typed, began=began, ready=ready)
    if not texts:
        raise click.UsageError("Missing argument 'TEXTS': name labelled texts to train on.")
    return ClassifierRun.start(
        texts,
        out,
        settings=given,
        val_path=options["val_file"],
        init_from=[find_model(name) for name in options["init_from"]],
        force=options["force"],
        began=began,
        ready=ready,
    )


def _train(run: ClassifierRun, options: dict[str, Any], signals: StopSignals) -> None:
    from charrnn.cli._label_screen import LabelScreen, closing_figures

    def words(command: str) -> str:
        return with_imports(["charrnn", "classify", command, "-m", str(run.folder.path)])

    carry_out(
        run,
        signals,
        quiet=options["quiet"],
        plan=lambda: _print_plan(run, verbose=options["verbose"]),
        screen_of=lambda: LabelScreen(run, quiet=options["quiet"], verbose=options["verbose"], sample_every=0),
        closing=lambda screen: (
            closing_figures(run)
            | {
                "Evaluate": words("eval"),
                "Predict": words("predict"),
                "Extend": extend_command(run),
                "Repeat": _repeat_command(run),
            }
        ),
    )


def _describe(run: ClassifierRun) -> None:
    """Print what is trained on what."""
    from charrnn.cli._console import print_fact

    training, config = run.training, run.training.model_config
    own = training.settings
    weights = sum(array.size for array in run.state.params.values())
    layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    both = "in both directions" if own.bidirectional else "forwards"
    print_fact(
        "Texts",
        f"{len(training.stream.texts):,} for training, {len(training.val):,} for validation; "
        f"{len(own.labels):,} labels",
    )
    print_fact(
        "Model", f"{config.cell}, {layers} of {config.hidden_size} units {both}, {own.pool}; {weights:,} parameters"
    )


def _print_plan(run: ClassifierRun, *, verbose: bool) -> None:
    """Print the length of the run, and the notes."""
    from charrnn.cli._console import duration, print_fact, print_sentence

    config, total = run.config, run.state.course.total
    takes = "" if run.timer is None else f" in about {duration(run.timer.seconds_left(run.training, run.state))}"
    epochs = total / run.training.stream.steps_per_epoch
    since = f" from step {run.state.step:,}" if run.state.step else ""
    print_fact("Run", f"{total:,} steps, {epochs:.3g} epochs{since}{takes}, seed {config.seed}, in {run.folder.path}")
    if verbose:
        print_sentence(f"{config.batch_size} texts per step, {config.optimizer} at {config.learning_rate:g}")
        for reason in run.reasons:
            print_sentence(reason)
    for sentence in run.notes:
        print_sentence(f"Note: {sentence}")


def _repeat_command(run: ClassifierRun) -> str:
    """Return the command that repeats the run: it names every setting that is not the default."""
    from charrnn.config import ModelConfig, TextConfig, TrainConfig

    if not run.source.paths:
        return "no command: the texts were not in a file"
    optimizer = run.config.optimizer
    usual = (
        vars(ModelConfig(1)) | vars(TextConfig()) | vars(TrainConfig(optimizer=optimizer)) | vars(ClassifierConfig())
    )
    usual |= {"optimizer": TrainConfig().optimizer}
    now = vars(run.training.model_config) | vars(run.text_config) | vars(run.config) | vars(run.training.settings)
    chosen = {name: now[name] for name in _NAMES if now[name] is not None and now[name] != usual[name]}
    chosen |= run.validated_on
    words = run.command(**chosen)
    for path in run.init_from.split("\n") if run.init_from else ():
        words += ["--init-from", path]
    return with_imports(words)
