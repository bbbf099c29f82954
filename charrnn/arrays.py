"""The types of arrays that all modules use, the letters of their axes, windows of text, and reusable buffers.

Axes, everywhere and in this order: L layers, S states, T time, B batch, D input size, H hidden size, V vocabulary,
E embedding. Sequences are time-major: (T, B, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

_LINE = 64  # bytes of a cache line, and of a register of AVX-512

#: Real numbers, float32 or float64.
Array: TypeAlias = npt.NDArray[np.floating[Any]]
#: Symbol ids, 0 <= id < V.
Ids: TypeAlias = npt.NDArray[np.integer[Any]]
#: True and False.
Mask: TypeAlias = npt.NDArray[np.bool_]
#: Arrays by name: parameters, their gradients under the same names, an optimizer's state.
Params: TypeAlias = dict[str, Array]
#: A cell's backward pass: (dh (T, B, H), dstate (S, B, H)) -> (dx or None, dstate0 (S, B, H), grads).
Backprop: TypeAlias = Callable[[Array, Array], tuple[Array | None, Array, Params]]


def smallest_type(size: int) -> np.dtype[np.unsignedinteger]:
    """Return the smallest unsigned type for the ids 0 .. size-1."""
    return np.min_scalar_type(max(0, size - 1))


class IdSource(Protocol):
    """Ids that are read by index: an array (N,), or an object that computes them as they are read."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: npt.NDArray[np.intp], /) -> Ids: ...


class Window(NamedTuple):
    """One step's inputs and targets (T, B), and two masks (T, B).

    reset    True where the state is zero before the step; None if no state is reset
    counted  True where the prediction counts in the loss; None if all do
    """

    inputs: Ids
    targets: Ids
    reset: Mask | None
    counted: Mask | None = None

    @property
    def predictions(self) -> int:
        """Return the number of predictions that count."""
        return self.targets.size if self.counted is None else int(self.counted.sum())

    @property
    def chars(self) -> int:
        """Return the number of characters that are read."""
        return self.inputs.size

    def rows(self, rows: slice) -> Window:
        """Return these batch rows of the window."""
        reset, counted = (None if mask is None else mask[:, rows] for mask in (self.reset, self.counted))
        return Window(self.inputs[:, rows], self.targets[:, rows], reset, counted)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised array that starts at a multiple of 64 bytes, as cache lines do.

    NumPy aligns to 16 bytes. With AVX-512, half of all additions and matrix products then take up to twice as long.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return _from_line(np.empty(size + _LINE, np.uint8), size).view(dtype).reshape(shape)


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return zeros that start at a multiple of 64 bytes; the system gives the memory when it is first written to."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return _from_line(np.zeros(size + _LINE, np.uint8), size).view(dtype).reshape(shape)


def _from_line(memory: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Return so many bytes of the memory, from the first that starts a line of the cache."""
    start = -memory.__array_interface__["data"][0] % _LINE
    return memory[start : start + size]


def aligned(array: Array) -> Array:
    """Return a copy in the memory of `empty`."""
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def times(array: Array, factors: Array) -> Array:
    """Return array * factors in the memory of `empty`."""
    product: Array = np.multiply(
        array, factors, out=empty(np.broadcast_shapes(array.shape, factors.shape), array.dtype)
    )
    return product


class Scratch:
    """Buffers that forward passes reuse: the same name returns the same memory.

    The results of a forward pass are valid until the next one on the same scratch. Each thread needs its own.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, npt.NDArray[Any]] = {}
        self._scopes: dict[str, Scratch] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an uninitialised array in the memory named `name`, which grows as needed."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size or buffer.dtype != dtype:
            buffer = self._buffers[name] = empty((size,), dtype)
        return buffer[:size].reshape(shape)

    def scope(self, name: str) -> Scratch:
        """Return the scratch named `name` inside this one, so that two layers never share a buffer."""
        return self._scopes.setdefault(name, Scratch())


class _Fresh(Scratch):
    """A scratch that reuses nothing: every array is new."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.empty(shape, dtype)

    def scope(self, name: str) -> Scratch:
        return self


#: The default scratch: new arrays each time, with the same results.
FRESH: Scratch = _Fresh()
