"""The contract of a recurrent cell: the functions that a `Cell` provides.

A built-in cell is one file here and one word in `CELL_NAMES`. A user adds a cell with `register_cell`, which checks it
against this contract; docs/library.md shows how.

A cell must provide `n_states`, `init_params`, `prepare` and `forward`. `read` makes evaluation and sampling faster, and
`gates` names the gates for statistics; both are optional. A cell does not know which layer it is, keeps nothing between
calls, and draws no random numbers after `init_params`. Dropout, stacking and the readout belong to the model.

    init_params(D, H, rng, init) -> params
        Draw the weights in float64; the model casts them once. Gates are stacked along the last axis. `W_hh` (H, ...)
        holds the recurrent weights, to which weight-drop applies; a cell without any has input weights `W_xh` (D, ...).
        The cell chooses the other names.
    prepare(params) -> weights
        Return the params and the arrays that depend only on them, such as a scaled copy. The model calls it once per
        update or session, not once per step. Do not write to the params.
    forward(weights, x, state, *, reset=None, scratch=FRESH) -> h, state, backprop
        x       (T, B, D) float, or (T, B) integer ids, which mean one-hot rows and have no gradient
        state   (S, B, H), as returned by the previous call
        reset   (T, B) bool or None; True sets the state to zero before that step, and stops the gradient there
        h       (T, B, H), the outputs; in scratch memory, so valid until the next forward on the same scratch
        state   (S, B, H), always a copy
    backprop(dh, dstate) -> dx, dstate0, grads
        dh      (T, B, H), the gradient of the loss with respect to h
        dstate  (S, B, H), with respect to the returned state; zero in truncated back-propagation through time
        dx      (T, B, D), with respect to x; None for ids
        dstate0 (S, B, H), with respect to the state that was passed in
        grads   with respect to the params, under the same keys
    read(weights, x, state, *, reset=None, scratch=FRESH) -> h
        Read a window of T >= 1 steps like `forward`, but without a backward pass and what only that needs. Optional:
        without it, evaluation and sampling call `forward`, which can be half as fast.
        x, reset as for `forward`
        state   (S, B, H), overwritten with the state after the window
        h       (T, B, H), valid until the next read on the same scratch or the next change of the state
    layer(weights, x) -> compiled.Layer
        Return what the compiled core reads; only for cells that the core has.
        x       of the first layer, what each id means: (V, 1, E) float, or (V, 1) ids; None for the other layers
    gates
        The names of the gates in the order of the scratch's array `gates` (T, B, GH), each a SIGMOID or a TANH.
        Optional: without it, statistics are computed from the outputs h.

x, state, reset, dh and dstate may have any strides: they may be views of some batch rows, or reversed in time
(x[::-1]). No finite number before a reset changes a value after it, and no gradient crosses it. So lines of different
lengths, padded to a batch, can be read in both directions, as bidirectional nets do: forwards with the padding last,
backwards with the padding first and a reset at each line's first step. If dh is zero on the padding, all values and
gradients equal those of the lines read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, cast

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.nn.compiled import Layer
from charrnn.nn.functional import project
from charrnn.nn.initializers import Init

SIGMOID, TANH = 0, -1  # the lower bound of each; the upper bound is 1
NEAR = 0.1  # an end of its range: a gate closer to one than this is saturated
_OUTPUTS = {"h": TANH}
_SMALL_PRODUCT = 2**20  # multiplications; up to about as many, OpenBLAS's kernels for AVX-512 copy no matrix first
_BLOCK = 2**17  # numbers in a block: half a megabyte of float32, which fits a core's second-level cache


class Forward(Protocol):
    """The signature of a cell's forward pass; the module's docstring explains the arguments."""

    def __call__(
        self, weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
    ) -> tuple[Array, Array, Backprop]:
        """Return h, the state after the window, and the backward pass."""
        ...


class Read(Protocol):
    """The signature of a cell's pass without a backward pass; the module's docstring explains the arguments."""

    def __call__(
        self, weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
    ) -> Array:
        """Return h, and change the state in place."""
        ...


#: One step in place without a backward pass: (weights, the inputs' share of a by gate, (G, B, K), state (S, B, H)).
#: It may overwrite a.
Step: TypeAlias = Callable[[Params, Array, Array], None]


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: `n_states` is 1 for (h,), 2 for (h, c)."""

    n_states: int
    init_params: Callable[[int, int, np.random.Generator, Init], Params]
    prepare: Callable[[Params], Params]
    forward: Forward
    read: Read | None = None
    layer: Callable[[Params, Array | Ids | None], Layer] | None = None
    gates: Mapping[str, int] = field(default_factory=lambda: _OUTPUTS)

    def gates_of(self, h: Array, scratch: Scratch) -> dict[str, Array]:
        """Return the gates by name, (T, B, H) each, of the latest forward on this scratch, which returned h."""
        T, B, H = h.shape
        stacked = h if self.gates == _OUTPUTS else scratch.empty("gates", (T, B, len(self.gates) * H), h.dtype)
        return {name: stacked[..., k * H : (k + 1) * H] for k, name in enumerate(self.gates)}


