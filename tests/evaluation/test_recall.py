"""Evaluation with a memory: against one reading of the whole text, whatever the windows, rows and threads."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fixtures_memory import SIZE, by_hand, in_documents, loss_of, memory_model, text_of

from charrnn.arrays import Window
from charrnn.config import PROTOCOLS
from charrnn.data.reading import text_of as read_as
from charrnn.data.text import END
from charrnn.evaluation import recall, whole
from charrnn.evaluation.statistics import COLD_WINDOW
from charrnn.memory.gate import FOLDS, fold_of

TEXT = text_of(6000)
DOCUMENTS = in_documents(TEXT[:700], TEXT[700:1500], "", TEXT[1500:1503], TEXT[:700])
EXACT = {"rel": 1e-9, "abs": 1e-12}


def figures(result):
    """Return the figures that do not depend on the clock; alone, and with the memory."""
    kept = [replace(each, chars_per_second=None, signature="", memory=None) for each in (result, result.memory)]
    return [repr(vars(each)) for each in kept]


def fitted_to(lm, text):
    """Return the model with a cache that was fitted to this text."""
    sha256 = read_as(text, lm.checkpoint.text_config).sha256
    saved = replace(lm.checkpoint, cache=replace(lm.checkpoint.cache, fitted_to=sha256))
    return replace(lm, checkpoint=saved)


def ids_of(lm, text):
    return lm.checkpoint.vocab.ids_of(read_as(text, lm.checkpoint.text_config)).__getitem__(slice(None))


def resets(lm, ids):
    """Return where the text or a document begins."""
    begins = ids[:-1] == lm.checkpoint.vocab.end
    begins[0] = True
    return begins


# The model alone


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "embed_size": 4}, {"attention": 30}], ids=str)
def test_the_figures_of_the_model_alone_are_those_without_a_memory(protocol, settings):
    lm = memory_model(documents=True, **settings)
    without, result = (
        replace(lm, memory=size).evaluate(DOCUMENTS, protocol=protocol, batch_size=2) for size in (0, None)
    )
    assert without.memory is None
    assert result.memory.nats_per_char != pytest.approx(result.nats_per_char, rel=1e-6)
    assert result.nats_per_char == pytest.approx(without.nats_per_char, rel=1e-12)
    assert result.by_position == pytest.approx(without.by_position, rel=1e-9)
    for name in ("accuracy", "chars", "unknown", "signature"):
        assert getattr(result, name) == getattr(without, name), name


def test_the_dynamic_figure_of_the_model_alone_is_that_without_a_memory():
    lm = memory_model(documents=True)
    without, result = (replace(lm, memory=size).evaluate(DOCUMENTS, dynamic=True) for size in (0, None))
    assert result.dynamic == pytest.approx(without.dynamic, rel=1e-9)
    assert result.dynamic != pytest.approx(result.nats_per_char, rel=1e-3)
    assert result.memory.dynamic != pytest.approx(result.memory.nats_per_char, rel=1e-3)
    assert result.memory.dynamic != pytest.approx(result.dynamic, rel=1e-3)


def test_where_nothing_is_learned_dynamic_figures_are_the_others(monkeypatch):
    monkeypatch.setattr(whole, "_DYNAMIC_RATE", 0.0)
    monkeypatch.setattr(whole, "_DYNAMIC_DECAY", 0.0)
    result = fitted_to(memory_model(documents=True), DOCUMENTS).evaluate(DOCUMENTS, dynamic=True)
    for each in (result, result.memory):
        assert each.dynamic == pytest.approx(each.nats_per_char, rel=1e-9)


# With the memory


@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "embed_size": 4}, {"cell": "gru"}], ids=str)
@pytest.mark.parametrize("memory", [None, 7, 100_000])
def test_whole_is_one_reading_of_the_text(settings, memory):
    lm = memory_model(memory=memory, **settings)
    ids = ids_of(lm, TEXT)
    alone, both = by_hand(lm, ids)
    result = lm.evaluate(TEXT)
    assert result.nats_per_char == pytest.approx(loss_of(alone, ids), **EXACT)
    assert result.memory.nats_per_char == pytest.approx(loss_of(both, ids), **EXACT)
    assert result.memory.accuracy == (both.argmax(axis=1) == ids[1:]).mean()
    assert result.memory.chars == result.chars == len(TEXT) - 1


def test_windows_begin_with_an_empty_memory():
    lm = memory_model()
    ids = ids_of(lm, TEXT[:1000])
    starts = [*range(0, 999, COLD_WINDOW), 999]
    losses = [loss_of(by_hand(lm, own := ids[a : b + 1])[1], own) * (b - a) for a, b in pairwise(starts)]
    result = lm.evaluate(TEXT[:1000], protocol="windows").memory
    assert result.nats_per_char == pytest.approx(sum(losses) / 999, **EXACT)
    assert len(result.by_position) == COLD_WINDOW


def test_lanes_read_before_their_own():
    lm = memory_model()
    ids = ids_of(lm, TEXT[:2400])
    result = lm.evaluate(TEXT[:2400], protocol="lanes", batch_size=3).memory
    length, nats = -(-2399 // 3), 0.0
    for row in range(3):
        begin, end = row * length, min(2399, (row + 1) * length)
        skipped = min(begin, whole.WARM_UP)
        own = ids[begin - skipped : end + 1]
        nats += loss_of(by_hand(lm, own)[1][skipped:], own[skipped:]) * (end - begin)
    assert result.nats_per_char == pytest.approx(nats / 2399, **EXACT)


@pytest.mark.parametrize("window", [5, 5000])
@pytest.mark.parametrize("protocol", ["whole", "lanes"])
@pytest.mark.parametrize("across", [False, True])
def test_windows_of_any_size_give_the_same(monkeypatch, window, protocol, across):
    text = in_documents(TEXT[:600], TEXT[:530])
    lm = fitted_to(memory_model(documents=True), text)
    options = {"protocol": protocol, "batch_size": 2, "across_documents": across}
    usual = lm.evaluate(text, **options).memory
    monkeypatch.setattr(whole, "_WINDOW", window)
    monkeypatch.setattr(recall, "_BLOCK", 50)
    other = lm.evaluate(text, **options).memory
    assert other.nats_per_char == pytest.approx(usual.nats_per_char, rel=1e-12)
    assert other.accuracy == usual.accuracy


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(protocol, dtype):
    lm = fitted_to(memory_model(documents=True, dtype=dtype, hidden_size=20), DOCUMENTS)
    results = [
        lm.evaluate(DOCUMENTS, protocol=protocol, batch_size=4, threads=threads, dynamic=protocol == "whole")
        for threads in (1, 2, 3)
    ]
    assert figures(results[0]) == figures(results[1]) == figures(results[2])


def test_threads_change_no_bit_of_a_larger_model():
    # A BLAS multiplies matrices of other heights in another order.
    symbols = "\n" + "".join(map(chr, range(97, 161)))
    lm = memory_model(symbols=symbols, dtype="float32", hidden_size=96, size=300)
    text = "".join(np.random.default_rng(0).choice(list(symbols), 4000))
    results = [lm.evaluate(text, protocol="windows", batch_size=16, threads=threads) for threads in (1, 2, 3)]
    assert figures(results[0]) == figures(results[1]) == figures(results[2])


# The text that the gates were fitted to


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_text_that_gates_were_fitted_to_is_scored_by_those_of_the_other_folds(protocol):
    other = memory_model()
    lm = fitted_to(other, TEXT)
    result = lm.evaluate(TEXT, protocol=protocol, batch_size=3).memory
    by_fold = []
    for fold in range(FOLDS):  # the same, each time with the gate of one fold for all
        gates = other.checkpoint.cache.gates.copy()
        gates[0] = gates[1 + fold]
        saved = replace(other.checkpoint, cache=replace(other.checkpoint.cache, gates=gates))
        by_fold.append(nats_of(replace(other, checkpoint=saved), TEXT, protocol))
    folds = fold_of(np.arange(len(TEXT) - 1))
    expected = np.choose(folds, by_fold).mean()
    in_sample = other.evaluate(TEXT, protocol=protocol, batch_size=3).memory
    assert result.nats_per_char == pytest.approx(expected, **EXACT)
    assert result.nats_per_char != pytest.approx(in_sample.nats_per_char, rel=1e-4)


def nats_of(lm, text, protocol):
    """Return the loss of each prediction with the memory."""
    ids = ids_of(lm, text)
    rows = 1 if protocol == "whole" else 3
    own, nats = lm._recall(), np.empty(len(ids) - 1)
    with whole.workers_for(lm.checkpoint.model_config, lm.checkpoint.params, len(ids), rows, 1, own) as workers:
        for scored in whole.predictions(lm.checkpoint.params, workers, ids, rows, cold=protocol == "windows"):
            nats[scored.indices] = -scored.both[0]
    return nats


def test_any_other_text_is_scored_by_the_gate_that_was_fitted_to_all_of_it():
    lm = fitted_to(memory_model(), TEXT)
    ids = ids_of(lm, TEXT[:-1])
    result = lm.evaluate(TEXT[:-1]).memory
    assert result.nats_per_char == pytest.approx(loss_of(by_hand(lm, ids)[1], ids), **EXACT)
    assert "fold" not in result.signature


# Documents, and texts that were read before


def test_a_document_knows_nothing_of_those_before():
    lm = memory_model(documents=True)
    texts = [TEXT[:700], TEXT[700:1500], TEXT[:700]]
    each = [lm.evaluate(in_documents(text)).memory for text in texts]
    together = lm.evaluate(in_documents(*texts)).memory
    chars = [one.chars for one in each]
    assert together.chars == sum(chars)
    nats = sum(one.nats_per_char * one.chars for one in each)
    assert together.nats_per_char == pytest.approx(nats / sum(chars), **EXACT)


def test_across_documents_the_memory_is_kept_and_the_state_is_not():
    lm = memory_model(documents=True, size=2000)
    texts = [TEXT[:350], TEXT[350:750], TEXT[:350]]
    ids = ids_of(lm, in_documents(*texts))
    forget = np.zeros(len(ids) - 1, bool)
    _, both = by_hand(lm, ids, reset=resets(lm, ids), forget=forget)
    across, not_across = (lm.evaluate(in_documents(*texts), across_documents=each).memory for each in (True, False))
    assert across.nats_per_char == pytest.approx(loss_of(both, ids), **EXACT)
    assert across.nats_per_char != pytest.approx(not_across.nats_per_char, rel=1e-3)


@pytest.mark.parametrize("protocol", ["lanes", "windows"])
def test_what_a_row_reads_before_the_text_begins_is_not_remembered(protocol):
    # The first row has nothing before its own; across documents, nothing else would reset it.
    lm = memory_model(size=300)
    results = [
        lm.evaluate(TEXT[:1600], across_documents=across, protocol=protocol, batch_size=3).memory
        for across in (False, True)
    ]
    assert results[0].nats_per_char == results[1].nats_per_char


def test_a_text_that_was_read_before_is_remembered():
    lm = memory_model(size=500)
    ids, first = ids_of(lm, TEXT[:900]), ids_of(lm, TEXT[600:1300])
    filled = replace(lm, memory_from=TEXT[600:1300])
    for protocol in ("whole", "lanes"):  # one row of each
        result = filled.evaluate(TEXT[:900], protocol=protocol, batch_size=1).memory
        _, both = by_hand(lm, ids, first=first[-501:])
        assert result.nats_per_char == pytest.approx(loss_of(both, ids), **EXACT)
    assert lm.evaluate(TEXT[:900]).memory.nats_per_char != pytest.approx(result.nats_per_char, rel=1e-3)


def test_each_document_begins_with_the_text_that_was_read_before():
    lm = replace(memory_model(documents=True, size=500), memory_from=TEXT[1500:2000])
    texts = [TEXT[:700], TEXT[700:1500]]
    each = [lm.evaluate(in_documents(text)).memory for text in texts]
    together = lm.evaluate(in_documents(*texts)).memory
    nats = sum(one.nats_per_char * one.chars for one in each)
    assert together.nats_per_char == pytest.approx(nats / together.chars, **EXACT)
    empty = replace(lm, memory_from=None).evaluate(in_documents(*texts)).memory
    assert together.nats_per_char != pytest.approx(empty.nats_per_char, rel=1e-3)


def test_all_documents_of_a_text_that_was_read_before_are_remembered():
    lm, first = memory_model(documents=True, size=2000), in_documents(TEXT[:300], TEXT[300:500], TEXT[:200])
    ids = ids_of(lm, in_documents(TEXT[600:900]))
    begins = resets(lm, ids)
    _, both = by_hand(lm, ids, reset=begins, forget=begins, first=ids_of(lm, first))
    result = replace(lm, memory_from=read_as(first, lm.checkpoint.text_config)).evaluate(in_documents(TEXT[600:900]))
    assert result.memory.nats_per_char == pytest.approx(loss_of(both, ids), **EXACT)


@pytest.mark.parametrize("text", ["", "a", "xyz"])
def test_a_text_of_which_nothing_is_scored_has_no_figures(text):
    result = memory_model().evaluate(text)
    assert (result.nats_per_char, result.memory.nats_per_char, result.memory.chars) == (None, None, 0)


@pytest.mark.parametrize("memory_from", ["", "a", "xyz"])
def test_a_memory_from_nothing_is_empty(memory_from):
    lm = memory_model()
    results = [replace(lm, memory_from=each).evaluate(TEXT[:300]).memory.nats_per_char for each in (None, memory_from)]
    assert results[0] == results[1]


# What figures say of themselves


def test_the_signature_names_the_memory():
    lm = memory_model(documents=True)
    fitted = fitted_to(lm, DOCUMENTS)
    own = read_as(TEXT[:40], lm.checkpoint.text_config).sha256[:8]
    cases = [
        (lm, {}, f"{SIZE}"),
        (replace(lm, memory=2000), {}, "2000"),
        (fitted, {}, f"{SIZE}-out-of-fold"),
        (lm, {"across_documents": True}, f"{SIZE}-across-documents"),
        (fitted, {"across_documents": True}, f"{SIZE}-out-of-fold-across-documents"),
        (replace(lm, memory_from=TEXT[:40]), {}, f"{SIZE}-from-{own}"),
    ]
    for one, options, says in cases:
        result = one.evaluate(DOCUMENTS, **options)
        assert result.memory.signature == f"{result.signature}|memory:{says}"
        assert "memory" not in result.signature


def test_what_json_shows_has_both_figures():
    result = memory_model().evaluate(TEXT[:500], dynamic=True)
    data = result.to_dict()
    assert data["memory"] == result.memory.to_dict()
    assert data["memory"].keys() == data.keys()
    assert data["memory"]["memory"] is None
    assert data["memory"]["nats_per_char"] == result.memory.nats_per_char
    assert f"{result.memory.nats_per_char:.4f} nats with memory" in repr(result)


def test_windows_are_read_in_place():
    # Threads share the rows: each changes its own, and what is carried on has those of all.
    lm = memory_model()
    plan = whole.make_plan(lm.checkpoint.model_config, None, 4, 8, 1)
    ids = ids_of(lm, TEXT[:400]).reshape(100, 4)
    found = []
    for threads in (1, 3):
        with recall.Recalling(plan, lm._recall(), threads) as scorer:
            scorer.set_params(lm.checkpoint.params)
            carried = scorer.start(np.zeros(4, np.intp))
            for at in range(0, 96, 8):
                *scores, carried = scorer.score(Window(ids[at : at + 8], ids[at + 1 : at + 9], None), carried)
                found.append(scores[2])
            assert carried.positions.tolist() == [96] * 4
            assert carried.remembered.entries.counts.tolist() == [96] * 4
    half = len(found) // 2
    assert np.array_equal(found[:half], found[half:])
    assert END not in TEXT
