"""The masks of dropout and weight-drop: what they depend on, and how much they drop. `test_model` tests their use."""

import itertools

import numpy as np
import pytest

from charrnn.nn import encoder
from charrnn.nn.dropout import draw_masks, dropout_mask
from charrnn.nn.initializers import INITS

from .test_encoder import DROPPING, draw_encoder
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


@pytest.mark.parametrize("directions", [1, 2])
def test_a_row_has_the_same_masks_whatever_rows_are_drawn_with_it(directions):
    it = draw_encoder("lstm", directions, embed_size=5, **DROPPING)
    whole = draw_masks(it.params, it.config, 3, 7, slice(0, 9), directions)
    assert whole.inputs.shape == (9, 5)
    assert whole.outputs.shape == (2, 9, directions * it.config.hidden_size)
    for rows in (slice(0, 1), slice(2, 7), slice(8, 9)):
        own = draw_masks(it.params, it.config, 3, 7, rows, directions)
        assert np.array_equal(own.inputs, whole.inputs[rows])
        assert np.array_equal(own.outputs, whole.outputs[:, rows])
        assert_identical(own.weights, whole.weights)


def test_each_direction_has_masks_of_its_own():
    config = configure(num_layers=2, hidden_size=64, dropout=0.5, weight_drop=0.5)
    params = encoder.init_params(config, 2, np.random.default_rng(1), INITS["uniform"])
    masks = draw_masks(params, config, 3, 0, slice(0, 32), 2)
    halves = [half for layer in masks.outputs for half in np.split(layer, 2, axis=1)]
    assert len(masks.weights) == 4
    drawn = [mask.reshape(-1)[:2048] == 0 for mask in (*halves, *masks.weights.values())]
    for one, other in itertools.combinations(drawn, 2):
        assert abs((one == other).mean() - 0.5) <= 0.06
    forwards = {name: array for name, array in masks.weights.items() if name.startswith("layer")}
    assert_identical(forwards, draw(draw_params(config), config).weights)  # those of a language model


def test_the_masks_of_a_seed_never_change():
    # As version 0.7.0 drew them: a run that an earlier version saved resumes with the same masks.
    config = configure(num_layers=2, hidden_size=7, embed_size=5, dropout=0.4, input_dropout=0.3, weight_drop=0.2)
    masks = draw_masks(draw_params(config), config, 3, 11, slice(2, 5))
    drawn = (masks.inputs, masks.outputs, *masks.weights.values())
    kept = [np.packbits(mask > 0).tobytes().hex()[:24] for mask in drawn]
    assert kept == ["bbd6", "55f5fb27d8c0", "ff67f7fbfffdf573ff7ea7de", "ffdfeefd76f7ba5dcfbfffff"]


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
