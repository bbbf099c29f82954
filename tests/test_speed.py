"""The tables of the speed benchmark, from invented figures; nothing is timed."""

import numpy as np
import pytest

from benchmarks.speed import floor, ours, report, targets
from benchmarks.speed.cases import CASES, FLOOR, LSTM, NUMPY, NUMPY_LSTM, OURS, THEIRS, Case, Result
from benchmarks.speed.processes import START_HELP, case_of


def result(case, **sides):
    names = {"ours": OURS, "numpy": NUMPY, "theirs": THEIRS, "floor": FLOOR, "lstm": LSTM, "numpy_lstm": NUMPY_LSTM}
    figures = {names[side]: [seconds] * 3 for side, seconds in sides.items()}
    return Result(case.name, case.kind, "s", case.amount, figures, case=case)


def test_every_group_of_the_targets_has_rows():
    for target in targets.TARGETS:
        if callable(target.rows):
            assert any(target.rows(case) for case in CASES), target.group


def test_a_target_is_judged_by_its_worst_row():
    one, two = Case("train", "lstm", 1, 128, 32, 25), Case("train", "lstm", 1, 256, 64, 128)
    found = [result(one, ours=1.0, theirs=1.6), result(two, ours=1.0, theirs=1.4)]
    (row,) = targets.table(found)
    assert row == ("training, lstm below 512 units", "PyTorch ÷ charrnn", "≥ 1.5", "1.40", two.name, "no")
    (row,) = targets.table(found[:1])
    assert row[3:] == ("1.60", one.name, "yes")


def test_an_upper_bound_is_judged_by_the_highest_ratio():
    help_ = Result(START_HELP, "start", "s", 0, {OURS: [0.07, 0.06, 0.05], FLOOR: [0.04, 0.04, 0.04]})
    assert targets.table([help_]) == [
        ("start-up, --help", "charrnn ÷ floor", "≤ 1.5", "1.50", "start --help", "yes"),
    ]


def test_a_ratio_that_could_not_be_measured_is_no_target_reached():
    assert targets.table([result(Case("train", "gru", 1, 128, 32, 25), ours=1.0, numpy=1.0)]) == []


def test_beside_lnlstm_the_others_compute_an_lstm_of_the_same_size():
    case = Case("train", "lnlstm", 1, 384, 32, 100)
    assert case in CASES
    assert case_of(OURS, case) == case_of(NUMPY, case) == case
    for side in (THEIRS, LSTM, NUMPY_LSTM, FLOOR):
        assert case_of(side, case) == Case("train", "lstm", 1, 384, 32, 100)
    assert case_of(LSTM, Case("train", "gru", 1, 128, 32, 25)) is None
    assert case_of(NUMPY, Case("encode", "ascii")) is None


def test_lnlstm_has_a_table_of_its_own_that_names_what_it_is_compared_with():
    own = result(
        Case("train", "lnlstm", 1, 384, 32, 100), ours=1.0, numpy=2.0, theirs=3.0, floor=0.5, lstm=0.9, numpy_lstm=1.5
    )
    common = result(Case("train", "lstm", 1, 128, 32, 25), ours=1.0, numpy=2.0, theirs=3.0, floor=0.5)
    tables = dict(report.contents([common, own]))
    assert list(tables) == ["Targets", "Training, one step", "Training, one step: lnlstm"]
    heads, row = tables["Training, one step: lnlstm"]
    cells = dict(zip(heads, row, strict=True))
    assert cells["PyTorch's nn.LSTM ÷ charrnn"] == "3.00"
    assert cells["charrnn's lstm ÷ charrnn"] == "0.90"
    assert cells["NumPy's lstm ÷ charrnn"] == "1.50"
    assert "PyTorch ÷ NumPy" in tables["Training, one step"][0]


@pytest.mark.parametrize("cell", ["lstm", "lnlstm"])
def test_a_run_of_sampling_draws_all_its_characters(cell, monkeypatch):
    drawn = []
    generate = ours.generate
    monkeypatch.setattr(ours, "generate", lambda *args, **settings: map(drawn.append, generate(*args, **settings)))
    (work,) = ours.variants(Case("sample", cell, 1, 8, 3, 20), 1).values()
    work.run()
    assert len(drawn) == 20


def test_the_floor_of_sampling_multiplies_at_every_character(monkeypatch):
    shapes = []
    monkeypatch.setattr(floor.np, "matmul", lambda a, b, out: shapes.append((np.shape(a), np.shape(b))))
    (work,) = floor.variants(Case("sample", "gru", 2, 8, 3, 5), 1).values()
    work.run()
    layer, above, readout = ((3, 8), (8, 24)), ((3, 8), (8, 24)), ((3, 8), (8, 65))
    assert shapes == [layer, above, layer, readout] * 5
