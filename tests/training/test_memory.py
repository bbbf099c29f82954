"""What a run is said to take of memory, against what it takes."""

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fixtures_run import make_training, output_of, start, write_text

from charrnn.config import CELL_NAMES
from charrnn.nn.functional import ONE_HOT_LIMIT
from charrnn.system import ram
from charrnn.training import memory as module
from charrnn.training.memory import Footprint, footprint

ROOT = Path(__file__).resolve().parents[2]
MB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")


def many(symbols):
    """Return a text of so many symbols."""
    return "".join(chr(0x4E00 + k) for k in np.random.default_rng(0).permutation(3 * symbols) % symbols)


CASES = {cell: {"cell": cell} for cell in CELL_NAMES} | {
    "two layers, dropout": {"num_layers": 2, "dropout": 0.5},
    "embedding, sgd": {"embed_size": 40, "optimizer": "sgd"},
    "tied": {"embed_size": 40, "tied": True},
    "attention": {"attention": 200},
    "float64, few lanes": {"dtype": "float64", "batch_size": 3, "seq_len": 150},
    "many symbols": {"text": many(3 * ONE_HOT_LIMIT), "hidden_size": 64},
    "one lane": {"batch_size": 1, "seq_len": 600},
}


@pytest.mark.parametrize("case", CASES)
def test_the_miniature_takes_what_the_step_takes(case):
    settings = {"text": many(60) * 20, "hidden_size": 200, "batch_size": 24, "seq_len": 40} | CASES[case]
    training = make_training(**settings)
    small, share = module._miniature(training, training.config.batch_size)
    assert share < 0.7
    assert small.stream[0].inputs.size == pytest.approx(share * training.stream[0].inputs.size, rel=0.1)
    for each in (small, training):
        module._step(each, module._begin(each))  # what is loaded at first use is no step's
    foreseen, taken = module._measure(small, share), module._measure(training, 1.0)
    assert taken.step > taken.params > 0
    for name, figure in taken._asdict().items():
        assert foreseen._asdict()[name] == pytest.approx(figure, rel=0.1), name


def test_one_that_traces_memory_goes_on_tracing():
    training = make_training()
    footprint(training)
    taken = module._measure(training, 1.0)
    tracemalloc.start()
    try:
        bytes(10 * MB)  # a peak before
        assert module._measure(training, 1.0).step == pytest.approx(taken.step, rel=0.1)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    footprint(make_training())
    assert not tracemalloc.is_tracing()


@pytest.fixture
def figures(monkeypatch):
    """Let a process hold 100 MB, 40 of them after its imports, and a step take 10 of parameters, 30 of state, 200."""
    monkeypatch.setattr(module, "_measure", lambda small, share: module._Taken(10 * MB, 30 * MB, 200 * MB))
    monkeypatch.setattr(module, "own_bytes", lambda: 100 * MB)
    monkeypatch.setattr(module, "_AT_IMPORT", 40 * MB)
    monkeypatch.setattr(module, "free_bytes", lambda: 500 * MB)


@pytest.mark.parametrize(
    ("settings", "size", "processes"),
    [
        ({"threads": 1}, 100 + 30 + 200, 1),
        ({"threads": 1, "recover": False}, 100 + 30 + 200, 1),  # its speed is measured, too
        ({"threads": 3}, 100 + 30 + 200, 1),  # there are no lanes for a second
        ({"threads": 2, "batch_size": 16}, 100 + 30 + 200 + (40 + 200) + 3 * 10, 2),
        ({"threads": 3, "batch_size": 24}, 100 + 30 + 200 + 2 * (40 + 200) + 4 * 10, 3),
    ],
)
@pytest.mark.skipif("os.name != 'posix'", reason="needs processes that share memory")
def test_what_is_added_up(figures, settings, size, processes):
    found = footprint(make_training(**settings))
    assert found == Footprint(size * MB, processes, 500 * MB)
    assert found.fits == (size <= 500)


def test_where_the_system_does_not_say_python_is_estimated(figures, monkeypatch):
    monkeypatch.setattr(module, "own_bytes", lambda: None)
    monkeypatch.setattr(module, "free_bytes", lambda: None)
    found = footprint(make_training(threads=1))
    assert found.size == module._PYTHON + (30 + 30 + 200) * MB
    assert found.free is None
    assert found.fits


def test_what_the_system_tells(tmp_path):
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t   900 kB\nRssAnon:\t   12 kB\n\n")
    assert ram._bytes_in(str(tmp_path / "status"), "RssAnon:") == 12 * 1024
    assert ram._bytes_in(str(tmp_path / "status"), "MemAvailable:") is None
    assert ram._bytes_in(str(tmp_path / "missing"), "RssAnon:") is None


def test_a_run_is_ready_before_anything_is_computed(tmp_path):
    seen = []

    def ready(run):
        seen.append((run.footprint.processes, run.state.step, run.training.config.minutes, run.folder.files()))

    start(tmp_path / "run", minutes=0.001, threads=1, ready=ready).close()
    assert seen == [(1, 0, 0.001, [])]


#: Trains as the arguments say, and prints what was stated and the most that the process held, in bytes.
RUN = """
import json, sys
from pathlib import Path
from charrnn.data.corpus import Corpus
from charrnn.training.run import Run

def held(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024

settings = {"steps": 2, "seed": 1, "threads": 1} | json.loads(sys.argv[3])
run = Run.start(Corpus.read(sys.argv[1]), Path(sys.argv[2]), settings=settings)
stated = run.footprint.size
for _ in run.events():
    pass
print(stated, held("VmHWM") - held("RssFile"))
"""


@linux
@pytest.mark.parametrize(
    "settings", ['{"hidden_size": 192, "seq_len": 150}', '{"cell": "gru", "embed_size": 30, "batch_size": 64}']
)
def test_a_run_takes_what_was_stated(tmp_path, settings):
    corpus = write_text(tmp_path, many(60) * 100)
    stated, taken = map(int, output_of(RUN, corpus, tmp_path / "run", settings).split())
    assert taken > 60 * MB  # of which Python and NumPy are the smaller part
    assert stated == pytest.approx(taken, rel=0.15)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_command_states_what_all_processes_take(tmp_path, monkeypatch, threads):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.memory import measure

    arguments = [write_text(tmp_path, many(60) * 1000), "--steps", "4", "--seed", "1", "--out", str(tmp_path / "run")]
    processes, stated, taken = measure(arguments, threads)
    assert processes == threads
    assert stated == pytest.approx(taken, rel=0.15)
