"""Translation as text: documents are a source, a tab and a target, and what counts is the target and its end."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fixtures_run import assert_same_run, begin, finish, log_of, make_training, meta_of, start, stop_at, write_text

import charrnn
from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus
from charrnn.data.stream import count_targets
from charrnn.data.text import END
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError, CorpusError
from charrnn.nn import model
from charrnn.nn.gradcheck import check_gradients
from charrnn.training.loop import Report, Stepped
from charrnn.training.run import Run
from charrnn.training.validation import Validation, differences

pytestmark = pytest.mark.usefixtures("no_sync")

#: Numbers and their digits in another order; the sources are long, so that whole windows may lie in them.
LINES = [f"{number * 7919:012d}\t{number:02d}" for number in range(10, 90)]
TEXT = "".join(f"{line}\n" for line in LINES)
MARKED = END + END.join(LINES) + END
CONTEXT = {"split_documents": "lines", "context": True, "batch_size": 4, "seq_len": 10}


def training_of(**settings):
    """Return a training on the text, whose windows know what counts."""
    vocab = Vocab.from_text(MARKED)
    training = make_training(TEXT.replace("\n", ""), vocab=vocab, **{"dtype": "float64", **settings})
    ids = vocab.ids_of(Corpus.from_text(MARKED, 0).train)
    return replace(training, stream=replace(training.stream, ids=ids, end=vocab.end, tab=vocab.tab))


def loss_of(lm, documents):
    """Return the mean loss of the targets and their ends, from one forward pass for each document."""
    vocab, losses = lm.checkpoint.vocab, []
    for document in documents:
        ids = np.array([vocab.end, *vocab.encode(document), vocab.end])
        state = model.zero_state(lm.checkpoint.model_config, 1)
        logits = model.forward(lm.weights, ids[:-1, None], state)[0][:, 0].astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        first = 1 + document.index("\t")
        losses += (-log_p[np.arange(len(ids) - 1), ids[1:]])[first:].tolist()
    return math.fsum(losses) / len(losses), len(losses)


@pytest.mark.parametrize("attention", [0, 5])
def test_the_gradient_is_that_of_the_mean_over_what_counts(attention):
    training = training_of(num_layers=2, embed_size=3, attention=attention)
    params, window = begin(training).params, training.stream[2]
    assert 0 < window.predictions < window.targets.size

    def gradients():
        with training.workers() as workers:
            workers.set_params(params)
            return workers.gradients(window, begin(training).state, 0)

    check_gradients(lambda: gradients()[0], params, gradients()[2], np.random.default_rng(2), 1e-6)


def test_a_window_without_targets_has_no_loss_and_no_gradient():
    training = training_of()
    window = training.stream[0]._replace(counted=np.zeros((10, 4), bool))
    with training.workers() as workers:
        workers.set_params(begin(training).params)
        loss, _, grads = workers.gradients(window, begin(training).state, 0)
    assert loss == 0
    assert not any(grad.any() for grad in grads.values())


def test_a_report_weighs_each_step_by_what_counts(tmp_path):
    run = start(tmp_path / "run", write_text(tmp_path, TEXT), **CONTEXT)
    events = finish(run)
    since, steps, different = [], 0, set()
    for event in events:
        if isinstance(event, Stepped):
            since.append(event)
            steps += 1
        elif isinstance(event, Report):
            counted = sum(one.counted for one in since)
            assert event.loss == pytest.approx(sum(one.loss * one.counted for one in since) / counted)
            different.add(frozenset(one.counted for one in since))
            assert event.chars == sum(one.chars for one in since)
            since.clear()
    assert steps == 20
    assert max(map(len, different)) > 1
    lm = charrnn.load(tmp_path / "run")
    loss, chars = loss_of(lm, str(run.val_text).strip(END).split(END))
    assert min(line["val_loss"] for line in log_of(tmp_path / "run") if line["val_loss"]) == pytest.approx(
        loss, rel=1e-5
    )
    assert meta_of(tmp_path / "run" / "best.npz")["validated"] == chars == run.training.validated


@pytest.mark.parametrize("attention", [0, 5])
def test_an_evaluation_and_scores_are_of_targets(tmp_path, attention):
    finish(start(tmp_path / "run", write_text(tmp_path, TEXT), attention=attention, **CONTEXT))
    lm, documents = charrnn.load(tmp_path / "run"), LINES[:9]
    text = "".join(f"{line}\n" for line in documents)
    loss, chars = loss_of(lm, documents)
    for protocol in ("whole", "lanes"):
        found = lm.evaluate(text, protocol=protocol, dynamic=True)
        assert (found.chars, found.nats_per_char) == (chars, pytest.approx(loss, rel=1e-5))
        assert found.dynamic != found.nats_per_char
        assert "|scored:targets|" in found.signature
    scored = [*lm.score([tuple(line.split("\t")) for line in documents])]
    assert sum(one.chars for one in scored) == chars
    assert sum(one.logprob for one in scored) == pytest.approx(-loss * chars, rel=1e-5)
    with pytest.raises(ConfigError, match="baselines score every character"):
        lm.baselines(text)


def test_a_run_resumes_exactly_wherever_it_stops(tmp_path):
    settings = CONTEXT | {"dropout": 0.3, "reset_rate": 0.1}
    path = write_text(tmp_path, TEXT)
    finish(start(tmp_path / "whole", path, **settings))
    stop_at(start(tmp_path / "parts", path, **settings), lambda event: isinstance(event, Stepped) and event.step == 5)
    finish(Run.resume(tmp_path / "parts", path))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_nothing_else_is_learned(tmp_path):
    weights = []
    for name, setting in (("all", False), ("targets", True)):
        finish(start(tmp_path / name, write_text(tmp_path, TEXT), **CONTEXT | {"context": setting}))
        weights.append(charrnn.load(tmp_path / name).checkpoint.params["out.b_y"])
    vocab = Vocab.from_text(MARKED)
    assert weights[1][vocab.tab] < weights[0][vocab.tab]  # no target has a tab


def test_what_has_no_tab_is_noted(tmp_path):
    lacking = [line.replace("\t", "-") if n in (3, 4, 75) else line for n, line in enumerate(LINES)]
    run = start(tmp_path / "run", write_text(tmp_path, "\n".join(lacking)), **CONTEXT)
    run.close()
    notes = [note for note in run.notes if "tab" in note]
    assert notes == [
        "2 of 72 documents of the training split have no tab: nothing of them is learned",
        "1 of 8 documents of the validation split have no tab: nothing of them is scored",
    ]
    without = "\n".join(line.replace("\t", "-") if n > 70 else line for n, line in enumerate(LINES))
    (note,) = (note for note in start_and_close(tmp_path / "val", without).notes if "validation split have" in note)
    assert note.endswith("nothing of them is scored, so there will be no validation and no best.npz")


def start_and_close(out, text):
    """Return a run that has not begun."""
    run = start(out, write_text(out.parent, text), **CONTEXT)
    run.close()
    return run


@pytest.mark.parametrize("more", [{}, {"bytes": True}, {"min_count": 150}], ids=str)
def test_a_text_without_targets_is_refused(tmp_path, more):
    text = TEXT if "min_count" in more else TEXT.replace("\t", "-")  # tabs that are rare characters are none
    with pytest.raises(CorpusError, match="no document of boats has a tab, and --context learns what follows"):
        start(tmp_path / "run", write_text(tmp_path, text * 2), **CONTEXT, **more)


def test_without_documents_there_is_no_context():
    with pytest.raises(ConfigError, match="--context needs documents: give --split-documents"):
        TextConfig(context=True)


def test_two_runs_that_score_different_characters_cannot_be_compared(tmp_path):
    found = []
    for name, setting in (("all", False), ("targets", True)):
        finish(start(tmp_path / name, write_text(tmp_path, TEXT), **CONTEXT | {"context": setting}))
        found.append(Validation.of(meta_of(tmp_path / name / "best.npz")))
    assert differences(*found) == {"whole documents and targets": "--context"}
    assert found[1].signature.endswith("|scored:targets")
    assert ", after tabs alone" in found[1].in_words()


def test_a_gate_is_fitted_to_what_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.training.fitting.LEAST", 100)
    monkeypatch.setattr("charrnn.training.fitting._TRAINED_SHARE", 1)
    text = "".join(f"{n:03d}\t{n:03d}\n" for n in range(400))
    folder = tmp_path / "run"
    finish(start(folder, write_text(tmp_path, text), **CONTEXT))
    lm = charrnn.load(folder)
    assert lm.checkpoint.cache is not None  # whether it helps or not
    grams = charrnn.load(folder, with_ngram=True)
    documents = str(lm.validation_text()).strip(END).split(END)
    found = grams.evaluate(lm.validation_text())
    assert found.chars == found.memory.chars == loss_of(lm, documents)[1] == 4 * len(documents)
    monkeypatch.setattr("charrnn.training.fitting.LEAST", 1000)
    assert stop_at(start(tmp_path / "few", write_text(tmp_path, text), **CONTEXT), lambda event: True)
    with pytest.raises(CorpusError, match="has fewer than 1,000 characters"):
        charrnn.load(folder, with_ngram=True).evaluate("12\t12\n")


def test_a_language_model_can_learn_to_translate(tmp_path):
    path = write_text(tmp_path, TEXT)
    finish(start(tmp_path / "lm", path, **CONTEXT | {"context": False}))
    run = start(tmp_path / "run", path, init_from=tmp_path / "lm" / "best.npz", **CONTEXT)
    finish(run)
    assert run.training.stream.tab is not None
    assert charrnn.load(tmp_path / "run").checkpoint.tab == run.training.stream.tab
    assert charrnn.load(tmp_path / "lm").checkpoint.tab is None


def test_counts_of_a_whole_text_do_not_depend_on_its_pieces(monkeypatch):
    vocab = Vocab.from_text(MARKED)
    ids = vocab.ids_of(Corpus.from_text(MARKED, 0).train)
    found = count_targets(ids, vocab.end, vocab.tab)
    assert found == (3 * len(LINES), len(LINES))
    for size in (1, 2, 7):
        monkeypatch.setattr("charrnn.data.stream._BLOCK", size)
        assert count_targets(ids, vocab.end, vocab.tab) == found
