"""Measure how long commands take to start: whole processes that do as little as possible.

    python -m benchmarks.start
    python -m benchmarks.start --ratios --turns 31
    python -m benchmarks.start --markdown

Commands take turns, so that a slow minute of the machine affects all alike. Figures are medians in ms; wall time has
its lowest and highest beside it, and processor time depends less on other work. A ratio is the median over the turns
of a command's time divided by that of the import that it cannot do without. The model is an LSTM of 128 units. An
editable install takes a few ms more than a wheel.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click

from benchmarks.markdown import markdown_table
from benchmarks.speed.processes import environment
from charrnn.cli import main as charrnn
from charrnn.cli._command import commands_of

COLUMNS = ("command", "wall time, ms", "processor time, ms")
RATIO_COLUMNS = ("ratio", "wall time", "processor time", "target")
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
#: Each command that has a target, with the import that it is compared with and the highest ratio allowed.
TARGETS = {"sample -n 1": ("import numpy", 1.6), "--help": ("import click", 1.5)}


class Case(NamedTuple):
    """A process to measure: the arguments of Python, and more variables of its environment."""

    args: list[str]
    env: dict[str, str]


class Taken(NamedTuple):
    """The wall time and the processor time of a process in ms."""

    wall: float
    busy: float


def cases() -> dict[str, Case]:
    """Return the processes to measure by their names in the table."""
    command = ["-m", "charrnn"]
    names = [name for name, _ in commands_of(click.Context(charrnn))]
    found = {name: Case([*command, *line.split()], {}) for name, line in LEAST.items()}
    found |= {f"{name} --help": Case([*command, *name.split(), "--help"], {}) for name in names}
    found["a completion: sample -m o<TAB>"] = Case(command, COMPLETION)
    return found | {floor: Case(["-c", floor], {}) for floor, _ in TARGETS.values()}


def measure(case: Case, folder: str) -> Taken:
    """Run a process in a folder and return its times."""
    before, begin = busy_seconds(), time.perf_counter()
    command = [sys.executable, *case.args]
    env = environment(1) | {"PYTHONDONTWRITEBYTECODE": ""} | case.env  # compiled once, as an installed package is
    done = subprocess.run(command, cwd=folder, env=env, input=b"", capture_output=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return Taken(1000 * (time.perf_counter() - begin), 1000 * (busy_seconds() - before))


def busy_seconds() -> float:
    """Return the processor time of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def time_row(name: str, taken: list[Taken]) -> tuple[str, ...]:
    """Return the row of a process in the table of times."""
    walls, busy = zip(*taken, strict=True)
    return name, f"{median(walls):.0f} ({min(walls):.0f}–{max(walls):.0f})", f"{median(busy):.0f}"


def ratio_row(name: str, taken: dict[str, list[Taken]]) -> tuple[str, ...]:
    """Return the row of a command with a target in the table of ratios; both processes of a ratio ran in one turn."""
    floor, target = TARGETS[name]
    pairs = list(zip(taken[name], taken[floor], strict=True))
    wall = median(own.wall / least.wall for own, least in pairs)
    busy = median(own.busy / least.busy for own, least in pairs)
    return f"{name} ÷ {floor}", f"{wall:.2f}", f"{busy:.2f}", f"{target:.2f}"


def shown(columns: tuple[str, ...], rows: list[tuple[str, ...]], markdown: bool) -> str:
    """Return a table in Markdown, or in aligned columns with the names last."""
    if markdown:
        return "\n".join(markdown_table(columns, rows))
    return "\n".join("".join(f"{cell:>20}" for cell in figures) + f"  {name}" for name, *figures in (columns, *rows))


@click.command()
@click.option("--turns", default=15, show_default=True, help="Processes per command.")
@click.option("--ratios", is_flag=True, help="Measure only the commands whose ratio has a target.")
@click.option("--markdown", is_flag=True, help="Print the tables for docs/performance.md.")
def main(turns: int, ratios: bool, markdown: bool) -> None:
    """Measure the start-up of each command."""
    measured = {name: case for name, case in cases().items() if not ratios or _has_ratio(name)}
    taken: dict[str, list[Taken]] = {name: [] for name in measured}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "one.txt").write_bytes(TEXT.read_bytes()[:2000])
        measure(Case(["-m", "charrnn", *TRAIN.split()], {}), folder)
        for turn in range(turns + 1):
            for name, case in measured.items():
                each = measure(case, folder)
                if turn:  # the first turn only fills the system's caches
                    taken[name].append(each)
    click.echo(shown(COLUMNS, [time_row(name, each) for name, each in taken.items()], markdown))
    click.echo()
    click.echo(shown(RATIO_COLUMNS, [ratio_row(name, taken) for name in TARGETS], markdown))


def _has_ratio(name: str) -> bool:
    return name in TARGETS or name in [floor for floor, _ in TARGETS.values()]


if __name__ == "__main__":
    main()
