"""How a model reads a text: how surprised it is by each character, what it expected instead, and where it looked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.config import ModelConfig
from charrnn.data.text import Text
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
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
    bits       (T,) the surprise of each character given all before it, in bits; nan for a first one without any before.
               "Before" means after it, if the model reads backwards
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
    """Return the ids of a text, as the model reads it; of a model of documents, with an end mark at the beginning.

    Raises:  VocabError for a character that the vocabulary lacks, if unknown is "error".
    """
    source = vocab.ids_of(text, unknown)
    ids = source[np.arange(len(source))]
    if vocab.end is None or (len(ids) and ids[0] == vocab.end):
        return ids
    return np.append(np.array([vocab.end], ids.dtype), ids)


def shown(vocab: Vocab, ids: Ids) -> str:
    """Return the text of ids from `ids_of` as `Reading.text` shows it, without an end mark at the beginning."""
    own = ids[_begin(vocab) :]
    return vocab.turned(vocab.characters(own, "".join(SPECIALS[name] for name in vocab.specials)))


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
    Raises:  ConfigError if top is less than 0.
    """
    if top < 0:
        raise ConfigError(f"top must be at least 0, got {top}")
    N, K = len(ids), min(top, vocab.size)
    bits, top_ids, top_probs = np.full(N, np.nan), np.full((N, K), -1), np.full((N, K), np.nan)
    begins = np.arange(N) == 0
    if vocab.end is not None:
        begins |= ids == vocab.end
    reader = _Reader(weights, config, ids, begins, recall)
    for begin in range(0, N - 1, _WINDOW):
        log_probs = reader.read(begin, min(begin + _WINDOW, N - 1))
        rows = slice(begin + 1, begin + 1 + len(log_probs))
        bits[rows] = -log_probs[np.arange(len(log_probs)), ids[rows]] / np.log(2)
        top_ids[rows] = largest(log_probs, K)
        top_probs[rows] = np.exp(np.take_along_axis(log_probs, top_ids[rows], axis=1))
    turn = -1 if vocab.reverse else 1
    looks = {name: each.without_first(_begin(vocab)) for name, each in reader.looks.items()}

    def own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array[_begin(vocab) :][::turn]

    return Reading(
        text=shown(vocab, ids),
        ids=own(ids),
        symbols=(*vocab.symbols, *(f"<{name}>" for name in vocab.specials)),
        bits=own(bits),
        top_ids=own(top_ids),
        top_probs=own(top_probs),
        looks={name: each.backwards() for name, each in looks.items()} if vocab.reverse else looks,
    )


class _Reader:
    """Reads a text from its beginning, window by window, with all that a model mixes with its net.

    begins  (N,) where the text or a document begins, so that the state is zero
    looks   at positions of the whole text, filled in as it is read
    """

    def __init__(
        self, weights: model.Weights, config: ModelConfig, ids: Ids, begins: Mask, recall: Recall | None
    ) -> None:
        self.weights, self.ids, self.begins, self.recall = weights, ids, begins, recall
        self.state = model.zero_state(config, 1)
        self.looks = {"attention": Looks.empty(len(ids))} if config.attention else {}
        self.keys: CacheKeys | None = None
        if recall is not None:
            at = np.arange(len(ids))
            self.forgets = at == 0 if recall.across else begins
            self.remembered = recall.memory.start(1, recall.first)
            if recall.memory.cache is not None:
                first = np.maximum.accumulate(np.where(self.forgets, at, 0))
                self.keys, self.looks["memory"] = CacheKeys(recall.memory.cache, first), Looks.empty(len(ids))

    def read(self, begin: int, end: int) -> Array:
        """Read the ids from begin to end; return the log-probabilities (n, V) of each symbol after each of them."""
        ids, reset = self.ids[begin:end, None], self.begins[begin:end, None]
        attended = None
        if "attention" in self.looks:
            attended = by_attention(self.weights, ids, self.state, begin, reset)
        h = model.outputs(self.weights, ids, self.state, reset=reset)
        logits = model.logits_after(self.weights, h, ids, self.state, reset=reset)
        of_net = None if self.recall is None else self._mix(self.recall, begin, ids, h, logits)
        if attended is not None:
            at, share = attended
            self.looks["attention"].fill(begin + 1, at, share if of_net is None else share * of_net)
        return log_softmax(logits[:, 0])

    def _mix(self, recall: Recall, begin: int, ids: Ids, h: Array, logits: Array) -> Array:
        """Mix the logits of a window with the memory; return the share (n, 1) of the net."""
        at = np.arange(begin, begin + len(ids))[:, None]
        folds = fold_of(at) if recall.is_fitted else None
        mixed = recall.memory.mix(self.remembered, ids, h, logits, reset=self.forgets[at], folds=folds)
        if self.keys is not None:
            entries, share = self.keys.look(h[:, 0], begin, mixed.mass[:, 0])
            self.looks["memory"].fill(begin + 1, entries, share * mixed.cache)
        return mixed.net
