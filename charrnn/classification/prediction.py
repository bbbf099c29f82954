"""Predict the label of many texts: by a classifier, or by a language model for each label."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn import checkpoint as ckpt
from charrnn.arrays import Array, Ids, Params
from charrnn.checkpoint import Checkpoint
from charrnn.classification.ngrams import ClassNGrams
from charrnn.classification.texts import Texts
from charrnn.config import ClassifierConfig, ModelConfig
from charrnn.data.items import text_reader
from charrnn.data.vocab import Vocab
from charrnn.evaluation.scoring import Progress, Scored
from charrnn.evaluation.several import costs, score_by_each
from charrnn.nn import classifier
from charrnn.nn.functional import log_softmax
from charrnn.parallel.plan import threads_to_use
from charrnn.parallel.threads import Threads, in_order
from charrnn.training.folder import find_model

_MOST_TEXTS, _MOST_CHARS = 1024, 1 << 14  # of a batch: enough rows for the core, and few megabytes of outputs
_AHEAD = 2  # blocks that are taken while one is read

#: A text, or a line as it is in a file.
Line: TypeAlias = str | bytes


class Predictor(Protocol):
    """What predicts the labels of texts."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the C labels."""
        ...

    def predict_blocks(
        self,
        blocks: Iterable[Sequence[Line]],
        *,
        progress: Progress | None = None,
        threads: int | None = None,
        ahead: bool = False,
    ) -> Generator[Array, None, None]:
        """Yield the log-probabilities of each block's texts, in order; NaN for a text without a known character.

        progress: called with the number of a block's different texts that are done, and that of all of them
        threads:  CPU cores; all if None. The results do not depend on them
        ahead:    True: take blocks while those before them are read; False: yield the results of a block before
                  taking the next
        Shapes:   yields (N, C)
        Units:    nats.
        """
        ...


class _Started(NamedTuple):
    """A block, its different texts, and the batches of these with the future log-probabilities of each."""

    block: Sequence[Line]
    texts: Sequence[Line]
    batches: list[tuple[npt.NDArray[np.intp], Future[Array]]]


@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """A net that reads whole texts, and the labels that it gives them.

    encoding  of its corpus, in which lines are read
    ngrams    of its labels, which are added to the net's logits; None without them
    """

    model_config: ModelConfig
    config: ClassifierConfig
    params: Params
    vocab: Vocab
    encoding: str = "utf-8"
    ngrams: ClassNGrams | None = None

    @classmethod
    def of(cls, saved: Checkpoint) -> Classifier:
        """Return the classifier of a checkpoint that `checkpoint.load_classifier` returned."""
        assert saved.classifier is not None
        own, encoding = saved.classifier, saved.text_config.encoding
        ngrams = ClassNGrams(**saved.ngrams, longest=own.ngrams) if saved.ngrams else None
        return cls(saved.model_config, own, saved.params, saved.vocab, encoding, ngrams)

    def __repr__(self) -> str:
        config = self.model_config
        return f"Classifier({config.cell} {config.num_layers}x{config.hidden_size}, {len(self.labels):,} labels)"

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the most likely label of each text, with its probability.

        A text without a character that the classifier knows gets the label of one without any characters.
        """
        found = np.concatenate([*self.predict_blocks([texts])]) if texts else np.empty((0, len(self.labels)))
        best = found.argmax(axis=1)
        return [(self.labels[number], float(np.exp(own[number]))) for number, own in zip(best, found, strict=True)]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the C labels, in the order of the readout."""
        return self.config.labels

    @cached_property
    def weights(self) -> tuple[classifier.Weights, ...]:
        """Return the weights of each net in the form that forward passes read."""
        return classifier.prepare_all(self.params, self.model_config, self.config)

    def logits(self, ids: Ids, lengths: npt.NDArray[np.intp]) -> Array:
        """Return the logits of the nets, with what the n-grams say.

        Shapes:  ids (T, B) · lengths (B,) · returns (B, C)
        """
        logits = classifier.mean_logits(self.weights, ids, lengths)
        logits *= self.config.net_factor or 1.0
        if self.ngrams is not None and self.config.ngram_factor is not None:
            logits += self.config.ngram_factor * self.ngrams.scores(ids, lengths)
        return logits

    def encode(self, texts: Sequence[str]) -> Texts:
        """Return the ids of texts, as the classifier reads them: cut, and without unknown characters."""
        return Texts.of(self.vocab, texts, self.config.max_chars)

    def predict_blocks(
        self,
        blocks: Iterable[Sequence[Line]],
        *,
        progress: Progress | None = None,
        threads: int | None = None,
        ahead: bool = False,
    ) -> Generator[Array, None, None]:
        """Yield the log-probabilities of each block's texts; see `Predictor`.

        Raises:  ConfigError, at once, if threads is out of range.
        """
        return self._predict_blocks(blocks, progress, threads_to_use(threads), ahead)

    def _predict_blocks(
        self, blocks: Iterable[Sequence[Line]], progress: Progress | None, threads: int, ahead: bool
    ) -> Generator[Array, None, None]:
        read, marks = text_reader(self.encoding, self.vocab), self.encode([""]).lengths[0]

        def log_probs(which: npt.NDArray[np.intp], ids: Ids, lengths: npt.NDArray[np.intp]) -> Array:
            found = log_softmax(self.logits(ids, lengths))
            found[lengths == marks] = np.nan
            return found

        def start(block: Sequence[Line]) -> _Started:
            texts = [*dict.fromkeys(block)]  # reads equal texts once
            encoded = self.encode([*map(read, texts)])
            parts = encoded.batches(_MOST_TEXTS, _MOST_CHARS)
            return _Started(block, texts, [(part[0], pool.submit(log_probs, *part)) for part in parts])

        def finish(started: _Started) -> Array:
            block, texts, parts = started
            found = np.empty((len(texts), len(self.labels)), self.model_config.dtype)
            done = 0
            for part, result in parts:
                found[part] = result.result()
                done += len(part)
                if progress is not None:
                    progress(done, len(texts))
            if len(texts) == len(block):
                return found
            place = {text: number for number, text in enumerate(texts)}
            repeated: Array = found[[place[text] for text in block]]
            return repeated

        with Threads(threads) as pool:
            yield from in_order(blocks, start, finish, ahead=_AHEAD if ahead and threads > 1 else 0)


