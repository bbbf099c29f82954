"""Tasks in several threads: their results come in the order of the tasks, and errors where the tasks have them."""

import threading
from itertools import count

import pytest
from threadpoolctl import threadpool_info

from charrnn.errors import CharRNNError
from charrnn.parallel.threads import Threads, side_by_side

TIMEOUT = 30


def test_tasks_run_at_the_same_time_and_their_results_come_in_order():
    meeting = threading.Barrier(3, timeout=TIMEOUT)  # which three have to reach

    def square(number):
        meeting.wait()
        return number**2

    assert list(side_by_side(square, range(9), 3)) == [number**2 for number in range(9)]


def test_with_one_thread_the_caller_does_each_task_when_it_is_asked_for():
    done = []
    results = side_by_side(lambda number: done.append((number, threading.current_thread())), count(), 1)
    for number in range(3):
        next(results)
        assert done == [(each, threading.current_thread()) for each in range(number + 1)]


def test_few_tasks_are_taken_ahead():
    taken = []
    results = side_by_side(str, (taken.append(number) or number for number in count()), 2)
    assert [next(results), next(results)] == ["0", "1"]
    assert len(taken) == 6
    results.close()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_error_of_a_task_comes_in_its_place(threads):
    def refuse_three(number):
        if number == 3:
            raise CharRNNError("three")
        return number

    found = []
    with pytest.raises(CharRNNError, match="three"):
        found.extend(side_by_side(refuse_three, range(9), threads))
    assert found == [0, 1, 2]


def test_leaving_ends_the_tasks_that_have_begun_and_drops_the_others():
    begun, done = threading.Semaphore(0), []

    def work(number):
        begun.release()
        while number is not None:  # without end
            pass
        done.append(number)

    with Threads(2) as pool:
        futures = [pool.submit(work, number) for number in range(8)]
        assert all(begun.acquire(timeout=TIMEOUT) for _ in range(2))
    assert not done
    assert not any(future.done() for future in futures)
    assert not [thread for thread in threading.enumerate() if thread.name == "charrnn task"]


def test_products_use_one_thread_meanwhile():
    def blas_threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = blas_threads()
    with Threads(2):
        assert blas_threads() <= {1}
    assert blas_threads() == before
