"""Filters: which ids they keep, and in which order they apply, for one sample and for many."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.generation import filters
from charrnn.generation.filters import Candidates, apply_filters, keep_top_k, keep_top_p, penalise
from charrnn.generation.loop import draw
from charrnn.generation.settings import MOST_WINDOW, Filters

NONE = np.empty((1, 0), np.intp)


def spread_out(found, V):
    """Return the weights of all ids (B, V)."""
    weights = np.zeros((len(found.weights), V))
    ids = np.arange(V)[None] if found.ids is None else found.ids
    np.add.at(weights, (np.arange(len(weights))[:, None], ids), found.weights)
    return weights


def filtered(settings, logits, recent=NONE):
    """Return the weights of all ids (B, V)."""
    return spread_out(apply_filters(settings, logits, recent), logits.shape[1])


def kept(keep, weights, limit):
    """Return the weights (B, V) or (V,) that one of the filters keeps; the others are 0."""
    rows = np.atleast_2d(weights)
    return spread_out(keep(Candidates(rows.copy()), limit), rows.shape[1]).reshape(weights.shape)


def left(settings, logits, recent=NONE):
    """Return which ids have a weight."""
    return np.flatnonzero(filtered(settings, logits, recent)[0]).tolist()


def of(*probabilities):
    """Return logits (1, V) of these probabilities."""
    with np.errstate(divide="ignore"):
        return np.log(np.array([probabilities]))


def expected(logits, recent, settings):
    """Return the probabilities of one sample, by a plain implementation of the filters."""
    logits = logits.astype(np.float64)
    for id_ in set(recent[recent >= 0].tolist()):
        logits[id_] -= math.log(settings.repeat_penalty)
    logits = (logits - logits.max()) / settings.temperature
    p = np.exp(logits) / np.exp(logits).sum()
    if settings.top_k:
        p[p < sorted(p)[-min(settings.top_k, len(p))]] = 0
        p /= p.sum()
    if settings.top_p < 1:
        order, total, kept = np.argsort(-p, kind="stable"), 0.0, np.zeros(len(p), bool)
        for id_ in order:
            kept[id_] = True
            total += p[id_]
            if total >= settings.top_p - 1e-12:
                break
        p = np.where(p >= p[kept].min(), p, 0)
        p /= p.sum()
    p[p < settings.min_p * p.max()] = 0
    return p / p.sum()


ALL = [
    Filters(1.0),
    Filters(0.7, top_k=4),
    Filters(1.3, top_p=0.83),
    Filters(0.9, min_p=0.07),
    Filters(0.9, repeat_penalty=2.5, repeat_window=3),
    Filters(1.1, top_k=9, top_p=0.71, min_p=0.11, repeat_penalty=1.7, repeat_window=5),
    Filters(0.8, top_k=30, top_p=0.95, min_p=0.01, repeat_penalty=0.5),
    Filters(0.9, top_k=600, top_p=0.95),
]


@pytest.mark.parametrize("settings", ALL)
@pytest.mark.parametrize("V", [12, 700, 5000])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_probabilities_are_those_of_the_filters_in_their_order(settings, V, spread):
    rng = np.random.default_rng(3)
    logits = (rng.normal(size=(20, V)) * spread).astype(np.float32)
    recent = rng.integers(-1, V, (20, 6))
    together = filtered(settings, logits, recent)
    assert together.max(axis=1).tolist() == [1.0] * 20
    for row in range(20):
        p = expected(logits[row], recent[row, -settings.repeat_window :], settings)
        np.testing.assert_allclose(together[row] / together[row].sum(), p, rtol=1e-9, atol=0)
        alone = filtered(settings, logits[[row]], recent[[row]])
        assert np.array_equal(alone[0], together[row])


def test_the_order_is_penalty_temperature_top_k_top_p_min_p():
    # Worked by hand. Each pair of filters would keep other ids in the opposite order.
    logits = of(0.4, 0.3, 0.2, 0.1)
    # Penalty before top-k: id 0 falls to 0.08 and behind all others.
    assert left(Filters(1.0, top_k=2, repeat_penalty=5.0), logits, np.array([[0]])) == [1, 2]
    # Temperature before top-p: squared, 16/30 and 9/30 reach 0.8; as they were, it takes three.
    assert left(Filters(0.5, top_p=0.8), logits) == [0, 1]
    assert left(Filters(1.0, top_p=0.8), logits) == [0, 1, 2]
    # Temperature before min-p: 0.1 / 0.4 is 1/4, and squared 1/16.
    assert left(Filters(1.0, min_p=0.2), logits) == [0, 1, 2, 3]
    assert left(Filters(0.5, min_p=0.2), logits) == [0, 1, 2]
    # Top-k before top-p: of the two that are left, the first has 4/7.
    assert left(Filters(1.0, top_k=2, top_p=0.55), logits) == [0]
    assert left(Filters(1.0, top_p=0.55), logits) == [0, 1]
    # Top-p before min-p: with 0.1 left out before, the first two would have 7/9 and suffice.
    assert left(Filters(1.0, top_p=0.75, min_p=0.3), logits) == [0, 1, 2]


@pytest.mark.parametrize("streams", [1, 3])
def test_temperature_zero_leaves_the_most_likely_after_the_penalty(streams):
    logits = np.repeat(of(0.4, 0.35, 0.25), streams, axis=0)
    assert filtered(Filters(0.0), logits).tolist() == [[1, 0, 0]] * streams
    recent = np.array([[-1, 0]] * streams)
    assert filtered(Filters(0.0, repeat_penalty=1.3, top_p=0.1), logits, recent).tolist() == [[0, 1, 0]] * streams


def test_the_penalty_divides_a_probability_once_and_only_in_the_window():
    logits = np.repeat(of(0.25, 0.25, 0.5), 2, axis=0)
    penalise(logits, np.array([[2, 2, 2], [-1, -1, 0]]), 4.0)
    np.testing.assert_allclose(np.exp(logits), [[0.25, 0.25, 0.125], [0.0625, 0.25, 0.5]])
    window = Filters(1.0, repeat_penalty=1e9, repeat_window=2)
    assert np.allclose(filtered(window, of(0.5, 0.25, 0.25), np.array([[0, 1, 2]])), [[1, 0, 0]])


@given(
    st.lists(st.sampled_from([0.0, 1e-9, 0.01, 0.2, 0.5, 1.0]), min_size=2, max_size=12).filter(lambda w: max(w) > 0),
    st.sampled_from([0.05, 0.5, 0.9, 0.999999]),
    st.integers(1, 12),
)
def test_the_most_likely_is_always_left_and_what_is_left_is_as_it_was(weights, share, k):
    for keep, limit in ((keep_top_p, share), (keep_top_k, min(k, len(weights)))):
        one = kept(keep, np.array(weights), limit)
        assert one.max() == max(weights)
        assert all(now in (0, before) for now, before in zip(one, weights, strict=True))
        if keep is keep_top_p:
            assert one.sum() >= share * sum(weights) - 1e-12
            smallest = one[one > 0].min()
            assert one[one > smallest].sum() < share * sum(weights) + 1e-12


@pytest.mark.parametrize("V", [9, 5000])
@pytest.mark.parametrize("streams", [1, 5])
def test_shares_at_the_ends_of_their_range(streams, V):
    rng = np.random.default_rng(1)
    for _ in range(50):
        weights = rng.random((streams, V)) + 0.1
        weights /= weights.max(axis=1, keepdims=True)
        most, least = kept(keep_top_p, weights, 1 - 2.0**-53), kept(keep_top_p, weights, 1e-18)
        assert np.allclose(most.sum(axis=-1), weights.sum(axis=-1), rtol=1e-12)
        assert np.array_equal(least, np.where(weights == 1, 1, 0))


@pytest.mark.parametrize("shape", [(9,), (1000,), (2, 9), (2, 1000)])
def test_a_share_that_the_most_likely_have_exactly_takes_no_more(shape):
    weights = np.zeros(shape)
    weights[..., :3] = 0.25, 0.25, 0.5
    weights = kept(keep_top_p, weights, 0.5)
    assert np.flatnonzero(np.atleast_2d(weights).sum(axis=0)).tolist() == [2]


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("streams", [1, 5])
def test_sorting_few_of_many_leaves_the_same(monkeypatch, spread, streams):
    logits = np.random.default_rng(1).normal(size=(streams, 1000)) * spread
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    for keep, limits in ((keep_top_p, (0.01, 0.5, 0.9, 0.999)), (keep_top_k, (1, 7, 100, 125, 126, 999))):
        for limit in limits:
            found = []
            for many, few in ((10, 10), (10, 10**9), (10**9, 10)):
                monkeypatch.setattr(filters, "_MANY", many)
                monkeypatch.setattr(filters, "_SORTED", few)
                found.append(kept(keep, weights, limit))
            assert all(np.array_equal(found[0], other) for other in found[1:]), (keep, limit)


@pytest.mark.parametrize("settings", [Filters(top_k=9), Filters(top_p=0.9), Filters(top_k=600, top_p=0.9, min_p=0.01)])
@pytest.mark.parametrize("streams", [1, 5])
def test_an_id_is_drawn_of_few_as_of_all(settings, streams):
    rng = np.random.default_rng(5)
    for _ in range(20):
        logits, uniforms = rng.normal(size=(streams, 5000)) * 3, rng.random(streams)
        few = apply_filters(settings, logits, NONE)
        assert few.weights.shape[1] < 2000
        assert few.ids_at(draw(few.weights, uniforms)).tolist() == draw(spread_out(few, 5000), uniforms).tolist()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.inf},
        {"temperature": math.nan},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.5},
        {"repeat_penalty": 0.0},
        {"repeat_penalty": math.inf},
        {"repeat_window": 0},
        {"repeat_window": MOST_WINDOW + 1},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        Filters(**wrong)
