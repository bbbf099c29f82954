"""`charrnn info`: show the contents of a checkpoint."""

from __future__ import annotations

from dataclasses import asdict

import click

from charrnn.cli._command import SectionedCommand
from charrnn.cli._options import json_option, model_option

_SHOWN = 12  # newest evaluations, shown in the table


@click.command(cls=SectionedCommand, section="Runs and texts", short_help="Show what is in a checkpoint.")
@model_option
@json_option
def command(model_path: str | None, as_json: bool) -> None:
    """Show a model: its settings, its arrays, its vocabulary, how its training went, and which versions made it.

    \b
    Examples:
      charrnn info
      charrnn info -m corpus
      charrnn info -m checkpoints/corpus/last.npz --json | jq '.history[-1].val_loss'
    """
    from charrnn.cli._console import open_model, print_facts, print_json, print_table
    from charrnn.config import text_and_train_settings, total_steps
    from charrnn.data.files import describe_paths

    model = open_model(model_path)
    saved = model.checkpoint
    training = text_and_train_settings(saved.text_config, saved.train_config)
    parameters = sum(array.size for array in saved.params.values())
    total = total_steps(saved.train_config.steps, saved.train_config.length_changes)
    if as_json:
        print_json(
            {
                "path": str(model.path),
                "model": asdict(saved.model_config),
                "train": training,
                "parameters": {name: list(array.shape) for name, array in saved.params.items()},
                "parameters_total": parameters,
                "vocab": saved.vocab.to_dict(),
                "step": saved.step,
                "averaged": saved.averaged,
                "source": asdict(saved.source),
                "val_source": asdict(saved.val_source) if saved.val_source else None,
                "history": saved.history,
                "resumable": saved.state is not None,
                "versions": saved.versions,
            }
        )
        return
    symbols = saved.vocab.symbols
    kinds = [f"{len(symbols)} {saved.vocab.kind}", *(f"the {name} symbol" for name in saved.vocab.specials)]
    source = describe_paths(saved.source.paths) if saved.source.paths else "a text in memory"
    print_facts(
        {
            "File": str(model.path),
            "Trained on": f"{source} (sha256 {saved.source.sha256[:8]})",
            "Steps": f"{saved.step:,} of {total:,}" if total else f"{saved.step:,}",
            "Weights": "the running mean of those that training had" if saved.averaged else "as training left them",
            "Can be resumed": "no: best.npz serves inference" if saved.state is None else "yes",
            "Vocabulary": f"{' and '.join(kinds)}: {symbols[:60]!r}{'…' if len(symbols) > 60 else ''}",
            "Versions": ", ".join(f"{name} {version}" for name, version in saved.versions.items()),
            "Model": _in_words(asdict(saved.model_config)),
            "Training": _in_words(training),
        }
    )
    click.echo()
    rows = [(name, " x ".join(map(str, array.shape)), f"{array.size:,}") for name, array in saved.params.items()]
    print_table(("Array", "Shape", "Parameters"), [*rows, ("in all", "", f"{parameters:,}")], right=(2,))
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


def _in_words(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
