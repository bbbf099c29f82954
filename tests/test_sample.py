"""Sampling: one choice among logits, and the loop that writes a text."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import model, sample
from charrnn.config import ModelConfig
from charrnn.sample import choose, generate, start_logits

LOGITS = np.array([0.0, 2.0, -1.0, 1.0, 0.5])
NEARLY_ONE = 1 - 2**-53


def softmax(logits):
    """Return the probabilities."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def tiny(cell="lstm", **settings):
    """Return the config and the weights of a random model of nine symbols whose guesses depend on what was read."""
    config = ModelConfig(9, cell=cell, **{"hidden_size": 8, "dtype": "float64", **settings})
    params = model.init_params(config, np.random.default_rng(4))
    params["out.W_hy"] *= 6
    return config, model.prepare(params, config)


def written(config, weights, prime=(), *, first=None, **options):
    """Return the ids that continue the prime."""
    first = np.zeros((1, config.vocab_size)) if first is None and not len(prime) else first
    options = {"length": 30, "temperature": 1.0, "seed": 7} | options
    return list(generate(weights, config, np.array(prime, np.uint8), first=first, **options))


def final_logits(config, weights, ids):
    """Return the logits after the ids, from one forward pass over all of them."""
    logits, _, _ = model.forward(weights, np.array(ids)[:, None], model.zero_state(config, 1))
    return logits[-1, 0]


# One choice


def test_temperature_zero_takes_the_likeliest_whatever_the_uniforms():
    logits = np.array([[0.0, 1.0, 0.5], [3.0, -1.0, 2.9], [-5.0, -6.0, -4.0]])
    for uniform in (0.0, 0.5, NEARLY_ONE):
        assert choose(logits, np.full(3, uniform), 0.0).tolist() == [1, 0, 2]
        assert choose(logits, np.full(3, uniform), 0.0, top_k=2).tolist() == [1, 0, 2]


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [0, 2, 4, 5, 9])
def test_ids_are_as_frequent_as_the_softmax_says(temperature, top_k):
    n = 20_000
    uniforms = np.random.default_rng(11).random(n)
    ids = choose(np.tile(LOGITS, (n, 1)), uniforms, temperature, top_k)
    kept = LOGITS.copy()
    if 0 < top_k < 5:
        kept[np.argsort(LOGITS)[:-top_k]] = -np.inf
    expected = n * softmax(kept / temperature)
    counts = np.bincount(ids, minlength=5)
    assert counts[expected == 0].tolist() == [0] * int((expected == 0).sum())
    likely = expected > 5
    chi_square = ((counts - expected)[likely] ** 2 / expected[likely]).sum()
    assert chi_square < 20  # 99.9 % of all samples with four degrees of freedom stay below 18.5


def test_an_id_is_where_the_running_sum_passes_the_uniform_number():
    # Hand-made: probabilities of an eighth, three eighths and a half.
    logits = np.log([[1.0, 3.0, 4.0]])
    for uniform, wanted in [(0.0, 0), (0.124, 0), (0.126, 1), (0.499, 1), (0.501, 2), (0.999, 2)]:
        assert choose(logits, np.array([uniform]), 1.0).tolist() == [wanted]


def test_top_k_of_one_is_the_likeliest():
    logits = np.random.default_rng(3).normal(size=(50, 7))
    uniforms = np.random.default_rng(4).random(50)
    assert choose(logits, uniforms, 1.0, 1).tolist() == logits.argmax(axis=-1).tolist()


@given(
    st.lists(st.sampled_from([-math.inf, -1e4, -745.0, -40.0, -3.0, 0.0, 2.5]), min_size=2, max_size=9).filter(
        lambda logits: max(logits) > -math.inf
    ),
    st.sampled_from([0.0, 2**-53, 0.3, 0.5, 1 - 2**-52, NEARLY_ONE]),
    st.sampled_from([0.25, 1.0, 3.0]),
    st.integers(0, 9),
)
def test_no_id_without_a_probability_is_ever_taken(logits, uniform, temperature, top_k):
    array = np.array([logits])
    (chosen,) = choose(array, np.array([uniform]), temperature, top_k)
    assert 0 <= chosen < len(logits)
    assert np.exp((array[0] - array.max()) / temperature)[chosen] > 0
    if top_k:
        assert logits[chosen] >= sorted(logits)[-min(top_k, len(logits))]


@pytest.mark.parametrize("uniform", [0.0, NEARLY_ONE])
def test_the_ends_of_the_uniform_numbers_take_what_is_possible(uniform):
    logits = np.array([[-math.inf, -math.inf, 0.0, -math.inf, 1.0, -math.inf]])
    assert choose(logits, np.array([uniform]), 1.0).tolist() == [2 if uniform == 0 else 4]


def test_streams_are_independent():
    rng = np.random.default_rng(5)
    logits, uniforms = rng.normal(size=(40, 6)) * 3, rng.random(40)
    for temperature, top_k in [(1.0, 0), (0.4, 3), (0.0, 0)]:
        together = choose(logits, uniforms, temperature, top_k)
        alone = [choose(logits[[row]], uniforms[[row]], temperature, top_k)[0] for row in range(40)]
        assert together.tolist() == alone
    assert len(set(choose(logits, uniforms, 1.0).tolist())) > 3


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-300, 1e-308, 5e-324])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_very_small_temperature_is_the_likeliest_without_overflow(temperature, dtype):
    logits = (np.random.default_rng(6).normal(size=(20, 5)) * 50).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uniforms = np.random.default_rng(7).random(20)
        ids = choose(logits, uniforms, temperature)
        alone = [choose(logits[[row]], uniforms[[row]], temperature)[0] for row in range(20)]
    assert ids.tolist() == alone == logits.argmax(axis=-1).tolist()


