"""Character-level language models in NumPy: train, evaluate and sample recurrent nets.

The public names below are loaded when they are first used, so that `import charrnn` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charrnn.version import __version__

if TYPE_CHECKING:
    from charrnn.api import LanguageModel, fit, load
    from charrnn.baselines import Baselines
    from charrnn.complete import Completion, Completions
    from charrnn.config import ModelConfig, TrainConfig
    from charrnn.corpus import Corpus
    from charrnn.errors import CharRNNError
    from charrnn.evaluate import Evaluation
    from charrnn.run import Run, Saved
    from charrnn.score import Scored
    from charrnn.train import Evaluating, Report, Stepped
    from charrnn.vocab import Vocab
    from charrnn.written import Sample

_HOMES = {
    "LanguageModel": "api",
    "fit": "api",
    "load": "api",
    "Baselines": "baselines",
    "Completion": "complete",
    "Completions": "complete",
    "ModelConfig": "config",
    "TrainConfig": "config",
    "Corpus": "corpus",
    "CharRNNError": "errors",
    "Evaluation": "evaluate",
    "Run": "run",
    "Saved": "run",
    "Scored": "score",
    "Evaluating": "train",
    "Report": "train",
    "Stepped": "train",
    "Vocab": "vocab",
    "Sample": "written",
}

__all__ = [
    "Baselines",
    "CharRNNError",
    "Completion",
    "Completions",
    "Corpus",
    "Evaluating",
    "Evaluation",
    "LanguageModel",
    "ModelConfig",
    "Report",
    "Run",
    "Sample",
    "Saved",
    "Scored",
    "Stepped",
    "TrainConfig",
    "Vocab",
    "__version__",
    "fit",
    "load",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    value = getattr(import_module(f"charrnn.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
