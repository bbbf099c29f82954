"""Compare the memory that training runs use with what `charrnn train --verbose` prints before the first step.

    python -m benchmarks.memory
    python -m benchmarks.memory --only gru

Linux only. The figure is the peak, sampled every two milliseconds, of the memory that a run's processes own (RssAnon,
summed) and share (RssShmem, counted once); mapped files do not count. Each run does four steps on random text, its
validation and its saves. Figures are MiB.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.markdown import markdown_table
from benchmarks.speed.processes import environment

CHARS = 400_000
STEPS = 4
PAUSE = 0.002  # seconds between two samples
COLUMNS = ("run", "processes", "stated", "measured", "off by")
#: Settings that are not named are the command's: an LSTM of 384 units, 32 batch rows of 100 characters, dropout 0.4,
#: AdamW.
CASES: dict[str, tuple[int, str]] = {
    "the defaults": (65, ""),
    "the defaults, six seconds": (65, "--minutes 0.1"),
    "lstm 1x128 B32 T25": (65, "--hidden-size 128 --seq-len 25 --dropout 0"),
    "lstm 2x128 B50 T50": (65, "--num-layers 2 --hidden-size 128 --batch-size 50 --seq-len 50 --dropout 0"),
    "lstm 1x512 B64 T64, sgd": (65, "--hidden-size 512 --batch-size 64 --seq-len 64 --dropout 0 --optimizer sgd"),
    "lstm 2x512 B100 T100, dropout 0.5": (
        65,
        "--num-layers 2 --hidden-size 512 --batch-size 100 --dropout 0.5 --optimizer adam",
    ),
    "gru 1x256 B64 T128": (65, "--cell gru --hidden-size 256 --batch-size 64 --seq-len 128 --dropout 0"),
    "gru 2x384 B64 T100, embedding 64, float64": (
        65,
        "--cell gru --num-layers 2 --batch-size 64 --embed-size 64 --dtype float64",
    ),
    "rnn 1x256 B64 T128": (65, "--cell rnn --hidden-size 256 --batch-size 64 --seq-len 128 --dropout 0"),
    "rnn 2x512 B100 T100, embedding 64": (
        65,
        "--cell rnn --num-layers 2 --hidden-size 512 --batch-size 100 --embed-size 64",
    ),
    "lstm 1x128 B32 T100, 5,387 symbols": (5387, "--hidden-size 128"),
    "lstm 1x384 B32 T100, 5,387 symbols, embedding 64": (5387, "--embed-size 64"),
    "lstm 1x384 B32 T100, 700 symbols": (700, ""),
}


def write_text(path: Path, symbols: int) -> None:
    """Write a random text that contains each of `symbols` symbols."""
    ids = np.random.default_rng(0).permutation(np.arange(CHARS) % symbols)
    path.write_text("".join(chr(0x4E00 + id_) for id_ in ids.tolist()), encoding="utf-8")


def measure(arguments: list[str], threads: int) -> tuple[int, float, float]:
    """Return the number of processes of a training run, and its MiB as stated and as measured."""
    command = [sys.executable, "-m", "charrnn", "train", *arguments, "--verbose", "--threads", str(threads)]
    most = 0.0
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, env=environment(threads), stderr=said)
        while process.poll() is None:
            figures = [memory(pid) for pid in family(process.pid)]
            most = max(most, sum(own for own, _ in figures) + max(shared for _, shared in figures))
            time.sleep(PAUSE)
        said.seek(0)
        text = said.read()
    found = re.search(r"^memory: about ([\d,]+) MiB(?: in (\d+) processes)?$", text, re.MULTILINE)
    if process.returncode or not found:
        raise click.ClickException(f"{' '.join(command)} failed:\n{text}")
    return int(found[2] or 1), float(found[1].replace(",", "")), most / 2**20


def family(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended
        children = []
    return [pid, *(other for child in children for other in family(int(child)))]


def memory(pid: int) -> tuple[int, int]:
    """Return the bytes that a process owns and those that it shares; zeros if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    words = {line.split()[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    own, shared = (int(words.get(name, 0)) << 10 for name in ("RssAnon:", "RssShmem:"))
    return own, shared


@click.command()
@click.option("--only", default="", help='Only runs whose name contains this: "gru", "symbols".')
@click.option("--markdown", is_flag=True, help="Print the table for docs/performance.md.")
def main(only: str, markdown: bool) -> None:
    """Compare stated and measured memory of training runs, with one thread and with two."""
    if not Path("/proc/self/status").exists():
        raise click.ClickException("memory is read from Linux's /proc, which this system does not have")
    rows = []
    for name, (symbols, settings) in CASES.items():
        if only not in name:
            continue
        for threads in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                text = Path(folder, "text.txt")
                write_text(text, symbols)
                length = [] if "--minutes" in settings else ["--steps", str(STEPS)]
                arguments = [str(text), *settings.split(), *length, "--seed", "1", "--out", str(Path(folder, "run"))]
                processes, stated, measured = measure(arguments, threads)
            rows.append(
                (name, str(processes), f"{stated:,.0f}", f"{measured:,.0f}", f"{100 * (stated / measured - 1):+.1f} %")
            )
            click.echo(" | ".join(rows[-1]), err=True)
    if markdown:
        click.echo("\n".join(markdown_table(COLUMNS, rows)))
        return
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
