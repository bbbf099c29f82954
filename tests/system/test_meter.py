"""The speed meter, with a clock that only the measured work moves."""

from types import SimpleNamespace

import pytest

from charrnn.system import meter
from charrnn.system.meter import seconds_per_unit


@pytest.fixture
def run(monkeypatch):
    """Return a function that measures calls of these (seconds, units), and another that says how many were made."""

    def run(calls, seconds):
        now, made = [0.0], []

        def work():
            took, units = calls[min(len(made), len(calls) - 1)]
            made.append(units)
            now[0] += took
            return units

        monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=lambda: now[0]))
        return seconds_per_unit(work, seconds), len(made)

    return run


def test_the_first_call_does_not_count(run):
    assert run([(100.0, 1), (2.0, 1)], 10.0) == (2.0, 6)


def test_one_call_is_measured_though_it_takes_longer_than_there_is_time(run):
    assert run([(1.0, 1), (50.0, 1)], 10.0) == (50.0, 2)
    assert run([(1.0, 1), (50.0, 1)], 0.0) == (50.0, 2)


def test_one_slow_call_among_others_changes_nothing(run):
    assert run([(1.0, 1), (1.0, 1), (1.0, 1), (5.0, 1), (1.0, 1)], 9.0)[0] == 1.0


def test_each_call_is_divided_by_the_units_that_it_did(run):
    # As the last window of an epoch, which is shorter.
    assert run([(1.0, 8), (4.0, 8), (1.0, 2)], 5.0)[0] == 0.5


def test_a_clock_too_coarse_to_show_a_call_gives_a_rate_all_the_same(run, monkeypatch):
    ticks = iter([0.0, 0.0, 0.0, 1.0])
    monkeypatch.setattr(meter, "time", SimpleNamespace(perf_counter=ticks.__next__))
    assert 0 < seconds_per_unit(lambda: 1000, 1.0) < 1e-9
