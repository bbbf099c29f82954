"""A window's lanes, shared out to processes: each learns from the whole window, or scores it, in its part of the batch.

A layer's time steps follow one another, so a processor's cores have little to share within one: threads inside a matrix
product gain less than whole windows side by side, where all other work is shared out too. Processes, because Python
lets one thread at a time begin a NumPy call. The gradients of the parts add up to that of the step; what each part
computes, dropout included, does not depend on how many there are.

The processes read parameters and window from memory that they share with this one and write gradients or scores there.
They do one window at each request on their standard input, and end when that closes, whatever became of this process.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info, threadpool_limits

from charrnn.arrays import Array, Mask, Params, Scratch
from charrnn.config import ModelConfig, from_dict
from charrnn.data.stream import Window
from charrnn.data.text import smallest_type
from charrnn.errors import CharRNNError
from charrnn.nn import model
from charrnn.nn.dropout import draw_masks
from charrnn.nn.functional import cross_entropy

_ONE_THREAD = 32  # units up to which handing out the work saves too little
_LEAST_LANES = 8  # in a part: matrix products of fewer rows lose more than is gained by sharing
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_LEARN, _SCORE, _READ = range(3)  # what a request asks for: gradients, scores, or the state alone
_REQUEST = struct.Struct("<BQQQ??")  # one of them, step, steps in time, lanes; reset mask? new parameters?
_DONE, _FAILED = b".", b"!"
_ALIGNMENT = 64  # bytes: a line of the processor's cache
_START = "import sys; sys.path[:] = {path!r}; from charrnn.parallel.processes import serve; serve()"


def available_threads() -> int:
    """Return how many threads NumPy's matrix products use now: its own choice, or the environment's."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def usual_threads(hidden_size: int, available: int) -> int:
    """Return how many threads serve a layer of this size best (measured in docs/performance.md)."""
    return 1 if hidden_size <= _ONE_THREAD else available


