"""Padded batches: which texts are side by side, and where their ids are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.padding import batches, pad


def batched(lengths, most_texts, most_chars):
    return [batch.tolist() for batch in batches(np.array(lengths, np.intp), most_texts, most_chars)]


def test_texts_are_batched_from_the_longest_to_the_shortest():
    assert batched([3, 9, 3, 0, 4], most_texts=2, most_chars=100) == [[1, 4], [0, 2], [3]]


def test_a_batch_has_no_more_characters_than_its_limit_with_padding():
    assert batched([5, 4, 2, 2, 2, 1], most_texts=10, most_chars=10) == [[0, 1], [2, 3, 4, 5]]


def test_a_text_that_is_longer_than_a_batch_has_one_of_its_own():
    assert batched([30, 20, 5, 5], most_texts=4, most_chars=10) == [[0], [1], [2, 3]]


def test_no_texts_make_no_batch():
    assert batched([], 2, 10) == []
    assert batched([0, 0, 0], 2, 10) == [[0, 1], [2]]


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 8), st.integers(1, 60))
def test_each_text_is_in_one_batch_within_the_limits(lengths, most_texts, most_chars):
    found = batched(lengths, most_texts, most_chars)
    assert sorted(text for batch in found for text in batch) == list(range(len(lengths)))
    in_order = [lengths[text] for batch in found for text in batch]
    assert in_order == sorted(lengths, reverse=True)
    for number, batch in enumerate(found):
        assert 1 <= len(batch) <= most_texts
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= most_chars
        if number + 1 < len(found):  # one more text would have exceeded a limit
            assert len(batch) == most_texts or (len(batch) + 1) * lengths[batch[0]] > most_chars


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_the_columns_are_the_texts_with_zeros_behind_them(dtype):
    ids, lengths = pad([np.array(text, dtype) for text in ([3, 1, 2], [], [5], [7, 7])])
    assert ids.tolist() == [[3, 0, 5, 7], [1, 0, 0, 7], [2, 0, 0, 0]]
    assert lengths.tolist() == [3, 0, 1, 2]
    assert ids.flags.c_contiguous
    assert ids.dtype == lengths.dtype == np.intp


@pytest.mark.parametrize("count", [0, 1, 3])
def test_texts_without_characters_are_one_step_of_padding(count):
    ids, lengths = pad([np.array([], np.uint8)] * count)
    assert ids.tolist() == [[0] * count]
    assert lengths.tolist() == [0] * count


@given(st.lists(st.lists(st.integers(0, 200), max_size=8), max_size=8))
def test_padding_loses_no_character(texts):
    ids, lengths = pad([np.array(text, np.uint16) for text in texts])
    assert [ids[:length, b].tolist() for b, length in enumerate(lengths)] == texts
    assert ids.sum() == sum(map(sum, texts))
