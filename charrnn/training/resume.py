"""Resuming: a run continues with its own text and settings; only its length and its threads may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from charrnn.checkpoint import Checkpoint
from charrnn.config import STDIN, TrainConfig, option_words, refuse_conflicts
from charrnn.data.corpus import Corpus
from charrnn.data.reading import ReadProgress
from charrnn.data.stream import Stream
from charrnn.errors import CheckpointError, ConfigError, CorpusError, OtherTextError
from charrnn.training.loop import Progress, TrainState
from charrnn.training.setup import fit_to_text


def corpus_of(
    saved: Checkpoint,
    paths: str | Sequence[str] = (),
    val_path: str | None = None,
    *,
    reading: ReadProgress | None = None,
) -> Corpus:
    """Return the corpus that a checkpoint was trained on, read again.

    paths, val_path  where it is now; by default, the paths in the checkpoint
    reading          as for `read_text`
    Raises:  CorpusError if it cannot be read, or is another text.
    """
    if not paths and (not saved.source.paths or STDIN in saved.source.paths):
        raise CorpusError("the model's corpus was not a file, so it cannot be read again: give the text")
    if saved.val_source is not None and not val_path and (val_path := saved.val_source.path) in (None, STDIN):
        raise CorpusError("the model's validation text was not a file, so it cannot be read again: give it")
    paths, learned = paths or saved.source.paths, (saved.source, saved.val_source)
    seed = saved.train_config.seed
    try:
        return Corpus.read(paths, saved.text_config, val_path, seed=seed, learned=learned, reading=reading)
    except OtherTextError:
        raise
    except CorpusError as error:
        raise CorpusError(f"the corpus that the model was trained on cannot be read: {error}") from None


def resumed_config(saved: Checkpoint, corpus: Corpus, settings: dict[str, Any]) -> tuple[TrainConfig, list[str]]:
    """Return the run's settings with the length and the threads now requested, and notes for the user.

    Raises:  ConfigError if another setting differs from the run's, or the length is less than it was.
    """
    notes: list[str] = []
    config = saved.train_config
    if "minutes" in settings:
        notes.append(f"the run's length was settled when it began: {config.steps:,} steps, which --steps can raise")
    if settings.get("threads", config.threads) != config.threads:
        notes.append("with another number of threads, results agree to rounding but not bit for bit")
        config = replace(config, threads=settings["threads"])
    _refuse_changes(saved, corpus, settings)
    steps = _total_steps(config, corpus, settings)
    return (config if steps is None else replace(config, steps=steps, epochs=None, minutes=None)), notes


def _refuse_changes(saved: Checkpoint, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Raise ConfigError if a setting other than length and threads differs from the run's."""
    config = saved.train_config
    stored = asdict(saved.model_config) | asdict(saved.text_config) | asdict(config)
    for name, value in settings.items():
        if name in ("steps", "epochs", "minutes", "threads") or value == stored[name]:
            continue
        if name in ("batch_size", "seq_len"):  # a short text may have made the run's smaller than requested
            fitted, _ = fit_to_text(replace(config, **{name: value}), len(corpus.train) - 1)
            if getattr(fitted, name) == stored[name]:
                continue
            value = getattr(fitted, name)
        raise ConfigError(
            f"{' '.join(option_words(name, value))} contradicts the run, which has {stored[name]}: leave it out to "
            "resume, or start a new run with --out"
        )


def _total_steps(config: TrainConfig, corpus: Corpus, settings: dict[str, Any]) -> int | None:
    """Return the requested total number of steps; None if it does not change."""
    asked = [name for name in ("steps", "epochs") if name in settings]
    if not asked:
        return None
    refuse_conflicts(asked)
    steps: int = settings[asked[0]]
    if asked == ["epochs"]:
        steps *= Stream(corpus.train.ids, config.batch_size, config.seq_len).steps_per_epoch
    if steps < (config.steps or 0):
        raise ConfigError(f"the run has {config.steps:,} steps: --steps or --epochs may raise that, not lower it")
    return steps


def with_state(checkpoint: Checkpoint, state: TrainState) -> Checkpoint:
    """Return the checkpoint with all that resuming from this state needs."""
    return replace(
        checkpoint,
        params=state.params,
        opt_state=state.opt_state,
        state=state.state,
        step=state.step,
        progress=asdict(state.progress),
        history=state.history,
    )


def state_of(path: Path, saved: Checkpoint) -> TrainState:
    """Return the state in a checkpoint that a run can resume from.

    Raises:  CheckpointError if its progress has other fields than this version knows.
    """
    assert saved.state is not None
    try:
        progress = Progress(**saved.progress)
    except TypeError as error:
        raise CheckpointError(
            f"{path} is damaged: its progress does not make sense ({error}); use another copy"
        ) from error
    good = None if saved.good is None else state_of(path, saved.good)
    return TrainState(saved.params, saved.opt_state, saved.state, saved.step, progress, saved.history, good)


def version_notes(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return a note if the bits of a product depend on something that changed since the checkpoint was written."""
    shared = [name for name in ("numpy", "blas", "kernel") if name in then and name in now]
    changed = [name for name in (*shared, "numba") if then.get(name) != now.get(name)]
    if not changed:
        return []
    before, here = (
        ", ".join(f"{name} {versions[name]}" if name in versions else f"no {name}" for name in changed)
        for versions in (then, now)
    )
    return [f"the run was on {before}, and from here on it is on {here}: results agree to rounding but not bit for bit"]
