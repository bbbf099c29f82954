"""Encoded texts, and batches that are a function of the step: every text once an epoch, similar lengths together."""

import numpy as np
import pytest

from charrnn.classification.texts import Texts, TextStream
from charrnn.data.vocab import Vocab

WORDS = ["abcab", "c", "", "bca" * 30, "xyz", "a-b", "cab"]


def encoded(vocab, texts, most=100):
    """Return the ids of each text, from `Texts`."""
    found = Texts.of(vocab, texts, most)
    assert len(found) == len(found.lengths) == len(texts)
    ends = found.lengths.cumsum().tolist()
    assert len(found.ids) == (ends[-1] if ends else 0)
    return [found.ids[end - length : end].tolist() for end, length in zip(ends, found.lengths.tolist(), strict=True)]


def test_texts_are_encoded_one_by_one_without_unknown_characters():
    vocab = Vocab("abc")
    assert encoded(vocab, WORDS) == [vocab.encode(text, "skip").tolist() for text in WORDS]
    assert encoded(vocab, []) == []


def test_texts_are_marked_as_the_vocabulary_marks_them():
    ended, lines = Vocab("abc", specials=("end",)), Vocab("\nabc")
    assert encoded(ended, ["ab", ""]) == [[3, 0, 1, 3], [3, 3]]
    assert encoded(lines, ["ab"]) == [[0, 1, 2, 0]]


def test_a_rare_character_is_the_unknown_symbol():
    assert encoded(Vocab("abc", specials=("unknown",)), ["axb"]) == [[0, 3, 1]]


def test_texts_are_read_in_the_form_of_the_vocabulary_and_cut():
    vocab = Vocab("abc", lowercase=True, specials=("end",))
    assert encoded(vocab, ["ABCA"], most=3) == [[3, 0, 1, 2, 3]]
    assert [Texts.of(vocab, ["abc", "abca", "abcab"], most).cut for most in (3, 4, 5)] == [2, 1, 0]


def test_a_vocabulary_of_bytes_has_an_id_for_each_byte():
    vocab = Vocab("".join(map(chr, range(256))), kind="bytes", specials=("end",))
    assert encoded(vocab, ["é", "\udcff"]) == [[256, 0xC3, 0xA9, 256], [256, 0xFF, 256]]


def test_chunks_change_nothing(monkeypatch):
    vocab = Vocab("abc", specials=("end",))
    whole = encoded(vocab, WORDS)
    monkeypatch.setattr("charrnn.classification.texts._CHUNK", 4)
    assert encoded(vocab, WORDS) == whole


def test_batches_for_reading_have_every_text_once():
    texts = Texts.of(Vocab("abc"), WORDS, 100)
    seen = []
    for indices, ids, lengths in texts.batches(3, 20):
        assert ids.shape == (max(1, lengths.max()), len(indices))
        assert len(indices) <= 3
        assert len(indices) == 1 or ids.size <= 20
        for column, at in enumerate(indices.tolist()):
            assert ids[: lengths[column], column].tolist() == encoded(Vocab("abc"), [WORDS[at]])[0]
            assert not ids[lengths[column] :, column].any()
        seen += indices.tolist()
    assert sorted(seen) == list(range(len(WORDS)))


def stream_of(count=203, batch_size=8, seed=1):
    """Return a stream of texts that differ, each with a label and weight that tell which it is."""
    rng = np.random.default_rng(0)
    texts = Texts.of(Vocab("ab"), ["a" * length for length in rng.integers(1, 60, count)], 100)
    return TextStream(texts, np.arange(count), np.arange(count) / 7, batch_size, seed)


def test_an_epoch_has_every_text_once_with_its_label_and_weight():
    stream = stream_of()
    assert stream.steps_per_epoch == 26
    for epoch in (0, 1):
        batches = [stream[epoch * 26 + step] for step in range(26)]
        assert sorted(label for batch in batches for label in batch.labels.tolist()) == list(range(203))
        assert sorted(len(batch.labels) for batch in batches) == [3] + 25 * [8]
        for batch in batches:
            np.testing.assert_array_equal(batch.weights, batch.labels / 7)
            np.testing.assert_array_equal(batch.lengths, stream.texts.lengths[batch.labels])
            assert batch.ids.shape == (batch.lengths.max(), len(batch.labels))
            assert batch.chars == batch.lengths.sum()


def as_lists(batch):
    return [values.tolist() for values in batch]


def test_a_batch_is_a_function_of_the_step_alone():
    forwards, stream = stream_of(), stream_of()
    steps = [0, 60, 27, 26, 1, 60, 0]
    assert [as_lists(stream[step]) for step in steps] == [
        {step: as_lists(forwards[step]) for step in range(61)}[step] for step in steps
    ]
    orders = [[stream_of(seed=seed)[step].labels.tolist() for step in range(26)] for seed in (1, 2)]
    assert orders[0] != orders[1]


def test_epochs_differ():
    stream = stream_of()
    first, second = ([stream[epoch * 26 + step].labels.tolist() for step in range(26)] for epoch in (0, 1))
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}


def test_texts_of_similar_lengths_share_a_batch_and_batches_are_shuffled():
    stream = stream_of()
    batches = [stream[step] for step in range(26)]
    spread = [np.ptp(batch.lengths) for batch in batches]
    assert np.mean(spread) < 4  # of random ones: about 45
    means = [batch.lengths.mean() for batch in batches]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


def test_characters_before_a_step_are_those_of_whole_epochs():
    stream = stream_of()
    total = len(stream.texts.ids)
    assert [stream.chars_before(step) for step in (0, 26, 52)] == [0, total, 2 * total]
    assert stream.chars_before(13) == pytest.approx(total / 2, abs=1)
    assert sum(stream[step].chars for step in range(26)) == total


def test_rows_of_a_batch_have_no_padding_of_others():
    batch = stream_of()[3]
    whole = batch.rows(slice(0, 8))
    assert as_lists(whole) == as_lists(batch)
    part = batch.rows(slice(2, 5))
    assert part.ids.shape == (batch.lengths[2:5].max(), 3)
    assert part.labels.tolist() == batch.labels[2:5].tolist()
    assert part.weights.tolist() == batch.weights[2:5].tolist()
    assert batch.rows(slice(0, 0)).ids.shape == (1, 0)
