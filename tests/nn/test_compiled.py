"""The compiled core: when it is used, that it agrees with NumPy, and that NaN stays NaN.

`test_cells` runs every test of a cell with it too.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from charrnn.nn import compiled
from charrnn.nn.functional import cross_entropy, sum_rows

from .test_cells import assert_close, draw, run_all

VARIANTS = compiled.core().variants() if compiled.core() else []
with_core = pytest.mark.skipif(not VARIANTS, reason="the compiled core is not built, or is switched off")
every_cell = pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "lnlstm", "lnmlstm"])
both_dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 5e-5), (np.float64, 1e-11)])


def facts(**environment):
    """Return the variant and the reason why there is none, as a new process finds them."""
    script = "from charrnn.nn import compiled; print(compiled.variant()); print(compiled.missing())"
    run = [sys.executable, "-c", script]
    return subprocess.run(run, env=os.environ | environment, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )[:2]


@with_core
def test_the_variable_chooses_a_variant_or_numpy():
    assert facts(CHARRNN_COMPILED="0") == ["None", "switched off by CHARRNN_COMPILED=0"]
    for name in VARIANTS:
        assert facts(CHARRNN_COMPILED=name) == [name, ""]
    assert facts(CHARRNN_COMPILED="") == [VARIANTS[0], ""]
    nothing, why = facts(CHARRNN_COMPILED="sse9")
    assert nothing == "None"
    assert why.startswith("CHARRNN_COMPILED=sse9 is none of 0, ")


@pytest.fixture
def anew():
    """Let `compiled` look for the core again, and forget what it finds after the test."""
    functions = (compiled.core, compiled.missing, compiled._loaded)
    for function in functions:
        function.cache_clear()
    yield
    for function in functions:
        function.cache_clear()


def test_without_a_core_that_can_be_imported_numpy_computes(monkeypatch, anew):
    monkeypatch.delenv("CHARRNN_COMPILED", raising=False)
    monkeypatch.setitem(sys.modules, "charrnn.nn._core", None)
    monkeypatch.delattr("charrnn.nn._core", raising=False)
    assert compiled.core() is None
    assert compiled.missing().startswith("not built (")


@with_core
def test_a_core_of_another_version_is_not_used(monkeypatch, anew):
    monkeypatch.delenv("CHARRNN_COMPILED", raising=False)
    monkeypatch.setattr("charrnn.nn._core.VERSION", "0.0.1")
    assert compiled.core() is None
    assert compiled.missing().startswith("built for charrnn 0.0.1: install charrnn ")


@both_dtypes
@pytest.mark.parametrize("size", [dict(T=9, B=5, D=7, H=37), dict(T=3, B=26, D=5, H=64), dict(T=4, B=2, D=3, H=130)])
@pytest.mark.parametrize("given", ["x", "ids"])
@every_cell
def test_the_results_are_those_of_numpy(compute_by, variant, name, given, size, dtype, tolerance):
    it = draw(name, **size, dtype=dtype)
    x, reset = getattr(it, given), np.random.default_rng(3).random(it.x.shape[:2]) < 0.2
    reset[:, 0] = False  # so that some gradient reaches the first state
    actual = run_all(it, x=x, reset=reset)
    compute_by("numpy")
    expected = run_all(it, x=x, reset=reset)
    assert_close(actual, expected, tolerance)
    assert not np.array_equal(actual["W_hh"], expected["W_hh"])  # or nothing was compiled


@every_cell
def test_a_row_does_not_depend_on_the_rows_beside_it(variant, name):
    it = draw(name, B=29, H=40, dtype=np.float32)
    whole, _, _ = it.cell.forward(it.cell.prepare(it.params), it.ids, it.state)
    for rows in (slice(0, 1), slice(1, 14), slice(14, 29)):
        some, _, _ = it.cell.forward(it.cell.prepare(it.params), it.ids[:, rows], it.state[:, rows])
        assert np.array_equal(some, whole[:, rows])


@both_dtypes
def test_rows_are_summed_as_by_numpy(compute_by, variant, dtype, tolerance):
    rng = np.random.default_rng(4)
    ids, rows = rng.integers(65, size=2000).astype(np.uint8), rng.normal(size=(2000, 33)).astype(dtype)
    actual = sum_rows(ids, rows, 65)
    compute_by("numpy")
    assert_close({"sum": actual}, {"sum": sum_rows(ids, rows, 65)}, tolerance)


@both_dtypes
@pytest.mark.parametrize("scale", [1, 30])
def test_the_loss_is_that_of_numpy(compute_by, variant, scale, dtype, tolerance):
    rng = np.random.default_rng(5)
    logits, targets = rng.normal(0, scale, (4, 7, 65)).astype(dtype), rng.integers(65, size=(4, 7)).astype(np.uint8)
    results = {}
    for name in (variant, "numpy"):
        compute_by(name)
        results[name] = dict(zip(("loss", "dlogits"), map(np.asarray, cross_entropy(logits, targets)), strict=True))
    assert_close(results[variant], results["numpy"], tolerance)


def test_a_loss_of_nan_or_infinite_logits_is_nan(variant):
    for bad in (np.nan, np.inf):
        logits = np.zeros((2, 65), np.float32)
        logits[1, 40] = bad
        assert np.isnan(cross_entropy(logits, np.array([0, 0]))[0])


@every_cell
def test_nan_spreads_to_everything_computed_from_it(variant, name):
    it = draw(name, dtype=np.float32)
    it.x[2, 1, 0] = np.nan
    results = run_all(it)
    assert np.isnan(results["h"][2:, 1]).all()
    assert np.isfinite(results["h"][:, [0, 2]]).all()
    for key in it.params:
        assert np.isnan(results[key]).any(), key


def test_tanh_is_exact_to_a_few_roundings_and_one_at_its_ends(variant):
    wanted = np.concatenate((np.linspace(-12, 12, 100_001), [1e-30, 1e-3, 1e30, -1e30, np.inf, -np.inf, np.nan]))
    a = wanted.astype(np.float32).reshape(1, -1, 1)
    B = len(wanted)
    h = np.zeros((2, B, 1), np.float32)
    assert compiled.forward("rnn", (1, B, 1), None, compiled.pack(np.zeros((1, 1), np.float32)), a.copy(), h)
    actual, expected = h[1, :, 0], np.tanh(wanted.astype(np.float32).astype(np.float64))
    assert np.isnan(actual[-1])
    assert np.array_equal(actual[-5:-1], [1, -1, 1, -1])
    assert (np.abs(actual - expected) <= 4e-7 * np.abs(expected))[:-1].all()
    assert (np.abs(actual[:-1]) <= 1).all()


def test_arrays_of_another_size_or_type_are_refused(variant):
    core = compiled.core()
    W, a, h = np.zeros((2, 2), np.float32), np.zeros((3, 2, 2), np.float32), np.zeros((4, 2, 2), np.float32)
    packed = compiled.pack(W)
    core.forward("rnn", 3, 2, 2, None, packed, a, h)
    with pytest.raises(ValueError, match="bytes"):
        core.forward("rnn", 3, 2, 2, None, packed, a, h[1:])
    with pytest.raises(TypeError, match="numbers of 8 bytes"):
        core.forward("rnn", 3, 2, 2, None, packed, a, h.astype(np.float64))
    with pytest.raises((BufferError, ValueError), match="contiguous"):
        core.forward("rnn", 3, 2, 2, None, packed, a[::-1], h)
    with pytest.raises(IndexError):
        core.add_rows(1, 2, 5, np.array([5], np.int32), W[:1].copy(), np.zeros((5, 2), np.float32))
