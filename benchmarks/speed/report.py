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
from benchmarks.speed import targets
from benchmarks.speed.cases import FLOOR, LSTM, NUMPY, NUMPY_LSTM, OURS, SAMPLED, THEIRS, Result

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
TITLES = {
    "train": "Training, one step",
    "evaluate": "Evaluation, one window",
    "sample": f"Sampling, {SAMPLED} characters of each stream",
    "encode": "Encoding, 10 MB of UTF-8",
    "start": "Start-up, one process",
    "memory": "Peak memory, all processes",
}
THEIR_LSTM = "PyTorch's nn.LSTM"  # beside `lnlstm`, a cell that PyTorch does not have
#: The ratios of the columns, after each side's own time.
RATIOS = {"PyTorch ÷ charrnn": (THEIRS, OURS), "PyTorch ÷ NumPy": (THEIRS, NUMPY), "charrnn ÷ floor": (OURS, FLOOR)}
OWN_RATIOS = {
    f"{THEIR_LSTM} ÷ charrnn": (THEIRS, OURS),
    f"{THEIR_LSTM} ÷ NumPy": (THEIRS, NUMPY),
    "charrnn's lstm ÷ charrnn": (LSTM, OURS),
    "NumPy's lstm ÷ charrnn": (NUMPY_LSTM, OURS),
    "charrnn ÷ floor": (OURS, FLOOR),
}


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
    ours, torch = (facts["libraries"].get(side, {}) for side in (OURS, THEIRS))
    blas = [
        " ".join(str(pool[key]) for key in ("internal_api", "version", "architecture") if key in pool)
        for pool in ours.get("pools", ())
        if pool["user_api"] == "blas"
    ]
    parts = [
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads",
        f"{facts['system']}, Python {facts['python']}",
        f"compiled core: {ours['core'] or 'none'}",
        f"NumPy {ours['numpy']} ({', '.join(blas) or 'BLAS unknown'})",
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


def row(result: Result, ratios: dict[str, tuple[str, str]]) -> tuple[str, ...]:
    """Return the cells of a row: medians with lowest and highest, PyTorch's fastest way, and ratios."""
    speed = "–"
    if result.amount:
        unit = "MB" if result.kind == "encode" else "chars"
        speed = f"{_number(result.amount / median(result.sides[OURS]))} {unit}"
    way = result.variants.get(THEIRS)
    theirs = _figure(result, THEIRS) + (f", {way}" if way else "")
    figures = (_figure(result, OURS), speed, _figure(result, NUMPY), theirs, _figure(result, FLOOR))
    return result.name, *figures, *(_ratio(result, *pair) for pair in ratios.values())


def contents(results: list[Result]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield title and rows, headings first: the targets, then each kind of work, `lnlstm` in tables of its own."""
    if judged := targets.table(results):
        yield "Targets", [targets.COLUMNS, *judged]
    for kind, title in TITLES.items():
        for own in (False, True):
            found = [result for result in results if result.kind == kind and (LSTM in result.sides) == own]
            ratios = OWN_RATIOS if own else RATIOS
            heads = ("", OURS, "charrnn, a second", NUMPY, THEIR_LSTM if own else THEIRS, FLOOR, *ratios)
            if found:
                yield title + ": lnlstm" * own, [heads, *(row(result, ratios) for result in found)]


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
