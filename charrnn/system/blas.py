"""The BLAS, the library that multiplies matrices, as NumPy and threadpoolctl report it."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

_NUMPY_OWN = "scipy-openblas"  # the name of the OpenBLAS that NumPy's wheels bring


@dataclass(frozen=True)
class Blas:
    """The library that multiplies matrices; a field is None if it is unknown.

    name, version  from NumPy's build, or from threadpoolctl
    own            whether it is the one in NumPy's wheel
    kernel         name of the processor whose code the library runs; like threads, known only to threadpoolctl
    """

    name: str | None
    version: str | None
    own: bool
    kernel: str | None
    threads: int | None


def blas() -> Blas:
    """Describe the BLAS that NumPy was built with, or that threadpoolctl finds loaded."""
    built = numpy_config("Build Dependencies").get("blas", {})
    name = built.get("name") if built.get("found") else None
    version, own = built.get("version"), name is not None and name.startswith(_NUMPY_OWN)
    loaded: dict[str, Any] = {}
    with suppress(Exception):  # it reads the process's memory map, which some systems hide
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
    """Return a context in which each matrix product uses one thread, whichever thread calls it."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, "blas")
    return limits


def numpy_config(section: str) -> dict[str, Any]:
    """Return one section of NumPy's build configuration."""
    config: Any = np.show_config(mode="dicts")
    return dict((config or {}).get(section, {}))
