"""The side of PyTorch, written for speed as its documentation recommends; of several ways, the fastest counts."""

from __future__ import annotations

from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.speed.cases import GATES, TEMPERATURE, VOCAB_SIZE, WINDOWS, Case, Work, random_ids

NETS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def variants(case: Case, threads: int) -> dict[str, Work]:
    """Return the ways to do the case, by name."""
    if case.kind == "sample":
        net = f"nn.{NETS[case.cell].__name__}"
        return {
            f"{name}, {count} thread{'s' * (count > 1)}": Work(way(case), partial(_set_threads, count))
            for name, way in ((net, _net_step), (f"{net}Cell", _cell_step))
            for count in sorted({1, threads})
        }
    if case.kind not in ("train", "evaluate"):
        return {}
    make = _train if case.kind == "train" else _evaluate
    if case.cell != "lstm" or not torch.backends.mkldnn.is_available():  # PyTorch gives oneDNN no other cell
        return {"": Work(make(case), partial(_set_threads, threads))}
    return {
        "oneDNN": Work(make(case), partial(_set_threads, threads)),
        "no oneDNN": Work(make(case), partial(_set_threads, threads, onednn=False)),
    }


def _set_threads(threads: int, *, onednn: bool = True) -> None:
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    torch.backends.mkldnn.set_flags(onednn)


class Model(nn.Module):
    """One-hot rows -> stacked cells -> readout."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.hidden = NETS[case.cell](VOCAB_SIZE, case.units, case.layers)
        self.readout = nn.Linear(case.units, VOCAB_SIZE)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return logits (T B, V) and the state after the window."""
        h, state = self.hidden(x, state)
        return self.readout(h.flatten(0, 1)), state


def _zero_state(case: Case) -> Any:
    zeros = torch.zeros(case.layers, case.batch, case.units)
    return (zeros, zeros.clone()) if case.cell == "lstm" else zeros


def _windows(case: Case) -> Any:
    """Return an endless cycle of one-hot inputs (T, B, V) and targets (T B,), made in advance."""
    ids = torch.from_numpy(random_ids(case)).long()
    inputs = ids[:-1].reshape(case.batch, -1).T.contiguous()
    targets = ids[1:].reshape(case.batch, -1).T.contiguous()
    places = [slice(k * case.steps, (k + 1) * case.steps) for k in range(1, WINDOWS + 1)]
    return cycle([(functional.one_hot(inputs[at], VOCAB_SIZE).float(), targets[at].flatten()) for at in places])


def _train(case: Case) -> Any:
    model, window, state = Model(case).train(), _windows(case), _zero_state(case)
    params = list(model.parameters())
    optimizer = torch.optim.Adam(params, lr=1e-3, fused=True)

    def run() -> tuple[float, float]:
        nonlocal state
        x, targets = next(window)
        optimizer.zero_grad(set_to_none=True)
        logits, carried = model(x, state)
        loss = functional.cross_entropy(logits, targets)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()
        state = tuple(part.detach() for part in carried) if isinstance(carried, tuple) else carried.detach()
        return loss.item(), norm.item()

    return run


def _evaluate(case: Case) -> Any:
    model, window, state = Model(case).eval(), _windows(case), _zero_state(case)

    @torch.inference_mode()
    def run() -> float:
        nonlocal state
        x, targets = next(window)
        logits, state = model(x, state)
        return functional.cross_entropy(logits, targets, reduction="sum").item()

    return run


def _net_step(case: Case) -> Any:
    model, state, rows = Model(case).eval(), _zero_state(case), torch.eye(VOCAB_SIZE)
    ids = torch.zeros(case.batch, dtype=torch.long)

    @torch.inference_mode()
    def run() -> object:
        nonlocal state, ids
        logits, state = model(rows[ids][None], state)
        ids = torch.multinomial(torch.softmax(logits / TEMPERATURE, dim=-1), 1).flatten()
        return ids.item() if case.batch == 1 else ids

    return run


def _cell_step(case: Case) -> Any:
    torch.manual_seed(1)
    inputs = (VOCAB_SIZE, *[case.units] * (case.layers - 1))
    cells = [CELLS[case.cell](size, case.units).eval() for size in inputs]
    assert cells[0].weight_hh.shape[0] == GATES[case.cell] * case.units
    readout = nn.Linear(case.units, VOCAB_SIZE).eval()
    rows, ids = torch.eye(VOCAB_SIZE), torch.zeros(case.batch, dtype=torch.long)
    zeros = torch.zeros(case.batch, case.units)
    states: list[Any] = [(zeros, zeros) if case.cell == "lstm" else zeros for _ in cells]

    @torch.inference_mode()
    def run() -> object:
        nonlocal ids
        h = rows[ids]
        for layer, cell in enumerate(cells):
            state = states[layer] = cell(h, states[layer])
            h = state[0] if isinstance(state, tuple) else state
        ids = torch.multinomial(torch.softmax(readout(h) / TEMPERATURE, dim=-1), 1).flatten()
        return ids.item() if case.batch == 1 else ids

    return run
