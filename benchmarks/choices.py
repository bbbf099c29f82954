"""Measure what a default is worth: train the same small model with each choice, and print the validation losses.

    python benchmarks/choices.py corpus.txt init
    python benchmarks/choices.py corpus.txt learning_rate --cell gru --steps 800

Every row is one choice; the figure is the validation loss after the same number of steps, one column a seed.
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
from charrnn.cells import CELL_NAMES
from charrnn.config import INIT_NAMES, OPTIMIZER_DEFAULTS, SCHEDULE_NAMES

CHOICES: dict[str, tuple[Any, ...]] = {
    "init": INIT_NAMES,
    "cell": CELL_NAMES,
    "optimizer": tuple(OPTIMIZER_DEFAULTS),
    "schedule": SCHEDULE_NAMES,
    "learning_rate": (2e-3, 4e-3, 8e-3, 1.6e-2),
    "dropout": (0.0, 0.15, 0.3, 0.5),
    "embed_size": (0, 16, 64),
    "beta2": (0.95, 0.99, 0.999),
    "seq_len": (50, 100, 200),
}


def validation_loss(corpus: str, **settings: Any) -> float:
    """Train once; return the last validation loss, nats per character."""
    with tempfile.TemporaryDirectory() as folder:
        reports = [event for event in charrnn.fit(corpus, folder, **settings) if isinstance(event, charrnn.Report)]
    loss = reports[-1].val_loss
    assert loss is not None
    return loss


@click.command()
@click.argument("corpus")
@click.argument("setting", type=click.Choice(tuple(CHOICES)))
@click.option("--cell", type=click.Choice(CELL_NAMES), default="lstm", show_default=True)
@click.option("--hidden-size", default=128, show_default=True)
@click.option("--steps", default=400, show_default=True)
@click.option("--seeds", default=2, show_default=True, help="Runs of each choice, with the seeds 1, 2, …")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the losses to this file too.")
def main(
    corpus: str, setting: str, cell: str, hidden_size: int, steps: int, seeds: int, json_path: Path | None
) -> None:
    """Compare the choices of SETTING on the text CORPUS."""
    common: dict[str, Any] = {"cell": cell, "hidden_size": hidden_size, "steps": steps, "eval_every": steps}
    results = {}
    table = Table(
        setting, *(f"seed {seed}" for seed in range(1, seeds + 1)), title=f"{steps} steps of {cell} 1x{hidden_size}"
    )
    for choice in CHOICES[setting]:
        losses = [validation_loss(corpus, **common | {setting: choice, "seed": seed}) for seed in range(1, seeds + 1)]
        results[str(choice)] = losses
        table.add_row(str(choice), *(f"{loss:.4f}" for loss in losses))
    Console().print(table)
    if json_path:
        json_path.write_text(json.dumps({"setting": setting, **common, "losses": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
