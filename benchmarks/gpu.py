"""Print the figures of docs/scale.md on a GPU: kernel launches, counted, beside this processor's times, measured.

    python -m benchmarks.gpu

An array layer would start one kernel for each operation of NumPy in a cell's time loop; they are counted by arrays that
count. Processor times of one thread are measured here: of a step of training, and of one layer over a window: in turns
with the compiled core, with NumPy and `out=`, and with a new array for each operation, as in the array API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import click
import numpy as np

from benchmarks.markdown import markdown_table
from benchmarks.speed import ours
from benchmarks.speed.cases import VOCAB_SIZE, Case
from charrnn.arrays import Array, Ids, Params, Scratch
from charrnn.nn import compiled
from charrnn.nn.cells import cell_of
from charrnn.nn.initializers import INITS

CELLS = ("lstm", "gru", "rnn")
SIZES = ((1, 256), (2, 512))  # layers, units
BATCH, STEPS = 32, 128
LAUNCH = (3, 10)  # microseconds that a launch takes
FUSED = 4  # kernels per layer and time step: a product and an elementwise kernel, forward and backward
UNITS = (128, 256, 512)


class Counted(np.ndarray):
    """An array that counts the operations on it."""

    count = 0

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: tuple[Any, ...] = (), **more: Any
    ) -> Any:
        """Compute with plain arrays."""
        Counted.count += 1
        more |= {"out": tuple(map(np.asarray, out))} if out else {}
        result = getattr(ufunc, method)(*map(np.asarray, inputs), **more)
        return out[0] if out else result.view(Counted)


class CountedScratch(Scratch):
    """Buffers that count."""

    def empty(self, name: str, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return a new array."""
        return np.empty(shape, dtype).view(Counted)


def layer(cell: str, H: int, B: int, T: int) -> tuple[Params, Ids, Array, Array]:
    """Return the weights of a first layer, the ids that it reads, its state, and the gradient of its outputs."""
    rng = np.random.default_rng(1)
    own = cell_of(cell)
    params = own.init_params(VOCAB_SIZE, H, rng, INITS["orthogonal"])
    weights = own.prepare({name: array.astype(np.float32) for name, array in params.items()})
    dh = rng.normal(size=(T, B, H)).astype(np.float32)
    return weights, rng.integers(VOCAB_SIZE, size=(T, B)), np.zeros((own.n_states, B, H), np.float32), dh


def both_ways(cell: str, scratch: Scratch, weights: Params, ids: Ids, state: Array, dh: Array) -> Params:
    """Run a layer over a window and back; return the gradients."""
    _, _, backprop = cell_of(cell).forward(weights, ids, state, scratch=scratch)
    _, _, grads = backprop(dh, np.zeros_like(state))
    return grads


def operations(cell: str) -> tuple[int, int]:
    """Return the operations of NumPy in a time step of a layer, forward and backward."""

    def count(T: int, backward: bool) -> int:
        weights, ids, state, dh = layer(cell, 4, 2, T)
        Counted.count = 0
        _, _, backprop = cell_of(cell).forward(weights, ids, state, scratch=CountedScratch())
        if backward:
            Counted.count = 0
            backprop(dh.view(Counted), np.zeros_like(state).view(Counted))
        return Counted.count

    with patch.object(compiled, "core", lambda: None):
        forward, backward = (count(6, way) - count(5, way) for way in (False, True))
    return forward, backward


