"""The memory of a trained model: fitted when training ends, and nothing else of the run changes."""

import os
from dataclasses import replace

import numpy as np
import pytest
from fixtures_memory import SYMBOLS, by_hand, loss_of, text_of
from fixtures_run import (
    arrays_of,
    assert_same_run,
    copies,
    finish,
    log_of,
    meta_of,
    output_of,
    same,
    start,
    stop_at,
    write_text,
)

import charrnn
from charrnn import checkpoint as ckpt
from charrnn.data.corpus import Corpus
from charrnn.errors import CorpusError
from charrnn.memory.cache import FEATURES
from charrnn.memory.gate import FOLDS, fold_of
from charrnn.training import fitting
from charrnn.training.fitting import LEAST, SIZE, MemoryFitted, fit_cache, fit_grams
from charrnn.training.loop import Report
from charrnn.training.run import Run

pytestmark = pytest.mark.usefixtures("no_sync")
TEXT = text_of(4000)
RANDOM = "".join(np.random.default_rng(1).choice(list(SYMBOLS), 4000))
SPLIT = {"val_fraction": 0.4}  # more than is needed
BARE = {"cache/mean", "cache/projection"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a run on a file."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        finish(start(folder / "run", write_text(folder, TEXT), **SPLIT))
    return folder / "run"


@pytest.fixture(scope="module")
def lm(folder):
    return charrnn.load(folder)


def fitted(lm, text, val, *, threads=1, trained=0, end=None, sha256="00"):
    """Return what `fit_cache` returns for texts."""
    saved = lm.checkpoint
    train_ids, val_ids = map(saved.vocab.encode, (text, val))
    return fit_cache(
        saved.params,
        saved.model_config,
        train_ids,
        val_ids,
        end=end,
        trained=trained,
        text=sha256,
        threads=threads,
    )


def same_cache(one, other):
    arrays = [{name: getattr(each, name) for name in ("mean", "projection", "gates")} for each in (one, other)]
    return same(*arrays) and (one.size, one.sharpness) == (other.size, other.sharpness)


# The fit


def test_a_text_that_repeats_itself_gets_a_memory(lm):
    cache = lm.checkpoint.cache
    assert cache.size == SIZE
    assert cache.fitted_to == lm.validation_text().sha256
    assert cache.gates.shape == (1 + FOLDS, FEATURES + 1)
    assert len({gate.tobytes() for gate in cache.gates}) == 1 + FOLDS
    result = lm.evaluate(lm.validation_text())
    assert result.memory.nats_per_char < result.nats_per_char - 0.1
    other = lm.evaluate(text_of(3000, seed=9))
    assert other.memory.nats_per_char < other.nats_per_char - 0.1


def test_the_figures_of_the_fit_are_those_of_the_evaluation(lm):
    # Out of fold, and of the part of the split that was read.
    found = fitted(lm, TEXT[:2400], TEXT[2400:])
    ids = lm.checkpoint.vocab.encode(TEXT[2400:])[: LEAST + 1]
    alone, both = by_hand(lm, ids, folds=fold_of(np.arange(LEAST)), cache=found.cache)
    assert found.alone == pytest.approx(loss_of(alone, ids), rel=1e-5)
    assert found.both == pytest.approx(loss_of(both, ids), rel=1e-5)
    _, in_sample = by_hand(lm, ids, cache=found.cache)
    assert loss_of(in_sample, ids) < found.both


def test_where_nothing_repeats_itself_there_is_no_memory(tmp_path, lm):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        assert fitted(lm, RANDOM, "".join(rng.choice(list(SYMBOLS), 1100))).cache.size == 0
    finish(start(tmp_path, Corpus.from_text(RANDOM, 0.4)))
    lm = charrnn.load(tmp_path)
    assert lm.checkpoint.cache.size == 0
    assert lm.cache is None
    assert lm.evaluate(RANDOM[:500]).memory is None
    assert replace(lm, memory=50).evaluate(RANDOM[:500]).memory.nats_per_char > 0


@pytest.mark.parametrize("chars", [0, 1, LEAST])
def test_too_little_text_gives_none(lm, chars):
    assert fitted(lm, TEXT, TEXT[:chars]) is None
    assert fitted(lm, TEXT, TEXT[: LEAST + 1]) is not None


def test_a_short_validation_split_trains_without_a_memory(tmp_path):
    events = finish(start(tmp_path, Corpus.from_text(TEXT, 0.1)))
    assert not any(isinstance(event, MemoryFitted) for event in events)
    assert ckpt.load(tmp_path / "best.npz").cache is None
    assert charrnn.load(tmp_path).evaluate("abc").memory is None


def test_a_run_without_a_validation_split_has_no_memory(tmp_path):
    events = finish(start(tmp_path, Corpus.from_text(TEXT, 0.0)))
    assert not any(isinstance(event, MemoryFitted) for event in events)


def test_a_training_text_of_two_characters_is_enough_for_keys(lm):
    found = fitted(lm, TEXT[:2], TEXT[:1100])
    assert np.isfinite(found.cache.gates).all()
    assert np.isfinite(found.cache.projection).all()


def test_threads_change_no_bit(monkeypatch, lm):
    monkeypatch.setattr(fitting, "_ROW", 300)
    results = [fitted(lm, TEXT, TEXT[:2001], threads=threads, trained=200_000) for threads in (1, 2, 3, 7)]
    for other in results[1:]:
        assert same_cache(results[0].cache, other.cache)
        assert (results[0].alone, results[0].both) == (other.alone, other.both)


def test_a_longer_run_reads_more_of_the_split_and_tries_a_larger_memory(monkeypatch, lm):
    read = []
    looked_up = fitting._looked_up

    def spy(weights, config, caches, ids, indices, end):
        read.append((indices.size, {cache.size for cache in caches}))
        return looked_up(weights, config, caches, ids, indices, end)

    monkeypatch.setattr(fitting, "_looked_up", spy)
    text = text_of(12_000)
    for trained in (0, 250_000, 10**9):
        fitted(lm, TEXT, text, trained=trained)
    assert read == [(LEAST, {SIZE}), (2500, {SIZE}), (11_999, {SIZE, 10_000})]


def test_documents_are_fitted_as_they_are_evaluated(tmp_path):
    texts = [text_of(300, seed=seed).replace("\n", "a") for seed in range(8)]
    path = write_text(tmp_path, "\n".join(text for text in texts for _ in range(2)))
    finish(start(tmp_path / "run", path, split_documents="lines", **SPLIT))
    lm = charrnn.load(tmp_path / "run")
    vocab, val = lm.checkpoint.vocab, lm.validation_text()
    ids = vocab.ids_of(val)[np.arange(LEAST + 1)]
    begins = ids[:-1] == vocab.end
    assert begins.sum() > 2
    found = fit_cache(
        lm.checkpoint.params, lm.checkpoint.model_config, ids, vocab.ids_of(val), end=vocab.end, trained=0,
        text=val.sha256, threads=1,
    )  # fmt: skip
    begins[0] = True
    cache = found.cache.with_size(SIZE)
    _, both = by_hand(lm, ids, reset=begins, forget=begins, folds=fold_of(np.arange(LEAST)), cache=cache)
    assert found.both == pytest.approx(loss_of(both, ids), rel=1e-5)


# What it leaves alone


def test_nothing_else_of_the_checkpoint_changes(tmp_path, monkeypatch):
    run = start(tmp_path / "run", Corpus.from_text(TEXT, 0.4))
    with monkeypatch.context() as patch:
        patch.setattr(Run, "conclude", lambda self: None)
        events = finish(run)
    best, last = tmp_path / "run" / "best.npz", tmp_path / "run" / "last.npz"
    before, meta, bytes_before = arrays_of(best), meta_of(best), last.read_bytes()
    params, log = copies(run.state.params), log_of(tmp_path / "run")
    found = run.conclude()
    after, meta_after = arrays_of(best), meta_of(best)
    assert found.cache.size == meta_after.pop("cache")["size"] == SIZE
    assert meta == meta_after
    assert meta["history"]
    assert after.keys() - before.keys() == BARE
    for name in before.keys() - {"meta"}:
        assert before[name].tobytes() == after[name].tobytes(), name
    assert last.read_bytes() == bytes_before
    assert same(run.state.params, params)
    assert log_of(tmp_path / "run") == log
    assert not any(isinstance(event, MemoryFitted) for event in events)


def test_the_memory_belongs_to_the_best_model_not_to_the_last(folder):
    best, last = (ckpt.load(folder / name) for name in ("best.npz", "last.npz"))
    assert last.cache is None
    assert best.cache is not None
    assert charrnn.load(folder / "last.npz").evaluate("abc").memory is None


def test_the_same_command_gives_the_same_bytes(tmp_path, folder):
    finish(start(tmp_path / "run", str(folder.parent / "boats.txt"), **SPLIT))
    assert_same_run(tmp_path / "run", folder)


def test_a_run_that_was_stopped_and_resumed_has_the_memory_of_one_that_was_not(tmp_path, folder):
    text = str(folder.parent / "boats.txt")
    run = start(tmp_path / "run", text, **SPLIT)
    stop_at(run, lambda event: isinstance(event, Report) and event.step == 14)
    early = run.conclude()  # as the command does
    assert ckpt.load(tmp_path / "run" / "best.npz").cache.size == early.cache.size
    finish(Run.resume(tmp_path / "run"))
    assert_same_run(tmp_path / "run", folder)
    assert not same_cache(early.cache, ckpt.load(folder / "best.npz").cache)


def test_a_run_that_is_extended_fits_again(tmp_path, folder):
    text = str(folder.parent / "boats.txt")
    finish(start(tmp_path / "run", text, **SPLIT))
    events = finish(Run.resume(tmp_path / "run", settings={"steps": 40}))
    assert isinstance(events[-1], MemoryFitted)
    assert same_cache(events[-1].cache, ckpt.load(tmp_path / "run" / "best.npz").cache)
    assert not same_cache(events[-1].cache, ckpt.load(folder / "best.npz").cache)


def test_weights_that_are_trained_further_do_not_keep_the_memory_of_the_earlier_model(tmp_path, folder):
    run = start(tmp_path / "run", str(folder.parent / "boats.txt"), init_from=folder / "best.npz", **SPLIT)
    seen = [
        ckpt.load(tmp_path / "run" / "best.npz").cache
        for event in run.events()
        if isinstance(event, Report) and event.best
    ]
    run.close()
    assert seen
    assert set(seen) == {None}
    assert ckpt.load(tmp_path / "run" / "best.npz").cache is not None


def test_a_run_that_saved_no_best_model_has_nothing_to_fit(tmp_path):
    run = start(tmp_path, Corpus.from_text(TEXT, 0.4))
    assert run.conclude() is None
    run.close()


# With n-gram models


@pytest.mark.parametrize("adaptive", [False, True])
def test_each_ngram_model_has_a_gate_for_each_fold(lm, adaptive):
    saved = lm.checkpoint
    train, val = map(saved.vocab.encode, (TEXT[:2400], TEXT[2400:]))
    grams = fit_grams(saved.params, saved.model_config, lm.cache, train, val, end=None, adaptive=adaptive)
    assert [gate.shape[0] for gate in grams.gates] == [1 + FOLDS] * (1 + adaptive)
    for gates in grams.gates:
        assert len({gate.tobytes() for gate in gates}) == 1 + FOLDS
    assert 1 <= grams.trie.n <= 10


def test_ngram_models_need_a_validation_split(lm):
    saved = lm.checkpoint
    train, val = map(saved.vocab.encode, (TEXT[:2400], TEXT[2400 : 2400 + LEAST]))
    with pytest.raises(
        CorpusError, match=r"^--with-ngram fits a gate to the validation split, which has fewer than 1,"
    ):
        fit_grams(saved.params, saved.model_config, None, train, val, end=None, adaptive=False)


# A process killed in the midst

#: Fits the memory of a finished run again and again, in children of its own. The n-th child kills itself the n-th time
#: that it touches the disk while it fits. Prints how many there were.
SUICIDES = """
import os, shutil, signal, sys
from pathlib import Path
from charrnn.system import atomic
from charrnn.training.run import Run
from fixtures_run import finish, start

folder, left = Path(sys.argv[2]), 0

def moment():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def mortal(call):
    def around(*args, **options):
        moment()
        result = call(*args, **options)
        moment()
        return result
    return around

class Mortal:
    def __init__(self, file):
        self.file = file
    def write(self, data):
        moment()
        return self.file.write(data)
    def __getattr__(self, name):
        return getattr(self.file, name)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
        moment()

conclude, Run.conclude = Run.conclude, lambda self: None
run = start(folder / "run", sys.argv[1], val_fraction=0.4, steps=2, eval_every=2)
finish(run)
for count in range(10**6):
    path = folder / str(count)
    shutil.copytree(folder / "run", path)
    run.folder = type(run.folder)(path)
    if os.fork() == 0:
        atomic.open = lambda *args, **options: Mortal(open(*args, **options))
        os.replace, os.fsync = mortal(os.replace), mortal(lambda descriptor: None)
        left = 10 * count + 1
        conclude(run)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.wait()[1]) == 0:
        break
print(count)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_a_kill_in_the_midst_leaves_the_model_with_its_memory_or_without(tmp_path):
    count = int(output_of(SUICIDES, write_text(tmp_path, TEXT), tmp_path))
    assert count > 3
    without = (tmp_path / "run" / "best.npz").read_bytes()
    whole = (tmp_path / f"{count}" / "best.npz").read_bytes()
    kinds = set()
    for at in range(count):
        best = tmp_path / f"{at}" / "best.npz"
        saved = ckpt.load(best)
        kinds.add(saved.cache is None)
        assert best.read_bytes() == (without if saved.cache is None else whole)
        assert charrnn.load(best).evaluate("abc").chars == 2
    assert True in kinds
