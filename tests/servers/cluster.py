"""A dask cluster of real worker processes, one of which can be killed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from distributed import Client


class Cluster:
    """A ``distributed.LocalCluster`` of single-threaded worker processes, without a dashboard.

    Parameters
    ----------
    n_workers : int
        Number of processes.
    """

    def __init__(self, n_workers: int = 2) -> None:
        self.n_workers = n_workers

    def __enter__(self) -> Self:
        from distributed import LocalCluster

        self._cluster = LocalCluster(
            n_workers=self.n_workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            # Without a dashboard the scheduler still takes port 8787, and warns where a second one is about.
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.close()

    @property
    def address(self) -> str:
        """Where a ``distributed.Client`` finds the scheduler."""
        return str(self._cluster.scheduler_address)

    def client(self) -> Client:
        """Return a new client, dask's default scheduler until it is closed, once all workers are there."""
        from distributed import Client

        client = Client(self.address)
        client.wait_for_workers(self.n_workers, timeout=60)
        return client

    def worker_pids(self) -> dict[int, int]:
        """Return the process id of each worker by its name; a worker between two lives is left out."""
        return {name: nanny.pid for name, nanny in self._cluster.workers.items() if nanny.pid is not None}

    def kill_worker(self) -> int:
        """Kill one worker process as the kernel would when memory runs out; its nanny starts another in its place.

        Returns
        -------
        int
            Process id of the worker that was killed.
        """
        pid = next(iter(self.worker_pids().values()))
        os.kill(pid, signal.SIGKILL)
        return pid
