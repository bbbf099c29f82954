"""Sampling: drawing one id from logits, and the loop that generates samples."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import ModelConfig
from charrnn.generation import ensemble as ensembles
from charrnn.generation import loop as sample
from charrnn.generation.constraint import Constraint
from charrnn.generation.ensemble import Ensemble, Member, start_logits
from charrnn.generation.filters import apply_filters
from charrnn.generation.loop import Uniforms, draw, generate
from charrnn.generation.rules import Rules
from charrnn.generation.settings import Filters
from charrnn.nn import model

pytestmark = pytest.mark.usefixtures("computed_by")

LOGITS = np.array([0.0, 2.0, -1.0, 1.0, 0.5])
NEARLY_ONE = 1 - 2**-53


def softmax(logits):
    """Return the probabilities."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def tiny(cell="lstm", **settings):
    """Return the config and the weights of a random model of nine symbols whose predictions depend on the context."""
    config = ModelConfig(9, cell=cell, **{"hidden_size": 8, "dtype": "float64", **settings})
    params = model.init_params(config, np.random.default_rng(4))
    params["out.W_hy"] *= 6
    if config.attention:
        params["attention.b"] -= 16  # so that the memory counts
    return config, model.prepare(params, config)


def choose(logits, uniforms, temperature, top_k=0):
    """Return the ids that are drawn from the logits."""
    none = np.empty((len(logits), 0), np.intp)
    left = apply_filters(Filters(temperature, top_k), logits, none)
    return left.ids_at(draw(left.weights, uniforms))


def primed_after(config, weights, prime=(), first=None):
    """Return the state after a prime."""
    begin = Ensemble((Member(weights, config),)).read(np.array(prime, np.uint8))
    return begin if first is None else begin._replace(logits=first)


def steps(config, weights, primed, *, rules, entropy=None, scored=False, **filters):
    """Return an iterator of the steps after these primed states."""
    entropy = entropy or [[7, index] for index in range(len(primed))]
    filters = Filters(**({"temperature": 1.0} | filters))
    return generate(Ensemble((Member(weights, config),)), primed, entropy, rules=rules, filters=filters, scored=scored)


def written(config, weights, prime=(), *, first=None, length=30, seed=7, **filters):
    """Return the ids that continue the prime."""
    begin = primed_after(config, weights, prime, first)
    found = steps(config, weights, [begin], rules=Rules(length), entropy=[[seed]], **filters)
    return [int(step.ids[0]) for step in found]


def side_by_side(config, weights, primed, **options):
    """Return the ids of each text, and why it ended."""
    ids, ended = [[] for _ in primed], [""] * len(primed)
    for step in steps(config, weights, primed, **options):
        for text, id_, why in zip(step.samples, step.ids.tolist(), step.ended, strict=True):
            assert not ended[text]
            ids[text].append(id_)
            ended[text] = why
    return ids, ended


def final_logits(config, weights, ids):
    """Return the logits after the ids, from one forward pass over all of them."""
    logits, _, _ = model.forward(weights, np.array(ids)[:, None], model.zero_state(config, 1))
    return logits[-1, 0]


# Drawing one id


def test_temperature_zero_takes_the_most_likely_whatever_the_uniforms():
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


def test_top_k_of_one_is_the_most_likely():
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


def test_no_two_texts_have_the_same_random_numbers():
    seeds = (0, 5, 2**32 - 1, 2**32, 2**32 + 5, 2**33, 5 << 32, 2**63 - 1)
    entropy = [[seed, index, drawn] for seed in seeds for index in (0, 1, 5) for drawn in (0, 1, 5)]
    first = [Uniforms([own]).ahead(1)[0, 0] for own in entropy]
    assert len(set(first)) == len(entropy)
    for seed in seeds:
        assert len(set(Uniforms([[seed], [seed, 0], [seed, 0, 0]]).ahead(1)[:, 0])) == 1
    assert Uniforms([[7, 3]]).ahead(1)[0, 0] == np.random.default_rng([7, 3]).random()


@pytest.mark.parametrize("uniform", [0.0, NEARLY_ONE])
def test_the_ends_of_the_Uniforms_take_what_is_possible(uniform):
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
def test_a_very_small_temperature_is_the_most_likely_without_overflow(temperature, dtype):
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


@pytest.mark.parametrize("V", [5, 63, 64, 65, 700])
def test_many_weights_are_drawn_from_like_few(monkeypatch, V):
    rng = np.random.default_rng(2)
    weights = rng.random((300, V)) * (rng.random((300, V)) < 0.3)
    weights[:, -1] += 1e-9
    weights[::3, :-1] = 0  # the last one alone
    weights[1::3] = np.eye(V)[rng.integers(0, V, 100)]
    for uniforms in (rng.random(300), np.zeros(300), np.full(300, 1 - 2.0**-53)):
        plain = draw(weights, uniforms)
        with monkeypatch.context() as patch:
            patch.setattr(sample, "_LARGE", 0)
            blocks = draw(weights, uniforms)
        assert blocks.tolist() == plain.tolist()
        assert weights[np.arange(300), blocks].all()


