"""The array types that every module speaks of, the letters of their axes, and the buffers a caller may lend.

Axes, everywhere and in this order: L layers, S states, T time, B batch, D input size, H hidden size, V vocabulary,
E embedding. Sequences are time-major: (T, B, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

#: Real numbers, float32 or float64.
Array: TypeAlias = npt.NDArray[np.floating[Any]]
#: Ids of symbols, 0 <= id < V.
Ids: TypeAlias = npt.NDArray[np.integer[Any]]
#: True and False.
Mask: TypeAlias = npt.NDArray[np.bool_]
#: Named arrays: parameters, their gradients (the same names), an optimizer's state.
Params: TypeAlias = dict[str, Array]
#: A cell's backward pass: (dh (T, B, H), dstate (S, B, H)) -> (dx or None, dstate0 (S, B, H), grads).
Backprop: TypeAlias = Callable[[Array, Array], tuple[Array | None, Array, Params]]


class IdSource(Protocol):
    """Ids that are read by their places: an array (N,), or what makes them as they are read."""

    def __len__(self) -> int: ...

    def __getitem__(self, places: npt.NDArray[np.intp], /) -> Ids: ...


class Scratch:
    """Buffers that a caller owns and lends to forward passes: the same name gives the same memory again.

    What a forward pass returned is valid until the next one on the same scratch; one scratch serves one thread.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, npt.NDArray[Any]] = {}
        self._scopes: dict[str, Scratch] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an uninitialised array in the memory that belongs to `name`, which grows as needed."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < size or buffer.dtype != dtype:
            buffer = self._buffers[name] = np.empty(size, dtype)
        return buffer[:size].reshape(shape)

    def scope(self, name: str) -> Scratch:
        """Return the scratch inside this one that belongs to `name`, so that two layers never share a buffer."""
        return self._scopes.setdefault(name, Scratch())


class _Fresh(Scratch):
    """A scratch that keeps nothing: every array is new."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return np.empty(shape, dtype)

    def scope(self, name: str) -> Scratch:
        return self


#: What `scratch=None` means: fresh arrays, with the same results.
FRESH: Scratch = _Fresh()
