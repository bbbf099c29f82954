"""Measure charrnn, PyTorch and the floor in turn, and print the medians; docs/performance.md explains the method.

python -m benchmarks.speed
python -m benchmarks.speed --only "train lstm" --quick
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.speed import processes, report
from benchmarks.speed.cases import CASES, FLOOR, LSTM, NUMPY, NUMPY_LSTM, OURS, THEIRS, Result
from charrnn.system.processor import set_kernel

QUICK_REPEATS, QUICK_SECONDS = 3, 0.1
BUSY = 0.5  # a load above this is worth a warning


@click.command()
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1), help="Rounds; each side once a round.")
@click.option(
    "--seconds", default=0.2, show_default=True, help="Length of a turn: it holds as many runs as fit, or one."
)
@click.option("--quick", is_flag=True, help=f"{QUICK_REPEATS} rounds with turns of {QUICK_SECONDS} s: a first look.")
@click.option("--only", default="", help='Measure only what has this in its name: "train", "gru 1x512", "start".')
@click.option("--threads", default=2, show_default=True, type=click.IntRange(1), help="Threads of each side.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write all figures to this file too.")
@click.option(
    "--write", "document", type=click.Path(path_type=Path, exists=True), help="Put the tables into this document too."
)
def main(
    repeats: int, seconds: float, quick: bool, only: str, threads: int, json_path: Path | None, document: Path | None
) -> None:
    """Measure how fast charrnn is against PyTorch and against its own matrix products."""
    set_kernel()  # as the command does; it applies to the floor too
    if quick:
        repeats, seconds = QUICK_REPEATS, QUICK_SECONDS
    if document:
        try:
            report.place_in(document.read_text(encoding="utf-8"))
        except ValueError as error:
            raise click.ClickException(f"{document}: {error}") from error
    progress = Console(stderr=True, soft_wrap=True)
    sides = [OURS, NUMPY, THEIRS, LSTM, NUMPY_LSTM, FLOOR]
    if not find_spec("torch"):
        sides.remove(THEIRS)
        progress.print("PyTorch is not installed: charrnn is measured against the floor alone")

    results: list[Result] = []

    def save() -> None:
        if json_path:
            content: dict[str, Any] = {"machine": facts, "results": [result.to_dict() for result in results]}
            json_path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def keep(found: Result) -> None:
        results.append(found)
        ratio = found.ratio(THEIRS, OURS)
        progress.print(found.name if ratio is None else f"{found.name}: PyTorch ÷ charrnn {ratio:.2f}", highlight=False)
        save()  # so that stopping early loses nothing

    if os.getloadavg()[0] > BUSY:
        progress.print(f"other programs are running (load {os.getloadavg()[0]:.1f}): the figures will be off")
    workers = [processes.Worker(side, threads) for side in sides]
    if THEIRS in sides:  # its threads can wait in two ways, and neither is always faster
        workers.append(processes.Worker(THEIRS, threads, "passive"))
    facts = report.machine(threads, {worker.side: worker.ask("facts") for worker in workers})
    if not facts["libraries"][OURS]["core"]:
        progress.print("charrnn has no compiled core here: both of its sides compute with NumPy")
    facts |= {"repeats": repeats, "seconds": seconds}
    for case in CASES:
        if only in case.name:
            keep(processes.measure(case, workers, repeats, seconds))
    for worker in workers:
        worker.close()
    for result in processes.measure_start(only, repeats, threads, with_torch=THEIRS in sides):
        keep(result)
    if only in processes.MEMORY_NAME:
        whole = [side for side in sides if side in (OURS, NUMPY, THEIRS)]
        keep(processes.measure_memory(whole, threads, min(repeats, 3)))
    if not results:
        raise click.ClickException(f"nothing is called like {only!r}")
    facts["load_after"] = round(os.getloadavg()[0], 2)
    save()
    console = Console(width=None if sys.stdout.isatty() else 220)
    for table in report.tables(results):
        console.print(table)
    console.print(report.in_words(facts), highlight=False)
    if document:
        given = {"--repeats": repeats, "--seconds": seconds, "--threads": threads} | ({"--only": only} if only else {})
        command = shlex.join(
            ["python", "-m", "benchmarks.speed", *(str(part) for item in given.items() for part in item)]
        )
        report.write(document, report.markdown(results, facts, command))


if __name__ == "__main__":
    main()
