"""What is settled before a run: how many threads serve it, which symbols it learns, and what it begins with."""

import os

import numpy as np
import pytest
from fixtures_run import TEXT, finish, start, stop_at, write_text
from threadpoolctl import threadpool_info, threadpool_limits

import charrnn
from charrnn import checkpoint as ckpt
from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus
from charrnn.data.text import END
from charrnn.errors import ConfigError, CorpusError
from charrnn.evaluation import whole as evaluate
from charrnn.parallel.plan import available_threads
from charrnn.system.blas import blas
from charrnn.training import setup
from charrnn.training.loop import Stepped
from charrnn.training.run import Run
from charrnn.training.setup import vocab_for

posix = pytest.mark.skipif(os.name != "posix", reason="elsewhere there is one process")


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_a_run_reads_its_text_as_the_settings_say(tmp_path):
    run = start(tmp_path / "run", batch_size=3, seq_len=9, seed=4, reset_rate=0.25)
    stream = run.training.stream
    assert (stream.batch_size, stream.seq_len, stream.seed, stream.reset_rate) == (3, 9, 4, 0.25)
    run.close()


def test_what_is_available_is_what_numpy_would_use_now():
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            assert available_threads() == threads


def test_a_run_keeps_to_its_threads_and_gives_them_back(tmp_path):
    with threadpool_limits(2, "blas"):
        run = start(tmp_path / "run", threads=1)
        assert blas_threads() == {2}
        seen = {(type(event), *blas_threads()) for event in run.events() if isinstance(event, Stepped)}
        run.close()
        assert seen == {(Stepped, 1)}
        assert blas_threads() == {2}


def test_runs_at_the_same_time_give_the_threads_back_in_any_order(tmp_path):
    with threadpool_limits(2, "blas"):
        runs = [start(tmp_path / name, threads=1) for name in ("one", "two")]
        going = [run.events() for run in runs]
        for events in going:
            next(events)
        for events, run in zip(going, runs, strict=True):  # the one that began first ends first
            assert blas_threads() == {1}
            events.close()
            run.close()
        assert blas_threads() == {2}


def test_the_number_is_kept_and_reused_and_another_one_is_told_of(tmp_path):
    with threadpool_limits(2, "blas"):
        run = start(tmp_path / "run", write_text(tmp_path), hidden_size=128, seq_len=20)
        stop_at(run, lambda event: isinstance(event, Stepped))
    assert ckpt.load(tmp_path / "run" / "last.npz").train_config.threads == 2
    again = Run.resume(tmp_path / "run")
    assert (again.training.config.threads, again.notes) == (2, [])
    again.close()
    other = Run.resume(tmp_path / "run", settings={"threads": 1})
    assert other.training.config.threads == 1
    assert "not bit for bit" in other.notes[0]
    finish(other)


@posix
@pytest.mark.parametrize(
    ("threads", "batch_size", "words"),
    [
        (2, 16, None),
        (4, 32, None),
        (4, 16, "only 2 of the threads get rows of their own, the others help with matrix products; --batch-size 32"),
        (2, 4, "--threads 2 with 4 batch rows: only 1 of the threads get rows of their own"),
        (5, 8, "--threads 5 on 4 cores: threads wait for one another; --threads 4 is faster"),
    ],
)
def test_threads_that_the_user_chose_without_cores_or_rows_for_them_are_noted(
    tmp_path, monkeypatch, threads, batch_size, words
):
    monkeypatch.setattr(setup, "cores", lambda: 4)
    run = start(tmp_path / "run", write_text(tmp_path), threads=threads, batch_size=batch_size, seq_len=5)
    run.close()
    found = [note for note in run.notes if "--threads" in note]
    assert len(found) == (words is not None)
    assert words is None or words in found[0]
    run = Run.resume(tmp_path / "run")
    run.close()
    assert not any("--threads" in note for note in run.notes)  # nobody chose them now


def test_half_gradients_of_one_process_are_noted(tmp_path):
    for half in (True, False):
        run = start(tmp_path / f"run{half}", half_gradients=half)
        run.close()
        assert any(note.startswith("--half-gradients has no effect without mpiexec") for note in run.notes) == half


def test_the_checkpoint_records_the_blas_and_its_kernel(tmp_path):
    library = blas()
    start(tmp_path / "run").close()
    versions = ckpt.load(tmp_path / "run" / "last.npz").versions
    assert versions.get("kernel") == library.kernel
    assert versions.get("blas", "").split() == [word for word in (library.name, library.version) if word]


def test_a_text_too_short_to_learn_from_is_refused_unless_the_length_is_given(tmp_path):
    short, enough = (Corpus.from_text(TEXT[:length], 0) for length in (99, 100))
    with pytest.raises(CorpusError, match=r"too short to learn from: 99 characters to train on; give at least 100, or"):
        start(tmp_path / "run", short, minutes=0.001, val_fraction=0.0)
    assert not (tmp_path / "run").exists()
    start(tmp_path / "run", enough, minutes=0.001, val_fraction=0.0).close()
    run = start(tmp_path / "other", short, val_fraction=0.0)
    run.close()
    assert run.notes == ["99 characters are too few to learn from: give at least 100"]


