"""Set up a new run of a classifier before its first step, and read the texts of an earlier one again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Params
from charrnn.checkpoint import Checkpoint
from charrnn.classification import pretrained, recipe
from charrnn.classification.examples import (
    Example,
    check_classes,
    labels,
    named_labels,
    read_examples,
    sha256,
    split,
)
from charrnn.classification.ngrams import ClassNGrams
from charrnn.classification.texts import Texts, TextStream
from charrnn.classification.training import LabelTraining, class_weights
from charrnn.config import (
    ClassifierConfig,
    ModelConfig,
    TextConfig,
    TrainConfig,
    classifier_settings,
    sort_settings,
    unknown_setting,
)
from charrnn.data.files import describe_paths, lasting_path
from charrnn.data.source import Source
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError, CorpusError, OtherTextError
from charrnn.nn import classifier
from charrnn.parallel.plan import available_threads
from charrnn.training import budget
from charrnn.training.recipe import FOR_TRAINING, Recipe

_PROBE_SECONDS = 1.0  # for which a trial net measures the machine's speed
_MOST_THREADS = 2  # that share the texts of a batch, if none are given: with more, each has too few
_OWN = tuple(item.name for item in fields(ClassifierConfig))


class Settings(NamedTuple):
    """Settings sorted into those of the classifier, the net, the text and the training."""

    classifier: ClassifierConfig
    model: dict[str, Any]
    text: TextConfig
    train: TrainConfig


def sort_classifier_settings(settings: dict[str, Any]) -> Settings:
    """Sort the settings of a classifier.

    Raises:  ConfigError if a name is unknown, a value makes no sense, or two conflict.
    """
    if foreign := [name for name in settings if name not in (known := classifier_settings())]:
        raise unknown_setting(foreign[0], known)
    own = {name: value for name, value in settings.items() if name in _OWN}
    rest = {name: value for name, value in settings.items() if name not in own}
    return Settings(ClassifierConfig(**own), *sort_settings(rest))


@dataclass(frozen=True, eq=False)
class LabelledCorpus:
    """Labelled texts in three splits, and where they came from.

    val_source  of the validation split, if it has files of its own
    notes       sentences for the user about how they were read
    """

    train: list[Example]
    val: list[Example]
    test: list[Example]
    source: Source
    val_source: Source | None
    notes: list[str]

    @classmethod
    def read(
        cls,
        paths: Sequence[str],
        settings: Settings,
        val_path: str | None = None,
        learned: tuple[Source, Source | None] | None = None,
    ) -> LabelledCorpus:
        """Read labelled texts and split them by the seed.

        val_path  what has the validation split
        learned   the sources of an earlier run: the texts must be the same
        Raises:   CorpusError if they cannot be read or have one label; OtherTextError if they are not those learned.
        """
        own = settings.classifier
        read = read_examples(paths, settings.text, text_field=own.text_field, label_field=own.label_field)
        path, *also = map(lasting_path, paths)
        source, notes = Source(path, sha256(read.examples), tuple(also)), [*read.notes]
        seed, text = settings.train.seed or 0, settings.text
        notes += check_classes(read.examples)
        if val_path is None:
            parts, val_source = split(read.examples, text.val_fraction, text.test_fraction, seed), None
        else:
            more = read_examples([val_path], text, text_field=own.text_field, label_field=own.label_field)
            train, _, test = split(read.examples, 0.0, text.test_fraction, seed)
            parts, val_source = (train, more.examples, test), Source(lasting_path(val_path), sha256(more.examples))
            notes += more.notes
        for found, before in zip((source, val_source), learned or (source, val_source), strict=True):
            if found is not None and (before is None or found.sha256 != before.sha256):
                raise OtherTextError(
                    f"{describe_paths(found.paths)} does not have the texts that the classifier was trained on (their "
                    "SHA-256 differs): restore them"
                )
        return cls(*parts, source, val_source, notes)


def corpus_of(saved: Checkpoint, paths: Sequence[str] = (), val_path: str | None = None) -> LabelledCorpus:
    """Return the labelled texts that a classifier was trained on, read again.

    paths, val_path  where they are now; by default, the paths in the checkpoint
    """
    if not paths and (not saved.source.paths or "-" in saved.source.paths):
        raise CorpusError("the classifier's texts were not in a file, so they cannot be read again: give them")
    if saved.val_source is not None:
        val_path = val_path or saved.val_source.path
    assert saved.classifier is not None
    settings = Settings(saved.classifier, {}, saved.text_config, saved.train_config)
    return LabelledCorpus.read(paths or saved.source.paths, settings, val_path, (saved.source, saved.val_source))


class Setup(NamedTuple):
    """A new run before its first step; notes and reasons as in `training.setup`."""

    vocab: Vocab
    training: LabelTraining
    params: Params
    notes: list[str]
    reasons: list[str]


def set_up(
    corpus: LabelledCorpus, settings: dict[str, Any], earlier: Sequence[Checkpoint] = (), *, seconds: float
) -> Setup:
    """Set up a new run; with a budget of minutes, the recipe chooses the settings that are not given.

    earlier  language models whose weights the run begins with, one for each direction; settings has theirs
    seconds  time left of the budget
    Raises:  ConfigError if settings conflict; CorpusError if there are too few texts.
    """
    chosen = Recipe({}, [], [])
    _, _, text_config, config = sort_classifier_settings(settings)
    vocab = pretrained.vocab_of(earlier) if earlier else vocab_of([text for text, _ in corpus.train], text_config)
    if config.minutes is not None:
        chosen = _recipe(corpus, vocab, settings, seconds)
        settings = settings | chosen.settings
    training, params, notes = _begin(corpus, vocab, settings)
    if earlier:
        for prefix in training.settings.prefixes:
            begun = pretrained.params_of(earlier, classifier.own_params(params, prefix))
            params |= {f"{prefix}{name}": array for name, array in begun.items()}
    return Setup(vocab, training, params, [*corpus.notes, *chosen.notes, *notes], chosen.reasons)


def _begin(corpus: LabelledCorpus, vocab: Vocab, settings: dict[str, Any]) -> tuple[LabelTraining, Params, list[str]]:
    """Return the training with these settings, random weights, and notes."""
    own, model_settings, _, config = sort_classifier_settings(settings)
    model_config, own = ModelConfig(vocab.size, **model_settings), replace(own, labels=labels(corpus.train))
    config = replace(config, threads=config.threads or min(_MOST_THREADS, available_threads()))
    training, notes = training_for(corpus, vocab, own, model_config, config)
    return training, classifier.init_params(model_config, own, np.random.default_rng(config.seed)), notes


def _recipe(corpus: LabelledCorpus, vocab: Vocab, settings: dict[str, Any], seconds: float) -> Recipe:
    """Return the recipe for these texts, this time and this machine, whose speed is measured with a trial net."""
    trial, params, _ = _begin(corpus, vocab, recipe.kind(vocab.size, settings) | settings | {"ngrams": 0})
    with trial.workers() as workers:
        char = budget.char_seconds(trial, trial.begin(params), workers, min(_PROBE_SECONDS, seconds / 8), fmean)
    speed = recipe.work(trial.model_config, trial.settings) / char
    return recipe.choose(
        trial.model_config,
        trial.settings,
        len(trial.stream.texts),
        len(trial.stream.texts.ids),
        speed * seconds * FOR_TRAINING,
        settings,
        minutes=trial.config.minutes or 0.0,
        optimizer=trial.config.optimizer,
    )


def vocab_of(texts: Sequence[str], config: TextConfig) -> Vocab:
    """Return the vocabulary of the training split, with the mark before and after each text.

    Characters that it lacks are left out; with `min_count`, rare ones and new ones become the unknown symbol.
    """
    form = {"normalize": config.normalize, "lowercase": config.lowercase}
    if config.bytes:
        return Vocab("".join(map(chr, range(256))), specials=("end",), kind="bytes")
    counts = Counter[str]()
    for text in texts:
        counts.update(text)
    frequent = sorted(symbol for symbol, count in counts.items() if count >= config.min_count)
    if not frequent:
        raise ConfigError(f"--min-count {config.min_count} leaves no character to learn: lower it")
    specials = ("end", "unknown") if config.min_count > 1 else ("end",)
    return Vocab("".join(frequent), specials=specials, **form)  # type: ignore[arg-type]


def training_for(
    corpus: LabelledCorpus, vocab: Vocab, own: ClassifierConfig, model_config: ModelConfig, config: TrainConfig
) -> tuple[LabelTraining, list[str]]:
    """Return the training on these texts, and notes."""
    config = replace(config, batch_size=min(config.batch_size, len(corpus.train)))
    train, notes = Texts.of(vocab, [text for text, _ in corpus.train], own.max_chars), list[str]()
    learned = numbers_of(corpus.train, own.labels)
    known = [example for example in corpus.val if example.label in own.labels]
    if unseen := _describe_left_out(corpus.val, own.labels):
        notes.append(unseen)
    val = Texts.of(vocab, [text for text, _ in known], own.max_chars)
    if train.cut:
        notes.append(
            f"{train.cut:,} of {len(train):,} texts are longer than {own.max_chars:,} characters, of which the rest is "
            "not read: --max-chars reads more"
        )
    if own.ngrams and not known:
        notes.append("n-grams are left out: their share is fitted to a validation split, and there is none")
    weights = class_weights(learned, len(own.labels), own.balance).astype(model_config.dtype)[learned]
    stream = TextStream(train, learned, weights, config.batch_size, config.seed or 0)
    return (
        LabelTraining(
            model_config,
            config,
            stream,
            np.empty(0, np.intp),
            settings=own,
            val=val,
            val_labels=numbers_of(known, own.labels),
            ngrams=ClassNGrams.of(train, learned, len(own.labels), own.ngrams) if own.ngrams and known else None,
        ),
        notes,
    )


def _describe_left_out(examples: Sequence[Example], learned: Sequence[str]) -> str | None:
    """Return the note on validation texts whose labels are not learned; None if there are none."""
    found = [example.label for example in examples if example.label not in learned]
    if len(found) == 1:
        return f"1 validation text has a label that no training text has, and is left out: {found[0]!r}"
    if found:
        named = named_labels(sorted({*found}))
        return f"{len(found):,} validation texts have labels that no training text has, and are left out: {named}"
    return None


def numbers_of(examples: Sequence[Example], known: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return the number of each example's label among those known."""
    numbers = {label: number for number, label in enumerate(known)}
    return np.fromiter((numbers[label] for _, label in examples), np.intp, len(examples))
