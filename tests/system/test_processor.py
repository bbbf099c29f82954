"""The processor: what Linux tells of it is read, and kernels are named for those that were measured and no other."""

import pytest

from charrnn.system import processor
from charrnn.system.processor import best_kernel, cpu_facts

AVX2 = "fpu sse2 avx avx2 fma"
AVX512 = f"{AVX2} avx512f avx512dq avx512cd avx512bw avx512vl"


def cpuinfo(vendor="AuthenticAMD", family=25, model=17, flags=AVX512):
    """Return what Linux tells of a processor with two cores, in part."""
    one = (
        f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: A processor: fast\nflags\t\t: {flags}\n"
    )
    return f"processor\t: 0\n{one}\nprocessor\t: 1\n{one}\n"


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Return a function that lets Linux tell something else."""

    def tell(text):
        monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
        processor.CPUINFO.write_bytes(text.encode() if isinstance(text, str) else text)

    return tell


def test_the_facts_are_those_of_the_first_processor(told):
    told(cpuinfo())
    facts = cpu_facts()
    assert facts["processor"] == "0"
    assert (facts["vendor_id"], facts["cpu family"], facts["model"]) == ("AuthenticAMD", "25", "17")
    assert facts["model name"] == "A processor: fast"


@pytest.mark.parametrize("text", ["", "\n", "no colon\n", b"\xff\xfe: \x00\n"])
def test_strange_facts_name_no_kernel(told, text):
    told(text)
    assert best_kernel(cpu_facts()) is None


def test_another_system_tells_nothing(monkeypatch, tmp_path):
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
def test_kernels_by_processor(told, cpu, kernel):
    told(cpuinfo(**cpu))
    assert best_kernel(cpu_facts()) == kernel