def load_classifier(path: str | PathLike[str] | None = None) -> Classifier:
    """Return the classifier in a checkpoint.

    path  a `.npz` file, a run's folder, a run's name under ./checkpoints, or None for the newest classifier there
    Raises:  CheckpointError if there is none, it is damaged, or it is a language model.
    """
    return Classifier.of(ckpt.load_classifier(find_model(path if path is None else Path(path), classifier=True)))


class Scorer(Protocol):
    """A language model, as `charrnn.load` returns it."""

    def score_blocks(
        self,
        blocks: Iterable[Sequence[str]],
        *,
        progress: Progress | None = None,
        threads: int | None = None,
        ahead: bool = False,
    ) -> Generator[list[Scored], None, None]:
        """Yield the scores of each block of lines."""
        ...


class Member(NamedTuple):
    """A language model, the label that it stands for, and how it reads an item."""

    label: str
    model: Scorer
    read: Callable[[Line], str]


@dataclass(frozen=True)
class ByModels:
    """Language models, each for a label: the one that gives a text the highest probability gives it its label.

    With equal priors, Bayes' rule: p(label) is p(text | label) over the sum of all. Of several models for one label,
    the best counts. Each model is charged for characters that it does not know, as for `charrnn score --best`.
    """

    members: tuple[Member, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the different labels, in the order of the models."""
        return tuple(dict.fromkeys(member.label for member in self.members))

    def predict_blocks(
        self,
        blocks: Iterable[Sequence[Line]],
        *,
        progress: Progress | None = None,
        threads: int | None = None,
        ahead: bool = False,
    ) -> Generator[Array, None, None]:
        """Yield the log-probabilities of each block's texts; see `Predictor`."""

        def score_with(member: Member, blocks: Iterator[Sequence[Line]]) -> Generator[list[Scored], None, None]:
            read = ([*map(member.read, block)] for block in blocks)
            return member.model.score_blocks(read, progress=progress, threads=threads, ahead=ahead)

        scorers = [partial(score_with, member) for member in self.members]
        with closing(score_by_each(scorers, blocks)) as scores:
            for _, scored in scores:
                yield self._log_probs(scored)

    def _log_probs(self, scores: Sequence[Sequence[Scored]]) -> Array:
        """Return the log-probabilities (N, C), given the scores of N texts by each model."""
        labels = self.labels
        by_label = np.full((len(scores[0]), len(labels)), -np.inf)
        for member, logprobs in zip(self.members, _charged(scores).T, strict=True):
            column = by_label[:, labels.index(member.label)]
            np.maximum(column, logprobs, out=column)
        log_probs = log_softmax(by_label)
        log_probs[[all(own.logprob is None for own in line) for line in zip(*scores, strict=True)]] = np.nan
        return log_probs.astype(np.float32)


def _charged(scores: Sequence[Sequence[Scored]]) -> Array:
    """Return the log-probabilities (N, M) of N texts by each of M models, less the charge for unknown characters."""
    bits = np.array([costs(line) for line in zip(*scores, strict=True)]).reshape(-1, len(scores))
    logprobs: Array = -np.log(2) * bits
    return logprobs
