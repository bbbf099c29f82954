"""Write torch.npz: what PyTorch computes, for the tests to compare with. Needs torch; the tests do not.

    python tests/nn/golden/make_golden.py

All in float64. The names inside are

    meta                            JSON: versions, seed, sizes, characters and the settings of the optimizers
    <cell><layers>/<tensor>         x, h_0, c_0, output, h_n, c_n and the weights, as PyTorch names and lays them out
    <cell><layers>/up/<tensor>      the gradients sent into output, h_n and c_n
    <cell><layers>/grad/<tensor>    the gradients that arrive at x, h_0, c_0 and the weights
    optim/start, optim/grads        a matrix and its gradients at three successive steps
    optim/<name>/<decay>/<steps>    the matrix after so many steps
    net<E>/ids, net<E>/logits       what a whole net reads and computes: two layers of nn.LSTM and an nn.Linear on an
                                    embedding of size E, or on one-hot rows if E is 0
    net<E>/weights/<tensor>         its state dict; the rows are those of the characters
    both<cell>/<tensor>             of two layers of two directions: x, with columns of the lengths LENGTHS;
                                    the output, zero on the padding; and the weights
    both<cell>/up/output            the gradient sent into the output, likewise
    both<cell>/grad/<tensor>        the gradients that arrive at x and the weights
"""

import json
from pathlib import Path

import numpy as np
import torch

SEED = 20240229
T, B, D, H = 5, 3, 4, 6
LENGTHS = (2, 5, 4)
CHARACTERS = "db ca\n"  # not sorted
CELLS = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
LR, MOMENTUM, BETA1, BETA2 = 0.05, 0.9, 0.8, 0.95
DECAYS = (0.0, 0.1)
OPTIMIZERS = {
    "sgd": lambda p, decay: torch.optim.SGD(p, LR, momentum=MOMENTUM, weight_decay=decay),
    "rmsprop": lambda p, decay: torch.optim.RMSprop(p, LR, alpha=BETA2, weight_decay=decay),
    "adagrad": lambda p, decay: torch.optim.Adagrad(p, LR, weight_decay=decay),
    "adam": lambda p, decay: torch.optim.Adam(p, LR, betas=(BETA1, BETA2), weight_decay=decay),
    "adamw": lambda p, decay: torch.optim.AdamW(p, LR, betas=(BETA1, BETA2), weight_decay=decay),
}


def run_cell(name, layers, rng):
    """Return the arrays of one net: a forward pass and a backward pass, everything random."""

    def draw(*shape):
        return torch.tensor(rng.normal(size=shape), requires_grad=True)

    net = CELLS[name](D, H, num_layers=layers).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.tensor(rng.normal(0, 0.5, weight.shape)))
    inputs = {"x": draw(T, B, D), "h_0": draw(layers, B, H)}
    if name == "lstm":
        inputs["c_0"] = draw(layers, B, H)
    state = (inputs["h_0"], inputs["c_0"]) if name == "lstm" else inputs["h_0"]
    output, last = net(inputs["x"], state)
    outputs = {"output": output} | dict(zip(("h_n", "c_n"), last if name == "lstm" else [last], strict=False))
    upstream = {key: torch.tensor(rng.normal(size=value.shape)) for key, value in outputs.items()}
    torch.autograd.backward(list(outputs.values()), list(upstream.values()))
    leaves = inputs | dict(net.named_parameters())
    return (
        {key: value.detach().numpy() for key, value in (leaves | outputs).items()}
        | {f"up/{key}": value.numpy() for key, value in upstream.items()}
        | {f"grad/{key}": value.grad.numpy() for key, value in leaves.items()}
    )


def run_both(name, rng):
    """Return the arrays of a net of two directions that reads a packed batch of sequences of unequal lengths."""
    net = CELLS[name](D, H // 2, num_layers=2, bidirectional=True).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.tensor(rng.normal(0, 0.5, weight.shape)))
    x = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(net(packed)[0])
    present = (np.arange(T)[:, None] < LENGTHS)[..., None]
    upstream = torch.tensor(rng.normal(size=output.shape) * present)
    output.backward(upstream)
    leaves = {"x": x} | dict(net.named_parameters())
    arrays = leaves | {"output": output, "up/output": upstream}
    arrays |= {f"grad/{key}": value.grad for key, value in leaves.items()}
    return {key: value.detach().numpy() for key, value in arrays.items()}


class Net(torch.nn.Module):
    """Characters to logits."""

    def __init__(self, V, E):
        super().__init__()
        self.embedding = torch.nn.Embedding(V, E) if E else None
        self.rnn = torch.nn.LSTM(E or V, H, num_layers=2)
        self.readout = torch.nn.Linear(H, V)

    def forward(self, ids):
        """Return the logits (T, B, V) for ids (T, B), from a zero state."""
        one_hot = torch.nn.functional.one_hot(ids, self.readout.out_features).double()
        h, _ = self.rnn(one_hot if self.embedding is None else self.embedding(ids))
        return self.readout(h)


def run_net(E, rng):
    """Return the arrays of a whole net."""
    net = Net(len(CHARACTERS), E).double()
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.tensor(rng.normal(0, 0.5, weight.shape)))
        ids = torch.tensor(rng.integers(len(CHARACTERS), size=(T, B)))
        arrays = {"ids": ids, "logits": net(ids)}
    arrays |= {f"weights/{name}": weight for name, weight in net.state_dict().items()}
    return {name: array.numpy() for name, array in arrays.items()}


def run_optimizers(rng):
    """Return a matrix as each optimizer leaves it after one and after three steps."""
    start, grads = rng.normal(size=(3, 4)), rng.normal(size=(3, 3, 4))
    arrays = {"start": start, "grads": grads}
    for name, make in OPTIMIZERS.items():
        for decay in DECAYS:
            param = torch.nn.Parameter(torch.tensor(start))
            optimizer = make([param], decay)
            for steps, grad in enumerate(grads, start=1):
                param.grad = torch.tensor(grad)
                optimizer.step()
                if steps in (1, 3):
                    arrays[f"{name}/{decay:g}/{steps}"] = param.detach().numpy().copy()
    return arrays


def main():
    """Write the file beside this one."""
    rng = np.random.default_rng(SEED)
    meta = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "seed": SEED,
        "characters": CHARACTERS,
        "sizes": {"T": T, "B": B, "D": D, "H": H, "lengths": LENGTHS},
        "optimizers": {"lr": LR, "momentum": MOMENTUM, "beta1": BETA1, "beta2": BETA2},
    }
    arrays = {"meta": np.array(json.dumps(meta))}
    for name in CELLS:
        for layers in (1, 2):
            arrays |= {f"{name}{layers}/{key}": array for key, array in run_cell(name, layers, rng).items()}
    arrays |= {f"optim/{key}": array for key, array in run_optimizers(rng).items()}
    for E in (0, D):
        arrays |= {f"net{E}/{key}": array for key, array in run_net(E, rng).items()}
    for name in CELLS:
        arrays |= {f"both{name}/{key}": array for key, array in run_both(name, rng).items()}
    with Path(__file__).with_name("torch.npz").open("wb") as file:
        np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    main()
