"""Vectors of lines: the states that they are made of, and that no line knows of those beside it."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.api import LanguageModel
from charrnn.checkpoint import Checkpoint
from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Source
from charrnn.data.vocab import Vocab
from charrnn.embedding import vectors
from charrnn.embedding.settings import POOLINGS, EmbedConfig
from charrnn.errors import ConfigError
from charrnn.nn import compiled, model

VOCABS = {
    "plain": Vocab("\nabcde"),
    "documents": Vocab("\nabcde", specials=("end",)),
    "no mark": Vocab("abcde"),
    "unknown symbol": Vocab("abcde", specials=("end", "unknown")),
    "bytes": Vocab("".join(map(chr, range(256))), kind="bytes"),
    "in a form": Vocab("\nabcdeä", normalize="NFC", lowercase=True),
    "backwards": Vocab("\nabcde", reverse=True),
}
LINES = ["", "a", "x", "ab", "axb", "A\u0308aB", "é", "edcba" * 19, "e" * 64, "abcde", "ab", "dd" * 16]


def language_model(vocab=VOCABS["documents"], **settings):
    """Return a model with random weights."""
    config = ModelConfig(vocab.size, **{"hidden_size": 6, "num_layers": 2, "embed_size": 3, **settings})
    params = model.init_params(config, np.random.default_rng(1))
    text_config = TextConfig(split_documents="lines" if vocab.end is not None else None)
    return LanguageModel(
        Checkpoint(
            config, TrainConfig(steps=1, seed=1), vocab, params, 0, Source(None, "00" * 32), text_config=text_config
        )
    )


def expected(lm, line, layers, pooling):
    """Return the vector of a line, from the states after each character."""
    vocab, config = lm.checkpoint.vocab, lm.checkpoint.model_config
    mark = [vocab.end] if vocab.end is not None else vocab.encode("\n").tolist() if "\n" in vocab.symbols else []
    text = vocab.encode(line, "skip").tolist()
    state, after = model.zero_state(config, 1), []
    for id_ in mark + text:
        model.step(lm.weights, np.array([id_]), state)
        after.append(model.hidden_state(lm.weights, state)[layers, 0, 0].reshape(-1).copy())
    own = np.array(after[len(mark) :] or after or [np.zeros(len(layers) * config.hidden_size)], np.float64)
    return {"mean": own.mean(axis=0), "max": own.max(axis=0), "last": own[-1]}[pooling]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("vocab", VOCABS.values(), ids=VOCABS)
def test_a_vector_is_of_the_states_at_the_lines_characters(vocab, pooling):
    lm = language_model(vocab)
    for layer, layers in ((0, [0]), ("top", [1]), ("all", [0, 1])):
        found = lm.embed(LINES, layer=layer, pooling=pooling)
        assert (found.shape, found.dtype) == ((len(LINES), 6 * len(layers)), np.float32)
        np.testing.assert_allclose(found, [expected(lm, line, layers, pooling) for line in LINES], atol=2e-6)


@pytest.mark.parametrize(
    "settings", [{"cell": "gru"}, {"cell": "lnmlstm"}, {"attention": 4}, {"dtype": "float64"}], ids=str
)
def test_any_cell_attention_and_precision(settings):
    lm = language_model(**settings)
    np.testing.assert_allclose(lm.embed(LINES), [expected(lm, line, [0, 1], "mean") for line in LINES], atol=2e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_vector_depends_on_no_other_line(computed_by, pooling):
    lm, rng = language_model(hidden_size=21), np.random.default_rng(1)
    lines = ["".join(rng.choice([*"abcde"], size)) for size in rng.integers(0, 90, 60)]
    alone = np.concatenate([lm.embed([line], pooling=pooling) for line in lines])
    if compiled.core():
        assert np.array_equal(lm.embed(lines, pooling=pooling), alone)
    else:
        np.testing.assert_allclose(lm.embed(lines, pooling=pooling), alone, atol=1e-6)


def test_neither_threads_nor_blocks_change_a_bit(monkeypatch):
    lm, lines = language_model(), LINES * 30
    whole = lm.embed(lines, threads=1)
    monkeypatch.setattr(vectors, "_BLOCK", 500)
    assert np.array_equal(lm.embed(lines, threads=3), whole)
    assert np.array_equal(np.concatenate([*lm.embed_blocks([lines[:7], [], lines[7:]])]), whole)


def test_a_long_line_is_read_in_windows(monkeypatch):
    lm, line = language_model(), "abcde" * 1000
    shapes = []
    outputs = model.outputs
    monkeypatch.setattr(model, "outputs", lambda w, ids, state: shapes.append(ids.shape) or outputs(w, ids, state))
    np.testing.assert_allclose(
        lm.embed([line, "a"], layer=0), [expected(lm, each, [0], "mean") for each in (line, "a")], atol=2e-6
    )
    assert max(T * B for T, B in shapes) <= vectors._WINDOW * 2
    assert shapes[-1] == (5001 % vectors._WINDOW, 1)


def test_equal_lines_are_read_once(monkeypatch):
    lm, rows = language_model(), []
    outputs = model.outputs
    monkeypatch.setattr(model, "outputs", lambda w, ids, state: rows.append(ids.shape[1]) or outputs(w, ids, state))
    found = lm.embed(["ab", "cd", "ab"] * 9, layer=0)
    assert rows == [2]
    assert np.array_equal(found[:3], found[-3:])


def test_blocks_are_taken_as_they_are_needed_with_one_thread():
    def blocks():
        yield ["a"]
        raise AssertionError("taken too early")

    assert len(next(language_model().embed_blocks(blocks(), threads=1))) == 1


def test_blocks_bound_the_characters_and_the_lines():
    lines = [*["a"] * 9000, "b" * 200_000, "c"]
    sizes = [len(block) for block in vectors.in_blocks(lines, len)]
    assert sum(sizes) == len(lines)
    assert max(sizes) <= vectors._BLOCK // vectors._SHORTEST


def test_no_lines_have_no_vectors():
    assert language_model().embed([]).shape == (0, 12)
    assert language_model().embed(iter(["a"]), layer=1).shape == (1, 6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": 9}, "--layer 9: the model has 2 layers, 0 to 1: choose one, or top"),
        ({"layer": "second"}, "--layer must be a layer's number from 0, top or all, got second"),
        ({"layer": -1}, "--layer must be a layer's number from 0, top or all, got -1"),
        ({"pooling": "sum"}, "--pool must be mean, last or max, got 'sum'"),
        ({"threads": 0}, "--threads must be at least 1, got 0"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        language_model().embed(["a"], **settings)


@pytest.mark.parametrize("lines", ["abc", 5, ["a", 5]], ids=str)
def test_lines_are_strings(lines):
    with pytest.raises(ConfigError, match=r"^embed needs "):
        language_model().embed(lines)


def test_one_layer_is_named():
    with pytest.raises(ConfigError, match="the model has one layer, 0: choose one, or top"):
        EmbedConfig("1").layers(1)


def test_a_memory_changes_nothing():
    lm = language_model()
    assert np.array_equal(replace(lm, memory=99).embed(LINES), lm.embed(LINES))