class Plan(NamedTuple):
    """What is shared out, and how.

    shares   how many parts
    threads  of the matrix products of each part
    """

    config: ModelConfig
    seed: int | None
    batch_size: int
    seq_len: int
    shares: int
    threads: int

    def lanes(self, share: int, of: int) -> slice:
        """Return which of so many lanes a part has; the sizes of any two differ by one at most."""
        return slice(of * share // self.shares, of * (share + 1) // self.shares)


def plan(config: ModelConfig, seed: int | None, batch_size: int, seq_len: int, threads: int) -> Plan:
    """Return how so many threads share windows of up to this size: a process each, as far as lanes and system allow.

    Threads that are left over serve the matrix products of each process.
    """
    shares = max(1, min(threads, batch_size // _LEAST_LANES)) if os.name == "posix" and sys.executable else 1
    return Plan(config, seed, batch_size, seq_len, shares, max(1, threads // shares))


class Lanes:
    """What learns from windows and scores them: this process, and others beside it where the plan has several parts.

    Use it as a context: leaving ends the processes. `take` the parameters first, and whenever they have changed.
    Windows are no larger than the plan says. Every method raises CharRNNError where another process failed.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._part = _Part(plan, 0)
        self._board: dict[str, npt.NDArray[Any]] = {}
        self._others: list[subprocess.Popen[bytes]] = []
        self._taken = False
        self._holds = ExitStack()

    def __enter__(self) -> Lanes:
        with ExitStack() as holds:
            holds.enter_context(threadpool_limits(self.plan.threads, "blas"))
            if self.plan.shares > 1:
                file = holds.enter_context(_memory())
                self._board = _board(self.plan, file.fileno())
                for share in range(1, self.plan.shares):
                    self._others.append(holds.enter_context(_process(self.plan, share, file.fileno())))
            self._holds = holds.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for other in self._others:
            assert other.stdin is not None
            other.stdin.close()
        self._others.clear()
        self._board.clear()
        self._holds.close()

    def take(self, params: Params) -> None:
        """Use these parameters from now on."""
        self._part.take(params)
        self._taken = True
        if self._others:
            for name, array in params.items():
                self._board[f"params/{name}"][...] = array

    def gradients(self, window: Window, state: Array, step: int) -> tuple[float, Array, Params]:
        """Return the window's mean loss, the state after it, and the loss's gradient.

        Shapes:  window (T, B) · state (L, S, B, H)
        """
        self._ask(_LEARN, window, state, step)
        loss, carried, grads = self._part.gradients(window, state, step)
        self._await()
        for share in range(1, self.plan.shares):
            loss += float(self._board["losses"][share])
            for name, grad in grads.items():
                grad += self._board[f"grads{share}/{name}"]
        return loss, self._whole("state", carried, state.shape), grads

    def score(self, window: Window, state: Array) -> tuple[Array, Mask, Array]:
        """Return the log-probability of each target, whether it was thought the likeliest, and the state after.

        Shapes:  window (T, B) · state (L, S, B, H) · returns (T, B), (T, B), (L, S, B, H)
        Units:   nats.
        """
        self._ask(_SCORE, window, state)
        log_probs, right, carried = self._part.score(window, state)
        self._await()
        shape = window.inputs.shape
        return (
            self._whole("log_probs", log_probs, shape),
            self._whole("right", right, shape),
            self._whole("state", carried, state.shape),
        )

    def read(self, window: Window, state: Array) -> Array:
        """Return the state after the window; its targets are not looked at."""
        self._ask(_READ, window, state)
        carried = self._part.read(window, state)
        self._await()
        return self._whole("state", carried, state.shape)

    def gates(self, window: Window, state: Array) -> list[dict[str, Array]]:
        """Return each layer's gates in a window by name, (T, B, H) each, valid until the next window.

        This process alone reads all of it, so let it have few lanes.
        """
        return self._part.gates(window, state)

    def _ask(self, work: int, window: Window, state: Array, step: int = 0) -> None:
        """Let the other processes begin with their parts."""
        if not self._others:
            return
        board, (steps, lanes) = self._board, window.inputs.shape
        board["inputs"][:steps, :lanes], board["targets"][:steps, :lanes] = window.inputs, window.targets
        board["state"][:, :, :lanes] = state
        if window.reset is not None:
            board["reset"][:steps, :lanes] = window.reset
        request = _REQUEST.pack(work, step, steps, lanes, window.reset is not None, self._taken)
        for other in self._others:
            _ask(other, request)
        self._taken = False

    def _await(self) -> None:
        """Wait until the other processes are done."""
        for other in self._others:
            _await(other)

    def _whole(self, name: str, own: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return what all parts have computed, given this process's own: the lanes are the axis where they differ."""
        if not self._others:
            return own
        array = _corner(self._board[name], shape)
        _corner(array, own.shape)[...] = own  # the first part has the first lanes
        return array.copy()


class _Part:
    """What computes a part of the lanes, in whichever process; only memory is kept from window to window."""

    def __init__(self, plan: Plan, share: int) -> None:
        self._plan, self._share, self._scratch = plan, share, Scratch()
        self._params: Params = {}
        self._weights: model.Weights | None = None

    def take(self, params: Params) -> None:
        """Use these parameters from now on."""
        self._params, self._weights = params, None

    def lanes(self, window: Window) -> slice:
        """Return which of a window's lanes are this part's."""
        return self._plan.lanes(self._share, window.inputs.shape[1])

    def gradients(self, window: Window, state: Array, step: int) -> tuple[float, Array, Params]:
        """Return this part's share in the loss and in its gradient, and the state of its lanes after the window."""
        lanes, config = self.lanes(window), self._plan.config
        own = window.lanes(lanes)
        masks = draw_masks(self._params, config, self._plan.seed, step, lanes)
        weights = model.prepare(self._params, config, masks) if masks.weights else self._prepared()
        logits, carried, backprop = model.forward(
            weights, own.inputs, state[:, :, lanes], reset=own.reset, masks=masks, scratch=self._scratch
        )
        loss, dlogits = cross_entropy(logits, own.targets, of=window.targets.size)
        return loss, carried, backprop(dlogits, np.zeros_like(carried))[1]

    def score(self, window: Window, state: Array) -> tuple[Array, Mask, Array]:
        """Return log-probabilities, whether they were the greatest, and the state, of this part's lanes."""
        weights, h, carried = self._hidden(window, state)
        return *model.score(weights, h, window.targets[:, self.lanes(window)]), carried

    def read(self, window: Window, state: Array) -> Array:
        """Return the state of this part's lanes after the window."""
        return self._hidden(window, state)[2]

    def gates(self, window: Window, state: Array) -> list[dict[str, Array]]:
        """Return each layer's gates in the whole of this window."""
        return model.gates(self._prepared(), window.inputs, state, self._scratch, reset=window.reset)

    def _prepared(self) -> model.Weights:
        """Return the weights of these parameters, none dropped, made once."""
        self._weights = self._weights or model.prepare(self._params, self._plan.config)
        return self._weights

    def _hidden(self, window: Window, state: Array) -> tuple[model.Weights, Array, Array]:
        weights, lanes = self._prepared(), self.lanes(window)
        own = window.lanes(lanes)
        h, carried, _ = model.hidden(weights, own.inputs, state[:, :, lanes], reset=own.reset, scratch=self._scratch)
        return weights, h, carried


def _corner(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the first so many of an array along each axis."""
    return array[tuple(slice(size) for size in shape)]


def _memory() -> IO[bytes]:
    """Return a file without a name, in memory where the system has such files."""
    return open(os.memfd_create("charrnn"), "w+b") if sys.platform == "linux" else tempfile.TemporaryFile()


def _board(plan: Plan, file: int) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that the processes share, by name, in the memory of this file."""
    ids = smallest_type(plan.config.vocab_size)
    window = (plan.seq_len, plan.batch_size)
    shapes: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
        "inputs": (window, ids),
        "targets": (window, ids),
        "reset": (window, bool),
        "state": (model.state_shape(plan.config, plan.batch_size), plan.config.dtype),
        "losses": ((plan.shares,), np.float64),
        "log_probs": (window, plan.config.dtype),
        "right": (window, bool),
    }
    for name, shape in model.param_shapes(plan.config).items():
        for owner in ("params", *(f"grads{share}" for share in range(1, plan.shares))):
            shapes[f"{owner}/{name}"] = (shape, plan.config.dtype)
    places, end = {}, 0
    for name, (shape, dtype) in shapes.items():
        places[name] = end
        end += -(-np.dtype(dtype).itemsize * int(np.prod(shape)) // _ALIGNMENT) * _ALIGNMENT
    if os.fstat(file).st_size < end:
        os.truncate(file, end)
    memory = mmap.mmap(file, end)
    return {name: np.ndarray(shape, dtype, memory, places[name]) for name, (shape, dtype) in shapes.items()}


def _process(plan: Plan, share: int, file: int) -> subprocess.Popen[bytes]:
    """Start the process of a part; in a group of its own, so that Ctrl-C reaches the one that knows what to do."""
    environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(plan.threads))
    command = [sys.executable, "-c", _START.format(path=sys.path)]
    process = subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(file,),
        process_group=0,
        env=environment,
    )
    settled = plan._asdict() | {"config": asdict(plan.config)}
    _ask(process, json.dumps([settled, share, file]).encode() + b"\n")
    return process


def _ask(process: subprocess.Popen[bytes], request: bytes) -> None:
    """Send a request; whether it arrived shows in the answer."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(request)


def _await(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has done its part."""
    assert process.stdout is not None
    answer = process.stdout.read(1)
    if answer != _DONE:
        why = process.stdout.read().decode(errors="replace") if answer else "it was ended from outside"
        raise CharRNNError(
            f"a process that shares the work stopped ({why}): what was saved is intact; go on with --resume, "
            "or with --threads 1 where memory is short"
        )


def serve() -> None:
    """Do one window at each request on standard input, until there are none: the whole life of another process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for _ in _serve(sys.stdin.buffer):
            _answer(_DONE)
    except Exception as error:
        _answer(_FAILED + f"{type(error).__name__}: {error}".encode())


def _answer(answer: bytes) -> None:
    """Answer whoever asks; where that process has ended, so will the requests."""
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), answer)


def _serve(requests: Any) -> Iterator[None]:
    settled, share, file = json.loads(requests.readline())
    plan = Plan(**settled | {"config": from_dict(ModelConfig, settled["config"])})
    board, part = _board(plan, file), _Part(plan, share)
    params = {name: board[f"params/{name}"] for name in model.param_shapes(plan.config)}
    with np.errstate(all="ignore"):  # the process that asks looks at the sum
        while len(request := requests.read(_REQUEST.size)) == _REQUEST.size:
            work, step, steps, lanes, has_reset, taken = _REQUEST.unpack(request)
            inputs, targets, reset = (_corner(board[name], (steps, lanes)) for name in ("inputs", "targets", "reset"))
            window = Window(inputs, targets, reset if has_reset else None)
            state, own = board["state"][:, :, :lanes], part.lanes(window)
            if taken:
                part.take(params)
            if work == _LEARN:
                board["losses"][share], carried, grads = part.gradients(window, state, step)
                for name, grad in grads.items():
                    board[f"grads{share}/{name}"][...] = grad
            elif work == _SCORE:
                board["log_probs"][:steps, own], board["right"][:steps, own], carried = part.score(window, state)
            else:
                carried = part.read(window, state)
            state[:, :, own] = carried
            yield
