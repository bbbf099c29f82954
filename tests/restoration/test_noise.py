"""The noise model: the odds of each slip, and the settings of repairs."""

from math import log

import pytest

from charrnn.errors import ConfigError
from charrnn.restoration.noise import KINDS, RepairConfig, log_odds


def test_odds_are_those_of_a_slip_and_of_the_character_that_was_typed():
    odds = log_odds(0.2, log(10))
    assert odds == pytest.approx(
        dict(zip(KINDS, map(log, (0.25 / 4 / 10, 0.25 / 4, 0.25 / 4 / 10, 0.25 / 4)), strict=True))
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.0}, "--rate must be greater than 0"),
        ({"rate": 0.5}, "--rate must be"),
        ({"max_edits": 0}, "--max-edits must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RepairConfig(**settings)
