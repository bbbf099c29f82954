"""The learning-rate schedules, one function for each value of `--schedule`.

A schedule is a function of the step, so resuming needs no stored rate. The parameters have the names of the settings
that they get; `steps` is the length of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """Return learning_rate at every step."""
    return lambda step: learning_rate


def exponential(learning_rate: float, decay_rate: float, decay_steps: int | None, steps: int) -> Schedule:
    """Return learning_rate * decay_rate^(step / decay_steps)."""
    every = decay_steps or max(1, steps // 4)
    return lambda step: learning_rate * decay_rate ** (step / every)


def step(learning_rate: float, decay_rate: float, decay_steps: int | None, steps: int) -> Schedule:
    """Return learning_rate * decay_rate^floor(step / decay_steps)."""
    every = decay_steps or max(1, steps // 4)
    return lambda step: learning_rate * decay_rate ** (step // every)


def cosine(learning_rate: float, warmup_steps: int, final_rate: float, steps: int) -> Schedule:
    """Rise linearly over the warm-up, then fall along half a cosine to final_rate * learning_rate at the end.

    The warm-up takes at most a tenth of the run.
    Source:  Loshchilov & Hutter 2017.
    """
    warmup = min(warmup_steps, steps // 10)

    def rate(step: int) -> float:
        if step < warmup:
            return learning_rate * (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return learning_rate * (final_rate + (1 - final_rate) * (1 + math.cos(math.pi * progress)) / 2)

    return rate


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "exponential": exponential,
    "step": step,
    "cosine": cosine,
}
