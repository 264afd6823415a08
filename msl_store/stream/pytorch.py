"""Batches as tensors, in PyTorch's `DataLoader`: the only module that imports torch."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from msl_store.stream.batches import Position
from msl_store.stream.ranks import Rank, steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msl_store.stream.batches import Batches

WIDENED = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}
"""Types that torch stores but does not compute with, and what they become."""


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
    all batches in order. Where to begin lies in shared memory, so that workers that persist are told too.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._where = torch.zeros(4, dtype=torch.int64).share_memory_()
        self.begin(batches.following(), batches.rank)

    def begin(self, start: Position, rank: Rank) -> None:
        """Say where iterations begin from now on, in all processes."""
        self._where[:] = torch.tensor([start.epoch, start.done, rank.number, rank.world])

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's batches, as tensors."""
        epoch, done, number, world = self._where.tolist()
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        for _, batch in self._batches.run(Position(epoch, done), Rank(number, world), worker=worker, workers=workers):
            yield as_tensors(batch)


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
    """

    def __init__(self, batches: Batches, *, workers: int = 0, context: str | None = None, **options: Any) -> None:
        self.batches = batches
        super().__init__(
            BatchDataset(batches),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context=context if workers else None,
            **options,
        )

    def __len__(self) -> int:
        """Return how many batches are left of the epoch."""
        return len(self.batches)

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
        for step, batch in zip(mine, super().__iter__(), strict=True):
            batches.move_to(Position(start.epoch, step.done))
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
