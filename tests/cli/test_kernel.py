"""The kernels of OpenBLAS: set by the command, before NumPy loads, where that is right; and by nothing else."""

import json
import os
import platform
import sys
from importlib.machinery import ModuleSpec

import pytest
from fixtures_run import output_of

from charrnn.cli import _kernel
from charrnn.cli._kernel import VARIABLE, set_kernel
from charrnn.system import processor
from charrnn.system.blas import blas

ZEN4 = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n"
    "flags\t\t: fpu avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl\n\n"
)


@pytest.fixture
def zen4(tmp_path, monkeypatch):
    """Let Linux tell of a Zen 4; return the file in which it does."""
    path = tmp_path / "cpuinfo"
    path.write_text(ZEN4)
    monkeypatch.setattr(processor, "CPUINFO", path)
    return path


@pytest.fixture
def wheel(zen4, tmp_path, monkeypatch):
    """Let all be as the command finds it where it sets the kernels; return the folder of NumPy's libraries."""
    libraries = tmp_path / "numpy.libs"
    libraries.mkdir()
    (libraries / "libscipy_openblas64_-0.so").touch()
    spec = ModuleSpec("numpy", None, origin=str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(_kernel, "find_spec", lambda name: spec)
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    return libraries


def assert_left_alone():
    before = os.environ.get(VARIABLE)
    assert set_kernel() is None
    assert os.environ.get(VARIABLE) == before


def test_it_is_set(wheel):
    assert set_kernel() == os.environ[VARIABLE] == "Haswell"


@pytest.mark.parametrize("value", ["SKYLAKEX", "Haswell", ""])
def test_what_the_user_has_set_stays(wheel, monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    assert_left_alone()


def test_it_is_too_late_when_numpy_is_loaded(wheel, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", os)
    assert_left_alone()


def test_another_processor(wheel, zen4):
    zen4.write_text(ZEN4.replace("AuthenticAMD", "GenuineIntel"))
    assert_left_alone()


def test_a_numpy_that_brings_no_openblas(wheel):
    (wheel / "libscipy_openblas64_-0.so").rename(wheel / "libgfortran.so")
    assert_left_alone()
    (wheel / "libgfortran.so").unlink()
    wheel.rmdir()
    assert_left_alone()


@pytest.mark.parametrize("spec", [None, ModuleSpec("numpy", None)])
def test_no_numpy_at_all(wheel, monkeypatch, spec):
    monkeypatch.setattr(_kernel, "find_spec", lambda name: spec)
    assert_left_alone()


def test_nothing_that_goes_wrong_stops_the_command(wheel, monkeypatch):
    def fail(name):
        raise ValueError("a finder that somebody put in")

    monkeypatch.setattr(_kernel, "find_spec", fail)
    assert_left_alone()


CODE = f"""
import json, os, sys
from pathlib import Path
os.environ.pop("{VARIABLE}", None)
from charrnn.system import processor
processor.CPUINFO = Path(sys.argv[1])
%s
from threadpoolctl import threadpool_info
kernels = [pool["architecture"] for pool in threadpool_info() if pool["user_api"] == "blas"]
print(json.dumps([os.environ.get("{VARIABLE}"), kernels]))
"""
#: Each in a Python of its own, by what it does.
COMMAND = 'from charrnn.cli import main\nmain(["vocab", sys.argv[2], "--json"], standalone_mode=False)\nimport numpy'
LIBRARY = "import charrnn\nimport charrnn.api, charrnn.doctor, charrnn.cli\ncharrnn.Corpus.read(sys.argv[2])"
needs_the_wheel = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not blas().own,
    reason="needs a NumPy that brings OpenBLAS, on a processor that its Haswell kernels are for",
)


@needs_the_wheel
def test_the_command_sets_it_before_numpy_loads(zen4, corpus):
    shown = output_of(CODE % COMMAND, zen4, corpus).splitlines()[-1]
    assert json.loads(shown) == ["Haswell", ["Haswell"]]


@needs_the_wheel
def test_the_library_never_does(zen4, corpus):
    assert json.loads(output_of(CODE % LIBRARY, zen4, corpus))[0] is None
