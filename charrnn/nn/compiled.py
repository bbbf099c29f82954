"""The compiled core: time steps in C, which cells use instead of NumPy's functions where it is installed.

The cells compute with NumPy; those passes are the reference. The core in `charrnn/nn/core/` repeats their loops over
time in C: a whole window of a cell in one call, with matrix products of its own that need no packing at each step. The
results agree to rounding. Installing charrnn builds the core if there is a C compiler; without it, NumPy computes.

CHARRNN_COMPILED=0 in the environment switches the core off; `baseline`, `avx2` or `avx512` chooses a slower variant
than the fastest that the processor can run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Ids, Mask, Scratch, empty
from charrnn.version import __version__


@cache
def core() -> Any:
    """Return the module of the core; None if NumPy computes instead, for a reason that `missing` gives."""
    return None if missing() else _loaded()


@cache
def _loaded() -> Any:
    """Return the module of the core, computing with the variant that the environment names; or an ImportError."""
    try:
        _core = import_module("charrnn.nn._core")
    except ImportError as error:  # not built; built for another platform; or damaged
        return error
    wanted = os.environ.get("CHARRNN_COMPILED")
    if wanted in _core.variants():
        _core.select(wanted)
    return _core


@cache
def missing() -> str:
    """Return why NumPy computes, and what to do; "" if the core does."""
    wanted = os.environ.get("CHARRNN_COMPILED", "")
    if wanted == "0":
        return "switched off by CHARRNN_COMPILED=0"
    core = _loaded()
    if isinstance(core, ImportError):
        return f"not built ({core}): install a C compiler, then charrnn again"
    if core.VERSION != __version__:
        return f"built for charrnn {core.VERSION}: install charrnn {__version__} again"
    if wanted and wanted not in core.variants():
        return f"CHARRNN_COMPILED={wanted} is none of 0, {', '.join(core.variants())}, which this processor can run"
    return ""


def variant() -> str | None:
    """Return the name of the variant that computes here: avx512, avx2 or baseline; None if NumPy does."""
    return core() and str(core().variant())


def packed(**matrices: Array) -> dict[str, Array]:
    """Return the matrices (K, N) as the core reads them, under the same names with `_packed`; empty without a core."""
    return {f"{name}_packed": pack(matrix) for name, matrix in matrices.items()} if core() else {}


def pack(matrix: Array) -> Array:
    """Return a matrix (K, N) as the core reads it; it may be a transposed view."""
    result = empty((core().packed_size(matrix.itemsize, *matrix.shape),), matrix.dtype)
    transposed = matrix.flags.f_contiguous and not matrix.flags.c_contiguous
    core().pack(*matrix.shape, matrix.T if transposed else np.ascontiguousarray(matrix), transposed, result)
    return result


def forward(
    cell: str, shape: tuple[int, int, int], keep: Mask | None, W_hh_packed: Array | None, *arrays: Array
) -> bool:
    """Run a layer's recurrence over a window with the core; without one or packed weights, return False at once.

    shape   (T, B, H)
    keep    (T, B, 1), False where the state is zero before the step; None if nowhere
    arrays  the others of the cell's forward pass in `core/cells.h`, in its order; contiguous
    """
    if W_hh_packed is None or not core():
        return False
    core().forward(cell, *shape, _contiguous(keep), W_hh_packed, *arrays)
    return True


def backward(cell: str, shape: tuple[int, int, int], keep: Mask | None, W_hh: Array, dh: Array, *arrays: Array) -> bool:
    """Run the backward pass of `forward`, likewise.

    arrays  the others of the cell's backward pass in `core/cells.h`, in its order; contiguous
    """
    if not core():
        return False
    core().backward(cell, *shape, _contiguous(keep), pack(W_hh.T), np.ascontiguousarray(dh), *arrays)
    return True


def _contiguous(keep: Mask | None) -> Mask | None:
    return None if keep is None else np.ascontiguousarray(keep)


class Layer(NamedTuple):
    """A layer as the core reads it, for evaluation and sampling; sigmoid gates halved as in the cells' `prepare`.

    cell    the cell's name in the core
    inputs  of the first layer: x W_xh + b_h for each id, (V, K); of the others: W_xh (H, K), packed; inputs_m: likewise
            of W_xm
    W_hh    packed, as W_hm; the others are as in the cell's file, and None where it has no such array
    """

    cell: str
    inputs: Array
    bias: Array
    W_hh: Array
    gain_x: Array | None = None
    b_hn: Array | None = None
    gain_h: Array | None = None
    gain_c: Array | None = None
    b_c: Array | None = None
    inputs_m: Array | None = None
    W_hm: Array | None = None


class Net:
    """A whole net in the core, which reads, scores and samples in one call for all layers and time steps.

    products  multiplications of a step of one batch row
    Shapes:   ids, targets, reset (T, B) · state (L, S, B, H), overwritten with the state after the window
    """

    def __init__(self, layers: list[Layer], W_he: Array | None, W_hy: Array, b_y: Array) -> None:
        H, V, E = len(W_hy if W_he is None else W_he), len(b_y), 0 if W_he is None else len(W_hy)
        readout = (None if W_he is None else pack(W_he), pack(W_hy), b_y)
        arrays = [array for layer in layers for array in layer[1:]]
        self._net = core().net(layers[0].cell, len(layers), H, V, E, *readout, *arrays)
        self._size = V, b_y.dtype
        matrices = [matrix for layer in layers for matrix in (layer.W_hh, layer.W_hm)] + [*readout[:2]]
        matrices += [matrix for layer in layers[1:] for matrix in (layer.inputs, layer.inputs_m)]
        self.products = sum(matrix.size for matrix in matrices if matrix is not None)

    @classmethod
    def of_layer(cls, layer: Layer, H: int) -> Net:
        """Return a first layer as a net, for its outputs alone; the readout, which a net has, is zero."""
        V, dtype = len(layer.inputs), layer.inputs.dtype
        return cls([layer], None, np.zeros((H, V), dtype), np.zeros(V, dtype))

    def read(self, ids: Ids, state: Array, reset: Mask | None) -> None:
        """Read a window."""
        with _in_order(state) as own:
            core().read(self._net, *ids.shape, _ids(ids), _keep(reset), own, None, None, None, None)

    def outputs(self, ids: Ids, state: Array, reset: Mask | None, scratch: Scratch | None = None) -> Array:
        """Read a window; return the last layer's outputs, (T, B, H), in scratch memory if there is any."""
        shape = (*ids.shape, state.shape[-1])
        h = empty(shape, state.dtype) if scratch is None else scratch.empty("h", shape, state.dtype)
        with _in_order(state) as own:
            core().read(self._net, *ids.shape, _ids(ids), _keep(reset), own, None, None, None, h)
        return h

    def score(self, ids: Ids, targets: Ids, state: Array, reset: Mask | None) -> tuple[Array, Mask]:
        """Read a window; return each target's log-probability in nats, and whether it was the most likely symbol."""
        log_probs, correct = np.empty(ids.shape, self._size[1]), np.empty(ids.shape, bool)
        with _in_order(state) as own:
            core().read(self._net, *ids.shape, _ids(ids), _keep(reset), own, _ids(targets), log_probs, correct, None)
        return log_probs, correct

    def step(self, ids: Ids, state: Array) -> Array:
        """Read one id per batch row, (B,), and return the logits of the next, (B, V)."""
        logits = np.empty((len(ids), self._size[0]), self._size[1])
        with _in_order(state) as own:
            core().step(self._net, len(ids), _ids(ids), own, logits)
        return logits


