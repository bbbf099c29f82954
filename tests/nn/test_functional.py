"""The softmax, the loss and the products that take ids as well as floats."""

import math

import numpy as np
import pytest

from charrnn.nn.functional import (
    bits,
    cross_entropy,
    log_prob,
    perplexity,
    project,
    project_backward,
    sigmoid,
    sum_rows,
)
from charrnn.nn.gradcheck import check_gradients

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def relative(actual, expected):
    assert actual.shape == expected.shape
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("nats", [0.0, 1.5, 700.0, 709.0, 710.0, 1e5, math.inf])
def test_perplexity_is_infinite_where_it_is_beyond_all_floats(nats):
    assert bits(nats) == nats / math.log(2)
    if nats < 709.5:
        assert perplexity(nats) == math.exp(nats)
    else:
        assert perplexity(nats) == math.inf


def test_sigmoid_equals_its_definition():
    a = np.linspace(-30, 30, 121)
    expected = [1 / (1 + math.exp(-value)) for value in a]
    assert np.abs(sigmoid(a) - expected).max() <= 1e-15
    assert sigmoid(np.zeros(1)).tolist() == [0.5]


@both_dtypes
def test_sigmoid_at_its_ends_neither_overflows_nor_leaves_its_type(dtype):
    actual = sigmoid(np.array([-np.inf, -1e30, -1e4, 1e4, 1e30, np.inf], dtype))
    assert actual.dtype == dtype
    assert actual.tolist() == [0, 0, 0, 1, 1, 1]


def oracle(logits):
    """Return the log-probabilities of one row of logits, in double precision and in plain Python."""
    row = [float(value) for value in logits]
    top = max(row)
    return [value - top - math.log(math.fsum(math.exp(other - top) for other in row)) for value in row]


@both_dtypes
def test_log_prob_equals_its_definition(dtype):
    logits = np.random.default_rng(0).normal(0, 3, (7, 7)).astype(dtype)
    expected = np.array([oracle(row) for row in logits])
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    for shift in range(7):
        targets = (np.arange(7) + shift) % 7
        actual, right = log_prob(logits.copy(), targets)
        assert actual.dtype == dtype
        assert relative(actual, expected[np.arange(7), targets]) <= tolerance
        assert right.tolist() == (logits.argmax(axis=-1) == targets).tolist()


@both_dtypes
def test_log_prob_of_extreme_logits_is_finite(dtype):
    logits = np.array([[1e4, -1e4], [1e4, -1e4], [-1e4, -1e4], [-1e4, -1e4]], dtype)
    actual, right = log_prob(logits, np.array([0, 1, 0, 1], np.uint8))
    assert actual.tolist() == [0, -2e4, pytest.approx(-math.log(2)), pytest.approx(-math.log(2))]
    assert right.tolist() == [True, False, True, False]  # of equals, the first is taken


@both_dtypes
def test_cross_entropy_is_the_mean_in_nats(dtype):
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(0, 3, (5, 3, 7)).astype(dtype), rng.integers(7, size=(5, 3), dtype=np.uint8)
    before = logits.copy()
    loss, dlogits = cross_entropy(logits, targets)
    rows = [oracle(row) for row in logits.reshape(-1, 7)]
    picked = [row[target] for row, target in zip(rows, targets.reshape(-1).tolist(), strict=True)]
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert type(loss) is float
    assert abs(loss + math.fsum(picked) / 15) <= tolerance * loss
    expected = (np.exp(rows) - np.eye(7)[targets.reshape(-1)]) / 15
    assert dlogits.dtype == dtype
    assert relative(dlogits, expected.reshape(5, 3, 7)) <= tolerance
    assert np.array_equal(logits, before)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_their_number():
    loss, _ = cross_entropy(np.full((2, 3, 64), 5.0), np.zeros((2, 3), int))
    assert abs(loss - 6 * math.log(2)) <= 1e-14


@pytest.mark.parametrize("shape", [(6,), (5, 3)])
def test_finite_differences_confirm_the_gradient_of_cross_entropy(shape):
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(*shape, 7)), rng.integers(7, size=shape)
    _, dlogits = cross_entropy(logits, targets)
    check_gradients(lambda: cross_entropy(logits, targets)[0], {"logits": logits}, {"logits": dlogits}, rng, 1e-9)


