"""The machine: facts that make sense, whatever is missing, and advice only where the facts call for it."""

import os
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from charrnn import machine, model
from charrnn.config import ModelConfig
from charrnn.machine import Blas, Machine, Speed, advice

FREE = Machine(
    charrnn="1.0",
    python="3.11.0",
    platform="Linux",
    processor="AMD EPYC 9654",
    features=("AVX2", "FMA", "AVX-512"),
    cores=4,
    all_cores=4,
    load=0.2,
    memory=2**34,
    numpy="2.4.0",
    blas=Blas("scipy-openblas", "0.3.31", own=True, kernel="SkylakeX", threads=4),
    speed=Speed(2048, 200.0, 90.0, 20_000.0),
    parameters=1000,
    parameter_bytes=4000,
    variables=dict.fromkeys(machine.VARIABLES),
    packages={"click": "8.1.0"},
)


def changed(**more):
    """Return FREE with other facts; `blas`, `speed` and `variables` name only what differs."""
    for name in ("blas", "speed"):
        more[name] = replace(getattr(FREE, name), **more.get(name, {}))
    return replace(FREE, **{**more, "variables": FREE.variables | more.get("variables", {})})


def only(**more):
    """Return the one piece of advice for FREE with other facts."""
    (found,) = advice(changed(**more))
    return found


@pytest.fixture(scope="module")
def here():
    return machine.look(0.01)


def test_the_facts_are_plausible(here):
    assert here.numpy == np.__version__
    assert 1 <= here.cores <= here.all_cores
    assert here.load is None or here.load >= 0
    assert here.memory is None or here.memory > 2**26
    assert set(here.features) <= {"AVX2", "FMA", "AVX-512", "NEON"}
    assert here.processor != ""
    assert here.blas.threads is None or here.blas.threads >= 1
    assert list(here.variables) == list(machine.VARIABLES)
    assert all(here.packages.values())  # they are required


def test_what_is_measured_is_a_rate(here):
    assert here.speed.large_product in (2048, 1024, 512)
    for rate in (here.speed.large_gflops, here.speed.training_gflops, here.speed.chars_per_second):
        assert 0 < rate < float("inf")


def test_the_parameters_are_those_of_the_default_model(here):
    params = model.init_params(ModelConfig(65), np.random.default_rng(0))
    assert here.parameters == sum(array.size for array in params.values())
    assert here.parameter_bytes == sum(array.nbytes for array in params.values())


def test_the_product_is_one_that_training_does():
    params = model.init_params(ModelConfig(65), np.random.default_rng(0))
    assert params["layer0.W_hh"].shape == machine.TRAINING_PRODUCT[1:]


def test_without_threadpoolctl_kernel_and_threads_are_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    found = machine.blas()
    assert (found.kernel, found.threads) == (None, None)


