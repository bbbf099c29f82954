"""Settings as keywords: their names for editors, notebooks and type checkers, and one error for a wrong name.

The fields of the settings' dataclasses are the keywords of `fit`, `sample` and others. The TypedDicts name them for
editors and type checkers, which do not run code; `spell_out` names them for `help()` and completion in notebooks. A
test compares both with the fields.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from inspect import Parameter
from typing import Any, TypedDict, TypeVar

from charrnn.config import unknown_setting

F = TypeVar("F", bound=Callable[..., Any])


class TrainSettings(TypedDict, total=False):
    """The fields of `ModelConfig`, `TextConfig` and `TrainConfig`."""

    cell: str
    hidden_size: int
    num_layers: int
    embed_size: int
    tied: bool
    dropout: float
    input_dropout: float
    weight_drop: float
    init: str
    dtype: str
    bytes: bool
    encoding: str
    normalize: str
    lowercase: bool
    min_count: int
    split_documents: str | None
    separator: str | None
    field: str | None
    shuffle_documents: bool
    val_documents: int | None
    test_documents: int | None
    val_fraction: float
    test_fraction: float
    steps: int | None
    epochs: int | None
    minutes: float | None
    length_changes: str | None
    patience: int
    batch_size: int
    seq_len: int
    reset_rate: float
    optimizer: str
    learning_rate: float | None
    momentum: float
    beta1: float
    beta2: float
    weight_decay: float | None
    average: float
    schedule: str
    warmup_steps: int
    final_rate: float
    decay_rate: float
    decay_steps: int | None
    clip_norm: float
    clip_value: float
    recover: bool
    threads: int | None
    seed: int | None
    extend_vocab: bool
    val_chars: int
    eval_every: int | None
    log_every: int
    save_every: int


class FilterSettings(TypedDict, total=False):
    """The fields of `SampleConfig` without the length."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    repeat_window: int
    lines: int
    stop: tuple[str, ...]
    regex: str | None
    charset: str | None
    unknown: str


class SampleSettings(FilterSettings, total=False):
    """The fields of `SampleConfig`."""

    length: int | None


def spell_out(*configs: type[Any]) -> Callable[[F], F]:
    """Give a function with `**settings` a signature that names the fields of these dataclasses, with their defaults.

    The function then also refuses any other keyword, and takes NumPy's numbers as Python's.
    Raises:  ConfigError, when it is called, for a keyword that it does not have.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = {name: item for name, item in signature.parameters.items() if item.kind is not Parameter.VAR_KEYWORD}
        spelled = {
            item.name: Parameter(item.name, Parameter.KEYWORD_ONLY, default=item.default, annotation=item.type)
            for config in configs
            for item in fields(config)
            if item.name not in ("vocab_size", "document_rules")  # which the text and the version decide
        }
        parameters = own | {name: item for name, item in spelled.items() if name not in own}
        names = [name for name in parameters if name != "self"]

        @wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            for name in keywords:
                if name not in names:
                    raise unknown_setting(name, names)
            return function(*map(plain, args), **{name: plain(value) for name, value in keywords.items()})

        call.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate


def plain(value: Any) -> Any:
    """Return a number of NumPy, or of another library like it, as a number of Python; any other value unchanged."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
