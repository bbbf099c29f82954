"""The learning-rate schedules, one function for each value of `--schedule`, and the length of a run, which may change.

A schedule is a function of the step, so resuming needs no stored rate. The parameters have the names of the settings
that they get; `steps` is the length of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

from charrnn.config import TrainConfig, build, changes_in

Schedule = Callable[[float], float]  # from a step, or a place between two steps, to the rate


class Course(NamedTuple):
    """The length of a run in steps, and how it changed: everything that a schedule needs to know about the length.

    A run has a position in its schedule, from 0 to 1. If the length changes before the run is complete, the position
    continues from there, linearly to 1 at the new end: the rest of the schedule is stretched over the rest of the
    steps, and the rate does not jump. If a complete run is extended, its schedule becomes that of a run of the new
    length. A warm-up keeps its steps.

    steps    the length that the run started with
    changes  pairs (step, total): after this step, the run has this many steps in total
    """

    steps: int
    changes: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, steps: int | None, length_changes: str | None) -> Course:
        """Return the course that settings describe; 0 steps if they have no length in steps yet."""
        return cls(steps or 0, changes_in(length_changes) if length_changes else ())

    @property
    def total(self) -> int:
        """Return the length that the run has now."""
        return self.changes[-1][1] if self.changes else self.steps

    def total_at(self, step: int) -> int:
        """Return the length that the run had when it reached this step."""
        return next((total for at, total in reversed(self.changes) if at < step), self.steps)

    def changed(self, step: int, total: int) -> Course:
        """Return the course with another length after this step; a change at the same step is replaced."""
        course = Course(self.steps, tuple(change for change in self.changes if change[0] < step))
        return course if total == course.total else course._replace(changes=(*course.changes, (step, total)))

    @property
    def length_changes(self) -> str | None:
        """Return the changes in the form of `--length-changes`; None if there are none."""
        return ",".join(f"{step}:{total}" for step, total in self.changes) or None

    def place(self, step: int, warmup: Callable[[int], int]) -> tuple[float, int]:
        """Return the step's place in a schedule of unchanged length, and the length of that schedule.

        warmup: returns the steps of the warm-up in a run of this many steps
        """
        length = end = self.steps
        since, place = 0, 0.0
        for at, total in self.changes:
            if at > step:
                break
            if at >= end:
                length, since, place = total, 0, 0.0
            else:
                bend = max(at, warmup(length))
                since, place = bend, _on_line(bend, since, place, end, length)
            end = total
        return (step if step <= warmup(length) else _on_line(step, since, place, end, length)), length


def _on_line(step: float, since: int, place: float, end: int, length: int) -> float:
    """Return the height at `step` of the line from (since, place) to (end, length)."""
    return place + (length - place) * (step - since) / max(1, end - since)


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


def warmup_in(warmup_steps: int, warmup_share: float, steps: int) -> int:
    """Return the steps of the warm-up in a run of this many steps: at most that share of them."""
    return min(warmup_steps, int(warmup_share * steps))


def cosine(learning_rate: float, warmup_steps: int, warmup_share: float, final_rate: float, steps: int) -> Schedule:
    """Rise linearly over the warm-up, then fall along half a cosine to final_rate * learning_rate at the end.

    Source:  Loshchilov & Hutter 2017.
    """
    warmup = warmup_in(warmup_steps, warmup_share, steps)

    def rate(step: float) -> float:
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


@lru_cache(maxsize=8)
def schedule_of(config: TrainConfig, course: Course) -> Schedule:
    """Return the schedule that the settings name, for a run of this course; each step asks for it."""

    @cache
    def of_length(steps: int) -> Schedule:
        return build(SCHEDULES[config.schedule], config, steps=steps)

    def warmup(steps: int) -> int:
        return warmup_in(config.warmup_steps, config.warmup_share, steps) if config.schedule == "cosine" else 0

    if not course.changes or (config.decay_steps and config.schedule != "cosine"):  # decay in steps knows no length
        return of_length(course.steps)

    def rate(step: float) -> float:
        place, length = course.place(int(step), warmup)
        return of_length(length)(place)

    return rate
