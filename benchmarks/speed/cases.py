"""What is measured, what a measurement is, and the random text that all sides read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

VOCAB_SIZE = 65
TEMPERATURE = 0.8
WINDOWS = 4  # windows of text that each side has at hand and takes in turn
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
SIZES = ((1, 128, 32, 25), (2, 128, 50, 50), (1, 256, 64, 128), (1, 512, 64, 64), (2, 512, 100, 100))
READ_SIZES = ((1, 128), (2, 128), (1, 512))  # of nets that do not learn
FAST = "charrnn, fast"  # the side with the extra `fast`: the same code where Numba is installed
FAST_KINDS = ("train", "evaluate")  # sampling and encoding load no Numba
ENCODED_BYTES = 10_000_000
ENCODED = {"ascii": "".join(map(chr, range(32, 97))), "multi-byte": "aé ßжщ語字仮あ\n😀𝄞"}


class Work(NamedTuple):
    """Something to time: `run` does it once; `before` prepares the process, untimed."""

    run: Callable[[], object]
    before: Callable[[], object] = bool


@dataclass(frozen=True)
class Case:
    """One row of the tables: layers x units, B lanes, T steps at once; T is 1 and B the streams when sampling."""

    kind: str
    cell: str
    layers: int = 1
    units: int = 0
    batch: int = 1
    steps: int = 1

    @property
    def name(self) -> str:
        """Return what the row is called, and what `--only` looks into."""
        if self.kind == "encode":
            return f"encode {self.cell}"
        size = f"{self.kind} {self.cell} {self.layers}x{self.units}"
        return f"{size} {self.batch} streams" if self.kind == "sample" else f"{size} B{self.batch} T{self.steps}"

    @property
    def amount(self) -> float:
        """Return how much is read or written at once: characters, or MB of UTF-8."""
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
    """The figures of one row: repeat k of every side was taken in the same round.

    unit      "s" or "MiB"
    amount    characters or MB at once; 0 where that makes no sense
    sides     charrnn, FAST, PyTorch, floor -> one figure a round
    variants  which way of several a side takes, the fastest
    """

    name: str
    kind: str
    unit: str
    amount: float
    sides: dict[str, list[float]]
    variants: dict[str, str] = field(default_factory=dict)

    def ratio(self, above: str, below: str) -> float | None:
        """Return the median over the rounds of one side's figure by the other's."""
        if not (self.sides.get(above) and self.sides.get(below)):
            return None
        return median(a / b for a, b in zip(self.sides[above], self.sides[below], strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold, with the ratios of the tables."""
        ratios = {
            "pytorch_by_charrnn": self.ratio("PyTorch", "charrnn"),
            "pytorch_by_fast": self.ratio("PyTorch", FAST),
            "charrnn_by_floor": self.ratio("charrnn", "floor"),
        }
        return vars(self) | ratios


def random_ids(case: Case) -> Any:
    """Return the ids (N,) that fill all windows and one before them, the same on every side."""
    import numpy as np

    count = case.batch * case.steps * (WINDOWS + 1) + 1
    return np.random.default_rng(1).integers(0, VOCAB_SIZE, count).astype(np.uint8)


def text_to_encode(kind: str) -> str:
    """Return a random text of 10 MB in UTF-8, over the symbols of this kind."""
    import numpy as np

    symbols = ENCODED[kind]
    mean_bytes = len(symbols.encode()) / len(symbols)
    points = np.array([ord(symbol) for symbol in symbols], "<u4")
    drawn = np.random.default_rng(1).integers(0, len(points), round(ENCODED_BYTES / mean_bytes))
    return points[drawn].tobytes().decode("utf-32-le")
