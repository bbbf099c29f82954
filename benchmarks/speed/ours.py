"""The side of charrnn: the functions that its commands call."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from itertools import cycle, islice

import numpy as np

from benchmarks.speed.cases import TEMPERATURE, VOCAB_SIZE, WINDOWS, Case, Work, random_ids, text_to_encode
from charrnn.arrays import Window
from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.stream import Stream
from charrnn.data.vocab import Vocab
from charrnn.generation.ensemble import Ensemble, Member
from charrnn.generation.loop import generate
from charrnn.generation.rules import Rules
from charrnn.generation.settings import Filters
from charrnn.nn import model
from charrnn.parallel.plan import make_plan, usual_threads
from charrnn.parallel.workers import Workers
from charrnn.training.loop import Training, train_step

_open = ExitStack()


def variants(case: Case, threads: int) -> dict[str, Work]:
    """Return the one way to do the case, with the threads of a usual run; end the processes of the case before."""
    end()
    if case.kind in ("train", "evaluate"):
        return {"": {"train": _train, "evaluate": _evaluate}[case.kind](case, usual_threads(case.units, threads))}
    return {"": {"sample": _sample, "encode": _encode}[case.kind](case)}


def end() -> None:
    """End the other processes, and give NumPy its threads back."""
    _open.close()


def _model(case: Case) -> tuple[ModelConfig, model.Params]:
    config = ModelConfig(
        VOCAB_SIZE, cell=case.cell, hidden_size=case.units, num_layers=case.layers, dropout=0.0, dtype="float32"
    )
    return config, model.init_params(config, np.random.default_rng(1))


def _windows(case: Case) -> tuple[Stream, list[Window]]:
    """Return the text's windows except the first, which starts with a reset."""
    stream = Stream(random_ids(case), case.batch, case.steps)
    return stream, [stream[step] for step in range(1, WINDOWS + 1)]


def _train(case: Case, threads: int) -> Work:
    config, params = _model(case)
    settings = TrainConfig(
        steps=1,
        batch_size=case.batch,
        seq_len=case.steps,
        optimizer="adam",
        learning_rate=1e-3,
        beta2=0.999,
        clip_norm=1.0,
        seed=1,
        threads=threads,
    )
    stream, windows = _windows(case)
    training, window = Training(config, settings, stream, stream.ids[:0]), cycle(windows)
    state, optimizer = training.begin(params), training.optimizer()
    workers = _open.enter_context(training.workers())
    return Work(lambda: train_step(training, optimizer, 1e-3, state, next(window), workers))


def _evaluate(case: Case, threads: int) -> Work:
    config, params = _model(case)
    window, state = cycle(_windows(case)[1]), model.zero_state(config, case.batch)
    workers = _open.enter_context(Workers(make_plan(config, None, case.batch, case.steps, threads)))
    workers.set_params(params)

    def run() -> float:
        nonlocal state
        log_probs, _, state = workers.score(next(window), state)
        return -float(log_probs.sum(dtype=np.float64))

    return Work(run)


def _sample(case: Case) -> Work:
    config, params = _model(case)
    weights = model.prepare(params, config)
    ensemble = Ensemble((Member(weights, config),))
    steps = generate(
        ensemble,
        [ensemble.read(random_ids(case)[:1])] * case.batch,
        [[1, index] for index in range(case.batch)],
        rules=Rules(length=None),
        filters=Filters(TEMPERATURE),
    )
    return Work(lambda: deque(islice(steps, case.steps), maxlen=0))


def _encode(case: Case) -> Work:
    text = text_to_encode(case.cell)
    vocab = Vocab.from_text(text)
    return Work(lambda: vocab.encode(text))
