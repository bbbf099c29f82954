"""Statistics: totals that never average averages, and an interval that allows for neighbours that are alike."""

import math

import numpy as np
import pytest

from charrnn.evaluation.statistics import Evaluation, Predictions, Sums, Tally, wilson
from charrnn.nn.functional import bits, perplexity


def test_an_empty_tally_has_no_mean():
    assert Tally().nats_per_char is None
    assert Tally(4, 2.0, 1).nats_per_char == 0.5


@pytest.mark.parametrize("nats", [0.0, 1.5, 1e5, math.inf])
def test_bits_and_perplexity_are_those_of_the_loss(nats):
    figures = Evaluation(2, nats, None, 0.0, None, [], 0, 1.0, "")
    assert figures.perplexity == perplexity(nats)
    assert figures.bpc == bits(nats)


# The intervals


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # from scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    [(0, 10, 0.0, 0.277533), (3, 10, 0.107791, 0.603222), (10, 10, 0.722467, 1.0), (860, 1000, 0.837113, 0.880131)],
)
def test_the_interval_of_a_share_is_wilsons(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-6)


def test_the_interval_of_a_share_stays_within_one_and_holds_the_share():
    assert wilson(0, 0) == (0.0, 1.0)
    for trials in (1, 2, 7, 1000):
        for successes in range(trials + 1):
            low, high = wilson(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1


def sums_of(nats, at_once=700):
    """Return the sums of predictions with these losses, added some at a time."""
    sums = Sums(len(nats))
    for at in range(0, len(nats), at_once):
        part = nats[at : at + at_once]
        sums.add(Predictions(np.arange(at, at + len(part)), -part, part < 1))
    return sums


def test_the_interval_is_that_of_a_mean_of_blocks():
    rng = np.random.default_rng(5)
    nats = np.repeat(rng.gamma(2.0, 1.0, 400), 512)  # blocks of one value each: 400 independent numbers
    low, high = sums_of(nats).interval()
    width = 2 * 1.96 * nats[::512].std() / 400**0.5
    assert high - low == pytest.approx(width, rel=0.1)
    assert (low + high) / 2 == pytest.approx(nats.mean(), abs=0.1 * width)
    assert sums_of(nats).interval() == (low, high)


def test_neighbours_that_are_alike_widen_the_interval():
    nats = np.random.default_rng(6).gamma(2.0, 1.0, 100_000)
    low, high = sums_of(nats).interval()
    alike_low, alike_high = sums_of(np.sort(nats.reshape(-1, 500), axis=0).reshape(-1)).interval()
    assert alike_high - alike_low > 3 * (high - low)


def test_a_long_text_has_no_more_blocks_and_a_short_one_has_no_interval():
    sums = Sums(10**9)
    sums.add(Predictions(np.array([0, 10**9 - 1]), np.array([-1.0, -2.0]), np.array([True, False])))
    assert (sums.tally.chars, sums.tally.nats_per_char, sums.tally.accuracy) == (2, 1.5, 0.5)
    assert len(sums._nats) == 1000
    assert sums_of(np.ones(9 * 512)).interval() is None
    assert sums_of(np.ones(10 * 512)).interval() == (1, 1)
