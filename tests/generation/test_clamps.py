"""Clamps: a unit that is held while a model writes, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from fixtures_memory import memory_model

from charrnn.config import ModelConfig
from charrnn.data.vocab import Vocab
from charrnn.errors import ConfigError
from charrnn.generation.clamps import held, parse
from charrnn.generation.ensemble import Ensemble, Member
from charrnn.generation.writer import Writer
from charrnn.nn import model
from charrnn.nn.cells import CELLS
from charrnn.nn.functional import log_softmax

SYMBOLS = "\n abcdexyz"
H = 6


def member_of(cell="lstm", **settings):
    """Return a random model whose predictions depend on the context, and its parameters."""
    config = ModelConfig(len(SYMBOLS), cell=cell, **{"hidden_size": H, "num_layers": 2, "dtype": "float64", **settings})
    params = model.init_params(config, np.random.default_rng(4))
    params["out.W_hy"] *= 6
    return Member(model.prepare(params, config), config), params


def writer_of(cell="lstm", clamp=None, **settings):
    return Writer(Ensemble((member_of(cell, **settings)[0],)), Vocab(SYMBOLS)).clamped(clamp)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def lstm_by_hand(params, ids, clamp, begin):
    """Return the log-probabilities after each id, by the equations; from id number `begin` on, units are held."""
    h, c, log_probs = np.zeros((2, H)), np.zeros((2, H)), []
    for t, id_ in enumerate(ids):
        x = np.eye(len(SYMBOLS))[id_]
        for layer in range(2):
            W_xh, W_hh, b_h = (params[f"layer{layer}.{name}"] for name in ("W_xh", "W_hh", "b_h"))
            a_i, a_f, a_g, a_o = np.split(x @ W_xh + h[layer] @ W_hh + b_h, 4)
            c[layer] = sigmoid(a_f) * c[layer] + sigmoid(a_i) * np.tanh(a_g)
            h[layer] = sigmoid(a_o) * np.tanh(c[layer])
            for (of, part, unit), value in clamp.items() if t >= begin else ():
                if of == layer:
                    {"h": h, "c": c}[part][layer, unit] = value
            x = h[layer]
        log_probs.append(log_softmax(x @ params["out.W_hy"] + params["out.b_y"]))
    return np.array(log_probs)


@pytest.mark.usefixtures("computed_by")
@pytest.mark.parametrize("units", [["0.h"], ["0.c"], ["1.h"], ["1.c"], ["0.c", "1.h", "1.c"]], ids="+".join)
@pytest.mark.parametrize("prime", ["a", "abc x"])
def test_a_sample_is_as_likely_as_the_equations_say_with_the_unit_held(units, prime):
    names = [unit.split(".") for unit in units]
    clamp = {f"layer{layer}.{part}[3]": 1.5 for layer, part in names}
    writer, (_, params) = writer_of(clamp=clamp), member_of()
    sample = next(iter(writer.samples(1, primes=[prime], seed=3, length=20, temperature=1.0)))
    ids = writer.vocab.encode(prime + sample.text)
    by_unit = {(int(layer), part, 3): 1.5 for layer, part in names}
    log_probs = lstm_by_hand(params, ids, by_unit, begin=len(prime) - 1)
    expected = sum(log_probs[t - 1, ids[t]] for t in range(len(prime), len(ids)))
    assert sample.logprob == pytest.approx(expected, rel=1e-9)
    free = lstm_by_hand(params, ids, {}, begin=0)
    assert abs(sum(free[t - 1, ids[t]] for t in range(len(prime), len(ids))) - expected) > 1e-3


@pytest.mark.parametrize("cell", CELLS)
def test_every_state_of_every_cell_keeps_its_value(cell):
    for part, state in enumerate("hc"[: CELLS[cell].n_states]):
        writer = writer_of(cell, {f"layer0.{state}[5]": -0.5, "layer1.h[0]": 0.25})
        primed = writer.ensemble.read(writer.vocab.encode("ab"))
        states = [own.copy() for own in primed.states]
        for id_ in (1, 4, 2):
            writer.ensemble.step(np.array([id_]), states)
            assert states[0][0, part, 0, 5] == -0.5
            assert states[0][1, 0, 0, 0] == 0.25


@pytest.mark.parametrize("attention", [0, 5])
def test_samples_are_the_same_for_any_number_of_threads_and_beside_others(attention):
    clamp = {"layer0.c[1]": 2.0}
    writer = writer_of(clamp=clamp, attention=attention, hidden_size=H)
    how = {"seed": 2, "length": 25, "primes": ["ab", "x"]}
    alone = [sample.text for sample in writer.samples(20, threads=1, **how)]
    assert alone == [sample.text for sample in writer.samples(20, threads=3, **how)]
    assert alone[0] == "".join(writer.stream(prime="ab", seed=2, length=25))
    assert alone != [sample.text for sample in writer_of(attention=attention).samples(20, **how)]


@pytest.mark.parametrize("settings", [{}, {"documents": True}, {"memory": 0}], ids=["memory", "documents", "none"])
def test_a_memory_remembers_the_output_that_is_held(settings):
    lm = memory_model(cell="gru", **settings)
    text = lm.sample(60, prime="ab", seed=1, clamp={"layer0.h[2]": 1.5})
    assert text == lm.sample(60, prime="ab", seed=1, clamp={"layer0.h[2]": np.float32(1.5)})
    assert text == "ab" + next(iter(lm.samples(1, 60, primes=["ab"], seed=1, clamp={"layer0.h[2]": 1.5}))).text
    assert text != lm.sample(60, prime="ab", seed=1)
    natural = lm.writer.ensemble.read(ids := lm.checkpoint.vocab.encode("abcabcabca"))
    own = float(natural.states[0][0, 0, 0, 2])
    primed = lm.writer.clamped({"layer0.h[2]": own}).ensemble.read(ids)
    np.testing.assert_allclose(primed.logits, natural.logits, rtol=1e-9)


def test_a_cell_without_a_quick_pass_gives_the_layer_above_the_value_that_is_held():
    member, _ = member_of()
    slow = member._replace(weights=replace(member.weights, cell=replace(CELLS["lstm"], read=None, layer=None)))
    clamp = {"layer0.h[2]": 1.5, "layer1.h[0]": -1.0}
    texts = [
        "".join(Writer(Ensemble((one,)), Vocab(SYMBOLS)).clamped(clamp).stream(prime="ab", seed=1, length=40))
        for one in (member, slow)
    ]
    assert texts[0] == texts[1]


def test_no_clamp_changes_nothing():
    writer = writer_of()
    assert writer.clamped(None) is writer
    assert writer.clamped({}) is writer


def test_units_and_values_are_read_from_a_text():
    assert parse(["layer0.c[123]=2", " layer1.h[0] = -1e-1 "]) == {"layer0.c[123]": 2.0, "layer1.h[0]": -0.1}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        *(
            ([text], f"--clamp {text}: this is not UNIT=NUMBER: write it as in layer0.h[5]=1")
            for text in ("layer0.c[1]", "layer0.c[1]=", "layer0.c[1]=two", "2", "")
        ),
        (["layer0.h[1]=1", "layer0.h[1]=2"], "--clamp: layer0.h[1] is given twice: give it one value"),
    ],
)
def test_a_text_that_is_no_clamp_is_refused(texts, message):
    with pytest.raises(ConfigError) as error:
        parse(texts)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("cell", "unit", "value", "message"),
    [
        ("lstm", "layer2.h[1]", 1, "layer2.h[1]: the model's last layer is layer1: choose a lower one"),
        ("lstm", "layer0.h[6]", 1, "layer0.h[6]: the layer has units 0 to 5: choose one of them"),
        (
            "lstm",
            "layer0.f[1]",
            1,
            "layer0.f[1]: f is a gate, computed anew for each character in the cell lstm: hold layer0.h[1] or "
            "layer0.c[1]",
        ),
        ("gru", "layer1.c[1]", 1, "layer1.c[1]: there is no c in the cell gru: hold layer1.h[1]"),
        ("lstm", "layer0.h", 1, "layer0.h: this is not a unit: write it as in layer0.h[5]=1"),
        ("lstm", "layer0.h[01]", 1, "layer0.h[01]: this is not a unit: write it as in layer0.h[5]=1"),
        ("lstm", "layer0.h[1]", np.nan, "layer0.h[1]: the value must be -1,000,000 to 1,000,000, got nan"),
        ("lstm", "layer0.h[1]", np.inf, "layer0.h[1]: the value must be -1,000,000 to 1,000,000, got inf"),
        ("lstm", "layer0.h[1]", "2", "layer0.h[1]: the value must be -1,000,000 to 1,000,000, got '2'"),
    ],
)
def test_a_unit_that_the_model_lacks_is_refused(cell, unit, value, message):
    with pytest.raises(ConfigError) as error:
        writer_of(cell, {unit: value})
    assert str(error.value) == f"--clamp {message}"


def test_several_models_hold_nothing():
    members = (member_of()[0]._replace(share=0.5),) * 2
    with pytest.raises(ConfigError, match="--clamp holds units of a single model, and several are mixed: give one -m"):
        held({"layer0.h[1]": 1.0}, members)


def test_a_list_is_no_clamp():
    message = """clamp must be a dict of units and values, such as {"layer0.h[5]": 1.0}, got ['layer0.h[1]=1']"""
    with pytest.raises(ConfigError) as error:
        writer_of(clamp=["layer0.h[1]=1"])
    assert str(error.value) == message