class Drawing(NamedTuple):
    """How ids are drawn: as `generation.filters.apply_filters` and `generation.loop.draw` do.

    penalty  the logarithm of the factor for the last `window` ids
    never    an id that is never drawn, or -1
    """

    temperature: float
    top_p: float
    min_p: float
    penalty: float
    never: int
    top_k: int
    window: int


#: H, D, N, slots, first, P, sharpness, temperature, projection, centre, first_keys, first_ids, gate, rows, keys, ids
#: and counts, as `core/kernels.h` has them; first_keys, first_ids and gate may be None.
Memory: TypeAlias = tuple[Any, ...]


def recall(
    memory: Memory, ids: Ids, h: Array, logits: Array | None, features: Array | None, reset: Mask | None
) -> None:
    """Do what `memory.cache.Cache.recall` does; logits and features are overwritten."""
    if logits is None:
        V = int(ids.max(initial=0)) + 1
        core().recall(memory, *ids.shape, V, _ids(ids), _keep(reset), np.ascontiguousarray(h), None, None)
        return
    with _in_order(logits) as own:
        V = logits.shape[-1]
        core().recall(memory, *ids.shape, V, _ids(ids), _keep(reset), np.ascontiguousarray(h), own, features)


def sample(
    net: Net | None,
    drawing: Drawing,
    memory: Memory | None = None,
    *,
    logits: Array,
    state: Array | None,
    uniforms: Array,
    recent: Ids,
    halting: Mask,
    scored: bool,
) -> tuple[npt.NDArray[np.intp], Array | None]:
    """Draw up to n ids of each sample; the net reads all but the last. Stop after a step that draws a halting id.

    Logits, state and recent are overwritten: with the logits of the last draw, the state before it, and the last ids.
    net      may be None if n is 1, and state too
    memory   remembers what the net reads, and mixes its logits
    scored   True: return log-probabilities too, under the net before any filter, in nats
    Shapes:  logits (B, V) and state (L, S, B, H), of the net's type · uniforms (B, n), in [0, 1) · recent (B, W),
             padded in front with -1 · halting (V,) · returns ids, log_probs (k, B) for 1 <= k <= n
    """
    (B, n), V = uniforms.shape, logits.shape[1]
    ids, log_probs = np.empty((n, B), np.intp), np.empty((n, B), logits.dtype) if scored else None
    own = None if state is None else np.ascontiguousarray(state)
    of, sizes, steps = net and net._net, (n, B, V, recent.shape[1]), np.ascontiguousarray(uniforms)
    drawn = core().sample(of, *drawing, *sizes, logits, own, steps, recent, halting, ids, log_probs, memory)
    if state is not None and own is not state:
        state[...] = own
    return (ids, log_probs) if drawn == n else (ids[:drawn], None if log_probs is None else log_probs[:drawn])


def _ids(ids: Ids) -> Ids:
    return np.ascontiguousarray(ids, np.int32)


def _keep(reset: Mask | None) -> Mask | None:
    return None if reset is None else np.ascontiguousarray(~reset)


@contextmanager
def _in_order(state: Array) -> Iterator[Array]:
    """Yield the array, or a contiguous copy that is copied back."""
    own = np.ascontiguousarray(state)
    yield own
    if own is not state:
        state[...] = own
