"""The n-grams of classes: counted as by hand, and weighed as scikit-learn's naive Bayes weighs them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from charrnn import checkpoint as ckpt
from charrnn.classification import ngrams as module
from charrnn.classification.ngrams import ClassNGrams, _keys_of
from charrnn.classification.prediction import load_classifier
from charrnn.classification.run import ClassifierRun
from charrnn.classification.texts import Texts
from charrnn.data.padding import pad
from charrnn.data.vocab import Vocab
from charrnn.errors import CheckpointError

from .test_run import TEXTS, refusal, rewritten, write

VOCAB = Vocab("abcd", specials=("end",))
WORDS = ["abca", "b", "", "ddab", "cabbage"[:4], "bcd" * 5, "dd"]
LABELS = np.array([0, 1, 1, 2, 0, 2, 1])


def encoded(texts):
    return Texts.of(VOCAB, texts, 100)


def counted(longest=3, texts=WORDS, labels=LABELS, classes=3):
    return ClassNGrams.of(encoded(texts), labels, classes, longest)


def grams_of(text, longest):
    """Return the n-grams of a text between its marks."""
    marked = f"#{text}#"
    return [marked[at : at + n] for n in range(1, longest + 1) for at in range(len(marked) - n + 1)]


def by_hand(longest, texts, kept=None):
    """Return what the n-grams of each text say, summed up one by one."""
    counts = [
        Counter(
            gram
            for text, label in zip(WORDS, LABELS, strict=True)
            if label == number
            for gram in grams_of(text, longest)
        )
        for number in range(3)
    ]
    total = sum(counts, Counter())
    kept = [gram for gram, _ in total.most_common(kept)]
    weights = {
        gram: np.log([(own[gram] + 0.1) / (sum(own[each] for each in kept) + 0.1 * len(kept)) for own in counts])
        for gram in kept
    }
    said = [
        sum((weights[gram] - weights[gram].mean() for gram in grams_of(text, longest) if gram in weights), np.zeros(3))
        for text in texts
    ]
    return np.array(said)


def scored(grams, texts):
    found = encoded(texts)
    return grams.scores(*found.padded(np.arange(len(texts))))


@pytest.mark.parametrize("longest", [1, 2, 3, 5, 10])
def test_scores_are_those_summed_by_hand(longest):
    texts = [*WORDS, "abcd", "dcba", "a", ""]
    np.testing.assert_allclose(scored(counted(longest), texts), by_hand(longest, texts), rtol=1e-5, atol=1e-4)


def test_weights_are_those_of_multinomial_naive_bayes():
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="the extra baselines is not installed")
    from sklearn.naive_bayes import MultinomialNB

    counter = text.CountVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False)
    model = MultinomialNB(alpha=0.1, fit_prior=False).fit(counter.fit_transform(f"#{word}#" for word in WORDS), LABELS)
    others = ["abdc", "cab", "dd", "bbbbaa"]
    expected = model.predict_log_proba(counter.transform(f"#{word}#" for word in others))
    found = scored(counted(4), others).astype(np.float64)
    found -= np.logaddexp.reduce(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_different_ngrams_have_different_keys():
    """Of all texts of up to four symbols, every n-gram is a key of its own, whatever surrounds it."""
    every = [
        [],
        *([a] for a in range(6)),
        *([a, b, c, d] for a in range(6) for b in range(6) for c in range(6) for d in range(6)),
    ]
    keys, sizes = _keys_of(*pad([np.array(ids, np.intp) for ids in every]), 4)
    names = [tuple(ids[at : at + n]) for ids in every for n in range(1, 5) for at in range(len(ids) - n + 1)]
    assert sizes.tolist() == [0, *[1] * 6, *[10] * 6**4]
    assert len(keys) == len(names)
    assert len({*keys.tolist()}) == len({*names}) == 6 + 6**2 + 6**3 + 6**4
    assert len({*zip(keys.tolist(), names, strict=True)}) == len({*names})


def test_ids_that_were_not_counted_say_nothing():
    grams = counted()
    ids, lengths = pad(
        [np.array([9, 9]), np.array([4, 0, 1, 2, 0, 4]), np.array([4, 0, 9, 1, 4]), np.array([], np.intp)]
    )
    found = grams.scores(ids, lengths)
    assert not found[[0, 3]].any()
    np.testing.assert_allclose(found[1], scored(grams, ["abca"])[0], rtol=1e-6)
    assert found[2].any()


def test_of_too_many_the_most_frequent_are_kept(monkeypatch):
    for limit in ("_MOST", "_MOST_NUMBERS"):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 7 if limit == "_MOST" else 23)
            grams = counted(2)
            assert grams.weights.shape == (7, 3)
            assert (np.diff(grams.keys) > 0).all()
    frequent = Counter(gram for text in WORDS for gram in grams_of(text, 2)).most_common()
    assert frequent[4][1] > frequent[5][1]
    monkeypatch.setattr(module, "_MOST", 5)
    np.testing.assert_allclose(scored(counted(2), WORDS), by_hand(2, WORDS, kept=5), rtol=1e-5, atol=1e-4)


def test_texts_are_counted_up_to_a_limit(monkeypatch):
    expected = counted(3, WORDS[:4], LABELS[:4])
    monkeypatch.setattr(module, "_COUNTED", 6 + 3 + 2 + 6)  # with their marks
    found = counted(3)
    np.testing.assert_array_equal(found.keys, expected.keys)
    np.testing.assert_array_equal(found.weights, expected.weights)


def test_pieces_change_nothing(monkeypatch):
    whole = counted(5)
    expected = scored(whole, WORDS)
    for limit in ("_ADDED", "_READ_TEXTS", "_READ_CHARS"):
        monkeypatch.setattr(module, limit, 4)
    again = counted(5)
    np.testing.assert_array_equal(again.keys, whole.keys)
    np.testing.assert_array_equal(again.weights, whole.weights)
    np.testing.assert_allclose(scored(again, WORDS), expected, rtol=1e-5, atol=1e-4)


def test_a_label_without_texts_is_no_error():
    grams = counted(2, classes=4)
    assert np.isfinite(grams.weights).all()
    assert scored(grams, ["abca"]).argmax() == 0


# In a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a finished run with n-grams, and its folder."""
    folder = tmp_path_factory.mktemp("ngrams")
    settings = {"hidden_size": 4, "steps": 2, "ngrams": 3, "threads": 1, "val_fraction": 0.3, "seed": 1}
    made = ClassifierRun.start([write(folder)], folder / "run", settings=settings)
    for _ in made.events():
        pass
    made.close()
    return made


