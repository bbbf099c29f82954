"""Make the runs of docs/results.md that are missing or were slow, and update the page after each.

\b
    python -m benchmarks.records TEXTS --json docs/results.json --write docs/results.md
    python -m benchmarks.records TEXTS --json docs/results.json --rows "tinyshakespeare, 3" --seeds 1

TEXTS is the folder with the texts. Stop it at any time: the next call continues with the same row and seed. Runs in the
JSON file are not repeated; to repeat one, remove its line.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import click

from benchmarks import kept
from benchmarks.records import picture, report
from benchmarks.records.rows import ROWS
from benchmarks.records.runs import Run, counting, fill, is_slow, make
from charrnn.system.atomic import replacing
from charrnn.system.processor import set_kernel


@click.command(help=__doc__)
@click.argument("texts", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--json", "path", type=click.Path(path_type=Path), required=True, help="The file with the runs.")
@click.option("--write", "page", type=click.Path(path_type=Path), help="The page to write, with its picture beside it.")
@click.option("--rows", "only", default="", help='Only rows whose name contains this: "alice29", "10 minutes".')
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Runs of each row: 1, 2, …")
@click.option("--commit", is_flag=True, help="Commit these files after each run.")
def main(texts: Path, path: Path, page: Path | None, only: str, seeds: int, commit: bool) -> None:
    """Make the missing runs and write the page."""
    set_kernel()  # time the matrix products with the kernel that the command uses
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # ends the run's process too
    rows = [row for row in ROWS if only in row.name]
    if not rows:
        raise click.ClickException(f"no row is called like {only!r}: {'; '.join(row.name for row in ROWS)}")
    absent = sorted({row.text for row in rows if not (texts / row.text).is_file()})
    if absent:
        raise click.ClickException(f"{texts} lacks {', '.join(absent)}: put them there, or choose rows with --rows")
    if page and not find_spec("matplotlib"):
        click.echo('matplotlib is not installed: no picture is drawn; pip install ".[bench]"', err=True)
    runs = [Run(**row) for row in kept.load(path)]

    def keep(run: Run) -> None:
        kept.save(path, [asdict(one) for one in runs])
        files = [path, *(write(page, runs, seeds) if page else ())]
        slow = ", on a slow machine" if is_slow(run, runs) else ""
        message = f"Results: {run.row}, seed {run.seed}{slow}"
        click.echo(f"{message}: {run.loss:.4f} nats per character", err=True)
        if commit:
            commit_files(files, message)

    fill(rows, seeds, runs, partial(make, texts=texts), keep)
    if page:
        write(page, runs, seeds)
    slow = [f"{run.row}, seed {run.seed}" for row in rows for run in counting(row, runs) if is_slow(run, runs)]
    if slow:
        click.echo(f"the machine was slow, so run this again for: {'; '.join(slow)}", err=True)


def write(page: Path, runs: Sequence[Run], seeds: int) -> list[Path]:
    """Write the page, and its picture if matplotlib is installed; return the files that exist."""
    drawing = page.with_suffix(".svg")
    if find_spec("matplotlib"):
        picture.draw(ROWS, runs, drawing)
    there = [drawing] * drawing.exists()
    with replacing(page, "name another file with --write") as file:
        file.write(report.document(ROWS, runs, seeds, drawing.name if there else None).encode())
    return [page, *there]


def commit_files(files: Sequence[Path], message: str) -> None:
    """Commit these files and nothing else; if Git refuses, say so: the next commit includes them."""
    for words in (["add"], ["commit", "--quiet", "-m", message]):
        done = subprocess.run(["git", *words, "--", *map(str, files)], capture_output=True, text=True)
        if done.returncode:
            click.echo(f"not committed: {(done.stderr or done.stdout).strip()}", err=True)
            return


if __name__ == "__main__":
    main()
