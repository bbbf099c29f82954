"""Predictions: of a classifier, its net's, whatever is read beside a text; by models, those of `score --best`."""

import numpy as np
import pytest

from charrnn.classification.ngrams import ClassNGrams
from charrnn.classification.prediction import ByModels, Classifier, Member
from charrnn.classification.texts import Texts
from charrnn.config import ClassifierConfig, ModelConfig
from charrnn.data.items import text_reader
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.evaluation.scoring import Scored
from charrnn.evaluation.several import best_of
from charrnn.nn import classifier
from charrnn.nn.functional import log_softmax

TEXTS = ["abcab", "c", "", "bca" * 30, "abcab", "xyz", "a\u00e9b", "cab"]


def classifier_of(specials=(), max_chars=40, seed=0, **settings):
    """Return an untrained classifier whose labels differ clearly, with n-grams if the settings have them."""
    config = ClassifierConfig(labels=("one", "two", "three"), max_chars=max_chars, **settings)
    model = ModelConfig(3 + len(specials), hidden_size=6, num_layers=2, cell="gru", embed_size=4)
    params = classifier.init_params(model, config, np.random.default_rng(seed))
    params = {name: 3 * array for name, array in params.items()}
    vocab, ngrams = Vocab("abc", specials=specials), None
    if config.ngrams:
        learned = Texts.of(vocab, ["abc", "bcaa", "cab", "abcab"], max_chars)
        ngrams = ClassNGrams.of(learned, np.array([0, 1, 2, 1]), 3, config.ngrams)
    return Classifier(model, config, params, vocab, ngrams=ngrams)


def one_by_one(made, texts):
    """Return the log-probabilities of each text, by the forward pass that trains."""
    rows = []
    for text in texts:
        ids = made.vocab.encode(text[: made.config.max_chars], "skip")[:, None]
        found = [classifier.forward(net, ids, np.array([len(ids)]))[0] for net in made.weights]
        logits = (made.config.net_factor or 1.0) * np.log(np.mean([np.exp(log_softmax(own)) for own in found], axis=0))
        if made.ngrams is not None:
            logits += made.config.ngram_factor * made.ngrams.scores(ids, np.array([len(ids)]))
        rows.append(log_softmax(logits)[0])
    return np.array(rows)


@pytest.mark.parametrize("pool", ["max", "mean", "last"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bidirectional": False},
        {"nets": 3},
        {"net_factor": 0.4},
        {"nets": 2, "net_factor": 0.4, "ngrams": 3, "ngram_factor": 0.7},
    ],
)
def test_a_text_is_read_as_if_it_were_alone(pool, settings):
    made = classifier_of(pool=pool, **settings)
    known = [text for text in TEXTS if set(text) & set("abc")]
    (found,) = made.predict_blocks([known], threads=1)
    np.testing.assert_allclose(found, one_by_one(made, known), atol=1e-5)
    assert np.ptp(found[:, 0]) > 0.1


def test_blocks_keep_their_order_and_repeated_texts():
    made = classifier_of()
    (whole,) = made.predict_blocks([TEXTS], threads=1)
    np.testing.assert_array_equal(whole[0], whole[4])
    blocks = [*made.predict_blocks([TEXTS[:3], [], TEXTS[3:]], threads=2, ahead=True)]
    assert [len(block) for block in blocks] == [3, 0, 5]
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr("charrnn.classification.prediction._MOST_TEXTS", 2)
    made = classifier_of()
    one, two = (next(made.predict_blocks([TEXTS * 3], threads=threads)) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_text_without_a_known_character_has_no_prediction():
    (found,) = classifier_of().predict_blocks([["", "xyz", "a"]], threads=1)
    assert np.isnan(found).all(axis=1).tolist() == [True, True, False]
    (found,) = classifier_of(specials=("unknown",)).predict_blocks([["", "xyz", "a"]], threads=1)
    assert np.isnan(found).all(axis=1).tolist() == [True, False, False]


def test_a_text_is_cut_and_unknown_characters_are_left_out():
    made = classifier_of(max_chars=4)
    (found,) = made.predict_blocks([["abca", "abcabbb", "a-bca", "ab-ca"]], threads=1)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[2], found[3], atol=1e-6)  # both are "abc"
    assert abs(found[0] - found[2]).max() > 1e-3


def test_lines_of_bytes_are_decoded():
    made = classifier_of()
    (found,) = made.predict_blocks([["abc", b"abc", b"abc\r"]], threads=1)
    np.testing.assert_allclose(found[1:], found[[0, 0]], atol=1e-6)


def test_progress_counts_the_different_texts():
    seen = []
    [*classifier_of().predict_blocks([TEXTS], threads=1, progress=lambda done, of: seen.append((done, of)))]
    assert seen[-1] == (7, 7)


def test_the_threads_are_checked_at_once():
    with pytest.raises(ConfigError):
        classifier_of().predict_blocks([], threads=0)


class Fixed:
    """A language model with these scores."""

    def __init__(self, **scores):
        self.scores = scores

    def score_blocks(self, blocks, **_):
        for block in blocks:
            yield [Scored(text, 3, *self.scores[text]) for text in block]


def by_models(**scores):
    """Return a predictor by models; the label of each is its name without its last letter."""
    read = text_reader("utf-8", Vocab("abc"))
    return ByModels(tuple(Member(name[:-1], Fixed(**own), read) for name, own in scores.items()))


def test_the_most_probable_model_gives_a_text_its_label():
    found = by_models(
        en1={"a": (-3.0, 0), "b": (-9.0, 0)},
        de1={"a": (-4.0, 0), "b": (-2.0, 0)},
        en2={"a": (-9.0, 0), "b": (-1.0, 0)},  # the best of both counts
    )
    assert found.labels == ("en", "de")
    (log_probs,) = found.predict_blocks([["a", b"b"]])
    np.testing.assert_allclose(np.exp(log_probs[0]), np.exp([-3, -4]) / np.exp([-3, -4]).sum(), rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs[1]), np.exp([-1, -2]) / np.exp([-1, -2]).sum(), rtol=1e-5)


def test_a_model_is_charged_for_unknown_characters_as_for_the_best_score():
    scores = {"en1": {"a": (-1.0, 2)}, "de1": {"a": (-20.0, 0)}}
    (log_probs,) = by_models(**scores).predict_blocks([["a"]])
    best, _ = best_of([Scored("a", 3, *scores[name]["a"]) for name in scores])
    assert log_probs[0].argmax() == best == 1


def test_a_text_that_no_model_scores_has_no_prediction():
    (log_probs,) = by_models(en1={"": (None, 0), "a": (None, 1)}, de1={"": (None, 0), "a": (-3.0, 0)}).predict_blocks(
        [["", "a"]]
    )
    assert np.isnan(log_probs).all(axis=1).tolist() == [True, False]
    assert log_probs[1].argmax() == 1
