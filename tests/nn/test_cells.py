"""Every cell's acceptance test: a new cell is tested as soon as it is in the registry.

The three that find nearly every slip are finite differences, windows in pieces, and an oracle: a slow second version
of the equations, which each cell needs here.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from charrnn.arrays import FRESH, Scratch, aligned
from charrnn.config import CELL_NAMES
from charrnn.nn.cells import CELLS, base
from charrnn.nn.gradcheck import check_gradients
from charrnn.nn.initializers import INITS

EXACT = 1e-12  # relative, for the same sums in another order
T, B, D, H = 5, 3, 4, 6

#: Where each batch row is reset: nowhere; or inside the window, at its start and end, and in two rows at once.
RESETS = {
    "none": None,
    "nowhere": np.zeros((T, B), bool),
    "within": np.array([[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 1], [0, 1, 0]], bool),
}


pytestmark = pytest.mark.usefixtures("computed_by")
every_cell = pytest.mark.parametrize("name", list(CELLS))
every_reset = pytest.mark.parametrize("reset", RESETS.values(), ids=RESETS)


def draw(name, T=T, B=B, D=D, H=H, dtype=np.float64):
    """Return a cell with random weights, biases included, and random inputs and upstream gradients."""
    rng = np.random.default_rng([T, B, D, H])
    cell = CELLS[name]
    shapes = {key: array.shape for key, array in cell.init_params(D, H, rng, INITS["uniform"]).items()}
    S = cell.n_states
    return SimpleNamespace(
        cell=cell,
        params={key: rng.normal(0, 0.5, shape).astype(dtype) for key, shape in shapes.items()},
        x=rng.normal(size=(T, B, D)).astype(dtype),
        ids=rng.integers(D, size=(T, B), dtype=np.uint8),
        state=rng.normal(0, 0.5, (S, B, H)).astype(dtype),
        dh=rng.normal(size=(T, B, H)).astype(dtype),
        dstate=rng.normal(size=(S, B, H)).astype(dtype),
    )


def run(cell, params, x, state, dh, dstate, reset=None, scratch=FRESH):
    """Return copies of all that a forward and a backward pass give, as one dict; dx only where there is one."""
    h, last, backprop = cell.forward(cell.prepare(params), x, state, reset=reset, scratch=scratch)
    results = {"h": h.copy(), "state": last.copy()}
    dx, dstate0, grads = backprop(dh, dstate)
    assert (dx is None) == np.issubdtype(x.dtype, np.integer)
    assert grads.keys() == params.keys()
    results |= {"dstate0": dstate0, **grads} | ({} if dx is None else {"dx": dx})
    return {key: array.copy() for key, array in results.items()}


def run_all(it, **changes):
    given = {name: getattr(it, name) for name in ("cell", "params", "x", "state", "dh", "dstate")}
    return run(**given | changes)


def assert_close(actual, expected, tolerance=EXACT):
    """Compare two dicts of arrays by the norm of each difference; NaN fails, and so does a comparison with zero."""
    assert actual.keys() == expected.keys()
    for key, array in expected.items():
        assert actual[key].shape == array.shape, key
        assert np.linalg.norm(actual[key] - array) / np.linalg.norm(array) <= tolerance, key


def assert_identical(actual, expected):
    assert actual.keys() == expected.keys()
    for key, array in expected.items():
        assert np.array_equal(actual[key], array), key


# --- finite differences


@every_reset
@pytest.mark.parametrize("given", ["floats", "ids"])
@every_cell
def test_finite_differences_confirm_every_gradient(name, given, reset):
    it = draw(name)
    x = it.x if given == "floats" else it.ids
    arrays = it.params | {"state": it.state} | ({"x": x} if given == "floats" else {})

    def loss():
        h, state, _ = it.cell.forward(it.cell.prepare(it.params), x, it.state, reset=reset)
        return float((h * it.dh).sum() + (state * it.dstate).sum())

    _, _, backprop = it.cell.forward(it.cell.prepare(it.params), x, it.state, reset=reset)
    dx, dstate0, grads = backprop(it.dh, it.dstate)
    grads = grads | {"state": dstate0} | ({"x": dx} if given == "floats" else {})
    assert given == "floats" or dx is None
    check_gradients(loss, arrays, grads, np.random.default_rng(1), tolerance=1e-8)


@pytest.mark.parametrize("shape", [(1, 1, 2, 3), (1, 4, 1, 1), (7, 1, 3, 2), (7, 1, 3, 4), (2, 5, 9, 4)], ids=str)
@every_cell
def test_finite_differences_hold_in_other_shapes(name, shape):
    it = draw(name, *shape)
    if (
        name in ("lnlstm", "lnmlstm") and shape[-1] < 3
    ):  # normalised, one number is 0 and two are -1 and 1: nothing has a slope
        assert all(np.isfinite(array).all() for array in run_all(it).values())
        return

    def loss():
        h, state, _ = it.cell.forward(it.cell.prepare(it.params), it.x, it.state)
        return float((h * it.dh).sum() + (state * it.dstate).sum())

    results = run_all(it)
    grads = {key: results[key] for key in it.params} | {"x": results["dx"], "state": results["dstate0"]}
    arrays = it.params | {"x": it.x, "state": it.state}
    check_gradients(loss, arrays, grads, np.random.default_rng(2), tolerance=1e-8, epsilon=1e-5)


# --- windows in pieces


@every_reset
@every_cell
def test_a_window_in_three_pieces_equals_the_whole(name, reset):
    it = draw(name)
    pieces = [slice(0, 2), slice(2, 3), slice(3, 5)]
    state, forwards = it.state, []
    for piece in pieces:
        mask = None if reset is None else reset[piece]
        h, state, backprop = it.cell.forward(it.cell.prepare(it.params), it.x[piece], state, reset=mask)
        forwards.append((h, backprop))
    actual = {"h": np.concatenate([h for h, _ in forwards]), "state": state}
    dstate, dxs = it.dstate, []
    total = {key: np.zeros_like(array) for key, array in it.params.items()}
    for piece, (_, backprop) in reversed(list(zip(pieces, forwards, strict=True))):
        dx, dstate, grads = backprop(it.dh[piece], dstate)
        dxs.insert(0, dx)
        for key, grad in grads.items():
            total[key] += grad
    actual |= {"dx": np.concatenate(dxs), "dstate0": dstate} | total
    assert_close(actual, run_all(it, reset=reset))


@every_cell
def test_a_reset_begins_afresh_and_lets_no_gradient_through(name):
    it, at = draw(name), 3
    reset = np.zeros((T, B), bool)
    reset[at] = True
    whole = run_all(it, reset=reset)
    zeros = np.zeros_like(it.state)
    before = run_all(it, x=it.x[:at], dh=it.dh[:at], dstate=zeros)
    after = run_all(it, x=it.x[at:], dh=it.dh[at:], state=zeros)
    expected = {
        "h": np.concatenate((before["h"], after["h"])),
        "state": after["state"],
        "dx": np.concatenate((before["dx"], after["dx"])),
        "dstate0": before["dstate0"],
    }
    assert_close(whole, expected | {key: before[key] + after[key] for key in it.params})


@every_cell
def test_a_reset_at_the_start_replaces_the_given_state(name):
    it = draw(name)
    reset = np.zeros((T, B), bool)
    reset[0] = True
    actual, expected = run_all(it, reset=reset), run_all(it, state=np.zeros_like(it.state))
    assert not actual.pop("dstate0").any()
    del expected["dstate0"]
    assert_close(actual, expected)


@every_cell
def test_a_reset_touches_its_own_batch_row_alone(name):
    it = draw(name)
    reset = np.zeros((T, B), bool)
    reset[2, 1] = True
    actual, expected = run_all(it, reset=reset), run_all(it)
    for key, axis in (("h", 1), ("state", 1), ("dx", 1), ("dstate0", 1)):
        a, b = (np.moveaxis(results[key], axis, 0) for results in (actual, expected))
        assert_close({"others": a[[0, 2]]}, {"others": b[[0, 2]]})
        assert not np.array_equal(a[1], b[1])


# --- the oracle: one batch row, one step, one unit at a time


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def product(vector, matrix, column):
    return sum(float(value) * float(matrix[row, column]) for row, value in enumerate(vector))


def rnn_step(p, x, state):
    (h,) = state
    return [[math.tanh(product(x, p["W_xh"], k) + product(h, p["W_hh"], k) + p["b_h"][k]) for k in range(len(h))]]


def lstm_step(p, x, state):
    h, c = state
    H = len(h)
    h_next, c_next = [], []
    for k in range(H):
        a_i, a_f, a_g, a_o = (
            product(x, p["W_xh"], gate * H + k) + product(h, p["W_hh"], gate * H + k) + p["b_h"][gate * H + k]
            for gate in range(4)
        )
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), math.tanh(a_g), sigmoid(a_o)
        c_next.append(f * c[k] + i * g)
        h_next.append(o * math.tanh(c_next[k]))
    return [h_next, c_next]


def multiplied(p, x, h):
    H = len(h)
    return [product(x, p["W_xh"], 4 * H + k) * product(h, p["W_hh"], 4 * H + k) for k in range(H)]


def mlstm_step(p, x, state):
    h, c = state
    return lstm_step(p, x, [multiplied(p, x, h), c])


def lnmlstm_step(p, x, state):
    h, c = state
    return lnlstm_step(p, x, [multiplied(p, x, h), c])


def mingru_step(p, x, state):
    (h,) = state
    H = len(h)
    a_z, n = ([product(x, p["W_xh"], gate * H + k) + p["b_h"][gate * H + k] for k in range(H)] for gate in range(2))
    return [[(1 - sigmoid(a_z[k])) * h[k] + sigmoid(a_z[k]) * n[k] for k in range(H)]]


def normalised(values):
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return [(value - mean) / math.sqrt(variance + 1e-5) for value in values]


def lnlstm_step(p, x, state):
    h, c = state
    H = len(h)
    from_x = normalised([product(x, p["W_xh"], k) for k in range(4 * H)])
    from_h = normalised([product(h, p["W_hh"], k) for k in range(4 * H)])
    a = [p["gain_x"][k] * from_x[k] + p["gain_h"][k] * from_h[k] + p["b_h"][k] for k in range(4 * H)]
    c_next = [sigmoid(a[H + k]) * c[k] + sigmoid(a[k]) * math.tanh(a[2 * H + k]) for k in range(H)]
    from_c = normalised(c_next)
    h_next = [sigmoid(a[3 * H + k]) * math.tanh(p["gain_c"][k] * from_c[k] + p["b_c"][k]) for k in range(H)]
    return [h_next, c_next]


def gru_step(p, x, state):
    (h,) = state
    H = len(h)
    h_next = []
    for k in range(H):
        a_r, a_z, a_n = (product(x, p["W_xh"], gate * H + k) + p["b_h"][gate * H + k] for gate in range(3))
        q_r, q_z, q_n = (product(h, p["W_hh"], gate * H + k) for gate in range(3))
        r, z = sigmoid(a_r + q_r), sigmoid(a_z + q_z)
        n = math.tanh(a_n + r * (q_n + p["b_hn"][k]))
        h_next.append((1 - z) * n + z * h[k])
    return [h_next]


#: (params, x (D,), state S lists of H) -> the state after one step of one batch row, h first.
ORACLES = {
    "rnn": rnn_step,
    "lstm": lstm_step,
    "gru": gru_step,
    "lnlstm": lnlstm_step,
    "lnmlstm": lnmlstm_step,
    "mlstm": mlstm_step,
    "mingru": mingru_step,
}


@every_reset
@every_cell
def test_the_forward_pass_equals_the_equations(name, reset):
    if name not in ORACLES:
        pytest.fail(f"the cell {name!r} has no oracle: write one step of its equations here and name it in ORACLES")
    it = draw(name)
    h, state = np.empty((T, B, H)), np.empty_like(it.state)
    for b in range(B):
        row = it.state[:, b].tolist()
        for t in range(T):
            if reset is not None and reset[t, b]:
                row = [[0.0] * H for _ in row]
            row = ORACLES[name](it.params, it.x[t, b], row)
            h[t, b] = row[0]
        state[:, b] = row
    actual = run_all(it, reset=reset)
    assert_close({key: actual[key] for key in ("h", "state")}, {"h": h, "state": state})


def test_no_oracle_is_left_over():
    assert set(ORACLES) <= set(CELL_NAMES)


# --- the rest of the contract


@every_reset
@every_cell
def test_batch_rows_are_independent(name, reset):
    it = draw(name)
    together = run_all(it, reset=reset)
    totals = {key: np.zeros_like(array) for key, array in it.params.items()}
    for b in range(B):
        row = slice(b, b + 1)
        alone = run_all(
            it,
            x=it.x[:, row],
            state=it.state[:, row],
            dh=it.dh[:, row],
            dstate=it.dstate[:, row],
            reset=None if reset is None else reset[:, row],
        )
        for key in totals:
            totals[key] += alone.pop(key)
        expected = {key: together[key][:, row] for key in alone}
        if not expected["dstate0"].any():  # the row is reset at its first step
            assert not alone.pop("dstate0").any()
            del expected["dstate0"]
        assert_close(alone, expected)
    assert_close(totals, {key: together[key] for key in totals})


@every_cell
def test_ids_equal_one_hot_rows(name):
    it = draw(name)
    dense = run_all(it, x=np.eye(D)[it.ids], reset=RESETS["within"])
    del dense["dx"]
    assert_close(run_all(it, x=it.ids, reset=RESETS["within"]), dense)


@every_reset
@every_cell
def test_reused_buffers_change_no_result(name, reset):
    # Windows of one length, a shorter last one, and longer ones again: each with other numbers than the one before.
    it, scratch = draw(name), Scratch()
    for count, (length, given) in enumerate([(5, "x"), (5, "x"), (2, "x"), (5, "ids"), (1, "x"), (5, "x")]):
        window = {
            "x": it.x[:length] * (count + 1) if given == "x" else it.ids[:length],
            "dh": it.dh[:length] * (count + 1),
            "state": it.state / (count + 1),
            "reset": None if reset is None else reset[:length],
        }
        assert_identical(run_all(it, **window, scratch=scratch), run_all(it, **window))


def test_a_scratch_gives_the_same_memory_again_for_the_same_name():
    scratch = Scratch()
    first = scratch.empty("a", (3, 2), np.float64)
    for shape in ((2, 2), (6,), (3, 2)):
        again = scratch.empty("a", shape, np.float64)
        assert again.shape == shape
        assert np.shares_memory(again, first)
    for other in (scratch.empty("b", (3, 2), np.float64), scratch.scope("s").empty("a", (3, 2), np.float64)):
        assert not np.shares_memory(other, first)
    assert scratch.scope("s") is scratch.scope("s")
    assert scratch.empty("a", (7, 2), np.float64).shape == (7, 2)
    assert not np.shares_memory(FRESH.empty("a", (3,), np.float64), FRESH.empty("a", (3,), np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("shape", [(3, 5), (1000, 65)], ids=str)
def test_buffers_and_copies_start_at_a_cache_line(shape, dtype):
    given = np.random.default_rng(1).integers(9, size=shape).astype(dtype)
    copy = aligned(given)
    for array in (copy, Scratch().empty("a", shape, dtype)):
        assert array.ctypes.data % 64 == 0
        assert (array.shape, array.dtype) == (shape, dtype)
    assert np.array_equal(copy, given)
    assert not np.shares_memory(copy, given)


@every_cell
def test_one_scratch_serves_two_precisions(name):
    single, double, scratch = draw(name, dtype=np.float32), draw(name), Scratch()
    for it in (single, double, single):
        assert_identical(run_all(it, scratch=scratch), run_all(it))


@pytest.mark.parametrize(
    ("name", "gates"),
    [
        ("rnn", "h"),
        ("lstm", "ifgo"),
        ("gru", "rzn"),
        ("lnlstm", "ifgo"),
        ("lnmlstm", "ifgo"),
        ("mlstm", "ifgo"),
        ("mingru", "z"),
    ],
)
def test_the_gates_are_named_in_the_order_of_the_equations(name, gates):
    assert "".join(CELLS[name].gates) == gates


@every_cell
def test_each_gate_is_where_its_name_says(name):
    # With no weights a gate is a function of its bias alone, and the others are halfway through their range.
    it, scratch = draw(name), Scratch()
    for place, (gate, least) in enumerate(it.cell.gates.items()):
        for bias, expected in ((50, 1), (-50, least)):
            params = {key: np.zeros_like(array) for key, array in it.params.items()}
            params["b_h"][place * H : (place + 1) * H] = bias
            h, _, _ = it.cell.forward(it.cell.prepare(params), it.x, it.state, scratch=scratch)
            found = it.cell.gates_of(h, scratch)
            assert found.keys() == it.cell.gates.keys()
            assert all(array.shape == (T, B, H) for array in found.values())
            np.testing.assert_allclose(found.pop(gate), expected, rtol=0, atol=1e-12)
            for other, array in found.items():
                np.testing.assert_allclose(array, (1 + it.cell.gates[other]) / 2, rtol=0, atol=1e-12)


@every_cell
def test_the_returned_state_is_a_copy(name):
    it, scratch = draw(name), Scratch()
    weights = it.cell.prepare(it.params)
    h, state, _ = it.cell.forward(weights, it.x, it.state, scratch=scratch)
    kept = state.copy()
    assert not np.shares_memory(state, h)
    assert not np.shares_memory(state, it.state)
    _, later, _ = it.cell.forward(weights, 2 * it.x, state, reset=RESETS["within"], scratch=scratch)
    assert np.array_equal(state, kept)
    assert not np.array_equal(state, later)


@every_cell
def test_changing_the_returned_state_does_not_reach_the_backward_pass(name):
    it = draw(name)
    h, state, backprop = it.cell.forward(it.cell.prepare(it.params), it.x, it.state)
    outputs = h.copy()
    state += 1
    assert np.array_equal(h, outputs)
    dx, dstate0, grads = backprop(it.dh, it.dstate)
    expected = run_all(it)
    assert_identical({"dx": dx, "dstate0": dstate0, **grads}, {key: expected[key] for key in ("dx", "dstate0", *grads)})


@every_reset
@pytest.mark.parametrize("given", ["x", "ids"])
@every_cell
def test_nothing_that_is_passed_in_is_written_to(name, given, reset):
    it = draw(name)
    x = getattr(it, given)
    for array in (*it.params.values(), x, it.state, it.dh, it.dstate):
        array.flags.writeable = False
    weights = it.cell.prepare(it.params)
    for array in weights.values():
        array.flags.writeable = False
    _, _, backprop = it.cell.forward(weights, x, it.state, reset=reset)
    backprop(it.dh, it.dstate)


# --- reading without a backward pass


def read(it, x, state, reset=None, scratch=FRESH, weights=None):
    """Return copies of the outputs and of the state after a window, which is read without a backward pass."""
    state = state.copy()
    h = it.cell.read(weights or it.cell.prepare(it.params), x, state, reset=reset, scratch=scratch)
    return {"h": h.copy(), "state": state}


def forward(it, x, state, reset=None):
    h, last, _ = it.cell.forward(it.cell.prepare(it.params), x, state, reset=reset)
    return {"h": h, "state": last}


every_reader = pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.read is not None])


@every_reset
@pytest.mark.parametrize("given", ["x", "ids"])
@every_reader
def test_a_window_is_read_as_the_forward_pass_reads_it(name, given, reset):
    it = draw(name)
    x = getattr(it, given)
    expected = forward(it, x, it.state, reset)
    weights = it.cell.prepare(it.params)
    for array in (*weights.values(), x):
        array.flags.writeable = False
    assert_close(read(it, x, it.state, reset, weights=weights), expected)


@pytest.mark.parametrize("given", ["x", "ids"])
@pytest.mark.parametrize("shape", [(4, 1, 3, 5), (2, 7, 2, 4), (1, 4, 1, 3)], ids=str)
@every_reader
def test_single_steps_are_those_of_the_forward_pass(name, shape, given):
    it = draw(name, *shape)
    state, outputs = it.state, []
    for x in getattr(it, given):
        step = read(it, x[None], state)
        assert_close(step, forward(it, x[None], state))
        state = step["state"]
        outputs.append(step["h"])
    assert_close({"h": np.concatenate(outputs), "state": state}, forward(it, getattr(it, given), it.state))


@pytest.mark.parametrize("small_product", [0, 10**6])
@pytest.mark.parametrize("shape", [(3, 2, 40, 5), (3, 4, 2, 5), (2, 1, 3, 5)], ids=str)
@pytest.mark.parametrize("given", ["x", "ids"])
@every_reader
def test_windows_of_all_sizes_are_read_alike(name, given, shape, small_product, monkeypatch):
    # More symbols than ids, and fewer; with one product for each gate, and with one for all.
    monkeypatch.setattr(base, "_SMALL_PRODUCT", small_product)
    it = draw(name, *shape)
    assert_close(read(it, getattr(it, given), it.state), forward(it, getattr(it, given), it.state))


@pytest.mark.parametrize("given", ["x", "ids"])
@every_reader
def test_blocks_of_steps_are_read_as_the_whole_window(name, given, monkeypatch):
    it = draw(name)
    whole = read(it, getattr(it, given), it.state, RESETS["within"])
    for numbers in (1, 2 * B * 4 * H):  # one step a block; two LSTM steps, and in the last block one
        monkeypatch.setattr(base, "_BLOCK", numbers)
        assert_close(read(it, getattr(it, given), it.state, RESETS["within"]), whole)


@every_reader
def test_buffers_that_are_reused_in_reading_change_no_result(name):
    it, scratch = draw(name), Scratch()
    for count, (length, given) in enumerate([(5, "x"), (2, "x"), (5, "ids"), (1, "x"), (5, "x")]):
        x = it.x[:length] * (count + 1) if given == "x" else it.ids[:length]
        expected = read(it, x, it.state, RESETS["within"][:length])
        assert_identical(read(it, x, it.state, RESETS["within"][:length], scratch), expected)


# --- views, and lines of different lengths read in both directions

#: A window and its upstream gradient as views with other strides.
VIEWS = {
    "reversed": lambda array: array[::-1],
    "every other row": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
    "batch first": lambda array: array.swapaxes(0, 1).copy().swapaxes(0, 1),
    "as columns": lambda array: np.asfortranarray(array),
}


@pytest.mark.parametrize("given", ["x", "ids"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@every_cell
def test_strides_change_no_result(name, view, given):
    it = draw(name)
    views = {key: view(getattr(it, key)) for key in ("dh", "state", "dstate")}
    views |= {"x": view(getattr(it, given)), "reset": view(RESETS["within"])}
    assert not views["dh"].flags.c_contiguous
    copies = {key: array.copy() for key, array in views.items()}
    assert_identical(run_all(it, **views), run_all(it, **copies))
    if it.cell.read is not None:
        weights, state = it.cell.prepare(it.params), view(it.state.copy())
        h = it.cell.read(weights, views["x"], state, reset=views["reset"])
        assert_close({"h": h, "state": state}, read(it, copies["x"], copies["state"], copies["reset"]))


LENGTHS = (5, 2, 4)  # of the lines in the batch rows


def real(array, row):
    """Return the steps of one line, without the padding, (length, 1, ...)."""
    return array[: LENGTHS[row], row : row + 1]


def padded_batch(name):
    """Return a cell and a batch of lines whose outputs have no gradient on the padding."""
    it = draw(name)
    for row, length in enumerate(LENGTHS):
        it.dh[length:, row] = 0
    return it


def assert_rows_are_the_lines(it, batch, lines, keys):
    """Compare rows (T, B, ...) of padded results with those of the lines read one by one, and sums with gradients."""
    for row, line in enumerate(lines):
        for key in keys:
            own = real(batch[key], row) if len(batch[key]) == T else batch[key][:, row : row + 1]
            assert_close({key: own}, {key: line[key]})
    assert_close({key: batch[key] for key in it.params}, {key: sum(line[key] for line in lines) for key in it.params})
    for row, length in enumerate(LENGTHS):
        assert not batch["dx"][length:, row].any()


@every_cell
def test_a_padded_batch_read_forwards_equals_its_lines(name):
    it = padded_batch(name)
    batch = run_all(it, dstate=np.zeros_like(it.dstate))
    lines = [
        run_all(
            it,
            x=real(it.x, row),
            state=it.state[:, row : row + 1],
            dh=real(it.dh, row),
            dstate=np.zeros_like(it.dstate[:, :1]),
        )
        for row in range(B)
    ]
    assert_rows_are_the_lines(it, batch, lines, ("h", "dx", "dstate0"))
    if it.cell.read is not None:
        h = read(it, it.x, it.state)["h"]
        for row, line in enumerate(lines):
            assert_close({"h": real(h, row)}, {"h": line["h"]})


@every_cell
def test_a_padded_batch_read_backwards_equals_its_lines(name):
    it = padded_batch(name)
    reset = np.zeros((T, B), bool)
    reset[np.array(LENGTHS) - 1, range(B)] = True  # before the last character of each line, which is read first
    given = {"x": it.x[::-1], "reset": reset[::-1]}
    batch = run_all(it, **given, dh=it.dh[::-1])
    assert not batch.pop("dstate0").any()
    lines = [
        run_all(
            it,
            x=real(it.x, row)[::-1],
            state=np.zeros_like(it.state[:, :1]),
            dh=real(it.dh, row)[::-1],
            dstate=it.dstate[:, row : row + 1],
        )
        for row in range(B)
    ]
    for results in (batch, *lines):
        results |= {key: results[key][::-1] for key in ("h", "dx")}
    assert_rows_are_the_lines(it, batch, lines, ("h", "dx", "state"))
    if it.cell.read is not None:
        results = read(it, **given, state=it.state)
        for row, line in enumerate(lines):
            own = {"h": real(results["h"][::-1], row), "state": results["state"][:, row : row + 1]}
            assert_close(own, {key: line[key] for key in own})


# --- dtypes, shapes and the first weights


@every_cell
def test_prepare_leaves_the_params_alone(name):
    it = draw(name)
    before = {key: array.copy() for key, array in it.params.items()}
    weights = it.cell.prepare(it.params)
    assert weights is not it.params
    assert_identical(it.params, before)
    for array in weights.values():
        assert array.dtype == np.float64


@every_reset
@pytest.mark.parametrize("given", ["x", "ids"])
@every_cell
def test_single_precision_stays_single(name, given, reset):
    it, double = draw(name, dtype=np.float32), draw(name)
    results = run_all(it, x=getattr(it, given), reset=reset)
    assert {key: array.dtype for key, array in results.items()} == dict.fromkeys(results, np.dtype(np.float32))
    assert {array.dtype for array in it.cell.prepare(it.params).values()} == {np.dtype(np.float32)}
    assert_close(results, run_all(double, x=getattr(double, given), reset=reset), tolerance=1e-5)


@every_cell
def test_shapes_are_those_of_the_contract(name):
    it = draw(name)
    results = run_all(it, dh=it.dh, dstate=it.dstate)
    S = it.cell.n_states
    assert results["h"].shape == (T, B, H)
    assert results["state"].shape == results["dstate0"].shape == (S, B, H)
    assert results["dx"].shape == (T, B, D)
    assert {key: results[key].shape for key in it.params} == {key: array.shape for key, array in it.params.items()}
    assert np.array_equal(results["h"][-1], results["state"][0])


@pytest.mark.parametrize("init", INITS)
@every_cell
def test_params_are_drawn_in_double_precision_from_the_generator_alone(name, init):
    once, again, other = (CELLS[name].init_params(D, H, np.random.default_rng(seed), INITS[init]) for seed in (1, 1, 2))
    assert_identical(once, again)
    assert {array.dtype for array in once.values()} == {np.dtype(np.float64)}
    assert any(not np.array_equal(once[key], other[key]) for key in once)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("rnn", {"W_xh": (D, H), "W_hh": (H, H), "b_h": (H,)}),
        ("lstm", {"W_xh": (D, 4 * H), "W_hh": (H, 4 * H), "b_h": (4 * H,)}),
        ("gru", {"W_xh": (D, 3 * H), "W_hh": (H, 3 * H), "b_h": (3 * H,), "b_hn": (H,)}),
        (
            "lnlstm",
            {"W_xh": (D, 4 * H), "W_hh": (H, 4 * H)}
            | dict.fromkeys(("gain_x", "gain_h", "b_h"), (4 * H,))
            | dict.fromkeys(("gain_c", "b_c"), (H,)),
        ),
        (
            "lnmlstm",
            {"W_xh": (D, 5 * H), "W_hh": (H, 5 * H)}
            | dict.fromkeys(("gain_x", "gain_h", "b_h"), (4 * H,))
            | dict.fromkeys(("gain_c", "b_c"), (H,)),
        ),
        ("mlstm", {"W_xh": (D, 5 * H), "W_hh": (H, 5 * H), "b_h": (4 * H,)}),
        ("mingru", {"W_xh": (D, 2 * H), "b_h": (2 * H,)}),
    ],
)
def test_the_first_params_of(name, shapes):
    params = CELLS[name].init_params(D, H, np.random.default_rng(0), INITS["orthogonal"])
    assert {key: array.shape for key, array in params.items()} == shapes
    if "W_hh" in params:
        for gate in np.split(params["W_hh"], shapes["W_hh"][1] // H, axis=1):  # orthogonal gate by gate
            assert np.linalg.norm(gate.T @ gate - np.eye(H)) <= 1e-12
    limit = math.sqrt(6 / (D + H))  # the fans are those of one gate
    assert 0.9 * limit <= np.abs(params["W_xh"]).max() <= limit
    for vector in (key for key, shape in shapes.items() if len(shape) == 1):
        expected = np.full(shapes[vector], {"gain_x": 2.0, "gain_h": 1.0, "gain_c": 1.0}.get(vector, 0.0))
        if vector == "b_h" and name in ("lstm", "lnlstm", "lnmlstm", "mlstm"):
            expected[H : 2 * H] = 1  # the forget gate
        assert np.array_equal(params[vector], expected)
