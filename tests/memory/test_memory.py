"""The memory of a model as a whole: its cache and its n-gram models, in evaluation, scoring and sampling."""

import os
from dataclasses import replace

import numpy as np
import pytest
from fixtures_memory import some_grams, text_of
from fixtures_run import finish, start, write_text

import charrnn
from charrnn.data.text import END
from charrnn.errors import ConfigError, CorpusError
from charrnn.evaluation import recall, whole
from charrnn.evaluation.whole import predictions, workers_for
from charrnn.memory.cache import Cache
from charrnn.memory.gate import fold_of, shares
from charrnn.memory.memory import Memory
from charrnn.nn import model
from charrnn.nn.functional import log_softmax, softmax

pytestmark = pytest.mark.usefixtures("no_sync")
TEXT, OTHER = text_of(4000), text_of(600, seed=7, phrases=8)
MIXED = {"ngram": {"with_ngram": True}, "adaptive": {"with_ngram": True, "adaptive": True}}
mixtures = pytest.mark.parametrize("mixture", MIXED)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return a trained model with a memory."""
    return trained(tmp_path_factory.mktemp("plain"), TEXT)


@pytest.fixture(scope="module", params=["float32", "float64"])
def either(request, tmp_path_factory):
    """Return a trained model with a memory, of either type."""
    return trained(tmp_path_factory.mktemp("either"), TEXT, dtype=request.param)


@pytest.fixture(scope="module")
def of_documents(tmp_path_factory):
    """Return a trained model of documents, with a memory."""
    texts = [text_of(200, seed=seed).replace("\n", "a") for seed in range(10)]
    text = "\n".join(texts[k] for k in np.random.default_rng(0).integers(0, 10, 20))
    return trained(tmp_path_factory.mktemp("documents"), text, split_documents="lines")


def trained(folder, text, **settings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        finish(start(folder / "run", write_text(folder, text), val_fraction=0.4, **settings))
    return charrnn.load(folder / "run")


def log_probs_of(lm, ids, chunks=None, folds=None):
    """Return the log-probabilities (N, V) after each id, with the memory."""
    memory, state = lm._memory, model.zero_state(lm.checkpoint.model_config, 1)
    remembered, found = memory.start(1), []
    for at in range(0, len(ids), size := chunks or len(ids)):
        window = ids[at : at + size, None]
        h = model.outputs(lm.weights, window, state)
        logits = model.logits_after(lm.weights, h, window, state)
        own = None if folds is None else folds[at : at + size, None]
        memory.recall(remembered, window, h, logits, folds=own)
        found.append(logits[:, 0])
    return np.concatenate(found)


@mixtures
@pytest.mark.parametrize("size", [None, 0])
def test_the_whole_mixture_sums_to_one_in_any_chunks(either, mixture, size):
    lm = replace(either, memory=size, **MIXED[mixture])
    ids = lm.checkpoint.vocab.encode(OTHER)
    found = log_probs_of(lm, ids)
    np.testing.assert_allclose(np.exp(found, dtype=np.float64).sum(axis=-1), 1, rtol=0, atol=1e-6)
    for chunks in (20, 77):
        np.testing.assert_allclose(log_probs_of(lm, ids, chunks), found, rtol=1e-4, atol=1e-4)
    nats = -found[np.arange(len(ids) - 1), ids[1:]].mean(dtype=np.float64)
    assert lm.evaluate(OTHER).memory.nats_per_char == pytest.approx(nats, rel=1e-5)


@mixtures
def test_the_mixture_is_that_of_the_net_its_cache_and_the_ngram_models_in_turn(plain, mixture):
    lm = replace(plain, **MIXED[mixture])
    ids = lm.checkpoint.vocab.encode(OTHER)
    p = np.exp(log_probs_of(replace(plain, with_ngram=False), ids))
    grams = lm._memory.grams
    for gates, (q, features) in zip(
        grams.gates, grams.look_up(grams.start(1), ids[:, None], p[:, None].copy(), None), strict=True
    ):
        share = shares(features, gates, None)[:, 0, None]
        p = (1 - share) * p + share * q[:, 0]
    np.testing.assert_allclose(np.exp(log_probs_of(lm, ids)), p, rtol=1e-4, atol=1e-7)


@mixtures
@pytest.mark.parametrize("window", [9])
def test_windows_of_any_size_give_the_same(monkeypatch, of_documents, mixture, window):
    lm = replace(of_documents, **MIXED[mixture])
    text = END + END.join(OTHER[at : at + 300].replace("\n", "a") for at in (0, 250, 0)) + END
    for protocol in ("whole", "lanes"):
        usual = lm.evaluate(text, protocol=protocol, batch_size=2).memory
        with monkeypatch.context() as patch:
            patch.setattr(whole, "_WINDOW", window)
            patch.setattr(whole, "WARM_UP", 100)
            patch.setattr(recall, "_BLOCK", 200)
            other = lm.evaluate(text, protocol=protocol, batch_size=2).memory
        assert other.nats_per_char == pytest.approx(usual.nats_per_char, rel=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_documents_reset_what_was_counted_even_in_a_warm_up(monkeypatch, of_documents, adaptive):
    # The second row begins at character 152 of 304, right after an end mark, and first reads part of two documents.
    lm = replace(of_documents, memory=100)
    ids = lm.checkpoint.vocab.encode(OTHER.replace("\n", "a"))
    lm.__dict__["_memory"] = Memory(lm.cache, some_grams(ids, lm.checkpoint.vocab.size, adaptive=adaptive))
    text = OTHER[:300].replace("\n", "a")
    text = END + END.join(text[a:b] for a, b in ((0, 100), (100, 149), (0, 100), (249, 300))) + END
    monkeypatch.setattr(whole, "WARM_UP", 102)
    whole_text = lm.evaluate(text).memory.nats_per_char
    for rows in (1, 2):
        lanes = lm.evaluate(text, protocol="lanes", batch_size=rows)
        assert f"lanes-{rows}x102" in lanes.signature
        assert lanes.memory.nats_per_char == pytest.approx(whole_text, rel=1e-6)


@mixtures
def test_the_fitted_text_is_scored_by_the_gates_of_other_folds(plain, mixture):
    lm = replace(plain, memory=0, **MIXED[mixture])
    val = lm.validation_text()
    ids = lm.checkpoint.vocab.ids_of(val)[np.arange(len(val))]
    found = log_probs_of(lm, ids[:-1], folds=fold_of(np.arange(len(ids) - 1)))
    in_sample = log_probs_of(lm, ids[:-1])
    losses = [-each[np.arange(len(ids) - 1), ids[1:]].mean(dtype=np.float64) for each in (found, in_sample)]
    result = lm.evaluate(val).memory
    assert "|memory:0-out-of-fold|ngram:" in result.signature
    assert result.nats_per_char == pytest.approx(losses[0], rel=1e-5)
    assert losses[1] < losses[0]
    assert "fold" not in lm.evaluate(OTHER).memory.signature


def test_the_signature_names_the_ngram_models(plain):
    for name, more in (("ngram", ""), ("adaptive", "-adaptive")):
        lm = replace(plain, **MIXED[name])
        n = lm._memory.grams.trie.n
        assert lm.evaluate(OTHER).memory.signature.endswith(f"|memory:2000|ngram:{n}{more}")
        assert "memory" not in lm.evaluate(OTHER).signature


def test_what_was_read_before_is_counted(plain, of_documents):
    for lm, text in ((plain, OTHER), (of_documents, OTHER.replace("\n", "a"))):
        counting = replace(lm, memory=0, with_ngram=True, adaptive=True)
        filled, others = replace(counting, memory_from=text), replace(counting, memory_from=TEXT[:600])
        losses = [each.evaluate(text).memory.nats_per_char for each in (filled, others, counting)]
        assert losses[0] < losses[1] - 0.2
        assert losses[0] < losses[2] - 0.2
        by_line = [next(each.score([text[:200].replace("\n", "a")])).bpc for each in (filled, counting)]
        assert by_line[0] < by_line[1] - 0.2


def test_without_counts_a_text_that_was_read_before_changes_nothing(plain):
    lm = replace(plain, memory=0, with_ngram=True)
    filled = replace(lm, memory_from=OTHER)
    assert filled.evaluate(OTHER).memory.nats_per_char == lm.evaluate(OTHER).memory.nats_per_char


@mixtures
def test_lines_are_scored_as_alone_whatever_the_threads(plain, mixture):
    lm = replace(plain, **MIXED[mixture])
    lines = [OTHER[at : at + 90].replace("\n", "a") for at in range(0, 500, 100)]
    for line, found in zip(lines, lm.score(lines, threads=2), strict=True):
        alone = lm.evaluate(f"\n{line}\n").memory
        assert -found.logprob / found.chars == pytest.approx(alone.nats_per_char, rel=1e-4)


@mixtures
def test_dynamic_evaluation_uses_the_memory_too(plain, mixture):
    result = replace(plain, **MIXED[mixture]).evaluate(OTHER[:300], dynamic=True)
    assert plain.evaluate(OTHER[:300], dynamic=True).dynamic == pytest.approx(result.dynamic, rel=1e-6)
    assert result.memory.dynamic != pytest.approx(result.memory.nats_per_char, rel=1e-4)


def test_scores_without_a_memory_are_those_of_the_net(plain):
    lm = replace(plain, memory=0)
    ids = lm.checkpoint.vocab.encode(OTHER)
    assert lm._memory is None
    with workers_for(lm.checkpoint.model_config, lm.checkpoint.params, len(ids), 1, 1, None) as workers:
        assert all(scored.both is None for scored in predictions(lm.checkpoint.params, workers, ids))


def test_a_memory_without_anything_leaves_the_logits_alone(plain):
    config = plain.checkpoint.model_config
    empty = Memory(None)
    logits = np.zeros((3, 2, config.vocab_size))
    empty.recall(empty.start(2), np.zeros((3, 2), int), np.zeros((3, 2, config.hidden_size)), logits)
    assert not logits.any()
    assert (empty.size, empty.in_core(empty.start(2))) == (0, None)
    unfitted = Cache.unfitted(config.hidden_size, config.dtype)
    assert softmax(log_softmax(unfitted.projection)).shape == unfitted.projection.shape


# Bad input


def test_ngram_models_need_the_corpus(plain, tmp_path):
    lm = replace(plain, with_ngram=True)
    gone = replace(lm, checkpoint=replace(lm.checkpoint, source=replace_path(lm, None)))
    with pytest.raises(
        CorpusError, match=r"^the model's corpus was not a file, so it cannot be read again for --with-"
    ):
        gone.evaluate(OTHER)
    missing = replace(lm, checkpoint=replace(lm.checkpoint, source=replace_path(lm, str(tmp_path / "none.txt"))))
    with pytest.raises(CorpusError, match=r"none\.txt"):
        missing.sample(5)


def replace_path(lm, path):
    return lm.checkpoint.source._replace(path=path, also=())


def test_counting_alone_is_refused(plain):
    with pytest.raises(ConfigError, match=r"^--adaptive adds to --with-ngram: give that too$"):
        replace(plain, adaptive=True)
