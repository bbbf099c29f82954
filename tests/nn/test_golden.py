"""Cells, whole nets and optimizers against PyTorch, whose results golden/make_golden.py wrote down once."""

import json
from pathlib import Path

import numpy as np
import pytest

from charrnn.config import OPTIMIZER_DEFAULTS, ModelConfig
from charrnn.interop.pytorch import checkpoint_of, from_torch, to_torch
from charrnn.nn import encoder
from charrnn.nn.model import forward, hidden, prepare, zero_state
from charrnn.nn.optimizers import OPTIMIZERS

pytestmark = pytest.mark.usefixtures("computed_by")
TOLERANCE = 1e-10  # relative, on the norm of each array
FILE = Path(__file__).parent / "golden" / "torch.npz"
TENSORS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
STATES = {"rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}


@pytest.fixture(scope="module")
def golden():
    with np.load(FILE, allow_pickle=False) as arrays:
        return dict(arrays)


def part(golden, prefix):
    return {name.removeprefix(prefix): array for name, array in golden.items() if name.startswith(prefix)}


def relative(actual, expected):
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float64
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def net_of(torch, layers):
    """Return the state dict of a net around these layers, whose embedding has a row of x for each (t, b)."""
    x, H = torch["x"], torch["h_0"].shape[-1]
    V = x.shape[0] * x.shape[1]
    rnn = {f"{name}_l{layer}": torch[f"{name}_l{layer}"] for name in TENSORS for layer in range(layers)}
    return {
        "embedding.weight": x.reshape(V, -1),
        **{f"rnn.{name}": array for name, array in rnn.items()},
        "readout.weight": np.zeros((V, H)),
        "readout.bias": np.zeros(V),
    }


def to_grads(cell, tensors, layers):
    """Return PyTorch's gradients in our layout: the gradient of a sum of biases is that of either of them."""
    grads = {}
    for layer in range(layers):
        dW_ih, dW_hh, db_ih, db_hh = (tensors[f"{name}_l{layer}"] for name in TENSORS)
        own = {"W_xh": dW_ih.T, "W_hh": dW_hh.T, "b_h": db_ih}
        if cell == "gru":
            own["b_hn"] = db_hh[2 * dW_hh.shape[1] :]
        grads |= {f"layer{layer}.{name}": array for name, array in own.items()}
    return grads


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", STATES)
def test_a_stack_of_cells_agrees_with_pytorch(golden, cell, layers):
    torch = part(golden, f"{cell}{layers}/")
    T, B, D = torch["x"].shape
    config, params = from_torch(net_of(torch, layers))
    assert (config.cell, config.num_layers, config.embed_size) == (cell, layers, D)

    def states(name):
        return np.stack([torch[name.format(state)] for state in STATES[cell]], axis=1)

    h, state, backprop = hidden(prepare(params, config), np.arange(T * B).reshape(T, B), states("{}_0"))
    dstate0, grads = backprop(torch["up/output"], states("up/{}_n"))

    assert relative(h, torch["output"]) <= TOLERANCE
    assert relative(state, states("{}_n")) <= TOLERANCE
    assert relative(dstate0, states("grad/{}_0")) <= TOLERANCE
    expected = to_grads(cell, part(torch, "grad/"), layers) | {"embed.W_e": torch["grad/x"].reshape(T * B, D)}
    assert grads.keys() == expected.keys()
    for name, grad in expected.items():
        assert relative(grads[name], grad) <= TOLERANCE, name


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", STATES)
def test_weights_come_back_as_pytorch_gave_them(golden, cell, layers):
    given = net_of(part(golden, f"{cell}{layers}/"), layers)
    back = to_torch(*from_torch(given))
    assert back.keys() == given.keys()
    for name, array in given.items():
        if ".bias" not in name or name == "readout.bias":
            assert np.array_equal(back[name], array), name
    for layer in range(layers):
        ours, theirs = ((net[f"rnn.bias_ih_l{layer}"], net[f"rnn.bias_hh_l{layer}"]) for net in (back, given))
        assert np.array_equal(sum(ours), sum(theirs))
        if cell == "gru":  # the biases of its n gate are not added up
            n = slice(2 * len(theirs[0]) // 3, None)
            assert all(np.array_equal(one[n], other[n]) for one, other in zip(ours, theirs, strict=True))
    again = to_torch(*from_torch(back))
    assert all(np.array_equal(again[name], array) for name, array in back.items())


def both_sides(tensors, cell, prefix=""):
    """Return PyTorch's weights, or with the prefix "grad/" their gradients, in our layout and under our names."""
    params = {}
    for direction, end in (("layer", ""), ("reverse", "_reverse")):
        for layer in range(2):
            own = {f"{name}_l0": tensors[f"{prefix}{name}_l{layer}{end}"].copy() for name in TENSORS}
            if not prefix:  # the biases are added up, but for those of the n gate of a GRU
                added = slice(2 * len(own["weight_hh_l0"]) // 3 if cell == "gru" else None)
                own["bias_ih_l0"][added] += own["bias_hh_l0"][added]
            params |= {name.replace("layer0", f"{direction}{layer}"): a for name, a in to_grads(cell, own, 1).items()}
    return params


@pytest.mark.parametrize("cell", STATES)
def test_a_net_of_two_directions_agrees_with_pytorch(golden, cell):
    torch, lengths = part(golden, f"both{cell}/"), np.array(json.loads(golden["meta"].item())["sizes"]["lengths"])
    x = torch["x"]
    (T, B, D), H = x.shape, torch["output"].shape[-1] // 2
    config = ModelConfig(
        cell=cell, vocab_size=T * B, hidden_size=H, num_layers=2, embed_size=D, dropout=0.0, dtype="float64"
    )
    params = both_sides(torch, cell) | {"embed.W_e": x.reshape(T * B, D)}
    h, backprop = encoder.encode(encoder.prepare(params, config, 2), np.arange(T * B).reshape(T, B), lengths)
    present = (np.arange(T)[:, None] < lengths)[..., None]
    assert relative(h * present, torch["output"]) <= TOLERANCE
    grads = backprop(torch["up/output"])
    expected = both_sides(torch, cell, "grad/") | {"embed.W_e": torch["grad/x"].reshape(T * B, D)}
    assert grads.keys() == expected.keys()
    for name, grad in expected.items():
        assert relative(grads[name], grad) <= TOLERANCE, name


@pytest.mark.parametrize("E", [0, 4])
def test_a_whole_net_agrees_with_pytorch(golden, E):
    torch, characters = part(golden, f"net{E}/"), json.loads(golden["meta"].item())["characters"]
    saved = checkpoint_of(part(torch, "weights/"), characters)
    assert saved.vocab.symbols == "".join(sorted(characters)) != characters
    rows = [saved.vocab.symbols.index(char) for char in characters]  # ours, in the order of theirs
    ids = np.array(rows)[torch["ids"]]
    logits, _, _ = forward(prepare(saved.params, saved.model_config), ids, zero_state(saved.model_config, ids.shape[1]))
    assert relative(logits[..., rows], torch["logits"]) <= TOLERANCE


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("decay", ["0", "0.1"])
@pytest.mark.parametrize("name", OPTIMIZER_DEFAULTS)
def test_optimizers_agree_with_pytorch(golden, name, decay, steps):
    torch, given = part(golden, "optim/"), json.loads(golden["meta"].item())["optimizers"]
    takes = {"sgd": ["momentum"], "rmsprop": ["beta2"], "adagrad": [], "adam": ["beta1", "beta2"]}
    takes["adamw"] = takes["adam"]
    optimizer = OPTIMIZERS[name](**{key: given[key] for key in takes[name]}, weight_decay=float(decay))
    params = {"W": torch["start"].copy()}
    state = optimizer.init(params)
    for step in range(steps):
        optimizer.update(params, {"W": torch["grads"][step].copy()}, state, given["lr"], step)
    assert relative(params["W"], torch[f"{name}/{decay}/{steps}"]) <= TOLERANCE


def test_the_golden_file_says_where_it_comes_from(golden):
    meta = json.loads(golden["meta"].item())
    assert meta["torch"].startswith("2.13.0")
    assert meta.keys() == {"torch", "numpy", "seed", "characters", "sizes", "optimizers"}
    assert FILE.stat().st_size < 200_000
