"""A report about a run: what it was trained on, how, how well it predicts and writes, and what it copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from charrnn.checkpoint import Checkpoint
from charrnn.data.corpus import Corpus
from charrnn.data.reading import ReadProgress
from charrnn.data.summary import Summary, summarize
from charrnn.data.text import END, Text
from charrnn.errors import CheckpointError, CorpusError, RunFolderError
from charrnn.evaluation.baselines import Baselines, measure
from charrnn.evaluation.statistics import Evaluation
from charrnn.generation.sample import Sample
from charrnn.insight.difficulty import (
    Confusion,
    ConfusionTable,
    Difficulty,
    Guesses,
    confusion_table,
    confusions,
    difficulty,
)
from charrnn.insight.log import Log, read_log
from charrnn.insight.memorisation import Memorisation, Place, memorisation, place_of
from charrnn.insight.reading import ids_of, read
from charrnn.insight.symbols import SymbolMap, classes_of, symbol_map
from charrnn.nn import model as nn_model
from charrnn.training.catalog import RunSummary, summary
from charrnn.training.folder import RunFolder
from charrnn.training.resume import corpus_of

SEED = 1  # of all samples
SCORED = 200_000  # characters of the validation split that are scored, at most: bounds the time
#: Temperatures of the samples that are shown, and their length in characters.
SHOWN, SHOWN_CHARS = (0.5, 1.0), 600
KEPT = 6  # samples of the log, at most
#: The samples that are searched for copies: temperature, characters of each, and characters of all.
SEARCHED, SEARCHED_LENGTH, SEARCHED_CHARS = 0.8, 1_000, 20_000
MOST_DOCUMENTS = 2_000  # samples that are searched, at most: a document may be short


class Model(Protocol):
    """What a report needs of a model, such as a `LanguageModel`."""

    @property
    def checkpoint(self) -> Checkpoint:
        """Return its parameters, settings, vocabulary and history."""
        ...

    @property
    def weights(self) -> nn_model.Weights:
        """Return its weights as forward passes read them."""
        ...

    def evaluate(self, text: Text, *, protocol: str, batch_size: int) -> Evaluation:
        """Return the figures of the model on a text."""
        ...

    def samples(self, count: int, length: int | None, *, seed: int | None, temperature: float) -> Iterator[Sample]:
        """Return an iterator of samples."""
        ...


@dataclass(frozen=True)
class TextFacts:
    """The text of a run: its summary, and how many characters are for training, validation and test."""

    summary: Summary
    chars: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Scores:
    """How well a model predicts the validation split.

    of         characters that the split has; cut: whether fewer were scored
    evaluation of the net, and with its memory
    baselines  on the same characters
    """

    of: int
    cut: bool
    evaluation: Evaluation
    baselines: Baselines
    difficulty: list[Difficulty]
    confusions: list[Confusion]
    table: ConfusionTable


class Shown(NamedTuple):
    """Samples that are shown, at a temperature."""

    temperature: float
    texts: list[str]


@dataclass(frozen=True)
class Copies:
    """What samples copy from the training text.

    count, chars  samples that were searched, and their characters
    passage       the longest copy, as text; "" if there is none
    place         the file and line of the longest copy, if known
    document      the number of the document that it is in, from 1; None without documents
    """

    count: int
    chars: int
    memorisation: Memorisation
    passage: str
    place: Place | None
    document: int | None


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a report shows; a part that could not be made is None, and `missing` says why.

    path     of the checkpoint
    run      its run; None for a checkpoint outside of one
    log      its log; None without one
    missing  sentences about what is left out
    """

    path: Path
    saved: Checkpoint
    run: RunSummary | None
    log: Log | None
    text: TextFacts | None
    scores: Scores | None
    symbols: SymbolMap
    shown: list[Shown]
    copies: Copies | None
    missing: list[str] = field(default_factory=list)

    @property
    def over_time(self) -> list[tuple[int, str]]:
        """Return some of the log's samples with their steps, the first and the last among them."""
        samples = self.log.samples if self.log is not None else []
        chosen = sorted({round(number * (len(samples) - 1) / (KEPT - 1)) for number in range(KEPT)})
        return [samples[number] for number in chosen] if samples else []


