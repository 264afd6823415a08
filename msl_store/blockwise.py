"""Run one task a block with dask - threads, processes or a cluster - and hear of every block as it finishes."""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msl_store.errors import MSLError, NetworkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's ``mallopt``, as its malloc.h numbers them."""

KEPT_BYTES = 32 * 2**20
"""Freed memory that a worker keeps for its next arrays; also the largest array that is kept (glibc's own limit)."""

LOCAL = ("threads", "processes", "synchronous")
"""dask's schedulers on this machine."""

PROTOCOLS = ("tcp", "tls", "ucx", "ws", "wss", "inproc")
"""What a cluster's address may start with."""

CONNECT_S = 10.0
"""A cluster that has not answered after this long is taken for unreachable."""

Scheduler = Any
"""One of `LOCAL`, a cluster's address (``tcp://...``), a ``distributed.Client``, or None for the client in force."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of one block: a value, or the error that stopped it."""

    block: int
    value: T | None = None
    error: MSLError | None = None


def run_blocks(
    tasks: Mapping[int, Callable[[], T]],
    *,
    scheduler: Scheduler = None,
    done: Callable[[Outcome[T]], None] = lambda _: None,
    at_once: int | None = None,
) -> None:
    """Run every block's task; a block that fails does not stop the others.

    Parameters
    ----------
    tasks : mapping of int to callable
        A callable without arguments for every block. It must pickle where the scheduler uses other processes.
    scheduler : str, distributed.Client or None
        ``"threads"``, ``"processes"``, ``"synchronous"``, a cluster's address, a client; None uses the client in
        force if there is one, else threads.
    done : callable
        Called in this process with every block's `Outcome` as it comes.
    at_once : int, optional
        Blocks that threads of this process work on at the same time, for tasks that wait more than they compute; one
        a core by default.

    Raises
    ------
    MSLError
        The first block's error, when all blocks have been tried; its message says how many failed.
    """
    failed: list[tuple[int, MSLError]] = []

    def finished(outcome: Outcome[T]) -> None:
        if outcome.error is not None:
            failed.append((outcome.block, outcome.error))
        done(outcome)

    with _client(scheduler) as client:
        if client is None:
            _run_here(tasks, scheduler or "threads", finished, at_once)
        else:
            _run_on(client, tasks, finished)
    if failed:
        _, first = min(failed, key=lambda pair: pair[0])
        raise type(first)(f"{first} ({len(failed)} of {len(tasks)} blocks failed; run this again to finish them)")


def _attempt(task: Callable[[], T], block: int) -> Outcome[T]:
    try:
        return Outcome(block, task())
    except MSLError as error:
        return Outcome(block, error=error)


def _attempt_on_worker(task: Callable[[], T], block: int) -> Outcome[T]:
    _keep_freed_memory()
    return _attempt(task, block)


def _keep_freed_memory() -> None:
    """Let this process use freed memory again, where its C library can be told so.

    dask's nannies start workers with ``MALLOC_TRIM_THRESHOLD_=65536``. With it, glibc maps every array above 128 kB
    anew and gives it back at once; a block makes such arrays by the thousand, and the kernel's zeroing of their pages
    then takes as long as imaging does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


@contextmanager
def _client(scheduler: Scheduler) -> Iterator[Any]:
    """Give the dask client to use, or None for a scheduler on this machine."""
    if isinstance(scheduler, str):
        if scheduler in LOCAL:
            yield None
            return
        protocol = scheduler.partition("://")[0] if "://" in scheduler else "tcp"
        if ":" not in scheduler or protocol not in PROTOCOLS:
            raise UsageError(
                f"scheduler {scheduler!r}: allowed are {', '.join(LOCAL)} and a cluster's address (tcp://host:8786, or "
                f"{', '.join(PROTOCOLS[1:])})"
            )
        from distributed import Client

        try:
            client = Client(scheduler, set_as_default=False, timeout=CONNECT_S)
        except OSError as error:
            raise NetworkError(f"scheduler {scheduler}: {error}; start one with: dask scheduler") from error
        with client:
            yield client
    elif scheduler is not None:
        yield scheduler
    else:
        yield _client_in_force()


def _client_in_force() -> Any:
    """Return the client that the caller has made, or None."""
    if "distributed" not in sys.modules:
        return None
    from distributed import default_client

    try:
        return default_client()
    except ValueError:
        return None


def _run_on(client: Any, tasks: Mapping[int, Callable[[], T]], finished: Callable[[Outcome[T]], None]) -> None:
    """Run on a cluster."""
    from distributed import as_completed

    futures = [client.submit(_attempt_on_worker, task, block, pure=False) for block, task in tasks.items()]
    for _, outcome in as_completed(futures, loop=client.loop, with_results=True):
        finished(outcome)


def _run_here(
    tasks: Mapping[int, Callable[[], T]],
    scheduler: str,
    finished: Callable[[Outcome[T]], None],
    at_once: int | None,
) -> None:
    """Run on this machine with one of dask's own schedulers."""
    from dask.base import compute
    from dask.callbacks import Callback
    from dask.delayed import delayed

    class Report(Callback):
        """Hands every result on as it comes."""

        def _posttask(self, _key: Any, result: Any, _dsk: Any, _state: Any, _worker: Any) -> None:
            if isinstance(result, Outcome):
                finished(result)

    attempts = [delayed(partial(_attempt, task, block), pure=False)() for block, task in tasks.items()]
    report: Any = Report
    with report():
        threads = {"num_workers": at_once} if at_once is not None and scheduler == "threads" else {}
        compute(*attempts, scheduler=scheduler, chunksize=1, **threads)  # a block at a time also to a process
