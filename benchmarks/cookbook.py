"""Run the recipes of docs/cookbook.md, and put each command's output below it.

    python -m benchmarks.cookbook TEXTS --write docs/cookbook.md

They run in a new folder where `texts` is the folder TEXTS. Commands that never end (`--follow`) are skipped, and so are
recipes whose program is not installed; they keep the output they have.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click

from benchmarks.speed.processes import environment

_BLOCK = re.compile(r"^```console\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^```\w+ (\S+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_PROGRAMS = ("parallel", "sbatch", "srun")  # that few have: only the blocks that run them need them


def lacking(block: str, path: str) -> list[str]:
    """Return the programs and packages that a block's commands need, and that are not installed.

    path: the folders of programs, as in the variable PATH
    """
    named = [name for name in _PROGRAMS if re.search(rf"^\$ {name} ", block, re.MULTILINE)]
    absent = [name for name in named if shutil.which(name, path=path) is None]
    return absent + ["dask[distributed]"] * ("dask" in block and find_spec("distributed") is None)


def save_files(text: str, folder: Path) -> None:
    """Write the files that the document shows, such as that of "```python NAME", into the folder."""
    for name, content in _FILE.findall(text):
        (folder / name).write_text(content, encoding="utf-8")


def renewed(text: str, run: Callable[[str], str], lacks: Callable[[str], list[str]] = lambda block: []) -> str:
    """Return the document with each command's output, from `run`, below it; skip commands that never end.

    lacks: returns what a block needs and this machine has not; such a block stays unchanged
    """

    def block(match: re.Match[str]) -> str:
        if absent := lacks(match[1]):
            click.echo(f"Skipped, since {', '.join(absent)} is missing:\n{match[1]}", err=True)
            return match[0]
        shown = [line for line in match[1].splitlines() if line.startswith("$ ")]
        new = "".join(f"{line}\n{'' if '--follow' in line else _ended(run(line[2:]))}" for line in shown)
        return f"```console\n{new}```\n"

    return _BLOCK.sub(block, text)


#: The folders of programs; `python` is the one that runs this.
_PATH = os.pathsep.join([f"{Path(sys.executable).parent}", os.environ.get("PATH", os.defpath)])


def _ended(text: str) -> str:
    """Return the text with a newline at its end."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def run_in(folder: Path) -> Callable[[str], str]:
    """Return a function that runs a command in the folder and returns its output; `charrnn` is this checkout's."""
    shim = folder / "bin" / "charrnn"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m charrnn "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    env = environment() | {"PATH": os.pathsep.join([f"{shim.parent}", _PATH])}

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
        text = write.read_text(encoding="utf-8")
        save_files(text, Path(folder))
        text = renewed(text, run_in(Path(folder)), lambda block: lacking(block, _PATH))
    write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
