"""The settings of scoring: which lines are selected."""

import pytest

from charrnn.errors import ConfigError
from charrnn.evaluation.settings import Quantile, ScoreConfig, Shard


@pytest.mark.parametrize(
    ("bounds", "selected"),
    [({"above": 2.0}, [3.0]), ({"below": 2.0}, [1.0]), ({"above": 1.0, "below": 3.0}, [2.0]), ({}, [1.0, 2.0, 3.0])],
)
def test_lines_between_the_bounds_are_selected(bounds, selected):
    config = ScoreConfig(**bounds)
    if bounds:
        assert [bpc for bpc in (None, 1.0, 2.0, 3.0) if config.limits().include(bpc)] == selected
    assert config.selects == bool(bounds)


@pytest.mark.parametrize(("above", "below"), [(2.0, 2.0), (3.0, 2.0)])
def test_bounds_that_select_nothing_are_refused(above, below):
    with pytest.raises(ConfigError, match="let no line through"):
        ScoreConfig(above=above, below=below)


@pytest.mark.parametrize("lines", [0, 1, 7, 100, 1000])
@pytest.mark.parametrize("percent", ["0%", "0.1%", "50%", "99.9%", "100%"])
def test_at_most_this_percentage_is_beyond_a_quantile(lines, percent):
    scores = [float(score) for score in range(lines)]
    quantile = Quantile.parse(percent)
    share = lines * float(quantile.percent) / 100
    high, low = quantile.highest(scores), quantile.lowest(scores)
    assert sum(score > high for score in scores) == int(lines - share)
    assert sum(score < low for score in scores) == int(share)
    assert str(quantile) == percent


@pytest.mark.parametrize("lines", [0, 2, 10])
def test_shards_are_contiguous_and_equal(lines):
    bounds = [Shard.parse(f"{number}/4").bounds(lines) for number in range(1, 5)]
    assert [begin for begin, _ in bounds] == [0, *(end for _, end in bounds[:-1])]
    assert bounds[-1][1] == lines
    assert max(end - begin for begin, end in bounds) - min(end - begin for begin, end in bounds) <= 1
