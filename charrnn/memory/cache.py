"""The continuous cache: predict what followed the last time that the net's hidden state was like this.

Each row remembers a key for each of its last N positions, made from the last layer's output h, and the id that
followed. A position whose key is like the present one adds to the probability of the id that followed it:

key_t = (h_t - mean) projection;    key_t = key_t / |key_t|
q(w)  = sum of exp(sharpness key_t key_i) over positions i < t that w followed, divided by the sum over all i < t
p(w)  = (1 - share) p_net(w) + share q(w);    share = min(0.999, sigmoid(gate . features + bias))

The features of a prediction are
    the largest key_t key_i,   log sum_i exp(sharpness key_t key_i),   log p_net . p_net,   log q . q,
    log(p_net . q + 1e-6),     max p_net,    max q,    log(1 + number of positions)
where log p . p is the negative entropy of order 2 (Rényi) of a distribution. While a row has no positions, p = p_net.

The weights of the net never change, and p sums to one. NumPy's version below is the reference of `nn/core/recall.h`.
Source:  Grave, Joulin & Usunier 2017, Improving neural language models with a continuous cache. Where we differ: keys
         are centred, projected and scaled to length one, and the share depends on the features instead of being fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask, zeros
from charrnn.config import MOST_MEMORY, ModelConfig
from charrnn.errors import ConfigError
from charrnn.memory.gate import CAUTION, FOLDS, shares
from charrnn.nn import compiled
from charrnn.nn.functional import log_softmax
from charrnn.system.ram import free_bytes

#: Which batch rows.
Rows: TypeAlias = slice | Sequence[int] | npt.NDArray[np.intp]

FEATURES = 8
LOG_MASS = 1  # the feature that is log sum_i exp(sharpness key_t key_i)
KEY_SIZE = 64  # numbers of a key: on tiny Shakespeare as good as 128, and 32 lose 0.005 nats (docs/choices.md)
_TINY = 1e-12
_COLDEST = 0.01  # temperatures below it draw the most likely character of the mixture
_LEAST_AGREEMENT = 1e-6
_TOGETHER = 16  # the core looks up so many positions of a row at once, so a ring has so many slots more than N


def mixed_at(temperature: float) -> float:
    """Return the temperature of a net before it is mixed: near 0, the most likely character of the mixture is drawn."""
    return 1.0 if temperature < _COLDEST else temperature


def check_memory(size: int, config: ModelConfig) -> None:
    """Raise ConfigError if a memory of this size is out of range, or larger than what the machine has free."""
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MOST_MEMORY:
        raise ConfigError(f"--memory must be 0 to {MOST_MEMORY:,} characters, got {size!r}")
    number = _stored(np.empty(0, config.dtype)).itemsize
    needs = size * (min(KEY_SIZE, config.hidden_size) * number + np.dtype(np.int32).itemsize)
    free = free_bytes()
    if free is not None and needs > free:
        raise ConfigError(
            f"--memory {size:,} needs {needs / 2**30:,.1f} GiB for each text that is read at once, and "
            f"{free / 2**30:,.1f} GiB are free: give a smaller number"
        )


@dataclass(frozen=True, eq=False)
class Cache:
    """What a cache needs to know, fitted to a model; the entries of each row are apart, in `Entries`.

    size        N, the positions that a row remembers; 0: it did not help
    sharpness   the factor of the similarity of two keys in the exponent
    mean        (H,) of the hidden states
    projection  (H, D)
    gates       (1 + FOLDS, FEATURES + 1): the weights of the features, and the bias; then those for each fold of the
                text that the gate was fitted to
    fitted_to   the hash of that text; "" for a cache that was not fitted
    temperature of the net, before its probabilities are mixed; `recall` then returns logits such that dividing them by
                it gives the mixture
    """

    size: int
    sharpness: float
    mean: Array
    projection: Array
    gates: npt.NDArray[np.float64]
    fitted_to: str = ""
    temperature: float = 1.0

    @classmethod
    def unfitted(cls, hidden_size: int, dtype: npt.DTypeLike) -> Cache:
        """Return the cache of a model without a fitted one: random projection, sharpness 20, share 0.1."""
        D = min(KEY_SIZE, hidden_size)
        projection = np.random.default_rng(0).standard_normal((hidden_size, D)).astype(dtype)
        gate = np.append(np.zeros(FEATURES), np.log(0.1 / 0.9))
        return cls(0, 20.0, np.zeros(hidden_size, dtype), projection, np.tile(gate, (1 + FOLDS, 1)))

    def for_sampling(self, temperature: float) -> Cache:
        """Return the cache for samples that are drawn at this temperature.

        The temperature acts on the net alone: raised to a power, a mixture would copy itself for ever. What it
        remembers has a smaller share (`CAUTION`).
        """
        gates = self.gates.copy()
        gates[:, -1] -= CAUTION
        return replace(self, gates=gates, temperature=mixed_at(temperature))

    def with_size(self, size: int) -> Cache:
        """Return the cache with another number of positions."""
        return replace(self, size=size)

    def entries(self, rows: int, first: Entries | None = None, longest: int | None = None) -> Entries:
        """Return the entries of rows that remember nothing yet, or only those of one row that has read a text.

        longest  the most positions that a row will read between two resets, if that is known: fewer need less memory
        """
        if first is not None:
            begin = replace(first, counts=np.maximum(0, first.counts - 1))  # nothing is known to follow the last one
            entries = Entries.empty(rows, first.size, first.keys.shape[1:], first.keys.dtype, begin)
            for row in range(rows):
                entries.forget(row)
            return entries
        size = self.size if longest is None else max(1, min(self.size, longest))
        panels, D = -(-(size + _TOGETHER) // self._width), self.projection.shape[1]
        return Entries.empty(rows, size, (panels, D, self._width), _stored(self.projection[:1]).dtype)

    @property
    def _width(self) -> int:
        """Return the number of keys that lie side by side in memory: as the core multiplies them."""
        core = compiled.core()
        return int(core.packed_size(self.projection.itemsize, 1, 1)) if core else 16

    @cached_property
    def _centre(self) -> Array:
        centre: Array = self.mean @ self.projection
        return centre

    @cached_property
    def _packed(self) -> Array:
        return compiled.pack(self.projection)

    def recall(
        self,
        entries: Entries,
        ids: Ids,
        h: Array,
        logits: Array | None = None,
        *,
        reset: Mask | None = None,
        fitting: bool = False,
    ) -> npt.NDArray[np.float64] | None:
        """Remember a window; replace the logits by the logarithms of the mixed probabilities.

        ids      read by the net; the first one follows the last position of the window before
        h        the outputs of the last layer after these ids
        logits   of the net; None to remember only
        fitting  True: replace the logits by the probabilities q of the cache instead, and return the features
        Shapes:  ids, reset (T, B) · h (T, B, H) · logits (T, B, V) · returns (T, B, FEATURES) or None
        """
        features = np.empty((*ids.shape, FEATURES)) if fitting else None
        if compiled.core():
            compiled.recall(self.in_core(entries, fitting), ids, h, logits, features, reset)
            return features
        for b in range(ids.shape[1]):
            forgets = np.zeros(len(ids), bool) if reset is None else reset[:, b]
            at = 0
            while at < len(ids):
                if forgets[at]:
                    entries.forget(entries.rows[b])
                end = min(at + _TOGETHER, len(ids))
                end = next((t for t in range(at + 1, end) if forgets[t]), end)
                own: Any = (slice(at, end), b)
                found = self._recall(
                    entries, entries.rows[b], ids[own], h[own], None if logits is None else logits[own], fitting
                )
                if features is not None:
                    features[own] = found
                at = end
        return features

    def _recall(
        self, entries: Entries, row: int, ids: Ids, h: Array, logits: Array | None, fitting: bool
    ) -> npt.NDArray[np.float64] | None:
        """Do what `recall` does for n successive positions of a row, at most `_TOGETHER`.

        Shapes:  ids (n,) · h (n, H) · logits (n, V) · returns (n, FEATURES) or None
        """
        keys = self._keys(h)
        counts = entries.remember(row, ids, keys)
        if logits is None:
            return None
        slots, width = entries.ids.shape[1], entries.keys.shape[-1]
        panels = -(-min(slots, int(counts[-1]) + 1) // width)  # those that have ever been written to
        # The newest entry in each slot, as counted from the first one, and which of them each position can see.
        age = (counts[-1] - np.arange(panels * width)) % slots
        entry = counts[-1] - age
        seen = (entry >= 0) & (entry < counts[:, None]) & (entry >= counts[:, None] - entries.size)  # (n, slots)
        products = keys @ _loaded(entries.keys[row, :panels], keys.dtype)
        scores = np.where(seen, np.moveaxis(products, 0, 1).reshape(seen.shape), -np.inf)
        near = np.where(seen.any(axis=1), scores.max(axis=1), 0)[:, None]
        weights = np.where(seen, np.exp(self.sharpness * (scores - near)), 0)
        mass = weights.sum(axis=1, keepdims=True)
        q = np.zeros_like(logits)
        np.add.at(q.T, entries.ids[row, : panels * width], weights.T)
        some = mass > 0
        q = np.where(some, q / np.where(some, mass, 1), 0).astype(logits.dtype)
        log_p = log_softmax(logits)
        p = np.exp(log_p)
        with np.errstate(divide="ignore"):
            features = np.stack(
                [
                    near[:, 0],
                    np.log(mass[:, 0]) + self.sharpness * near[:, 0],
                    np.log((p * p).sum(axis=1)),
                    np.log((q * q).sum(axis=1)),
                    np.log((p * q).sum(axis=1) + _LEAST_AGREEMENT),
                    p.max(axis=1),
                    q.max(axis=1),
                    np.log1p(seen.sum(axis=1)),
                ],
                axis=1,
            )
        features = np.where(some, features, 0).astype(np.float64)
        if fitting:
            logits[...] = q
            return features
        logits[...] = self.mixed(log_p, q, features)
        return None

    def mixed(
        self, log_p: Array, q: Array, features: npt.NDArray[np.float64], folds: npt.NDArray[np.intp] | None = None
    ) -> Array:
        """Return the logarithms of the mixed probabilities.

        folds  of each prediction, in the text that the gate was fitted to; None: this is another text
        Shapes:  log_p, q, returned (..., V) · features (..., FEATURES) · folds (...)
        """
        share = self.share(q, features, folds)[..., None]
        cold = log_softmax(log_p / self.temperature)
        with np.errstate(divide="ignore"):
            mixed = np.log((1 - share) * np.exp(cold) + share * q)
        # Where q is 0, p may be too small for its type.
        result: Array = self.temperature * np.where(q > 0, mixed, cold + np.log1p(-share))
        return result

    def share(self, q: Array, features: npt.NDArray[np.float64], folds: npt.NDArray[np.intp] | None = None) -> Array:
        """Return the share of the cache in the mixed probabilities; arguments as for `mixed`.

        Shapes:  returns (...)
        """
        share: Array = np.where(q.any(axis=-1), shares(features, self.gates, folds), 0).astype(q.dtype)
        return share

    def keys(self, h: Array) -> tuple[Array, Array]:
        """Return the keys (n, D) of outputs h (n, H): as they are compared with others, and as they are remembered."""
        keys = self._keys(h)
        return keys, _loaded(_stored(keys), keys.dtype)

    def _keys(self, h: Array) -> Array:
        """Return the keys (n, D) of outputs h (n, H)."""
        keys = h @ self.projection - self._centre
        keys /= np.sqrt((keys * keys).sum(axis=1, keepdims=True)) + _TINY
        return keys

    def in_core(self, entries: Entries, fitting: bool = False) -> compiled.Memory:
        """Return the cache and its entries as the compiled core reads them."""
        first = entries.first
        H, D = self.projection.shape
        return (
            H,
            D,
            entries.size,
            entries.ids.shape[1],
            entries.begin,
            len(entries.counts),
            self.sharpness,
            self.temperature,
            self._packed,
            self._centre,
            None if first is None else first.keys[0],
            None if first is None else first.ids[0],
            None if fitting else self.gates[0],
            entries.rows,
            entries.keys,
            entries.ids,
            entries.counts,
        )


def _stored(keys: Array) -> npt.NDArray[Any]:
    """Return keys as they are remembered: of a float32, the upper half, rounded, since less memory takes less time."""
    if keys.dtype != np.float32:
        return keys
    bits = np.ascontiguousarray(keys).view(np.uint32)
    return ((bits + 0x8000) >> 16).astype(np.uint16)


def _loaded(keys: npt.NDArray[Any], dtype: npt.DTypeLike) -> Array:
    """Return remembered keys as numbers of this type."""
    return (keys.astype(np.uint32) << 16).view(np.float32) if dtype == np.float32 else keys


@dataclass(eq=False)
class Entries:
    """What B rows remember: of each the last positions, in a ring of slots.

    size    positions that each row remembers
    rows    (B,) where the entries of each row are among those of P
    keys    (P, panels, D, width), as `_stored` returns them: slot i is [:, i // width, :, i % width]
    ids     (P, slots) the id that followed each position
    counts  (P,) positions read since the row was empty, with those it begins with; the last may wait for its id
    first   one row, with what every row remembers after a reset, all complete; None: nothing
    """

    size: int
    rows: npt.NDArray[np.int64]
    keys: npt.NDArray[Any]
    ids: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int64]
    first: Entries | None = None

    @classmethod
    def empty(
        cls, rows: int, size: int, shape: tuple[int, ...], dtype: npt.DTypeLike, first: Entries | None = None
    ) -> Entries:
        """Return rows without entries, given the shape of a row's keys."""
        ids = np.zeros((rows, shape[0] * shape[2]), np.int32)
        return cls(size, np.arange(rows), zeros((rows, *shape), dtype), ids, np.zeros(rows, np.int64), first)

    @property
    def begin(self) -> int:
        """Return the count of a row after a reset."""
        return 0 if self.first is None else int(self.first.counts[0])

    def forget(self, row: int) -> None:
        """Reset a row, by its number among P."""
        self.counts[row] = self.begin
        if self.first is not None:
            self.keys[row], self.ids[row] = self.first.keys[0], self.first.ids[0]

    def remember(self, row: int, ids: Ids, keys: Array) -> npt.NDArray[np.int64]:
        """Add n entries to a row, by its number among P; return how many earlier ones there are for each.

        ids  of which the first follows the newest entry before
        Shapes:  ids (n,) · keys (n, D) · returns (n,)
        """
        counts: npt.NDArray[np.int64] = self.counts[row] + np.arange(len(ids))
        slots, width = self.ids.shape[1], self.keys.shape[-1]
        follows = counts > self.begin
        self.ids[row, (counts[follows] - 1) % slots] = ids[follows]
        at = counts % slots
        self.keys[row, at // width, :, at % width] = _stored(keys)
        self.counts[row] += len(ids)
        return counts

    def only(self, rows: Rows) -> Entries:
        """Return these rows, none of them twice; their memory is shared."""
        return replace(self, rows=self.rows[rows])

    def copies(self, rows: Rows) -> Entries:
        """Return copies of these rows."""
        return Entries.joined([self.only(rows)])

    @staticmethod
    def joined(parts: Sequence[Entries]) -> Entries:
        """Return copies of all rows of these parts, which have the same size, in order."""
        one = parts[0]
        total = sum(len(part.rows) for part in parts)
        result = Entries.empty(total, one.size, one.keys.shape[1:], one.keys.dtype, one.first)
        at = 0
        for part in parts:
            own, to = part.rows, slice(at, at := at + len(part.rows))
            used = -(-min(int(part.counts[own].max(initial=0)), part.ids.shape[1]) // part.keys.shape[-1])
            result.keys[to, :used] = part.keys[own, :used]
            result.ids[to], result.counts[to] = part.ids[own], part.counts[own]
        return result
