"""The cases that are measured, the results, and the random text that all sides read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, NamedTuple

VOCAB_SIZE = 65
TEMPERATURE = 0.8
WINDOWS = 4  # windows of text that each side cycles through
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "lnlstm": 4}
SIZES = ((1, 128, 32, 25), (2, 128, 50, 50), (1, 256, 64, 128), (1, 512, 64, 64), (2, 512, 100, 100))
READ_SIZES = ((1, 128), (2, 128), (1, 512))  # for evaluation and sampling
RECIPE_UNITS = 384  # what the recipe takes for a few minutes on a text of a megabyte
SAMPLED = 100  # characters of each stream in one run
OURS, NUMPY, THEIRS, FLOOR = "charrnn", "charrnn, NumPy", "PyTorch", "floor"  # the sides
LSTM, NUMPY_LSTM = "lstm", "lstm, NumPy"  # sides beside `lnlstm`: charrnn's own `lstm` of the same size
COMPILED = {OURS: True, NUMPY: False, LSTM: True, NUMPY_LSTM: False}  # whether the side of charrnn has its core
ENCODED_BYTES = 10_000_000
ENCODED = {"ascii": "".join(map(chr, range(32, 97))), "multi-byte": "aé ßжщ語字仮あ\n😀𝄞"}


class Work(NamedTuple):
    """Something to time: `run` does it once; `before` prepares the process and is not timed."""

    run: Callable[[], object]
    before: Callable[[], object] = bool


@dataclass(frozen=True)
class Case:
    """One row of the tables: layers x units, B batch rows, T time steps; for sampling, B streams of T characters."""

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


def cases_of(cell: str) -> Iterator[Case]:
    """Yield the rows of a cell: training, evaluation, and sampling of one stream and of 64."""
    train, read = SIZES, READ_SIZES
    if cell == "lnlstm":
        train, read = (*train, (1, RECIPE_UNITS, 32, 100)), (*read, (1, RECIPE_UNITS))
    yield from (Case("train", cell, *size) for size in train)
    yield from (Case("evaluate", cell, *size, 100, 64) for size in read)
    yield from (Case("sample", cell, *size, streams, SAMPLED) for size in read for streams in (1, 64))


CASES = (
    *(case for cell in ("lstm", "gru", "rnn", "lnlstm") for case in cases_of(cell)),
    *(Case("encode", text) for text in ENCODED),
)
MEMORY_CASE, MEMORY_STEPS = Case("train", "lstm", 1, 512, 64, 64), 20


@dataclass
class Result:
    """The figures of one row; the k-th figures of all sides come from the same round.

    unit      "s" or "MiB"
    amount    characters or MB per run; 0 if neither applies
    sides     OURS, NUMPY, THEIRS, FLOOR, … -> one figure per round
    case      what was measured; None for whole processes
    variants  the fastest of several ways, for each side that has several
    """

    name: str
    kind: str
    unit: str
    amount: float
    sides: dict[str, list[float]]
    variants: dict[str, str] = field(default_factory=dict)
    case: Case | None = None

    def ratio(self, above: str, below: str) -> float | None:
        """Return the median over the rounds of one side's figure divided by the other's."""
        if not (self.sides.get(above) and self.sides.get(below)):
            return None
        return median(a / b for a, b in zip(self.sides[above], self.sides[below], strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the ratios of the tables, for JSON."""
        pairs = [(THEIRS, OURS), (THEIRS, NUMPY), (LSTM, OURS), (NUMPY_LSTM, OURS), (OURS, FLOOR)]
        ratios = {f"{above} ÷ {below}": self.ratio(above, below) for above, below in pairs}
        return asdict(self) | {"ratios": {pair: ratio for pair, ratio in ratios.items() if ratio is not None}}


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