def test_rounding_draws_nothing_that_has_no_weight(monkeypatch):
    monkeypatch.setattr(sample, "_LARGE", 0)
    rng = np.random.default_rng(2)
    for block in range(1, 9):  # shares as large as all blocks before it
        weights = rng.random((500, 640))
        weights[:, ::64] = weights[:, 63::64] = 0
        sums = np.add.reduceat(weights, np.arange(0, 640, 64), axis=1).cumsum(axis=1)
        drawn = draw(weights, sums[:, block - 1] / sums[:, -1])
        assert weights[np.arange(500), drawn].all()


def test_the_first_character_is_drawn_as_often_as_it_begins_a_line():
    logits = start_logits((0, 3, 0, 1), 5)
    assert logits.shape == (1, 5)
    np.testing.assert_allclose(softmax(logits[0]), [0, 0.75, 0, 0.25, 0])
    for uniform, wanted in [(0.0, 1), (0.74, 1), (0.76, 3), (NEARLY_ONE, 3)]:
        assert choose(logits, np.array([uniform]), 1.0).tolist() == [wanted]


@pytest.mark.parametrize("starts", [(), (0, 0, 0)])
def test_without_counts_all_first_characters_are_equal(starts):
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


@pytest.mark.parametrize(
    "settings", [{"cell": "rnn"}, {"cell": "lstm"}, {"cell": "gru", "num_layers": 2}, {"cell": "gru", "attention": 9}]
)
@pytest.mark.parametrize("prime", [(), (3,), (1, 4, 1, 5)])
def test_each_id_is_drawn_from_one_forward_pass_over_all_before(settings, prime):
    # Teacher-forced: one forward pass must give the same as the loop with its carried state.
    config, weights = tiny(**settings)
    first = None if prime else start_logits((1, 2, 3), 9)
    ids = written(config, weights, prime, first=first, temperature=0.9, top_k=6)
    rng = np.random.default_rng(7)
    for at, id_ in enumerate(ids):
        before = [*prime, *ids[:at]]
        logits = final_logits(config, weights, before)[None] if before else first
        assert choose(logits, rng.random(1), 0.9, 6).tolist() == [id_], at


@pytest.mark.parametrize("attention", [0, 6])
@pytest.mark.parametrize("chunk", [1, 3, 7, 256])
@pytest.mark.parametrize("length", [1, 2, 6, 7, 8, 20])
def test_a_prime_read_in_chunks_is_read_whole(monkeypatch, chunk, length, attention):
    config, weights = tiny(attention=attention)
    prime = np.random.default_rng(2).integers(9, size=length).tolist()
    whole = written(config, weights, prime)
    monkeypatch.setattr(ensembles, "_PRIME_WINDOW", chunk)
    assert written(config, weights, prime) == whole
    assert written(config, weights, prime, temperature=0.0, length=1) == [final_logits(config, weights, prime).argmax()]


def test_a_long_prime_is_read_to_its_end():
    config, weights = tiny()
    prime = np.random.default_rng(2).integers(9, size=600).tolist()
    expected = final_logits(config, weights, prime).argmax()
    assert written(config, weights, prime, temperature=0.0, length=1) == [expected]


def test_temperature_zero_follows_the_most_likely():
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
    assert all(0 <= id_ < 9 for id_ in ids)


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
    endless = steps(config, weights, [primed_after(config, weights, [1])], rules=Rules(None), entropy=[[7]])
    assert [int(next(endless).ids[0]) for _ in range(10)] == written(config, weights, [1], length=10)


# Texts side by side


MANY = {
    "plain": {},
    "filters": {"temperature": 0.9, "top_k": 6, "top_p": 0.9, "min_p": 0.02, "repeat_penalty": 1.5, "repeat_window": 4},
    "likeliest": {"temperature": 0.0, "repeat_penalty": 3.0},
}
ENDS = {
    "length": Rules(40),
    "lines": Rules(60, lines=2, newline=3),
    "stops": Rules(60, stops=(np.array([1]), np.array([2, 5]), np.array([4, 4, 6]))),
    "end mark": Rules(60, end=5, never=7),
    "constraint": Rules(
        25,
        constraint=Constraint(
            None,
            *map(
                np.array,
                (
                    [0, 1, 1, 2, 2, 2, 0, 0, 1],
                    [[1, 2, 4], [0, 2, 3], [3, 1, 4], [4, 4, 4], [4, 4, 4]],
                    [2, 2, 1, 0, 2**30],
                ),
            ),
        ),
    ),
}


