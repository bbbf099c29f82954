"""The compiled loops: when they are used, that they agree with NumPy, keep NaN, and survive any state of the cache.

`test_cells` runs every test of a cell with them too.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures_run import write_text

from charrnn.nn import compiled
from charrnn.nn.functional import sum_rows

from .test_cells import assert_close, draw, run_all

with_numba = pytest.mark.skipif(compiled.numba_version() is None, reason="Numba is not installed, or is switched off")
both_dtypes = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-6), (np.float64, 1e-12)])


@pytest.fixture
def by_numpy(monkeypatch):
    """Return a function that calls another with NumPy's functions alone."""

    def call(work, *args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "machine_code", lambda loops, *dtypes: None)
            return work(*args, **kwargs)

    return call


def test_the_variable_switches_it_off(monkeypatch):
    monkeypatch.setenv("CHARRNN_FUSED", "0")
    assert compiled._numba.__wrapped__() is None


@pytest.mark.parametrize("numba", [None, object()], ids=["absent", "broken"])
def test_without_a_numba_that_works_numpy_does_the_work(monkeypatch, numba):
    monkeypatch.delenv("CHARRNN_FUSED", raising=False)
    monkeypatch.setitem(sys.modules, "numba", numba)
    assert compiled._numba.__wrapped__() is None


def test_one_step_or_one_batch_row_does_not_load_the_compiler(monkeypatch):
    monkeypatch.setattr(compiled, "machine_code", lambda loops, *dtypes: loops)
    single, pair = np.dtype(np.float32), (compiled.lstm_step, compiled.lstm_step_back)
    assert compiled.step_pair(2, 2, single, *pair) == pair
    for T, B in ((1, 1), (1, 9), (9, 1)):
        assert compiled.step_pair(T, B, single, *pair) == (None, None)


@with_numba
@both_dtypes
@pytest.mark.parametrize("given", ["x", "ids"])
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_results_are_those_of_numpy(by_numpy, name, given, dtype, tolerance):
    it = draw(name, T=9, B=5, D=7, H=37, dtype=dtype)
    x, reset = getattr(it, given), np.random.default_rng(3).random((9, 5)) < 0.2
    actual, expected = run_all(it, x=x, reset=reset), by_numpy(run_all, it, x=x, reset=reset)
    assert_close(actual, expected, tolerance)
    assert not np.array_equal(actual["W_hh"], expected["W_hh"])  # or nothing was compiled


@with_numba
@both_dtypes
def test_rows_are_summed_as_by_numpy(by_numpy, dtype, tolerance):
    rng = np.random.default_rng(4)
    ids, rows = rng.integers(65, size=2000).astype(np.uint8), rng.normal(size=(2000, 33)).astype(dtype)
    assert_close({"sum": sum_rows(ids, rows, 65)}, {"sum": by_numpy(sum_rows, ids, rows, 65)}, tolerance)


@with_numba
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_nan_spreads_to_everything_computed_from_it(name):
    it = draw(name, dtype=np.float32)
    it.x[2, 1, 0] = np.nan
    results = run_all(it)
    assert np.isnan(results["h"][2:, 1]).all()
    assert np.isfinite(results["h"][:, [0, 2]]).all()
    for key in it.params:
        assert np.isnan(results[key]).any(), key


@with_numba
def test_tanh_is_exact_to_a_few_roundings_and_one_at_its_ends():
    wanted = np.concatenate((np.linspace(-12, 12, 100_001), [1e-30, 1e-3, 1e30, -1e30, np.inf, -np.inf, np.nan]))
    recurrent = np.tile(wanted.astype(np.float32), 4)[None]
    H = len(wanted)
    gates = np.zeros((1, 1, 4 * H), np.float32)
    c, tanh_c, h = (np.zeros((steps, 1, H), np.float32) for steps in (2, 1, 2))
    compiled.machine_code(compiled.lstm_step, np.dtype(np.float32))(0, recurrent, gates, c, tanh_c, h)
    actual, expected = gates[0, 0, 2 * H : 3 * H], np.tanh(wanted.astype(np.float32).astype(np.float64))
    assert np.isnan(actual[-1])
    assert np.array_equal(actual[-5:-1], [1, -1, 1, -1])
    assert (np.abs(actual - expected) <= 4e-7 * np.abs(expected))[:-1].all()
    assert (np.abs(actual[:-1]) <= 1).all()


