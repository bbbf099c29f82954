"""Schedules: the learning rate as a function of the step, so that a resumed run needs no memory of it.

A factory's parameters bear the names of the settings that they take; `steps` is the length of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """Return learning_rate, whatever the step."""
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
    """Return a straight rise over the warm-up, then half a cosine down to final_rate * learning_rate at the end.

    A run shorter than ten warm-ups gives a tenth of itself to the rise.
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
