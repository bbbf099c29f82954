"""The search for units that follow a property: measures against naive ones, and what it must not find."""

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.insight.finding import auc, correlation, find, mid_ranks, varying
from charrnn.insight.properties import PROPERTIES, property_of

PIECES = [
    '"no" said he. ',
    '"Oh, yes" ',
    "(who, then?) ",
    "She went,\n",
    "and nothing happened to anyone\n",
    "so ",
]
TEXT = "".join(np.random.default_rng(0).choice(PIECES, 150))
T = len(TEXT)


def noise(length=T, units=20, seed=0):
    return np.random.default_rng(seed).normal(size=(length, units)).astype(np.float32)


def with_unit(values, seed=0):
    """Return noise whose unit 7 has these values."""
    array = noise(len(values), seed=seed)
    array[:, 7] = values
    return array


def search(values_of, names, **options):
    """Search noise in which unit 7 of layer 1 has the values of a function of the text."""
    parts = []
    for seed, text in enumerate((TEXT, TEXT[5:])):
        own = with_unit(values_of(text), seed + 10)
        parts.append((text, {"layer0.h": noise(len(text), seed=seed), "layer1.c": own}))
    return find(*parts, [property_of(name) for name in names], **options)


def naive_auc(values, labels):
    """Compare each value that has the label with each that has not."""
    high, low = values[labels][:, None], values[~labels]
    return ((high > low) + 0.5 * (high == low)).mean()


def test_the_auc_is_the_share_of_pairs_in_order():
    values, labels = noise(60, 5).round(1), noise(60, 3, seed=1) > 0.5
    values[:, 4] = 1  # a unit that never changes
    found = auc(values, labels)
    assert found.shape == (5, 3)
    assert len(np.unique(values[:, 0])) < 60  # some are equal
    for unit in range(5):
        for label in range(3):
            assert found[unit, label] == pytest.approx(naive_auc(values[:, unit], labels[:, label]), abs=1e-12)
    assert (found[4] == 0.5).all()


def test_equal_values_share_the_mean_of_their_ranks():
    assert mid_ranks(np.array([[3, 1], [1, 1], [3, 2], [2, 1]], np.float32)).T.tolist() == [
        [3.5, 1, 3.5, 2],
        [2, 2, 4, 2],
    ]


def test_the_correlation_is_pearsons():
    values, numbers = noise(50, 4), noise(50, 2, seed=1).astype(float)
    expected = np.corrcoef(values.T, numbers.T)[:4, 4:]
    np.testing.assert_allclose(correlation(values, numbers), expected, atol=1e-7)
    assert (correlation(np.ones((50, 1)), numbers) == 0).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_unit_that_follows_a_property_is_found(sign):
    found = search(lambda text: sign * PROPERTIES["quotes"](text), ["parentheses", "quotes"], most=3)
    assert [each.property for each in found] == ["parentheses"] * 3 + ["quotes"] * 3
    best = found[3]
    assert (best.unit, best.measure, best.sign, best.val, best.test) == ("layer1.c[7]", "AUC", sign, 1, 1)
    assert best.control < 0.7
    assert all(0.5 < each.val < 0.7 for each in found[4:])
    assert found[4].val >= found[5].val


@pytest.mark.parametrize("sign", [1, -1])
def test_a_unit_that_follows_a_number_is_found(sign):
    best = search(lambda text: sign * PROPERTIES["line-position"](text), ["line-position"])[0]
    assert (best.unit, best.measure, best.sign) == ("layer1.c[7]", "correlation", sign)
    assert best.val == pytest.approx(1)
    assert best.test == pytest.approx(1)
    assert abs(best.control) < 0.3


def test_a_unit_that_does_the_opposite_in_the_other_text_is_below_chance():
    text = TEXT
    labels = PROPERTIES["quotes"](text)
    found = find(
        (text, {"layer0.h": with_unit(labels)}), (text, {"layer0.h": with_unit(~labels)}), [PROPERTIES["quotes"]]
    )
    assert (found[0].val, found[0].test) == (1, 0)


def test_the_choice_among_many_units_raises_no_figure_but_that_of_the_choice():
    text = "a b " * 50
    best = find(*((text, {"layer0.h": noise(200, 2000, seed)}) for seed in (1, 2)), [property_of("vowel")], most=1)[0]
    assert best.val > 0.63  # the best of 2,000 by chance
    assert best.test < 0.6
    assert 0.5 < best.control < 0.65


def test_the_control_keeps_how_long_a_property_lasts():
    # Where both text and units change slowly, chance finds much more.
    text = ("a" * 100 + " " * 100) * 5
    slow = [np.repeat(noise(20, 500, seed), 50, axis=0) for seed in (1, 2)]
    best = find(*((text, {"layer0.c": array}) for array in slow), [property_of("vowel")], most=1)[0]
    quick = find(*((text, {"layer0.c": noise(1000, 500, seed)}) for seed in (1, 2)), [property_of("vowel")], most=1)[0]
    assert best.control > quick.control + 0.05


def test_the_same_seed_finds_the_same_and_another_has_another_control():
    found = [search(PROPERTIES["quotes"], ["quotes"], most=2, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0][0].control != found[2][0].control
    assert [each.test for each in found[0]] == [each.test for each in found[2]]


def test_a_property_that_all_characters_have_or_none_is_an_error():
    parts = [(TEXT, {"layer0.h": noise()})] * 2
    with pytest.raises(
        ConfigError, match=r"^'digit' is the same at all [0-9,]+ characters on which units are chosen, so"
    ):
        find(*parts, [PROPERTIES["quotes"], PROPERTIES["digit"]])
    parts[1] = ("no quotes", {"layer0.h": noise(9)})
    with pytest.raises(ConfigError, match=r"^'quotes' is the same at all 9 characters on which units are measured, so"):
        find(*parts, [PROPERTIES["quotes"]])


def test_the_properties_that_vary_are_those_that_can_be_searched():
    names = [each.name for each in varying(PROPERTIES.values(), TEXT, "Upper (and)")]
    assert names == ["parentheses", "line-position", "upper", "vowel", "word-end"]
    find(*[(TEXT, {"layer0.h": noise()})] * 2, varying(PROPERTIES.values(), TEXT))
