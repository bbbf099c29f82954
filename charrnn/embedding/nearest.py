"""The nearest of many lines, by the cosine of their vectors once these are whitened.

The states of a model have a large common component, and a few directions in which all lines vary most: the cosine of
two unrelated lines is 0.75, not 0. Whitening subtracts the mean and gives every direction the same variance, so the
cosine of unrelated lines is about 0, and lines with something in common are found more often (docs/cli/embed.md).

Source:  Su et al. 2021 (whitening of sentence vectors).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array
from charrnn.errors import ConfigError
from charrnn.system.ram import free_bytes

_FLOOR = 1e-3  # of the largest variance: added to all, so that directions of noise are not blown up
_BLOCK = 1 << 12  # vectors of a product
_QUERIES = 256  # vectors that are compared with such a block
_TINY = 1e-12  # a shorter vector, such as that of the only line, has no direction

_Numbers = npt.NDArray[np.intp]


def room_for(count: int, size: int) -> npt.NDArray[np.float32]:
    """Return memory for so many vectors of this size, (N, D).

    Raises:  ConfigError if the machine has less free memory.
    """
    free, wanted = free_bytes(), 4 * count * size
    if free is not None and wanted > free:
        raise ConfigError(
            f"the vectors of {count:,} lines would take {wanted / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free: "
            f"name a file of at most {free // (4 * size):,} lines, or choose one layer with --layer"
        )
    return np.empty((count, size), np.float32)


class Nearest:
    """N whitened vectors of length 1, among which the nearest are found.

    vectors  (N, D), overwritten: they take 4 N D bytes, and nothing else grows with N
    Raises:  ConfigError if there is none.
    """

    def __init__(self, vectors: npt.NDArray[np.float32]) -> None:
        if not len(vectors):
            raise ConfigError("there is no vector to compare with: name a file that has lines")
        self._mean = vectors.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((vectors.shape[1],) * 2)
        for block in _blocks(vectors):
            centred = block - self._mean
            covariance += centred.T @ centred
        variances, directions = np.linalg.eigh(covariance / len(vectors))
        self._white = directions / np.sqrt(np.maximum(variances, 0) + max(_FLOOR * variances[-1], _TINY))
        for block in _blocks(vectors):
            block[...] = self._whitened(block)
        self._vectors = vectors

    def _whitened(self, vectors: Array) -> npt.NDArray[np.float32]:
        white = (vectors - self._mean) @ self._white
        lengths = np.linalg.norm(white, axis=1, keepdims=True)
        white *= np.where(lengths > _TINY, 1 / np.maximum(lengths, _TINY), 0)
        rows: npt.NDArray[np.float32] = white.astype(np.float32)
        return rows

    def find(self, vectors: Array, top: int) -> tuple[_Numbers, npt.NDArray[np.float64]]:
        """Return the indices of the nearest vectors to each of M, nearest first, and their similarities from -1 to 1.

        Vectors of the same similarity are in their order.
        top: how many, at most: all if there are fewer
        Shapes:  vectors (M, D) · returns (M, K), (M, K)
        """
        found = [
            self._find(self._whitened(vectors[at : at + _QUERIES]), top) for at in range(0, len(vectors), _QUERIES)
        ]
        K = min(top, len(self._vectors))
        if not found:
            return np.empty((0, K), np.intp), np.empty((0, K))
        indices, similarities = zip(*found, strict=True)
        return np.concatenate(indices), np.concatenate(similarities)

    def _find(self, queries: npt.NDArray[np.float32], top: int) -> tuple[_Numbers, npt.NDArray[np.float64]]:
        best, at = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.intp)
        begin = 0
        for block in _blocks(self._vectors):
            numbers = np.broadcast_to(np.arange(begin, begin + len(block)), (len(queries), len(block)))
            best, at = np.hstack([best, queries @ block.T]), np.hstack([at, numbers])
            if best.shape[1] > top:
                kept = np.argpartition(-best, top - 1, axis=1)[:, :top]
                best, at = np.take_along_axis(best, kept, 1), np.take_along_axis(at, kept, 1)
            begin += len(block)
        exact = np.einsum("md,mkd->mk", queries, self._vectors[at], dtype=np.float64)  # whatever the blocks
        order = np.lexsort((at, -exact))
        return np.take_along_axis(at, order, 1), np.take_along_axis(exact, order, 1)


def _blocks(vectors: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return [vectors[at : at + _BLOCK] for at in range(0, len(vectors), _BLOCK)]