def test_threadpoolctl_tells_kernel_and_threads(monkeypatch):
    pools = [
        {"user_api": "openmp", "num_threads": 9},
        {"user_api": "blas", "internal_api": "mkl", "version": "2024.1", "num_threads": 3},
    ]
    monkeypatch.setitem(sys.modules, "threadpoolctl", types.SimpleNamespace(threadpool_info=lambda: pools))
    built = {"Build Dependencies": {"blas": {"name": "blas", "found": True, "version": "3.9.0"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    assert machine.blas() == Blas("mkl", "2024.1", own=False, kernel=None, threads=3)


def test_a_threadpoolctl_that_fails_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", types.SimpleNamespace())
    assert machine.blas().threads is None


@pytest.mark.parametrize(
    ("blas", "expected"),
    [
        (None, Blas(None, None, False, None, None)),
        ({"name": "none", "version": ""}, Blas(None, None, False, None, None)),
        (
            {"name": "scipy-openblas", "found": True, "version": "0.3"},
            Blas("scipy-openblas", "0.3", True, None, None),
        ),
        ({"name": "accelerate", "found": True}, Blas("accelerate", None, False, None, None)),
    ],
)
def test_what_numpy_says_of_its_blas(monkeypatch, blas, expected):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    built = {} if blas is None else {"Build Dependencies": {"blas": blas}}
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    assert machine.blas() == expected


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ({}, ()),
        ({"baseline": ["SSE3"], "found": ["AVX2", "FMA3", "AVX512F"]}, ("AVX2", "FMA")),
        ({"baseline": ["X86_V2"], "found": ["X86_V3", "X86_V4"]}, ("AVX2", "FMA", "AVX-512")),
        ({"baseline": ["SSE3", "AVX2", "FMA3"], "found": ["AVX512_SKX"]}, ("AVX2", "FMA", "AVX-512")),
        ({"baseline": ["NEON", "ASIMD"]}, ("NEON",)),
    ],
)
def test_features_under_the_names_of_older_and_newer_numpy(monkeypatch, extensions, expected):
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": extensions})
    assert machine._features() == expected


def test_a_system_that_tells_nothing(monkeypatch):
    for name in ("getloadavg", "sysconf", "sched_getaffinity", "process_cpu_count"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(np, "show_config", lambda mode: {})
    monkeypatch.setattr(machine, "Path", lambda path: machine_without_files)
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package-anywhere",))
    monkeypatch.setattr(machine, "speed", lambda seconds: FREE.speed)
    found = machine.look()
    assert (found.load, found.memory, found.processor, found.features) == (None, None, None, ())
    assert (found.cores, found.all_cores) == (1, 1)
    assert found.packages == {"no-such-package-anywhere": None}
    assert advice(found) == []


class WithoutFiles:
    def read_text(self, **_):
        raise FileNotFoundError


machine_without_files = WithoutFiles()


def test_nothing_to_advise():
    assert advice(FREE) == []


def test_an_unknown_machine_gets_no_advice():
    nothing = {"name": None, "version": None, "own": False, "kernel": None, "threads": None}
    assert advice(changed(processor=None, features=(), load=None, memory=None, blas=nothing)) == []


def test_other_programs():
    assert "set OPENBLAS_NUM_THREADS=1: the 4 threads" in only(load=3.0)
    assert "set MKL_NUM_THREADS=1: the 4 threads" in only(load=3.0, blas={"name": "mkl"})
    assert "let the BLAS use one thread: the 4 threads" in only(load=3.0, blas={"name": "accelerate"})
    assert advice(changed(load=0.9)) == []
    assert advice(changed(load=3.0, blas={"name": "accelerate", "threads": None})) == []  # who knows how it works


def test_other_programs_while_there_is_one_thread():
    one = {"blas": {"threads": 1}, "variables": {"OPENBLAS_NUM_THREADS": "1"}}
    found = only(load=5.0, **one)
    assert "faster without them" in found
    assert "set " not in found
    assert "Unset OPENBLAS_NUM_THREADS" not in found


def test_other_programs_on_cores_that_are_not_ours():
    assert advice(changed(all_cores=64, load=20.0)) == []


def test_the_number_of_threads_is_taken_from_the_variable_where_it_is_not_known():
    found = only(load=3.0, blas={"threads": None}, variables={"OPENBLAS_NUM_THREADS": "3"})
    assert "the 3 threads" in found
    assert "the 4 threads" in only(load=3.0, blas={"threads": None})


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OPENBLAS_NUM_THREADS": "2"}, "OPENBLAS_NUM_THREADS=2"),
        ({"OMP_NUM_THREADS": "2"}, "OMP_NUM_THREADS=2"),
        ({"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, "OPENBLAS_NUM_THREADS=2"),
        ({"OPENBLAS_NUM_THREADS": "8", "OMP_NUM_THREADS": "1"}, None),
        ({"MKL_NUM_THREADS": "1"}, None),  # not of this library
        ({"OPENBLAS_NUM_THREADS": "4"}, None),
        ({"OPENBLAS_NUM_THREADS": "0"}, None),
        ({"OPENBLAS_NUM_THREADS": "many"}, None),
    ],
)
def test_a_variable_that_limits_the_threads(variables, told):
    found = advice(changed(variables=variables, blas={"threads": 2}))
    assert len(found) == (told is not None)
    assert told is None or found[0].startswith(f"{told} keeps matrix products to 2 of 4 cores.")


@pytest.mark.parametrize("kernel", ["Haswell", "Zen"])
def test_amd_with_avx512_and_older_kernels(kernel):
    assert "Set OPENBLAS_CORETYPE=SKYLAKEX" in only(blas={"kernel": kernel})
    assert f"Unset OPENBLAS_CORETYPE={kernel}," in only(
        blas={"kernel": kernel}, variables={"OPENBLAS_CORETYPE": kernel}
    )


@pytest.mark.parametrize(
    "more",
    [
        {"features": ("AVX2", "FMA")},
        {"processor": "Intel(R) Xeon(R)"},
        {"processor": None},
        {"variables": {"OPENBLAS_CORETYPE": "SKYLAKEX"}},  # set, and this OpenBLAS does not follow
    ],
)
def test_older_kernels_where_nothing_better_is_certain(more):
    assert advice(changed(blas={"kernel": "Haswell"}, **more)) == []


def test_no_optimised_blas():
    slow = {"large_gflops": 1.5}
    assert "1.5 GFLOP/s" in only(speed=slow, blas={"name": None})
    assert "pip install" in only(speed=slow, blas={"name": "blas"})
    assert advice(changed(blas={"name": "blas"})) == []  # fast, so there is more behind the name
    assert advice(changed(speed=slow)) == []  # an optimised one on a slow machine
    assert "pip install" not in only(speed=slow, blas={"name": "blas"}, load=9.0)  # others may be the cause
