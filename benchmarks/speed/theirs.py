"""The side of PyTorch, written for speed as its documentation recommends; of several ways, the fastest counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.speed.cases import TEMPERATURE, VOCAB_SIZE, WINDOWS, Case, Work, random_ids

NETS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
torch.set_flush_denormal(True)


def variants(case: Case, threads: int) -> dict[str, Work]:
    """Return the ways to do the case, by name."""
    if case.kind == "sample":
        name = f"nn.{CELLS[case.cell].__name__}"
        makes = {
            f"nn.{NETS[case.cell].__name__}": partial(_sample_net, case),
            name: partial(_sample_cells, case),
            f"{name}, TorchScript": partial(_sample_cells, case, scripted=True),
            f"{name}, TorchScript, inverse CDF": partial(_sample_cells, case, scripted=True, by_cdf=True),
        }
        return {
            f"{way}, {count} thread{'s' * (count > 1)}": Work(make(), partial(_set_threads, count))
            for way, make in makes.items()
            for count in sorted({1, threads})
        }
    if case.kind not in ("train", "evaluate"):
        return {}
    make = _train if case.kind == "train" else _evaluate
    # PyTorch gives oneDNN no other cell.
    libraries = {"oneDNN": True, "no oneDNN": False}
    if case.cell != "lstm" or not torch.backends.mkldnn.is_available():
        libraries = {"": True}
    # Threads share each operation, or each thread does all operations for its share of the batch rows.
    shares = {"": (1, threads), "rows shared": (threads, 1)} if threads > 1 else {"": (1, 1)}
    return {
        ", ".join(filter(None, (library, share))): Work(make(case, parts), partial(_set_threads, each, onednn=onednn))
        for library, onednn in libraries.items()
        for share, (parts, each) in shares.items()
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


def _zero_state(case: Case, batch: int) -> Any:
    zeros = torch.zeros(case.layers, batch, case.units)
    return (zeros, zeros.clone()) if case.cell == "lstm" else zeros


def _detached(state: Any) -> Any:
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


class Rows:
    """A share of the batch rows: its windows, made in advance, and its state.

    windows  one-hot inputs (T, B, V) and targets (T B,), in an endless cycle
    """

    def __init__(self, case: Case, rows: slice) -> None:
        ids = torch.from_numpy(random_ids(case)).long()
        inputs, targets = (part.reshape(case.batch, -1)[rows].T.contiguous() for part in (ids[:-1], ids[1:]))
        places = [slice(k * case.steps, (k + 1) * case.steps) for k in range(1, WINDOWS + 1)]
        self.windows: Iterator[tuple[Tensor, Tensor]] = cycle(
            [(functional.one_hot(inputs[at], VOCAB_SIZE).float(), targets[at].flatten()) for at in places]
        )
        self.state = _zero_state(case, inputs.shape[1])

    def loss(self, model: Model) -> Tensor:
        """Return the summed loss of the next window, in nats."""
        x, targets = next(self.windows)
        logits, state = model(x, self.state)
        self.state = _detached(state)
        return functional.cross_entropy(logits, targets, reduction="sum")


def _shared(case: Case, parts: int, work: Callable[[Rows], Any]) -> Callable[[], list[Any]]:
    """Return a function that does the work on all shares of the batch rows, in as many threads."""
    bounds = [case.batch * k // parts for k in range(parts + 1)]
    shares = [Rows(case, slice(*pair)) for pair in pairwise(bounds)]
    if parts == 1:
        return lambda: [work(shares[0])]
    pool = ThreadPoolExecutor(parts)
    return lambda: list(pool.map(work, shares))


def _train(case: Case, parts: int) -> Callable[[], object]:
    model = Model(case).train()
    params = list(model.parameters())
    optimizer = torch.optim.Adam(params, lr=1e-3, fused=True)

    def gradients(rows: Rows) -> tuple[float, tuple[Tensor, ...]]:
        loss = rows.loss(model) / (case.batch * case.steps)
        return loss.item(), torch.autograd.grad(loss, params)

    work = _shared(case, parts, gradients)

    def run() -> tuple[float, float]:
        (loss, grads), *others = work()
        for more, other in others:
            loss += more
            torch._foreach_add_(grads, other)
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        norm = nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()
        return loss, norm.item()

    return run


def _evaluate(case: Case, parts: int) -> Callable[[], object]:
    model = Model(case).eval()

    @torch.inference_mode()
    def loss(rows: Rows) -> float:
        return rows.loss(model).item()

    work = _shared(case, parts, loss)
    return lambda: sum(work())


def multinomial(logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Draw ids (B,) as PyTorch's documentation does."""
    return torch.multinomial(torch.softmax(logits / temperature, dim=-1), 1).flatten()


def inverse_cdf(logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Draw ids (B,) by one uniform number each, which is fewer operations inside PyTorch."""
    bounds = torch.softmax(logits / temperature, dim=-1).cumsum(-1)
    return torch.searchsorted(bounds, torch.rand(logits.shape[0], 1)).flatten().clamp_max(logits.shape[1] - 1)


def _sample_net(case: Case) -> Callable[[], object]:
    model, state, rows = Model(case).eval(), _zero_state(case, case.batch), torch.eye(VOCAB_SIZE)
    ids = torch.zeros(case.batch, dtype=torch.long)

    @torch.inference_mode()
    def run() -> object:
        nonlocal state, ids
        drawn = []
        for _ in range(case.steps):
            logits, state = model(rows[ids][None], state)
            ids = multinomial(logits)
            drawn.append(ids)
        return torch.stack(drawn).tolist()

    return run


class Sampler(nn.Module):
    """A cell per layer and the readout: draws characters one after another; TorchScript can compile the whole loop."""

    __constants__ = ("by_cdf", "pairs")  # so that TorchScript compiles one branch

    def __init__(self, case: Case, *, by_cdf: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        inputs = (VOCAB_SIZE, *[case.units] * (case.layers - 1))
        self.cells = nn.ModuleList(CELLS[case.cell](size, case.units) for size in inputs)
        self.readout = nn.Linear(case.units, VOCAB_SIZE)
        self.register_buffer("rows", torch.eye(VOCAB_SIZE))
        self.pairs, self.by_cdf = case.cell == "lstm", by_cdf

    def forward(
        self, ids: Tensor, h: list[Tensor], c: list[Tensor], count: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return ids (count, B), the first after `ids` (B,), and the states h and c of the layers."""
        drawn: list[Tensor] = []
        for _ in range(count):
            x = self.rows[ids]
            for layer, cell in enumerate(self.cells):
                if self.pairs:
                    h[layer], c[layer] = cell(x, (h[layer], c[layer]))
                else:
                    h[layer] = cell(x, h[layer])
                x = h[layer]
            logits = self.readout(x)
            ids = inverse_cdf(logits) if self.by_cdf else multinomial(logits)
            drawn.append(ids)
        return torch.stack(drawn), h, c


def _sample_cells(case: Case, *, scripted: bool = False, by_cdf: bool = False) -> Callable[[], object]:
    sampler: Any = Sampler(case, by_cdf=by_cdf).eval()
    if scripted:
        sampler = torch.jit.freeze(torch.jit.script(sampler))
    ids = torch.zeros(case.batch, dtype=torch.long)
    h, c = ([torch.zeros(case.batch, case.units) for _ in range(case.layers)] for _ in range(2))

    @torch.inference_mode()
    def run() -> object:
        nonlocal ids, h, c
        drawn, h, c = sampler(ids, h, c, case.steps)
        ids = drawn[-1]
        return drawn.tolist()

    return run
