"""The BLAS: what NumPy and threadpoolctl report, and None for what they do not."""

import sys
import types

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from charrnn.system.blas import Blas, blas, thread_limit


def threads():
    """Return how many threads a matrix product uses now."""
    return blas().threads


@pytest.mark.parametrize("first", [0, 1])
def test_limits_that_overlap_leave_what_was_before(first):
    with threadpool_limits(2, "blas"):
        limits = [thread_limit(3), thread_limit(1)]
        for limit in limits:
            limit.__enter__()
        assert threads() == 1  # the newest
        limits.pop(first).__exit__(None, None, None)
        assert threads() == (1, 3)[first]
        limits.pop().__exit__(None, None, None)
        assert threads() == 2


def test_a_limit_ends_with_an_error_and_with_a_generator_that_is_abandoned():
    def limited():
        with thread_limit(1):
            yield
            yield

    with threadpool_limits(2, "blas"):
        with pytest.raises(ZeroDivisionError), thread_limit(1):
            raise ZeroDivisionError
        assert threads() == 2
        abandoned = limited()
        next(abandoned)
        assert threads() == 1
        del abandoned
        assert threads() == 2


def test_without_threadpoolctl_kernel_and_threads_are_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    found = blas()
    assert (found.kernel, found.threads) == (None, None)


def test_threadpoolctl_reports_kernel_and_threads(monkeypatch):
    pools = [
        {"user_api": "openmp", "num_threads": 9},
        {"user_api": "blas", "internal_api": "mkl", "version": "2024.1", "num_threads": 3},
    ]
    monkeypatch.setitem(sys.modules, "threadpoolctl", types.SimpleNamespace(threadpool_info=lambda: pools))
    built = {"Build Dependencies": {"blas": {"name": "blas", "found": True, "version": "3.9.0"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    assert blas() == Blas("mkl", "2024.1", own=False, kernel=None, threads=3)


def test_a_threadpoolctl_that_fails_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", types.SimpleNamespace())
    assert blas().threads is None


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (None, Blas(None, None, False, None, None)),
        ({"name": "none", "version": ""}, Blas(None, None, False, None, None)),
        (
            {"name": "scipy-openblas", "found": True, "version": "0.3"},
            Blas("scipy-openblas", "0.3", True, None, None),
        ),
        ({"name": "accelerate", "found": True}, Blas("accelerate", None, False, None, None)),
    ],
)
def test_what_numpy_says_of_its_blas(monkeypatch, built, expected):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    config = {} if built is None else {"Build Dependencies": {"blas": built}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    assert blas() == expected
