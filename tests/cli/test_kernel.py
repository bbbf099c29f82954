"""The kernels of OpenBLAS: the command sets them before NumPy loads, and the library never does."""

import json
import platform
import sys

import pytest
from fixtures_run import output_of

from charrnn.system.blas import blas
from charrnn.system.processor import KERNEL_VARIABLE

ZEN4 = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n"
    "flags\t\t: fpu avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl\n\n"
)


@pytest.fixture
def zen4(tmp_path):
    """Return a file that describes a Zen 4 as /proc/cpuinfo would."""
    path = tmp_path / "cpuinfo"
    path.write_text(ZEN4)
    return path


CODE = f"""
import json, os, sys
from pathlib import Path
os.environ.pop("{KERNEL_VARIABLE}", None)
from charrnn.system import processor
processor.CPUINFO = Path(sys.argv[1])
%s
from threadpoolctl import threadpool_info
kernels = [pool["architecture"] for pool in threadpool_info() if pool["user_api"] == "blas"]
print(json.dumps([os.environ.get("{KERNEL_VARIABLE}"), kernels]))
"""
#: Each in a Python of its own, by what it does.
COMMAND = 'from charrnn.cli import main\nmain(["vocab", sys.argv[2], "--json"], standalone_mode=False)\nimport numpy'
LIBRARY = "import charrnn\nimport charrnn.api, charrnn.doctor.machine, charrnn.cli\ncharrnn.Corpus.read(sys.argv[2])"
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
