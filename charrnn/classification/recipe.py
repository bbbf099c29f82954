"""The recipe of a classifier: settings that suit its texts and a time budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charrnn.classification.examples import Example
from charrnn.training.recipe import Recipe


def choose(examples: Sequence[Example], symbols: int, settings: dict[str, Any]) -> Recipe:
    """Return the settings that are not given."""
    chosen = {"cell": "lstm", "hidden_size": 128, "dropout": 0.5, "batch_size": 64, "learning_rate": 4e-3}
    return Recipe({name: value for name, value in chosen.items() if name not in settings}, [], [])
