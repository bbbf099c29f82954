"""What `doctor --mpi` says for given figures: from which text more machines pay, what limits them, and the remedy."""

from dataclasses import replace

import pytest

from charrnn.doctor.answer import Budget, answer, budgets, gains
from charrnn.doctor.ranks import MODELS, USUAL, Cluster, Fact
from charrnn.parallel.cost import Link, exchange_seconds

#: Milliseconds of a step of 32 rows, and the share of these that fewer rows take.
STEPS = {
    **{"lnlstm 1x64": 7.0, "lnlstm 1x128": 15.0, "lnlstm 1x256": 34.0, "lnlstm 1x512": 117.0, "lnlstm 1x1024": 450.0},
    "lstm 2x512": 300.0,
}
SHARES = {4: 0.3, 8: 0.4, 16: 0.6, 32: 1.0}
LAN = Link(50e-6, 50e-6, 112e6)  # 1 Gbit/s
FAST = Link(20e-6, 20e-6, 1.12e9)


def cluster(link=FAST, hosts=("a", "b"), times=(1.0, 1.0), *, load=0.2, cores=2, process=None):
    """Return ranks on these hosts, which take so many times as long as `STEPS`, and all of `process` in one process."""
    facts = [Fact(f"rank {rank} on {host}", host, cores, load, 120.0, 94e3) for rank, host in enumerate(hosts)]
    steps = {
        name: {rows: [seconds * share * each / 1000 for each in times] for rows, share in SHARES.items()}
        for name, seconds in STEPS.items()
    }
    together = {name: seconds * process / 1000 for name, seconds in STEPS.items()} if process else {}
    return Cluster(facts, max(1, cores // hosts.count(hosts[0])), link, {4096: 1e-4}, steps, together)


def test_gains_are_those_of_the_model_of_cost():
    name = "lstm 2x512"
    found = gains(cluster(times=(1.0, 1.1)), name)
    exchange = {ranks: exchange_seconds(FAST, MODELS[name], 32, ranks) for ranks in (2, 4, 8)}
    assert found == pytest.approx(
        {
            2: 0.3 / (0.3 * 1.1 * 0.6 + exchange[2]),
            4: 0.3 / (0.3 * 1.1 * 0.4 + exchange[4]),
            8: 0.3 / (0.3 * 1.1 * 0.3 + exchange[8]),
        },
        rel=1e-12,
    )


def test_ranks_wait_for_the_slowest():
    assert budgets(cluster(times=(1.0, 1.2)))[0].gain < 0.9 * budgets(cluster())[0].gain
    assert budgets(cluster(times=(1.2, 1.0)))[0].gain > budgets(cluster())[0].gain


def test_the_ranks_that_were_measured_are_among_those_that_are_forecast():
    three = cluster(hosts=("a", "b", "c"), times=(1.0, 1.0, 1.0))
    assert list(gains(three, "lstm 2x512")) == [2, 3, 4, 8]


def test_a_fast_network():
    short, long = budgets(cluster())
    assert (short.minutes, long.minutes) == (10, 600)
    assert short.units < long.units == 1024
    assert short.gain == pytest.approx(1.5, abs=0.1)
    first, second, third = answer(cluster())
    assert first == (
        "For 10 minutes, a second machine like this one pays, however small the text: for a large one, the recipe "
        f"takes {short.units} units, and 2 ranks are {short.gain:.2g} times as fast as 1."
    )
    assert "For 10 hours, " in second
    assert "takes 1,024 units, " in second
    assert third.startswith(
        f"With {short.units} units, 4 ranks are 2.2 times and 8 ranks 2.7 times as fast as 1: each of 8 gets only 4 "
    )


def test_a_slow_network_pays_for_no_text():
    first, second, third = answer(cluster(LAN))
    assert first == (
        "For 10 minutes, a second machine like this one does not pay, however large the text: the recipe takes 512 "
        "units, and 2 ranks are no faster than 1."
    )
    assert "does not pay" in second
    assert third == (
        "The network takes 39% of a step of 2 ranks, at 112 MB/s, so they are 1 times as fast as 1. That would be 1.3 "
        "times with --half-gradients, 1.6 times with a network 10 times as fast (mpiexec -iface NAME chooses one), and "
        "1.7 times with --batch-size 128, which learns differently."
    )


def test_a_network_that_makes_it_slower():
    first = answer(cluster(LAN._replace(bandwidth=11e6)))[0]
    assert "2 ranks are slower than 1: a step takes 4." in first


def test_a_text_from_which_a_second_machine_pays(monkeypatch):
    # Few rows do not gain much, and the recipe takes 16 rows for small texts.
    monkeypatch.setitem(SHARES, 8, 0.5)
    found = cluster()
    assert [budget.text for budget in budgets(found)] == [400_000, 400_000]
    assert answer(found)[0].startswith(
        "For 10 minutes, a second machine like this one pays if the text has about 400 kB or more: the recipe takes "
    )


def test_megabytes_are_words_too():
    from charrnn.doctor.answer import _second_machine

    assert "pays if the text has about 1.5 MB or more: the recipe takes 64 units, and 2 ranks are 1.3 times" in (
        _second_machine(Budget(10, 1_500_000, 64, 1.3))
    )


@pytest.mark.parametrize(
    ("process", "words"),
    [
        (
            0.4,
            "slower than one process with --threads 2: a step takes 1.6 times as long. Train without mpiexec there. To",
        ),
        (
            0.64,
            "no faster than one process with --threads 2. Train without mpiexec there. To learn what a second machine",
        ),
        (
            0.9,
            "1.4 times as fast as one process with --threads 2. To learn what a second machine gains, start one rank",
        ),
    ],
)
def test_ranks_on_one_host_are_compared_with_its_threads(process, words):
    here = cluster(hosts=("a", "a"), process=process)
    (sentence,) = answer(here)
    assert sentence.startswith(f"The 2 ranks are on one host. They are {words}")
    assert budgets(here) == []
    assert list(gains(here, "lstm 2x512")) == [2]


def test_one_measurement_that_is_far_off_does_not_decide():
    here = cluster(hosts=("a", "a"), process=0.9)
    here.steps[USUAL] |= {16: [10.0, 10.0]}
    assert gains(here, USUAL)[2] < 0.1
    assert "1.4 times as fast as one process" in answer(here)[0]


def test_a_slow_rank_is_named():
    found = answer(cluster(times=(1.0, 1.6)))
    assert found[-1] == (
        "Rank 1 on b takes 1.6 times as long for a step as the others, and they wait: check what else runs there, or "
        "leave it out."
    )
    assert "Rank 0 on a takes 1.4 times" in answer(cluster(times=(1.4, 1.0)))[-1]
    assert not any("they wait" in each for each in answer(cluster(times=(1.2, 1.0))))


def test_too_many_ranks():
    four = cluster(hosts=("a", "a", "a", "b"), times=(1.0,) * 4)
    assert "3 ranks share 2 cores of a and wait for one another: start one rank there (mpiexec -ppn 1)." in answer(four)
    enough = replace(four, ranks=[rank._replace(cores=8) for rank in four.ranks])
    assert "4 ranks are on 2 hosts: one rank on each (mpiexec -ppn 1) uses all its cores and sends less." in answer(
        enough
    )


def test_other_programs():
    assert answer(cluster(load=5.0))[-2:] == [
        f"In the last minute, 5.0 programs on average competed for the 2 cores of {host}: stop those that are still "
        "running, and measure again."
        for host in "ab"
    ]
    assert answer(cluster(load=None)) == answer(cluster())
