"""The run of a classifier on disk: it starts, resumes, trains, logs and saves as that of a language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self

import numpy as np

from charrnn import checkpoint as ckpt
from charrnn.checkpoint import Checkpoint
from charrnn.classification import pretrained
from charrnn.classification.calibration import fit_factors
from charrnn.classification.prediction import Classifier, load_classifier
from charrnn.classification.setup import LabelledCorpus, corpus_of, set_up, sort_classifier_settings, training_for
from charrnn.classification.training import LabelTraining
from charrnn.config import (
    LENGTHS,
    ClassifierConfig,
    ModelConfig,
    TextConfig,
    TrainConfig,
    option_words,
    seeded,
    train_words,
)
from charrnn.data.corpus import Corpus
from charrnn.errors import CheckpointError, ConfigError
from charrnn.signatures import spell_out
from charrnn.training.budget import Timer
from charrnn.training.folder import RUNS, UNLOCKED, RunFolder, find_model
from charrnn.training.loop import Report
from charrnn.training.resume import state_of, version_notes
from charrnn.training.run import Run, resumable

#: Settings that a resumed run may change.
_MAY_CHANGE = (*LENGTHS, "patience", "threads")


@dataclass(eq=False)
class ClassifierRun(Run):
    """The run of a classifier in its folder: see `Run`.

    training  with batches of texts
    accuracy  of the calibrated model, with its n-grams, on the validation split; None before training has ended
    """

    training: LabelTraining
    accuracy: float | None = None

    @classmethod
    def start(  # type: ignore[override]  # labelled texts are no corpus
        cls,
        paths: Sequence[str],
        out: Path | None = None,
        *,
        settings: dict[str, Any] | None = None,
        val_path: str | None = None,
        init_from: Sequence[Path] = (),
        force: bool = False,
        began: float | None = None,
        ready: Callable[[Self], object] | None = None,
    ) -> Self:
        """Start a run: read the texts, build the vocabulary, draw the weights, fix the length, and save once.

        settings   fields of the configs by name
        val_path   what has the validation split; a share of the texts if None
        init_from  language models whose weights the run begins with
        Raises:    CharRNNError if the folder is taken, texts or labels are missing, or settings conflict.
        """
        began = time.monotonic() if began is None else began
        settings = seeded(settings or {})
        folder = RunFolder(Path(out or RUNS / Corpus.name_of(paths[0])))
        if not force:
            folder.refuse_taken()
        earlier = [ckpt.load_model(path) for path in init_from]
        if earlier:
            directions = sort_classifier_settings(settings).classifier.directions
            settings |= pretrained.settings_of(earlier, settings, directions)
        corpus = LabelledCorpus.read(paths, sort_classifier_settings(settings), val_path)
        minutes = sort_classifier_settings(settings).train.minutes or 0.0
        left = 60 * minutes - (time.monotonic() - began)
        setup = set_up(corpus, settings, earlier, seconds=left)
        run = cls(
            folder,
            setup.training,
            setup.vocab,
            corpus.source,
            corpus.val_source,
            setup.training.begin(setup.params),
            sort_classifier_settings(settings).text,
            init_from="\n".join(map(str, init_from)) or None,
            notes=setup.notes,
            reasons=setup.reasons,
        )
        run.begin(force=force, began=began, ready=ready)
        return run

    @classmethod
    def resume(  # type: ignore[override]
        cls,
        out: Path,
        paths: Sequence[str] = (),
        val_path: str | None = None,
        *,
        settings: dict[str, Any] | None = None,
        began: float | None = None,
        ready: Callable[[Self], object] | None = None,
    ) -> Self:
        """Continue the run in a folder exactly from its `last.npz`; see `Run.resume`."""
        began, settings, folder = time.monotonic() if began is None else began, settings or {}, RunFolder(Path(out))
        with ExitStack() as holds:
            is_locked, saved = resumable(folder, holds)
            if saved.classifier is None:
                raise CheckpointError(f"{folder.last} is a language model: resume it with `charrnn train --resume`")
            corpus = corpus_of(saved, paths, val_path)
            _refuse_changes(saved, settings, len(corpus.train))
            changed = {name: settings[name] for name in ("patience", "threads") if name in settings}
            config = replace(saved.train_config, **changed)
            training, notes = training_for(corpus, saved.vocab, saved.classifier, saved.model_config, config)
            notes += version_notes(saved.versions, ckpt.current_versions())
            run = cls(
                folder,
                training,
                saved.vocab,
                corpus.source,
                corpus.val_source,
                state_of(folder.last, saved),
                saved.text_config,
                init_from=saved.init_from,
                notes=corpus.notes + notes + ([] if is_locked else [UNLOCKED]),
            )
            run.carry_on(settings, began, ready)
            run._holds = holds.pop_all()
        return run

    def command(self, **options: object) -> list[str]:
        """Return the words of a command line that trains on this run's texts with these options."""
        return train_words(self.source.paths, options, classifier=True)

    def checkpoint(self, resumable: bool = False) -> Checkpoint:
        """Return the run as a checkpoint: the classifier alone, or with all that resuming needs."""
        return replace(super().checkpoint(resumable), classifier=self.training.settings)

    @property
    def is_concluded(self) -> bool:
        """Return whether `best.npz` is calibrated."""
        best = self.folder.best
        return not best.exists() or ckpt.read_meta(best)["classifier"]["net_factor"] is not None

    def conclude(self) -> None:
        """Fit the factors of nets and n-grams to the validation split, and add them and the n-grams to `best.npz`.

        Call it when training has ended.
        """
        if not self.folder.best.exists():
            return
        best, training = ckpt.load(self.folder.best), self.training
        ngrams = training.ngrams
        logits, said = np.zeros((2, len(training.val), training.classes))
        with training.workers() as workers:
            workers.set_params(best.params)
            for batch, found in workers.logits(training.val):
                logits[batch.indices] = found
                if ngrams is not None:
                    said[batch.indices] = ngrams.scores(batch.ids, batch.lengths)
        net, *more = fit_factors([logits] if ngrams is None else [logits, said], training.val_labels)
        together = net * logits + (more[0] * said if more else 0)
        self.accuracy = float((together.argmax(axis=1) == training.val_labels).mean())
        fitted = replace(training.settings, net_factor=net, ngram_factor=more[0] if more else None)
        ckpt.save(self.folder.best, replace(best, classifier=fitted, ngrams=ngrams.arrays() if ngrams else {}))

    def _log_line(self, report: Report, seconds: float) -> dict[str, Any]:
        line = super()._log_line(report, seconds)
        del line["bpc"], line["saturation"]
        return line | {"val_accuracy": report.val_accuracy}

    def _note_short_text(self, timer: Timer) -> None:
        """Say nothing: few texts are usual, and more passes through them are of no use."""


