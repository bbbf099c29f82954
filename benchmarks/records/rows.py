"""The rows of the results: texts, times, commands, targets, and the figures of other models."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SPLIT = ("--val-fraction", "0.05", "--test-fraction", "0.05")
NAMES = ("--split-documents", "lines", "--shuffle-documents", "--val-documents", "1000")
#: The options of `charrnn eval` for each score. The last one scores the test split, once per run.
SCORES: dict[str, tuple[str, ...]] = {
    "whole": ("--protocol", "whole"),
    "windows": ("--protocol", "windows"),
    "test": ("--protocol", "whole", "--test", "--baselines"),
}


@dataclass(frozen=True)
class Row:
    """A text and a time.

    options   of `charrnn train`, besides time and seed
    bars      the targets of the net alone: nats per character for `whole` and `windows`, bits for `test`
    memory    the targets with its memory, in the same units
    compiled  whether charrnn computes with its compiled core, or else with NumPy alone
    """

    text: str
    minutes: float
    options: tuple[str, ...] = ()
    bars: Mapping[str, float] = field(default_factory=dict, hash=False)
    memory: Mapping[str, float] = field(default_factory=dict, hash=False)
    compiled: bool = True

    @property
    def name(self) -> str:
        """The row's name, which `--rows` searches."""
        time = f"{self.minutes:g} minute{'s' * (self.minutes != 1)}"
        return f"{Path(self.text).stem}, {time}{'' if self.compiled else ', NumPy'}"

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores: `test` only with a test split; `windows` not for documents, which start anew."""
        absent = {"test"} if "--test-fraction" not in self.options else set()
        absent |= {"windows"} if "--split-documents" in self.options else set()
        return tuple(name for name in SCORES if name not in absent)

    def command(self, seed: int) -> str:
        """Return the command that trains this row, for a shell."""
        return ("" if self.compiled else "CHARRNN_COMPILED=0 ") + shlex.join(("charrnn", *self.train(seed)))

    def train(self, seed: int) -> tuple[str, ...]:
        """Return the arguments of `charrnn` that train this row."""
        return ("train", self.text, "--minutes", f"{self.minutes:g}", *self.options, "--seed", str(seed))

    def eval(self, score: str) -> tuple[str, ...]:
        """Return the arguments of `charrnn` that score the trained model."""
        return ("eval", "-m", f"checkpoints/{Path(self.text).stem}", *SCORES[score])


SHAKESPEARE = "tinyshakespeare.txt"
ROWS = (
    Row(SHAKESPEARE, 1, bars={"whole": 1.70}),
    Row(SHAKESPEARE, 3, bars={"whole": 1.55, "windows": 1.58}, memory={"whole": 1.36, "windows": 1.44}),
    Row(SHAKESPEARE, 3, compiled=False),
    Row(SHAKESPEARE, 10, bars={"whole": 1.455, "windows": 1.48}, memory={"whole": 1.33, "windows": 1.42}),
    Row(SHAKESPEARE, 10, compiled=False),
    Row(SHAKESPEARE, 15, bars={"whole": 1.445, "windows": 1.4697}),
    Row(SHAKESPEARE, 30, bars={"whole": 1.430, "windows": 1.450}, memory={"whole": 1.32, "windows": 1.41}),
    Row("alice29.txt", 5, SPLIT, {"test": 2.049}, {"test": 1.92}),
    Row("irish_abc.txt", 5, SPLIT, {"test": 2.592}, {"test": 1.60}),
    Row("tang_poems_zh.txt", 5, SPLIT, {"test": 7.268}, {"test": 6.25}),
    Row("names.txt", 5, NAMES, {"whole": 1.92}, {"whole": 1.91}),
)
#: Other models on tiny Shakespeare's validation split: name, nats per character `whole` and in `windows`.
OTHERS: tuple[tuple[str, float | None, float | None], ...] = (
    ("nanoGPT's CPU recipe, 74 s on two cores; its windows are of 64 characters, drawn at random", None, 1.8857),
    ("nanoGPT, ten minutes on two cores; its windows are of 128 characters, drawn at random", None, 1.5350),
    ("modified Kneser-Ney 7-gram (`charrnn eval --baselines`)", 1.5165, None),
    ("nanoGPT's GPU recipe on an A100", None, 1.4697),
    ("LSTM 1x512 in PyTorch, 20 minutes on two cores", 1.4386, 1.4625),
)
