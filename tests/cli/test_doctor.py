"""`charrnn doctor`: what the machine is, as a table and as JSON."""

import platform
from dataclasses import replace

import numpy as np
import pytest

import charrnn
from charrnn.config import ModelConfig
from charrnn.doctor import machine
from charrnn.system.blas import Blas

from ._material import facts

NAMES = [
    "charrnn",
    "Python",
    "NumPy",
    "BLAS",
    "Kernel",
    "Threads",
    "Compiled core",
    "Processor",
    "Features",
    "Cores",
    "Load",
    "Memory",
    "Large matrix product",
    "Training's matrix product",
    "Training",
    "Training's threads",
    "Training lstm 1x128",
    "Default model",
    "Environment",
    "Packages",
]
KEYS = [
    "charrnn",
    "python",
    "platform",
    "processor",
    "features",
    "cores",
    "all_cores",
    "load",
    "memory",
    "numpy",
    "blas",
    "kernel_chosen_by",
    "best_kernel",
    "speed",
    "parameters",
    "parameter_bytes",
    "core",
    "core_missing",
    "variables",
    "packages",
    "advice",
]
#: A model that is quick to measure.
SIZES = {"rnn 1x8": ModelConfig(65, cell="rnn", hidden_size=8)}
HEADING = "Suggestions"


@pytest.fixture(scope="module")
def here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "SIZES", SIZES)
        return machine.measure_machine(0.01)


@pytest.fixture
def show(run, here, monkeypatch):
    """Return a function that runs the command on this machine, some facts of which are others."""

    def start(*args, **more):
        monkeypatch.setattr(machine, "measure_machine", lambda set_kernel: replace(here, **more))
        return run("doctor", *args)

    return start


def test_as_it_is(run, monkeypatch):
    monkeypatch.setattr(machine, "SIZES", SIZES)
    outcome = run("doctor", "--json")
    assert outcome.stderr == ""
    data = outcome.json
    assert list(data) == KEYS
    assert list(data["blas"]) == ["name", "version", "own", "kernel", "threads"]
    assert list(data["speed"]) == [
        *("large_product", "large_gflops", "training_gflops", "chars_per_second", "threads", "gain", "step", "sizes")
    ]
    assert list(data["speed"]["sizes"]) == list(SIZES)
    assert (data["charrnn"], data["numpy"]) == (charrnn.__version__, np.__version__)
    assert data["python"] == platform.python_version()
    assert data["variables"]["OPENBLAS_NUM_THREADS"] == "1"
    assert isinstance(data["advice"], list)


def test_table(show):
    speed = machine.Speed(1024, 123.45, 67.89, 12345.6, 2, 1.83, 0.0291, {"lstm 1x128": 98765.4})
    variables = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": None}
    outcome = show(speed=speed, variables=variables, cores=2, all_cores=8, load=0.5, memory=2**34)
    assert outcome.stderr == ""
    head, advice = outcome.stdout.split("\n\n")
    shown = facts(head)
    assert list(shown) == NAMES
    assert shown["Large matrix product"] == "123.5 GFLOP/s, 1024x1024 by 1024x1024, float32"
    assert shown["Training's matrix product"] == "67.9 GFLOP/s, 32x384 by 384x1536, float32"
    assert shown["Training"] == "12,346 characters per second, default model on random text"
    assert shown["Training's threads"] == "2 threads: a step takes about 29.1 ms, 1.8 times as fast as 1"
    assert shown["Training lstm 1x128"] == "98,765 characters per second"
    assert shown["Cores"] == "2 of 8"
    assert shown["Memory"] == "16.0 GiB"
    assert shown["Environment"] == "OPENBLAS_NUM_THREADS=1"
    assert shown["Default model"] == "716,225 parameters, 2.7 MiB"
    assert advice.startswith(f"{HEADING}\n- ")


def test_what_is_not_known(show):
    outcome = show(
        processor=None,
        features=(),
        load=None,
        memory=None,
        blas=Blas(None, None, own=False, kernel=None, threads=None),
        kernel_chosen_by=None,
        variables={"OMP_NUM_THREADS": None},
        packages={"click": None},
    )
    shown = facts(outcome.stdout.split("\n\n")[0])
    for name in ("BLAS", "Processor", "Features", "Load", "Memory", "Environment"):
        assert shown[name] == "-", name
    assert shown["Kernel"] == shown["Threads"] == "unknown"
    assert shown["Packages"] == "click -"


@pytest.mark.parametrize(
    ("chooser", "words"),
    [("library", "chosen by the library"), ("user", "chosen by OPENBLAS_CORETYPE"), ("charrnn", "chosen by charrnn")],
)
def test_whose_choice_the_kernel_is(show, here, chooser, words):
    outcome = show(blas=replace(here.blas, kernel="Haswell"), kernel_chosen_by=chooser)
    assert facts(outcome.stdout.split("\n\n")[0])["Kernel"] == f"Haswell, {words}"


def test_what_the_command_has_set_is_looked_at(run, here, monkeypatch):
    monkeypatch.setattr("charrnn.system.processor.set_kernel", lambda: "Haswell")
    given = []
    monkeypatch.setattr(machine, "measure_machine", lambda set_kernel: given.append(set_kernel) or here)
    run("doctor")
    assert given == ["Haswell"]


def test_advice(show, monkeypatch):
    monkeypatch.setattr(machine, "advice", lambda facts: ["Do this.", "Do that."])
    assert show().stdout.endswith(f"\n\n{HEADING}\n- Do this.\n- Do that.\n")
    assert show("--json").json["advice"] == ["Do this.", "Do that."]


def test_no_advice(show, monkeypatch):
    monkeypatch.setattr(machine, "advice", lambda facts: [])
    assert f"{HEADING}\n- None: " in show().stdout
    assert show("--json").json["advice"] == []
