"""The nearest vectors: found in blocks as they would be one by one."""

import numpy as np
import pytest

from charrnn.embedding import nearest
from charrnn.embedding.nearest import Nearest, room_for
from charrnn.errors import ConfigError


def drawn(count, size=5, seed=1):
    """Return vectors with a common component, and one direction in which they vary most."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, size))
    vectors[:, 0] += 9
    vectors[:, 1] *= 30
    return vectors.astype(np.float32)


def by_hand(vectors, queries):
    """Return the cosines (M, N) of whitened vectors."""
    mean, covariance = vectors.mean(axis=0), np.cov(vectors.T, bias=True)
    variances, directions = np.linalg.eigh(covariance)
    white = directions / np.sqrt(variances + 1e-3 * variances.max())
    a, b = (queries - mean) @ white, (vectors - mean) @ white
    return a / np.linalg.norm(a, axis=1, keepdims=True) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


@pytest.mark.parametrize("top", [1, 3, 40])
def test_the_nearest_are_those_of_the_largest_cosine(monkeypatch, top):
    vectors, queries = drawn(40), drawn(23, seed=2)
    cosines = by_hand(vectors.astype(np.float64), queries.astype(np.float64))
    wanted = np.argsort(-cosines, axis=1)[:, :top]
    for block, rows in ((4096, 256), (7, 5)):
        monkeypatch.setattr(nearest, "_BLOCK", block)
        monkeypatch.setattr(nearest, "_QUERIES", rows)
        indices, similarities = Nearest(vectors.copy()).find(queries, top)
        assert np.array_equal(indices, wanted)
        np.testing.assert_allclose(similarities, np.take_along_axis(cosines, wanted, 1), atol=1e-5)


def test_whitening_ignores_what_all_have_in_common():
    vectors = drawn(500)
    indices, similarities = Nearest(vectors.copy()).find(vectors, 2)
    assert np.array_equal(indices[:, 0], np.arange(500))
    np.testing.assert_allclose(similarities[:, 0], 1, atol=1e-6)
    assert abs(by_hand(vectors, vectors).mean()) < 0.01


def test_more_are_asked_for_than_there_are():
    indices, similarities = Nearest(drawn(3)).find(drawn(2), 9)
    assert (indices.shape, similarities.shape) == ((2, 3), (2, 3))


def test_equal_vectors_are_in_their_order():
    vectors = np.repeat(drawn(4), 3, axis=0)
    indices, _ = Nearest(vectors.copy()).find(vectors[6:7], 3)
    assert indices.tolist() == [[6, 7, 8]]


def test_a_single_vector_and_zeros_have_no_direction():
    indices, similarities = Nearest(drawn(1)).find(drawn(1), 1)
    assert (indices.tolist(), similarities.tolist()) == ([[0]], [[0.0]])
    assert Nearest(np.zeros((3, 4), np.float32)).find(np.zeros((1, 4), np.float32), 1)[1].tolist() == [[0.0]]
    assert Nearest(drawn(3)).find(np.empty((0, 5), np.float32), 2)[0].shape == (0, 2)


def test_no_vectors():
    with pytest.raises(ConfigError, match="there is no vector to compare with"):
        Nearest(np.empty((0, 4), np.float32))


def test_memory_that_is_not_there(monkeypatch):
    monkeypatch.setattr(nearest, "free_bytes", lambda: 2**30)
    assert room_for(10, 4).shape == (10, 4)
    with pytest.raises(ConfigError, match=r"2\.0 GiB, and 1\.0 GiB are free: name a file of at most 262,144 lines"):
        room_for(2**19, 1024)
    monkeypatch.setattr(nearest, "free_bytes", lambda: None)
    assert room_for(10, 4).shape == (10, 4)
