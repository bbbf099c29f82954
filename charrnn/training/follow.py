"""What every rank but the first does in a training on several ranks: what rank 0 asks for, until rank 0 ends."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any, Protocol, runtime_checkable

import numpy as np

from charrnn.arrays import Params
from charrnn.config import TrainConfig, build
from charrnn.errors import MAY_PASS, NO_MEMORY, CharRNNError, described, exit_code_of
from charrnn.nn.cells import unpack
from charrnn.nn.optimizers import OPTIMIZERS, Optimizer, clip
from charrnn.parallel.ranked import Close, Hold, Learn, Learned, Open, Read, Score, Update
from charrnn.parallel.ranks import End, Failure, Ranks
from charrnn.parallel.sums import Sums
from charrnn.parallel.workers import Workers


@runtime_checkable
class Measurement(Protocol):
    """A message of rank 0 that asks for something else than training: what all ranks measure, rank 0 too."""

    def make(self, ranks: Ranks) -> Any:
        """Return the result."""


def follow(ranks: Ranks) -> int:
    """Take part until rank 0 ends; return its exit code. An error is an answer, too: rank 0 reports it and ends."""
    with _Follower(ranks) as follower, np.errstate(all="ignore"):  # rank 0 checks the sums
        while not isinstance(message := ranks.hear(), End):
            follower.do(message)
    return message.code


class _Follower:
    """A rank that follows: its workers, its copy of the state, and the newest sum of gradients."""

    workers: Workers
    sums: Sums
    config: TrainConfig
    optimizer: Optimizer

    def __init__(self, ranks: Ranks) -> None:
        self._ranks, self._open = ranks, ExitStack()
        self._held, self._grads = Hold({}, {}), Params()

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def do(self, message: Any) -> None:
        """Do what a message says, and answer it if rank 0 waits for an answer."""
        match message:
            case Hold():
                self._held = message
            case Update(learning_rate, step):
                clip(self._grads, self.config.clip_value, self.config.clip_norm)
                held = self._held
                self.optimizer.update(held.params, self._grads, held.opt_state, learning_rate, step)
            case Close():
                self._open.close()
            case _:
                self._ranks.answer(self._answer(message))

    def _answer(self, message: Any) -> Any:
        try:
            match message:
                case Open():
                    return self._start(message)
                case Learn():
                    return self._learned(message)
                case Score(params, window, state):
                    return self._with(params).score(window, state)
                case Read(params, window, state):
                    return self._with(params).read(window, state)
                case Measurement():
                    return message.make(self._ranks)
        except CharRNNError as error:
            return Failure(str(error), error.exit_code)
        except MemoryError:
            return Failure(NO_MEMORY, MAY_PASS)
        except OSError as error:
            return Failure(described(error), exit_code_of(error))
        except Exception as error:
            return Failure(f"{type(error).__name__}: {error}", MAY_PASS)

    def _start(self, message: Open) -> None:
        unpack(message.plan.config.cell, message.cell or "")
        self.config = message.config
        self.optimizer = build(OPTIMIZERS[self.config.optimizer], self.config)
        self.sums = Sums(message.plan.config, self._ranks, half=self.config.half_gradients)
        self.workers = self._open.enter_context(Workers(message.plan))

    def _learned(self, message: Learn) -> Learned:
        window, state, step, part = message
        grads, began = None, time.perf_counter()
        try:
            loss, last_state, grads = self._with(self._held.params).gradients(window, state, step, part)
            seconds = time.perf_counter() - began
        finally:
            self._grads = self.sums.add(grads)
        return Learned(loss, last_state, seconds)

    def _with(self, params: Params | None) -> Workers:
        """Return the workers with these parameters, or with those that they have."""
        if params is not None:
            self.workers.set_params(params)
        return self.workers
