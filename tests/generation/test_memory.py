"""Samples, beams and completions of models with a memory: each text has its own, whatever is written beside it."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from fixtures_memory import SYMBOLS, by_hand, memory_model, some_grams, text_of

from charrnn.generation import drawing, loop
from charrnn.generation.beam import beam_search
from charrnn.generation.completion import complete
from charrnn.generation.ensemble import Ensemble, Member
from charrnn.generation.loop import Streams, advance, generate
from charrnn.generation.rules import Rules
from charrnn.generation.settings import SampleConfig
from charrnn.generation.writer import Writer
from charrnn.memory.gate import shares
from charrnn.memory.memory import Memory
from charrnn.nn import compiled, model
from charrnn.nn.functional import log_softmax, softmax

KINDS = ["cache", "ngram", "adaptive", "cache and adaptive"]
every_kind = pytest.mark.parametrize("kind", KINDS)
PRIME = text_of(150, seed=4)
needs_core = pytest.mark.skipif(not compiled.core(), reason="needs the compiled core")


def writer_of(kind="cache", lm=None, **settings):
    """Return the writer of a random model with a memory of this kind."""
    lm = lm or memory_model(**settings)
    vocab = lm.checkpoint.vocab
    ids = vocab.encode(text_of(700, seed=6)[: 700 if set(SYMBOLS) <= set(vocab.symbols) else 0])
    grams = None if kind == "cache" else some_grams(ids, vocab.size, adaptive="adaptive" in kind)
    memory = Memory(lm.cache if "cache" in kind else None, grams)
    return Writer(Ensemble((Member(lm.weights, lm.checkpoint.model_config),), memory), vocab)


def log_probs_after(writer, ids, memory=None):
    """Return the log-probabilities (N, V) after each id, each of them read by itself in turn."""
    (member,), memory = writer.ensemble.members, memory or writer.ensemble.memory
    remembered, state, found = memory.start(1, writer.ensemble.first), model.zero_state(member.config, 1), []
    for id_ in ids:
        window = np.array([[id_]])
        h = model.outputs(member.weights, window, state)
        logits = model.logits_after(member.weights, h, window, state)
        memory.recall(remembered, window, h, logits)
        found.append(logits[0, 0])
    return np.array(found)


def texts(writer, count=9, length=120, **settings):
    """Return the texts of some samples."""
    settings = {"primes": [PRIME], "seed": 3} | settings
    return [sample.text for sample in writer.samples(count, length=length, **settings)]


# Samples


@needs_core
@pytest.mark.parametrize("prime", ["", PRIME])
@pytest.mark.parametrize(
    "settings",
    [{"temperature": 1.0}, {"temperature": 0.6, "top_p": 0.9}, {"temperature": 0.0}, {"temperature": 1.7}],
    ids=str,
)
@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "embed_size": 4, "cell": "gru"}, {"attention": 20}], ids=str)
def test_numpy_and_the_compiled_core_write_the_same(compute_by, prime, settings, shape):
    found = []
    for name in ("numpy", compiled.core().variants()[0]):
        compute_by(name)
        found.append(texts(writer_of(**shape), 3, 70, primes=[prime], **settings))
    assert found[0] == found[1]


@needs_core
def test_in_single_precision_samples_use_the_memory_from_the_first_character_on():
    writer = writer_of(dtype="float32")
    for prime in ("", PRIME):
        (text,) = texts(writer, 1, 200, primes=[prime], temperature=0.0)
        before = prime or "\n"
        ids = writer.vocab.encode(before + text)
        log_probs = log_probs_after(writer, ids[:-1], writer.ensemble.memory_for(0.0))[len(before) :]
        chosen = log_probs[np.arange(len(log_probs)), ids[len(before) + 1 :]]
        assert len(chosen) == 199
        assert (log_probs.max(axis=1) - chosen).max() < 1e-3


@every_kind
def test_neither_threads_nor_what_is_written_beside_it_changes_a_sample(monkeypatch, kind):
    writer = writer_of(kind)
    primes = [PRIME, "", "abc", PRIME[:40]]
    usual = texts(writer, 2, 40, primes=primes, threads=1)
    assert len(set(usual)) == 8
    assert texts(writer, 2, 40, primes=primes, threads=1) == usual
    assert texts(writer, 2, 40, primes=primes, threads=1, seed=4) != usual
    for size, threads in ((1, 1), (5, 2), (2, 3)):
        monkeypatch.setattr(drawing, "group_size", lambda ensemble, size=size: size)
        assert texts(writer, 2, 40, primes=primes, threads=threads) == usual
    assert "".join(writer.stream(prime=PRIME, seed=3, length=40)) == usual[0]


@every_kind
def test_samples_that_end_leave_the_others_alone(kind):
    writer = writer_of(kind)
    endless = texts(writer, 8, 100)
    stopped = texts(writer, 8, 100, stop=("a", "bc"))
    for long, short in zip(endless, stopped, strict=True):
        at = [position for stop in ("a", "bc") if (position := long.find(stop)) >= 0]
        assert short == long[: min(at, default=None)]
    assert len({len(text) for text in stopped}) > 2


@every_kind
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_what_was_written_is_remembered_as_what_was_read(kind, temperature):
    writer = writer_of(kind)
    ensemble, filters = writer.ensemble, SampleConfig(temperature=temperature)
    memory = ensemble.memory_for(temperature)
    ids = writer.vocab.encode(PRIME)
    streams = Streams.start(
        [ensemble.read(ids, memory)] * 3, [[1, k] for k in range(3)], rules=Rules(None), filters=filters, memory=memory
    )
    written = []
    for _ in range(40):
        written.append(streams.draw().ids)
        advance(ensemble, [streams])
    streams.keep([2, 0])
    for row, own in enumerate((2, 0)):
        whole = np.concatenate([ids, np.array(written)[:, own]])
        fresh = ensemble.read(whole, memory).logits
        np.testing.assert_allclose(log_softmax(streams.logits[row : row + 1]), log_softmax(fresh), rtol=1e-9)
        np.testing.assert_allclose(log_softmax(fresh)[0], log_probs_of_last(writer, whole, memory), rtol=1e-9)


def log_probs_of_last(writer, ids, memory):
    return log_softmax(log_probs_after(writer, ids, memory)[-1:])[0]


@every_kind
def test_all_characters_are_drawn_as_often_as_the_mixture_says(kind):
    # The temperature is the net's alone: the mixture is not raised to a power.
    writer, temperature = writer_of(kind), 0.5
    ids = writer.vocab.encode(PRIME)
    memory = writer.ensemble.memory_for(temperature)
    probs = softmax(log_probs_after(writer, ids, memory)[-1:] / temperature)[0]
    np.testing.assert_allclose(probs, mixture_of(writer, ids, temperature), rtol=1e-6)
    count = 1000
    primed = [writer.ensemble.read(ids, memory)] * count
    entropy = [[2, k] for k in range(count)]
    filters = SampleConfig(temperature=temperature)
    streams = Streams.start(primed, entropy, rules=Rules(None), filters=filters, memory=memory)
    drawn = np.bincount(streams.draw().ids, minlength=len(probs)) / count
    np.testing.assert_allclose(drawn, probs, atol=4 * 0.5 / math.sqrt(count))


def mixture_of(writer, ids, temperature):
    """Return the probabilities after these ids: the net's at this temperature, mixed with what each memory says."""
    (member,) = writer.ensemble.members
    memory = writer.ensemble.memory.for_sampling(1.0)
    h, _, _ = model.hidden(member.weights, ids[:, None], model.zero_state(member.config, 1))
    logits, _ = model.readout(member.weights, h)
    p = softmax(logits / temperature)
    if cache := memory.cache:
        q = logits.copy()
        features = cache.recall(cache.entries(1), ids[:, None], h, q, fitting=True)
        share = np.where(q.any(axis=-1), shares(features, cache.gates, None), 0)[..., None]
        p = (1 - share) * p + share * q
    before = p
    if grams := memory.grams:
        for gates, (q, features) in zip(
            grams.gates, grams.look_up(grams.start(1), ids[:, None], before, None), strict=True
        ):
            share = shares(features, gates, None)[..., None]
            p = (1 - share) * p + share * q
    return p[-1, 0]


