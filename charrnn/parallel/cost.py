"""How long a training step takes on several ranks of MPI, from the times of its parts.

A step on n ranks takes the time of

    its rows   the slowest rank's step with its share of the batch rows, ceil(B / n), alone: forward and backward pass
               and update. A row costs more if there are few, because every time step reads all weights.
    the sum    of the gradients: each rank sends n - 1 shards twice, so 2 (n - 1) (latency + bytes / n / bandwidth)
    messages   rank 0 sends the others their rows of the state, and they answer with the next state:
               2 message + 2 (n - 1) / n bytes of the state / bandwidth

The ids of a window are less than a tenth of the state and are left out, and so is the time for which ranks wait for one
another because the same work takes a little longer here or there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from charrnn.config import ModelConfig
from charrnn.nn import model

#: More machines pay if they make training at least so many times as fast.
WORTHWHILE = 1.25


class Link(NamedTuple):
    """The connection between ranks.

    message    seconds of a message of rank 0 to another rank, or back
    latency    seconds of a shard of the gradients besides those for its bytes
    bandwidth  bytes per second that a rank sends while it receives as many; adding them up included
    """

    message: float
    latency: float
    bandwidth: float


def fit(message: float, sums: Mapping[int, float], ranks: int) -> Link:
    """Return the link between ranks that have summed arrays of so many bytes in these seconds.

    Latency and bandwidth are those of the line with the least relative errors.
    """
    shards = np.array([size / ranks for size in sums])
    seconds = np.array([*sums.values()]) / (2 * (ranks - 1))
    per_byte, latency = np.polyfit(shards, seconds, 1, w=1 / seconds)
    if per_byte <= 0:  # other programs took more time than the bytes
        per_byte = seconds[-1] / shards[-1]
    return Link(message, max(0.0, float(latency)), float(1 / per_byte))


def sum_seconds(link: Link, size: int, ranks: int) -> float:
    """Return the seconds in which ranks add up their gradients of this size in bytes."""
    return 2 * (ranks - 1) * (link.latency + size / ranks / link.bandwidth)


def messages_seconds(link: Link, state: int, ranks: int) -> float:
    """Return the seconds of rank 0's messages and of the answers in a step, for a state of this size in bytes."""
    return 2 * (link.message + (ranks - 1) / ranks * state / link.bandwidth) if ranks > 1 else 0.0


def exchange_seconds(link: Link, config: ModelConfig, batch_size: int, ranks: int, *, half: bool = False) -> float:
    """Return the seconds of a step in which ranks exchange data: all of them, but those for their rows.

    half: gradients travel with half the bytes
    """
    size, state = gradient_bytes(config), model.zero_state(config, batch_size).nbytes
    return sum_seconds(link, size // 2 if half else size, ranks) + messages_seconds(link, state, ranks)


@cache
def gradient_bytes(config: ModelConfig) -> int:
    """Return the size of a model's gradients."""
    return np.dtype(config.dtype).itemsize * sum(map(math.prod, model.param_shapes(config).values()))


def step_seconds(link: Link, config: ModelConfig, rows: Mapping[int, float], batch_size: int, ranks: int) -> float:
    """Return the seconds of a step on so many ranks.

    rows: the seconds of a step alone by its batch rows, ascending. Between two of them, the time grows evenly; above
          the most, in proportion; below the fewest, it stays the same.
    """
    own, most = -(-batch_size // ranks), max(rows)
    alone = float(np.interp(own, [*rows], [*rows.values()])) * max(1.0, own / most)
    return alone + exchange_seconds(link, config, batch_size, ranks)
