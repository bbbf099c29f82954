"""Runs that begin with an earlier model: its form of the text, its vocabulary, and weights for new symbols."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures_run import TEXT, finish, start, write_text

from charrnn import checkpoint as ckpt
from charrnn.api import LanguageModel
from charrnn.data.corpus import Corpus
from charrnn.data.text import END
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.training.finetune import adopt_text_form, grow_params, merge_vocabs


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"lowercase": True}, "--lowercase"), ({"normalize": "NFC"}, "--normalize"), ({"bytes": True}, "--bytes")],
)
def test_another_form_than_that_of_the_model_is_refused(settings, words):
    with pytest.raises(ConfigError, match=f"^{words} contradicts the model of --init-from"):
        adopt_text_form(settings, Vocab("ab"))
    assert adopt_text_form({"steps": 1}, Vocab("ab")) == {"steps": 1}
    assert adopt_text_form({}, Vocab("ab", normalize="NFC", lowercase=True)) == {"normalize": "NFC", "lowercase": True}


@pytest.mark.parametrize("form", [{"bytes": True}, {"lowercase": True}, {"normalize": "NFKC"}], ids=str)
@pytest.mark.parametrize("fine_tuned", [False, True])
def test_a_string_is_trained_on_by_the_ids_that_primes_have(tmp_path, form, fine_tuned):
    text = TEXT + "Éclair ﬁn é ÿ\n" * 20
    run = start(tmp_path / "run", Corpus.from_text(text, 0.0), val_fraction=0.0, steps=1, **form)
    finish(run)
    if fine_tuned:  # the form is the earlier model's, and nothing else names it
        earlier = tmp_path / "run" / "last.npz"
        run = start(tmp_path / "other", Corpus.from_text(text, 0.0), init_from=earlier, val_fraction=0.0, steps=1)
        finish(run)
    ids = run.training.stream.ids
    assert np.array_equal(ids[np.arange(len(ids))], run.vocab.encode(text))
    saved = ckpt.load(run.folder.last)
    assert {name: getattr(saved.text_config, name) for name in form} == form


def test_a_corpus_that_was_read_in_another_form_is_refused(tmp_path):
    finish(start(tmp_path / "run", bytes=True, steps=1))
    path = write_text(tmp_path, "Éclair\n" * 100)
    with pytest.raises(ConfigError, match=r"^--bytes contradicts the model of --init-from"):
        start(tmp_path / "other", path, init_from=tmp_path / "run" / "last.npz")


def test_a_vocabulary_is_extended_only_if_that_is_asked_for():
    earlier = Vocab("bd", (1, 1), (1, 1), ("unknown",))
    wanted = Vocab("abc", specials=("end",))
    assert merge_vocabs(earlier, wanted, True) == (Vocab("abcd", specials=("end", "unknown")), [])
    with pytest.raises(ConfigError, match=r"has no symbol for end: add it with --extend-vocab"):
        merge_vocabs(earlier, wanted, False)
    with pytest.raises(ConfigError, match=r"^the text has 2 characters \('ac'\) that .* lacks: add them with"):
        merge_vocabs(Vocab("bd"), Vocab("abc"), False)


def test_characters_that_are_learned_as_unknown_are_named():
    earlier = Vocab("bd", specials=("unknown",))
    merged, notes = merge_vocabs(earlier, Vocab("abd" + "".join(map(chr, range(200, 300)))), False)
    assert merged == earlier
    first = "a" + "".join(map(chr, range(200, 239)))
    assert notes == [
        f"the text has 101 characters ({first!r}) that the model of --init-from lacks, learned as unknown: "
        "--extend-vocab adds them"
    ]
    assert merge_vocabs(earlier, Vocab("bd"), False) == (earlier, [])


def test_fine_tuning_keeps_attention(tmp_path):
    finish(start(tmp_path / "first", attention=9))
    options = {"init_from": tmp_path / "first" / "last.npz", "extend_vocab": True, "steps": 3}
    run = start(tmp_path / "more", Corpus.from_text(f"水{TEXT}", 0.1), **options)
    finish(run)
    saved = ckpt.load(run.folder.last)
    assert saved.model_config.attention == 9
    assert not np.array_equal(saved.params["attention.W"], ckpt.load(options["init_from"]).params["attention.W"])
    with pytest.raises(ConfigError, match=r"^--attention 8 contradicts the model of --init-from, which has 9"):
        start(tmp_path / "other", init_from=options["init_from"], attention=8)


def test_notes_on_a_model_that_is_extended_are_true(tmp_path):
    finish(start(tmp_path / "first"))
    options = {"init_from": tmp_path / "first" / "last.npz", "extend_vocab": True, "steps": 1}
    text = TEXT[:200]
    run = start(tmp_path / "unknown", Corpus.from_text(text, 0), min_count=5, val_fraction=0.0, **options)
    run.close()
    assert any(text.count(char) < 5 for char in set(text))
    assert run.notes[:2] == [
        "new to the model, starting at the mean of its other symbols: the unknown symbol",
        "no character is rarer than --min-count 5, so the unknown symbol cannot be learned",
    ]
    run = start(tmp_path / "both", Corpus.from_text(f"{END}{TEXT}水{END}", 0), split_documents="files", **options)
    run.close()
    assert run.notes[0].endswith("symbols: 1 character ('水'), the end symbol")


@pytest.mark.parametrize("extend", [True, False])
def test_a_model_of_documents_does_not_go_on_with_running_text(extend):
    earlier = Vocab("ab", specials=("end",))
    with pytest.raises(ConfigError, match="learned document ends, and this text is not split into documents"):
        merge_vocabs(earlier, Vocab("ab"), extend)
    assert merge_vocabs(earlier, Vocab("ab", specials=("end",)), extend) == (earlier, [])


@pytest.mark.parametrize("embed_size", [0, 6])
def test_new_symbols_take_little_from_the_old_ones(tmp_path, embed_size):
    finish(start(tmp_path / "run", steps=40, embed_size=embed_size))
    saved = ckpt.load(tmp_path / "run" / "last.npz")
    vocab, _ = merge_vocabs(saved.vocab, Vocab("水火", specials=("end",)), True)
    config = replace(saved.model_config, vocab_size=vocab.size)
    grown, _ = grow_params(saved, vocab, config)
    before = LanguageModel(saved).evaluate(TEXT).nats_per_char
    after = LanguageModel(replace(saved, params=grown, vocab=vocab, model_config=config)).evaluate(TEXT).nats_per_char
    assert before < after < before + np.log(vocab.size / saved.vocab.size)
