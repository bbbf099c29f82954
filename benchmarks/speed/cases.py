"""The cases that are measured, the results, and the random text that all sides read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

VOCAB_SIZE = 65
TEMPERATURE = 0.8
WINDOWS = 4  # windows of text that each side cycles through
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
SIZES = ((1, 128, 32, 25), (2, 128, 50, 50), (1, 256, 64, 128), (1, 512, 64, 64), (2, 512, 100, 100))
READ_SIZES = ((1, 128), (2, 128), (1, 512))  # for evaluation and sampling
FAST = "charrnn, fast"  # the side with the extra `fast`: the same code with Numba
FAST_KINDS = ("train", "evaluate")  # sampling and encoding load no Numba
ENCODED_BYTES = 10_000_000
ENCODED = {"ascii": "".join(map(chr, range(32, 97))), "multi-byte": "aé ßжщ語字仮あ\n😀𝄞"}


class Work(NamedTuple):
    """Something to time: `run` does it once; `before` prepares the process and is not timed."""

    run: Callable[[], object]
    before: Callable[[], object] = bool


@dataclass(frozen=True)
class Case:
    """One row of the tables: layers x units, B batch rows, T time steps; for sampling, B streams and T = 1."""

    kind: str
    cell: str
    layers: int = 1
    units: int = 0
    batch: int = 1
    steps: int = 1

    @property
    def name(self) -> str:
        """Return the name of the row, in which `--only` searches."""
        if self.kind == "encode":
            return f"encode {self.cell}"
        size = f"{self.kind} {self.cell} {self.layers}x{self.units}"
        return f"{size} {self.batch} streams" if self.kind == "sample" else f"{size} B{self.batch} T{self.steps}"

    @property
    def amount(self) -> float:
        """Return how many characters, or MB of UTF-8, one run reads or writes."""
        return ENCODED_BYTES / 1e6 if self.kind == "encode" else self.batch * self.steps


CASES = (
    *(Case("train", cell, *size) for cell in ("lstm", "gru", "rnn") for size in SIZES),
    *(Case("evaluate", cell, *size, 100, 64) for cell in ("lstm", "gru", "rnn") for size in READ_SIZES),
    *(
        Case("sample", cell, *size, streams)
        for cell in ("lstm", "gru", "rnn")
        for size in READ_SIZES
        for streams in (1, 64)
    ),
    *(Case("encode", text) for text in ENCODED),
)
MEMORY_CASE, MEMORY_STEPS = Case("train", "lstm", 1, 512, 64, 64), 20


@dataclass
class Result:
    """The figures of one row; the k-th figures of all sides come from the same round.

    unit      "s" or "MiB"
    amount    characters or MB per run; 0 if neither applies
    sides     charrnn, FAST, PyTorch, floor -> one figure per round
    variants  the fastest of several ways, for each side that has several
    """

    name: str
    kind: str
    unit: str
    amount: float
    sides: dict[str, list[float]]
    variants: dict[str, str] = field(default_factory=dict)

    def ratio(self, above: str, below: str) -> float | None:
        """Return the median over the rounds of one side's figure divided by the other's."""
        if not (self.sides.get(above) and self.sides.get(below)):
            return None
        return median(a / b for a, b in zip(self.sides[above], self.sides[below], strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the ratios of the tables, for JSON."""
        ratios = {
            "pytorch_by_charrnn": self.ratio("PyTorch", "charrnn"),
            "pytorch_by_fast": self.ratio("PyTorch", FAST),
            "charrnn_by_floor": self.ratio("charrnn", "floor"),
        }
        return vars(self) | ratios


def random_ids(case: Case) -> Any:
    """Return random ids (N,) for all windows and one before them; the same for every side."""
    import numpy as np

    count = case.batch * case.steps * (WINDOWS + 1) + 1
    return np.random.default_rng(1).integers(0, VOCAB_SIZE, count).astype(np.uint8)


def text_to_encode(kind: str) -> str:
    """Return a random text of 10 MB in UTF-8 from the symbols of this kind."""
    import numpy as np

    symbols = ENCODED[kind]
    mean_bytes = len(symbols.encode()) / len(symbols)
    points = np.array([ord(symbol) for symbol in symbols], "<u4")
    drawn = np.random.default_rng(1).integers(0, len(points), round(ENCODED_BYTES / mean_bytes))
    return points[drawn].tobytes().decode("utf-32-le")
