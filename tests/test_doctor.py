"""The machine: facts that make sense, whatever is missing, and advice only where the facts call for it."""

import os
from dataclasses import replace

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.doctor import machine
from charrnn.doctor.machine import Machine, Speed, advice
from charrnn.nn import model
from charrnn.parallel.workers import Workers
from charrnn.system import processor
from charrnn.system.blas import Blas

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
    kernel_chosen_by="library",
    best_kernel=None,
    speed=Speed(2048, 200.0, 90.0, 20_000.0, 4, 3.2, 0.16, {"lstm 1x128": 100_000.0}),
    parameters=1000,
    parameter_bytes=4000,
    core="avx2",
    core_missing="",
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SIZES", {"rnn 1x8": ModelConfig(65, cell="rnn", hidden_size=8)})
        return machine.measure_machine(0.01)


def test_the_facts_are_plausible(here):
    assert here.numpy == np.__version__
    assert 1 <= here.cores <= here.all_cores
    assert here.load is None or here.load >= 0
    assert here.memory is None or here.memory > 2**26
    assert set(here.features) <= {"AVX2", "FMA", "AVX-512", "NEON"}
    assert here.processor != ""
    assert here.blas.threads is None or here.blas.threads >= 1
    assert list(here.variables) == list(machine.VARIABLES)
    assert all(here.packages.values())
    assert (here.core is None) == bool(here.core_missing)


def test_what_is_measured_is_a_rate(here):
    assert here.speed.large_product in (2048, 1024, 512)
    rates = (here.speed.large_gflops, here.speed.training_gflops, here.speed.chars_per_second, here.speed.gain)
    for rate in (*rates, *here.speed.sizes.values()):
        assert 0 < rate < float("inf")


@pytest.mark.parametrize("available", [1, 2])
def test_the_speed_of_training_is_that_of_each_model_with_its_usual_threads(monkeypatch, available):
    # A character takes 10 ns for each unit of a layer; with two threads, 1.6 times as fast.
    monkeypatch.setattr(machine, "gflops", lambda *given: 50.0)
    monkeypatch.setattr(machine, "available_threads", lambda: available)
    trained = []

    def char_seconds(training, state, workers, seconds):
        config, plan = training.model_config, workers.plan
        trained.append((config.cell, config.num_layers, config.hidden_size, training.config.threads))
        assert (plan.batch_size, plan.seq_len) == (32, 100)
        return 1e-8 * config.num_layers * config.hidden_size / (1 if plan.processes == 1 else 1.6)

    monkeypatch.setattr(machine, "char_seconds", char_seconds)
    monkeypatch.setattr(Workers, "__enter__", lambda workers: workers)  # starts no process
    faster = 1 if available == 1 else 1.6
    found = machine.speed()
    assert found.chars_per_second == pytest.approx(faster / 384e-8)
    assert (found.threads, found.gain) == (available, pytest.approx(faster))
    assert found.step == pytest.approx(3200 * 384e-8 / faster)
    expected = {
        f"{cell} {size}": faster * 1e8 / units
        for cell in ("lstm", "lnlstm")
        for size, units in (("1x128", 128), ("1x256", 256), ("2x512", 1024))
    }
    assert found.sizes == pytest.approx(expected)
    default = ("lstm", 1, 384)
    sizes = [(cell, *size) for cell in ("lstm", "lnlstm") for size in ((1, 128), (1, 256), (2, 512))]
    alone = [] if available == 1 else [(*default, 1)]
    assert trained == [(*default, available), *alone, *((*size, available) for size in sizes)]


def test_the_parameters_are_those_of_the_default_model(here):
    params = model.init_params(ModelConfig(65), np.random.default_rng(0))
    assert here.parameters == sum(array.size for array in params.values())
    assert here.parameter_bytes == sum(array.nbytes for array in params.values())


def test_the_product_is_one_that_training_does():
    params = model.init_params(ModelConfig(65), np.random.default_rng(0))
    assert params["layer0.W_hh"].shape == machine.TRAINING_PRODUCT[1:]


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


