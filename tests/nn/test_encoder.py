"""The encoder: its gradients, a slow second version of it, and batches against texts that are read one by one."""

from types import SimpleNamespace

import numpy as np
import pytest

from charrnn.arrays import FRESH, Scratch
from charrnn.config import ModelConfig
from charrnn.data.padding import pad
from charrnn.nn import compiled, encoder, model
from charrnn.nn.cells import CELLS
from charrnn.nn.dropout import NO_DROPOUT, draw_masks
from charrnn.nn.gradcheck import check_gradients
from charrnn.nn.initializers import INITS

from .test_cells import ORACLES, assert_close, assert_identical

V, E, H = 7, 3, 4
LENGTHS = np.array([5, 2, 0, 4])  # of the texts: one is not padded, one is empty
T, B = max(LENGTHS), len(LENGTHS)
PRESENT = np.arange(T)[:, None] < LENGTHS
DROPPING = {"dropout": 0.4, "input_dropout": 0.3, "weight_drop": 0.3}

every_cell = pytest.mark.parametrize("cell", list(CELLS))
both_ways = pytest.mark.parametrize("directions", [1, 2])


def draw_encoder(cell, directions, num_layers=2, embed_size=E, dtype="float64", **settings):
    """Return a net none of whose weights is zero, the padded ids of texts, and an upstream gradient."""
    rng = np.random.default_rng(1)
    settings = {"dropout": 0.0, "embed_size": embed_size} | settings
    config = ModelConfig(cell=cell, vocab_size=V, hidden_size=H, num_layers=num_layers, dtype=dtype, **settings)
    params = encoder.init_params(config, directions, rng, INITS["uniform"])
    params = {name: (array + rng.normal(0, 0.3, array.shape)).astype(dtype) for name, array in params.items()}
    ids, _ = pad([rng.integers(V, size=length) for length in LENGTHS])
    dh = rng.normal(size=(T, B, directions * H)).astype(dtype) * PRESENT[..., None].astype(dtype)
    masks = draw_masks(params, config, 3, 5, slice(0, B), directions)
    return SimpleNamespace(config=config, directions=directions, params=params, ids=ids, dh=dh, masks=masks)


def prepare(it):
    return encoder.prepare(it.params, it.config, it.directions, it.masks)


def run(it, ids=None, lengths=LENGTHS, dh=None, masks=None, scratch=FRESH, **given):
    """Return the outputs, with zeros on the padding, and every gradient, as one dict of copies."""
    ids, dh, masks = (own if new is None else new for new, own in ((ids, it.ids), (dh, it.dh), (masks, it.masks)))
    h, backprop = encoder.encode(prepare(it), ids, lengths, masks=masks, scratch=scratch, **given)
    present = (np.arange(len(ids))[:, None] < lengths)[..., None]
    results = {"h": np.where(present, h, 0)} | backprop(dh)
    return {name: array.copy() for name, array in results.items()}


# --- gradients

#: Both directions, layers above others, each kind of input, and each kind of dropout; in as few nets as show them all.
NETS = {
    "one-hot": {"directions": 1, "num_layers": 1, "embed_size": 0},
    "one-hot, deep, dropping": {"directions": 2, "embed_size": 0, "dropout": 0.4, "weight_drop": 0.3},
    "embedded, dropping": {"directions": 2, "num_layers": 1, **DROPPING},
    "rows": {"directions": 2, "num_layers": 1, "weight_drop": 0.3},
    "rows, one direction": {"directions": 1, "dropout": 0.4},
}


@pytest.mark.parametrize("net", NETS)
@every_cell
def test_finite_differences_confirm_every_gradient(cell, net):
    it, rng = draw_encoder(cell, **NETS[net]), np.random.default_rng(2)
    given = {"rows": rng.normal(size=(T, B, E))} if net.startswith("rows") else {}

    def encode():
        return encoder.encode(prepare(it), it.ids, LENGTHS, masks=it.masks, **given)

    grads = encode()[1](it.dh)
    if given:
        assert not grads["rows"][~PRESENT].any()
    arrays = {name: array for name, array in it.params.items() if not (given and name == "embed.W_e")} | given
    curved = {"epsilon": 3e-5, "tolerance": 3e-7} if cell.startswith("ln") else {"tolerance": 1e-8}
    check_gradients(lambda: float((encode()[0] * it.dh).sum()), arrays, grads, rng, **curved)


# --- the oracle: text by text, character by character


