"""The BLAS, the library that multiplies matrices, as NumPy and threadpoolctl report it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
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


class _ThreadLimits:
    """The limits in force in this process.

    A limit holds for the whole process, and threads set and lift theirs in any order. So a limit that is lifted cannot
    restore what it found, which may be a limit that has been lifted meanwhile: only the last one restores, and what it
    restores is what the first one found.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a generator that is collected inside `at` may lift its limit there
        self._limits: dict[object, int] = {}
        self._found: Any = None

    @contextmanager
    def at(self, threads: int) -> Iterator[None]:
        from threadpoolctl import threadpool_limits

        limit = object()
        with self._lock:
            found = threadpool_limits(threads, "blas")
            if not self._limits:
                self._found = found
            self._limits[limit] = threads
        try:
            yield
        finally:
            with self._lock:
                del self._limits[limit]
                if self._limits:
                    threadpool_limits([*self._limits.values()][-1], "blas")
                else:
                    self._found.restore_original_limits()


_LIMITS = _ThreadLimits()


def thread_limit(threads: int) -> AbstractContextManager[None]:
    """Return a context in which each matrix product uses this many threads, whichever thread calls it.

    Of several such contexts, in any threads, the newest counts; the last to end restores what was before the first.
    """
    return _LIMITS.at(threads)


def numpy_config(section: str) -> dict[str, Any]:
    """Return one section of NumPy's build configuration."""
    config: Any = np.show_config(mode="dicts")
    return dict((config or {}).get(section, {}))