def _refuse_changes(saved: Checkpoint, settings: dict[str, Any], texts: int) -> None:
    """Raise ConfigError if a setting that may not change differs from the run's; few texts made its batches smaller."""
    stored = vars(saved.model_config) | vars(saved.text_config) | vars(saved.train_config) | vars(saved.classifier)
    for name, value in settings.items():
        if name not in _MAY_CHANGE and (min(value, texts) if name == "batch_size" else value) != stored[name]:
            raise ConfigError(
                f"{' '.join(option_words(name, value))} contradicts the run, which has {stored[name]}: leave it out "
                "to resume, or start a new run with --out"
            )


@spell_out(ClassifierConfig, ModelConfig, TextConfig, TrainConfig)
def train_classifier(
    texts: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str] | None = None,
    *,
    val_path: str | PathLike[str] | None = None,
    init_from: Sequence[str | PathLike[str]] = (),
    force: bool = False,
    **settings: Any,
) -> Classifier:
    """Train a classifier on labelled texts, and return the one with the fewest errors on the validation split.

    texts      the path of labelled texts, or several paths, in a form that `examples.read_examples` reads
    out        the run's folder; ./checkpoints/<name of the texts> if None
    val_path   labelled texts for validation; a share of all texts if None
    init_from  language models whose weights the run begins with
    force      True: remove an earlier run in the folder
    settings   fields of `ClassifierConfig`, `ModelConfig`, `TextConfig` and `TrainConfig`; with minutes, the recipe
               chooses the others
    Raises:    CharRNNError for anything that the caller can fix.
    """
    paths = [texts] if isinstance(texts, (str, PathLike)) else texts
    run = ClassifierRun.start(
        [fspath(path) for path in paths],
        None if out is None else Path(out),
        settings=settings,
        val_path=None if val_path is None else fspath(val_path),
        init_from=[find_model(Path(path)) for path in init_from],
        force=force,
    )
    with closing(run):
        for _ in run.events():
            pass
    return load_classifier(run.folder.path)
