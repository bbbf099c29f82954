"""A training run on disk: it starts or resumes, trains, logs and saves."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from charrnn import checkpoint as ckpt
from charrnn.checkpoint import Checkpoint
from charrnn.config import LENGTHS, TextConfig, TrainConfig, seeded, sort_settings, train_words
from charrnn.data.corpus import Corpus
from charrnn.data.reading import ReadProgress
from charrnn.data.source import Source
from charrnn.data.text import Text
from charrnn.data.vocab import Vocab
from charrnn.errors import CheckpointError, ConfigError, RunFolderError
from charrnn.nn.functional import bits
from charrnn.parallel.ranks import Ranks
from charrnn.parallel.workers import SlowRank
from charrnn.system.load import busy_now, is_crowded
from charrnn.training import budget
from charrnn.training.budget import Timer
from charrnn.training.fitting import MemoryFitted, fit_cache
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
from charrnn.training.recipe import MOST_PASSES
from charrnn.training.resume import corpus_of, requested_steps, resumed_config, state_of, version_notes, with_state
from charrnn.training.setup import set_up, thread_notes, training_for

_MOST_OF_THE_TIME = 0.9  # a run that ends earlier because its text is short is said to


class LengthChanged(NamedTuple):
    """A run with a time budget has a new length from this step on, so that it ends in time.

    total  its new number of steps
    """

    step: int
    total: int


class Saved(NamedTuple):
    """A checkpoint was written."""

    path: Path
    step: int


Event = Stepped | Evaluating | Report | Recovered | SlowRank | Saved | LengthChanged | MemoryFitted


@dataclass(eq=False)
class Run:
    """A training run in its folder: `start` or `resume` one, iterate over its `events`, `save` between any two.

    text_config     how its text was read and split
    init_from       the checkpoint whose weights it began with, or None
    earlier_totals  the lengths in steps that it had before a resume by version 0.2 or earlier raised them, which did
                    not record when; later changes are in `state.course`
    notes           sentences that the user should read; reasons: sentences about settings that the recipe chose
    seconds         time of training so far, without the time between a stop and a resume
    measured        the memory that measuring the speed took; None if the recipe was not used
    timer           keeps a run of some minutes within its time; None for a length in steps
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
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0
    measured: Footprint | None = None
    timer: Timer | None = None
    val_text: Text | None = None
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
        ranks: Ranks | None = None,
    ) -> Run:
        """Start a run: build the vocabulary, draw the weights, fix the length, and save once.

        settings    fields of the configs by name; the corpus has those by which it was read and split. With a budget of
                    minutes, the recipe chooses the others, but with `init_from` neither kind nor size of the model
        out         the run's folder; ./checkpoints/<corpus name> if None
        init_from   a checkpoint whose weights the run begins with; the model then has the same size
        force       True: remove an earlier run in the folder
        began       time.monotonic() when the time budget began; now if None
        ready       called with the run before its length is measured
        ranks       those of MPI, of which this is rank 0; None: this process alone trains
        Raises:     CharRNNError if the folder is taken, the corpus too short, or settings conflict.
        """
        began = time.monotonic() if began is None else began
        settings = seeded(corpus.merge_settings(settings or {}))
        minutes = sort_settings(settings).train.minutes
        folder = RunFolder(Path(out or RUNS / corpus.name))
        if not force:
            folder.refuse_taken()
        earlier = ckpt.load_model(init_from) if init_from else None
        left = 0.0 if minutes is None else minutes * 60 - (time.monotonic() - began)
        setup = set_up(corpus, settings, earlier, left, ranks)
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
            reasons=setup.reasons,
            measured=setup.measured,
            val_text=setup.corpus.val,
        )
        run.begin(force=force, began=began, ready=ready)
        return run

    def begin(self, *, force: bool, began: float, ready: Callable[[Self], object] | None) -> None:
        """Take the folder, fix the length, and save once; arguments and errors as for `start`."""
        folder = self.folder
        folder.create()
        with ExitStack() as holds:
            if not holds.enter_context(folder.locked()):
                self.notes.append(UNLOCKED)
            if not force:
                folder.refuse_taken()  # another run may have begun and ended meanwhile
            if ready:
                ready(self)
            self._fix_length(began)
            if force:  # removed only now: this run has everything that it needs
                folder.clear()
            self.save()
            if self.reasons:
                folder.append(self._stamp() | {"reasons": self.reasons})
            self._holds = holds.pop_all()

    @classmethod
    def resume(
        cls,
        out: Path,
        corpus_paths: str | Sequence[str] = (),
        val_path: str | None = None,
        *,
        settings: dict[str, Any] | None = None,
        reading: ReadProgress | None = None,
        began: float | None = None,
        ready: Callable[[Run], object] | None = None,
        ranks: Ranks | None = None,
    ) -> Run:
        """Continue the run in a folder exactly from its `last.npz`, to the length that it has or to another one.

        A complete run is returned, unless it is extended, with nothing written and `ready` not called: see `finished`.
        corpus_paths where the text is; by default, the paths in the checkpoint
        val_path    where the validation file is, if there is one; by default, the path in the checkpoint
        settings    the user's settings: `steps` or `epochs` raise the length, `minutes` is the time from now on,
                    `patience` and `threads` may change, no other may
        reading     as for `read_text`
        began       time.monotonic() when the minutes began; now if None
        ready       called with the run before its speed is measured
        ranks       as for `start`, of any number
        Raises:     CharRNNError if the folder has no run, the corpus is another, or a setting differs from the run's.
        """
        began = time.monotonic() if began is None else began
        settings = settings or {}
        folder = RunFolder(Path(out))
        with ExitStack() as holds:
            is_locked, saved = resumable(folder, holds)
            if saved.classifier is not None:
                resuming = "`charrnn classify train --resume`"
                raise CheckpointError(f"{folder.last} is a classifier: resume it with {resuming}")
            corpus = corpus_of(saved, corpus_paths, val_path, reading=reading)
            config, notes = resumed_config(saved, corpus, settings, ranks)
            notes = corpus.notes + notes + version_notes(saved.versions, ckpt.current_versions())
            notes += [] if is_locked else [UNLOCKED]
            training, _ = training_for(
                corpus, saved.vocab, saved.model_config, config, ranks, context=saved.text_config.context
            )
            notes += thread_notes(training) if "threads" in settings or ranks else []
            run = cls(
                folder,
                training,
                saved.vocab,
                corpus.source,
                corpus.val_source,
                state_of(folder.last, saved),
                saved.text_config,
                init_from=saved.init_from,
                earlier_totals=saved.earlier_totals,
                notes=notes,
                val_text=corpus.val,
            )
            run.carry_on(settings, began, ready)
            run._holds = holds.pop_all()
        return run

    def carry_on(self, settings: dict[str, Any], began: float, ready: Callable[[Self], object] | None) -> None:
        """Continue a run that has just been read, to the length that settings ask for; arguments as for `resume`.

        Raises:  ConfigError if it stopped early and is to be extended, or is to be shortened.
        """
        state, training = self.state, self.training
        total, before = requested_steps(training, settings), state.course.total
        if total is not None:
            state.course = state.course.changed(state.farthest, total)
        progress = state.progress
        extends = "minutes" in settings or state.course.total > before
        if extends and is_stale(training.config, progress):
            raise ConfigError(_stopped(self, settings))
        if not extends and self.finished:
            return
        if ready:
            ready(self)
        if "minutes" in settings:
            self._extend(settings["minutes"], began)
        reported = self.folder.cut_log(progress.reported, progress.recoveries, state.step)  # its lines may be newer
        self.seconds = reported + progress.seconds

    def __repr__(self) -> str:
        config = self.training.model_config
        size = f"{config.cell} {config.num_layers}x{config.hidden_size}"
        return f"Run({str(self.folder.path)!r}: {size}, step {self.state.step:,} of {self.state.course.total:,})"

    @property
    def finished(self) -> bool:
        """Return whether the run has done all its steps, or stopped early."""
        return is_finished(self.training, self.state) and self.state.progress.reported == self.state.step

    @property
    def config(self) -> TrainConfig:
        """Return the settings, with the changes of the length so far: a run with them is the same, bit for bit."""
        return replace(self.training.config, length_changes=self.state.course.length_changes)

    def command(self, **options: object) -> list[str]:
        """Return the words of a command line that trains on this run's corpus with these options."""
        return train_words(self.source.paths, options)

    def command_to_resume(self, **options: object) -> list[str]:
        """Return the words of the command line that resumes this run, with these options."""
        paths = self.source.paths
        usual = bool(paths) and self.folder.path == RUNS / Corpus.name_of(paths[0])
        where = {} if usual else {"out": self.folder.path}
        return self.command(**self.validated_on, resume=True, **where, **options)

    @property
    def validated_on(self) -> dict[str, Any]:
        """Return the option that names the validation file, if there is one."""
        return {"val_file": self.val_source.path} if self.val_source else {}

    @property
    def footprint(self) -> Footprint:
        """Return the memory that the run takes at its peak; call it before the first step."""
        own = footprint(self.training)
        return own if self.measured is None else max(own, self.measured)

    def events(self) -> Iterator[Event]:
        """Train to the end, log and save, then fit the memory; at each event, what is in memory and on disk agrees.

        A finished run yields nothing, except the memory if a kill came before it was fitted.
        """
        if self.finished:
            if not self.is_concluded and (fitted := self.conclude()) is not None:
                yield fitted
            return
        began = time.monotonic() - self.seconds
        reported = self.seconds - self.state.progress.seconds
        for event in fit(self.training, self.state):
            now = time.monotonic()
            self.seconds = now - began
            saved: list[Event] = []
            if isinstance(event, Report):
                if event.best:
                    saved.append(self._saved_best(event.averaged))
                self.folder.append(self._log_line(event, self.seconds - reported))
                reported = self.seconds
                if self.training.evaluates_at(self.state.course, event.step):
                    saved.append(self.save())  # after the log line, so that the log has every step that is saved
            elif isinstance(event, Recovered):
                self.folder.append(self._recovery_line(event))
                reported = self.seconds
            self.state.progress.seconds = self.seconds - reported
            if isinstance(event, Stepped):
                saved += self._length_changed(event, now)
            if isinstance(event, Recovered):
                saved.append(self.save())
            yield event
            yield from saved
            if isinstance(event, Stepped) and self._saves_at(event.step):
                yield self.save()  # after the event, so that the log has a sample that the caller adds at this step
        if (fitted := self.conclude()) is not None:
            yield fitted

    def log_sample(self, text: str) -> None:
        """Add a sample by the present weights to the log; call it at the event of the step that it is of."""
        self.folder.append(self._stamp() | {"sample": text})

    def _length_changed(self, event: Stepped, now: float) -> list[LengthChanged]:
        """Change the length if the run would not end in time; return the change, if there is one."""
        state = self.state
        total = self.timer.stepped(self.training, state, event.chars, now) if self.timer else state.course.total
        if total == state.course.total:
            return []
        state.course = state.course.changed(state.farthest, total)
        return [LengthChanged(event.step, total)]

    def _saves_at(self, step: int) -> bool:
        every = self.training.config.save_every
        return every > 0 and step % every == 0

    @property
    def is_concluded(self) -> bool:
        """Return whether `best.npz` has a memory, which is fitted when training ends."""
        return self.folder.best.exists() and ckpt.read_meta(self.folder.best)["cache"] is not None

    def conclude(self) -> MemoryFitted | None:
        """Fit a cache to the best model and add it to `best.npz`; None if there is no validation split, or too little.

        Call it when training has ended. It changes neither the weights nor which checkpoint is best.
        """
        if self.val_text is None or not self.folder.best.exists():
            return None
        best, training = ckpt.load(self.folder.best), self.training
        fitted = fit_cache(
            best.params,
            best.model_config,
            training.stream.ids,
            training.val_ids,
            end=training.stream.end,
            tab=training.stream.tab,
            trained=training.stream.chars_before(best.step),
            text=self.val_text.sha256,
            threads=training.config.threads or 1,
        )
        if fitted is not None:
            ckpt.save(self.folder.best, replace(best, cache=fitted.cache))
        return fitted

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
            self.config,
            self.vocab,
            state.params,
            state.step,
            self.source,
            self.val_source,
            self.init_from,
            self.earlier_totals,
            state.history,
            text_config=self.text_config,
            validated=self.training.validated,
        )
        if not resumable:
            return checkpoint
        good = None if state.good is None or state.is_good else with_state(checkpoint, state.good)
        return replace(with_state(checkpoint, state), good=good)

    def _stamp(self) -> dict[str, Any]:
        """Return where in the run a line of the log is that has no report."""
        state, seconds = self.state, round(self.seconds, 3)
        return {"step": state.step, "seconds": seconds, "recoveries": state.progress.recoveries}

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

    def _note_load(self) -> None:
        """Note if other programs leave too few cores for this run."""
        others, threads, cores = busy_now(), self.training.config.threads or 1, os.cpu_count() or 1
        if others is not None and is_crowded(others, threads, cores):
            programs = "another program wants" if others < 1.5 else f"{others:.0f} other programs want"
            core = "the only core" if cores == 1 else f"the {cores} cores"
            self.notes.append(f"this machine is busy: {programs} {core} too, so training is slower")

    def _fix_length(self, began: float) -> None:
        """Turn the requested length into steps, and choose how often to evaluate."""
        minutes = self.training.config.minutes
        if minutes is None:
            config = budget.fix_length(self.training)
        else:
            config, self.timer = budget.fit_to_time(self.training, self.state, minutes, began, self._saving_seconds)
            self.reasons.append(self._pace_in_words())
            self._note_load()
        self.training = replace(self.training, config=config)
        self.state.course = self.training.course()
        if self.timer is not None:
            self._note_short_text(self.timer)

    def _note_short_text(self, timer: Timer) -> None:
        """Note if the text can bear less than the time allows."""
        share = timer.seconds_left(self.training, self.state) / max(1e-9, timer.end - timer.began)
        if self.state.course.total == timer.most and share < _MOST_OF_THE_TIME:
            chars, units = len(self.training.stream.ids), self.training.model_config.hidden_size
            self.notes.append(
                f"the text is short: {chars:,} characters support {units} units and {MOST_PASSES} passes, about "
                f"{share:.0%} of the time; add text, or set another length with --epochs"
            )

    def _extend(self, minutes: float, began: float) -> None:
        """Give the run as many steps from here on as fit into these minutes."""
        state = self.state
        self.timer = budget.timer_of(self.training, state, minutes, began, self._saving_seconds)
        state.course = state.course.changed(state.farthest, self.timer.total(self.training, state, self.timer.began))
        self.reasons.append(self._pace_in_words())
        self._note_load()

    def _pace_in_words(self) -> str:
        assert self.timer is not None
        return f"an evaluation takes {self.timer.pace.evaluation:.2g} s here"

    def _saving_seconds(self) -> float:
        """Return the seconds that a save takes; a full disk then fails the run before it trains."""
        trial = self.folder.path / ".trial.npz"
        begin = time.perf_counter()
        try:
            ckpt.save(trial, self.checkpoint(resumable=True))
            return time.perf_counter() - begin
        finally:
            trial.unlink(missing_ok=True)


