"""Run the recipes of docs/cookbook.md, and put each command's output below it.

    python -m benchmarks.cookbook TEXTS --write docs/cookbook.md

They run in a new folder where `texts` is the folder TEXTS. Commands that never end (`--follow`) are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks.speed.processes import environment

_BLOCK = re.compile(r"^```console\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def renewed(text: str, run: Callable[[str], str]) -> str:
    """Return the document with each command's output, from `run`, below it; skip commands that never end."""

    def block(match: re.Match[str]) -> str:
        shown = [line for line in match[1].splitlines() if line.startswith("$ ")]
        new = "".join(f"{line}\n{'' if '--follow' in line else _ended(run(line[2:]))}" for line in shown)
        return f"```console\n{new}```\n"

    return _BLOCK.sub(block, text)


def _ended(text: str) -> str:
    """Return the text with a newline at its end."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def run_in(folder: Path) -> Callable[[str], str]:
    """Return a function that runs a command in the folder and returns its output; `charrnn` is this checkout's."""
    shim = folder / "bin" / "charrnn"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m charrnn "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    env = environment() | {"PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}

    def run(command: str) -> str:
        click.echo(f"$ {command}", err=True)
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    return run


@click.command()
@click.argument("texts", type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True))
@click.option("--write", type=click.Path(path_type=Path, exists=True), required=True, help="The document to update.")
def main(texts: Path, write: Path) -> None:
    """Run the recipes of a document on the files of the folder TEXTS."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "texts").symlink_to(texts)
        text = renewed(write.read_text(encoding="utf-8"), run_in(Path(folder)))
    write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