def without_out(weights: Params, ids: Ids, state: Array, dh: Array) -> Params:
    """Do what `both_ways` does for an LSTM, but let each operation return a new array."""
    W, slope, shift = weights["W_hh_half"], weights["slope"], weights["shift"]
    T, H = len(ids), len(W)
    a = weights["W_xh_half"][ids] + weights["b_h_half"]
    hs, cs, gates, tanhs = [state[0]], [state[1]], [], []
    for t in range(T):
        gate = np.tanh(hs[t] @ W + a[t]) * slope + shift
        i, f, g, o = (gate[:, k * H : (k + 1) * H] for k in range(4))
        cs.append(f * cs[t] + i * g)
        tanhs.append(np.tanh(cs[-1]))
        hs.append(o * tanhs[t])
        gates.append(gate)
    h, c, tanh_c = np.stack(hs), np.stack(cs), np.stack(tanhs)
    i, f, g, o = (np.stack(gates)[..., k * H : (k + 1) * H] for k in range(4))
    d_i, d_f, d_g, d_o = (i - i * i) * g, (f - f * f) * c[:-1], (1 - g * g) * i, (o - o * o) * tanh_c
    dh_dc, W_T = o - h[1:] * tanh_c, np.ascontiguousarray(weights["W_hh"].T)
    dh_next, dc, das = np.zeros_like(h[0]), np.zeros_like(h[0]), []
    for t in reversed(range(T)):
        dh_t = dh_next + dh[t]
        dc_t = dc + dh_t * dh_dc[t]
        das.append(np.concatenate((dc_t * d_i[t], dc_t * d_f[t], dc_t * d_g[t], dh_t * d_o[t]), axis=1))
        dc, dh_next = dc_t * f[t], das[-1] @ W_T
    da = np.stack(das[::-1]).reshape(-1, 4 * H)
    one_hot = np.eye(VOCAB_SIZE, dtype=da.dtype)[ids.reshape(-1)]
    return {"W_xh": one_hot.T @ da, "W_hh": h[:-1].reshape(-1, H).T @ da, "b_h": da.sum(axis=0)}


def in_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the processor time of each work in each round, in milliseconds, after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            begin = time.process_time()
            work()
            if number:
                times[name].append(1e3 * (time.process_time() - begin))
    return times


def layer_row(H: int, rounds: int) -> list[str]:
    """Return the row of one layer of an LSTM: the times of the three ways, and their ratios."""
    given, scratch = layer("lstm", H, BATCH, STEPS), Scratch()
    ways = {"core": partial(both_ways, "lstm", scratch, *given), "new arrays": partial(without_out, *given)}

    def numpy_alone() -> Params:
        with patch.object(compiled, "core", lambda: None):
            return both_ways("lstm", scratch, *given)

    expected = numpy_alone()
    for name, grads in (("core", ways["core"]()), ("new arrays", ways["new arrays"]())):
        for key, grad in grads.items():
            np.testing.assert_allclose(grad, expected[key], rtol=0, atol=1e-3 * abs(expected[key]).max(), err_msg=name)
    times = in_turns({"core": ways["core"], "out": numpy_alone, "new": ways["new arrays"]}, rounds)
    ratios = [median(a / b for a, b in zip(times["new"], times[other], strict=True)) for other in ("out", "core")]
    return [f"1x{H}", *(f"{median(each):.1f}" for each in times.values()), *(f"{ratio:.2f}" for ratio in ratios)]


def step_rows(rounds: int) -> list[list[str]]:
    """Return a row for each cell and size: launches of a window, their time, and the time of a step here."""
    rows = []
    for cell in CELLS[:2]:
        kernels = sum(operations(cell))
        for layers, units in SIZES:
            case = Case("train", cell, layers, units, BATCH, STEPS)
            (work,) = ours.variants(case, threads=1).values()
            times = in_turns({"": work.run}, rounds)[""]
            ours.end()
            launches = [layers * STEPS * each for each in (kernels, FUSED)]
            spans = ["{:.1f} to {:.1f}".format(*(each * launch / 1e3 for launch in LAUNCH)) for each in launches]
            counts = [f"{each:,}" for each in launches]
            measured = f"{median(times):.0f} ({min(times):.0f}–{max(times):.0f})"
            rows.append([f"{cell} {layers}x{units}", counts[0], spans[0], counts[1], spans[1], measured])
    return rows


@click.command()
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
def main(rounds: int) -> None:
    """Print the three tables."""
    counts = [(cell, *operations(cell)) for cell in CELLS]
    rows = [[cell, str(forward), str(backward), str(forward + backward)] for cell, forward, backward in counts]
    click.echo("\n".join(markdown_table(("operations per layer and time step", "forward", "backward", "both"), rows)))
    span = " to ".join(map(str, LAUNCH))
    heads = ("", "launches", f"ms at {span} µs", "launches, fused", f"ms at {span} µs", "a step on one core, ms")
    click.echo("\n" + "\n".join(markdown_table(heads, step_rows(rounds))))
    heads = ("", "core, ms", "`out=`, ms", "new arrays, ms", "new arrays ÷ `out=`", "new arrays ÷ core")
    click.echo("\n" + "\n".join(markdown_table(heads, (layer_row(H, rounds) for H in UNITS))))


if __name__ == "__main__":
    main()
