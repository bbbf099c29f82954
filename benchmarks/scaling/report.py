"""The tables: predictions, the two ways to add up the gradients, and the checks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from benchmarks.markdown import markdown_table
from benchmarks.scaling.cost import Parts, step_time, sum_alone, sum_shared
from benchmarks.scaling.parts import Bench, measure_parts, steps_here, total_of_steps, total_seconds
from benchmarks.speed.cases import Case

CORES = (1, 2, 4, 8, 16, 64)
CHECKED = (1, 2, 4, 8)  # numbers of processes


def predictions(case: Case, parts: Parts) -> list[str]:
    """Return a row of the table of predictions: a step's milliseconds, and how many times as fast that is."""
    alone = step_time(parts, case.batch, 1)
    times = {cores: step_time(parts, case.batch, cores) for cores in CORES if cores <= case.batch}
    return [f"{1e3 * times[n]:.3g} ({alone / times[n]:.1f})" if n in times else "–" for n in CORES]


def sums(parts: Parts) -> list[str]:
    """Return a row of the table of sums: milliseconds if one process adds, and if all do."""
    return [f"{1e3 * sum_alone(parts, n):.2g} / {1e3 * sum_shared(parts, n):.2g}" for n in CORES[1:]]


def checks(case: Case, bench: Bench, parts: Parts, seconds: float) -> list[list[str]]:
    """Return rows of the table of checks: what was predicted and measured, in milliseconds."""
    rows = []
    for processes in CHECKED:
        if processes <= (os.cpu_count() or 1):
            fastest, first = steps_here(bench, processes, 2 * seconds)
            predicted = step_time(parts, case.batch, processes)
            found = [("time", predicted, fastest), ("processor time, first process", predicted, first)]
        else:
            predicted = total_seconds(parts, case.batch, processes)
            steps = max(3, round(2 * seconds / predicted))
            found = [("processor time, all", predicted, total_of_steps(bench, processes, steps))]
        for what, predicted, measured in found:
            figures = (f"{1e3 * predicted:.3g}", f"{1e3 * measured:.3g}", f"{100 * (predicted / measured - 1):+.0f} %")
            rows.append([case.name, str(processes), what, *figures])
    return rows


class Tables(NamedTuple):
    """The rows of all tables."""

    predicted: list[list[str]]
    added: list[list[str]]
    checked: list[list[str]]

    def add(self, case: Case, seconds: float) -> None:
        """Measure the parts of this case for about so many seconds each, and add its rows."""
        bench = Bench.of(case)
        parts = measure_parts(bench, seconds)
        name = [case.name, f"{sum(array.size for array in bench.state.params.values()):,}"]
        self.predicted.append([*name, f"{1e3 * parts.update:.2g}", *predictions(case, parts)])
        self.added.append([*name, *sums(parts)])
        self.checked.extend(checks(case, bench, parts, seconds))

    def markdown(self) -> str:
        """Return the tables in Markdown."""
        return "\n".join(
            [
                *_table(
                    "A step on so many cores, ms (times as fast as on one)",
                    ("parameters", "update", *CORES),
                    self.predicted,
                ),
                *_table("Adding up the gradients, ms: one process / all", ("parameters", *CORES[1:]), self.added),
                *_table(
                    "Predictions and measurements here, ms",
                    ("processes", "of", "predicted", "measured", "off by"),
                    self.checked,
                ),
            ]
        )


def _table(title: str, heads: Sequence[object], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"### {title}", "", *markdown_table(["", *map(str, heads)], rows), ""]
