"""Report the figures as a table on the screen and as Markdown between two comments of a document."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.kept import processor
from benchmarks.markdown import markdown_table
from benchmarks.speed.cases import FAST, Result

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
TITLES = {
    "train": "Training, one step",
    "evaluate": "Evaluation, one window",
    "sample": "Sampling, one character of each stream",
    "encode": "Encoding, 10 MB of UTF-8",
    "start": "Start-up, one process",
    "memory": "Peak memory, all processes",
}
COLUMNS = ("", "charrnn", "charrnn, a second", "PyTorch", "PyTorch ÷ charrnn", "floor", "charrnn ÷ floor")
FAST_COLUMNS = (FAST, "PyTorch ÷ fast")


def machine(threads: int, workers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the facts about this machine and its software that the figures depend on."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "libraries": workers,
    }


def in_words(facts: dict[str, Any]) -> str:
    """Return the facts as one line."""
    numpy, fast, torch = (facts["libraries"].get(side, {}) for side in ("charrnn", FAST, "PyTorch"))
    blas = [
        " ".join(str(pool[key]) for key in ("internal_api", "version", "architecture") if key in pool)
        for pool in numpy.get("pools", ())
        if pool["user_api"] == "blas"
    ]
    parts = [
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads",
        f"{facts['system']}, Python {facts['python']}",
        f"NumPy {numpy['numpy']} ({', '.join(blas) or 'BLAS unknown'})",
        f"Numba {fast['numba'] or 'does not work'}" if fast else "Numba is not installed",
        f"PyTorch {torch['torch']} ({torch['vectors']})" if torch else "PyTorch is not installed",
        f"load {facts['load_before']:.1f} before and {facts['load_after']:.1f} after",
    ]
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _figure(result: Result, side: str) -> str:
    figures = result.sides.get(side)
    if not figures:
        return "–"
    scale, unit = 1.0, result.unit
    if unit == "s":
        scale, unit = next(
            (s, u) for s, u in ((1, "s"), (1e3, "ms"), (1e6, "µs")) if median(figures) * s >= 1 or s == 1e6
        )
    middle, low, high = (_number(scale * value) for value in (median(figures), min(figures), max(figures)))
    return f"{middle} {unit} ({low}–{high})"


def _ratio(result: Result, above: str, below: str) -> str:
    ratio = result.ratio(above, below)
    return "–" if ratio is None else f"{ratio:.2f}"


def row(result: Result) -> tuple[str, ...]:
    """Return the cells of a row: medians with lowest and highest, ratios, and PyTorch's fastest variant."""
    speed = "–"
    if result.amount:
        unit = "MB" if result.kind == "encode" else "chars"
        speed = f"{_number(result.amount / median(result.sides['charrnn']))} {unit}"
    way = result.variants.get("PyTorch")
    theirs = _figure(result, "PyTorch") + (f", {way}" if way else "")
    by_charrnn, by_floor = _ratio(result, "PyTorch", "charrnn"), _ratio(result, "charrnn", "floor")
    return result.name, _figure(result, "charrnn"), speed, theirs, by_charrnn, _figure(result, "floor"), by_floor


def contents(results: list[Result]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield title and rows, headings first, for each kind of work; with columns for `fast` if it was measured."""
    for kind, title in TITLES.items():
        of_kind = [result for result in results if result.kind == kind]
        rows = [COLUMNS, *map(row, of_kind)]
        if any(FAST in result.sides for result in of_kind):
            cells = [(_figure(result, FAST), _ratio(result, "PyTorch", FAST)) for result in of_kind]
            rows = [before + more for before, more in zip(rows, [FAST_COLUMNS, *cells], strict=True)]
        if of_kind:
            yield title, rows


def tables(results: list[Result]) -> list[Table]:
    """Return a table for each kind of work."""
    found = []
    for title, (columns, *rows) in contents(results):
        table = Table(*columns, title=title)
        for cells in rows:
            table.add_row(*cells)
        found.append(table)
    return found


def markdown(results: list[Result], facts: dict[str, Any], command: str) -> str:
    """Return the tables as Markdown, with the command and the machine above them."""
    lines = [f"Measured by `{command}`. Machine: {in_words(facts)}."]
    for title, (columns, *rows) in contents(results):
        lines += ["", f"### {title}", "", *markdown_table(columns, rows)]
    return "\n".join(lines)


def place_in(text: str) -> tuple[str, str]:
    """Return the text before and after the tables.

    Raises:  ValueError if the document has no place for them.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"it has no place for the tables: {BEGIN} … {END}")
    return before + begin, end + after


def write(path: Path, tables_: str) -> None:
    """Replace the tables in a document."""
    before, after = place_in(path.read_text(encoding="utf-8"))
    path.write_text(f"{before}\n{tables_}\n{after}", encoding="utf-8")
