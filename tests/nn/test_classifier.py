"""The classifier: its gradients, a slow second version of it, and batches against texts that are read one by one."""

from dataclasses import replace

import numpy as np
import pytest

from charrnn.arrays import FRESH, Scratch
from charrnn.config import POOLS, ClassifierConfig
from charrnn.nn import classifier
from charrnn.nn.cells import CELLS
from charrnn.nn.gradcheck import check_gradients

from .test_cells import assert_close, assert_identical
from .test_encoder import DROPPING, LENGTHS, PRESENT, B, E, H, T, V, draw_encoder, oracle
from .test_pooling import pooled

LABELS = ("de", "en", "fr", "nl", "sv")
C = len(LABELS)

every_cell = pytest.mark.parametrize("cell", list(CELLS))
every_pool = pytest.mark.parametrize("how", POOLS)
both_ways = pytest.mark.parametrize("directions", [1, 2])


def draw(cell="lstm", directions=2, how="max", **settings):
    """Return a classifier none of whose weights is zero, the padded ids of texts, and an upstream gradient."""
    it, rng = draw_encoder(cell, directions, **settings), np.random.default_rng(5)
    it.classifier = ClassifierConfig(labels=LABELS, bidirectional=directions == 2, pool=how)
    readout = {"out.W_hy": rng.normal(size=(directions * H, C)), "out.b_y": rng.normal(size=C)}
    it.params |= {name: array.astype(it.config.dtype) for name, array in readout.items()}
    it.dlogits = rng.normal(size=(B, C)).astype(it.config.dtype)
    return it


def prepare(it, masks=None):
    return classifier.prepare(it.params, it.config, it.classifier, *([] if masks is None else [masks]))


def run(it, ids=None, lengths=LENGTHS, dlogits=None, masks=None, scratch=FRESH):
    """Return the logits and every gradient, as one dict of copies."""
    ids, dlogits, masks = (
        own if new is None else new for new, own in ((ids, it.ids), (dlogits, it.dlogits), (masks, it.masks))
    )
    logits, backprop = classifier.forward(prepare(it, masks), ids, lengths, masks=masks, scratch=scratch)
    grads = backprop(dlogits)
    assert grads.keys() == it.params.keys()
    return {name: array.copy() for name, array in ({"logits": logits} | grads).items()}


def check(it, tolerance, epsilon, **given):
    """Compare every gradient with finite differences."""
    rng = np.random.default_rng(6)

    def forward():
        weights = prepare(it, it.masks)
        return classifier.forward(weights, it.ids, LENGTHS, masks=it.masks, **given)

    grads = forward()[1](it.dlogits)
    arrays = {name: array for name, array in it.params.items() if not (given and name == "embed.W_e")} | given
    check_gradients(lambda: float((forward()[0] * it.dlogits).sum()), arrays, grads, rng, tolerance, epsilon)


@both_ways
@every_pool
def test_finite_differences_confirm_every_gradient(how, directions):
    check(draw("gru", directions, how, **DROPPING), tolerance=1e-7, epsilon=1e-4)


@every_cell
def test_finite_differences_confirm_the_gradient_of_rows(cell):
    rows = np.random.default_rng(8).normal(size=(T, B, E))
    check(draw(cell, num_layers=1, how="mean"), tolerance=1e-6, epsilon=3e-5, rows=rows)


@pytest.mark.usefixtures("computed_by")
@every_pool
@pytest.mark.parametrize(("cell", "directions"), [("rnn", 2), ("lstm", 2), ("gru", 1)])
def test_the_logits_equal_the_equations(cell, directions, how):
    it = draw(cell, directions, how, **DROPPING)
    h = oracle(it)
    v = np.array([pooled(how, h[:length, b], directions) for b, length in enumerate(LENGTHS)])
    W_hy, b_y = it.params["out.W_hy"], it.params["out.b_y"]
    logits = np.array([[sum(own * W_hy[:, label]) + b_y[label] for label in range(C)] for own in v])
    assert_close({"logits": run(it)["logits"]}, {"logits": logits})


