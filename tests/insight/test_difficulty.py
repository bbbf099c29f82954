"""Difficulty: what a net guesses, how hard each class is, and what is confused with what."""

import numpy as np
import pytest
from fixtures_memory import in_documents, memory_model, text_of

from charrnn.data.text import Text
from charrnn.insight.difficulty import Confusion, Difficulty, Guesses, confusion_table, confusions, difficulty
from charrnn.insight.reading import ids_of, read


@pytest.mark.parametrize("documents", [False, True])
def test_guesses_are_those_of_a_reading_where_something_was_predicted(documents):
    lm, text = memory_model(documents=documents), text_of(300)
    text = Text.of(in_documents(text[:100], text[100:]) if documents else text)
    vocab = lm.checkpoint.vocab
    reading = read(lm.weights, lm.checkpoint.model_config, vocab, ids_of(vocab, text, "error"), top=3)
    found = Guesses.of(reading)
    assert len(found.actual) == len(text) - 1
    assert found.bits.mean() == pytest.approx(lm.evaluate(text).bpc)
    assert (found.actual == found.guessed).mean() == lm.evaluate(text).accuracy


def test_a_text_without_a_prediction_has_no_guess():
    none = Guesses(*np.zeros((2, 0), int), np.zeros(0))
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