def oracle(it):
    """Return the outputs of the last layer (T, B, D H), zero on the padding, by single steps of single texts."""
    weights = {name: array * (it.masks.weights or {}).get(name, 1) for name, array in it.params.items()}
    h = np.zeros((T, B, it.directions * H))
    for b, length in enumerate(LENGTHS):
        rows = weights["embed.W_e"][it.ids[:length, b]] if it.config.embed_size else np.eye(V)[it.ids[:length, b]]
        if it.masks.inputs is not None:
            rows = rows * it.masks.inputs[b]
        for layer in range(it.config.num_layers):
            sides = []
            for direction in ("layer", "reverse")[: it.directions]:
                prefix = f"{direction}{layer}."
                own = {key.removeprefix(prefix): array for key, array in weights.items() if key.startswith(prefix)}
                state, outputs = [[0.0] * H] * CELLS[it.config.cell].n_states, []
                for x in rows if direction == "layer" else rows[::-1]:
                    state = ORACLES[it.config.cell](own, x, state)
                    outputs.append(state[0])
                sides.append(outputs if direction == "layer" else outputs[::-1])
            rows = np.concatenate([np.reshape(side, (length, H)) for side in sides], axis=1)
            if it.masks.outputs is not None:
                rows = rows * it.masks.outputs[layer, b]
        h[:length, b] = rows
    return h


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize("settings", [{"embed_size": 0}, DROPPING], ids=["one-hot", "embedded, dropping"])
@both_ways
@every_cell
def test_the_outputs_equal_the_equations(cell, directions, settings):
    it = draw_encoder(cell, directions, **settings)
    assert_close({"h": run(it)["h"]}, {"h": oracle(it)})


@pytest.mark.usefixtures("computed_by")
@every_cell
def test_one_direction_is_the_hidden_part_of_a_language_model(cell):
    it = draw_encoder(cell, 1, **DROPPING)
    params = it.params | {"out.W_hy": np.zeros((H, V)), "out.b_y": np.zeros(V)}
    weights, state = model.prepare(params, it.config, it.masks), model.zero_state(it.config, B)
    h, _, backprop = model.hidden(weights, it.ids, state, masks=it.masks)
    expected = {"h": np.where(PRESENT[..., None], h, 0)} | backprop(it.dh, np.zeros_like(state))[1]
    assert_identical(run(it), expected)


# --- padding


@pytest.mark.usefixtures("computed_by")
@both_ways
@every_cell
def test_a_padded_batch_equals_its_texts_read_one_by_one(cell, directions):
    it = draw_encoder(cell, directions, **DROPPING)
    batch, total = run(it), {name: np.zeros_like(array) for name, array in it.params.items()}
    for b, length in enumerate(LENGTHS):
        own = slice(b, b + 1)
        masks = it.masks._replace(inputs=it.masks.inputs[own], outputs=it.masks.outputs[:, own])
        text, dh = it.ids[: max(1, length), own], it.dh[: max(1, length), own]
        alone = run(it, text, LENGTHS[own], dh, masks)
        if length:
            assert_close({"h": alone.pop("h")}, {"h": batch["h"][:length, own]})
        for name in total:
            total[name] += alone[name]
    assert_close({name: batch[name] for name in total}, total)


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize(("directions", "embed_size"), [(1, 0), (2, E)])
@every_cell
def test_no_bit_depends_on_the_padding(cell, directions, embed_size):
    it = draw_encoder(cell, directions, embed_size=embed_size, dropout=0.4, weight_drop=0.3)
    expected, read = run(it), encoder.read(prepare(it), it.ids, LENGTHS)
    ids = np.where(PRESENT, it.ids, np.random.default_rng(3).integers(1, V, size=it.ids.shape))
    assert_identical(run(it, ids), expected)
    for again, h in zip(encoder.read(prepare(it), ids, LENGTHS), read, strict=True):
        assert np.array_equal(again[PRESENT], h[PRESENT])


@pytest.mark.parametrize("lengths", [[3, 3], [0, 0], [2, 0, 3], [1]], ids=str)
def test_the_state_is_reset_at_the_last_character_of_each_padded_text(lengths):
    resets = encoder.padding_resets(np.array(lengths), 3)
    if lengths == [3, 3]:
        assert resets is None
        return
    assert resets.shape == (3, len(lengths))
    for b, length in enumerate(lengths):  # reversed in time, the padding has 3 - length steps
        assert resets[:, b].tolist() == [t == 3 - length for t in range(3)]


# --- reading without a backward pass


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize(
    ("directions", "embed_size", "lengths"),
    [(1, E, LENGTHS), (2, 0, LENGTHS), (2, E, np.full(B, T))],
    ids=["forwards", "one-hot", "nothing padded"],
)
@every_cell
def test_each_layer_is_read_as_the_forward_pass_reads_it(cell, directions, embed_size, lengths):
    it = draw_encoder(cell, directions, embed_size=embed_size)
    layers = encoder.read(prepare(it), it.ids, lengths)
    assert len(layers) == 2
    present = np.arange(T)[:, None] < lengths
    for count, h in enumerate(layers, start=1):
        below = draw_encoder(cell, directions, embed_size=embed_size, num_layers=count)
        below.params = {name: it.params[name] for name in below.params}
        expected, _ = encoder.encode(prepare(below), it.ids, lengths)
        assert h.shape == expected.shape == (T, B, directions * H)
        assert_close({"h": h[present]}, {"h": expected[present]})


