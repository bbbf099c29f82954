"""A pair of models: one reads a text forwards, the other from its end; each gives a text its own probability.

Both factor the same joint probability: the forward model gives that of each character after those before it, the
backward model that of each character before those after it. A character in the middle of a text is therefore judged by
what is left of it and by what is right of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids
from charrnn.checkpoint import Checkpoint
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.nn import model
from charrnn.nn.functional import log_softmax

#: How many characters of the context are read before a place in a text, at most. `complete` reads as many: with nets
#: without attention, more change no probability by more than rounding.
CONTEXT = 256
_ROWS = 128  # texts that are read side by side

_Floats = npt.NDArray[np.float64]


class Read(NamedTuple):
    """What a model knows after it has read a text: of B batch rows.

    log_probs  (B, V) of the next id, in nats
    state      (L, S, B, H), with the memory of attention
    """

    log_probs: Array
    state: Array

    def rows(self, rows: npt.NDArray[np.intp]) -> Read:
        """Return copies of these rows."""
        return Read(self.log_probs[rows], self.state[:, :, rows])


@dataclass(frozen=True, eq=False)
class Reader:
    """A model that reads texts in its direction. Its memory of a corpus, if it has one, is not used."""

    checkpoint: Checkpoint

    @property
    def vocab(self) -> Vocab:
        """Return the model's vocabulary."""
        return self.checkpoint.vocab

    @cached_property
    def weights(self) -> model.Weights:
        """Return the weights in the form that forward passes read."""
        return model.prepare(self.checkpoint.params, self.checkpoint.model_config)

    @cached_property
    def mark(self) -> Ids:
        """Return the ids at either end of a text: that of a document's end, else that of a line end, else none."""
        ids, _ = self.vocab.look_up(self.vocab.mark)
        return ids.astype(np.intp)

    def ids(self, text: str, unknown: str = "error") -> Ids:
        """Return the ids of a text in the order in which the model reads them; as for `Vocab.encode`."""
        return self.vocab.encode(text, unknown).astype(np.intp)

    def read(self, ids: Ids) -> Read:
        """Read ids (N,) from a zero state; with N = 0, all next ids are equally likely."""
        config, V = self.checkpoint.model_config, self.vocab.size
        state = model.zero_state(config, 1)
        if not len(ids):
            return Read(np.full((1, V), -np.log(V)), state)
        return Read(log_softmax(model.predict(self.weights, ids[:, None], state).astype(np.float64)), state)

    def step(self, before: Read, ids: Ids) -> Read:
        """Read one more id in each row, given as (B,)."""
        state = before.state.copy()
        return Read(log_softmax(model.step(self.weights, ids, state).astype(np.float64)), state)

    def log_probs(self, before: Read, texts: Sequence[Ids]) -> _Floats:
        """Return the log-probability of each of N texts after what one row has read, in nats, (N,).

        They are read side by side; a text without ids has 0.
        """
        found = np.zeros(len(texts))
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for at in range(0, len(order), _ROWS):
            rows = order[at : at + _ROWS]
            found[rows] = self._side_by_side(before, [texts[row] for row in rows.tolist()])
        return found

    def _side_by_side(self, before: Read, texts: Sequence[Ids]) -> _Floats:
        """Return what `log_probs` does for so few texts that they fit into a window, the longest first."""
        lengths = np.array([len(text) for text in texts])
        if not lengths.any():
            return np.zeros(len(texts))
        ids = np.zeros((lengths[0], len(texts)), np.intp)
        for row, text in enumerate(texts):
            ids[: len(text), row] = text
        total = np.where(lengths > 0, before.log_probs[0][ids[0]], 0.0)
        if len(ids) > 1:
            state = np.repeat(before.state, len(texts), axis=2)
            scored, _ = model.score(self.weights, ids[:-1], ids[1:], state)
            total += np.where(np.arange(1, len(ids))[:, None] < lengths, scored, 0.0).sum(axis=0, dtype=np.float64)
        return total


@dataclass(frozen=True, eq=False)
class Pair:
    """A forward model, and a backward one of the same alphabet; or a forward model alone."""

    forward: Reader
    backward: Reader | None = None

    @classmethod
    def of(cls, forward: Checkpoint, backward: Checkpoint | None = None) -> Pair:
        """Return the pair of these models.

        Raises:  ConfigError if one reads in the other's direction, or they have different alphabets or forms of text.
        """
        if forward.vocab.reverse:
            raise ConfigError(
                "the model of -m was trained with --reverse: give it with --backward, and a forward one with -m"
            )
        if backward is None:
            return cls(Reader(forward))
        if not backward.vocab.reverse:
            raise ConfigError("the model of --backward reads forwards: train it with --reverse")
        _check_alike(forward.vocab, backward.vocab)
        return cls(Reader(forward), Reader(backward))

    @property
    def readers(self) -> tuple[Reader, ...]:
        """Return the models, the forward one first."""
        return (self.forward,) if self.backward is None else (self.forward, self.backward)

    def log_probs(
        self, before: str, texts: Sequence[str], after: str, *, reach: int = CONTEXT, unknown: str = "error"
    ) -> _Floats:
        """Return the log-probability of each text between two contexts by each model, (N, 2); (N, 1) without a pair.

        A model reads the context on its side, then the text, then the other context, and the last two are scored. So
        the difference of two texts is that of the probabilities of all that is read. Each end of the whole is that of
        a line or document.
        reach    characters of a context that are read after the text, at most
        unknown  as for `Vocab.encode`
        Raises:  VocabError for an unknown character under "error".
        """
        columns = []
        for reader in self.readers:
            read_first, read_last = (after, before) if reader.vocab.reverse else (before, after)
            begin, rest = (reader.ids(context, unknown) for context in (read_first, read_last))
            known = reader.read(np.concatenate([reader.mark, begin])[-CONTEXT:])
            rest = np.concatenate([rest, reader.mark])[:reach]
            columns.append(
                reader.log_probs(known, [np.concatenate([reader.ids(text, unknown), rest]) for text in texts])
            )
        return np.column_stack(columns)


def _check_alike(forward: Vocab, backward: Vocab) -> None:
    """Raise ConfigError if two vocabularies differ in more than the direction."""
    for name, option in (("kind", "--bytes"), ("normalize", "--normalize"), ("lowercase", "--lowercase")):
        if getattr(forward, name) != getattr(backward, name):
            raise ConfigError(
                f"the forward and the backward model differ in {option}: train both with the same options"
            )
    if forward.symbols != backward.symbols:
        ours, theirs = set(forward.symbols), set(backward.symbols)
        only = "".join(sorted(ours ^ theirs))
        raise ConfigError(
            f"the forward and the backward model have different vocabularies ({len(ours):,} and {len(theirs):,} "
            f"characters; only one has {only[:20]!r}): train both on the same text"
        )
    if forward.specials != backward.specials:
        differ = " and ".join(sorted(set(forward.specials) ^ set(backward.specials)))
        option = {"end": "--split-documents", "unknown": "--min-count"}.get(differ, "--split-documents and --min-count")
        raise ConfigError(f"the forward and the backward model differ in {option}: train both with the same options")
