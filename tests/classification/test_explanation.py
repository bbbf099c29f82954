"""Explanations: what a character contributes is what is lost without it."""

import numpy as np
import pytest

from charrnn.classification import explanation
from charrnn.classification.explanation import explain_blocks, log_odds


class Counting:
    """Predicts by the letters of a text: each a is worth a nat for the first of two labels, each b one against it."""

    labels = ("a", "b")

    def predict_blocks(self, blocks, **_):
        for block in blocks:
            z = np.array([text.count("a") - text.count("b") for text in block], np.float32)
            log_probs = np.stack([-np.logaddexp(0, -z), -np.logaddexp(0, z)], axis=1)
            log_probs[[text == "" for text in block]] = np.nan
            yield log_probs


def test_a_contribution_is_the_change_of_the_log_odds():
    (first, second), (third,) = explain_blocks(Counting(), [["aab.", "bb"], ["a"]])
    assert (first.label, second.label, third.label) == ("a", "b", "a")
    np.testing.assert_allclose(first.contributions, [1, 1, -1, 0], atol=1e-5)
    np.testing.assert_allclose(second.contributions, [1, 1], atol=1e-5)
    np.testing.assert_allclose(third.contributions, [1], atol=1e-5)  # without it, both labels are as likely
    assert first.probability == pytest.approx(1 / (1 + np.exp(-1)))


def test_where_the_label_is_almost_certain_contributions_do_not_vanish():
    ((found,),) = explain_blocks(Counting(), [["a" * 40]])
    np.testing.assert_allclose(found.contributions, [1] * 40, atol=1e-4)


def test_neighbours_in_a_long_text_share_what_is_lost_without_them(monkeypatch):
    monkeypatch.setattr(explanation, "MOST_GROUPS", 3)
    ((found,),) = explain_blocks(Counting(), [["aaabb.a"]])  # groups of three: aaa, bb. and a
    np.testing.assert_allclose(found.contributions, [1, 1, 1, -2 / 3, -2 / 3, -2 / 3, 1], atol=1e-5)


def test_a_text_without_a_prediction_has_no_contributions():
    ((empty,),) = explain_blocks(Counting(), [[""]])
    assert (empty.label, empty.probability, empty.contributions) == (None, None, ())
    assert [*explain_blocks(Counting(), [[]])] == [[]]


def test_the_log_odds_of_a_sure_label_are_finite():
    log_probs = np.log(np.array([[1.0, 1e-30, 1e-30]]))
    assert log_odds(log_probs, 0)[0] == pytest.approx(-np.log(2e-30))
