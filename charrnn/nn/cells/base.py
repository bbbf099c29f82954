"""The contract of a recurrent cell: the functions that a `Cell` provides.

A built-in cell is one file here and one word in `CELL_NAMES`. A user adds a cell with `register_cell`, which checks it
against this contract; docs/library.md shows how.

A cell must provide `n_states`, `init_params`, `prepare` and `forward`. `step` makes sampling faster, and `gates` names
the gates for statistics; both are optional. A cell does not know which layer it is, keeps nothing between calls, and
draws no random numbers after `init_params`. Dropout, stacking and the readout belong to the model.

    init_params(D, H, rng, init) -> params
        Draw the weights in float64; the model casts them once. Gates are stacked along the last axis. One array is
        `W_hh` (H, ...), the recurrent weights, to which weight-drop applies; the cell chooses the other names.
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
    step(weights, x, state)
        Take one step in place, like `forward` with T = 1 but without a backward pass. Optional: without it, sampling
        calls `forward`, which can be half as fast.
        x       (B, D) float, or (B,) integer ids
        state   (S, B, H), overwritten with the state after the step; state[0] is h
    gates
        The names of the gates in the order of the scratch's array `gates` (T, B, GH), each a SIGMOID or a TANH.
        Optional: without it, statistics are computed from the outputs h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.nn.initializers import Init

SIGMOID, TANH = 0, -1  # the lower bound of each; the upper bound is 1
_OUTPUTS = {"h": TANH}
_BLOCK = 2**17  # numbers in a block: half a megabyte of float32, which fits a core's second-level cache


class Forward(Protocol):
    """The signature of a cell's forward pass; the module's docstring explains the arguments."""

    def __call__(
        self, weights: Params, x: Array | Ids, state: Array, *, reset: Mask | None = None, scratch: Scratch = FRESH
    ) -> tuple[Array, Array, Backprop]:
        """Return h, the state after the window, and the backward pass."""
        ...


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: `n_states` is 1 for (h,), 2 for (h, c)."""

    n_states: int
    init_params: Callable[[int, int, np.random.Generator, Init], Params]
    prepare: Callable[[Params], Params]
    forward: Forward
    step: Callable[[Params, Array | Ids, Array], None] | None = None
    gates: Mapping[str, int] = field(default_factory=lambda: _OUTPUTS)

    def gates_of(self, h: Array, scratch: Scratch) -> dict[str, Array]:
        """Return the gates by name, (T, B, H) each, of the latest forward on this scratch, which returned h."""
        T, B, H = h.shape
        stacked = h if self.gates == _OUTPUTS else scratch.empty("gates", (T, B, len(self.gates) * H), h.dtype)
        return {name: stacked[..., k * H : (k + 1) * H] for k, name in enumerate(self.gates)}


def carry_mask(reset: Mask | None) -> Mask | None:
    """Return a mask (T, B, 1), True where the state carries over from the previous step; None if it always does."""
    return None if reset is None or not reset.any() else ~reset[..., None]


def blocks_backward(steps: int, size: int) -> Iterator[slice]:
    """Yield the steps of a window in blocks, the last block first; one step has `size` numbers.

    Terms that do not depend on the next step are computed for a whole block at once: small layers then need fewer
    NumPy calls, and the arrays of large layers stay in the processor's cache.
    """
    length = max(1, _BLOCK // size)
    for end in range(steps, 0, -length):
        yield slice(max(0, end - length), end)
