"""Arrays in memory that several processes share.

The memory is that of a file without a name. Every process that opens the file finds the same arrays in it, by a layout
that follows from the plan alone.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import tempfile
from contextlib import suppress
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Array, Params, smallest_type
from charrnn.config import ModelConfig
from charrnn.nn import model
from charrnn.parallel.plan import Plan

#: Arrays in shared memory, by name.
SharedArrays: TypeAlias = dict[str, npt.NDArray[Any]]

_ALIGNMENT = 64  # bytes: a line of the processor's cache


def memory_file() -> IO[bytes]:
    """Return an unnamed file, in memory if the system has such files, else in its folder for temporary files."""
    if sys.platform == "linux" and hasattr(os, "memfd_create"):
        with suppress(OSError):
            return open(os.memfd_create("charrnn"), "w+b")
    return tempfile.TemporaryFile()


def shared_arrays(plan: Plan, file: int) -> SharedArrays:
    """Return the arrays that the processes share, in the memory of this file."""
    ids = smallest_type(plan.config.vocab_size)
    window, shapes = (plan.seq_len, plan.batch_size), model.param_shapes(plan.config)
    arrays: dict[str, tuple[tuple[int, ...], npt.DTypeLike]] = {
        "inputs": (window, ids),
        "targets": (window, ids),
        "reset": (window, bool),
        "counted": (window, bool),
        "state": (model.state_shape(plan.config, plan.batch_size), plan.config.dtype),
        "losses": ((plan.processes,), np.float64),
        "log_probs": (window, plan.config.dtype),
        "correct": (window, bool),
        "grads": ((plan.processes, sum(map(math.prod, shapes.values()))), plan.config.dtype),
    }
    arrays |= {f"params/{name}": (shape, plan.config.dtype) for name, shape in shapes.items()}
    offsets, end = {}, 0
    for name, (shape, dtype) in arrays.items():
        offsets[name] = end
        end += -(-np.dtype(dtype).itemsize * int(np.prod(shape)) // _ALIGNMENT) * _ALIGNMENT
    if os.fstat(file).st_size < end:
        os.truncate(file, end)
    memory = mmap.mmap(file, end)
    return {name: np.ndarray(shape, dtype, memory, offsets[name]) for name, (shape, dtype) in arrays.items()}


def gradients_of(shared: SharedArrays, plan: Plan, rank: int) -> Params:
    """Return the gradients of the process with this rank by parameter: views of its row of `grads`."""
    return by_parameter(shared["grads"][rank], plan.config)


def by_parameter(numbers: Array, config: ModelConfig) -> Params:
    """Return views of an array by parameter, in the order of the parameters.

    Shapes:  numbers (P,), or more
    """
    views, end = {}, 0
    for name, shape in model.param_shapes(config).items():
        begin, end = end, end + math.prod(shape)
        views[name] = numbers[begin:end].reshape(shape)
    return views


def add_up(grads: Array, share: slice) -> None:
    """Add this share of the gradients of all processes to that of the first, in order of rank.

    Each number is the same sum, whoever adds it, so the result does not depend on how the shares are cut.
    Shapes:  grads (processes, P)
    """
    total = grads[0, share]
    for other in grads[1:, share]:
        total += other


def corner(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return the part of this shape at the start of an array."""
    return array[tuple(slice(size) for size in shape)]