def test_they_are_saved_with_their_factor_and_read_again(run):
    saved = ckpt.load_classifier(run.folder.best)
    assert saved.classifier.ngram_factor > 0
    expected = run.training.ngrams
    assert {name: array.dtype.name for name, array in saved.ngrams.items()} == {"keys": "uint64", "weights": "float32"}
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(saved.ngrams[name], array)
    made = load_classifier(run.folder.path)
    np.testing.assert_array_equal(made.ngrams.weights, expected.weights)
    texts = [line.split("\t") for line in TEXTS.splitlines()]
    right = [
        label == own for (label, _), (own, _) in zip(texts, made.predict([text for _, text in texts]), strict=True)
    ]
    assert np.mean(right) > 0.9  # two steps teach the net nothing
    alone = replace(made, ngrams=None)
    assert (
        np.mean(
            [
                label == own
                for (label, _), (own, _) in zip(texts, alone.predict([text for _, text in texts]), strict=True)
            ]
        )
        < 0.6
    )


def test_the_state_to_resume_from_has_none(run):
    assert ckpt.load(run.folder.last).ngrams == {}


def test_without_validation_they_are_left_out(tmp_path):
    settings = {"hidden_size": 4, "steps": 1, "ngrams": 3, "val_fraction": 0.0, "threads": 1}
    made = ClassifierRun.start([write(tmp_path)], tmp_path / "run", settings=settings)
    made.close()
    assert "n-grams are left out: their share is fitted to a validation split, and there is none" in made.notes
    assert made.training.ngrams is None


ARRAYS = {
    "no keys": lambda arrays: arrays.pop("ngrams/keys"),
    "no weights": lambda arrays: arrays.pop("ngrams/weights"),
    "nothing": lambda arrays: [arrays.pop(f"ngrams/{name}") for name in ("keys", "weights")],
    "no n-grams": lambda arrays: arrays.update(
        {f"ngrams/{name}": arrays[f"ngrams/{name}"][:0] for name in ("keys", "weights")}
    ),
    "more keys": lambda arrays: arrays.update({"ngrams/keys": np.arange(3, dtype=np.uint64)}),
    "signed keys": lambda arrays: arrays.update({"ngrams/keys": arrays["ngrams/keys"].astype(np.int64)}),
    "large weights": lambda arrays: arrays.update({"ngrams/weights": arrays["ngrams/weights"].astype(np.float64)}),
    "a weight that is no number": lambda arrays: arrays["ngrams/weights"].fill(np.nan),
    "labels of others": lambda arrays: arrays.update({"ngrams/weights": arrays["ngrams/weights"][:, :2]}),
    "an array of another name": lambda arrays: arrays.update({"ngrams/other": np.zeros(3, np.float32)}),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_damaged_arrays_are_refused_in_one_line(tmp_path, run, name):
    with np.load(run.folder.best) as archive:
        arrays = {own: archive[own] for own in archive.files}
    ARRAYS[name](arrays)
    np.savez(tmp_path / "x.npz", **arrays)
    assert refusal(CheckpointError, ckpt.load, tmp_path / "x.npz").startswith(f"{tmp_path / 'x.npz'} is damaged: ")


@pytest.mark.parametrize("own", [{"ngrams": 0}, {"ngram_factor": None}, {"ngram_factor": 0.0}, {"ngrams": 11}])
def test_settings_that_contradict_the_arrays_are_refused(tmp_path, run, own):
    path = rewritten(run.folder.best, tmp_path / "x.npz", lambda meta: meta["classifier"].update(own))
    assert refusal(CheckpointError, ckpt.load, path).startswith(f"{path} is damaged: ")
