"""Work done ahead of who needs it, in threads, in order, and within a number of bytes."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Job(Generic[S]):
    """Something to do, and about how many bytes of memory that and its result take."""

    what: S
    nbytes: int


@dataclass
class Waiting:
    """How long the one who needs results has waited for them, and the most bytes that were held at once."""

    seconds: float = 0.0
    most_bytes: int = field(default=0)


def done_ahead(
    jobs: Iterator[Job[S]], work: Callable[[S], T], *, threads: int, limit_bytes: int, waiting: Waiting
) -> Generator[T, None, None]:
    """Yield the results of some jobs in their order, worked on in threads before they are asked for.

    Jobs that are under way or whose results wait hold at most `limit_bytes` together, but for a single one that is
    larger by itself. The result that was yielded last belongs to the caller and does not count. When the generator is
    closed, jobs not yet begun are forgotten.

    Parameters
    ----------
    jobs : iterator of Job
        What to do; taken one by one, from the caller's thread.
    work : callable
        Does it; called in a thread. What it raises is raised where its result would have been yielded.
    threads : int
        How many jobs are under way at once.
    limit_bytes : int
        What they may hold.
    waiting : Waiting
        Counts the time in which the caller waits.
    """
    executor = ThreadPoolExecutor(threads, thread_name_prefix="msl-stream")
    under_way: deque[tuple[Future[T], int]] = deque()
    held = 0
    following = next(jobs, None)
    try:
        while following is not None or under_way:
            while following is not None and (
                not under_way or (len(under_way) < 2 * threads and held + following.nbytes <= limit_bytes)
            ):
                under_way.append((executor.submit(work, following.what), following.nbytes))
                held += following.nbytes
                waiting.most_bytes = max(waiting.most_bytes, held)
                following = next(jobs, None)
            began = time.perf_counter()
            future, nbytes = under_way.popleft()
            result = future.result()
            del future
            waiting.seconds += time.perf_counter() - began
            held -= nbytes
            yield result
            del result
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