@pytest.fixture
def sum_anew(tmp_path, monkeypatch):
    """Return a function that sums rows as a new process would, and returns whether it read cached machine code."""
    import numba

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def call(dtype=np.float32):
        made = []

        def njit(*args, **kwargs):
            made.append(numba.njit(*args, **kwargs))
            return made[-1]

        add = compiled._compile(njit, compiled.add_rows, np.dtype(dtype))
        for _ in range(2):
            total = np.zeros((2, 3), dtype)
            add(np.array([1, 0, 1]), np.arange(9, dtype=dtype).reshape(3, 3), total)
            assert total.tolist() == [[3, 4, 5], [6, 8, 10]]
        return bool(made[-1].stats.cache_hits)

    return call


def cut_code(folder):
    for path in folder.rglob("*.nbc"):
        os.truncate(path, 100)


def empty_index(folder):
    for path in folder.rglob("*.nbi"):
        os.truncate(path, 0)


@with_numba
@pytest.mark.parametrize("damage", [cut_code, empty_index])
def test_a_damaged_cache_is_written_anew(sum_anew, tmp_path, damage):
    dtypes = (np.float32, np.float64)
    assert [sum_anew(dtype) for dtype in dtypes * 2] == [False, False, True, True]
    damage(tmp_path)
    assert [sum_anew(dtype) for dtype in dtypes * 3] == [False, False, False, False, True, True]


@with_numba
def test_a_cache_that_cannot_be_read_is_no_obstacle(sum_anew, tmp_path):
    sum_anew()
    for path in tmp_path.rglob("*.nbi"):
        path.unlink()
        path.mkdir()
    assert [sum_anew(), sum_anew()] == [False, False]


@with_numba
@pytest.mark.parametrize("function", ["makedirs", "replace"], ids=["read-only folder", "full disk"])
def test_a_cache_that_cannot_be_written_is_no_obstacle(sum_anew, monkeypatch, function):
    def fail(*args, **kwargs):
        raise OSError("no")

    monkeypatch.setattr(os, function, fail)
    assert [sum_anew(), sum_anew()] == [False, False]


@with_numba
def test_no_two_types_share_a_cache_file(sum_anew, tmp_path):
    # Two processes that compile at the same time number the files under one name alike.
    sum_anew(np.float32)
    (index,) = (path.name for path in tmp_path.rglob("*.nbi"))
    sum_anew(np.float64)
    assert len({*(path.name for path in tmp_path.rglob("*.nbi"))} - {index}) == 1
    assert "add_rows_float32" in index


@with_numba
@pytest.mark.parametrize(
    "settings", [["--dtype", "float64"], ["--dropout", "0.5", "--num-layers", "2", "--embed-size", "5"]]
)
def test_training_compiles_each_function_for_one_signature(tmp_path, settings):
    # A second signature under the same name would share its cache file.
    cache, text = tmp_path / "cache", write_text(tmp_path)
    command = [
        sys.executable,
        "-m",
        "charrnn",
        "train",
        text,
        "--hidden-size",
        "8",
        "--seq-len",
        "10",
        "--threads",
        "1",
    ]
    command += ["--batch-size", "4", "--steps", "30", "--eval-every", "10", "--quiet", *settings, "--out"]
    for cell in ("lstm", "gru"):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
        run = [*command, str(tmp_path / cell), "--cell", cell, "--reset-rate", "0.3"]
        subprocess.run(run, cwd=Path(__file__).parents[2], env=environment, check=True)
    assert len([*cache.rglob("*.nbi")]) >= 5
    assert len([*cache.rglob("*.nbc")]) == len([*cache.rglob("*.nbi")])


@with_numba
def test_processes_that_share_a_step_can_compile_at_once_and_later_runs_read_the_code(tmp_path):
    cache, text = tmp_path / "cache", write_text(tmp_path)
    command = [sys.executable, "-m", "charrnn", "train", text, "--hidden-size", "8", "--batch-size", "16"]
    command += ["--seq-len", "10", "--threads", "2", "--steps", "5", "--seed", "1", "--quiet", "--out"]
    runs, written = [], []
    for name in ("one", "two"):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
        subprocess.run([*command, str(tmp_path / name)], cwd=Path(__file__).parents[2], env=environment, check=True)
        runs.append((tmp_path / name / "last.npz").read_bytes())
        written.append({path.name: path.stat().st_mtime_ns for path in cache.rglob("compiled.lstm_step*.nbc")})
    assert runs[0] == runs[1]
    assert written[0] == written[1]
    assert written[0]
