"""Training a classifier: what `training.loop.fit` trains, with labelled texts in the place of windows of a text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Mask, Params, Scratch
from charrnn.classification.ngrams import ClassNGrams
from charrnn.classification.recipe import most_steps
from charrnn.classification.texts import PaddedTexts, TextBatch, Texts, TextStream
from charrnn.config import ClassifierConfig, ModelConfig
from charrnn.evaluation.statistics import Tally
from charrnn.nn import classifier
from charrnn.nn.auxiliary import NextCharacters
from charrnn.nn.bptt import Part
from charrnn.nn.dropout import draw_masks
from charrnn.nn.functional import log_softmax
from charrnn.parallel.threads import Threads
from charrnn.parallel.workers import Workers
from charrnn.training.loop import Report, Training

#: Texts and characters, with their padding, of one forward pass that needs no gradient.
READ_TEXTS, READ_CHARS = 512, 1 << 14
_LEAST_ROWS = 8  # texts of a batch for each thread, at least


def class_weights(labels: npt.NDArray[np.intp], classes: int, balance: float) -> npt.NDArray[np.float64]:
    """Return the weight of each class in the loss: (1 / its frequency)^balance, scaled to a mean of 1 over the texts.

    Shapes:  labels (N,) · returns (C,)
    """
    counts = np.maximum(1, np.bincount(labels, minlength=classes))
    weights = (len(labels) / counts) ** balance
    scaled: npt.NDArray[np.float64] = weights / weights[labels].mean()
    return scaled


class LabelWorkers(Workers):
    """Computes the gradients and scores of batches of texts, each thread for a share of them."""

    def __init__(self, config: ModelConfig, settings: ClassifierConfig, seed: int | None, threads: int) -> None:
        self._config, self._settings, self._seed = config, settings, seed
        self._threads = Threads(threads)
        self._scratch = Scratch()
        self._own: list[Params] = []
        self._weights: tuple[classifier.Weights, ...] = ()

    def __enter__(self) -> LabelWorkers:
        self._threads.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._threads.__exit__(*raised)

    def set_params(self, params: Params) -> None:
        """Use these parameters from now on."""
        self._own = [classifier.own_params(params, prefix) for prefix in self._settings.prefixes]
        self._weights = classifier.prepare_all(params, self._config, self._settings)

    def gradients(  # type: ignore[override]  # batches of texts are not windows
        self, window: TextBatch, state: Array, step: int, part: Part | None = None
    ) -> tuple[float, Array, Params]:
        """Return the batch's mean loss by weight, the state unchanged, and the gradient of all that is minimized.

        The auxiliary loss is in the gradient alone: so training and validation losses are both of labels, and what
        shows divergence in a language model shows it here.
        """
        settings = self._settings
        shares = self._shares(len(window.labels))
        tasks = [(net, rows) for net in range(settings.nets) for rows in shares]
        total = settings.nets * float(window.weights.sum(dtype=np.float64))
        found = self._threads.map(lambda task: self._share(window, step, *task, total), tasks)
        loss, grads = 0.0, Params()
        for (net, _), (own_loss, own_grads) in zip(tasks, found, strict=True):
            loss += own_loss
            for name, grad in own_grads.items():
                name = f"{settings.prefixes[net]}{name}"
                grads[name] = grads[name] + grad if name in grads else grad
        return loss, state, grads

    def _share(self, batch: TextBatch, step: int, net: int, rows: slice, total: float) -> tuple[float, Params]:
        """Return the share of the batch's loss that these rows have in one net, and their share of the gradient.

        Each net has dropout masks of its own, as if its seed were another.
        """
        own, settings, params = batch.rows(rows), self._settings, self._own[net]
        masks = draw_masks(params, self._config, (self._seed or 0) + net, step, rows, settings.directions)
        weights = self._weights[net]
        if masks.weights:
            weights = classifier.prepare(params, self._config, settings, masks)
        tap = self._next_characters(params, own, batch)
        scratch = self._scratch.scope(f"{net}, {rows.start}")
        logits, backprop = classifier.forward(weights, own.ids, own.lengths, masks=masks, tap=tap, scratch=scratch)
        loss, dlogits = weighted_loss(logits, own.labels, own.weights, total)
        grads = backprop(dlogits)
        return loss, grads if tap is None else grads | tap.grads

    def _next_characters(self, params: Params, own: TextBatch, batch: TextBatch) -> NextCharacters | None:
        """Return the auxiliary loss of a net on these texts of the batch; None without one."""
        if not self._settings.next_weight:
            return None
        weight = self._settings.next_weight / self._settings.nets
        params = {name: array for name, array in params.items() if name.startswith("next")}
        pairs, all_pairs = (int(np.maximum(some.lengths - 1, 0).sum()) for some in (own, batch))
        return NextCharacters(params, own.ids, own.lengths, weight * pairs / max(1, all_pairs))

    def logits(self, texts: Texts) -> Iterator[tuple[PaddedTexts, Array]]:
        """Yield the texts in batches, and the logits of each label (B, C).

        Scratch memory is not shared between batches, since several threads read side by side.
        """

        def read(batch: PaddedTexts) -> tuple[PaddedTexts, Array]:
            return batch, classifier.mean_logits(self._weights, batch.ids, batch.lengths)

        yield from self._threads.map(read, texts.batches(READ_TEXTS, READ_CHARS))

    def gates(self, window: Any, state: Array) -> list[dict[str, Array]]:
        """Return nothing: gates of whole texts are not logged."""
        return []

    def _shares(self, rows: int) -> list[slice]:
        """Return the rows of each task of a net: all of them if there is a net for each thread."""
        wanted = -(-self._threads.count // self._settings.nets)
        count = max(1, min(wanted, rows // _LEAST_ROWS))
        return [slice(rows * number // count, rows * (number + 1) // count) for number in range(count)]


def weighted_loss(logits: Array, labels: npt.NDArray[np.intp], weights: Array, total: float) -> tuple[float, Array]:
    """Return the mean loss by weight and its gradient with respect to the logits.

    loss = -sum(weight log(softmax(z)[label])) / total;  dlogits = weight (softmax(z) - onehot(label)) / total
    total    the sum of the weights of all texts of the batch, of which these may be a share
    Shapes:  logits z (B, C) · labels (B,) · weights (B,) · returns loss, dlogits (B, C)
    Units:   nats per text.
    """
    log_probs, rows = log_softmax(logits), np.arange(len(labels))
    shares = (weights / total).astype(logits.dtype)
    dlogits = np.exp(log_probs)
    dlogits[rows, labels] -= 1
    dlogits *= shares[:, None]
    return -float((log_probs[rows, labels] * shares).sum(dtype=np.float64)), dlogits


@dataclass(frozen=True, eq=False)
class LabelTraining(Training):
    """Everything that stays the same while a classifier is trained.

    stream    batches of texts
    settings  of the classifier; ngrams: those of its labels, None without them
    val       the texts of the validation split; val_labels: the numbers of their labels (N,)
    """

    stream: TextStream  # type: ignore[assignment]  # `fit` needs only what both kinds of stream have
    settings: ClassifierConfig = field(kw_only=True)
    val: Texts = field(kw_only=True)
    val_labels: npt.NDArray[np.intp] = field(kw_only=True)
    ngrams: ClassNGrams | None = field(default=None, kw_only=True)

    @property
    def validated(self) -> int:
        """Return the number of texts that an evaluation scores."""
        return len(self.val)

    @property
    def val_chars(self) -> int:
        """Return the number of characters that an evaluation reads."""
        return len(self.val.ids)

    @property
    def classes(self) -> int:
        """Return the number of labels."""
        return len(self.settings.labels)

    @property
    def better(self) -> str:
        """Return in words what makes one classifier better than another."""
        return "lower share of errors"

    @property
    def most_steps(self) -> int:
        """Return the number of steps that are of use, however much time there is."""
        return most_steps(self.stream.steps_per_epoch)

    @property
    def evaluations_after(self) -> int:
        """Return one, for the calibration."""
        return 1

    def badness(self, scored: Tally) -> float | None:
        """Return the share of errors: it falls for longer than the loss, which is calibrated afterwards."""
        return None if scored.accuracy is None else 1 - scored.accuracy

    def record(self, report: Report) -> dict[str, Any]:
        """Return what the history keeps of an evaluation, the accuracy among it."""
        return super().record(report) | {"val_accuracy": report.val_accuracy}

    def zero_state(self) -> Array:
        """Return an empty state: nothing carries over from one batch of texts to the next."""
        return np.zeros((1, 1, self.stream.batch_size, 0), self.model_config.dtype)

    def workers(self) -> LabelWorkers:
        """Return what computes gradients and scores, in as many threads as the settings say, or one."""
        return LabelWorkers(self.model_config, self.settings, self.config.seed, self.config.threads or 1)

    def tallies(self, params: Params, workers: Any) -> Iterator[Tally]:
        """Yield the running tally of the validation split, in texts."""
        workers.set_params(params)
        result = Tally()
        for batch, logits in workers.logits(self.val):
            log_probs, labels = log_softmax(logits), self.val_labels[batch.indices]
            right: Mask = log_probs.argmax(axis=1) == labels
            nats = -float(log_probs[np.arange(len(labels)), labels].sum(dtype=np.float64))
            result = Tally(result.chars + len(labels), result.nats + nats, result.correct + int(right.sum()))
            yield result
