"""The time of a step on several ranks, worked by hand."""

import pytest

from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.parallel.cost import (
    Link,
    exchange_seconds,
    fit,
    gradient_bytes,
    messages_seconds,
    step_seconds,
    sum_seconds,
)

#: A message takes 1 ms, a shard 2 ms and a second for each million bytes.
LINK = Link(message=0.001, latency=0.002, bandwidth=1e6)
#: 4 parameters of the rows of x, 4 of those of h, 2 biases; and a readout of 4 and 2: 16 numbers of 4 bytes.
CONFIG = ModelConfig(2, cell="rnn", hidden_size=2)
ROWS = {4: 0.3, 8: 0.4, 16: 0.8}


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, 0),
        (2, 2 * (0.002 + 0.5)),  # two shards of half a million bytes
        (4, 6 * (0.002 + 0.25)),
        (8, 14 * (0.002 + 0.125)),
    ],
)
def test_a_sum_sends_each_shard_twice(ranks, expected):
    assert sum_seconds(LINK, 10**6, ranks) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        (1, 0),
        (2, 0.002 + 2 * 0.5),  # half of the rows there and back
        (4, 0.002 + 2 * 0.75),
    ],
)
def test_the_messages_have_the_states_of_all_other_ranks(ranks, expected):
    assert messages_seconds(LINK, 10**6, ranks) == pytest.approx(expected, rel=1e-12)


def test_the_sizes_are_those_of_the_arrays():
    assert gradient_bytes(CONFIG) == 64
    assert model.zero_state(CONFIG, 16).nbytes == 128
    expected = 2 * (0.002 + 32e-6) + 2 * (0.001 + 64e-6)
    assert exchange_seconds(LINK, CONFIG, 16, 2) == pytest.approx(expected, rel=1e-12)
    assert exchange_seconds(LINK, CONFIG, 16, 2, half=True) == pytest.approx(expected - 2 * 16e-6, rel=1e-12)


@pytest.mark.parametrize(
    ("batch_size", "ranks", "alone"),
    [
        (16, 1, 0.8),
        (16, 2, 0.4),
        (12, 1, 0.6),  # halfway
        (13, 2, 0.375),  # the slower one has 7 rows
        (16, 8, 0.3),  # no fewer were measured
        (32, 1, 1.6),  # no more were measured
        (64, 2, 1.6),
    ],
)
def test_a_step_takes_the_time_of_the_rows_and_of_the_exchange(batch_size, ranks, alone):
    expected = alone + exchange_seconds(LINK, CONFIG, batch_size, ranks)
    assert step_seconds(LINK, CONFIG, ROWS, batch_size, ranks) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_the_link_is_found_from_the_sums_that_it_makes(ranks):
    sums = {size: sum_seconds(LINK, size, ranks) for size in (4096, 10**6, 10**7)}
    assert fit(LINK.message, sums, ranks) == pytest.approx(LINK, rel=1e-9)


def test_sums_that_no_link_makes():
    # The largest took the least: other programs. Then its own speed counts.
    link = fit(0.001, {1000: 0.5, 10**6: 0.2}, 2)
    assert link.bandwidth == pytest.approx(5e5 / 0.1)
    assert link.latency >= 0
    # The line would begin below 0.
    assert fit(0.001, {1000: 1e-6, 10**6: 0.2, 10**7: 9.0}, 2).latency == 0