def test_attention_that_looks_back_further_than_the_text_is_refused(tmp_path):
    text = Corpus.from_text(TEXT[:200], 0)
    message = r"^--attention 200 looks back further than the 200 characters to train on: give at most 199$"
    with pytest.raises(ConfigError, match=message):
        start(tmp_path / "run", text, val_fraction=0.0, attention=200)
    start(tmp_path / "run", text, val_fraction=0.0, attention=199).close()


# The vocabulary


def test_rare_characters_become_the_unknown_symbol():
    corpus = Corpus.from_text("ab" * 9 + "c" * 2 + "xa" + "z", 0.05)
    assert str(corpus.val) == "az"
    assert vocab_for(corpus, TextConfig()).symbols == "abcxz"
    vocab = vocab_for(corpus, TextConfig(min_count=2))
    assert (vocab.symbols, vocab.specials) == ("abc", ("unknown",))
    assert vocab.counted(corpus.train).counts == (9, 9, 2)
    with pytest.raises(ConfigError, match="has no marks between documents"):
        vocab_for(corpus, TextConfig(split_documents="lines"))
    with pytest.raises(ConfigError, match="--min-count 10 leaves no character"):
        vocab_for(corpus, TextConfig(min_count=10))


def test_bytes_have_all_their_symbols_and_documents_an_end():
    plain, parted = Corpus.from_text("abc"), Corpus.from_text(f"{END}a{END}bb{END}", 0)
    assert vocab_for(plain, TextConfig(bytes=True)).symbols == "".join(map(chr, range(256)))
    vocab = vocab_for(parted, TextConfig(bytes=True))
    assert (vocab.kind, vocab.size, vocab.end, vocab.unknown) == ("bytes", 257, 256, None)
    assert vocab_for(parted, TextConfig(min_count=2)).specials == ("end", "unknown")
    assert vocab_for(plain, TextConfig(lowercase=True, normalize="NFC")).normalize == "NFC"


def test_a_run_learns_the_unknown_symbol_and_eval_scores_by_it(tmp_path):
    run = start(tmp_path / "run", Corpus.from_text(TEXT + "水火", 0), min_count=3, steps=2, val_fraction=0.0)
    finish(run)
    model = charrnn.load(tmp_path / "run")
    vocab = model.checkpoint.vocab
    assert vocab.unknown == vocab.size - 1
    assert "水" not in vocab.symbols
    assert not any("unknown symbol" in note for note in run.notes)
    rare = start(tmp_path / "other", Corpus.from_text(TEXT, 0), min_count=2, val_fraction=0.0)
    rare.close()
    assert [note for note in rare.notes if "unknown symbol cannot be learned" in note] != []
    result = model.evaluate("a水火木b")
    assert (result.chars, result.unknown) == (4, 3)
    assert "unknown:learned-3" in result.signature


def test_a_text_is_brought_into_the_form_of_the_model(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT.upper())
    finish(start(tmp_path / "run", path, lowercase=True, steps=2))
    model = charrnn.load(tmp_path / "run")
    assert not any(symbol.isupper() for symbol in model.checkpoint.vocab.symbols)
    assert model.evaluate(TEXT.upper()).nats_per_char == model.evaluate(TEXT.lower()).nats_per_char
    assert model.evaluate(TEXT.upper()).unknown == 0


def test_documents_are_scored_from_their_start_mark_to_their_end(tmp_path, monkeypatch):
    path = tmp_path / "names.txt"
    path.write_text("anna\nbert\ncleo\n" * 20)
    settings = {"split_documents": "lines", "val_documents": 6, "shuffle_documents": True}
    finish(start(tmp_path / "run", path, steps=4, **settings))
    model = charrnn.load(tmp_path / "run")
    alone = [model.evaluate(name) for name in ("anna", "bert", "cleo")]
    assert [result.chars for result in alone] == [5, 5, 5]  # four characters and the end
    together = model.evaluate("bert\nanna\ncleo\n")
    assert together.chars == 15
    assert together.nats_per_char == pytest.approx(sum(result.nats_per_char for result in alone) / 3, rel=1e-6)
    own = model.evaluate(model.validation_text())
    assert own.chars == 30
    assert model.checkpoint.history[-1]["val_loss"] == pytest.approx(own.nats_per_char, rel=1e-5)
    monkeypatch.setattr(evaluate, "_DYNAMIC_RATE", 0.0)  # what learns nothing scores as what stands still
    monkeypatch.setattr(evaluate, "_DYNAMIC_DECAY", 0.0)
    assert model.evaluate("bert\nanna\ncleo\n", dynamic=True).dynamic == pytest.approx(together.nats_per_char, rel=1e-6)
    for protocol in ("windows", "lanes"):
        found = model.evaluate("bert\nanna\ncleo\n", protocol=protocol)
        assert found.nats_per_char == pytest.approx(together.nats_per_char, rel=1e-5)


def test_documents_go_on_after_a_stop_as_if_there_had_been_none(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("anna\nbert\ncleo\n" * 20)
    settings = {"split_documents": "lines", "shuffle_documents": True, "steps": 12, "batch_size": 3, "seq_len": 7}
    finish(start(tmp_path / "whole", path, **settings))
    stop_at(start(tmp_path / "parts", path, **settings), lambda event: isinstance(event, Stepped) and event.step == 5)
    finish(Run.resume(tmp_path / "parts"))
    whole, parts = (ckpt.load(tmp_path / name / "last.npz") for name in ("whole", "parts"))
    assert all(np.array_equal(whole.params[name], parts.params[name]) for name in whole.params)
