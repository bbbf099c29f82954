"""Sampling: from logits to the next id, and the loop that writes a text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from charrnn import model
from charrnn.arrays import Array, Ids, Scratch
from charrnn.config import ModelConfig

_PRIME_WINDOW = 256  # characters of the prime that are read at once: bounds the memory of a long one
_LEAST_TEMPERATURE = 1e-200  # a colder one differs in nothing, but quotients would overflow


def choose(
    logits: npt.NDArray[np.floating], uniforms: npt.NDArray[np.float64], temperature: float, top_k: int = 0
) -> npt.NDArray[np.intp]:
    """Return one id for each of B independent streams.

    p = softmax(logits / temperature) over the top_k largest logits (all, if 0); the id is where the running sum of p
    passes the stream's uniform number. Temperature 0 is argmax.
    Shapes:  logits (B, V) · uniforms (B,), each in [0, 1) · returns (B,)
    """
    ids: npt.NDArray[np.intp]
    if temperature == 0:
        ids = logits.argmax(axis=-1)
        return ids
    logits = logits.astype(np.float64)  # a copy, which becomes the weights
    if 0 < top_k < logits.shape[-1]:
        least = np.partition(logits, -top_k, axis=-1)[:, -top_k, None]
        logits = np.where(logits >= least, logits, -np.inf)
    temperature = max(temperature, _LEAST_TEMPERATURE)
    if len(logits) == 1:  # the same, in half the time: NumPy is quicker with single numbers than with rows of one
        row = logits[0]
        row -= row[row.argmax()]
        row /= temperature
        cumulative = np.add.accumulate(np.exp(row, out=row))
        ids = (cumulative > uniforms[0] * cumulative[-1]).argmax(keepdims=True)
        return ids
    logits -= np.maximum.reduce(logits, axis=-1, keepdims=True)
    logits /= temperature
    cumulative = np.add.accumulate(np.exp(logits, out=logits), axis=-1)
    ids = (cumulative > (uniforms * cumulative[:, -1])[:, None]).argmax(axis=-1)
    return ids


def start_logits(starts: tuple[int, ...], size: int) -> Array:
    """Return logits (1, V) for a first character that is drawn as often as it begins a line; all alike if uncounted."""
    counts = np.zeros(size)
    counts[: len(starts)] = starts
    if not counts.any():
        return np.zeros((1, size))
    with np.errstate(divide="ignore"):
        return np.log(counts)[None]


def generate(
    weights: model.Weights,
    config: ModelConfig,
    prime: Ids,
    *,
    first: Array | None = None,
    length: int,
    temperature: float,
    top_k: int = 0,
    seed: int,
) -> Iterator[int]:
    """Yield `length` ids that continue the prime, one by one.

    Shapes:  prime (N,), which may be empty if there is a `first` · first (1, V), the logits of the first id; if None,
             those that the prime leads to
    """
    rng = np.random.default_rng(seed)
    state, scratch = model.zero_state(config, 1), Scratch()
    logits: Array = np.zeros((1, config.vocab_size))
    for at in range(0, len(prime), _PRIME_WINDOW):
        h, state, _ = model.hidden(weights, prime[at : at + _PRIME_WINDOW, None], state, scratch=scratch)
        logits = model.readout(weights, h[-1:])[0][0]
    logits = logits if first is None else first
    for index in range(length):
        ids = choose(logits, rng.random(1), temperature, top_k)
        yield int(ids[0])
        if index < length - 1:
            logits = model.step(weights, ids, state)
