"""Baselines: what they learn from, what they are scored on, and how n is chosen."""

import bz2
import gzip
import lzma
import math
import os
from dataclasses import replace

import numpy as np
import pytest
from fixtures_run import TEXT, finish, start, write_text

import charrnn
from charrnn.api import LanguageModel
from charrnn.config import STDIN
from charrnn.data.corpus import Corpus
from charrnn.data.text import END, Text
from charrnn.data.vocab import Vocab
from charrnn.errors import CorpusError, VocabError
from charrnn.evaluation import baselines
from charrnn.evaluation.baselines import Baselines, measure
from charrnn.memory.ngram import NGrams
from charrnn.nn.functional import bits

pytestmark = pytest.mark.usefixtures("no_sync")

VOCAB = Vocab.from_text(TEXT, "水é")
TRAIN, VAL, NEW = TEXT[:800], TEXT[800:950], "12 green boats and a é水é\n" * 3
SIZES = {
    "gzip": lambda data: len(gzip.compress(data, 9)),
    "bzip2": lambda data: len(bz2.compress(data, 9)),
    "xz": lambda data: len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
}


def known(text):
    """Return the text without what the vocabulary lacks."""
    return VOCAB.decode(VOCAB.encode(text, "skip"))


def reached(train=TRAIN, val=VAL, text=NEW):
    """Return the baselines of these texts."""
    return measure(*(VOCAB.encode(part, "skip") for part in (train, val, text)), VOCAB)


def ngram_nats(train, text):
    """Return the nats per character of the n-gram models, for each n from 1 on."""
    text = VOCAB.encode(text, "skip")
    return NGrams.of(VOCAB.encode(train), VOCAB.size).nats(text) / (len(text) - 1)


# What they learn from and are scored on


@pytest.mark.parametrize("name", SIZES)
def test_a_compressor_is_charged_the_bits_that_the_text_adds_after_its_first_character(name):
    size, text = SIZES[name], known(NEW)
    train = "".join(np.random.default_rng(2).choice(TRAIN.split("boats"), 3000))  # not the same at every level
    added = size((train + text).encode()) - size((train + text[:1]).encode())
    assert added > 0
    nats = reached(train).nats_per_char[name]
    assert nats == pytest.approx(8 * added / (len(text) - 1) * math.log(2), rel=1e-12)


@pytest.mark.parametrize("name", SIZES)
def test_the_pieces_that_a_compressor_is_given_change_no_figure(monkeypatch, name):
    whole = reached().nats_per_char[name]
    monkeypatch.setattr(baselines, "CHUNK", 7)
    assert reached().nats_per_char[name] == whole


def test_a_text_that_was_learned_from_adds_next_to_nothing():
    text = "".join(np.random.default_rng(1).choice(list(VOCAB.symbols), 4000))
    again, other = reached(text, "", text), reached(text, "", text[::-1])
    for name in ("gzip", "xz", "ngram"):
        assert again.nats_per_char[name] < 0.1 * other.nats_per_char[name]


def test_no_more_is_read_than_the_last_of_a_long_training_text(monkeypatch):
    short = reached(TRAIN[-300:], VAL[:300])
    assert (short.train_chars, short.train_total) == (300, 300)
    monkeypatch.setattr(baselines, "READ", 300)
    long = reached()
    assert (long.train_chars, long.train_total) == (300, 800)
    assert long.nats_per_char == short.nats_per_char


def test_no_more_is_read_of_a_long_text_to_choose_n_on_but_all_is_scored(monkeypatch):
    val = VAL + VAL[::-1] * 5
    chosen = ngram_nats(TRAIN[-150:], VAL).argmin() + 1
    assert chosen != ngram_nats(TRAIN[-150:], val).argmin() + 1  # or this would show nothing
    monkeypatch.setattr(baselines, "READ", len(VAL))
    assert reached(val=val).n == chosen
    on_text = ngram_nats(TRAIN[-150:], NEW * 5)
    assert reached(val=val, text=NEW * 5).nats_per_char["ngram"] == pytest.approx(on_text[chosen - 1], rel=1e-12)


# n