def gather(
    model: Model,
    path: Path,
    *,
    progress: Callable[[str], object] = lambda doing: None,
    reading: ReadProgress | None = None,
) -> Report:
    """Return the report about a model and the run that its checkpoint belongs to.

    path      of its checkpoint
    progress  called with what is done next, such as "reading the text"
    reading   as for `read_text`
    """
    saved, folder, missing = model.checkpoint, RunFolder(path.parent), list[str]()
    run = _run(folder, missing) if path in folder.files() else None
    log = None if run is None else _log(folder, missing)
    progress("reading the text")
    corpus = _corpus(saved, missing, reading)
    scores = None if corpus is None else _scores(model, corpus, missing, progress)
    progress("sampling")
    shown = [Shown(each, [one.text for one in _drawn(model, each, SHOWN_CHARS, SHOWN_CHARS)]) for each in SHOWN]
    return Report(
        path,
        saved,
        run,
        log,
        None if corpus is None else _text_facts(saved, corpus),
        scores,
        symbol_map(saved.params, saved.vocab),
        shown,
        None if corpus is None else _copies(model, corpus, progress),
        missing,
    )


def _run(folder: RunFolder, missing: list[str]) -> RunSummary | None:
    """Return the summary of a run; None if its newest checkpoint is damaged."""
    run = summary(folder, folder.path.resolve().name)
    if run.damage:
        missing.append(f"{run.damage}; the report has no curves")
        return None
    return run


def _log(folder: RunFolder, missing: list[str]) -> Log | None:
    """Return the log of a run; None if it has no figures."""
    try:
        return read_log(folder.path)
    except (RunFolderError, CheckpointError) as error:
        missing.append(f"{error}; the report has no curves")
        return None


def _corpus(saved: Checkpoint, missing: list[str], reading: ReadProgress | None) -> Corpus | None:
    """Return the corpus, read again; None if it is gone or has changed."""
    try:
        return corpus_of(saved, reading=reading)
    except CorpusError as error:
        missing.append(f"{error}; the report has no scores and looks for no copies")
        return None


def _text_facts(saved: Checkpoint, corpus: Corpus) -> TextFacts:
    facts = summarize(corpus, saved.vocab.counted(corpus.train))
    return TextFacts(facts, (len(corpus.train), len(corpus.val), len(corpus.test)))


def _scores(model: Model, corpus: Corpus, missing: list[str], progress: Callable[[str], object]) -> Scores | None:
    """Return the scores on the validation split; None if it has nothing to score."""
    saved, val = model.checkpoint, corpus.val
    vocab = saved.vocab
    if len(val) < 2:
        missing.append("the run has no validation split: the report has no scores on text that the model has not seen")
        return None
    text = val if len(val) <= SCORED else val[:SCORED]
    progress("scoring the validation split")
    evaluation = model.evaluate(text, protocol="lanes", batch_size=8)
    reading = read(model.weights, saved.model_config, vocab, ids_of(vocab, text, "skip"), top=1)
    guesses = Guesses.of(reading)
    progress("scoring the baselines")
    baselines = measure(vocab.ids_of(corpus.train), vocab.ids_of(val[:0]), vocab.ids_of(text, "skip"), vocab)
    return Scores(
        len(val),
        text is not val,
        evaluation,
        baselines,
        difficulty(guesses, classes_of(vocab)),
        confusions(guesses),
        confusion_table(guesses),
    )


def _copies(model: Model, corpus: Corpus, progress: Callable[[str], object]) -> Copies:
    """Return what samples copy, beside what the beginning of the validation split has in common with the rest."""
    saved = model.checkpoint
    texts = [sample.text for sample in _drawn(model, SEARCHED, SEARCHED_LENGTH, SEARCHED_CHARS)]
    progress("looking for copies in the training text")
    own = [saved.vocab.in_form(text) for text in texts]
    real = _pieces(str(corpus.val[:SEARCHED_CHARS]))
    found = memorisation(own, real, corpus.train)
    passage, place, document = "", None, None
    if (longest := found.longest) is not None:
        passage = saved.vocab.decode(saved.vocab.look_up(saved.vocab.turned(longest.text))[0])
        place = place_of(longest.at, longest.text, saved.source, saved.text_config)
        document = int(np.searchsorted(corpus.train.marks(), longest.at)) or None
    return Copies(len(texts), sum(map(len, texts)), found, passage, place, document)


def _pieces(text: str) -> list[str]:
    """Return the documents of a text; if it has none, pieces as long as the samples."""
    if END in text:
        return text.split(END)
    return [text[at : at + SEARCHED_LENGTH] for at in range(0, len(text), SEARCHED_LENGTH)]


def _drawn(model: Model, temperature: float, length: int, chars: int) -> list[Sample]:
    """Return samples of this length; of a model of documents, which may end before, enough for these characters."""
    ends = model.checkpoint.vocab.end is not None
    drawn, total = list[Sample](), 0
    for sample in model.samples(
        MOST_DOCUMENTS if ends else chars // length, length, seed=SEED, temperature=temperature
    ):
        drawn.append(sample)
        total += len(sample.text)
        if total >= chars:
            break
    return drawn