@pytest.mark.usefixtures("computed_by")
@every_pool
@both_ways
@pytest.mark.parametrize("cell", ["lstm", "mingru"])
def test_a_padded_batch_equals_its_texts_read_one_by_one(cell, directions, how):
    it = draw(cell, directions, how, **DROPPING)
    batch, total = run(it), {name: np.zeros_like(array) for name, array in it.params.items()}
    for b, length in enumerate(LENGTHS):
        own = slice(b, b + 1)
        masks = it.masks._replace(inputs=it.masks.inputs[own], outputs=it.masks.outputs[:, own])
        alone = run(it, it.ids[: max(1, length), own], LENGTHS[own], it.dlogits[own], masks)
        assert_close({"logits": alone["logits"]}, {"logits": batch["logits"][own]})
        for name in total:
            total[name] += alone[name]
    assert_close({name: batch[name] for name in total}, total)


@pytest.mark.usefixtures("computed_by")
@every_pool
@both_ways
def test_no_bit_depends_on_the_padding(directions, how):
    it = draw("lstm", directions, how, dropout=0.4, weight_drop=0.3)
    ids = np.where(PRESENT, it.ids, np.random.default_rng(3).integers(V, size=it.ids.shape))
    assert_identical(run(it, ids), run(it))
    assert np.array_equal(classifier.logits(prepare(it), ids, LENGTHS), classifier.logits(prepare(it), it.ids, LENGTHS))


@pytest.mark.usefixtures("computed_by")
@both_ways
@every_pool
def test_a_text_without_characters_has_the_bias_as_its_logits(how, directions):
    it = draw("lstm", directions, how)
    for logits in (run(it)["logits"], classifier.logits(prepare(it), it.ids, LENGTHS)):
        assert np.array_equal(logits[LENGTHS == 0], it.params["out.b_y"][None])
    nothing = np.zeros(2, np.intp)
    results = run(it, it.ids[:1, :2], nothing, it.dlogits[:2])
    assert np.array_equal(results["logits"], np.tile(it.params["out.b_y"], (2, 1)))
    for name, array in it.params.items():
        assert results[name].shape == array.shape
        assert results[name].any() == (name == "out.b_y"), name


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize(("how", "directions"), [("max", 2), ("mean", 2), ("last", 1)])
@every_cell
def test_logits_are_those_of_the_forward_pass(cell, how, directions):
    it, scratch = draw(cell, directions, how), Scratch()
    weights = prepare(it)
    for length in (T, 2):
        ids, lengths = it.ids[:length], np.minimum(LENGTHS, length)
        expected, _ = classifier.forward(weights, ids, lengths)
        assert_close({"logits": classifier.logits(weights, ids, lengths, scratch=scratch)}, {"logits": expected})


@pytest.mark.usefixtures("computed_by")
@every_pool
def test_reused_buffers_change_no_result(how):
    it, scratch = draw("gru", how=how, dropout=0.4), Scratch()
    for length in (T, 2, T):
        given = {"ids": it.ids[:length], "lengths": np.minimum(LENGTHS, length)}
        assert_identical(run(it, **given, scratch=scratch), run(it, **given))


@every_cell
def test_single_precision_stays_single(cell):
    single, double = draw(cell, dtype="float32"), draw(cell)
    results = run(single)
    assert {array.dtype for array in results.values()} == {np.dtype(np.float32)}
    assert_close(results, run(double), tolerance=1e-4)
    logits = classifier.logits(prepare(single), single.ids, LENGTHS)
    assert logits.dtype == np.float32
    assert_close({"logits": logits}, {"logits": results["logits"]}, tolerance=1e-5)


@pytest.mark.parametrize(("directions", "embed_size", "dtype"), [(1, 0, "float32"), (2, E, "float64")])
@every_cell
def test_shapes_are_known_without_drawing(cell, directions, embed_size, dtype):
    it = draw(cell, directions, embed_size=embed_size, dtype=dtype)
    params = classifier.init_params(it.config, it.classifier, np.random.default_rng(1))
    shapes = {name: array.shape for name, array in it.params.items()}
    assert {name: array.shape for name, array in params.items()} == shapes
    assert classifier.param_shapes(it.config, it.classifier) == shapes
    assert list(params) == list(shapes)
    assert {array.dtype for array in params.values()} == {np.dtype(dtype)}
    assert not params["out.b_y"].any()
    again = classifier.init_params(it.config, it.classifier, np.random.default_rng(1))
    assert_identical(again, params)


def test_both_precisions_start_from_the_same_weights():
    it = draw()
    double, single = (
        classifier.init_params(replace(it.config, dtype=dtype), it.classifier, np.random.default_rng(1))
        for dtype in ("float64", "float32")
    )
    assert_identical(single, {name: array.astype(np.float32) for name, array in double.items()})
