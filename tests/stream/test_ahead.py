"""Work done ahead: in order, within its bytes, errors where results would be, and nothing left running."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msl_store.stream.ahead import Job, Waiting, done_ahead


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 4), st.integers(0, 100))
def test_results_come_in_order_and_within_their_bytes(sizes, threads, limit):
    held, lock, most = [0], threading.Lock(), [0]

    def work(job):
        number, nbytes = job
        with lock:
            held[0] += nbytes
            most[0] = max(most[0], held[0])
        time.sleep(0.0002 * (number % 3))
        return number, nbytes

    jobs = (Job((number, nbytes), nbytes) for number, nbytes in enumerate(sizes))
    waiting = Waiting()
    found = []
    for number, nbytes in done_ahead(jobs, work, threads=threads, limit_bytes=limit, waiting=waiting):
        with lock:
            held[0] -= nbytes
        found.append(number)
    assert found == list(range(len(sizes)))
    assert most[0] <= max(limit, max(sizes, default=0)) + max(sizes, default=0)
    assert waiting.most_bytes <= max(limit, max(sizes, default=0))


def test_an_error_comes_where_its_result_would():
    def work(number):
        if number == 2:
            raise ValueError("two is no number")
        return number

    results = done_ahead((Job(number, 1) for number in range(5)), work, threads=3, limit_bytes=9, waiting=Waiting())
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two is no number"):
        next(results)


def test_closing_forgets_what_has_not_begun():
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.05)

    results = done_ahead((Job(number, 1) for number in range(100)), work, threads=2, limit_bytes=100, waiting=Waiting())
    next(results)
    results.close()
    time.sleep(0.15)
    settled = len(begun)
    assert settled < 10
    time.sleep(0.1)
    assert len(begun) == settled
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("msl-stream")]


def test_the_time_spent_waiting_is_counted():
    waiting = Waiting()

    def work(number):
        time.sleep(0.02)

    list(done_ahead((Job(number, 1) for number in range(3)), work, threads=1, limit_bytes=9, waiting=waiting))
    assert waiting.seconds > 0.04
