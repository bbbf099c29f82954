"""Difficulty: what a net guesses, how hard each class is, and what is confused with what."""

import numpy as np
import pytest
from fixtures_memory import in_documents, memory_model, text_of

from charrnn.data.text import Text
from charrnn.evaluation import whole
from charrnn.insight.difficulty import Confusion, Difficulty, Guesses, confusion_table, confusions, difficulty, guess
from charrnn.nn import model
from charrnn.nn.functional import bits, log_softmax


def by_hand(lm, ids, end=None):
    """Return the log-probabilities (N, V) at each id but the first, by one forward pass."""
    inputs = ids[:-1, None]
    reset = None if end is None else inputs == end
    logits, _, _ = model.forward(lm.weights, inputs, model.zero_state(lm.checkpoint.model_config, 1), reset=reset)
    return log_softmax(logits[:, 0])


@pytest.mark.parametrize("settings", [{}, {"attention": 20}, {"documents": True}, {"cell": "gru", "num_layers": 2}])
def test_a_net_guesses_the_symbol_to_which_it_gives_the_highest_probability(settings):
    lm, text = memory_model(**settings), text_of(300)
    ids = lm.checkpoint.vocab.encode(text)
    end = lm.checkpoint.vocab.end
    if end is not None:
        ids = lm.checkpoint.vocab.ids_of(Text.of(in_documents(text[:100], text[100:])))[np.arange(303)]
    found = guess(lm.weights, lm.checkpoint.model_config, ids, end=end)
    expected = by_hand(lm, ids, end)
    assert (found.actual == ids[1:]).all()
    assert (found.guessed == expected.argmax(axis=-1)).all()
    assert np.allclose(found.bits, -bits(1) * expected[np.arange(len(ids) - 1), ids[1:]], atol=1e-5)


def test_several_rows_guess_as_one_does(monkeypatch):
    lm, text = memory_model(), text_of(1001)
    ids = lm.checkpoint.vocab.encode(text)
    alone = guess(lm.weights, lm.checkpoint.model_config, ids)
    monkeypatch.setattr(whole, "WARM_UP", 100)
    rows = guess(lm.weights, lm.checkpoint.model_config, ids)
    assert (rows.actual == alone.actual).all()
    assert (rows.guessed == alone.guessed).all()
    assert np.allclose(rows.bits, alone.bits, atol=1e-4)


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_without_a_prediction_has_no_guess(length):
    lm = memory_model()
    none = guess(lm.weights, lm.checkpoint.model_config, np.zeros(length, np.uint8))
    assert len(none) == 0
    assert difficulty(none, np.zeros(9, np.uint8)) == []
    assert confusions(none) == []
    assert confusion_table(none).shares.shape == (0, 0)


GUESSES = Guesses(
    actual=np.array([0, 0, 0, 0, 1, 1, 2, 3]),
    guessed=np.array([0, 0, 1, 2, 1, 0, 0, 0]),
    bits=np.array([1.0, 1.0, 2.0, 4.0, 1.0, 3.0, 3.0, 5.0]),
)


def test_difficulty_is_by_class():
    assert difficulty(GUESSES, np.array([2, 0, 2, 0])) == [
        Difficulty(0, 3, 3.0, 1 / 3, 9 / 20),
        Difficulty(2, 5, 11 / 5, 2 / 5, 11 / 20),
    ]


def test_confusions_are_sorted_by_their_number():
    more = Guesses(*(np.append(a, b) for a, b in zip(vars(GUESSES).values(), (0, 2, 4.0), strict=True)))
    assert confusions(more) == [
        Confusion(0, 2, 2, 2 / 5),
        Confusion(0, 1, 1, 1 / 5),
        Confusion(1, 0, 1, 1 / 2),
        Confusion(2, 0, 1, 1.0),
        Confusion(3, 0, 1, 1.0),
    ]
    assert confusions(more, most=1) == [Confusion(0, 2, 2, 2 / 5)]


def test_a_net_that_is_always_right_confuses_nothing():
    right = Guesses(GUESSES.actual, GUESSES.actual, GUESSES.bits)
    assert confusions(right) == []
    assert (confusion_table(right).shares == np.eye(4)).all()


def test_the_table_has_the_most_frequent_characters():
    table = confusion_table(GUESSES, most=2)
    assert table.ids.tolist() == [0, 1]
    assert table.shares.tolist() == [[0.5, 0.25], [0.5, 0.5]]
