"""Memorisation: the share of n-grams that a text copies, the longest copy, and its place in the files."""

from pathlib import Path

import numpy as np
import pytest

from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus
from charrnn.data.text import Text
from charrnn.insight.memorisation import Copy, Place, Shared, memorisation, place_of

TRAIN = "the cat sat on the mat.\nthe dog lay on the log.\n"


def test_shares_are_of_all_ngrams_together():
    found = memorisation(["the cat", "xx"], ["on the mat"], Text.of(TRAIN), sizes=(2, 4, 8))
    assert found.shared == [Shared(2, 6 / 7, 1.0), Shared(4, 1.0, 1.0), Shared(8, None, 1.0)]
    assert memorisation(["catdog"], [], Text.of(TRAIN), sizes=(3,)).shared == [Shared(3, 2 / 4, None)]


def test_the_longest_copy_is_found_with_its_places():
    found = memorisation(["qqq", "a dog lay on the mat!"], ["xcat saz"], Text.of(TRAIN), sizes=(2, 4))
    assert found.longest == Copy(" dog lay on the ", sample=1, begin=1, at=27)
    assert found.real_longest == len("cat sa")


def test_a_copy_shorter_than_the_shortest_ngram_is_none():
    found = memorisation(["cat"], [], Text.of(TRAIN), sizes=(4, 8))
    assert (found.longest, found.real_longest) == (None, None)


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_looking_for_every_passage_finds(seed):
    rng = np.random.default_rng(seed)
    train = "".join(rng.choice(list("abc"), 500))
    samples = ["".join(rng.choice(list("abc"), 40)) + train[at : at + 3 * seed] for at in (100, 200, 300)]
    longest = max(
        (
            sample[at:end]
            for sample in samples
            for at in range(len(sample))
            for end in range(at + 2, len(sample) + 1)
            if sample[at:end] in train
        ),
        key=len,
    )
    found = memorisation(samples, [], Text.of(train), sizes=(2, 5)).longest
    assert len(found.text) == len(longest)
    assert samples[found.sample][found.begin :].startswith(found.text)
    assert train[found.at :].startswith(found.text)


@pytest.mark.parametrize(("separator", "train"), [("\n", TRAIN), ("\ud800", "\ud800ab\ud800cde\ud800")])
def test_whole_lines_or_documents_that_repeat_the_training_text_are_counted(separator, train):
    known = next(filter(None, train.split(separator)))
    found = memorisation([known, "z" * len(known)], [], Text.of(train), sizes=(2,))
    assert found.repeated == 0.5


def corpus_of(folder, *files, **config):
    paths = []
    for number, text in enumerate(files):
        path = folder / f"{number}.txt"
        path.write_bytes(text.encode())
        paths.append(str(path))
    config = TextConfig(**config)
    return Corpus.read(paths, config), config


def test_a_passage_is_found_in_its_file_and_line(tmp_path):
    corpus, config = corpus_of(tmp_path, "one\ntwo\n", "three\nfour\nfive and a long end of the text\n")
    for passage, place in (("two", ("0.txt", 2)), ("three", ("1.txt", 1)), ("our\nfive", ("1.txt", 2))):
        at = str(corpus.train).index(passage)
        found = place_of(at, passage, corpus.source, config)
        assert found == Place(str(tmp_path / place[0]), place[1])


def test_a_passage_that_continues_in_the_next_file_is_placed_where_it_begins(tmp_path):
    corpus, config = corpus_of(tmp_path, "one\ntwo\n", "three\nfour\nfive and a long end of the text\n")
    assert place_of(4, "two\nthree", corpus.source, config) == Place(str(tmp_path / "0.txt"), 2)


def test_a_passage_that_is_no_longer_there_has_no_place(tmp_path):
    corpus, config = corpus_of(tmp_path, "one\ntwo\nand more of it")
    Path(corpus.source.paths[0]).write_text("something else, long enough")
    assert place_of(4, "two", corpus.source, config) is None
    assert place_of(4000, "two", corpus.source, config) is None


def test_documents_have_no_place(tmp_path):
    corpus, config = corpus_of(tmp_path, "one\ntwo\nthree\n", split_documents="lines")
    assert place_of(1, "one", corpus.source, config) is None
