"""Evaluation: what is scored, with which state, and what the figures mean."""

import hashlib
import math
import os
import re
import warnings

import numpy as np
import pytest
from fixtures_run import TEXT, begin, copies, make_training, same

from charrnn.api import LanguageModel
from charrnn.checkpoint import Checkpoint
from charrnn.config import PROTOCOLS, ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import Source
from charrnn.data.text import END, Text
from charrnn.data.vocab import Vocab
from charrnn.errors import VocabError
from charrnn.evaluation import whole
from charrnn.evaluation.whole import WARM_UP, dynamic_predictions, rows_for, tally, workers_for
from charrnn.nn import model
from charrnn.nn.functional import log_softmax
from charrnn.parallel.plan import available_threads, make_plan
from charrnn.parallel.workers import Workers
from charrnn.training.loop import fit, train_step, validate
from charrnn.version import __version__

SYMBOLS = "\nabcdefghijklmno"

posix = pytest.mark.skipif(os.name != "posix", reason="needs processes that share memory")


def language_model(symbols=SYMBOLS, seed=1, specials=(), split_documents=None, **settings):
    """Return a model with random weights large enough that what was read before matters."""
    vocab = Vocab(symbols, specials=specials)
    config = ModelConfig(vocab.size, **{"hidden_size": 8, "dtype": "float64", **settings})
    params = model.init_params(config, np.random.default_rng(seed))
    params["out.W_hy"] *= 5
    training, text_config = TrainConfig(steps=1, seed=1), TextConfig(split_documents=split_documents)
    source = Source(None, "00" * 32)
    return LanguageModel(Checkpoint(config, training, vocab, params, 0, source, text_config=text_config))


def text_of(length, symbols=SYMBOLS, seed=2):
    """Return a random text."""
    return "".join(np.random.default_rng(seed).choice(list(symbols), length))


def tallies(lm, text, rows=1, window=256, shares=1):
    """Return the running tallies of a text."""
    work = make_plan(lm.checkpoint.model_config, None, rows, window, 1)._replace(processes=shares)
    with Workers(work) as workers:
        return list(tally(lm.checkpoint.params, workers, lm.checkpoint.vocab.encode(text), rows))


def last_of(lm, text, rows=1, window=256, shares=1):
    """Return the final tally of a text."""
    return tallies(lm, text, rows, window, shares)[-1]


def scores_of(lm, text):
    """Return the log-probability of each character but the first, from one forward pass over all of it."""
    source = lm.checkpoint.vocab.ids_of(Text.of(text))
    ids = source[np.arange(len(source))]
    state = model.zero_state(lm.checkpoint.model_config, 1)
    logits, _, _ = model.forward(lm.weights, ids[:-1, None], state)
    p = np.exp(logits[:, 0])
    picked = p[np.arange(len(ids) - 1), ids[1:]] / p.sum(axis=-1)
    return np.log(picked), p.argmax(axis=-1) == ids[1:]


# The figures


@pytest.mark.parametrize("length", [2, 3, 300, 1000])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_model_that_knows_nothing_needs_the_logarithm_of_the_symbols(length, rows):
    lm = language_model()
    lm.checkpoint.params["out.W_hy"][...] = 0
    result = last_of(lm, text_of(length), rows)
    assert result.chars == length - 1
    assert result.nats_per_char / math.log(2) == pytest.approx(math.log2(16), rel=1e-12)
    figures = lm.evaluate(text_of(length))
    assert figures.bpc == pytest.approx(4.0, rel=1e-12)
    assert figures.perplexity == pytest.approx(16.0, rel=1e-12)


