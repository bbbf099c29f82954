"""Train models of real texts by the recipe, let them write, check what they write, and make docs/samples.md of it.

\b
    python -m benchmarks.samples TEXTS --folder FOLDER --write docs/samples.md

TEXTS has names.txt, irish_abc.txt, tang_poems_zh.txt and alice29.txt. The runs stay in FOLDER; those that are there
are not made again, so it can be stopped at any time. All together it takes half an hour.
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
# What it writes

Models of real texts by the recipe, with nothing chosen but the time and where documents end; what they write, unpicked;
and how much of it is as it should be. `make samples TEXTS=FOLDER` makes this page from the texts in the folder, in half
an hour. Every model and every text is of seed 1.
"""


@click.command(help=__doc__)
@click.argument("texts", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="Where the runs are kept.")
@click.option("--write", "page", type=click.Path(path_type=Path), required=True, help="The page.")
def main(texts: Path, folder: Path, page: Path) -> None:
    """Make the runs that are missing, and write the page."""
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
