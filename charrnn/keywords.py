"""Settings as keywords, for editors and type checkers, which do not run code.

The fields of the settings' dataclasses are the keywords of `fit`, `sample` and others. A test compares these names with
the fields. Only type checkers import this module.
"""

from __future__ import annotations

from typing import TypedDict


class TrainSettings(TypedDict, total=False):
    """The fields of `ModelConfig`, `TextConfig` and `TrainConfig`."""

    cell: str
    hidden_size: int
    num_layers: int
    embed_size: int
    tied: bool
    attention: int
    dropout: float
    input_dropout: float
    weight_drop: float
    init: str
    dtype: str
    bytes: bool
    encoding: str
    normalize: str
    lowercase: bool
    reverse: bool
    min_count: int
    split_documents: str | None
    separator: str | None
    field: str | None
    context: bool
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
    warmup_share: float
    final_rate: float
    decay_rate: float
    decay_steps: int | None
    clip_norm: float
    clip_value: float
    recover: bool
    threads: int | None
    half_gradients: bool
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
