"""Run the real commands, as a user would type them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import click

from benchmarks.speed.processes import core, environment


def charrnn(folder: str | Path, *words: str, compiled: bool = True) -> str:
    """Run the command in the folder, with the compiled core or without; return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "charrnn", *words],
        cwd=folder,
        env=environment() | core(compiled),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    if done.returncode:
        raise click.ClickException(f"{shlex.join(('charrnn', *words))} failed; its error is above")
    return done.stdout
