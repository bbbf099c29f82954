"""Compare the training speeds that `charrnn doctor` reports with those of real runs.

    python -m benchmarks.rates
    python -m benchmarks.rates --only lnlstm --rounds 5

In each round, the doctor measures and then a run of each size trains, both as commands. The speed of a run is the
median in its log.jsonl, without its first line, in which buffers are allocated. Figures are medians of the rounds.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from benchmarks.commands import charrnn
from benchmarks.markdown import markdown_table
from charrnn.config import ModelConfig, TrainConfig
from charrnn.doctor.machine import SIZES

CHARS, LINES = 400_000, 6  # of the random text; lines in the log of a run
HEADS = ("", "doctor, characters per second", "a run", "doctor is off by")


def write_text(path: Path) -> None:
    """Write a random text with as many symbols as the doctor's."""
    ids = np.random.default_rng(0).permutation(np.arange(CHARS) % next(iter(SIZES.values())).vocab_size)
    path.write_text("".join(chr(ord("0") + id_) for id_ in ids.tolist()), encoding="ascii")


def run_speed(folder: Path, config: ModelConfig, rate: float, seconds: float) -> float:
    """Return the speed of a run of about this length, in characters per second."""
    step = TrainConfig().batch_size * TrainConfig().seq_len / rate
    every = max(1, round(seconds / LINES / step))
    size = ("--cell", config.cell, "--num-layers", str(config.num_layers), "--hidden-size", str(config.hidden_size))
    length = ("--steps", str(LINES * every), "--log-every", str(every), "--eval-every", str(LINES * every))
    charrnn(folder, "train", "text.txt", *size, *length, "--val-fraction", "0", "--out", "run", "--force", "--quiet")
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return median(line["chars_per_second"] for line in lines[1:])


@click.command()
@click.option("--only", default="", help='Only sizes whose name contains this: "lnlstm", "1x128".')
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=6.0, show_default=True, help="About how long each run trains.")
def main(only: str, rounds: int, seconds: float) -> None:
    """Print how far the doctor's speeds are from those of real runs."""
    sizes = {name: config for name, config in SIZES.items() if only in name}
    said: dict[str, list[float]] = {name: [] for name in sizes}
    ran: dict[str, list[float]] = {name: [] for name in sizes}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_text(folder / "text.txt")
        for _ in range(rounds):
            machine: dict[str, Any] = json.loads(charrnn(folder, "doctor", "--json"))
            for name, config in sizes.items():
                said[name].append(machine["speed"]["sizes"][name])
                ran[name].append(run_speed(folder, config, said[name][-1], seconds))
                click.echo(f"{name}: {said[name][-1]:,.0f} and {ran[name][-1]:,.0f}", err=True)
    rows = []
    for name in sizes:
        off = median(a / b for a, b in zip(said[name], ran[name], strict=True)) - 1
        rows.append([name, f"{median(said[name]):,.0f}", f"{median(ran[name]):,.0f}", f"{100 * off:+.0f} %"])
    click.echo("\n".join(markdown_table(HEADS, rows)))


if __name__ == "__main__":
    main()
