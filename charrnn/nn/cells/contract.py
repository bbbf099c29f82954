"""Check a cell against the contract in `base`, by running a tiny layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from charrnn.arrays import Array, Ids, Params
from charrnn.errors import ConfigError
from charrnn.nn.cells.base import SIGMOID, TANH, Cell
from charrnn.nn.initializers import INITS

_T, _B, _D, _H = 3, 2, 5, 4  # all different, so that no two axes can be confused
_SEE = "see charrnn/nn/cells/base.py"


def check_contract(name: str, cell: Cell) -> None:
    """Check the fields, names, shapes and values of a cell; `check_gradients` checks the gradients' values.

    Raises:  ConfigError for the first point that is broken.
    """
    if not isinstance(cell, Cell):
        raise ConfigError(f"cell {name!r} must be a charrnn.Cell, got {type(cell).__name__}: {_SEE}")
    _check_fields(name, cell)
    rng = np.random.default_rng(0)
    with _reporting(name, "init_params"):
        params = cell.init_params(_D, _H, rng, INITS["glorot"])
        _check_params(params)
    with _reporting(name, "prepare"):
        weights = cell.prepare(dict(params))
        _require(isinstance(weights, dict), "returns no dict")
    _check_passes(name, cell, params, weights, rng)


def _check_fields(name: str, cell: Cell) -> None:
    if isinstance(cell.n_states, bool) or not isinstance(cell.n_states, int) or cell.n_states < 1:
        raise ConfigError(
            f"cell {name!r}: n_states must be a whole number of at least 1, got {cell.n_states!r}: {_SEE}"
        )
    for part in ("init_params", "prepare", "forward", "read"):
        function: Callable[..., Any] | None = getattr(cell, part)
        if not callable(function) and not (part == "read" and function is None):
            raise ConfigError(f"cell {name!r}: {part} must be a function, got {function!r}: {_SEE}")
    gates = cell.gates
    if not isinstance(gates, Mapping) or not gates or not {*gates.values()} <= {SIGMOID, TANH}:
        raise ConfigError(f"cell {name!r}: gates must be a dict of names and SIGMOID or TANH, got {gates!r}: {_SEE}")


def _check_params(params: Params) -> None:
    _require(isinstance(params, dict) and all(isinstance(array, np.ndarray) for array in params.values()), "no dict")
    name, axis, size = ("W_hh", "H", _H) if "W_hh" in params else ("W_xh", "D", _D)
    _require(name in params, f"there is no W_hh and no W_xh among {', '.join(params)}")
    shape = params[name].shape
    _require(shape[:1] == (size,), f"{name} has shape {shape}, of which the first is not {axis}")
    for key, array in params.items():
        _require(array.dtype == np.float64, f"{key} is {array.dtype}, not float64")


def _check_passes(name: str, cell: Cell, params: Params, weights: Params, rng: np.random.Generator) -> None:
    """Compare forward passes that must agree, and check the shapes that backprop returns."""
    ids, S = rng.integers(_D, size=(_T, _B)), cell.n_states
    x, start = np.eye(_D)[ids], rng.uniform(0.1, 0.5, size=(S, _B, _H))
    with _reporting(name, "forward"):
        h, last, backprop = cell.forward(weights, x, start.copy())
        _require_shape("h", h, (_T, _B, _H))
        _require_shape("state", last, (S, _B, _H))
        _require_equal("state[0] is not the last h", last[0], h[-1])
        h, last = h.copy(), last.copy()
        by_id, _, by_id_backprop = cell.forward(weights, ids, start.copy())
        _require_equal("ids and their one-hot rows give different results", by_id, h)
        first, middle, _ = cell.forward(weights, x[:1], start.copy())
        rest, end, _ = cell.forward(weights, x[1:], middle)
        _require_equal("two windows differ from one that spans both", np.concatenate([first, rest]), h)
        _require_equal("the state after two windows differs from that after one", end, last)
        reset = np.zeros((_T, _B), bool)
        reset[1] = True
        cold, _, _ = cell.forward(weights, x, start.copy(), reset=reset)
        fresh, _, _ = cell.forward(weights, x[1:], np.zeros_like(start))
        _require_equal("reset does not set the state to zero before its step", cold[1:], fresh)
    with _reporting(name, "backprop"):
        upstream = rng.normal(size=h.shape), rng.normal(size=last.shape)
        dx, dstate0, grads = backprop(*upstream)
        _require(dx is not None, "dx is None for an x of floats")
        assert dx is not None
        _require_shape("dx", dx, x.shape)
        _require_shape("dstate0", dstate0, start.shape)
        _require(grads.keys() == params.keys(), f"gradients {sorted(grads)} for parameters {sorted(params)}")
        for key, grad in grads.items():
            _require_shape(f"the gradient of {key}", grad, params[key].shape)
        no_dx, _, _ = by_id_backprop(*upstream)
        _require(no_dx is None, "dx is not None for ids")
    _check_reversed(name, cell, weights, x, start, *upstream)
    if cell.read is not None:
        _check_read(name, cell, weights, x, ids, start)


def _check_reversed(name: str, cell: Cell, weights: Params, x: Array, start: Array, dh: Array, dstate: Array) -> None:
    """Compare a window that is read as views, from its last step to its first, with a copy that begins at its reset."""
    reset = np.zeros((_T, _B), bool)
    reset[-2] = True  # before the second step that is read
    dh[-1] = 0
    views = "a window that is reversed in time differs from its copy"
    with _reporting(name, "forward"):
        h, _, backprop = cell.forward(weights, x[::-1], start.copy(), reset=reset[::-1])
        h = h.copy()
        expected_h, _, expected_backprop = cell.forward(weights, x[-2::-1].copy(), np.zeros_like(start))
        _require_equal(views, h[1:], expected_h)
    with _reporting(name, "backprop"):
        dx, dstate0, grads = backprop(dh[::-1], dstate)
        expected_dx, _, expected_grads = expected_backprop(dh[-2::-1].copy(), dstate)
        assert dx is not None
        assert expected_dx is not None
        _require(not dx[0].any() and not dstate0.any(), "a gradient passes a reset")
        for actual, expected in [(dx[1:], expected_dx), *((grads[key], expected_grads[key]) for key in grads)]:
            _require_equal(views, actual, expected)


def _check_read(name: str, cell: Cell, weights: Params, x: Array, ids: Ids, start: Array) -> None:
    assert cell.read is not None
    reset = np.zeros((_T, _B), bool)
    reset[1, 0] = True
    with _reporting(name, "read"):
        for window, mask in ((x, None), (ids, None), (x[::-1], reset[::-1]), (ids[:1], None)):
            expected, last, _ = cell.forward(weights, window, start.copy(), reset=mask)
            state = start.copy()
            _require_equal("h differs from forward's", cell.read(weights, window, state, reset=mask), expected)
            _require_equal("its state differs from forward's", state, last)


@contextmanager
def _reporting(name: str, part: str) -> Iterator[None]:
    """Turn whatever goes wrong in one of a cell's functions into a ConfigError that names it."""
    try:
        yield
    except Exception as error:
        reason = str(error) if type(error) is AssertionError else f"{type(error).__name__}: {error}"
        raise ConfigError(f"cell {name!r}: {part}: {reason}: {_SEE}") from error


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def _require_shape(what: str, array: Array, shape: tuple[int, ...]) -> None:
    _require(np.shape(array) == shape, f"{what} has shape {np.shape(array)}, not {shape}")


def _require_equal(otherwise: str, array: Array, expected: Array) -> None:
    _require(np.shape(array) == expected.shape and np.allclose(array, expected, rtol=1e-7, atol=1e-9), otherwise)