def test_a_system_that_reports_nothing(monkeypatch, tmp_path):
    for name in ("getloadavg", "sysconf", "sched_getaffinity", "process_cpu_count"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(np, "show_config", lambda mode: {})
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package-anywhere",))
    monkeypatch.setattr(machine, "speed", lambda seconds: FREE.speed)
    monkeypatch.setattr(machine, "blas", lambda: replace(FREE.blas, kernel=None, threads=None))
    found = machine.measure_machine()
    assert (found.load, found.memory, found.processor, found.features) == (None, None, None, ())
    assert (found.cores, found.all_cores) == (1, 1)
    assert found.packages == {"no-such-package-anywhere": None}
    assert advice(found) == []


@pytest.mark.parametrize(
    ("kernel", "variable", "set_kernel", "chooser"),
    [
        (None, None, None, None),
        (None, "Haswell", "Haswell", None),
        ("Haswell", None, None, "library"),
        ("Haswell", "", None, "library"),
        ("SkylakeX", "SKYLAKEX", None, "user"),
        ("Haswell", "Haswell", "Haswell", "charrnn"),
        ("Zen", "Haswell", "Haswell", "library"),  # it did not follow
        ("Zen", "Haswell", None, "library"),
    ],
)
def test_whose_choice_the_kernel_is(monkeypatch, kernel, variable, set_kernel, chooser):
    monkeypatch.setenv("OPENBLAS_CORETYPE", variable or "")
    if variable is None:
        monkeypatch.delenv("OPENBLAS_CORETYPE")
    monkeypatch.setattr(machine, "blas", lambda: replace(FREE.blas, kernel=kernel))
    monkeypatch.setattr(machine, "speed", lambda seconds: FREE.speed)
    assert machine.measure_machine(set_kernel=set_kernel).kernel_chosen_by == chooser


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
    assert "faster if you stop" in found
    assert "set " not in found
    assert "Unset OPENBLAS_NUM_THREADS" not in found


def test_other_programs_on_cores_that_are_not_ours():
    assert advice(changed(all_cores=64, load=20.0)) == []


def test_the_number_of_threads_is_taken_from_the_variable_where_it_is_not_known():
    found = only(load=3.0, blas={"threads": None}, variables={"OPENBLAS_NUM_THREADS": "3"})
    assert "the 3 threads" in found
    assert "the 4 threads" in only(load=3.0, blas={"threads": None})


@pytest.mark.parametrize(
    ("variables", "limit"),
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
def test_a_variable_that_limits_the_threads(variables, limit):
    found = advice(changed(variables=variables, blas={"threads": 2}))
    assert len(found) == (limit is not None)
    assert limit is None or found[0].startswith(f"{limit} limits matrix products to 2 of 4 cores.")


@pytest.mark.parametrize(
    ("best", "kernel"),
    [("SkylakeX", "Haswell"), ("SkylakeX", "Zen"), ("Haswell", "SkylakeX"), ("Haswell", "Cooperlake")],
)
def test_kernels_that_are_not_the_best(best, kernel):
    finding = f"OpenBLAS uses its {kernel} kernels, but on this processor training is faster with {best}. "
    by_itself = {"best_kernel": best, "blas": {"kernel": kernel}}
    assert only(**by_itself).startswith(f"{finding}Set OPENBLAS_CORETYPE={best} before Python starts.")
    assert only(**by_itself, variables={"OPENBLAS_CORETYPE": ""}).startswith(
        f"{finding}Set OPENBLAS_CORETYPE={best} before"
    )
    by_user = by_itself | {"kernel_chosen_by": "user", "variables": {"OPENBLAS_CORETYPE": kernel.upper()}}
    assert only(**by_user) == f"{finding}Set OPENBLAS_CORETYPE={best} instead of {kernel.upper()}."


@pytest.mark.parametrize(
    "more",
    [
        {"best_kernel": None, "blas": {"kernel": "Haswell"}},  # an AMD with AVX-512 of which nothing is known
        {"best_kernel": "Haswell", "blas": {"kernel": "Haswell"}},
        {"best_kernel": "Haswell", "blas": {"kernel": "Zen"}},  # the same code
        {"best_kernel": "SkylakeX", "blas": {"kernel": "SapphireRapids"}},
        {"best_kernel": "SkylakeX", "blas": {"kernel": None}},
        {"best_kernel": "SkylakeX", "blas": {"kernel": "haswell", "name": "blis"}},
        {"best_kernel": "SkylakeX", "blas": {"kernel": "Haswell"}, "variables": {"OPENBLAS_CORETYPE": "SKYLAKEX"}},
    ],
)
def test_kernels_where_nothing_better_is_certain(more):
    assert advice(changed(**more)) == []


def test_no_optimised_blas():
    slow = {"large_gflops": 1.5}
    assert "1.5 GFLOP/s" in only(speed=slow, blas={"name": None})
    assert "pip install" in only(speed=slow, blas={"name": "blas"})
    assert advice(changed(blas={"name": "blas"})) == []  # fast, so there is more behind the name
    assert advice(changed(speed=slow)) == []  # an optimised one on a slow machine
    assert "pip install" not in only(speed=slow, blas={"name": "blas"}, load=9.0)  # others may be the cause
