"""A vector for each line: the hidden states of a language model at the line's characters, pooled.

A line is read from a zero state, after the start mark if the model learned documents, else after a line end if it knows
one, as `charrnn score` reads it; a model trained with --reverse reads it from its end. Characters that the vocabulary
lacks are left out, or read as the unknown symbol. The states at the line's own characters are pooled; a line without
characters has the state after the mark, and where there is no mark either, zeros.

Lines of similar lengths are read side by side, a window at a time, so a line may have any length. Windows begin at the
same steps for all lines, so the compiled core gives a line the same bits whatever lines are beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask
from charrnn.config import ModelConfig
from charrnn.data.padding import batches, pad
from charrnn.data.vocab import Vocab
from charrnn.embedding.settings import EmbedConfig
from charrnn.evaluation import scoring
from charrnn.nn import model
from charrnn.parallel.plan import threads_to_use
from charrnn.parallel.threads import side_by_side

_BLOCK = 1 << 17  # characters of lines that are taken together
_SHORTEST = 32  # characters that a line counts at least, so that the vectors of a block fit in little memory
_ROWS = 128  # lines read side by side
_WINDOW = 32  # time steps of a forward pass; another number changes the rounding of a mean

T = TypeVar("T")
_Vectors = npt.NDArray[np.float32]


def embed_blocks(
    config: ModelConfig,
    weights: model.Weights,
    vocab: Vocab,
    blocks: Iterable[Sequence[str]],
    settings: EmbedConfig,
    *,
    threads: int | None = None,
) -> Generator[_Vectors, None, None]:
    """Yield the vectors (N, D) of each block's lines; D is `settings.size(config)`.

    threads: that read blocks side by side, taking some ahead; all cores if None. With one, a block is taken when its
             vectors are needed
    Raises:  ConfigError, at once, if the model has no such layer, or threads is out of range.
    """
    chosen = [_up_to(weights, layer) for layer in settings.layers(config.num_layers)]
    count = threads_to_use(threads)

    def embed(block: Sequence[str]) -> _Vectors:
        different = {line: number for number, line in enumerate(dict.fromkeys(block))}  # a log has many equal lines
        ids, skipped = _ids_of(vocab, [*different])
        vectors = np.concatenate([_read(config, each, ids, skipped, settings.pooling) for each in chosen], axis=1)
        return vectors[[different[line] for line in block]]

    return side_by_side(embed, blocks, count)


def in_blocks(lines: Iterable[T], chars: Callable[[T], int]) -> Iterator[list[T]]:
    """Group lines into the blocks that `embed_blocks` takes.

    chars: returns the number of characters of a line
    """
    return scoring.in_blocks(lines, _BLOCK, chars=lambda line: max(_SHORTEST, chars(line)))


def _up_to(weights: model.Weights, layer: int) -> model.Weights:
    """Return the net up to a layer, whose outputs are those of this layer, without the memory of attention."""
    return replace(weights, layers=weights.layers[: layer + 1], attention=None)


def _ids_of(vocab: Vocab, lines: Sequence[str]) -> tuple[list[Ids], int]:
    """Return the ids of each line, after those of the mark, and the number of ids of the mark: 1 or 0."""
    mark = vocab.mark
    texts = [mark + vocab.turned(vocab.in_form(line)) for line in lines]
    ids, absent = vocab.look_up("".join(texts))
    ends = np.cumsum([*map(len, texts)], dtype=np.intp)
    if vocab.unknown is None:
        ends, ids = np.append(0, np.cumsum(~absent))[ends], ids[~absent]
    return np.split(ids, ends[:-1]), len(mark)


def _read(config: ModelConfig, weights: model.Weights, ids: Sequence[Ids], skipped: int, pooling: str) -> _Vectors:
    """Return the pooled outputs (N, H) of a net's last layer at the ids of each text.

    skipped: ids at the start of each text that are not pooled, unless the text has no others
    """
    vectors = np.zeros((len(ids), config.hidden_size), np.float32)
    shape = replace(config, num_layers=len(weights.layers), attention=0)
    for batch in batches(np.array([*map(len, ids)], np.intp), _ROWS, _BLOCK):
        padded, lengths = pad([ids[text] for text in batch])
        begins = np.where(lengths > skipped, skipped, 0)
        pooled, state = _Pooled(pooling, len(batch), config.hidden_size), model.zero_state(shape, len(batch))
        for at in range(0, int(lengths[0]), _WINDOW):
            rows = int((lengths > at).sum())  # the longest come first
            state = np.ascontiguousarray(state[:, :, :rows])
            window = np.ascontiguousarray(padded[at : at + _WINDOW, :rows])
            h = model.outputs(weights, window, state)
            steps = np.arange(at, at + len(window))[:, None]
            pooled.add(h, (begins[:rows] <= steps) & (steps < lengths[:rows]))
        vectors[batch] = pooled.vectors(lengths - begins)
    return vectors


class _Pooled:
    """The pooled outputs of B texts, window by window.

    Sums are of windows first, in float64, so that those of a text of a million characters are exact enough.
    """

    def __init__(self, pooling: str, B: int, H: int) -> None:
        self._pooling = pooling
        self._values = np.full((B, H), -np.inf if pooling == "max" else 0.0)

    def add(self, h: Array, inside: Mask) -> None:
        """Add a window of the first rows.

        Shapes:  h (T, B, H) · inside (T, B), which of its outputs count
        """
        values = self._values[: h.shape[1]]
        if self._pooling == "mean":
            values += np.add.reduce(h, axis=0, where=inside[..., None])
        elif self._pooling == "max":
            np.maximum(values, np.maximum.reduce(h, axis=0, where=inside[..., None], initial=-np.inf), out=values)
        else:
            some = inside.any(axis=0)
            last = len(inside) - 1 - inside[::-1].argmax(axis=0)
            values[some] = h[last[some], np.flatnonzero(some)]

    def vectors(self, counts: npt.NDArray[np.intp]) -> Array:
        """Return the vectors (B, H), given how many outputs of each text count; zeros for one without any."""
        if self._pooling == "mean":
            return self._values / np.maximum(counts, 1)[:, None]
        return np.where(counts[:, None] > 0, self._values, 0)