def test_a_very_high_temperature_takes_all_alike():
    ids = choose(np.tile(LOGITS, (5000, 1)), np.random.default_rng(8).random(5000), 1e300)
    counts = np.bincount(ids, minlength=5)
    assert ((counts - 1000) ** 2 / 1000).sum() < 20


def test_the_logits_are_not_changed():
    logits = np.random.default_rng(9).normal(size=(3, 5))
    before = logits.copy()
    choose(logits, np.full(3, 0.5), 0.7, 2)
    assert np.array_equal(logits, before)


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, 1e4 - 1, -1e4]], np.float32)
    assert choose(logits, np.array([0.1]), 1.0).tolist() == [0]
    assert choose(logits, np.array([0.99]), 1.0).tolist() == [1]


# The first character


def test_the_first_character_is_drawn_as_often_as_it_begins_a_line():
    logits = start_logits((0, 3, 0, 1), 5)
    assert logits.shape == (1, 5)
    np.testing.assert_allclose(softmax(logits[0]), [0, 0.75, 0, 0.25, 0])
    for uniform, wanted in [(0.0, 1), (0.74, 1), (0.76, 3), (NEARLY_ONE, 3)]:
        assert choose(logits, np.array([uniform]), 1.0).tolist() == [wanted]


@pytest.mark.parametrize("starts", [(), (0, 0, 0)])
def test_where_nobody_counted_all_begin_alike(starts):
    np.testing.assert_allclose(softmax(start_logits(starts, 4)[0]), [0.25] * 4)


def test_without_a_prime_the_first_id_is_drawn_from_the_logits_of_the_start():
    config, weights = tiny()
    first = start_logits((0, 0, 5, 0, 5), 9)
    begun = {written(config, weights, first=first, seed=seed, length=1)[0] for seed in range(40)}
    assert begun == {2, 4}
    assert written(config, weights, first=start_logits((0, 1, 5), 9), temperature=0.0, length=1) == [2]


def test_what_was_read_before_a_given_start_still_counts():
    config, weights = tiny()
    first = start_logits((1,), 9)
    ids = written(config, weights, [1, 2], first=first, temperature=0.0, length=2)
    assert ids == [0, final_logits(config, weights, [1, 2, 0]).argmax()]


# The loop


@pytest.mark.parametrize("settings", [{"cell": "rnn"}, {"cell": "lstm"}, {"cell": "gru", "num_layers": 2}])
@pytest.mark.parametrize("prime", [(), (3,), (1, 4, 1, 5)])
def test_each_id_is_drawn_from_one_forward_pass_over_all_before(settings, prime):
    # Teacher-forced: what the loop does with a carried state, a whole forward pass must give as well.
    config, weights = tiny(**settings)
    first = None if prime else start_logits((1, 2, 3), 9)
    ids = written(config, weights, prime, first=first, temperature=0.9, top_k=6)
    rng = np.random.default_rng(7)
    for at, id_ in enumerate(ids):
        before = [*prime, *ids[:at]]
        logits = final_logits(config, weights, before)[None] if before else first
        assert choose(logits, rng.random(1), 0.9, 6).tolist() == [id_], at


@pytest.mark.parametrize("chunk", [1, 3, 7, 256])
@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 20])
def test_a_prime_read_in_chunks_is_read_whole(monkeypatch, chunk, length):
    config, weights = tiny()
    prime = np.random.default_rng(2).integers(9, size=length).tolist()
    whole = written(config, weights, prime)
    monkeypatch.setattr(sample, "_PRIME_WINDOW", chunk)
    assert written(config, weights, prime) == whole
    assert written(config, weights, prime, temperature=0.0, length=1) == [final_logits(config, weights, prime).argmax()]


def test_a_long_prime_is_read_to_its_end():
    config, weights = tiny()
    prime = np.random.default_rng(2).integers(9, size=600).tolist()
    expected = final_logits(config, weights, prime).argmax()
    assert written(config, weights, prime, temperature=0.0, length=1) == [expected]


def test_temperature_zero_follows_the_likeliest():
    config, weights = tiny()
    ids = written(config, weights, [2], temperature=0.0)
    for at, id_ in enumerate(ids):
        assert final_logits(config, weights, [2, *ids[:at]]).argmax() == id_
    assert ids == written(config, weights, [2], temperature=0.0, seed=8)


@pytest.mark.parametrize("length", [0, 1, 2, 5])
@pytest.mark.parametrize("prime", [(), (1, 2)])
def test_as_many_ids_as_asked_for_are_written(length, prime):
    config, weights = tiny()
    ids = written(config, weights, prime, length=length)
    assert len(ids) == length
    assert all(type(id_) is int and 0 <= id_ < 9 for id_ in ids)


def test_a_longer_text_begins_like_a_shorter_one():
    config, weights = tiny()
    assert written(config, weights, [1], length=30)[:10] == written(config, weights, [1], length=10)


def test_the_seed_decides():
    config, weights = tiny()
    texts = [tuple(written(config, weights, [1], seed=seed)) for seed in (0, 1, 2, 0)]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3


def test_ids_come_one_by_one():
    config, weights = tiny()
    ids = generate(weights, config, np.array([1]), length=10**9, temperature=1.0, seed=7)
    assert [next(ids) for _ in range(10)] == written(config, weights, [1], length=10)