def test_cross_entropy_is_the_mean_over_what_counts():
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(size=(5, 3, 7)), rng.integers(7, size=(5, 3))
    counted = rng.random((5, 3)) < 0.4
    loss, dlogits = cross_entropy(logits, targets, counted=counted)
    assert loss == pytest.approx(cross_entropy(logits[counted], targets[counted])[0], rel=1e-14)
    assert not dlogits[~counted].any()
    check_gradients(
        lambda: cross_entropy(logits, targets, counted=counted)[0], {"logits": logits}, {"logits": dlogits}, rng, 1e-9
    )
    of = int(counted.sum())
    shares = [cross_entropy(logits[:, rows], targets[:, rows], of, counted[:, rows]) for rows in ([0], [1, 2])]
    assert sum(share for share, _ in shares) == pytest.approx(loss, rel=1e-14)
    assert relative(np.concatenate([own for _, own in shares], axis=1), dlogits) <= 1e-14
    loss, dlogits = cross_entropy(logits, targets, of, np.zeros((5, 3), bool))
    assert (loss, dlogits.any()) == (0, False)


@both_dtypes
def test_cross_entropy_of_extreme_logits_is_finite(dtype):
    logits = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0]], dtype)
    loss, dlogits = cross_entropy(logits, np.array([0, 1]))
    assert loss == 1e4
    assert dlogits.tolist() == [[0, 0, 0], [0.5, -0.5, 0]]


@both_dtypes
def test_rows_of_different_size_do_not_drown_each_other(dtype):
    logits = np.array([[1e4, 1e4], [0, 0], [-1e4, -1e4]], dtype)
    loss, dlogits = cross_entropy(logits, np.array([0, 1, 0]))
    assert abs(loss - math.log(2)) <= 1e-6
    assert (6 * dlogits).round(6).tolist() == [[-1, 1], [1, -1], [-1, 1]]
    assert np.abs(log_prob(logits, np.array([0, 1, 0]))[0] + math.log(2)).max() <= 1e-6


@both_dtypes
def test_project_takes_ids_or_their_one_hot_rows(dtype):
    rng = np.random.default_rng(3)
    V, K = 7, 5
    ids, W, b = rng.integers(V, size=(4, 3), dtype=np.uint8), rng.normal(size=(V, K)), rng.normal(size=K)
    W, b, da = W.astype(dtype), b.astype(dtype), rng.normal(size=(4, 3, K)).astype(dtype)
    x = np.eye(V, dtype=dtype)[ids]
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    out = np.empty((4, 3, K), dtype)
    assert project(ids, W, b, out) is out
    assert relative(out, x @ W + b) <= tolerance
    assert relative(project(x, W, b, np.empty_like(out)), x @ W + b) <= tolerance

    dx, dW, db = project_backward(ids, W, da)
    dense_dx, dense_dW, dense_db = project_backward(x, W, da)
    assert dx is None
    assert relative(dense_dx, da @ W.T) <= tolerance
    expected = np.einsum("tbv,tbk->vk", x, da)
    for actual in (dW, dense_dW):
        assert actual.dtype == dtype
        assert relative(actual, expected) <= tolerance
    for actual in (db, dense_db):
        assert actual.dtype == dtype
        assert relative(actual, da.sum(axis=(0, 1))) <= tolerance


def test_finite_differences_confirm_the_gradients_of_project():
    rng = np.random.default_rng(4)
    arrays = {"x": rng.normal(size=(4, 3, 7)), "W": rng.normal(size=(7, 5)), "b": rng.normal(size=5)}
    da = rng.normal(size=(4, 3, 5))

    def loss():
        return float((project(arrays["x"], arrays["W"], arrays["b"], np.empty((4, 3, 5))) * da).sum())

    grads = dict(zip(arrays, project_backward(arrays["x"], arrays["W"], da), strict=True))
    check_gradients(loss, arrays, grads, rng, 1e-9)


@both_dtypes
@pytest.mark.parametrize("size", [3, 512, 513, 5000])
def test_sum_rows_adds_up_what_belongs_to_each_id(size, dtype):
    # Up to 512 symbols by a matrix product, beyond by sorting; the first and the last id are among them.
    rng = np.random.default_rng(5)
    ids = np.concatenate((rng.integers(size, size=200), [0, size - 1, 0])).astype(np.uint16)
    rows = rng.normal(size=(len(ids), 4)).astype(dtype)
    expected = np.zeros((size, 4))
    for at, row in zip(ids.tolist(), rows, strict=True):
        expected[at] += row
    actual = sum_rows(ids, rows, size)
    assert actual.dtype == dtype
    assert relative(actual, expected) <= (1e-6 if dtype == np.float32 else 1e-14)
    assert not actual[~np.isin(np.arange(size), ids)].any()