def resumable(folder: RunFolder, holds: ExitStack) -> tuple[bool, Checkpoint]:
    """Lock a folder until `holds` is closed; return whether it is locked, and the checkpoint to resume from.

    Raises:  RunFolderError or CheckpointError if there is none.
    """
    if not folder.last.exists():
        remedy = "start a run there without --resume"
        if folder.best.exists():
            remedy = f"train its best.npz further with --init-from {folder.path}, or start again with --force"
        raise RunFolderError(f"{folder.path} has no last.npz to resume from: {remedy}")
    is_locked = holds.enter_context(folder.locked())
    saved = ckpt.load(folder.last)
    if saved.state is None or saved.train_config.steps is None:
        raise CheckpointError(f"{folder.last} has a model but no run state: start a new run with --init-from")
    return is_locked, saved


def _stopped(run: Run, settings: dict[str, Any]) -> str:
    """Return the error of a run whose patience has run out, with the command that extends it."""
    config, state = run.training.config, run.state
    length = {name: settings[name] for name in LENGTHS if name in settings}
    longer = shlex.join(run.command_to_resume(patience=0, **length))
    return (
        f"the run in {run.folder.path} stopped at step {state.step:,} of {state.course.total:,}, after "
        f"{state.progress.stale} evaluations without a {run.training.better} (--patience {config.patience}): train on "
        f"with {longer}"
    )
