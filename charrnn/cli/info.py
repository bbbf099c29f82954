"""`charrnn info`: show the contents of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli._command import SectionedCommand
from charrnn.cli._options import either, json_option, model_option, run_argument

if TYPE_CHECKING:
    from pathlib import Path

    from charrnn.checkpoint import Checkpoint
    from charrnn.training.catalog import RunSummary
    from charrnn.training.folder import RunFolder

_SHOWN = 12  # newest evaluations, shown in the table
_SYMBOLS = 50  # first characters of the vocabulary, shown in the table


@click.command(
    cls=SectionedCommand,
    conflicts=(either("run", "model_path"),),
)
@run_argument()
@model_option
@json_option
def command(run: str | None, model_path: str | None, as_json: bool) -> None:
    """Show a model's text, settings, arrays, vocabulary and training history, and how to resume it.

    RUN is a run's name, its folder, or a .npz file.

    \b
    Examples:
      charrnn info
      charrnn info names
      charrnn info checkpoints/names/last.npz --json | jq '.history[-1].val_loss'
    """
    from charrnn import checkpoint as ckpt
    from charrnn.cli._console import note_model, print_json
    from charrnn.config import text_and_train_settings
    from charrnn.training.folder import find_model

    name = run or model_path
    path = find_model(name, classifier=None)
    saved = ckpt.load(path)
    note_model(path, name)
    settings = saved.settings()
    if not as_json:
        _print(saved, path)
        return
    print_json(
        {
            "path": str(path),
            "model": settings["Model"],
            "train": text_and_train_settings(saved.text_config, saved.train_config) | settings["Training"],
            "parameters": {name: list(array.shape) for name, array in saved.params.items()},
            "parameters_total": sum(array.size for array in saved.params.values()),
            "classifier": saved.classifier and asdict(saved.classifier),
            "vocab": saved.vocab.to_dict(),
            "step": saved.step,
            "averaged": saved.averaged,
            "source": saved.source._asdict(),
            "val_source": saved.val_source._asdict() if saved.val_source else None,
            "history": saved.history,
            "resumable": saved.state is not None,
            "versions": saved.versions,
        }
    )


def _print(saved: Checkpoint, path: Path) -> None:
    """Print the tables: facts by section, arrays, and the newest evaluations."""
    from charrnn.cli._console import print_sections, print_table
    from charrnn.training.catalog import summary
    from charrnn.training.folder import RunFolder

    folder = RunFolder(path.parent)
    run = summary(folder) if path in folder.files() else None
    settings = saved.settings()
    if saved.classifier is not None:
        settings = {title: _of_classifiers(values) for title, values in settings.items()}
    sections = {
        "File": _file(saved, path, folder, run),
        "Text": _text(saved),
        "Model": _settings(settings["Model"]),
    }
    if saved.classifier is not None:
        labels = ", ".join(saved.classifier.labels)
        sections["Classifier"] = _settings(asdict(saved.classifier) | {"labels": labels})
    if not saved.is_imported:
        sections |= {"Training": _settings(settings["Training"]), "Result": _result(saved, path, run)}
    print_sections(sections)
    total = sum(array.size for array in saved.params.values())
    rows = [(name, " x ".join(map(str, array.shape)), f"{array.size:,}") for name, array in saved.params.items()]
    click.echo()
    print_table(("Array", "Shape", "Parameters"), [*rows, ("total", "", f"{total:,}")], right=(2,))
    if saved.history:
        click.echo()
        print_table(
            ("Step", "Epoch", "Loss", "Validation loss", "Rate"),
            [
                (
                    f"{line['step']:,}",
                    f"{line['epoch']:.2f}",
                    f"{line['loss']:.4f}",
                    "-" if line["val_loss"] is None else f"{line['val_loss']:.4f}",
                    f"{line['learning_rate']:.3g}",
                )
                for line in saved.history[-_SHOWN:]
            ],
            right=range(5),
        )


def _file(saved: Checkpoint, path: Path, folder: RunFolder, run: RunSummary | None) -> dict[str, str]:
    """Return the path, what the file is for, how its run can be resumed, and the versions that wrote it."""
    use = "sample, eval, score, serve" if saved.classifier is None else "classify predict, classify eval"
    return {
        "Path": str(path),
        "Use": use if saved.state is None else f"resume the run, {use}",
        "Weights": _weights(saved),
        "Resume": _resume(saved, path, folder, run),
        "Written by": ", ".join(f"{name} {version}" for name, version in saved.versions.items()),
    }


def _weights(saved: Checkpoint) -> str:
    """Return where the weights come from."""
    if saved.is_imported:
        return "imported from another library"
    return "running mean of those in training" if saved.averaged else "as training left them"


def _resume(saved: Checkpoint, path: Path, folder: RunFolder, run: RunSummary | None) -> str:
    """Return the command that resumes the run of a checkpoint, or why there is none."""
    from charrnn.cli._new_run import on_ranks, train_command, with_imports
    from charrnn.config import DEFAULT_MINUTES, STDIN, train_words

    known = saved.source.paths and STDIN not in saved.source.paths
    if saved.is_imported:
        further = train_command(saved.source.paths if known else ("TEXT",), {"init_from": path})
        return f"not possible: it was not trained here; to train it further: {further}"
    if run is None or run.finished is None:
        return "not possible: there is no last.npz beside it" if saved.state is None else "rename it to last.npz first"
    paths = () if known else ("TEXT",)

    def command(**longer: object) -> str:
        options = {"resume": True, "out": folder.path} | longer
        words = train_words(paths, options, classifier=saved.classifier is not None)
        return on_ranks(saved.train_config.ranks, with_imports(words))

    if not run.finished:
        return command()
    if (run.step or 0) < (run.steps or 0):
        return f"last.npz stopped early; to continue: {command(patience=0)}"
    return f"last.npz is complete; to extend it: {command(minutes=f'{DEFAULT_MINUTES:g}')}"


def _text(saved: Checkpoint) -> dict[str, str]:
    """Return the corpus, how it was read where that is not the default, and the vocabulary."""
    from charrnn.config import default_of
    from charrnn.data.files import describe_paths
    from charrnn.data.source import UNKNOWN

    source, vocab = saved.source, saved.vocab
    kinds = [f"{len(vocab.symbols)} {vocab.kind}", *(f"the {name} symbol" for name in vocab.specials)]
    settings = {name: value for name, value in asdict(saved.text_config).items() if value != default_of(name)}
    if source == UNKNOWN:
        settings.pop("val_fraction")
        origin = {"Trained on": "unknown: it was imported without its corpus"}
    else:
        trained_on = describe_paths(source.paths) if source.paths else "a text in memory"
        origin = {"Trained on": trained_on, "SHA-256": source.sha256[:8]}
    return {
        **origin,
        **_settings(settings),
        "Vocabulary": f"{' and '.join(kinds)}: {vocab.symbols[:_SYMBOLS]!r}{'…' * (len(vocab.symbols) > _SYMBOLS)}",
    }


def _of_classifiers(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without those of language models alone."""
    from charrnn.config import NOT_OF_CLASSIFIERS

    return {name: value for name, value in settings.items() if name not in NOT_OF_CLASSIFIERS}


