"""Pooling: against a loop over texts, its gradients, and what the padding may do."""

import numpy as np
import pytest

from charrnn.config import POOLS
from charrnn.nn.gradcheck import check_gradients
from charrnn.nn.pooling import pool

from .test_cells import assert_close

LENGTHS = np.array([5, 2, 0, 4, 1])
T, B, H = max(LENGTHS), len(LENGTHS), 3
PADDING = np.arange(T)[:, None] >= LENGTHS

every_pool = pytest.mark.parametrize("how", POOLS)
both_ways = pytest.mark.parametrize("directions", [1, 2])


def draw(directions, dtype=np.float64):
    """Return outputs, all below zero, and an upstream gradient."""
    rng = np.random.default_rng(directions)
    return (-rng.random((T, B, directions * H))).astype(dtype), rng.normal(size=(B, directions * H)).astype(dtype)


def pooled(how, text, directions):
    """Return the vector of the outputs of one text, (length, D H)."""
    if not len(text):
        return np.zeros(text.shape[1])
    if how == "last":
        H = text.shape[1] // directions
        return np.concatenate((text[-1, :H], text[0, H:]))
    return {"mean": np.mean, "max": np.max}[how](text, axis=0)


@both_ways
@every_pool
def test_a_batch_is_pooled_text_by_text(how, directions):
    h, _ = draw(directions)
    v, _ = pool(how, h, LENGTHS, directions)
    assert v.shape == (B, directions * H)
    expected = np.array([pooled(how, h[:length, b], directions) for b, length in enumerate(LENGTHS)])
    assert_close({"v": v}, {"v": expected}, tolerance=1e-14)
    assert not v[2].any()


@both_ways
@every_pool
def test_finite_differences_confirm_the_gradient(how, directions):
    h, dv = draw(directions)
    _, backprop = pool(how, h, LENGTHS, directions)
    dh = backprop(dv)
    assert not dh[PADDING].any()
    check_gradients(
        lambda: float((pool(how, h, LENGTHS, directions)[0] * dv).sum()),
        {"h": h},
        {"h": dh},
        np.random.default_rng(7),
        tolerance=1e-9,
        epsilon=1e-5,  # no other character becomes the largest
    )


@both_ways
@every_pool
def test_no_bit_depends_on_the_padding(how, directions):
    h, dv = draw(directions)
    v, backprop = pool(how, h, LENGTHS, directions)
    dh = backprop(dv)
    for other in (1e30, -1e30, 0):
        padded = np.where(PADDING[..., None], other, h)
        again, backprop = pool(how, padded, LENGTHS, directions)
        assert np.array_equal(again, v)
        assert np.array_equal(backprop(dv), dh)


@pytest.mark.parametrize("lengths", [LENGTHS, np.full(B, T)], ids=["padded", "full"])
@every_pool
def test_single_precision_stays_single_and_nothing_is_written_to(how, lengths):
    h, dv = draw(2, np.float32)
    h.flags.writeable = dv.flags.writeable = False
    v, backprop = pool(how, h, lengths, 2)
    assert v.dtype == backprop(dv).dtype == np.float32
    v[...] = 0  # a view of the outputs would fail here
    backprop(dv)


def test_of_equal_outputs_the_first_one_gets_the_gradient():
    h, dv = np.ones((T, B, H)), draw(1)[1]
    dh = pool("max", h, LENGTHS, 1)[1](dv)
    expected = np.zeros_like(h)
    expected[0] = dv * (LENGTHS > 0)[:, None]
    assert np.array_equal(dh, expected)
