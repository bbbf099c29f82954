"""`charrnn doctor --mpi`: what ranks gain, as a table and as JSON, and from two processes of `mpiexec`."""

import json
import re
import sys

import pytest
from fixtures_mpi import ended, mpiexec, needs_mpi

from charrnn.cli import doctor as command
from charrnn.doctor.ranks import Cluster, Fact
from charrnn.parallel.cost import Link

from ._material import facts
from .test_json import DOCUMENT, check

SECTION = DOCUMENT.partition("## charrnn doctor --mpi\n")[2].partition("\n## ")[0]
KEYS = {
    key: set(types.strip().split(" or ")) for key, types in re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", SECTION, re.M)
}
STEPS = {4: [0.05, 0.06], 8: [0.06, 0.07], 16: [0.09, 0.1], 32: [0.15, 0.16]}
APART = Cluster(
    [Fact("rank 0 on a", "a", 2, 0.5, 120.25, 21333.3), Fact("rank 1 on B", "B", 2, None, 118.0, 20000.0)],
    2,
    Link(45e-6, 60e-6, 112.4e6),
    {4096: 0.00013, 16 * 2**20: 0.153},
    {"lnlstm 1x256": STEPS, "lstm 1x128": STEPS},
    {},
)
#: Two ranks that measure one tiny model, as little as possible.
QUICK = """
from functools import partial
from charrnn.cli import main
from charrnn.config import ModelConfig
from charrnn.doctor import ranks
ranks._SUMMED = [ModelConfig(65, cell="rnn", hidden_size=size) for size in (8, 16)]
tiny = {"lnlstm 1x256": ranks._SUMMED[0]}
ranks.measure_ranks = partial(ranks.measure_ranks, models=tiny, seconds=0.001)
main()
"""


@pytest.fixture
def show(run, monkeypatch):
    """Return a function that runs the command as rank 0 of ranks that were measured as given."""

    def start(cluster, *args):
        monkeypatch.setattr(command, "_measured_ranks", lambda: cluster)
        return run("doctor", "--mpi", *args)

    return start


def test_table(show):
    outcome = show(APART)
    assert outcome.stderr == ""
    head, table, answer = outcome.stdout.split("\n\n")
    assert facts(head) == {
        "Rank 0 on a": "2 threads, 120.2 GFLOP/s, 21,333 characters per second",
        "Rank 1 on B": "2 threads, 118.0 GFLOP/s, 20,000 characters per second",
        "Message": "45 µs",
        "Sum of gradients": "4.1 kB in 0.13 ms, 16.8 MB in 153 ms",
        "Network": "60 µs and 112 MB/s, fitted to these sums",
    }
    heading, first, _ = table.splitlines()
    assert re.split(r"  +", heading) == [
        "Model",
        "Gradients",
        "Step of one rank",
        "Gain of 2",
        "Gain of 4",
        "Gain of 8",
    ]
    # On 2 ranks 100 ms for the rows, 12.6 for the sum and 0.7 for the messages.
    assert re.split(r"  +", first)[:4] == ["lnlstm 1x256", "1.4 MB", "150.0 ms", "1.32"]
    assert answer.startswith("Answer\n- For 10 minutes, a second machine like this one ")


def test_table_of_one_host(show):
    here = [fact._replace(host="a") for fact in APART.ranks]
    together = Cluster(here, 1, APART.link, APART.sums, APART.steps, {"lnlstm 1x256": 0.2, "lstm 1x128": 0.1})
    _, table, answer = show(together).stdout.split("\n\n")
    heading, first, _ = table.splitlines()
    assert re.split(r"  +", heading) == ["Model", "Gradients", "Step of one process", "Gain of 2"]
    assert re.split(r"  +", first)[2:] == ["200.0 ms", "1.77"]
    assert "The 2 ranks are on one host." in answer


def test_json_is_as_documented(show):
    seen = set()
    data = show(APART, "--json").json
    check(data, "", KEYS, seen)
    assert seen == set(KEYS)
    assert data["budgets"][0]["minutes"] == 10
    assert data["models"]["lnlstm 1x256"]["gains"][0]["ranks"] == 2


def test_without_mpiexec(run):
    outcome = run("doctor", "--mpi", code=2)
    assert outcome.stderr == (
        "Error: --mpi measures what mpiexec starts: mpiexec -n 2 -ppn 1 -hosts HOST1,HOST2 charrnn doctor --mpi\n"
    )


@needs_mpi
def test_two_ranks_of_mpiexec(tmp_path):
    (tmp_path / "quick.py").write_text(QUICK)
    code, out, err = ended(mpiexec(sys.executable, tmp_path / "quick.py", "doctor", "--mpi", "--json"))
    assert (code, err) == (0, "")
    data = json.loads(out)
    check(data, "", KEYS, set())
    assert [rank["name"].split(" on ")[0] for rank in data["ranks"]] == ["rank 0", "rank 1"]
    steps = data["models"]["lnlstm 1x256"]["steps"]
    assert [each["rows"] for each in steps] == [4, 8, 16, 32]
    assert all(seconds > 0 for each in steps for seconds in each["seconds"])
    assert data["models"]["lnlstm 1x256"]["process"] > 0
    assert data["bandwidth"] > 0
    assert data["answer"][0].startswith("The 2 ranks are on one host.")