# --- buffers, precisions and the core


@pytest.mark.usefixtures("computed_by")
@every_cell
def test_reused_buffers_change_no_result(cell):
    it, training, reading = draw_encoder(cell, 2, dropout=0.4, weight_drop=0.3), Scratch(), Scratch()
    for length in (T, 2, T):
        ids, lengths, present = it.ids[:length], np.minimum(LENGTHS, length), PRESENT[:length]
        dh = it.dh[:length] * length
        assert_identical(run(it, ids, lengths, dh, scratch=training), run(it, ids, lengths, dh))
        fresh = encoder.read(prepare(it), ids, lengths)
        for h, expected in zip(encoder.read(prepare(it), ids, lengths, scratch=reading), fresh, strict=True):
            assert np.array_equal(h[present], expected[present])


@pytest.mark.usefixtures("computed_by")
@every_cell
def test_single_precision_stays_single(cell):
    settings = {"directions": 2, "dropout": 0.4, "weight_drop": 0.3}
    single, double = draw_encoder(cell, dtype="float32", **settings), draw_encoder(cell, **settings)
    results = run(single)
    assert {array.dtype for array in results.values()} == {np.dtype(np.float32)}
    assert_close(results, run(double), tolerance=2e-5)
    for h in encoder.read(prepare(single), single.ids, LENGTHS):
        assert h.dtype == np.float32


@pytest.mark.skipif(not compiled.core(), reason="the compiled core is not built, or is switched off")
@every_cell
def test_the_core_agrees_with_numpy(cell, compute_by):
    it = draw_encoder(cell, 2, **DROPPING)
    found, read = run(it), encoder.read(prepare(it), it.ids, LENGTHS)
    compute_by("numpy")
    assert_close(found, run(it), tolerance=1e-11)
    for h, expected in zip(read, encoder.read(prepare(it), it.ids, LENGTHS), strict=True):
        assert_close({"h": h[PRESENT]}, {"h": expected[PRESENT]}, tolerance=1e-11)


@pytest.mark.usefixtures("computed_by")
@every_cell
def test_nothing_that_is_passed_in_is_written_to(cell):
    it = draw_encoder(cell, 2, **DROPPING)
    for array in (
        *it.params.values(),
        it.ids,
        it.dh,
        it.masks.inputs,
        it.masks.outputs,
        *(it.masks.weights or {}).values(),
    ):
        array.flags.writeable = False
    run(it)
    encoder.read(prepare(it), it.ids, LENGTHS)


# --- parameters


@every_cell
def test_parameters_are_named_and_drawn_as_in_a_language_model(cell):
    config = draw_encoder(cell, 1).config
    rng = np.random.default_rng
    expected = model.init_params(config, rng(4))
    forwards = encoder.init_params(config, 1, rng(4), INITS[config.init])
    assert_identical(forwards, {name: expected[name] for name in expected if not name.startswith("out.")})

    both = encoder.init_params(config, 2, rng(4), INITS[config.init])
    assert both.keys() == forwards.keys() | {f"reverse{name[5:]}" for name in forwards if name.startswith("layer")}
    for name, array in both.items():
        rows = 2 * H if name.endswith(("1.W_xh", "1.W_xm")) else len(array)  # of both directions below
        assert array.shape == (rows, *forwards[name.replace("reverse", "layer")].shape[1:])
    assert not np.array_equal(both["layer0.W_xh"], both["reverse0.W_xh"])


@every_cell
def test_the_first_layer_draws_its_weights_for_one_hot_rows(cell):
    config = draw_encoder(cell, 2, embed_size=0).config
    init = INITS["uniform"]
    marked = init._replace(symbols=lambda rng, V, K: np.full((V, K), 7.0))
    params = encoder.init_params(config, 2, np.random.default_rng(1), marked)
    for name, array in params.items():
        if name.endswith(".W_xh"):
            assert (array == 7).any() == name.endswith("0.W_xh"), name


def test_without_masks_nothing_is_dropped():
    it = draw_encoder("lstm", 2)
    assert it.masks == NO_DROPOUT
    dropping = draw_encoder("lstm", 2, **DROPPING)
    dropping.masks = NO_DROPOUT
    assert_identical(run(dropping), run(it))
