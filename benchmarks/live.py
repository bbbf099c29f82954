"""Measure what `charrnn train --live` costs: the same run with it and without, in turns, on a terminal of 100x40.

    python -m benchmarks.live corpus.txt --pairs 5 -- --steps 500 --threads 1

What follows `--` are options of `charrnn train`; the length must be in steps, since a budget of minutes would adapt.
A ratio is that of one pair: of the seconds of training in the logs, and of the processor time of the whole process.
Linux and macOS only.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path
from statistics import median

import click

from benchmarks.markdown import markdown_table
from benchmarks.picture import record

COLUMNS = ("live ÷ plain", "median", "lowest", "highest")


def measure(text: Path, options: tuple[str, ...], live: bool) -> tuple[float, float]:
    """Train once; return the seconds of training, and the processor time of the process, in seconds."""
    command = [sys.executable, "-m", "charrnn", "train", str(text), *options, "--seed", "1", "--out", "run"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        record([*command, *["--live"] * live], Path(folder))
        lines = (Path(folder) / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = next(line["seconds"] for line in map(json.loads, reversed(lines)) if "loss" in line)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command(help=__doc__)
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("options", nargs=-1)
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, help="Runs of each kind.")
def main(text: Path, options: tuple[str, ...], pairs: int) -> None:
    """Measure the pairs and print their ratios."""
    ratios = []
    for pair in range(pairs):
        found = {live: measure(text.resolve(), options, live) for live in (pair % 2 == 0, pair % 2 == 1)}
        ratios.append([live / plain for live, plain in zip(found[True], found[False], strict=True)])
        click.echo(f"pair {pair + 1}: {found[False][0]:.1f} s without, {found[True][0]:.1f} s with --live", err=True)
    names = ("seconds of training", "processor time")
    rows = [
        (name, *(f"{figure(each):.3f}" for figure in (median, min, max)))
        for name, each in zip(names, zip(*ratios, strict=True), strict=True)
    ]
    click.echo("\n".join(markdown_table(COLUMNS, rows)))


if __name__ == "__main__":
    main()
