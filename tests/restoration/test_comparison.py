"""Repairs that are compared with the right text, and lines whose edits are marked."""

import pytest

from charrnn.restoration.comparison import Repairs, marked


@pytest.mark.parametrize(
    ("line", "repaired", "counts"),
    [
        ("the cat sat", "the cat sat", Repairs(right=3)),
        ("teh cat sat", "the cat sat", Repairs(wrong=1, mended=1, right=2, new=1, accurate=1)),
        ("teh cat sat", "teh cat sat", Repairs(wrong=1, right=2)),
        ("teh cat sat", "tea cat sit", Repairs(wrong=1, right=2, spoilt=1, new=2)),
        ("thecat sat", "the cat sat", Repairs(wrong=2, mended=2, right=1, new=2, accurate=2)),
        ("th e cat sat", "the cat sat", Repairs(wrong=1, mended=1, right=2, new=1, accurate=1)),
        ("the cat sat", "the cat up sat", Repairs(right=3, new=1)),
        ("", "", Repairs(wrong=3)),
    ],
)
def test_words_are_counted(line, repaired, counts):
    assert Repairs().plus("the cat sat", line, repaired) == counts


def test_figures_have_shares_and_intervals():
    counts = Repairs().plus("the cat sat", "teh cat sat", "the cat sat").plus("a b", "a b", "a c")
    figures = counts.to_dict()
    assert (figures["recall"], figures["precision"], figures["changed"]) == (1.0, 0.5, 0.25)
    assert figures["changed_interval"] == pytest.approx((0.0456, 0.6994), abs=1e-4)
    assert Repairs().to_dict()["recall"] is None
    assert Repairs().to_dict()["recall_interval"] is None


def test_edits_are_marked():
    assert marked("the cat sat", "the cats at") == "the cat{+s+} [-s-]at"
    assert marked("a bad", "a bid") == "a b[-a-]{+i+}d"
    assert marked("same", "same") == "same"
