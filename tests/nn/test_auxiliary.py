"""The loss on the next characters: an oracle that goes through every pair of neighbours, and finite differences."""

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.nn import auxiliary
from charrnn.nn.auxiliary import NextCharacters
from charrnn.nn.functional import log_softmax
from charrnn.nn.gradcheck import check_gradients
from charrnn.nn.initializers import INITS

T, H, V = 5, 3, 4
LENGTHS = np.array([5, 2, 1, 0, 4])
SHARE = 0.7


def draw(directions):
    """Return parameters, outputs and ids; those on the padding are of no meaning, so they are large."""
    rng = np.random.default_rng(3)
    config = ModelConfig(V, hidden_size=H)
    params = auxiliary.init_params(config, directions, rng, INITS["glorot"])
    params = {name: array + rng.normal(size=array.shape) for name, array in params.items()}
    h, ids = rng.normal(size=(T, len(LENGTHS), directions * H)), rng.integers(0, V, (T, len(LENGTHS)))
    h[np.arange(T)[:, None] >= LENGTHS] = 1e3
    return params, h, ids


def run(params, h, ids, lengths=LENGTHS, share=SHARE):
    tap = NextCharacters(params, ids, lengths, share)
    dh = tap(h)
    return tap.loss, tap.grads, dh


def oracle(params, h, ids, directions):
    """Return the loss by its definition."""
    total = 0.0
    for number in range(directions):
        W, b = params[f"next{number}.W_hy"], params[f"next{number}.b_y"]
        losses = []
        for row, length in enumerate(LENGTHS):
            for t in range(length - 1):
                at, to = (t + 1, t) if number else (t, t + 1)
                logits = h[at, row, number * H : (number + 1) * H] @ W + b
                losses.append(-log_softmax(logits[None])[0, ids[to, row]])
        total += np.mean(losses)
    return SHARE * total / directions


@pytest.mark.parametrize("directions", [1, 2])
def test_the_loss_is_the_mean_over_all_pairs_of_neighbours(directions):
    params, h, ids = draw(directions)
    assert run(params, h, ids)[0] == pytest.approx(oracle(params, h, ids, directions), rel=1e-12)


@pytest.mark.parametrize("directions", [1, 2])
def test_finite_differences_confirm_every_gradient(directions):
    params, h, ids = draw(directions)
    _, grads, dh = run(params, h, ids)
    arrays = params | {"h": h}
    check_gradients(lambda: run(params, h, ids)[0], arrays, grads | {"h": dh}, np.random.default_rng(1), 1e-7, 1e-4)
    assert not dh[np.arange(T)[:, None] >= LENGTHS].any()


@pytest.mark.parametrize("directions", [1, 2])
def test_texts_of_single_characters_have_no_loss(directions):
    params, h, ids = draw(directions)
    loss, grads, dh = run(params, h, ids, np.minimum(LENGTHS, 1))
    assert loss == 0
    assert grads.keys() == params.keys()
    assert all(grad.shape == params[name].shape and not grad.any() for name, grad in grads.items())
    assert not dh.any()


def test_single_precision_stays_single():
    params, h, ids = draw(2)
    single = {name: array.astype(np.float32) for name, array in params.items()}
    _, grads, dh = run(single, h.astype(np.float32), ids)
    assert {array.dtype for array in (*grads.values(), dh)} == {np.dtype(np.float32)}
