"""The processor: its description is read, and kernels are chosen, and set, only where that was measured to help."""

import os
import sys
from importlib.machinery import ModuleSpec

import pytest

from charrnn.system import processor
from charrnn.system.processor import KERNEL_VARIABLE, best_kernel, cpu_facts, set_kernel

AVX2 = "fpu sse2 avx avx2 fma"
AVX512 = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"


def cpuinfo(vendor="AuthenticAMD", family=25, model=17, flags=AVX512):
    """Return a part of /proc/cpuinfo on a machine with two cores."""
    one = (
        f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: A processor: fast\nflags\t\t: {flags}\n"
    )
    return f"processor\t: 0\n{one}\nprocessor\t: 1\n{one}\n"


@pytest.fixture
def describe(monkeypatch, tmp_path):
    """Return a function that sets the content of /proc/cpuinfo."""

    def describe(text):
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
        processor.CPUINFO.write_bytes(text.encode() if isinstance(text, str) else text)

    return describe


def test_the_facts_are_those_of_the_first_processor(describe):
    describe(cpuinfo())
    facts = cpu_facts()
    assert facts["processor"] == "0"
    assert (facts["vendor_id"], facts["cpu family"], facts["model"]) == ("AuthenticAMD", "25", "17")
    assert facts["model name"] == "A processor: fast"


@pytest.mark.parametrize("text", ["", "\n", "no colon\n", b"\xff\xfe: \x00\n"])
def test_strange_facts_name_no_kernel(describe, text):
    describe(text)
    assert best_kernel(cpu_facts()) is None


def test_another_system_has_no_facts(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "missing")
    assert cpu_facts() == {}
    assert best_kernel({}) is None


@pytest.mark.parametrize(
    ("cpu", "kernel"),
    [
        ({"family": 25, "model": 0x11}, "Haswell"),  # Zen 4
        ({"family": 25, "model": 0x61}, "Haswell"),
        ({"family": 26, "model": 0x02}, "SkylakeX"),  # Zen 5: EPYC
        ({"family": 26, "model": 0x11}, "SkylakeX"),
        ({"family": 26, "model": 0x44}, "SkylakeX"),  # on the desktop
        ({"family": 26, "model": 0x24}, None),  # small mobile ones
        ({"family": 26, "model": 0x60}, None),
        ({"family": 26, "model": 0x50}, None),  # what comes after Zen 5
        ({"family": 25, "model": 0x01, "flags": AVX2}, None),  # Zen 3
        ({"family": 26, "model": 0x02, "flags": AVX2}, None),  # a virtual machine that hides AVX-512
        ({"family": 26, "model": 0x02, "flags": f"{AVX2} avx512f"}, None),
        ({"family": 23, "model": 0x31, "flags": AVX2}, None),
        ({"family": 6, "model": 0x8F, "vendor": "GenuineIntel"}, None),
        ({"family": 25, "model": 0x11, "vendor": "HygonGenuine"}, None),
        ({"family": 27, "model": 0x02}, None),
    ],
)
def test_kernels_by_processor(describe, cpu, kernel):
    describe(cpuinfo(**cpu))
    assert best_kernel(cpu_facts()) == kernel


@pytest.fixture
def wheel(describe, tmp_path, monkeypatch):
    """Set up all that `set_kernel` requires, on a Zen 4; return the folder of NumPy's libraries."""
    describe(cpuinfo())
    libraries = tmp_path / "numpy.libs"
    libraries.mkdir()
    (libraries / "libscipy_openblas64_-0.so").touch()
    spec = ModuleSpec("numpy", None, origin=str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(processor, "find_spec", lambda name: spec)
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setenv(KERNEL_VARIABLE, "")
    monkeypatch.delenv(KERNEL_VARIABLE)
    return libraries


def assert_left_alone():
    before = os.environ.get(KERNEL_VARIABLE)
    assert set_kernel() is None
    assert os.environ.get(KERNEL_VARIABLE) == before


def test_it_is_set(wheel):
    assert set_kernel() == os.environ[KERNEL_VARIABLE] == "Haswell"


@pytest.mark.parametrize("value", ["SKYLAKEX", "Haswell", ""])
def test_what_the_user_has_set_stays(wheel, monkeypatch, value):
    monkeypatch.setenv(KERNEL_VARIABLE, value)
    assert_left_alone()


def test_it_is_too_late_when_numpy_is_loaded(wheel, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", os)
    assert_left_alone()


def test_another_processor(wheel, describe):
    describe(cpuinfo(vendor="GenuineIntel"))
    assert_left_alone()


def test_a_numpy_that_brings_no_openblas(wheel):
    (wheel / "libscipy_openblas64_-0.so").rename(wheel / "libgfortran.so")
    assert_left_alone()
    (wheel / "libgfortran.so").unlink()
    wheel.rmdir()
    assert_left_alone()


@pytest.mark.parametrize("spec", [None, ModuleSpec("numpy", None)])
def test_no_numpy_at_all(wheel, monkeypatch, spec):
    monkeypatch.setattr(processor, "find_spec", lambda name: spec)
    assert_left_alone()


def test_nothing_that_goes_wrong_stops_the_command(wheel, monkeypatch):
    def fail(name):
        raise ValueError("a finder that somebody put in")

    monkeypatch.setattr(processor, "find_spec", fail)
    assert_left_alone()
