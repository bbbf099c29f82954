"""The targets: what each group of rows should reach, as a ratio of two sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.cases import FLOOR, NUMPY, NUMPY_LSTM, OURS, THEIRS, Case, Result

WIDE = 512  # from this many units on, the matrix products leave less to gain
AIMED = 256  # from this many units on, the aim is a time close to that of the products


@dataclass(frozen=True)
class Target:
    """A bound on the ratio of two sides, which every row of a group should reach.

    lowest  whether the ratio should be at least the bound, or else at most
    rows    whether a case belongs to the group; for whole processes, the start of the row's name
    """

    group: str
    above: str
    below: str
    bound: float
    rows: Callable[[Case], bool] | str
    lowest: bool = True

    def judge(self, results: Sequence[Result]) -> tuple[float, str, bool] | None:
        """Return the group's worst ratio, its row and whether the bound is reached; None if nothing was measured."""
        found = [
            (ratio, result.name)
            for result in results
            if self._includes(result) and (ratio := result.ratio(self.above, self.below)) is not None
        ]
        if not found:
            return None
        ratio, name = min(found) if self.lowest else max(found)
        return ratio, name, round(ratio, 2) >= self.bound if self.lowest else round(ratio, 2) <= self.bound

    def _includes(self, result: Result) -> bool:
        if isinstance(self.rows, str):
            return result.name.startswith(self.rows)
        return result.case is not None and self.rows(result.case)


def _rows(kind: str, *cells: str, **fixed: Any) -> Callable[[Case], bool]:
    """Return whether a case is of this kind and these cells, with these fields."""
    return lambda case: (
        case.kind == kind and case.cell in cells and all(getattr(case, name) == value for name, value in fixed.items())
    )


def _train_lstm(*, wide: bool) -> Callable[[Case], bool]:
    return lambda case: _rows("train", "lstm")(case) and (case.units >= WIDE) == wide


_COMMON = ("lstm", "gru", "rnn")  # the cells that PyTorch has too
TARGETS = (
    Target("training, lstm", THEIRS, NUMPY, 1.1, _rows("train", "lstm")),
    Target("training, lstm below 512 units", THEIRS, OURS, 1.5, _train_lstm(wide=False)),
    Target("training, lstm of 512 units", THEIRS, OURS, 1.25, _train_lstm(wide=True)),
    # The lowest ratios before the core; with Numba's loops for the GRU.
    Target("training, gru", THEIRS, NUMPY, 1.48, _rows("train", "gru")),
    Target("training, gru", THEIRS, OURS, 1.87, _rows("train", "gru")),
    Target("training, rnn", THEIRS, NUMPY, 1.26, _rows("train", "rnn")),
    Target("training, rnn", THEIRS, OURS, 1.26, _rows("train", "rnn")),
    Target("training, lnlstm", NUMPY_LSTM, OURS, 1.0, _rows("train", "lnlstm")),
    Target("evaluation", THEIRS, NUMPY, 1.0, _rows("evaluate", *_COMMON)),
    Target("evaluation", THEIRS, OURS, 1.4, _rows("evaluate", *_COMMON)),
    Target("sampling, one stream", THEIRS, NUMPY, 5, _rows("sample", *_COMMON, batch=1)),
    Target("sampling, one stream", THEIRS, OURS, 12, _rows("sample", *_COMMON, batch=1)),
    Target("sampling, 64 streams", THEIRS, NUMPY, 1.3, _rows("sample", *_COMMON, batch=64)),
    Target("sampling, 64 streams", THEIRS, OURS, 2, _rows("sample", *_COMMON, batch=64)),
    Target("start-up, --help", OURS, FLOOR, 1.5, "start --help", lowest=False),
    Target("start-up, sample -n 1", OURS, FLOOR, 1.6, "start sample", lowest=False),
    Target(
        f"training from {AIMED} units (an aim)",
        OURS,
        FLOOR,
        1.1,
        lambda case: case.kind == "train" and case.units >= AIMED,
        lowest=False,
    ),
)
COLUMNS = ("rows", "ratio", "target", "worst", "in", "reached")


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return the rows of the summary, for the groups that were measured."""
    rows = []
    for target in TARGETS:
        judged = target.judge(results)
        if judged:
            ratio, name, reached = judged
            bound = f"{'≥' if target.lowest else '≤'} {target.bound:g}"
            pair = f"{target.above} ÷ {target.below}"
            rows.append((target.group, pair, bound, f"{ratio:.2f}", name.partition(";")[0], "yes" if reached else "no"))
    return rows