@every_kind
@pytest.mark.parametrize("temperature", [None, 0.5])
def test_a_prime_is_read_with_the_memory_of_its_samples(kind, temperature):
    writer, vocab = writer_of(kind), writer_of(kind).vocab
    memory = writer.ensemble.memory if temperature is None else writer.ensemble.memory_for(temperature)
    ids = vocab.encode(PRIME)
    primed = writer.prime(ids, writer.rules(SampleConfig()), temperature)
    np.testing.assert_allclose(primed.logits[0], log_probs_after(writer, ids, memory)[-1], rtol=1e-7)
    assert (temperature is None) == np.allclose(primed.logits, writer.ensemble.read(ids).logits)


@every_kind
def test_at_temperature_zero_every_seed_writes_the_most_likely_text(kind):
    writer = writer_of(kind)
    found = [texts(writer, 2, 60, temperature=0.0, seed=seed) for seed in (1, 2)]
    assert len({*found[0], *found[1]}) == 1
    ids = writer.vocab.encode(PRIME + found[0][0])
    log_probs = log_probs_after(writer, ids[:-1], writer.ensemble.memory_for(0.0))[len(PRIME) - 1 :]
    assert log_probs.argmax(axis=1).tolist() == ids[len(PRIME) :].tolist()


def test_without_a_memory_samples_are_those_of_a_model_that_never_had_one():
    lm = memory_model(dtype="float32")
    bare = replace(lm, checkpoint=replace(lm.checkpoint, cache=None))
    settings = {"length": 200, "seed": 5, "primes": [PRIME, ""]}
    without, never, with_memory = (
        [sample.text for sample in each.samples(3, **settings)] for each in (replace(lm, memory=0), bare, lm)
    )
    assert without == never
    assert all(one != other for one, other in zip(with_memory, without, strict=True))


