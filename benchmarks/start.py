"""Measure how long commands take to start: wall time of whole processes that do the least a command can do.

    python -m benchmarks.start
    python -m benchmarks.start --markdown

Commands take turns, so that a slow minute of the machine favours none. Figures are medians in ms with the least and the
greatest. The model is an LSTM of 128 units that has had one step.
"""

from __future__ import annotations

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

COLUMNS = ("command", "ms")
TEXT = Path(__file__).parents[1] / "data" / "names.txt"
TRAIN = "train one.txt --steps 1 --hidden-size 128 --val-fraction 0.5 --seed 1 --quiet --threads 1"
#: What each command does here, by its name in the table; of a command that is not here, its help is measured alone.
LEAST = {line: line for line in ("--version", "--help", "list", "info", "vocab one.txt", "cache", "eval one.txt")} | {
    "sample -n 1": "sample -n 1 --seed 1",
    "train one.txt --steps 1": f"{TRAIN} --out again --force",
}
COMPLETION = {"_CHARRNN_COMPLETE": "bash_complete", "COMP_WORDS": "charrnn sample -m o", "COMP_CWORD": "3"}


def seconds(args: list[str], folder: str, **env: str) -> float:
    """Return how long a process took that runs the command."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "charrnn", *args]
    done = subprocess.run(command, cwd=folder, env=environment(1) | env, capture_output=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed:\n{done.stderr.decode()}")
    return time.perf_counter() - begin


@click.command()
@click.option("--turns", default=15, show_default=True, help="Processes of each kind.")
@click.option("--markdown", is_flag=True, help="Print the table as docs/performance.md has it.")
def main(turns: int, markdown: bool) -> None:
    """Measure the start-up of each command."""
    context = click.Context(charrnn)
    cases = [(name, line.split(), dict[str, str]()) for name, line in LEAST.items()]
    cases += [(f"{name} --help", [name, "--help"], {}) for name in charrnn.list_commands(context)]
    cases.append(("a completion: sample -m o<TAB>", [], COMPLETION))
    times: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "one.txt").write_bytes(TEXT.read_bytes()[:2000])
        seconds(TRAIN.split(), folder)
        for turn in range(turns + 1):
            for name, args, env in cases:
                taken = seconds(args, folder, **env)
                if turn:  # the first one fills the caches of the system
                    times[name].append(1000 * taken)
    rows = [(name, f"{median(each):.0f} ({min(each):.0f}–{max(each):.0f})") for name, each in times.items()]
    lines = markdown_table(COLUMNS, rows) if markdown else [f"{figures:>16}  {name}" for name, figures in rows]
    click.echo("\n".join(lines))


if __name__ == "__main__":
    main()
