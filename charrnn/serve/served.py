"""A model that is served: what it writes and scores by, and the thread that writes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from charrnn.api import LanguageModel
from charrnn.generation.rules import Rules
from charrnn.generation.writer import Wishes
from charrnn.serve.batch import Job
from charrnn.serve.scoring import Scoring
from charrnn.serve.worker import Worker

_RULES = 16  # wishes whose rules are kept: an automaton takes time to make, and memory to keep


class Served:
    """A model with the thread that writes by it, and what scores by it."""

    def __init__(self, model: LanguageModel, news: Callable[[Iterable[Job]], None], scoring: Scoring) -> None:
        self.model, self.scoring = model, scoring
        self.writer = model.writer
        self.worker = Worker(self.writer.nets, news)
        self._rules: Callable[[Wishes], Rules] = lru_cache(_RULES)(self.writer.rules)

    def job(self, prime: str, seed: int | None, wanted: Wishes, pieces: bool) -> Job:
        """Return a text to write, its prime read.

        Raises:  ConfigError or VocabError for a wish that cannot be met.
        """
        rules = self._rules(wanted)
        begin = self.writer.begin(self.writer.vocab.encode(prime, wanted.unknown), rules)
        return Job(wanted, rules, begin, secrets.randbelow(2**32) if seed is None else seed, pieces)

    def about(self) -> dict[str, Any]:
        """Return what the model is."""
        saved = self.model.checkpoint
        config = saved.model_config
        return {
            "cell": config.cell,
            "layers": config.num_layers,
            "hidden": config.hidden_size,
            "symbols": saved.vocab.size,
            "step": saved.step,
        }
