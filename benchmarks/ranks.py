"""Compare a training on n ranks of MPI with the same training by n threads, in turns, and print what each rank takes.

    python -m benchmarks.ranks corpus.txt --ranks 2 --pairs 5 -- --steps 400 --hidden-size 256

What follows `--` are options of `charrnn train`; the length must be in steps, since a budget of minutes would adapt.
A ratio is that of one pair, of the seconds of training in the logs. Beside it are the largest difference between the
validation losses of the two, whether all runs on ranks wrote the same bits, and the memory of each rank at its end: its
own (RssAnon), and the peak with mapped files (VmHWM). Linux only.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import click

from benchmarks.markdown import markdown_table

COLUMNS = ("ranks ÷ threads", "lowest", "highest", "losses differ by", "runs on ranks", "memory of the ranks, MiB")
#: Runs the command, then writes down the memory that its process has and had.
RANK = """
import os, sys
from pathlib import Path
from charrnn.cli import main
try:
    main(sys.argv[1:], prog_name="charrnn")
finally:
    Path(f"memory.{os.environ['PMI_RANK']}").write_text(Path("/proc/self/status").read_text())
"""


def train(words: list[str], text: Path, options: tuple[str, ...], folder: Path) -> tuple[float, list[float], str]:
    """Train once; return the seconds of training, the validation losses, and the hash of the weights."""
    command = [*words, "train", str(text), *options, "--seed", "1", "--out", "run", "--quiet"]
    subprocess.run(command, cwd=folder, check=True)
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["val_loss"] for line in lines if line.get("val_loss") is not None]
    weights = hashlib.sha256((folder / "run" / "last.npz").read_bytes()).hexdigest()
    return lines[-1]["seconds"], losses, weights


def memory_in_words(folder: Path) -> str:
    """Return the memory of each rank, "own (peak)"."""
    found = []
    for path in sorted(folder.glob("memory.*")):
        lines = dict(line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines())
        own, peak = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "VmHWM"))
        found.append(f"{own:.0f} ({peak:.0f})")
    return ", ".join(found)


@click.command(help=__doc__)
@click.argument("text", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("options", nargs=-1)
@click.option("--ranks", type=click.IntRange(2), default=2, show_default=True, help="Ranks, and threads.")
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, help="Runs of each kind.")
@click.option("--mpiexec", default="mpiexec", show_default=True, help="The launcher, with its options.")
def main(text: Path, options: tuple[str, ...], ranks: int, pairs: int, mpiexec: str) -> None:
    """Measure the pairs and print their ratio."""
    kinds = {
        "ranks": [*shlex.split(mpiexec), "-n", str(ranks), sys.executable, "-c", RANK],
        "threads": [sys.executable, "-m", "charrnn"],
    }
    more = {"ranks": ("--threads", "1"), "threads": ("--threads", str(ranks))}
    ratios, apart, bits, memory = [], 0.0, set(), ""
    for pair in range(pairs):
        found = {}
        for kind in ("ranks", "threads")[:: 1 if pair % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                found[kind] = train(kinds[kind], text.resolve(), (*options, *more[kind]), Path(folder))
                memory = memory_in_words(Path(folder)) or memory
        (own, losses, weights), (threads, others, _) = found["ranks"], found["threads"]
        ratios.append(own / threads)
        apart = max(apart, *(abs(one - other) for one, other in zip(losses, others, strict=True)))
        bits.add(weights)
        click.echo(f"pair {pair + 1}: {own:.1f} s on {ranks} ranks, {threads:.1f} s with {ranks} threads", err=True)
    same = f"{pairs} with the same bits" if len(bits) == 1 else f"{len(bits)} different ones of {pairs}"
    figures = (f"{figure(ratios):.3f}" for figure in (median, min, max))
    click.echo("\n".join(markdown_table(COLUMNS, [(*figures, f"{apart:.1e}", same, memory)])))


if __name__ == "__main__":
    main()
