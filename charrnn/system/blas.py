"""The library that multiplies matrices, as NumPy and threadpoolctl tell of it. What is not known is None."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

_NUMPY_OWN = "scipy-openblas"  # the name of the OpenBLAS that NumPy's wheels bring


@dataclass(frozen=True)
class Blas:
    """The library that multiplies matrices.

    name, version  as NumPy was built, or as threadpoolctl finds it
    own            whether it came in NumPy's wheel
    kernel         the processor whose code the library uses; from threadpoolctl alone, like threads
    """

    name: str | None
    version: str | None
    own: bool
    kernel: str | None
    threads: int | None


def blas() -> Blas:
    """Return what NumPy says of its BLAS, and what threadpoolctl finds loaded."""
    built = numpy_config("Build Dependencies").get("blas", {})
    name = built.get("name") if built.get("found") else None
    version, own = built.get("version"), name is not None and name.startswith(_NUMPY_OWN)
    loaded: dict[str, Any] = {}
    with suppress(Exception):  # it reads the process's memory map, which not every system shows
        from threadpoolctl import threadpool_info

        loaded = next((pool for pool in threadpool_info() if pool.get("user_api") == "blas"), {})
    return Blas(
        name=name if own else loaded.get("internal_api") or name,
        version=(version if own else loaded.get("version") or version) or None,
        own=own,
        kernel=loaded.get("architecture"),
        threads=loaded.get("num_threads"),
    )


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which matrix products use one thread each, from whichever thread they are asked for."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def numpy_config(section: str) -> dict[str, Any]:
    """Return a section of what NumPy tells of its build."""
    config: Any = np.show_config(mode="dicts")
    return dict((config or {}).get(section, {}))
