"""Threads that do tasks side by side, and results in the order of the tasks, whatever the number of threads."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from charrnn.system.blas import thread_limit

_AHEAD = 2  # tasks for each thread that may be taken before their results are needed: none of them waits for another

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class Threads:
    """Threads that do tasks, as a context manager, during which each product of matrices uses one thread.

    With a single thread, the calling one does each task at once. Leaving the context drops the tasks that have not
    begun, and ends the others between two instructions of Python: so an interrupted command ends at once, and no thread
    is at work while the interpreter ends, which can crash it. A `ThreadPoolExecutor` would wait for its tasks.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._at_work: set[threading.Thread] = set()
        self._closed = False
        self._limit = thread_limit(1)

    def __enter__(self) -> Threads:
        self._limit.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._closed = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in [*self._at_work]:
            _end(thread)
        for thread in self._threads:
            if thread is not threading.current_thread():  # where the garbage collector leaves the context
                thread.join()
        self._limit.__exit__(*raised)

    def submit(self, function: Callable[..., R], *args: Any) -> Future[R]:
        """Return the future result of a call."""
        future: Future[R] = Future()

        def task() -> None:
            try:
                future.set_result(function(*args))
            except Exception as error:
                future.set_exception(error)

        if self.count == 1:
            task()
            return future
        if len(self._threads) < self.count:
            self._threads.append(threading.Thread(target=self._run, name="charrnn task", daemon=True))
            self._threads[-1].start()
        self._tasks.put(task)
        return future

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yield the function's result for each task, in order.

        With a single thread, a task is taken when its result is needed; with more, some tasks are taken ahead.
        """
        ahead = _AHEAD * self.count if self.count > 1 else 0
        return in_order(tasks, partial(self.submit, function), Future[R].result, ahead=ahead)

    def _run(self) -> None:
        with suppress(SystemExit):  # by `_end`
            while (task := self._tasks.get()) is not None and not self._closed:
                self._at_work.add(threading.current_thread())
                task()
                self._at_work.discard(threading.current_thread())


def _end(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, which ends it."""
    import ctypes  # it takes a while to load

    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


def side_by_side(function: Callable[[T], R], tasks: Iterable[T], threads: int) -> Generator[R, None, None]:
    """Yield the function's result for each task, as `Threads.map` does."""
    with Threads(threads) as pool:
        yield from pool.map(function, tasks)


def in_order(tasks: Iterable[T], start: Callable[[T], S], finish: Callable[[S], R], *, ahead: int) -> Iterator[R]:
    """Start each task, and yield its result, from `finish`, once `ahead` more have been started.

    If no more tasks can be taken because of an error, the results of those started come first.
    """
    started, waiting = deque[S](), iter(tasks)
    failure: Exception | None = None
    while failure is None:
        try:
            started.append(start(next(waiting)))
        except StopIteration:
            break
        except Exception as error:
            failure = error
        if len(started) > ahead:
            yield finish(started.popleft())
    while started:
        yield finish(started.popleft())
    if failure is not None:
        raise failure
