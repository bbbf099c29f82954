"""The benchmark of what a memory costs."""

from click.testing import CliRunner

from benchmarks import recall
from benchmarks.recall import Taken, pairs, row


def test_a_ratio_is_the_median_of_neighbouring_turns():
    taken = [(Taken(2.0, 1.0), Taken(3.0, 4.0)), (Taken(1.0, 1.0), Taken(4.0, 1.0)), (Taken(1.0, 2.0), Taken(2.0, 4.0))]
    assert row("x", 2_000, taken, 2.0) == ("x", "2,000", "2.00 (1.50–4.00)", "2.00 (1.00–4.00)", "2.00")
    assert row("x", 9, taken[:1], None)[-1] == "–"


def test_both_sides_take_turns_and_the_first_round_does_not_count():
    order = []
    assert len(pairs(lambda: order.append("without"), lambda: order.append("with"), 2)) == 2
    assert order == ["without", "with"] * 3


def test_every_case_is_measured(monkeypatch):
    monkeypatch.setattr(recall, "SIZES", (20,))
    monkeypatch.setattr(recall, "STREAMS", {1: 8, 2: 8})
    done = CliRunner().invoke(recall.main, ["--units", "8", "--chars", "300", "--rounds", "1", "--threads", "1"])
    assert done.exit_code == 0, done.exception
    names = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert names[2:] == ["evaluation, `whole`", "evaluation, `lanes`", "sampling, 1 stream", "sampling, 2 streams"]