@pytest.mark.parametrize(
    "settings",
    [*({"cell": cell} for cell in ("rnn", "lstm", "gru", "lnlstm", "lnmlstm")), {"attention": 6}],
    ids=str,
)
@pytest.mark.parametrize("rules", ENDS)
@pytest.mark.parametrize("filters", MANY)
def test_a_text_is_the_same_alone_and_beside_others(settings, rules, filters):
    config, weights = tiny(**settings)
    primed = [primed_after(config, weights, prime) for prime in ([1], [2, 3, 4], [8] * 9, [5], [1], [6, 1])]
    options = {"rules": ENDS[rules], **MANY[filters]}
    together, ended = side_by_side(config, weights, primed, **options)
    assert "" not in ended
    for row, begin in enumerate(primed):
        alone = side_by_side(config, weights, [begin], entropy=[[7, row]], **options)
        assert alone == ([together[row]], [ended[row]])


def test_texts_of_one_seed_differ_and_the_first_is_that_of_the_seed_alone():
    config, weights = tiny()
    begin = primed_after(config, weights, [1])
    texts, _ = side_by_side(config, weights, [begin] * 20, rules=Rules(30))
    assert len(set(map(tuple, texts))) == 20
    assert texts[0] == written(config, weights, [1])
    backwards, _ = side_by_side(
        config, weights, [begin] * 20, rules=Rules(30), entropy=[[7, index] for index in reversed(range(20))]
    )
    assert backwards == texts[::-1]


def test_each_end_is_reported_and_comes_where_it_should():
    config, weights = tiny()
    primed = [primed_after(config, weights, [at % 9]) for at in range(30)]
    ids, ended = side_by_side(config, weights, primed, rules=ENDS["stops"])
    for text, why in zip(ids, ended, strict=True):
        shown = "".join(map(str, text))
        found = min((at + len(stop) for stop in ("1", "25", "446") if (at := shown.find(stop)) >= 0), default=None)
        assert (why, len(text)) == (("length", 60) if found is None else ("stop", found))
    assert set(ended) == {"stop"} or set(ended) == {"stop", "length"}
    ids, ended = side_by_side(config, weights, primed, rules=ENDS["lines"])
    for text, why in zip(ids, ended, strict=True):
        assert why == "length"
        assert len(text) == 60 or (text.count(3) == 2 and text[-1] == 3)
    assert any(len(text) < 60 for text in ids)
    ids, ended = side_by_side(config, weights, primed, rules=ENDS["end mark"])
    for text, why in zip(ids, ended, strict=True):
        assert 7 not in text
        assert text.index(5) == len(text) - 1 if why == "document" else 5 not in text and len(text) == 60
    assert "document" in ended


def test_a_stop_that_the_prime_began_is_no_stop():
    config, weights = tiny()
    begin = primed_after(config, weights, [2])
    always = np.full((1, 9), -np.inf)
    always[0, 5] = 0
    ids, ended = side_by_side(
        config, weights, [begin._replace(logits=always)], rules=Rules(1, stops=(np.array([2, 5]),))
    )
    assert (ids, ended) == ([[5]], ["length"])


def test_log_probabilities_are_the_model_s_own_whatever_is_filtered():
    config, weights = tiny()
    primed = [primed_after(config, weights, [at]) for at in range(4)]
    found = steps(config, weights, primed, rules=ENDS["constraint"], scored=True, **MANY["filters"])
    told = [
        (int(text), int(id_), log_prob)
        for step in found
        for text, id_, log_prob in zip(step.samples, step.ids, step.log_probs, strict=True)
    ]
    for text in range(4):
        own = [(id_, log_prob) for at, id_, log_prob in told if at == text]
        for at, (id_, log_prob) in enumerate(own):
            logits = final_logits(config, weights, [text, *[earlier for earlier, _ in own[:at]]])
            assert log_prob == pytest.approx(np.log(softmax(logits)[id_]), abs=1e-9)


# Ensembles


def test_a_mixture_is_the_mean_of_the_probabilities():
    config, weights = tiny()
    other_config, other = tiny("gru", num_layers=2)
    ensemble = Ensemble((Member(weights, config, 0.7), Member(other, other_config, 0.3)))
    begin = ensemble.read(np.array([1, 2]))
    states = [state.copy() for state in begin.states]
    for logits, ids in [(begin.logits, [1, 2]), (ensemble.step(np.array([4]), states), [1, 2, 4])]:
        expected = 0.7 * softmax(final_logits(config, weights, ids)) + 0.3 * softmax(
            final_logits(other_config, other, ids)
        )
        np.testing.assert_allclose(np.exp(logits[0]), expected, rtol=1e-9)


def test_a_model_mixed_with_itself_writes_as_it_does_alone():
    config, weights = tiny()
    twice = Ensemble((Member(weights, config, 0.2), Member(weights, config, 0.8)))
    found = generate(twice, [twice.read(np.array([1]))], [[7]], rules=Rules(30), filters=Filters(1.0))
    assert [int(step.ids[0]) for step in found] == written(config, weights, [1])