def _settings(settings: dict[str, Any]) -> dict[str, str]:
    """Return the settings that have a value, for the reader."""
    return {
        name.replace("_", " ").capitalize(): f"{value:,}" if type(value) is int and name != "seed" else str(value)
        for name, value in settings.items()
        if value is not None
    }


def _result(saved: Checkpoint, path: Path, run: RunSummary | None) -> dict[str, str]:
    """Return how far training went, how good the model is, and on which characters that was measured."""
    from charrnn import checkpoint as ckpt
    from charrnn.config import total_steps
    from charrnn.nn.functional import bits
    from charrnn.training.validation import Validation, badness_of

    total = total_steps(saved.train_config.steps, saved.train_config.length_changes)
    steps = f"{saved.step:,}" + (f" of {total:,}" if total else "")
    facts = {"Steps": steps}
    evaluated = [line for line in saved.history if line["val_loss"] is not None]
    if evaluated and (validation := Validation.of(ckpt.read_meta(path))):
        best = min(evaluated, key=badness_of)
        unit = "character" if saved.classifier is None else "text"
        facts["Best loss"] = f"{best['val_loss']:.4f} nats per {unit} at step {best['step']:,}"
        if saved.classifier is None:
            facts["Bits per character"] = f"{bits(best['val_loss']):.4f}"
        else:
            facts["Accuracy"] = f"{best['val_accuracy']:.1%} of the validation texts right"
        if saved.cache is not None:
            facts["Memory"] = (
                f"looks back {saved.cache.size:,} characters" if saved.cache.size else "off: it does not help"
            )
        facts["Validated on"] = validation.in_words()
        facts["Signature"] = validation.signature
    if run and run.seconds is not None:
        facts["Time"] = f"{run.seconds / 60:.1f} minutes"
    return facts
