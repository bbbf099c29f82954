"""Readings: the predictions are those that `evaluate` scores, and the looks add up to what is copied."""

import json

import numpy as np
import pytest
from fixtures_memory import END, in_documents, memory_model, some_grams, text_of

import charrnn
from charrnn.data.text import Text
from charrnn.errors import ConfigError, VocabError
from charrnn.insight.looks import MOST, largest
from charrnn.memory.memory import Memory
from charrnn.nn import model as net

TEXT = text_of(700)


def mean_of(model, text):
    """Return the bits per character by `evaluate`, with the memory if there is one."""
    result = model.evaluate(text)
    return (result.memory or result).bpc


@pytest.mark.parametrize(
    "settings",
    [
        {"memory": 0},
        {"memory": 0, "attention": 5},
        {},
        {"attention": 5, "cell": "gru"},
        {"dtype": "float32", "cell": "mlstm"},
        {"memory_from": "abcabcabc\n" * 9},
        {"documents": True},
        {"fitted_to": Text.of(TEXT).sha256},  # each prediction by the gate of its fold
    ],
    ids=str,
)
def test_predictions_are_those_that_are_evaluated(settings, computed_by):
    model = memory_model(**settings)
    text = in_documents(TEXT[:300], TEXT[300:]) if settings.get("documents") else TEXT
    reading = model.inspect(Text.of(text), top=3)
    assert reading.bits_per_char == pytest.approx(mean_of(model, Text.of(text)), rel=1e-5)
    assert len(reading) == len(reading.text) == len(reading.bits) == len(text) - text.startswith(END)
    right = reading.top_ids == reading.ids[:, None]
    hit = right.any(axis=1)
    np.testing.assert_allclose(-np.log2(reading.top_probs[right]), reading.bits[hit], rtol=1e-5)
    assert hit.any()
    assert not hit.all()
    predicted = ~np.isnan(reading.bits)
    assert predicted.sum() == len(text) - 1
    assert (np.diff(reading.top_probs[predicted], axis=1) <= 0).all()


def test_without_a_memory_the_predictions_are_those_of_a_trace():
    model = memory_model(memory=0)
    trace, reading = model.read(TEXT), model.inspect(TEXT, top=99)
    assert reading.symbols == trace.symbols
    assert np.array_equal(reading.ids, trace.ids)
    assert reading.text == TEXT
    assert np.isnan(reading.bits[0])
    assert (reading.top_ids[0] == -1).all()
    assert reading.expected(0) == []
    probs = np.zeros((len(TEXT) - 1, len(trace.symbols)))
    np.put_along_axis(probs, reading.top_ids[1:], reading.top_probs[1:], axis=1)
    np.testing.assert_allclose(probs, np.exp(trace.log_probs[:-1]), atol=1e-12)
    assert reading.looks == {}


def copied(reading, name, t):
    """Return the probability that is copied to each symbol at a position."""
    looks = reading.looks[name]
    seen = looks.at[t] >= 0
    assert (looks.at[t][seen] < t).all()
    assert (looks.share[t][~seen] == 0).all()
    assert (np.diff(looks.share[t]) <= 1e-7).all()
    return np.bincount(reading.ids[looks.at[t][seen]], looks.share[t][seen], len(reading.symbols))


@pytest.mark.parametrize(
    "settings", [{"memory": 0, "attention": 8}, {"size": 9}, {"size": 9, "documents": True}], ids=str
)
def test_looks_add_up_to_the_share_that_is_copied(settings, computed_by):
    """With fewer positions than are kept, the rest of a prediction is proportional to that of the net alone."""
    model = memory_model(**settings)
    text = Text.of(in_documents(TEXT[:100], TEXT[100:180])) if "documents" in settings else Text.of(TEXT[:180])
    reading = model.inspect(text, top=99)
    alone = memory_model(**settings | {"memory": 0}).inspect(text, top=99)
    (name,) = reading.looks
    for t in range(20, len(reading)):
        probs, net = (np.zeros(len(reading.symbols)) for _ in range(2))
        probs[reading.top_ids[t]], net[alone.top_ids[t]] = reading.top_probs[t], alone.top_probs[t]
        own = copied(reading, name, t)
        if name == "memory":
            np.testing.assert_allclose(own + (1 - own.sum()) * net, probs, atol=1e-6)
        assert 0 <= own.sum() < 1
        assert (own <= probs + 1e-6).all()
    if "documents" in settings:  # nothing is copied from the document before
        end = reading.text.index("\u2404")
        assert (reading.looks["memory"].at[end + 1] == -1).all()
        assert (reading.looks["memory"].at[end + 3][:2] > end).all()


