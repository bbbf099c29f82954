"""Sampling by the compiled core: the same ids as NumPy draws, whatever is drawn beside them or in one call."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.generation.ensemble import Ensemble, Member
from charrnn.generation.filters import apply_filters
from charrnn.generation.loop import Streams, Uniforms, advance, draw, generate
from charrnn.generation.rules import Rules
from charrnn.generation.settings import Filters
from charrnn.nn import compiled, model
from charrnn.nn.compiled import Drawing
from charrnn.nn.functional import log_softmax

FILTERS = {
    "temperature": Filters(0.8),
    "hot": Filters(3.0),
    "cold": Filters(1e-300),
    "likeliest": Filters(0.0, repeat_penalty=1.4, repeat_window=2),
    "top-k 1": Filters(1.0, top_k=1),
    "top-k": Filters(1.1, top_k=40),
    "top-k, most": Filters(1.1, top_k=600),
    "top-p": Filters(0.9, top_p=0.9),
    "top-p, little": Filters(1.0, top_p=1e-18),
    "top-p, nearly all": Filters(1.0, top_p=1 - 2**-53),
    "min-p": Filters(1.2, min_p=0.05),
    "penalty": Filters(1.0, repeat_penalty=2.5, repeat_window=5),
    "reward": Filters(1.0, repeat_penalty=0.3, repeat_window=30),
    "all": Filters(1.1, top_k=9, top_p=0.8, min_p=0.02, repeat_penalty=1.7, repeat_window=70),
}
every_filter = pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
every_cell = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "lnlstm", "lnmlstm"])
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
NEVER_ENDS = Rules(None)


def drawing(filters, never=-1):
    """Return the filters as the core reads them."""
    temperature = filters.temperature and max(filters.temperature, 1e-200)
    numbers = (temperature, filters.top_p, filters.min_p, math.log(filters.repeat_penalty), never)
    return Drawing(*numbers, filters.top_k, filters.window)


def random_model(cell="lstm", dtype="float64", V=30, **settings):
    """Return an ensemble of one random model whose predictions depend on the context."""
    config = ModelConfig(V, cell=cell, **{"hidden_size": 20, "dtype": dtype, **settings})
    params = model.init_params(config, np.random.default_rng(4))
    last = "embed.W_e" if config.tied else "out.W_hy"
    params[last] *= 6
    return Ensemble((Member(model.prepare(params, config), config),))


def written(ensemble, filters, rules, *, count=5, prime=(3, 1), scored=False, steps=100):
    """Return the ids, the log-probabilities and the ends of some samples."""
    primed = [ensemble.read(np.array(prime))] * count
    texts = [([], [], []) for _ in primed]
    found = generate(
        ensemble, primed, [[5, index] for index in range(count)], rules=rules, filters=filters, scored=scored
    )
    for step, _ in zip(found, range(steps), strict=False):
        log_probs = step.log_probs if scored else [0.0] * len(step.ids)
        for number, *rest in zip(step.samples, step.ids.tolist(), log_probs, step.ended, strict=True):
            for to, one in zip(texts[number], rest, strict=True):
                to.append(one)
    return texts


@every_filter
@pytest.mark.parametrize("V", [3, 9, 65, 700, 5400])
@both_dtypes
def test_an_id_is_drawn_as_by_numpy(variant, filters, V, dtype):
    rng, B, never = np.random.default_rng(V), 12, 1
    for spread in (0.5, 4.0, 40.0):
        logits = (rng.normal(size=(B, V)) * spread).round(2).astype(dtype)  # some are equal
        logits[3, : V // 2] = -np.inf
        recent, uniforms = rng.integers(-1, V, (B, 80)), rng.random((B, 1))
        uniforms[:2, 0] = 1e-9, 1 - 1e-9
        possible = logits.copy()
        possible[:, never] = -np.inf
        candidates = apply_filters(filters, possible, recent)
        expected = candidates.ids_at(draw(candidates.weights, uniforms[:, 0]))
        before, expected_recent = logits.copy(), np.column_stack((recent[:, 1:], expected))
        ids, log_probs = compiled.sample(
            None, drawing(filters, never), logits=logits, state=None, uniforms=uniforms, recent=recent,
            halting=np.zeros(V, bool), scored=True,
        )  # fmt: skip
        assert ids.tolist() == [expected.tolist()]
        assert np.array_equal(recent, expected_recent)
        assert np.array_equal(logits, before)
        chosen = log_softmax(logits)[np.arange(B), ids[0]]
        np.testing.assert_allclose(log_probs[0], chosen, rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-5)


@every_filter
@every_cell
def test_texts_are_those_of_numpy(compute_by, variant, cell, filters):
    rules = Rules(90, lines=4, newline=2, stops=(np.array([1]), np.array([4, 5])), end=7, never=9)
    for settings in ({}, {"num_layers": 2, "embed_size": 7}, {"embed_size": 6, "tied": True}):
        found = []
        for name in (variant, "numpy"):
            compute_by(name)
            found.append(written(random_model(cell, **settings), filters, rules, count=9, scored=True))
        for ours, theirs in zip(*found, strict=True):
            assert ours[0] == theirs[0]
            assert ours[2] == theirs[2]
            np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9, atol=1e-11)


@every_cell
def test_in_single_precision_only_rounding_chooses_another_id(variant, cell):
    ensemble, filters = random_model(cell, "float32", num_layers=2), Filters(0.9)
    (member,) = ensemble.members
    texts = written(ensemble, filters, NEVER_ENDS, count=8, steps=150)
    uniforms = Uniforms([[5, index] for index in range(8)]).ahead(150)
    for (ids, *_), own in zip(texts, uniforms, strict=True):
        read = np.array([3, 1, *ids[:-1]])[:, None]
        logits, _, _ = model.forward(member.weights, read, model.zero_state(member.config, 1))
        weights = apply_filters(filters, logits[1:, 0], np.empty((150, 0), np.intp)).weights
        shares = np.add.accumulate(weights, axis=1) / weights.sum(axis=1, keepdims=True)
        upper = shares[np.arange(150), ids]
        lower = upper - weights[np.arange(150), ids] / weights.sum(axis=1)
        assert (lower - 1e-5 <= own).all()
        assert (own <= upper + 1e-5).all()


@both_dtypes
@every_cell
@pytest.mark.parametrize("B", [1, 3, 29])
def test_steps_in_one_call_are_those_of_one_call_each(variant, cell, B, dtype):
    net = random_model(cell, dtype, num_layers=2).net
    rng, n = np.random.default_rng(B), 25
    settings = drawing(Filters(1.0, top_k=12, repeat_penalty=1.5, repeat_window=7))
    arrays = {
        "logits": rng.normal(size=(B, 30)).astype(dtype),
        "state": rng.normal(size=(2, 1 + ("lstm" in cell), B, 20)).astype(dtype),
        "recent": rng.integers(-1, 30, (B, 9)),
    }
    together, apart = ({name: array.copy() for name, array in arrays.items()} for _ in range(2))
    uniforms, halting = rng.random((B, n)), np.zeros(30, bool)
    ids, log_probs = compiled.sample(net, settings, uniforms=uniforms, halting=halting, scored=True, **together)
    assert len(ids) == n
    for step in range(n):
        own, scores = compiled.sample(
            net, settings, uniforms=uniforms[:, [step]], halting=halting, scored=True, **apart
        )
        assert np.array_equal(own[0], ids[step])
        assert np.array_equal(scores[0], log_probs[step])
        if step < n - 1:
            apart["logits"] = net.step(own[0], apart["state"])
    for name in arrays:
        assert np.array_equal(together[name], apart[name]), name
    for row in range(B):
        alone = {name: arrays[name][[row]] for name in ("logits", "recent")} | {"state": arrays["state"][:, :, [row]]}
        own, scores = compiled.sample(net, settings, uniforms=uniforms[[row]], halting=halting, scored=True, **alone)
        assert np.array_equal(own[:, 0], ids[:, row])
        assert np.array_equal(scores[:, 0], log_probs[:, row])
        assert np.array_equal(alone["state"][:, :, 0], together["state"][:, :, row])
    # A halting id ends the call in the step that draws it, and is not read.
    halting[ids[13:, -1]] = True
    expected = next(step for step in range(n) if halting[ids[step]].any())
    again = {name: array.copy() for name, array in arrays.items()}
    some, _ = compiled.sample(net, settings, uniforms=uniforms, halting=halting, scored=False, **again)
    assert np.array_equal(some, ids[: expected + 1])
    kept = np.column_stack((arrays["recent"], some.T))[:, -9:]
    assert np.array_equal(again["recent"], kept)


@pytest.mark.parametrize("window", [1, 3, 64, 200])
def test_the_window_of_a_penalty_reaches_over_calls(compute_by, variant, window):
    filters, found = Filters(1.0, repeat_penalty=9.0, repeat_window=window), []
    for name in (variant, "numpy"):
        compute_by(name)
        found.append(written(random_model(), filters, NEVER_ENDS, prime=[*range(20)], steps=300))
    assert found[0] == found[1]


def test_samples_are_the_same_whenever_others_join_or_leave(variant):
    ensemble, filters, rules = random_model(), Filters(1.0), Rules(70, stops=(np.array([1]),))
    primed = [ensemble.read(np.array([at])) for at in range(12)]
    rng, found = np.random.default_rng(1), [[] for _ in primed]
    waiting = [
        Streams.start([begin], [[7, number]], rules=rules, filters=filters, first=number)
        for number, begin in enumerate(primed)
    ]
    streams = waiting.pop()
    while len(streams):
        steps = streams.run(ensemble.net, int(rng.integers(1, 9)), scored=False)
        for step in steps:
            for number, id_ in zip(step.samples, step.ids.tolist(), strict=True):
                found[number].append(id_)
        streams.keep([row for row, why in enumerate(steps[-1].ended) if not why])
        if len(streams):
            advance(ensemble, [streams])
        elif waiting:
            streams = waiting.pop()
        if waiting and rng.random() < 0.4:
            streams.join(waiting.pop())
    for number, begin in enumerate(primed):
        alone = generate(ensemble, [begin], [[7, number]], rules=rules, filters=filters)
        assert found[number] == [int(step.ids[0]) for step in alone]


def test_random_numbers_do_not_depend_on_how_many_are_taken_at_once():
    entropy = [[3, index] for index in range(4)]
    expected = np.stack([np.random.default_rng([3, index, 0, 0]).random(4000) for index in range(4)])
    uniforms, rng, at, rows = Uniforms(entropy[:2]), np.random.default_rng(2), [0, 0], [0, 1]
    while min(at) < 1500:
        ahead, taken = int(rng.integers(1, 300)), int(rng.integers(0, 200))
        found = uniforms.ahead(ahead)
        for row, number in enumerate(rows):
            assert np.array_equal(found[row], expected[number, at[row] : at[row] + ahead])
        taken = min(taken, ahead)
        uniforms.take(taken)
        at = [own + taken for own in at]
        if rows == [0, 1] and at[0] > 400:
            other = Uniforms(entropy[2:])
            other.take(len(other.ahead(5)[0]))
            uniforms.join(other)
            rows, at = [0, 1, 2, 3], [*at, 5, 5]
        elif len(rows) == 4 and at[0] > 800:
            uniforms.keep([3, 1])
            rows, at = [3, 1], [at[3], at[1]]


def test_two_threads_sample_from_one_net_as_one_does(variant):
    ensemble, filters = random_model(dtype="float32", hidden_size=64), Filters(0.9, top_k=20, top_p=0.95)
    expected = [written(ensemble, filters, NEVER_ENDS, prime=[at], steps=400) for at in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            texts = pool.map(lambda at: written(ensemble, filters, NEVER_ENDS, prime=[at], steps=400), (1, 2))
            assert list(texts) == expected


def test_a_run_of_several_models_or_with_a_constraint_is_one_step(variant):
    one = random_model()
    several = Ensemble(one.members * 2)
    assert one.net is not None
    assert several.net is None
    begin = [one.read(np.array([1]))]
    streams = Streams.start(begin, [[1]], rules=Rules(40), filters=Filters(1.0))
    assert [len(streams.run(one.net, most)) for most in (1, 20, 50)] == [1, 20, 19]  # up to the length


@pytest.mark.parametrize("V", [9, 700])
@pytest.mark.parametrize("share", [0.0, 1 - 2**-53])
def test_the_ends_of_the_random_numbers_draw_what_is_possible(variant, V, share):
    logits = np.random.default_rng(1).normal(size=(40, V)) * 20
    logits[:, : V // 7] = logits[:, -1] = -np.inf
    ids, _ = compiled.sample(
        None, drawing(Filters(1.0)), logits=logits, state=None, uniforms=np.full((40, 1), share),
        recent=np.empty((40, 0), np.intp), halting=np.zeros(V, bool), scored=False,
    )  # fmt: skip
    assert np.isfinite(logits[np.arange(40), ids[0]]).all()
    assert share > 0 or set(ids[0].tolist()) == {V // 7}


@every_filter
def test_logits_of_nan_draw_some_id(variant, filters):
    for V in (9, 700):
        for bad in (slice(None), slice(4, 6), slice(0, 1)):
            logits = np.zeros((2, V))
            logits[1, bad] = np.nan
            logits[1, 5] = -np.nan
            ids, _ = compiled.sample(
                None, drawing(filters), logits=logits, state=None, uniforms=np.full((2, 1), 0.5),
                recent=np.full((2, 80), -1), halting=np.zeros(V, bool), scored=False,
            )  # fmt: skip
            assert 0 <= ids[0, 1] < V


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"uniforms": np.zeros((2, 3))}, ValueError),  # several steps without a net
        ({"uniforms": np.zeros((3, 1))}, ValueError),
        ({"uniforms": np.zeros((2, 1), np.float32)}, TypeError),
        ({"recent": np.zeros((2, 1), np.intp)}, ValueError),  # shorter than the window
        ({"recent": np.zeros((2, 4), np.int32)}, TypeError),
        ({"halting": np.zeros(8, bool)}, ValueError),
        ({"drawing": drawing(Filters(1.0), never=9)}, ValueError),
    ],
)
def test_arguments_that_do_not_fit_are_refused(variant, changed, error):
    given = {
        "drawing": drawing(Filters(1.0, repeat_penalty=2.0, repeat_window=2)),
        "logits": np.zeros((2, 9)),
        "state": None,
        "uniforms": np.zeros((2, 1)),
        "recent": np.zeros((2, 4), np.intp),
        "halting": np.zeros(9, bool),
        "scored": False,
    }
    compiled.sample(None, **given)
    with pytest.raises(error):
        compiled.sample(None, **given | changed)
