"""The cells and the optimizers against PyTorch, whose results golden/make_golden.py wrote down once."""

import json
from pathlib import Path

import numpy as np
import pytest

from charrnn.config import OPTIMIZER_DEFAULTS, ModelConfig
from charrnn.nn.model import hidden, prepare
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


def to_params(cell, tensors, layers):
    """Return PyTorch's weights in our layout: transposed, and the two biases as one where they add up."""
    params = {}
    for layer in range(layers):
        W_ih, W_hh, b_ih, b_hh = (
            tensors[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        own = {"W_xh": W_ih.T, "W_hh": W_hh.T, "b_h": b_ih + b_hh}
        if cell == "gru":  # the n gate's recurrent bias is inside the product with r
            H = W_hh.shape[1]
            own["b_h"] = np.concatenate((b_ih[: 2 * H] + b_hh[: 2 * H], b_ih[2 * H :]))
            own["b_hn"] = b_hh[2 * H :]
        params |= {f"layer{layer}.{name}": np.ascontiguousarray(array) for name, array in own.items()}
    return params


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
    # A vocabulary with one symbol for each (t, b) makes the embedding hold any dense input, and its gradient dx.
    torch = part(golden, f"{cell}{layers}/")
    x = torch["x"]
    T, B, D = x.shape
    config = ModelConfig(
        T * B, cell=cell, hidden_size=torch["h_0"].shape[-1], num_layers=layers, embed_size=D, dtype="float64"
    )
    H = config.hidden_size
    params = to_params(cell, torch, layers)
    params |= {"embed.W_e": x.reshape(T * B, D), "out.W_hy": np.zeros((H, T * B)), "out.b_y": np.zeros(T * B)}

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
    assert meta.keys() == {"torch", "numpy", "seed", "sizes", "optimizers"}
    assert FILE.stat().st_size < 200_000
