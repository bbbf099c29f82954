"""The contract of a recurrent cell. A new cell is one file that fills it in and one word in `CELL_NAMES`.

A cell is three functions and a number; a fourth function where it is to sample fast, and its gates' names where they
are to be looked at. It never knows which layer it is, keeps nothing between calls, and draws no random number after
`init_params`; dropout, stacking and the readout are the model's work.

    init_params(D, H, rng, init) -> params
        Draw the weights in float64: the model casts them once. Gates are stacked along the last axis.
    prepare(params) -> weights
        Return the params together with whatever `forward` needs that depends on them alone, such as a scaled copy. It
        is called once per update or session, not once per step. Do not write to the params.
    forward(weights, x, state, *, reset=None, scratch=FRESH) -> h, state, backprop
        x       (T, B, D) float, or (T, B) integer ids, which stand for one-hot rows and have no gradient
        state   (S, B, H), what the previous call returned
        reset   (T, B) bool or None; where True the state is zero before that step, and no gradient crosses
        h       (T, B, H), the outputs; lies in the scratch, so it is valid until the next forward on it
        state   (S, B, H), always a copy
    backprop(dh, dstate) -> dx, dstate0, grads
        dh      (T, B, H), the gradient of the loss with respect to h
        dstate  (S, B, H), the same for the returned state; zero in truncated back-propagation through time
        dx      (T, B, D), or None for ids
        dstate0 (S, B, H), the same for the state that was passed in
        grads   the keys and shapes of params
    step(weights, x, state)
        Take one step without a way back, as in sampling: what `forward` does where T is 1. Optional: a cell that has
        none is sampled by its forward, up to twice as slow.
        x       (B, D) float, or (B,) integer ids
        state   (S, B, H), written over with the state after the step, whose first part is h
    gates
        What lies side by side in the scratch's `gates` (T, B, GH) after a forward, by name in this order, and whether
        it is a SIGMOID or a TANH. Optional: of a cell that names none, the outputs h are looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from charrnn.arrays import FRESH, Array, Backprop, Ids, Mask, Params, Scratch
from charrnn.nn.initializers import Init

SIGMOID, TANH = 0, -1  # the least that each can be; the greatest is 1
_OUTPUTS = {"h": TANH}
_BLOCK = 2**17  # numbers in a block: half a megabyte of floats, which a core's second cache holds


class Forward(Protocol):
    """The signature of a cell's forward pass; the module's text says what each argument is."""

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
        """Return the gates by name, (T, B, H) each, of the newest forward on this scratch, whose outputs are h."""
        T, B, H = h.shape
        found = h if self.gates is _OUTPUTS else scratch.empty("gates", (T, B, len(self.gates) * H), h.dtype)
        return {name: found[..., k * H : (k + 1) * H] for k, name in enumerate(self.gates)}


def kept(reset: Mask | None) -> Mask | None:
    """Return (T, B, 1), True where the state goes on, or None where it does everywhere."""
    return None if reset is None or not reset.any() else ~reset[..., None]


def blocks_back(steps: int, size: int) -> Iterator[slice]:
    """Yield the steps of a window in blocks, the last one first, where one step has `size` numbers.

    What does not depend on the step after can be done for a whole block at once: fewer calls where a layer is small,
    and nothing that leaves the processor's cache where it is large.
    """
    length = max(1, _BLOCK // size)
    for end in range(steps, 0, -length):
        yield slice(max(0, end - length), end)


def lstm_slopes(gates: Array, c_prev: Array, tanh_c: Array, h: Array, da: Array, through: Array) -> None:
    """Write the slopes of several steps of an LSTM: `da` by which dc (for i, f, g) and dh (for o) reach the gates.

    `through` is that by which dh reaches what tanh_c is the tanh of.
    s (1 - s) is a sigmoid's slope and 1 - g^2 a tanh's; o (1 - tanh(c)^2) = o - h tanh(c) is that of h over c.
    """
    H = c_prev.shape[-1]
    i, _, g, o = (gates[..., k * H : (k + 1) * H] for k in range(4))
    d_i, d_f, d_g, d_o = (da[..., k * H : (k + 1) * H] for k in range(4))
    np.multiply(gates, gates, out=da)
    np.subtract(gates[..., : 2 * H], da[..., : 2 * H], out=da[..., : 2 * H])
    np.subtract(1, d_g, out=d_g)
    np.subtract(o, d_o, out=d_o)
    for slope, factor in ((d_i, g), (d_f, c_prev), (d_g, i), (d_o, tanh_c)):
        slope *= factor
    np.multiply(h, tanh_c, out=through)
    np.subtract(o, through, out=through)