def test_n_is_the_best_one_on_the_validation_part():
    text = NEW[::-1]
    on_val, on_text = ngram_nats(TRAIN, VAL), ngram_nats(TRAIN, text)
    assert on_val.argmin() != on_text.argmin()  # or this would show nothing
    result = reached(text=text)
    assert (result.n, result.n_chosen_on) == (on_val.argmin() + 1, "the validation split")
    assert result.nats_per_char["ngram"] == pytest.approx(on_text[on_val.argmin()], rel=1e-12)


@pytest.mark.parametrize("val", ["", "1"])
def test_where_nothing_else_can_be_scored_n_is_chosen_on_the_text_and_that_is_reported(val):
    on_text = ngram_nats(TRAIN, NEW)
    result = reached(val=val)
    assert (result.n, result.n_chosen_on) == (on_text.argmin() + 1, "this text")
    assert result.nats_per_char["ngram"] == pytest.approx(on_text.min(), rel=1e-12)


@pytest.mark.parametrize("text", ["", "1", "?"])
@pytest.mark.parametrize("val", ["", VAL])
def test_where_nothing_is_scored_there_is_no_figure(text, val):
    result = reached(val=val, text=text)
    assert set(result.nats_per_char.values()) == {None}
    assert result.to_dict()["xz"] == {"nats_per_char": None, "bpc": None}


def test_the_figures_have_the_names_that_json_shows():
    by_name = reached().to_dict()
    assert list(by_name) == ["train_chars", "train_total", "n", "n_chosen_on", "ngram", "gzip", "bzip2", "xz"]
    for name, nats in reached().nats_per_char.items():
        assert by_name[name] == {"nats_per_char": nats, "bpc": bits(nats)}
        assert nats > 0


# Of a model


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    """Return the model of a short run on a file."""
    folder = tmp_path_factory.mktemp("run")
    finish(start(folder / "run", write_text(folder), steps=2))
    return charrnn.load(folder / "run")


def test_a_model_is_compared_on_what_it_was_scored_on(lm):
    corpus = Corpus.from_text(TEXT)
    text = "12 green Ωboats\n"
    result = lm.baselines(text)
    assert isinstance(result, Baselines)
    assert result.train_chars == result.train_total == len(corpus.train)
    assert result == lm.baselines("12 green boats\n")
    vocab = lm.checkpoint.vocab
    ids = [vocab.encode(str(part)) for part in (corpus.train, corpus.val)]
    assert result == measure(*ids, vocab.encode("12 green boats\n"), vocab)
    assert result.n_chosen_on == "the validation split"
    with pytest.raises(VocabError, match="Ω"):
        lm.baselines(text, unknown="error")


def test_of_the_validation_part_itself_n_is_said_to_be_chosen_on_it(lm):
    result = lm.baselines(lm.validation_text())
    assert result.n_chosen_on == "this text"
    assert result == lm.baselines(str(lm.validation_text()))


def test_a_corpus_that_cannot_be_found_is_named(tmp_path):
    path = write_text(tmp_path)
    finish(start(tmp_path / "run", path, steps=2))
    lm = charrnn.load(tmp_path / "run")
    write_text(tmp_path, TEXT + "1")
    with pytest.raises(CorpusError, match="is not the text"):
        lm.baselines(TEXT)
    os.unlink(path)
    with pytest.raises(CorpusError, match="does not exist"):
        lm.baselines(TEXT)


@pytest.mark.parametrize("path", [None, STDIN])
def test_a_corpus_that_was_not_a_file_is_refused(lm, path):
    source = lm.checkpoint.source._replace(path=path)
    with pytest.raises(CorpusError, match="cannot be read again for baselines"):
        LanguageModel(replace(lm.checkpoint, source=source)).baselines(TEXT)


def test_compressors_are_given_a_character_for_each_special_symbol():
    vocab = Vocab("aé", specials=("end", "unknown"))
    ids = vocab.ids_of(Text.of(f"{END}aé{END}x{END}"))
    assert b"".join(baselines._utf8(ids, vocab)) == "\naé\n\ufffd\n".encode()
    data = Vocab("".join(map(chr, range(256))), specials=("end",), kind="bytes")
    assert b"".join(baselines._utf8(np.array([256, 255, 0, 256]), data)) == b"\n\xff\0\n"
