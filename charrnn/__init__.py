"""Character-level language models in NumPy: train, evaluate and sample recurrent nets.

The public names below are loaded when they are first used, so that `import charrnn` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charrnn.version import __version__

if TYPE_CHECKING:
    from charrnn.api import LanguageModel, fit, from_torch, load, mixed, train
    from charrnn.classification.prediction import Classifier, load_classifier
    from charrnn.classification.run import train_classifier
    from charrnn.config import ModelConfig, TextConfig, TrainConfig
    from charrnn.data.corpus import Corpus
    from charrnn.data.reading import read_text
    from charrnn.data.vocab import Vocab
    from charrnn.errors import CharRNNError
    from charrnn.evaluation.baselines import Baselines
    from charrnn.evaluation.scoring import Scored
    from charrnn.evaluation.statistics import Evaluation
    from charrnn.evaluation.trace import Trace
    from charrnn.generation.completion import Completion, Completions
    from charrnn.generation.sample import Sample
    from charrnn.insight.reading import Reading
    from charrnn.nn.cells import CELLS, register_cell
    from charrnn.nn.cells.base import Cell
    from charrnn.nn.gradcheck import check_gradients
    from charrnn.nn.initializers import INITS
    from charrnn.training.fitting import MemoryFitted
    from charrnn.training.loop import Evaluating, Recovered, Report, Stepped
    from charrnn.training.run import LengthChanged, Run, Saved

_HOMES = {
    "LanguageModel": "api",
    "fit": "api",
    "from_torch": "api",
    "load": "api",
    "mixed": "api",
    "train": "api",
    "Baselines": "evaluation.baselines",
    "Classifier": "classification.prediction",
    "load_classifier": "classification.prediction",
    "train_classifier": "classification.run",
    "Completion": "generation.completion",
    "Completions": "generation.completion",
    "ModelConfig": "config",
    "TextConfig": "config",
    "TrainConfig": "config",
    "Corpus": "data.corpus",
    "read_text": "data.reading",
    "CharRNNError": "errors",
    "Evaluation": "evaluation.statistics",
    "Trace": "evaluation.trace",
    "LengthChanged": "training.run",
    "MemoryFitted": "training.fitting",
    "Run": "training.run",
    "Saved": "training.run",
    "Scored": "evaluation.scoring",
    "CELLS": "nn.cells",
    "Cell": "nn.cells.base",
    "register_cell": "nn.cells",
    "INITS": "nn.initializers",
    "check_gradients": "nn.gradcheck",
    "Evaluating": "training.loop",
    "Recovered": "training.loop",
    "Report": "training.loop",
    "Stepped": "training.loop",
    "Vocab": "data.vocab",
    "Sample": "generation.sample",
    "Reading": "insight.reading",
}

__all__ = [
    "CELLS",
    "INITS",
    "Baselines",
    "Cell",
    "CharRNNError",
    "Classifier",
    "Completion",
    "Completions",
    "Corpus",
    "Evaluating",
    "Evaluation",
    "LanguageModel",
    "LengthChanged",
    "MemoryFitted",
    "ModelConfig",
    "Reading",
    "Recovered",
    "Report",
    "Run",
    "Sample",
    "Saved",
    "Scored",
    "Stepped",
    "TextConfig",
    "Trace",
    "TrainConfig",
    "Vocab",
    "__version__",
    "check_gradients",
    "fit",
    "from_torch",
    "load",
    "load_classifier",
    "mixed",
    "read_text",
    "register_cell",
    "train",
    "train_classifier",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    value = getattr(import_module(f"charrnn.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, for completion; nothing is loaded."""
    return __all__