def saturated(gate: Array, lowest: int) -> tuple[Mask, Mask]:
    """Return where a gate is left-saturated, near its lowest value, and where right-saturated, near 1.

    lowest  the lower bound, SIGMOID or TANH
    Source:  Karpathy, Johnson & Li 2016.
    """
    return gate < lowest + NEAR, gate > 1 - NEAR


def carry_mask(reset: Mask | None) -> Mask | None:
    """Return a mask (T, B, 1), True where the state carries over from the previous step; None if it always does."""
    return None if reset is None or not reset.any() else ~reset[..., None]


def read_steps(
    step: Step,
    weights: Params,
    x: Array | Ids,
    W: Array,
    b: Array | None,
    K: int,
    state: Array,
    reset: Mask | None,
    scratch: Scratch,
) -> Array:
    """Read a window by a cell's single steps, as `Cell.read` does; `step` gets x_t W + b by gate, and the state.

    Shapes:  x (T, B, D) float or (T, B) ids · W (D, G K) · b (G K,) or None · state (S, B, H) · returns h (T, B, H)
    """
    T, B = x.shape[:2]
    if T == 1 and reset is None:  # sampling
        a = project(x[0], W, b, np.empty((B, W.shape[1]), W.dtype))
        step(weights, a.reshape(-1, 1, K) if B == 1 else np.ascontiguousarray(by_gate(a, K)), state)
        return state[:1]
    keep = carry_mask(reset)
    outputs = scratch.empty("h", (T, *state.shape[1:]), W.dtype)
    for t, a in enumerate(_projected(x, W, b, K, scratch)):
        if keep is not None:
            state *= keep[t]
        step(weights, a, state)
        outputs[t] = state[0]
    return outputs


def _projected(x: Array | Ids, W: Array, b: Array | None, K: int, scratch: Scratch) -> Iterator[Array]:
    """Yield x_t W + b by gate, (G, B, K), for each step of a window, in memory that may be overwritten.

    It is computed for a block of steps at once, which stays in the processor's cache until its last step is done.
    """
    (T, B), G, dtype = x.shape[:2], W.shape[1] // K, W.dtype
    is_ids = x.dtype.kind in "iu"
    if is_ids:
        if len(W) > x.size:  # a large vocabulary: only the rows that occur
            W, x = W.take(cast(Ids, x.reshape(-1)), axis=0), np.arange(x.size).reshape(x.shape)
        W, b = W if b is None else W + b, None
    by_gate_W = np.ascontiguousarray(by_gate(W, K)) if is_ids else by_gate(W, K)
    bias = None if b is None else b.reshape(G, 1, 1, K).repeat(B, axis=2)
    for block in blocks(T, B * G * K):
        a = scratch.empty("a", (G, block.stop - block.start, B, K), dtype)
        if is_ids:
            by_gate_W.take(cast(Ids, x[block]), axis=1, out=a, mode="clip")
        else:
            np.matmul(x[block].reshape(-1, x.shape[-1]), by_gate_W, out=a.reshape(G, -1, K))
        if bias is not None:
            a += bias
        yield from a.swapaxes(0, 1)


def by_gate(a: Array, K: int) -> Array:
    """Return a view (G, B, K) of an array (B, G K) whose rows have the gates side by side."""
    return a.reshape(len(a), a.shape[1] // K, K).swapaxes(0, 1)


def multiply_by_gate(h: Array, W: Array) -> Array:
    """Return h W by gate, (G, B, H): by one product for each gate if OpenBLAS multiplies such small matrices faster.

    Shapes:  h (B, H) · W (H, G H)
    """
    B, H = h.shape
    product: Array
    if B == 1:
        product = h.dot(W).reshape(-1, 1, H)
    elif B * H * H <= _SMALL_PRODUCT:
        product = np.matmul(h, by_gate(W, H))
    else:
        product = by_gate(h.dot(W), H)
    return product


def blocks(steps: int, size: int) -> list[slice]:
    """Return the steps of a window in blocks, given how many numbers one step has.

    Terms that do not depend on the neighbouring steps are computed for a whole block at once: small layers then need
    fewer NumPy calls, and the arrays of large layers stay in the processor's cache.
    """
    length = max(1, _BLOCK // max(1, size))  # a process may have no rows
    return [slice(begin, min(begin + length, steps)) for begin in range(0, steps, length)]


def input_table(x: Array | Ids, W: Array, b: Array) -> Array:
    """Return x W + b for each id, (V, K); x (V, 1, E) float or (V, 1) ids."""
    return project(x, W, b, np.empty((len(x), 1, W.shape[1]), W.dtype))[:, 0]
