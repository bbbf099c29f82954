"""Train on each text by the recipe, and again with one thing changed; write what that bought and cost.

    python -m benchmarks.ablations tinyshakespeare.txt alice29.txt --minutes 2 --json ablations.json
    python -m benchmarks.ablations tinyshakespeare.txt --only dropout --seeds 3 --json ablations.json

Rows that stand in the JSON file already are not run again, so it can be stopped at any time and goes on where it was.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import charrnn
from benchmarks import kept

#: By name, what is given to the recipe, which chooses the rest.
ABLATIONS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "cell gru": {"cell": "gru"},
    "cell lnlstm": {"cell": "lnlstm"},
    "layers 2": {"num_layers": 2},
    "embedding 64": {"embed_size": 64},
    "embedding 64, input dropout 0.1": {"embed_size": 64, "input_dropout": 0.1},
    "dropout 0": {"dropout": 0.0},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.4": {"dropout": 0.4},
    "dropout 0.6": {"dropout": 0.6},
    "weight-drop 0.2": {"weight_drop": 0.2},
    "weight-drop 0.4": {"weight_drop": 0.4},
    "no mean of the weights": {"average": 0.0},
    "rate 4e-3": {"learning_rate": 4e-3},
    "rate 1.6e-2": {"learning_rate": 1.6e-2},
    "weight decay 0": {"weight_decay": 0.0},
    "weight decay 0.05": {"weight_decay": 0.05},
    "beta1 0": {"beta1": 0.0},
    "window 50": {"seq_len": 50},
    "window 200": {"seq_len": 200},
    "batch 16": {"batch_size": 16},
    "batch 64": {"batch_size": 64},
}


def row(text: str, name: str, minutes: float, seed: int) -> dict[str, Any]:
    """Return what a run came to: loss in nats per character, on the validation part."""
    with tempfile.TemporaryDirectory() as folder:
        reports = [
            event
            for event in charrnn.fit(text, folder, minutes=minutes, seed=seed, **ABLATIONS[name])
            if isinstance(event, charrnn.Report)
        ]
        last = json.loads(Path(folder, "log.jsonl").read_text().splitlines()[-1])
    best = min((report for report in reports if report.val_loss is not None), key=lambda report: report.val_loss or 0)
    return {
        "text": Path(text).name,
        "ablation": name,
        "minutes": minutes,
        "seed": seed,
        "loss": best.val_loss,
        "best_step": best.step,
        "steps": last["step"],
        "passes": last["epoch"],
        "seconds": last["seconds"],
        "training_loss": last["loss"],
        "processor": kept.processor(),
    }


@click.command(help=__doc__)
@click.argument("texts", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--minutes", default=2.0, show_default=True, help="Of each run.")
@click.option("--seeds", default=1, show_default=True, help="Runs of each row, with the seeds 1, 2, …")
@click.option("--only", default="", help="Only the rows with this in their name, and the recipe's.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True, help="Where the rows are kept.")
def main(texts: tuple[str, ...], minutes: float, seeds: int, only: str, path: Path) -> None:
    """Run what is missing, and show the table."""
    rows = kept.load(path)
    names = [name for name in ABLATIONS if only in name or name == "recipe"]
    progress = Console(stderr=True)
    for text in texts:
        for seed in range(1, seeds + 1):
            for name in names:
                if any(
                    (have["text"], have["ablation"], have["minutes"], have["seed"])
                    == (Path(text).name, name, minutes, seed)
                    for have in rows
                ):
                    continue
                rows.append(row(text, name, minutes, seed))
                progress.print(f"{rows[-1]['text']}, seed {seed}, {name}: {rows[-1]['loss']:.4f}", highlight=False)
                kept.save(path, rows)
    for text in texts:
        Console().print(table(Path(text).name, [have for have in rows if have["minutes"] == minutes], names))


def table(text: str, rows: list[dict[str, Any]], names: list[str]) -> Table:
    """Return the rows of a text: losses, and what each is above or below the recipe's of the same seed."""
    shown = Table("", "nats per character", "against the recipe", "steps", "passes", title=text)
    of_text = [have for have in rows if have["text"] == text]
    recipe = {have["seed"]: have["loss"] for have in of_text if have["ablation"] == "recipe"}
    for name in names:
        found = [have for have in of_text if have["ablation"] == name]
        shown.add_row(
            name,
            ", ".join(f"{have['loss']:.4f}" for have in found),
            ", ".join(f"{have['loss'] - recipe[have['seed']]:+.4f}" for have in found if have["seed"] in recipe),
            ", ".join(f"{have['steps']:,}" for have in found),
            ", ".join(f"{have['passes']:.1f}" for have in found),
        )
    return shown


if __name__ == "__main__":
    main()
