"""Train models of real texts by the recipe, sample from them, check the samples, and write docs/samples.md.

\b
    python -m benchmarks.samples TEXTS --folder FOLDER --write docs/samples.md

TEXTS has names.txt, irish_abc.txt, tang_poems_zh.txt, alice29.txt and tinyshakespeare.txt. The runs are kept in FOLDER
and not repeated, so it can be stopped at any time. It takes 45 minutes in all.
"""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import click

from benchmarks.kept import processor
from benchmarks.samples.sections import SECTIONS, TEXTS, Workshop
from charrnn.system.atomic import replacing

INTRODUCTION = """\
# Samples

This page has samples from models of real texts, and shows how many of them are correct. Only the training time and the
kind of document were set; `charrnn train` chose the rest. No sample was picked by hand: each is the first that the
command writes, or the first that the check accepts. Every model and every sample has seed 1. `make samples
TEXTS=FOLDER` makes this page from the texts in the folder, in 45 minutes.
"""


@click.command(help=__doc__)
@click.argument("texts", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="The folder with the runs.")
@click.option("--write", "page", type=click.Path(path_type=Path), required=True, help="The page to write.")
def main(texts: Path, folder: Path, page: Path) -> None:
    """Make the missing runs and write the page."""
    if absent := [name for name in TEXTS if not (texts / name).is_file()]:
        raise click.ClickException(f"{texts} lacks {', '.join(absent)}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in TEXTS:
        shutil.copyfile(texts / name, folder / name)
    workshop = Workshop(folder)
    machine = f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}"
    parts = [INTRODUCTION + f"Machine: {machine}.\n", *("\n".join(section(workshop)) for section in SECTIONS)]
    with replacing(page, "name another file with --write") as file:
        file.write(("\n".join(parts) + "\n").encode())


if __name__ == "__main__":
    main()
