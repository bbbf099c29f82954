"""Resuming: a run continues with its own text and settings; only its length, patience and way of sharing may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from charrnn.checkpoint import Checkpoint
from charrnn.config import LENGTHS, STDIN, TrainConfig, option_words, refuse_conflicts
from charrnn.data.corpus import Corpus
from charrnn.data.reading import ReadProgress
from charrnn.errors import CheckpointError, ConfigError, CorpusError, OtherTextError
from charrnn.nn.schedules import Course
from charrnn.parallel.ranks import Ranks
from charrnn.training.loop import Progress, Training, TrainState
from charrnn.training.setup import fit_to_text, with_threads


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
        raise CorpusError("the validation text was not a file, so it cannot be read again: give it (--val-file)")
    paths, learned = paths or saved.source.paths, (saved.source, saved.val_source)
    seed = saved.train_config.seed
    try:
        return Corpus.read(paths, saved.text_config, val_path, seed=seed, learned=learned, reading=reading)
    except OtherTextError:
        raise
    except CorpusError as error:
        raise CorpusError(f"the model's corpus cannot be read: {error}", error.exit_code) from None


def resumed_config(
    saved: Checkpoint, corpus: Corpus, settings: dict[str, Any], ranks: Ranks | None
) -> tuple[TrainConfig, list[str]]:
    """Return the run's settings with the patience, threads, ranks and form of gradients of now, and notes for the user.

    Raises:  ConfigError if another setting differs from the run's.
    """
    notes: list[str] = []
    config = replace(saved.train_config, patience=settings.get("patience", saved.train_config.patience))
    if config.ranks != (size := ranks.size if ranks else 1):
        then, now = (f"{number} rank{'s' * (number > 1)}" for number in (config.ranks, size))
        notes.append(f"the run was on {then} and is now on {now}: results agree to rounding but not bit for bit")
        config = with_threads(replace(config, threads=settings.get("threads")), saved.model_config, ranks)
    elif settings.get("threads", config.threads) != config.threads:
        notes.append("with another number of threads, results agree to rounding but not bit for bit")
        config = replace(config, threads=settings["threads"])
    if (half := settings.get("half_gradients", config.half_gradients)) != config.half_gradients:
        notes.append("gradients are now sent with another precision, so results differ a little")
        config = replace(config, half_gradients=half)
    _refuse_changes(saved, corpus, settings)
    return config, notes


def _refuse_changes(saved: Checkpoint, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Raise ConfigError if a setting that may not change differs from the run's."""
    config = saved.train_config
    stored = asdict(saved.model_config) | asdict(saved.text_config) | asdict(config)
    for name, value in settings.items():
        if name in (*LENGTHS, "patience", "threads", "half_gradients") or value == stored[name]:
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


def requested_steps(training: Training, settings: dict[str, Any]) -> int | None:
    """Return the total number of steps that settings ask for; None if they have none.

    Raises:  ConfigError if it is less than the run has, or if there are two lengths.
    """
    refuse_conflicts([name for name in LENGTHS if name in settings])
    steps: int | None = settings.get("steps")
    if "epochs" in settings:
        steps = settings["epochs"] * training.stream.steps_per_epoch
    has = training.course().total
    if steps is not None and steps < has:
        raise ConfigError(f"the run has {has:,} steps: --steps and --epochs are totals and cannot be less: raise them")
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
            f"{path} is damaged: its record of progress is invalid ({error}); use another copy"
        ) from error
    good = None if saved.good is None else state_of(path, saved.good)
    course = Course.of(saved.train_config.steps, saved.train_config.length_changes)
    return TrainState(saved.params, saved.opt_state, saved.state, course, saved.step, progress, saved.history, good)


def version_notes(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return a note if the bits of a product depend on something that changed since the checkpoint was written."""
    shared = [name for name in ("numpy", "blas", "kernel") if name in then and name in now]
    changed = [name for name in (*shared, "core") if then.get(name) != now.get(name)]
    if not changed:
        return []
    before, here = (
        ", ".join(f"{name} {versions[name]}" if name in versions else f"no {name}" for name in changed)
        for versions in (then, now)
    )
    return [f"the run was on {before} and is now on {here}: results agree to rounding but not bit for bit"]