def test_the_shares_of_attention_are_those_of_its_looks():
    model = memory_model(memory=0, attention=6)
    ids = model.checkpoint.vocab.encode(TEXT[:140])
    state = net.zero_state(model.checkpoint.model_config, 1)
    whole = net.looks(model.weights, ids[:, None], state)
    found = model.inspect(TEXT[:140]).looks["attention"]
    for t in (2, 5, 128, 129, 139):
        kept = whole.weights[t - 1, 0]
        order = np.argsort(-kept, kind="stable")
        np.testing.assert_allclose(found.share[t][:6], kept[order], rtol=1e-6)
        assert found.at[t][0] == t - 1 - order[0]
        assert ids[found.at[t][0]] == whole.ids[t - 1, 0, order[0]]


def test_the_memory_leaves_less_to_attention():
    alone, both = (memory_model(attention=6, memory=size).inspect(TEXT[:140]).looks for size in (0, None))
    left = both["attention"].share[2:].sum(axis=1) / alone["attention"].share[2:].sum(axis=1)
    assert (left < 0.999).all()
    np.testing.assert_allclose(left[:7], 1 - both["memory"].share[2:9].sum(axis=1), rtol=1e-5)  # of which all are kept


def test_an_earlier_text_takes_its_share_and_has_no_position():
    fresh, filled = (memory_model(memory_from=text).inspect(TEXT[:40]) for text in (None, TEXT))
    assert (fresh.looks["memory"].at[3][3:] == -1).all()
    assert filled.looks["memory"].share[3].sum() < fresh.looks["memory"].share[3].sum()


def test_ngram_models_leave_less_to_the_others():
    model = memory_model(attention=4)
    vocab = model.checkpoint.vocab
    model.__dict__["_memory"] = Memory(model.cache, some_grams(vocab.encode(TEXT), vocab.size))
    alone, mixed = memory_model(attention=4).inspect(TEXT), model.inspect(TEXT)
    for name in ("attention", "memory"):
        assert (mixed.looks[name].share.sum(axis=1)[2:] < alone.looks[name].share.sum(axis=1)[2:]).all()
    assert mixed.bits_per_char == pytest.approx(mean_of(model, TEXT), rel=1e-9)


def test_documents_and_their_activations():
    model = memory_model(documents=True)
    reading = model.inspect("abc\nde\n")  # a line is a document
    assert reading.text == "abc\u2404de\u2404"
    assert [reading.symbols[id_] for id_ in reading.ids[2:5]] == ["c", "<end>", "d"]
    assert not np.isnan(reading.bits).any()
    found = model.activations("abc\nde\n", ["layer0.h"])["layer0.h"]
    assert found.shape == (len(reading), 8)
    alone = model.read("de").states[1:, 0, 0]  # after its end mark
    np.testing.assert_allclose(found[4:6], alone, atol=1e-12)


def test_unknown_characters():
    model = memory_model()
    assert model.inspect("ab?c").text == "abc"
    assert model.activations("ab?c", ["layer0.h"])["layer0.h"].shape == (3, 8)
    with pytest.raises(VocabError, match="'\\?'"):
        model.inspect("ab?c", unknown="error")


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_without_predictions(text):
    reading = memory_model().inspect(text)
    assert len(reading) == len(text)
    assert reading.bits_per_char is None
    assert reading.to_dict()["chars"] == 0


def test_the_number_of_predictions():
    assert memory_model().inspect("ab", top=0).top_ids.shape == (2, 0)
    with pytest.raises(ConfigError, match="top must be at least 0, got -1"):
        memory_model().inspect("ab", top=-1)


def test_bytes_are_shown_one_by_one():
    model = memory_model(symbols="".join(map(chr, range(256))))
    object.__setattr__(model.checkpoint.vocab, "kind", "bytes")
    object.__setattr__(model.checkpoint.text_config, "bytes", True)
    assert model.inspect("ä\n").text == "Ã¤\n"


def test_a_reading_as_json():
    reading = memory_model().inspect("abcab", top=2)
    shown = json.loads(json.dumps(reading.to_dict()))
    assert shown["chars"] == 4
    assert shown["bits_per_char"] == pytest.approx(np.nanmean(reading.bits))
    first, second, *_ = shown["characters"]
    assert first == {"char": "a", "bits": None, "top": []}
    assert second["bits"] == pytest.approx(reading.bits[1])
    assert [each["char"] for each in second["top"]] == [reading.symbols[id_] for id_ in reading.top_ids[1]]
    assert isinstance(reading, charrnn.Reading)
    assert repr(reading) == f"Reading(5 characters: {reading.bits_per_char:.4f} bits per character)"


@pytest.mark.parametrize("most", [0, 1, 3, 4, 9])
def test_the_largest_come_first(most):
    values = np.array([[0.1, 0.5, 0.2, 0.2], [4, 3, 2, 1]])
    assert largest(values, most).tolist() == [row[:most] for row in ([1, 2, 3, 0], [0, 1, 2, 3])]


def test_looks_keep_ten():
    model = memory_model(size=50)
    looks = model.inspect(TEXT[:60]).looks["memory"]
    assert looks.at.shape == looks.share.shape == (60, MOST)
    assert (looks.at[50] >= 0).all()
