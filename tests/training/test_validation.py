"""Validation: what a run's losses were measured on, and what keeps two of them from being compared."""

import pytest
from fixtures_run import TEXT, finish, meta_of, start, write_text

from charrnn.data.corpus import Corpus
from charrnn.training.validation import Validation, described, differences


@pytest.fixture
def validated(tmp_path, no_sync):
    """Return a function that trains a run of one step and returns its validation."""
    text = write_text(tmp_path, (TEXT * 2).replace("boats", "Boats", 4))

    def train(corpus=text, **settings):
        number = len(list(tmp_path.iterdir()))
        run = start(tmp_path / f"run{number}", corpus, steps=1, **settings)
        finish(run)
        return Validation.of(meta_of(run.folder.last))

    return train


def test_cell_size_and_seed_change_nothing(validated):
    one = validated()
    other = validated(cell="gru", hidden_size=4, seed=9, batch_size=2)
    assert one.signature == other.signature
    assert differences(one, other) == {}
    assert (
        one.signature == f"protocol:training|text:sha256-{one.sha256[:8]}|split:val-fraction=0.1|chars:all|unknown:none"
    )


@pytest.mark.parametrize(
    ("settings", "reason", "remedy"),
    [
        ({"val_chars": 20}, "different numbers of characters", "--val-chars"),
        ({"val_fraction": 0.2}, "different splits", "--val-fraction"),
        ({"test_fraction": 0.1}, "different splits", "--val-fraction and --test-fraction"),
        ({"lowercase": True}, "different texts", "--val-file"),
        ({"min_count": 5}, "different unknown characters", "--min-count"),
    ],
)
def test_what_changes_the_characters_changes_the_signature(validated, settings, reason, remedy):
    one, other = validated(), validated(**settings)
    assert one.signature != other.signature
    assert differences(one, other) == {reason: remedy}


def test_more_characters_than_there_are_is_all_of_them(validated):
    whole, more = validated(), validated(val_chars=10**6)
    assert whole.signature == more.signature
    assert whole.scored == more.scored == len(TEXT) * 2 // 10 - 1


def test_each_shuffle_validates_on_other_documents(validated):
    documents = {"split_documents": "lines", "val_documents": 9}
    plain = validated(**documents)
    one, same, two = (validated(**documents, shuffle_documents=True, seed=seed) for seed in (1, 1, 2))
    assert one.signature == same.signature
    assert len({plain.signature, one.signature, two.signature}) == 3
    assert plain.in_words().endswith("boats.txt, the last 9 documents, 127 characters")


def test_validations_that_read_the_same_are_told_apart_by_their_signatures(validated):
    one, other, third = validated(), validated(lowercase=True, val_chars=9), validated(val_chars=9)
    assert described([one, third]) == [one.in_words(), third.in_words()]
    assert described([one, other, third]) == [
        one.in_words(),
        f"{other.in_words()} ({other.signature})",
        f"{third.in_words()} ({third.signature})",
    ]


def test_a_file_of_its_own_is_what_counts(tmp_path, no_sync):
    val = write_text(tmp_path, "7 red boats\n" * 5, "val.txt")

    def train(name, text):
        run = start(tmp_path / name, Corpus.read(write_text(tmp_path, text, f"{name}.txt"), None, val), steps=1)
        finish(run)
        return Validation.of(meta_of(run.folder.last))

    one, other = train("one", TEXT), train("other", TEXT * 2)
    assert one.signature == other.signature
    assert "|split:file|" in one.signature
    assert one.in_words() == f"{val}, 59 characters"


def test_nothing_held_back_is_no_validation(validated):
    assert validated(val_fraction=0.0) is None
