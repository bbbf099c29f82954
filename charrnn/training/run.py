"""A training run on disk: it starts or resumes, trains, logs and saves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from charrnn import checkpoint as ckpt
from charrnn.checkpoint import Checkpoint
from charrnn.config import TextConfig, seeded, sort_settings
from charrnn.data.corpus import Corpus, Source
from charrnn.data.reading import ReadProgress
from charrnn.data.vocab import Vocab
from charrnn.errors import CheckpointError, ConfigError, RunFolderError
from charrnn.nn.functional import bits
from charrnn.training import budget
from charrnn.training.folder import RUNS, UNLOCKED, RunFolder
from charrnn.training.loop import (
    Evaluating,
    Recovered,
    Report,
    Stepped,
    Training,
    TrainState,
    check_state,
    fit,
    is_finished,
    is_stale,
)
from charrnn.training.memory import Footprint, footprint
from charrnn.training.resume import corpus_of, resumed_config, state_of, version_notes, with_state
from charrnn.training.setup import set_up, training_for


class Saved(NamedTuple):
    """A checkpoint was written."""

    path: Path
    step: int


Event = Stepped | Evaluating | Report | Recovered | Saved


@dataclass(eq=False)
class Run:
    """A training run in its folder: `start` or `resume` one, iterate over its `events`, `save` between any two.

    text_config     how its text was read and split
    init_from       the checkpoint whose weights it began with, or None
    earlier_totals  the lengths in steps that it had before a resume raised them
    notes           sentences for the user about adjusted and chosen settings
    seconds         time of training so far, without the time between a stop and a resume
    measured        the memory that measuring the speed took; None if the recipe was not used
    """

    folder: RunFolder
    training: Training
    vocab: Vocab
    source: Source
    val_source: Source | None
    state: TrainState
    text_config: TextConfig = field(default_factory=TextConfig)
    init_from: str | None = None
    earlier_totals: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    measured: Footprint | None = None
    _holds: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def start(
        cls,
        corpus: Corpus,
        out: Path | None = None,
        *,
        settings: dict[str, Any] | None = None,
        init_from: Path | None = None,
        force: bool = False,
        began: float | None = None,
        ready: Callable[[Run], object] | None = None,
    ) -> Run:
        """Start a run: build the vocabulary, draw the weights, fix the length, and save once.

        settings    fields of the configs by name; the corpus has those by which it was read and split. With a budget of
                    minutes, the recipe chooses the others, but with `init_from` neither kind nor size of the model
        out         the run's folder; ./checkpoints/<corpus name> if None
        init_from   a checkpoint whose weights the run begins with; the model then has the same size
        force       True: remove an earlier run in the folder
        began       time.monotonic() when the time budget began; now if None
        ready       called with the run before its length is measured
        Raises:     CharRNNError if the folder is taken, the corpus too short, or settings contradict each other.
        """
        began = time.monotonic() if began is None else began
        settings = seeded(corpus.merge_settings(settings or {}))
        minutes = sort_settings(settings).train.minutes
        folder = RunFolder(Path(out or RUNS / corpus.name))
        if not force:
            folder.refuse_taken()
        earlier = ckpt.load(init_from) if init_from else None
        left = 0.0 if minutes is None else minutes * 60 - (time.monotonic() - began)
        setup = set_up(corpus, settings, earlier, left)
        run = cls(
            folder,
            setup.training,
            setup.vocab,
            setup.corpus.source,
            setup.corpus.val_source,
            setup.training.begin(setup.params),
            setup.text_config,
            init_from=str(init_from) if init_from else None,
            notes=corpus.notes + setup.notes,
            measured=setup.measured,
        )
        folder.create()
        with ExitStack() as holds:
            if not holds.enter_context(folder.locked()):
                run.notes.append(UNLOCKED)
            if not force:
                folder.refuse_taken()  # another run may have begun and ended meanwhile
            if ready:
                ready(run)
            run._fix_length(began, left)
            if force:  # removed only now: this run has everything that it needs
                folder.clear()
            run.save()
            run._holds = holds.pop_all()
        return run

    @classmethod
    def resume(
        cls,
        out: Path,
        corpus_paths: str | Sequence[str] = (),
        val_path: str | None = None,
        *,
        settings: dict[str, Any] | None = None,
        reading: ReadProgress | None = None,
    ) -> Run:
        """Continue the run in a folder exactly from its `last.npz`.

        corpus_paths where the text is; by default, the paths in the checkpoint
        val_path    where the validation file is, if there is one; by default, the path in the checkpoint
        settings    settings of the user: `steps` or `epochs` raise the length, `threads` may change, no other may
        reading     as for `read_text`
        Raises:     CharRNNError if the folder has no run, the corpus is another, or a setting differs from the run's.
        """
        folder = RunFolder(Path(out))
        if not folder.last.exists():
            raise RunFolderError(f"{folder.path} holds no last.npz to resume from: start a run there without --resume")
        with ExitStack() as holds:
            is_locked = holds.enter_context(folder.locked())
            saved = ckpt.load(folder.last)
            if saved.state is None or saved.train_config.steps is None:
                raise CheckpointError(f"{folder.last} holds a model but no run: start a new one with --init-from")
            corpus = corpus_of(saved, corpus_paths, val_path, reading=reading)
            config, notes = resumed_config(saved, corpus, settings or {})
            notes = corpus.notes + notes + version_notes(saved.versions, ckpt.current_versions())
            notes += [] if is_locked else [UNLOCKED]
            training, _ = training_for(corpus, saved.vocab, saved.model_config, config)
            state = state_of(folder.last, saved)
            raised = [] if config.steps == saved.train_config.steps else [saved.train_config.steps or 0]
            run = cls(
                folder,
                training,
                saved.vocab,
                corpus.source,
                corpus.val_source,
                state,
                saved.text_config,
                init_from=saved.init_from,
                earlier_totals=saved.earlier_totals + raised,
                notes=notes,
            )
            if run.finished:
                raise ConfigError(_complete(run))
            progress = state.progress
            reported = folder.cut_log(progress.reported, progress.recoveries)  # a save can precede its log line
            run.seconds = reported + progress.seconds
            run._holds = holds.pop_all()
        return run

    def __repr__(self) -> str:
        config = self.training.model_config
        size = f"{config.cell} {config.num_layers}x{config.hidden_size}"
        return f"Run({str(self.folder.path)!r}: {size}, step {self.state.step:,} of {self.training.steps:,})"

    @property
    def finished(self) -> bool:
        """Return whether the run has done all its steps, or stopped early."""
        return is_finished(self.training, self.state) and self.state.progress.reported == self.state.step

    @property
    def footprint(self) -> Footprint:
        """Return the memory that the run takes at its peak; call it before the first step."""
        own = footprint(self.training, has_good=self.state.good is not None)
        return own if self.measured is None else max(own, self.measured)

    def events(self) -> Iterator[Event]:
        """Train to the end, log and save; when an event is yielded, memory and disk are consistent."""
        began = time.monotonic() - self.seconds
        reported = self.seconds - self.state.progress.seconds
        for event in fit(self.training, self.state):
            self.seconds = time.monotonic() - began
            saved = []
            if isinstance(event, Report):
                if event.best:
                    saved.append(self._saved_best(event.averaged))
                self.folder.append(self._log_line(event, self.seconds - reported))
                reported = self.seconds
                if self.training.evaluates_at(event.step):
                    saved.append(self.save())  # after the log line, so that the log has every step that is saved
            elif isinstance(event, Recovered):
                self.folder.append(self._recovery_line(event))
                reported = self.seconds
            self.state.progress.seconds = self.seconds - reported
            if isinstance(event, Recovered) or (isinstance(event, Stepped) and self._saves_at(event.step)):
                saved.append(self.save())
            yield event
            yield from saved

    def _saves_at(self, step: int) -> bool:
        every = self.training.config.save_every
        return every > 0 and step % every == 0

    def save(self) -> Saved:
        """Write `last.npz`, from which the run can resume."""
        return self._written(self.folder.last, self.checkpoint(resumable=True))

    def close(self) -> None:
        """Release the folder's lock."""
        self._holds.close()

    def _saved_best(self, averaged: bool) -> Saved:
        """Write `best.npz`: the model alone, with the running mean of the weights if that is better."""
        checkpoint = self.checkpoint()
        if averaged:
            checkpoint = replace(checkpoint, params=self.training.averaged(self.state), averaged=True)
        return self._written(self.folder.best, checkpoint)

    def _written(self, path: Path, checkpoint: Checkpoint) -> Saved:
        check_state(self.state)  # never replace a good file by one with NaN
        ckpt.save(path, checkpoint)
        return Saved(path, self.state.step)

    def checkpoint(self, resumable: bool = False) -> Checkpoint:
        """Return the run as a checkpoint: the model alone, or with all that resuming needs."""
        state = self.state
        checkpoint = Checkpoint(
            self.training.model_config,
            self.training.config,
            self.vocab,
            state.params,
            state.step,
            self.source,
            self.val_source,
            self.init_from,
            self.earlier_totals,
            state.history,
            text_config=self.text_config,
            validated=max(0, len(self.training.val_ids) - 1),
        )
        if not resumable:
            return checkpoint
        good = None if state.good is None or state.is_good else with_state(checkpoint, state.good)
        return replace(with_state(checkpoint, state), good=good)

    def _log_line(self, report: Report, seconds: float) -> dict[str, Any]:
        return {
            "step": report.step,
            "epoch": round(report.epoch, 6),
            "seconds": round(self.seconds, 3),
            "loss": report.loss,
            "val_loss": report.val_loss,
            "averaged": report.averaged,
            "gap": None if report.val_loss is None else report.val_loss - report.loss,
            "bpc": None if report.val_loss is None else bits(report.val_loss),
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            "grad_norms": report.grad_norms,
            "clipped": round(report.clipped, 4),
            "saturation": report.saturation,
            "chars_per_second": round(report.chars / seconds, 1) if seconds > 0 else None,
            "recoveries": self.state.progress.recoveries,
        }

    def _recovery_line(self, event: Recovered) -> dict[str, Any]:
        progress = self.state.progress
        seconds, factor = round(self.seconds, 3), progress.rate_factor
        return event._asdict() | {"seconds": seconds, "rate_factor": factor, "recoveries": progress.recoveries}

    def _fix_length(self, began: float, planned: float) -> None:
        """Turn the requested length into steps, and choose how often to evaluate."""
        config, notes = budget.fix_length(self.training, self.state, began, planned, self._saving_seconds)
        self.training = replace(self.training, config=config)
        self.notes += notes

    def _saving_seconds(self) -> float:
        """Return the seconds that a save takes; a full disk then fails the run before it trains."""
        trial = self.folder.path / ".trial.npz"
        begin = time.perf_counter()
        try:
            ckpt.save(trial, self.checkpoint(resumable=True))
            return time.perf_counter() - begin
        finally:
            trial.unlink(missing_ok=True)


def _complete(run: Run) -> str:
    """Return the error of a run that has no steps left."""
    step, config = run.state.step, run.training.config
    if is_stale(config, run.state.progress):
        return (
            f"the run in {run.folder.path} stopped at step {step:,} because its validation loss no longer fell "
            f"(--patience {config.patience}): start a new run with --init-from"
        )
    return f"the run in {run.folder.path} is complete after {step:,} steps: raise --steps to train on"