def test_a_sample_continues_the_text_that_filled_the_memory():
    lm = memory_model(size=300)
    filled = replace(lm, memory_from=PRIME * 2)
    before = filled.checkpoint.vocab.encode(PRIME * 2)
    ids = filled.checkpoint.vocab.encode("abc")
    _, both = by_hand(lm, np.append(ids, 0), first=before)
    primed = filled.writer.ensemble.read(ids)
    np.testing.assert_allclose(log_softmax(primed.logits)[0], both[-1], rtol=1e-9)
    assert filled.sample(100, prime="abc", seed=1) != lm.sample(100, prime="abc", seed=1)


@every_kind
def test_reading_a_prime_in_windows_changes_nothing(monkeypatch, kind):
    writer = writer_of(kind)
    ids = writer.vocab.encode(PRIME)
    whole = writer.ensemble.read(ids)
    for size in (1, 7, 149):
        monkeypatch.setattr("charrnn.generation.ensemble._PRIME_WINDOW", size)
        np.testing.assert_allclose(writer.ensemble.read(ids).logits, whole.logits, rtol=1e-9)
    np.testing.assert_allclose(log_softmax(whole.logits)[0], log_probs_after(writer, ids)[-1], rtol=1e-7)


# Beams


@every_kind
@pytest.mark.parametrize("norm", [0.5])
def test_a_beam_as_wide_as_all_beginnings_finds_the_best_of_all_texts(kind, norm):
    length, ids = 3, np.array([1, 2, 3, 1, 2, 0, 1, 2])
    writer = writer_of(kind, symbols="abcd", size=6)
    scores = {}
    for text in itertools.product(range(4), repeat=length):
        log_probs = log_probs_after(writer, [*ids, *text[:-1]])[len(ids) - 1 :]
        scores[text] = log_probs[np.arange(length), text].sum() / length**norm
    best = max(scores, key=scores.get)
    for width in (4**length, 5):
        (found,) = beam_search(writer.ensemble, writer.ensemble.read(ids), Rules(length), width=width, length_norm=norm)
        own = tuple(found.ids.tolist())
        assert found.log_probs.sum() / length**norm == pytest.approx(scores[own], abs=1e-9)
        assert own == best or width == 5


@every_kind
def test_each_hypothesis_of_a_beam_has_its_own_memory(kind):
    writer = writer_of(kind)
    ids = writer.vocab.encode(PRIME)
    primed = writer.ensemble.read(ids)
    several = [beam_search(writer.ensemble, primed, Rules(15), width=6, length_norm=0.0, count=5) for _ in range(2)]
    assert len(several[0]) == 5
    for found, again in zip(*several, strict=True):  # the primed state is left as it was
        assert found.ids.tolist() == again.ids.tolist()
        log_probs = log_probs_after(writer, [*ids, *found.ids[:-1]])[len(ids) - 1 :]
        np.testing.assert_allclose(found.log_probs, log_probs[np.arange(15), found.ids], rtol=1e-7)
    found = [sample.text for sample in writer.beam_search(4, primes=[PRIME, "ab"], length=20, threads=2)]
    assert found == [sample.text for sample in writer.beam_search(4, primes=[PRIME, "ab"], length=20, threads=1)]


# Completions


@every_kind
@pytest.mark.parametrize("length", [150, 500])
def test_the_next_characters_have_the_probabilities_of_the_mixture(kind, length):
    writer = writer_of(kind, size=1000)
    text = text_of(length, seed=4)
    found = complete(writer, text, to="char", count=9).completions
    probs = np.exp(log_probs_after(writer, writer.vocab.encode(text))[-1])
    assert sum(one.probability for one in found) == pytest.approx(1)
    expected = {char: prob for char, prob in zip(SYMBOLS, probs.tolist(), strict=True)}
    assert {one.text: pytest.approx(one.probability, rel=1e-6) for one in found} == expected


@every_kind
def test_lines_have_the_probabilities_of_the_mixture(kind):
    writer = writer_of(kind)
    ids = writer.vocab.encode(PRIME)
    found = complete(writer, PRIME, to="line", count=4, max_length=6).completions
    assert found
    for one in found:
        own = [*writer.vocab.encode(one.text).tolist(), *([0] if one.ended == "line" else [])]
        log_probs = log_probs_after(writer, [*ids, *own[:-1]])[len(ids) - 1 :]
        assert one.logprob == pytest.approx(log_probs[np.arange(len(own)), own].sum(), rel=1e-7)


def test_a_group_that_is_drawn_again_begins_with_the_same_memory():
    writer = writer_of("cache and adaptive")
    primed = [writer.ensemble.read(writer.vocab.encode(PRIME), writer.ensemble.memory_for(1.0))] * 2
    filters, entropy = SampleConfig(temperature=1.0), [[1, 0], [1, 0]]
    found = []
    for _ in range(2):
        steps = generate(writer.ensemble, primed, entropy, rules=Rules(50), filters=filters)
        found.append(np.array([step.ids for step in steps]))
    assert np.array_equal(*found)
    assert np.array_equal(found[0][:, 0], found[0][:, 1])
    assert loop.group_size(writer.ensemble) > 2