@pytest.mark.parametrize("settings", [{}, {"cell": "gru"}, {"cell": "rnn", "num_layers": 2}, {"embed_size": 3}])
@pytest.mark.parametrize("length", [2, 255, 256, 257, 258, 700])
def test_whole_is_the_sum_over_one_forward_pass(settings, length):
    lm, text = language_model(**settings), text_of(length)
    scores, right = scores_of(lm, text)
    result = last_of(lm, text)
    assert result.chars == len(scores) == length - 1
    assert result.nats == pytest.approx(-scores.sum(), rel=1e-10)
    assert result.correct == right.sum()
    figures = lm.evaluate(text)
    assert figures.chars == length - 1
    assert figures.nats_per_char == pytest.approx(-scores.sum() / (length - 1), rel=1e-10)
    assert figures.accuracy == right.sum() / (length - 1)
    assert figures.bpc == pytest.approx(figures.nats_per_char / math.log(2), rel=1e-12)
    assert figures.perplexity == pytest.approx(math.exp(figures.nats_per_char), rel=1e-12)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_size_of_a_window_changes_no_figure(monkeypatch, rows):
    lm, text = language_model(), text_of(1300)
    monkeypatch.setattr(whole, "WARM_UP", 20)
    results = [last_of(lm, text, rows, window) for window in (1, 7, 256, 10_000)]
    for result in results:
        assert (result.chars, result.correct) == (1299, results[0].correct)
        assert result.nats == pytest.approx(results[0].nats, rel=1e-12)


def test_the_running_tally_grows_to_the_whole():
    lm, text = language_model(), text_of(600)
    scores, _ = scores_of(lm, text)
    running = tallies(lm, text)
    assert [result.chars for result in running] == [256, 512, 599]
    for result in running:
        assert result.nats == pytest.approx(-scores[: result.chars].sum(), rel=1e-10)


def test_accuracy_counts_where_the_likeliest_character_is_the_right_one():
    # Rigged: whatever was read, "b" is the likeliest.
    lm = language_model("abc")
    lm.checkpoint.params["out.W_hy"][...] = 0
    lm.checkpoint.params["out.b_y"][...] = [0, 1, 0.5]
    assert lm.evaluate("bbbb").accuracy == 1.0
    assert lm.evaluate("baaa").accuracy == 0.0
    assert lm.evaluate("abcab").accuracy == 0.5
    p = np.exp([0, 1, 0.5]) / np.exp([0, 1, 0.5]).sum()
    assert lm.evaluate("abca").nats_per_char == pytest.approx(-np.log(p[[1, 2, 0]]).mean(), rel=1e-12)


