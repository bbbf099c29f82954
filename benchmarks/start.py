"""Measure how long commands take to start: whole processes that do as little as possible.

    python -m benchmarks.start
    python -m benchmarks.start --markdown

Commands take turns, so that a slow minute of the machine affects all alike. Figures are medians in ms; wall time has
its lowest and highest beside it, and processor time depends less on other work. The model is an LSTM of 128 units.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from benchmarks.markdown import markdown_table
from benchmarks.speed.processes import environment
from charrnn.cli import main as charrnn

COLUMNS = ("command", "wall time, ms", "processor time, ms")
TEXT = Path(__file__).parents[1] / "data" / "names.txt"
TRAIN = "train one.txt --steps 1 --hidden-size 128 --val-fraction 0.5 --seed 1 --quiet --threads 1"
#: The arguments of each command, by its name in the table; of other commands only `--help` is measured.
LEAST = {line: line for line in ("--version", "--help", "list", "info", "vocab one.txt", "cache", "eval one.txt")} | {
    "score one.txt": "score one.txt",
    "complete A": "complete A",
    "sample -n 1": "sample -n 1 --seed 1",
    "serve --stdio, its end": "serve --stdio",
    "train one.txt --steps 1": f"{TRAIN} --out again --force",
}
COMPLETION = {"_CHARRNN_COMPLETE": "bash_complete", "COMP_WORDS": "charrnn sample -m o", "COMP_CWORD": "3"}


def milliseconds(args: list[str], folder: str, **env: str) -> tuple[float, float]:
    """Return the wall time and the processor time of a process that runs the command."""
    before, begin = busy_seconds(), time.perf_counter()
    command = [sys.executable, "-m", "charrnn", *args]
    env = environment(1) | {"PYTHONDONTWRITEBYTECODE": ""} | env  # compiled once, as an installed package is
    done = subprocess.run(command, cwd=folder, env=env, input=b"", capture_output=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return 1000 * (time.perf_counter() - begin), 1000 * (busy_seconds() - before)


def busy_seconds() -> float:
    """Return the processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@click.command()
@click.option("--turns", default=15, show_default=True, help="Processes per command.")
@click.option("--markdown", is_flag=True, help="Print the table for docs/performance.md.")
def main(turns: int, markdown: bool) -> None:
    """Measure the start-up of each command."""
    context = click.Context(charrnn)
    cases = [(name, line.split(), dict[str, str]()) for name, line in LEAST.items()]
    cases += [(f"{name} --help", [name, "--help"], {}) for name in charrnn.list_commands(context)]
    cases.append(("a completion: sample -m o<TAB>", [], COMPLETION))
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in cases}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "one.txt").write_bytes(TEXT.read_bytes()[:2000])
        milliseconds(TRAIN.split(), folder)
        for turn in range(turns + 1):
            for name, args, env in cases:
                measured = milliseconds(args, folder, **env)
                if turn:  # the first turn only fills the system's caches
                    taken[name].append(measured)
    rows = []
    for name, each in taken.items():
        walls, busy = zip(*each, strict=True)
        rows.append((name, f"{median(walls):.0f} ({min(walls):.0f}–{max(walls):.0f})", f"{median(busy):.0f}"))
    lines = (
        markdown_table(COLUMNS, rows) if markdown else [f"{wall:>20} {busy:>6}  {name}" for name, wall, busy in rows]
    )
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
