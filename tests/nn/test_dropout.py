"""The masks of dropout and weight-drop: what they depend on, and how much they drop. `test_model` tests their use."""

import itertools

import numpy as np
import pytest

from charrnn.nn.dropout import dropout_mask

from .test_model import EMBEDDED, B, assert_identical, configure, draw, draw_params


def test_masks_are_a_function_of_seed_step_and_batch_row():
    config = configure(
        num_layers=2, hidden_size=7, **EMBEDDED | {"embed_size": 5}
    )  # the 19 draws of a row do not fill whole words
    params = draw_params(config)
    once = draw(params, config, rows=slice(0, 6))
    part = draw(params, config, rows=slice(4, 6))
    assert np.array_equal(part.inputs, once.inputs[4:])
    assert np.array_equal(part.outputs, once.outputs[:, 4:])
    assert_identical(part.weights, once.weights)
    for other in (draw(params, config, seed=4, rows=slice(0, 6)), draw(params, config, step=1)):
        assert not np.array_equal(other.inputs[:B], once.inputs[:B])
        assert not np.array_equal(other.outputs[:, :B], once.outputs[:, :B])
        assert not np.array_equal(other.weights["layer0.W_hh"], once.weights["layer0.W_hh"])


def test_each_layer_batch_row_and_matrix_has_a_mask_of_its_own():
    config = configure(num_layers=3, hidden_size=64, **EMBEDDED | {"embed_size": 64})
    masks = draw(draw_params(config), config)
    rows = np.concatenate((masks.inputs[None] > 0, masks.outputs > 0)).reshape(-1, 64)
    assert len(np.unique(rows, axis=0)) == len(rows) == 4 * B
    assert len({mask.tobytes() for mask in masks.weights.values()}) == 3
    assert masks.weights.keys() == {f"layer{layer}.W_hh" for layer in range(3)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.95])
def test_a_dropout_mask_has_mean_1_and_drops_its_share(rate, dtype):
    n = 400 * 500
    bits = np.random.default_rng(6).integers(2**16, size=(400, 500), dtype=np.uint16)
    mask = dropout_mask(bits, rate, dtype)
    assert mask.dtype == dtype
    deviation = (rate * (1 - rate) / n) ** 0.5
    assert abs((mask == 0).mean() - rate) <= 4 * deviation
    assert abs(mask.mean(dtype=np.float64) - 1) <= 4 * deviation / (1 - rate)
    (kept,) = set(mask[mask != 0].tolist())
    assert abs(kept - 1 / (1 - rate)) <= 2**-16 / (1 - rate) ** 2 + 1e-6


def test_the_share_dropped_is_the_rate():
    config = configure(num_layers=2, hidden_size=64, embed_size=64, dropout=0.2, input_dropout=0.5, weight_drop=0.7)
    masks = draw(draw_params(config), config, rows=slice(0, 500))
    for mask, rate in ((masks.inputs, 0.5), (masks.outputs, 0.2), (masks.weights["layer1.W_hh"], 0.7)):
        assert abs((mask == 0).mean() - rate) <= 0.02


def test_no_two_masks_come_from_the_same_random_bits():
    config = configure(num_layers=2, hidden_size=64, dropout=0.5, weight_drop=0.5)
    masks = draw(draw_params(config), config, rows=slice(0, 32))
    drawn = [masks.outputs.swapaxes(0, 1), masks.weights["layer0.W_hh"], masks.weights["layer1.W_hh"]]
    for one, other in itertools.combinations([mask.reshape(-1)[:4096] == 0 for mask in drawn], 2):
        assert abs((one == other).mean() - 0.5) <= 0.05