def test_a_model_sure_of_what_is_wrong_gives_large_figures_and_no_warning():
    lm = language_model("ab")
    lm.checkpoint.params["out.W_hy"][...] = 0
    lm.checkpoint.params["out.b_y"][...] = [0, 1e5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = lm.evaluate("aaaa")
    assert figures.nats_per_char == 1e5
    assert figures.perplexity == math.inf


# Nothing to score


@pytest.mark.parametrize("text", ["", "a", "?", "a?", "???"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_where_nothing_is_scored_there_is_no_figure(text, protocol):
    lm = language_model()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = lm.evaluate(text, protocol=protocol)
    assert figures.chars == 0
    by_name = figures.to_dict()
    assert {name for name, value in by_name.items() if value is None} == {
        "nats_per_char", "bpc", "perplexity", "interval", "accuracy", "dynamic", "chars_per_second", "memory",
    }  # fmt: skip
    assert by_name["unknown"] == text.count("?")
    assert "|chars:0|" in figures.signature


def test_the_figures_have_the_names_that_json_shows():
    figures = language_model().evaluate(text_of(50))
    assert list(figures.to_dict()) == (
        "chars nats_per_char bpc perplexity interval accuracy dynamic by_position".split()
        + "unknown chars_per_second signature memory".split()
    )
    for name, value in figures.to_dict().items():
        assert value == getattr(figures, name)
    assert figures.chars_per_second > 0


# Unknown characters


def test_unknown_characters_are_left_out_and_counted():
    lm = language_model()
    with_unknown, without = lm.evaluate("ab?cd!!ef水"), lm.evaluate("abcdef")
    assert with_unknown.unknown == 4
    assert without.unknown == 0
    assert with_unknown.chars == without.chars == 5
    assert with_unknown.nats_per_char == without.nats_per_char
    assert with_unknown.signature != without.signature


def test_unknown_characters_can_be_refused():
    lm = language_model()
    with pytest.raises(VocabError, match="not in the model's vocabulary"):
        lm.evaluate("ab?c", unknown="error")
    assert lm.evaluate("abc", unknown="error").chars == 2


# Batch rows


@pytest.mark.parametrize(
    ("chars", "batch_size", "rows"),
    [
        (-1, 32, 1),
        (0, 32, 1),
        (1, 32, 1),
        (511, 32, 1),
        (1023, 32, 1),
        (1024, 32, 2),
        (512 * 40, 32, 32),
        (10**6, 1, 1),
    ],
)
def test_a_row_is_never_much_shorter_than_its_warm_up(chars, batch_size, rows):
    assert WARM_UP == 512
    assert rows_for(ModelConfig(2), chars, batch_size) == rows


def test_a_row_fills_the_memory_of_attention_before_it_is_scored():
    assert rows_for(ModelConfig(2, attention=512), 1024, 32) == 2
    assert rows_for(ModelConfig(2, attention=513), 1024, 32) == 1


@pytest.mark.parametrize("length", [2, 5, 12, 13, 14, 97, 100, 101, 1025])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("window", [5, 256])
def test_each_character_but_the_first_is_scored_exactly_once(monkeypatch, length, rows, window):
    # The text has as many symbols as characters, each at one place.
    monkeypatch.setattr(whole, "WARM_UP", 8)
    config = ModelConfig(length, hidden_size=2, cell="rnn", dtype="float64")
    ids = np.random.default_rng(1).permutation(length)
    workers = Counting(make_plan(config, None, rows, window, 1))
    *_, result = tally({}, workers, ids, rows)
    assert result.chars == length - 1
    assert result.nats == -worth(ids[1:]).sum()


def worth(ids):
    """Return a whole number for each id; no two sets of them have the same sum, but by a rare chance."""
    return np.random.default_rng(3).integers(2**40, size=2000)[ids].astype(float)


class Counting(Workers):
    """Workers without a model: each symbol has a log-probability of its own, so that the sum shows what was scored."""

    def take(self, params):
        pass

    def read(self, window, state):
        return state

    def score(self, window, state):
        return worth(window.targets), np.zeros(window.targets.shape, bool), state


@pytest.mark.parametrize("settings", [{}, {"cell": "gru"}, {"num_layers": 2}])
def test_the_protocol_lanes_is_close_to_whole(settings):
    lm, text = language_model(**settings), text_of(4000)
    one, several = lm.evaluate(text), lm.evaluate(text, protocol="lanes")
    assert one.chars == several.chars == 3999
    assert several.nats_per_char == pytest.approx(one.nats_per_char, abs=0.002)
    assert several.accuracy == pytest.approx(one.accuracy, abs=0.002)


def test_a_row_begins_with_the_state_of_what_precedes_it(monkeypatch):
    # A warm-up as long as all that precedes gives each row the very state that it has in one pass over the whole.
    monkeypatch.setattr(whole, "WARM_UP", 2000)
    lm, text = language_model(), text_of(1500)
    for rows in (2, 3, 7):
        one, several = last_of(lm, text), last_of(lm, text, rows)
        assert several.nats == pytest.approx(one.nats, rel=1e-9)
        assert several.correct == one.correct


@posix
@pytest.mark.parametrize("settings", [{}, {"cell": "gru", "num_layers": 2}, {"embed_size": 3}])
@pytest.mark.parametrize("rows", [1, 3, 7])
def test_processes_share_the_rows_and_change_no_figure(settings, rows):
    lm, text = language_model(**settings), text_of(5000)
    alone, shared = last_of(lm, text, rows, 100), last_of(lm, text, rows, 100, shares=3)
    assert shared.chars == alone.chars == 4999
    assert shared.correct == alone.correct
    assert shared.nats == pytest.approx(alone.nats, rel=1e-12)


def test_large_work_is_shared_out_and_small_work_is_not():
    config = ModelConfig(9, hidden_size=64)
    params = {"W": np.zeros(10**6)}
    for chars, shares in ((29_000, 1), (31_000, make_plan(config, None, 32, 1, available_threads()).processes)):
        work = workers_for(config, params, chars, 32).plan
        assert work.processes == shares
        assert work.processes * work.threads == available_threads()


def test_without_a_warm_up_the_rows_would_differ(monkeypatch):
    # Otherwise the two tests above would show nothing.
    lm, text = language_model(), text_of(1500)
    monkeypatch.setattr(whole, "WARM_UP", 0)
    assert abs(last_of(lm, text, 7).nats - last_of(lm, text).nats) > 0.01


def test_few_characters_are_one_row():
    lm = language_model()
    one, several = lm.evaluate(text_of(900)), lm.evaluate(text_of(900), protocol="lanes")
    assert several.nats_per_char == one.nats_per_char
    assert "|protocol:lanes-1x512|" in several.signature


# Windows


@pytest.mark.parametrize("length", [2, 256, 257, 258, 1300])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_every_window_begins_with_a_zero_state(length, batch_size):
    lm, text = language_model(), text_of(length)
    parts = [text[at : at + 257] for at in range(0, length - 1, 256)]
    scored, right = (np.concatenate(found) for found in zip(*(scores_of(lm, part) for part in parts), strict=True))
    figures = lm.evaluate(text, protocol="windows", batch_size=batch_size)
    assert figures.chars == len(scored) == length - 1
    assert figures.nats_per_char == pytest.approx(-scored.mean(), rel=1e-10)
    assert figures.accuracy == right.mean()
    by_position = [-scored[at::256].mean() for at in range(min(256, length - 1))]
    assert figures.by_position == pytest.approx(by_position, rel=1e-10)
    assert "|protocol:windows-256|" in figures.signature


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_loss_by_position_counts_from_the_last_reset(batch_size):
    # A document has its first characters read from a zero state wherever in a window it begins.
    lm = language_model(SYMBOLS, specials=("end",), split_documents="lines")
    documents = ["ab", text_of(300, SYMBOLS[1:]), "a", "bcd", text_of(1200, SYMBOLS[1:])]
    text = END + END.join(documents) + END
    begins = sorted({*range(0, len(text) - 1, 256), *(at for at, char in enumerate(text[:-1]) if char == END)})
    stretches = [
        -scores_of(lm, text[begin : end + 1])[0]
        for begin, end in zip(begins, [*begins[1:], len(text) - 1], strict=True)
    ]
    expected = [
        np.mean([losses[at] for losses in stretches if at < len(losses)]) for at in range(max(map(len, stretches)))
    ]
    figures = lm.evaluate("\n".join(documents), protocol="windows", batch_size=batch_size)
    assert figures.by_position == pytest.approx(expected, rel=1e-10)


def test_the_loss_by_position_is_of_windows_alone():
    lm, text = language_model(), text_of(600)
    assert lm.evaluate(text).by_position == lm.evaluate(text, protocol="lanes").by_position == []


# Dynamic evaluation


def test_a_model_that_learns_as_it_reads_begins_where_it_was_and_forgets_nothing_of_itself():
    lm, text = language_model(), text_of(8) * 100  # what comes again and again can be learned
    before = copies(lm.checkpoint.params)
    figures = lm.evaluate(text, dynamic=True)
    assert same(lm.checkpoint.params, before)
    assert figures.nats_per_char == lm.evaluate(text).nats_per_char
    assert figures.dynamic < figures.nats_per_char - 0.5
    assert lm.evaluate(text).dynamic is None
    first = text[:51]
    assert lm.evaluate(first, dynamic=True).dynamic == pytest.approx(lm.evaluate(first).nats_per_char, rel=1e-12)


def test_dynamic_evaluation_learns_from_nothing_that_it_has_not_scored():
    # Another ending changes no prediction before it.
    lm, text = language_model(), text_of(400)
    config, params, vocab = lm.checkpoint.model_config, lm.checkpoint.params, lm.checkpoint.vocab
    one, other = (
        np.concatenate([found.log_probs for found in dynamic_predictions(params, config, vocab.encode(ending))])
        for ending in (text, text[:300] + text[100:200])
    )
    assert np.array_equal(one[:299], other[:299])
    assert not np.array_equal(one[299:], other[299:])
    assert len(one) == 399


def test_dynamic_evaluation_leaves_attention_as_it_is(monkeypatch):
    lm, text, seen = language_model(attention=9), text_of(300), []
    prepare = model.prepare
    monkeypatch.setattr(model, "prepare", lambda params, *more: seen.append(copies(params)) or prepare(params, *more))
    list(dynamic_predictions(lm.checkpoint.params, lm.checkpoint.model_config, lm.checkpoint.vocab.encode(text)))
    kept = {name for name, array in lm.checkpoint.params.items() if np.array_equal(array, seen[-1][name])}
    assert kept == {"attention.W", "attention.b", "attention.log_scale"}


@pytest.mark.parametrize("window", [1, 7, 256])
def test_attention_and_a_cache_work_together(monkeypatch, window):
    lm, text = language_model(attention=7), text_of(60) * 5
    lm.checkpoint.params["attention.b"] -= 10
    remembering = LanguageModel(lm.checkpoint, memory=40)
    ids = lm.checkpoint.vocab.encode(text)[:, None]
    logits, _, _ = model.forward(lm.weights, ids, model.zero_state(lm.checkpoint.model_config, 1))
    h = model.outputs(lm.weights, ids, model.zero_state(lm.checkpoint.model_config, 1))
    cache = remembering.cache
    cache.recall(cache.entries(1), ids, h, logits)
    monkeypatch.setattr(whole, "_WINDOW", window)
    both = remembering.evaluate(text).memory
    mixed = log_softmax(logits[:, 0])
    picked = np.take_along_axis(mixed[:-1], ids[1:], -1)
    assert both.nats_per_char == pytest.approx(-picked.mean(), rel=1e-9)
    assert abs(both.nats_per_char - lm.evaluate(text).nats_per_char) > 0.01
    np.testing.assert_allclose(log_softmax(remembering.writer.ensemble.read(ids[:, 0]).logits)[0], mixed[-1], rtol=1e-9)


def test_dynamic_evaluation_drops_nothing():
    lm, noisy = language_model(), language_model(dropout=0.5, weight_drop=0.5)
    text = text_of(300)
    assert noisy.evaluate(text, dynamic=True).dynamic == lm.evaluate(text, dynamic=True).dynamic


# The signature


def test_the_signature_says_what_two_figures_must_share():
    lm = language_model(num_layers=2, cell="gru")
    text = text_of(2000)
    text_hash = hashlib.sha256(text.encode()).hexdigest()[:8]
    head, tail = "cell:gru|layers:2|hidden:8", f"text:sha256-{text_hash}|charrnn:{__version__}"
    assert lm.evaluate(text).signature == f"{head}|protocol:whole|chars:1999|unknown:0|{tail}"
    lanes = lm.evaluate(text, protocol="lanes").signature
    assert lanes == f"{head}|protocol:lanes-3x512|chars:1999|unknown:0|{tail}"
    two = lm.evaluate(text, protocol="lanes", batch_size=2).signature
    assert two == f"{head}|protocol:lanes-2x512|chars:1999|unknown:0|{tail}"
    text_hash = hashlib.sha256(b"ab?c").hexdigest()[:8]
    assert lm.evaluate("ab?c").signature == (
        f"{head}|protocol:whole|chars:2|unknown:skipped-1|text:sha256-{text_hash}|charrnn:{__version__}"
    )
    assert re.fullmatch(r"[0-9a-f]{8}", text_hash)


# It disturbs nothing


def test_two_evaluations_are_the_same_and_change_nothing():
    lm, text = language_model(), text_of(700)
    before = copies(lm.checkpoint.params)
    first, second = lm.evaluate(text), lm.evaluate(text)
    assert first.nats_per_char == second.nats_per_char
    assert same(lm.checkpoint.params, before)


def test_an_evaluation_in_the_midst_of_training_changes_nothing():
    ends = []
    for evaluates in (True, False):
        training = make_training(TEXT, TEXT[:700], dropout=0.2, num_layers=2)
        optimizer, state = training.optimizer(), begin(training)
        with training.workers() as workers:
            for step in range(12):
                if evaluates:
                    list(validate(training, state.params, workers))
                train_step(training, optimizer, 0.01, state, training.stream[step], workers)
        ends.append(state)
    assert same(ends[0].params, ends[1].params)
    assert same(ends[0].opt_state, ends[1].opt_state)
    assert np.array_equal(ends[0].state, ends[1].state)


def test_training_validates_without_dropout_and_from_a_fresh_state():
    training = make_training(TEXT, TEXT[:300], dropout=0.5)
    state = begin(training)
    for _ in fit(training, state):
        pass
    with training.workers() as workers:
        first, second = (list(validate(training, state.params, workers))[-1] for _ in range(2))
    assert first == second
    vocab = Vocab.from_text(TEXT)
    checkpoint = Checkpoint(training.model_config, training.config, vocab, state.params, 20, Source(None, "00" * 32))
    figures = LanguageModel(checkpoint).evaluate(TEXT[:300])
    assert figures.nats_per_char == pytest.approx(first.nats_per_char, rel=1e-6)
    assert state.history[-1]["val_loss"] == first.nats_per_char
