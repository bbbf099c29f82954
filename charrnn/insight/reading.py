"""How a model reads a text: how surprised it is by each character, what it expected instead, and where it looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.config import ModelConfig
from charrnn.data.text import Text
from charrnn.data.vocab import Vocab
from charrnn.evaluation.recall import Recall
from charrnn.insight.looks import CacheKeys, Looks, by_attention, largest
from charrnn.memory.gate import fold_of
from charrnn.nn import model
from charrnn.nn.functional import log_softmax

#: The characters that are shown for the special symbols: the end of a document, and any unknown character.
SPECIALS = {"end": "\u2404", "unknown": "\ufffd"}
_WINDOW = 128  # characters that are read at once: bounds memory, changes no result


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model made of a text of T characters.

    text       (T) what was read; of a model of bytes, each character is one byte. The end of a document is U+2404, an
               unknown character U+FFFD
    ids        (T,) their ids
    symbols    V strings, what each id means
    bits       (T,) the surprise of each character given all before it, in bits; nan for a first one without any before
    top_ids    (T, K) the ids that the model expected most in the place of each character, most likely first; -1 if none
    top_probs  (T, K) their probabilities; nan if none
    looks      what "attention" and "memory" copied to predict each character, of those that the model has
    """

    text: str
    ids: Ids
    symbols: tuple[str, ...]
    bits: Array
    top_ids: npt.NDArray[np.intp]
    top_probs: Array
    looks: dict[str, Looks]

    def __repr__(self) -> str:
        mean = "" if self.bits_per_char is None else f": {self.bits_per_char:.4f} bits per character"
        return f"Reading({len(self):,} characters{mean})"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> int:
        """Return how many of the characters were predicted: all of them, or all but the first."""
        return int((~np.isnan(self.bits)).sum())

    @property
    def bits_per_char(self) -> float | None:
        """Return the mean surprise in bits; None if nothing was predicted."""
        return float(np.nansum(self.bits) / self.predicted) if self.predicted else None

    def expected(self, t: int) -> list[tuple[str, float]]:
        """Return the symbols that the model expected most at position t, with their probabilities."""
        pairs = zip(self.top_ids[t].tolist(), self.top_probs[t].tolist(), strict=True)
        return [(self.symbols[id_], probability) for id_, probability in pairs if id_ >= 0]

    def to_dict(self) -> dict[str, Any]:
        """Return the surprise and the predictions under the names that `inspect --json` prints."""
        return {
            "chars": self.predicted,
            "bits_per_char": self.bits_per_char,
            "characters": [
                {
                    "char": self.symbols[id_],
                    "bits": None if np.isnan(bits) else bits,
                    "top": [{"char": char, "probability": share} for char, share in self.expected(t)],
                }
                for t, (id_, bits) in enumerate(zip(self.ids.tolist(), self.bits.tolist(), strict=True))
            ],
        }


def ids_of(vocab: Vocab, text: Text, unknown: str) -> Ids:
    """Return the ids of a text; of a model of documents, with an end mark at the beginning.

    Raises:  VocabError for a character that the vocabulary lacks, if unknown is "error".
    """
    source = vocab.ids_of(text, unknown)
    ids = source[np.arange(len(source))]
    if vocab.end is None or (len(ids) and ids[0] == vocab.end):
        return ids
    return np.append(np.array([vocab.end], ids.dtype), ids)


def shown(vocab: Vocab, ids: Ids) -> str:
    """Return ids as `Reading.text` shows them, without an end mark at the beginning."""
    return vocab.characters(ids[_begin(vocab) :], "".join(SPECIALS[name] for name in vocab.specials))


def _begin(vocab: Vocab) -> int:
    """Return how many ids come before the first character."""
    return int(vocab.end is not None)


def read(
    weights: model.Weights, config: ModelConfig, vocab: Vocab, ids: Ids, *, top: int = 5, recall: Recall | None = None
) -> Reading:
    """Read a text from a zero state; each document of it, if the model knows documents.

    ids     of a model of documents, the first one is the end mark, from which the first character is predicted. That
            mark is not among the T characters
    top     K, predictions to return for each character, at most
    recall  how the model's memory is used; None: the predictions are those of the model alone
    Shapes:  ids (T,), or (T + 1,) with an end mark
    """
    N, K = len(ids), min(top, vocab.size)
    bits, top_ids, top_probs = np.full(N, np.nan), np.full((N, K), -1), np.full((N, K), np.nan)
    begins = np.arange(N) == 0
    if vocab.end is not None:
        begins |= ids == vocab.end
    looks: dict[str, Looks] = {}
    for rows, log_probs in _predictions(weights, config, ids, begins, recall, looks):
        bits[rows] = -log_probs[np.arange(len(log_probs)), ids[rows]] / np.log(2)
        top_ids[rows] = largest(log_probs, K)
        top_probs[rows] = np.exp(np.take_along_axis(log_probs, top_ids[rows], axis=1))
    own = slice(_begin(vocab), None)
    return Reading(
        text=shown(vocab, ids),
        ids=ids[own],
        symbols=(*vocab.symbols, *(f"<{name}>" for name in vocab.specials)),
        bits=bits[own],
        top_ids=top_ids[own],
        top_probs=top_probs[own],
        looks={name: each.without_first(own.start) for name, each in looks.items()},
    )


def _predictions(
    weights: model.Weights,
    config: ModelConfig,
    ids: Ids,
    begins: Mask,
    recall: Recall | None,
    looks: dict[str, Looks],
) -> Iterator[tuple[slice, Array]]:
    """Yield, window by window, positions and the log-probabilities (n, V) of each symbol there; write the looks.

    begins  (N,) where a text or document begins, so that the state is zero
    """
    N = len(ids)
    state, keys, remembered = model.zero_state(config, 1), None, None
    if config.attention:
        looks["attention"] = Looks.empty(N)
    if recall is not None:
        remembered = recall.memory.start(1, recall.first)
        forgets = np.arange(N) == 0 if recall.across else begins
        if recall.memory.cache is not None:
            keys = CacheKeys(recall.memory.cache, np.maximum.accumulate(np.where(forgets, np.arange(N), 0)))
            looks["memory"] = Looks.empty(N)
    for begin in range(0, N - 1, _WINDOW):
        now = slice(begin, min(begin + _WINDOW, N - 1))
        rows = slice(now.start + 1, now.stop + 1)  # what is predicted
        read, reset = ids[now, None], begins[now, None]
        of_net: Array = np.ones(read.shape)
        attended = by_attention(weights, read, state, begin, reset) if config.attention else None
        h = model.outputs(weights, read, state, reset=reset)
        logits = model.logits_after(weights, h, read, state, reset=reset)
        if recall is not None and remembered is not None:
            folds = fold_of(np.arange(now.start, now.stop)[:, None]) if recall.is_fitted else None
            mixed = recall.memory.mix(remembered, read, h, logits, reset=forgets[now, None], folds=folds)
            of_net = mixed.net
            if keys is not None:
                at, share = keys.look(h[:, 0], begin, mixed.mass[:, 0])
                looks["memory"].fill(rows, at, share * mixed.cache)
        if attended is not None:
            looks["attention"].fill(rows, attended[0], attended[1] * of_net)
        yield rows, log_softmax(logits[:, 0])
