"""Batches as tensors, in PyTorch's `DataLoader`: the only module that imports torch."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from msl_store.errors import UsageError
from msl_store.stream.ahead import Waiting
from msl_store.stream.batches import Batches, Position
from msl_store.stream.ranks import Rank, steps
from msl_store.stream.throughput import Fetched, Throughput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WIDENED = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}
"""Types that torch stores but does not compute with, and what they become."""

SETTLED = {
    "batch_size": "Batches(size=...)",
    "shuffle": "Batches(shuffle=...)",
    "drop_last": 'Batches(tail="drop")',
    "sampler": "Batches(shuffle=..., rank=...)",
    "batch_sampler": "Batches(shuffle=..., rank=...)",
    "num_workers": "workers",
    "multiprocessing_context": "context",
    "dataset": "batches",
}
"""Options of `DataLoader` that a `Loader` does not take, and what says it instead."""


def as_tensors(batch: Any) -> Any:
    """Return a batch with its arrays as tensors, those in lists too; what is no array stays as it is.

    Images' uint16 counts become int32. Memory is shared where the type stays.
    """
    if isinstance(batch, dict):
        return {name: as_tensors(value) for name, value in batch.items()}
    if isinstance(batch, list):
        return [as_tensors(value) for value in batch]
    if not isinstance(batch, np.ndarray):
        return batch
    array = batch.astype(WIDENED.get(batch.dtype, batch.dtype), copy=False)
    return torch.from_numpy(np.require(array, None, ["C", "W"]))


class BatchDataset(IterableDataset[Any]):
    """`Batches` as a data set whose items are whole batches; what `Loader` gives to PyTorch.

    Every worker of a loader yields every so-many-th batch, so that the loader, which takes from them in turn, yields
    all batches in order. Where to begin lies in shared memory, so that workers that persist are told too; and there
    every worker counts what it has fetched.
    """

    def __init__(self, batches: Batches, workers: int = 0) -> None:
        self._batches = batches
        self._where = torch.zeros(4, dtype=torch.int64).share_memory_()
        self._counts = torch.zeros((max(workers, 1), 3), dtype=torch.int64).share_memory_()
        self.begin(batches.following(), batches.rank)

    def begin(self, start: Position, rank: Rank) -> None:
        """Say where iterations begin from now on, in all processes."""
        self._where[:] = torch.tensor([start.epoch, start.done, rank.number, rank.world])

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's batches, as tensors."""
        epoch, done, number, world = self._where.tolist()
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        own, waiting, fetched = self._counts[worker], Waiting(), Fetched(self._batches.library)
        requests, nbytes, held = own.tolist()
        for _, batch in self._batches.run(
            Position(epoch, done), Rank(number, world), worker=worker, workers=workers, waiting=waiting
        ):
            own[:] = torch.tensor(
                [requests + fetched.requests, nbytes + fetched.bytes, max(held, waiting.most_bytes)], dtype=torch.int64
            )
            yield as_tensors(batch)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Requests and bytes that all workers have fetched so far, and the most bytes that they held."""
        requests, nbytes, held = self._counts.sum(dim=0).tolist()
        return requests, nbytes, held


class Loader(DataLoader[Any]):
    """A PyTorch `DataLoader` of batches as tensors, with the order, the position and the state of `Batches`.

    It goes on where it stopped, as `Batches` do, and moves the batches it was made of. With 0 workers everything runs
    in threads of this process, which is fastest unless a `transform` in Python holds them up. Forked workers read
    through fsspec, since the Rust runtime of obstore does not survive a fork; ``context="forkserver"`` or ``"spawn"``
    keep obstore, and need the script's main part below ``if __name__ == "__main__":``.

    Parameters
    ----------
    batches : Batches
        What to load.
    workers : int
        Worker processes; they share the memory that the batches may read ahead.
    context : {"fork", "spawn", "forkserver"}, optional
        How workers start; PyTorch's default where it is not given.
    options
        Further ones of `DataLoader`: ``pin_memory``, ``prefetch_factor``, ``persistent_workers``, ``timeout``, ...

    Raises
    ------
    UsageError
        An option is one that the batches or a parameter above say.
    """

    def __init__(self, batches: Batches, *, workers: int = 0, context: str | None = None, **options: Any) -> None:
        if not isinstance(batches, Batches):
            raise UsageError(f"Loader({batches!r}): allowed is Batches(library, fields, size)")
        settled = [f"{name}: {SETTLED[name]} says it" for name in options if name in SETTLED]
        if settled:
            raise UsageError(f"Loader: not allowed here is {', '.join(settled)}")
        self.batches = batches
        self._stats = Throughput()
        super().__init__(
            BatchDataset(batches, workers),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context=context if workers else None,
            **options,
        )

    def __repr__(self) -> str:
        return f"<Loader with {self.num_workers} workers of {self.batches!r}>"

    def __len__(self) -> int:
        """Return how many batches are left of the epoch."""
        return len(self.batches)

    @property
    def stats(self) -> Throughput:
        """What the batches of this loader have cost so far; what workers have read ahead is among it."""
        return self._stats

    def __iter__(self) -> Iterator[Any]:
        """Yield what is left of the epoch."""
        batches = self.batches
        start, rank = batches.following(), batches.rank
        batches.move_to(start)
        if self.num_workers:
            self._prepare_workers()
        assert isinstance(self.dataset, BatchDataset)  # noqa: S101 - so it was made
        self.dataset.begin(start, rank)
        mine = steps(len(batches.ids), size=batches.size, rank=rank, tail=batches.tail, done=start.done)
        base, began, waiting = self._stats, time.perf_counter(), Waiting()
        count = instances = 0
        for step, batch in zip(mine, _timed(super().__iter__(), waiting), strict=True):
            count, instances = count + 1, instances + step.stop - step.start
            self._stats = Throughput(
                base.batches + count,
                base.instances + instances,
                base.seconds + time.perf_counter() - began,
                base.wait_s + waiting.seconds,
                *self.dataset.counts,
            )
            batches.delivered(Position(start.epoch, step.done))
            yield batch
        batches.move_to(Position(start.epoch + 1))

    def _prepare_workers(self) -> None:
        """Import once what every worker would import."""
        method = (self.multiprocessing_context or multiprocessing).get_start_method()
        if method == "fork":
            self.batches.library.store.objects.before_fork()
        elif method == "forkserver":
            multiprocessing.set_forkserver_preload(["__main__", __name__])

    def state_dict(self) -> dict[str, Any]:
        """Return where this loader is, whatever its workers have read ahead; see `Batches.state_dict`."""
        return self.batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where another loader was; see `Batches.load_state_dict`."""
        self.batches.load_state_dict(state)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self.batches.set_epoch(epoch)


def _timed(batches: Iterator[Any], waiting: Waiting) -> Iterator[Any]:
    """Yield the same, and count how long each took to come."""
    while True:
        asked = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        waiting.seconds += time.perf_counter() - asked
        yield batch
