"""The benchmark of how far back models reach: its table and its picture."""

import numpy as np
import pytest
from click.testing import CliRunner
from fixtures_run import finish, start, write_text

from benchmarks import reach
from charrnn.insight.reach import Reach


def test_a_row_has_the_shares_and_where_they_fall():
    norms = 4.0 * 0.9 ** np.arange(101)
    found = Reach(norms, np.ones(101, int), np.arange(1))
    assert reach.row("x", 1.5, found) == (
        "x",
        "1.500",
        "0.9",
        "0.81",
        "0.59",
        "0.35",
        "0.12",
        "0.0052",
        "2.7e-05",
        "7",
        "44",
    )
    assert reach.row("x", 1.5, Reach(norms**0, np.ones(101, int), np.arange(1)))[-2:] == ("> 100", "> 100")


def test_runs_become_a_table_and_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    corpus = write_text(tmp_path)
    for cell in ("rnn", "gru"):
        finish(start(tmp_path / cell, corpus, cell=cell, steps=2))
    svg = tmp_path / "reach.svg"
    args = [str(tmp_path / "rnn"), str(tmp_path / "gru"), "--positions", "5", "--svg", str(svg)]
    done = CliRunner().invoke(reach.main, args)
    assert done.exit_code == 0, done.exception
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[2:]] == ["| rnn 1x8", "| gru 1x8"]
    assert "rnn 1x8" in svg.read_text(encoding="utf-8")
