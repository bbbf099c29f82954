"""The processes that share a window's batch rows: each computes gradients or scores for its own rows.

Each time step of a layer needs the previous one, so only batch rows can be shared out. Processes that each compute some
rows share all the work of a window; threads inside each matrix product share only that product, and gain less. Python
threads cannot replace the processes, because only one thread at a time can start a NumPy call.

This process has rank 0 and starts the others. Parameters, windows, gradients and scores are in shared memory. For each
window, this process writes one request to the standard input of every other process, then computes its own rows and
waits for one answer from each. Answers have a pipe of their own: anything may print to standard output. A process ends
when its standard input closes, so none outlives this one.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Mask, Params, Window
from charrnn.config import ModelConfig, from_dict
from charrnn.errors import MAY_PASS, CharRNNError
from charrnn.nn import model
from charrnn.nn.bptt import Learner, Part
from charrnn.nn.cells import packed, unpack
from charrnn.parallel.plan import Plan
from charrnn.parallel.shared import SharedArrays, add_up, corner, gradients_of, memory_file, shared_arrays
from charrnn.system.blas import thread_limit
from charrnn.system.signals import SAVING, STOPPING

_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_GRADIENTS, _SUM, _SCORES, _STATE = range(4)  # the task of a request
_REQUEST = struct.Struct("<BQQQQQ???")
_DONE, _FAILED = b".", b"!"
_RESUME = "saved files are intact; continue with --resume, or with --threads 1"
_MOST_REASON = 1000  # bytes of an answer's reason
_START = "import sys; sys.path[:] = {path!r}; from {module} import run_worker; run_worker({answers})"


class Request(NamedTuple):
    """One task for the other processes, on the window (T, B) in shared memory, or on the gradients there.

    first, of  as in `Part`
    """

    task: int
    step: int = 0
    T: int = 0
    B: int = 0
    first: int = 0
    of: int = 0
    has_reset: bool = False
    has_counted: bool = False
    new_params: bool = False


class SlowRank(NamedTuple):
    """A rank that takes so many times as long for its batch rows as the others do.

    name  "rank 1 on host"
    """

    name: str
    times: float


class Workers:
    """This process and the others that share its windows; without others, it does all the work itself.

    Use it as a context manager: leaving it ends the other processes. Call `set_params` first, and whenever the
    parameters change. No window may be larger than planned. Every method raises CharRNNError if another process failed.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._learner = Learner(plan.config, plan.seed)
        self._shared: SharedArrays = {}
        self._others: list[_Other] = []
        self._new_params = False
        self._open = ExitStack()

    def __enter__(self) -> Workers:
        with ExitStack() as stack:
            stack.enter_context(thread_limit(self.plan.threads))
            if self.plan.processes > 1:
                file = stack.enter_context(memory_file())
                self._shared = shared_arrays(self.plan, file.fileno())
                for rank in range(1, self.plan.processes):
                    self._others.append(stack.enter_context(_Other(self.plan, rank, file.fileno())))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._others.clear()
        self._shared.clear()
        self._open.close()

    def set_params(self, params: Params) -> None:
        """Use these parameters from now on."""
        self._learner.set_params(params)
        self._new_params = True
        if self._others:
            for name, array in params.items():
                self._shared[f"params/{name}"][...] = array

    def gradients(
        self, window: Window, state: Array, step: int, part: Part | None = None
    ) -> tuple[float, Array, Params]:
        """Return the window's mean loss, the state after it, and the loss's gradient.

        part: which rows of the batch the window has; loss and gradient are then their share of the batch's
        Shapes:  window (T, B) · state (L, S, B, H)
        """
        self._request(_GRADIENTS, window, state, step, part)
        loss, last_state, grads = self._learner.gradients(window, state, step, self._own_rows(window), part)
        if self._others:
            grads = _moved(grads, gradients_of(self._shared, self.plan, 0))
            self._wait()
            for other in self._shared["losses"][1:]:
                loss += float(other)
            self._add_up()
        return loss, self._gather("state", last_state, state.shape), grads

    def _add_up(self) -> None:
        """Add the gradients of all processes to those of this one."""
        grads = self._shared["grads"]
        numbers = grads.shape[1]
        if self.plan.adds_together(numbers):
            self._send(Request(_SUM))
            add_up(grads, self.plan.share(0, numbers))
            self._wait()
        else:
            add_up(grads, slice(None))

    def score(self, window: Window, state: Array) -> tuple[Array, Mask, Array]:
        """Return each target's log-probability, whether it was the most likely symbol, and the state after the window.

        Shapes:  window (T, B) · state (L, S, B, H) · returns (T, B), (T, B), (L, S, B, H)
        Units:   nats.
        """
        self._request(_SCORES, window, state)
        log_probs, correct, last_state = self._learner.score(window, state, self._own_rows(window))
        self._wait()
        shape = window.inputs.shape
        return (
            self._gather("log_probs", log_probs, shape),
            self._gather("correct", correct, shape),
            self._gather("state", last_state, state.shape),
        )

    def read(self, window: Window, state: Array) -> Array:
        """Return the state after the window; its targets are not used."""
        self._request(_STATE, window, state)
        last_state = self._learner.read(window, state, self._own_rows(window))
        self._wait()
        return self._gather("state", last_state, state.shape)

    def gates(self, window: Window, state: Array) -> list[dict[str, Array]]:
        """Return each layer's gates in a window by name, (T, B, H) each; valid until the next window.

        This process computes them all, so pass few batch rows.
        """
        return self._learner.gates(window, state)

    def hold(self, params: Params, opt_state: Params) -> None:
        """Let other ranks of MPI train on from this state; without them, do nothing."""

    def renew(self, params: Params, opt_state: Params) -> None:
        """Let other ranks train on from this state if they round differently; without them, do nothing."""

    def update(self, learning_rate: float, step: int) -> None:
        """Let other ranks do the update that this one does, from the newest gradients; without them, do nothing."""

    def slow_rank(self) -> SlowRank | None:
        """Return the rank that the others wait for, if one is much slower; None without other ranks."""
        return None

    def start(self, positions: npt.NDArray[np.intp]) -> Array:
        """Return the state of batch rows that begin at these positions of a text: zero."""
        return model.zero_state(self.plan.config, len(positions))

    def _own_rows(self, window: Window) -> slice:
        return self.plan.share(0, window.inputs.shape[1])

    def _request(self, task: int, window: Window, state: Array, step: int = 0, part: Part | None = None) -> None:
        """Let the other processes start on their rows of the window."""
        if not self._others:
            return
        request = _written(self._shared, task, window, state, self._new_params)
        first, of = part or Part(0, window.predictions)
        self._send(request._replace(step=step, first=first, of=of))
        self._new_params = False

    def _send(self, request: Request) -> None:
        for other in self._others:
            other.send(_REQUEST.pack(*request))

    def _wait(self) -> None:
        """Wait until the other processes have done their rows."""
        for other in self._others:
            other.wait()

    def _gather(self, name: str, own: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return the array for all batch rows, given this process's rows, which come first."""
        if not self._others:
            return own
        array = corner(self._shared[name], shape)
        corner(array, own.shape)[...] = own
        return array.copy()


def _moved(grads: Params, to: Params) -> Params:
    """Copy the gradients into other arrays; return these, in the order of the gradients."""
    for name, grad in grads.items():
        to[name][...] = grad
    return {name: to[name] for name in grads}


class Remote:
    """Another process that scores whole windows while this one waits for it, in any thread, or does something else.

    It is used like `Workers`, by one thread at a time; leaving it ends the process, even while a thread waits for it.
    plan  for one process: the other one
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._new_params = False
        self._open = ExitStack()
        self._busy = threading.Lock()

    def __enter__(self) -> Remote:
        with ExitStack() as stack:
            file = stack.enter_context(memory_file())
            self._shared = shared_arrays(self.plan, file.fileno())
            self._other = stack.enter_context(_Other(self.plan, 0, file.fileno(), "try again, or with --threads 1"))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._other.kill()  # a thread that waits for it gets an error
        with self._busy:
            self._open.close()

    def set_params(self, params: Params) -> None:
        """Use these parameters from now on."""
        for name, array in params.items():
            self._shared[f"params/{name}"][...] = array
        self._new_params = True

    def start(self, positions: npt.NDArray[np.intp]) -> Array:
        """Return what `Workers.start` does."""
        return model.zero_state(self.plan.config, len(positions))

    def score(self, window: Window, state: Array) -> tuple[Array, Mask, Array]:
        """Return what `Workers.score` does."""
        with self._busy:
            self._other.send(_REQUEST.pack(*_written(self._shared, _SCORES, window, state, self._new_params)))
            self._new_params = False
            self._other.wait()
        shared, shape = self._shared, window.inputs.shape
        log_probs, correct, last_state = shared["log_probs"], shared["correct"], shared["state"]
        return corner(log_probs, shape).copy(), corner(correct, shape).copy(), corner(last_state, state.shape).copy()


def _written(shared: SharedArrays, task: int, window: Window, state: Array, new_params: bool) -> Request:
    """Write a window to shared memory, and return the request for it."""
    T, B = window.inputs.shape
    shared["inputs"][:T, :B], shared["targets"][:T, :B] = window.inputs, window.targets
    shared["state"][:, :, :B] = state
    has_reset, has_counted = window.reset is not None, window.counted is not None
    if window.reset is not None:
        shared["reset"][:T, :B] = window.reset
    if window.counted is not None:
        shared["counted"][:T, :B] = window.counted
    return Request(task, T=T, B=B, has_reset=has_reset, has_counted=has_counted, new_params=new_params)


def _command(answers: int) -> list[str]:
    """Return the command that starts another process, which finds the same modules as this one.

    answers: the descriptor to write answers to
    """
    return [sys.executable, "-c", _START.format(path=sys.path, module=__name__, answers=answers)]


class _Other:
    """Another process and the pipes to it. Leaving the context ends the process.

    It is deaf to the signals that this process answers: a scheduler may send them to all processes of a job, and Ctrl-C
    reaches a whole process group. Blocked signals stay blocked in a process that is started.

    remedy  what to do if it ends by itself
    """

    def __init__(self, plan: Plan, rank: int, file: int, remedy: str = _RESUME) -> None:
        self._remedy = remedy
        self._answers, answers = os.pipe()
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING + SAVING)
        try:
            self._process = subprocess.Popen(
                _command(answers),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(file, answers),
                env=os.environ | dict.fromkeys(_THREAD_VARIABLES, str(plan.threads)),
            )
        except BaseException:
            os.close(self._answers)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
            os.close(answers)  # so that reading ends if the process does
        settings = plan._asdict() | {"config": asdict(plan.config)}
        self.send(json.dumps([settings, rank, file, packed(plan.config.cell)]).encode() + b"\n")

    def __enter__(self) -> _Other:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        with self._process:  # closes its standard input and waits for its end
            os.close(self._answers)

    def kill(self) -> None:
        """End the process at once: it has nothing to save."""
        self._process.kill()

    def _end(self) -> str:
        """Say how the process has ended."""
        code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"

    def send(self, message: bytes) -> None:
        """Write a message; if the process has ended, `wait` reports it."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(message)

    def wait(self) -> None:
        """Wait until the process has done its rows.

        Raises:  CharRNNError if it ended or failed, or its answer is none.
        """
        answer = os.read(self._answers, _MOST_REASON)
        if answer == _DONE:
            return
        if answer.startswith(_FAILED):
            why = answer.removeprefix(_FAILED).decode(errors="replace")
        else:
            why = f"unexpected answer {answer[:20]!r}" if answer else self._end()
        raise CharRNNError(f"a worker process stopped ({why}): {self._remedy} if memory is short", MAY_PASS)


def run_worker(answers: int) -> None:
    """Do one window per request on standard input until it closes: the main function of the other processes.

    answers: the descriptor of the pipe to write answers to
    """
    with suppress(BrokenPipeError):  # the parent process has ended and reads no answers
        try:
            for _ in _work(sys.stdin.buffer):
                os.write(answers, _DONE)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".encode()
            os.write(answers, (_FAILED + reason)[:_MOST_REASON])


def _work(requests: IO[bytes]) -> Iterator[None]:
    """Yield after each window that is done."""
    settings, rank, file, cell = json.loads(requests.readline())
    unpack(settings["config"]["cell"], cell)
    plan = Plan(**settings | {"config": from_dict(ModelConfig, settings["config"])})
    shared, learner = shared_arrays(plan, file), Learner(plan.config, plan.seed)
    params = {name: shared[f"params/{name}"] for name in model.param_shapes(plan.config)}
    own_grads = gradients_of(shared, plan, rank)
    with np.errstate(all="ignore"):  # rank 0 checks the sums
        while len(message := requests.read(_REQUEST.size)) == _REQUEST.size:
            request = Request(*_REQUEST.unpack(message))
            if request.new_params:
                learner.set_params(params)
            if request.task == _SUM:
                add_up(shared["grads"], plan.share(rank, shared["grads"].shape[1]))
            else:
                _do(request, shared, learner, rank, plan.share(rank, request.B), own_grads)
            yield


def _do(request: Request, shared: SharedArrays, learner: Learner, rank: int, rows: slice, own_grads: Params) -> None:
    """Do these batch rows of a requested window; results go to shared memory."""
    T, B = request.T, request.B
    inputs, targets = (corner(shared[name], (T, B)) for name in ("inputs", "targets"))
    reset = corner(shared["reset"], (T, B)) if request.has_reset else None
    counted = corner(shared["counted"], (T, B)) if request.has_counted else None
    window, state = Window(inputs, targets, reset, counted), shared["state"][:, :, :B]
    if request.task == _GRADIENTS:
        shared["losses"][rank], last_state, grads = learner.gradients(
            window, state, request.step, rows, Part(request.first, request.of)
        )
        _moved(grads, own_grads)
    elif request.task == _SCORES:
        shared["log_probs"][:T, rows], shared["correct"][:T, rows], last_state = learner.score(window, state, rows)
    else:
        last_state = learner.read(window, state, rows)
    state[:, :, rows] = last_state
