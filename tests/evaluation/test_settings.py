"""The settings of scoring: which lines are selected."""

import pytest

from charrnn.errors import ConfigError
from charrnn.evaluation.settings import ScoreConfig


@pytest.mark.parametrize(
    ("bounds", "selected"),
    [({"above": 2.0}, [3.0]), ({"below": 2.0}, [1.0]), ({"above": 1.0, "below": 3.0}, [2.0]), ({}, [1.0, 2.0, 3.0])],
)
def test_lines_between_the_bounds_are_selected(bounds, selected):
    config = ScoreConfig(**bounds)
    assert [bpc for bpc in (None, 1.0, 2.0, 3.0) if config.includes(bpc)] == selected
    assert config.selects == bool(bounds)


@pytest.mark.parametrize(("above", "below"), [(2.0, 2.0), (3.0, 2.0)])
def test_bounds_that_select_nothing_are_refused(above, below):
    with pytest.raises(ConfigError, match="let no line through"):
        ScoreConfig(above=above, below=below)
