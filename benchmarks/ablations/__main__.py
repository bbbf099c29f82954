"""Train on each text by the recipe, then with one setting changed; print the gain and cost of each change.

\b
    python -m benchmarks.ablations tinyshakespeare.txt irish_abc.txt --minutes 2 --json docs/ablations.json
    python -m benchmarks.ablations tinyshakespeare.txt --only dropout --seeds 3 --json dropout.json

The recipe's run takes the given minutes. A changed run keeps all other settings and gets as many steps as fit into the
same time; both are timed in turns first, so that a busy machine favours neither. The last twentieth of each text is not
used; the twentieth before it is the validation split.

Rows in the JSON file are not repeated, so you can stop at any time and continue later. With one thread per run
(OPENBLAS_NUM_THREADS=1), run one command per core, each with its own file; several --json options merge the rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from rich.console import Console

import charrnn
from benchmarks import kept
from benchmarks.markdown import markdown_table
from charrnn.config import ModelConfig, TextConfig, sort_settings
from charrnn.data.corpus import Corpus
from charrnn.nn import model
from charrnn.training import budget
from charrnn.training.recipe import AVERAGED_SHARE
from charrnn.training.setup import training_for, vocab_for

#: The changed settings, by the name of the row.
ABLATIONS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "`--cell lstm`": {"cell": "lstm"},
    "`--cell gru`": {"cell": "gru"},
    "`--cell lnmlstm`": {"cell": "lnmlstm"},
    "`--cell mlstm`": {"cell": "mlstm"},
    "`--cell mingru --num-layers 3`": {"cell": "mingru", "num_layers": 3},
    "`--num-layers 2`": {"num_layers": 2},
    "`--hidden-size 128`": {"hidden_size": 128},
    "`--hidden-size 384`": {"hidden_size": 384},
    "`--embed-size 64`": {"embed_size": 64},
    "`--embed-size 64 --input-dropout 0.1`": {"embed_size": 64, "input_dropout": 0.1},
    "`--embed-size 0`, one-hot rows": {"embed_size": 0, "tied": False},
    "`--attention 300`": {"attention": 300},
    "`--dropout 0`": {"dropout": 0.0},
    "`--dropout 0.3`": {"dropout": 0.3},
    "`--dropout 0.6`": {"dropout": 0.6},
    "`--weight-drop 0`": {"weight_drop": 0.0},
    "`--weight-drop 0.3`": {"weight_drop": 0.3},
    "`--average 0`, no mean of the weights": {"average": 0.0},
    "`--learning-rate 4e-3`": {"learning_rate": 4e-3},
    "`--learning-rate 1.6e-2`": {"learning_rate": 1.6e-2},
    "`--weight-decay 0`": {"weight_decay": 0.0},
    "`--beta1 0`": {"beta1": 0.0},
    "`--reset-rate 0`": {"reset_rate": 0.0},
    "`--seq-len 50`": {"seq_len": 50},
    "`--seq-len 200`": {"seq_len": 200},
    "`--batch-size 16`": {"batch_size": 16},
    "`--batch-size 64`": {"batch_size": 64},
    "`--embed-size 64 --batch-size 16`": {"embed_size": 64, "batch_size": 16},
    "`--schedule constant`": {"schedule": "constant"},
}
SPLITS = {"val_fraction": 0.05, "test_fraction": 0.05}
_MODEL = ("cell", "num_layers", "hidden_size", "embed_size", "tied", "dropout", "weight_drop", "attention")
_TRAINING = ("learning_rate", "reset_rate", "val_chars", "batch_size", "seq_len", "threads")
_ROUNDS, _SECONDS = 5, 0.5  # for timing a change and the recipe in turns


def run(text: str, seed: int, **settings: Any) -> dict[str, Any]:
    """Train once and return the row; losses are nats per character on the validation split."""
    with tempfile.TemporaryDirectory() as folder:
        events = list(charrnn.fit(text, folder, seed=seed, **SPLITS, **settings))
        checkpoint = charrnn.load(folder).checkpoint
    reports = [event for event in events if isinstance(event, charrnn.Report)]
    evaluated = [(report.val_loss, report.step) for report in reports if report.val_loss is not None]
    loss, best_step = min(evaluated)
    chosen = {name: vars(checkpoint.model_config)[name] for name in _MODEL}
    return {
        "text": Path(text).name,
        "seed": seed,
        "loss": loss,
        "best_step": best_step,
        "final_loss": evaluated[-1][0],
        "recoveries": sum(isinstance(event, charrnn.Recovered) for event in events),
        "steps": reports[-1].step,
        "chars": sum(report.chars for report in reports),
        "passes": round(reports[-1].epoch, 2),
        "training_loss": reports[-1].loss,
        "settings": chosen | {name: vars(checkpoint.train_config)[name] for name in _TRAINING},
        "processor": kept.processor(),
    }


def changed(recipe: dict[str, Any], text: str, change: dict[str, Any]) -> dict[str, Any] | None:
    """Train with one setting changed, in the recipe's time; None if the change is the recipe's own setting."""
    settings = recipe["settings"] | change
    if settings == recipe["settings"]:
        return None
    batch = settings["batch_size"] * settings["seq_len"]
    steps = max(1, round(recipe["chars"] * speed(text, settings, recipe["settings"]) / batch))
    return run(text, recipe["seed"], steps=steps, **{"average": max(0.0, 1 - AVERAGED_SHARE / steps)} | settings)


def speed(text: str, *settings: dict[str, Any]) -> float:
    """Return the training speed of the first settings relative to the second, in characters per second."""
    corpus = Corpus.read(text, TextConfig(**SPLITS))
    with ExitStack() as stack:
        timed = []
        for one in settings:
            of_model, text_config, config = sort_settings(one | SPLITS | {"steps": 1, "seed": 1})
            vocab = vocab_for(corpus, text_config)
            model_config = ModelConfig(vocab.size, **of_model)
            training, _ = training_for(corpus, vocab, model_config, config)
            state = training.begin(model.init_params(model_config, np.random.default_rng(0)))
            timed.append((training, state, stack.enter_context(training.workers())))
        rounds = [[budget.char_seconds(*one, _SECONDS) for one in timed] for _ in range(_ROUNDS)]
    return median(second / first for first, second in rounds)


@click.command(help=__doc__)
@click.argument("texts", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--minutes", default=2.0, show_default=True, help="Time of each run.")
@click.option("--seeds", default=1, show_default=True, help="Runs per row, with seeds 1, 2, …")
@click.option("--only", default="", help="Only the recipe's row and rows whose name contains this.")
@click.option(
    "--json",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="The file with the rows; the first of several is written, the others are only read.",
)
def main(texts: tuple[str, ...], minutes: float, seeds: int, only: str, paths: tuple[Path, ...]) -> None:
    """Run the missing rows and print the table."""
    if not any(only in name for name in ABLATIONS):
        raise click.ClickException(f"no row has {only!r} in its name: {', '.join(ABLATIONS)}")
    names = [name for name in ABLATIONS if only in name or name == "recipe"]
    found = {
        (have["text"], have["ablation"], have["minutes"], have["seed"]): have
        for path in paths
        for have in kept.load(path)
    }
    progress = Console(stderr=True)
    for text in texts:
        for seed in range(1, seeds + 1):
            for name in names:
                key = (Path(text).name, name, minutes, seed)
                if key in found:
                    continue
                if name == "recipe":
                    row = run(text, seed, minutes=minutes)
                elif (row := changed(found[Path(text).name, "recipe", minutes, seed], text, ABLATIONS[name])) is None:
                    continue
                found[key] = {"ablation": name, "minutes": minutes} | row
                progress.print(f"{row['text']}, seed {seed}, {name}: {row['loss']:.4f}", highlight=False)
                kept.save(paths[0], list(found.values()))
    kept.save(paths[0], list(found.values()))
    shown = [have for have in found.values() if have["minutes"] == minutes]
    click.echo("\n".join(table(shown, [Path(text).name for text in texts], names)))


def table(rows: Sequence[dict[str, Any]], texts: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the table: each row's loss minus the recipe's of the same seed, and its relative characters read."""
    found = {(have["text"], have["ablation"], have["seed"]): have for have in rows}

    def cells(name: str) -> list[str]:
        columns = []
        for text in texts:
            runs = [have for have in rows if (have["text"], have["ablation"]) == (text, name)]
            if name == "recipe":
                columns += [
                    ", ".join(f"{run['loss']:.4f}" for run in runs),
                    ", ".join(f"{run['chars']:,}" for run in runs),
                ]
                continue
            pairs = [(run, found[text, "recipe", run["seed"]]) for run in runs]
            columns += [
                ", ".join(f"{run['loss'] - recipe['loss']:+.4f}" for run, recipe in pairs),
                ", ".join(f"{run['chars'] / recipe['chars']:.2f}" for run, recipe in pairs),
            ]
        return columns

    heads = [head for text in texts for head in (text, "read")]
    return markdown_table(("", *heads), [(name, *cells(name)) for name in names])


if __name__ == "__main__":
    main()
