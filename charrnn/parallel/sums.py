"""Sums of gradients over all ranks: their layout, and their form on the way from rank to rank.

A sum travels in pieces, so that one is added while the next ones are on their way. Each piece is added in the order of
the ranks, so the bits of a sum depend on nothing but the number of ranks. With `half`, numbers travel as bfloat16, the
upper half of a float32. float16 would need a scale for each message, since most gradients are smaller than its smallest
normal number.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Params
from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.parallel.ranks import Ranks
from charrnn.parallel.shared import add_up, by_parameter

_MOST_PIECES, _LEAST = 4, 2**19  # and the numbers of a piece, at least: smaller ones cost more messages than they gain
_HALF, _HALF_UNIT = np.uint32(16), np.uint32(0x8000)  # bits that bfloat16 drops; half of the last one that it keeps


class Sums:
    """The gradients of this rank, and after `add` the sums of those of all ranks; `half`: they travel as bfloat16."""

    def __init__(self, config: ModelConfig, ranks: Ranks, *, half: bool) -> None:
        numbers = sum(map(math.prod, model.param_shapes(config).values()))
        pieces = max(1, min(_MOST_PIECES, numbers // _LEAST))
        self._ranks, self._half = ranks, half
        self._pieces = np.zeros((pieces, ranks.size, -(-numbers // (pieces * ranks.size))), config.dtype)
        self._shards = np.empty(self._pieces.shape, np.uint16 if half else config.dtype)
        self._grads = by_parameter(self._pieces.reshape(-1), config)

    def add(self, own: Params | None) -> Params:
        """Return the sums of all ranks' gradients, in the order of this rank's own; valid until the next call.

        own: None if an error left this rank without any: the others wait for it all the same
        """
        for name, grad in (own or {}).items():
            self._grads[name][...] = grad
        if self._half:
            halves = to_bfloat16(self._pieces)
            self._ranks.add_up(halves, self._shards, _total_of_halves)
            self._pieces[...] = from_bfloat16(halves)
        else:
            self._ranks.add_up(self._pieces, self._shards, _total)
        return {name: self._grads[name] for name in own or {}}


def _total(shards: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the sum of a shard over all ranks, in their order; the first one is overwritten."""
    add_up(shards, slice(None))
    total: npt.NDArray[Any] = shards[0]
    return total


def _total_of_halves(shards: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    return to_bfloat16(_total(from_bfloat16(shards)))


def to_bfloat16(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Return the upper half of each number as a float32, rounded; infinity and NaN stay what they are."""
    bits = numbers.astype(np.float32).view(np.uint32)
    bits += _HALF_UNIT
    bits >>= _HALF
    return bits.astype(np.uint16)


def from_bfloat16(halves: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return the numbers that `to_bfloat16` has rounded."""
    bits = halves.astype(np.uint32)
    bits <<= _HALF
    return bits.view(np.float32)
