"""Batches for training, as an iterator of dictionaries of numpy arrays."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from msl_store.cache.sizes import byte_count
from msl_store.errors import UsageError
from msl_store.stream.ahead import Job, Waiting, done_ahead
from msl_store.stream.order import Shuffle, epoch_order
from msl_store.stream.ranks import Rank, Step, Tail, current_rank, step_count, steps
from msl_store.stream.recipe import Recipe
from msl_store.stream.throughput import Fetched, Throughput

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.library import Library
    from msl_store.stream.form import Form
    from msl_store.stream.recipe import Arrays

READS_AT_ONCE = 4
"""Reads under way at the same time, each of one or more batches."""

READ_INSTANCES = 128
"""Instances that a read may cover where batches are smaller; the first read is of one batch, so that it comes soon."""

SHUFFLED = Shuffle()


@dataclass(frozen=True)
class Position:
    """Where a stream is: an epoch, and how many of its instances all ranks together have taken."""

    epoch: int = 0
    done: int = 0


class Batches:
    """Batches of a library's instances: iterating yields those of one epoch, or of what is left of it.

    The order is a pure function of the instances, the seed and the epoch (`msl_store.stream.order`), and what is drawn
    of an instance one of the seed, the epoch and its id: neither depends on the number of ranks or workers, on what is
    read ahead, or on where a stream was interrupted. Every instance comes once an epoch.

    Iterating goes on where it stopped: after a ``break`` with the next batch, after the last batch with the next epoch.
    `state_dict` says where that is, and `load_state_dict` goes there, also with another batch size or number of ranks.

    Parameters
    ----------
    library : Library
        Which instances; those that lack something of what is asked for are left out (`left_out`).
    fields : mapping of str to Form
        What to read, by the name that it shall have: ``{"points": Queries(2048), "image": Images("conf2")}``.
    size : int
        Instances in a batch, of each rank.
    seed : int
        Chooses order and draws.
    shuffle : Shuffle or None
        How to shuffle; None takes instances in the library's order.
    tail : {"keep", "drop"}
        What becomes of the instances at the end that do not fill a batch on every rank; see `msl_store.stream.ranks`.
    rank : Rank, optional
        Which of several processes that train together this is; that of `torch.distributed` where it is initialised.
    ahead_bytes : int or str
        Memory for batches that are being read or wait to be taken, about, by what their arrays and chunks take; a
        number of bytes, or text such as ``"1 GB"``.
    transform : callable, optional
        Called with every batch, in the thread that read it, and returns what is delivered in its place.
    progress : callable, optional
        Called with the instances of the epoch that are done and their number, whenever a batch is delivered.

    Raises
    ------
    UsageError
        An argument is outside what is allowed.
    MissingError
        No instance has all that is asked for.
    """

    def __init__(
        self,
        library: Library,
        fields: Mapping[str, Form],
        size: int = 64,
        *,
        seed: int = 0,
        shuffle: Shuffle | None = SHUFFLED,
        tail: Tail = "keep",
        rank: Rank | None = None,
        ahead_bytes: int | str = "256 MiB",
        transform: Callable[[Arrays], Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if not isinstance(shuffle, Shuffle | None):
            raise UsageError(
                f"shuffle {shuffle!r}: allowed are Shuffle(), with its window, and None for the stored order"
            )
        if not isinstance(rank, Rank | None):
            raise UsageError(f"rank {rank!r}: allowed is Rank(number, world), as in Rank(0, 2)")
        if not isinstance(size, int | np.integer) or size < 1 or tail not in get_args(Tail):
            raise UsageError(
                f"size {size!r}, tail {tail!r}: allowed are a size of 1 or more, and {' or '.join(get_args(Tail))}"
            )
        self.library = library
        self.size = size
        self.shuffle = shuffle
        self.tail: Tail = tail
        self.ahead_bytes = byte_count(ahead_bytes)
        self._recipe = Recipe(library, fields, seed=seed)
        self._rank = rank
        if not step_count(len(self._recipe), size=size, rank=Rank(0, self.rank.world), tail=tail):
            raise UsageError(
                f"{library.url}: tail='drop' leaves no batch of {size} on each of {self.rank.world} ranks: there are "
                f"{len(self._recipe)} instances; take a smaller size, or tail='keep'"
            )
        self._transform = transform
        self._progress = progress
        self._position = Position()
        self._run: object = None
        self._stats = Throughput()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (
            self.library,
            self._recipe.fields,
            self.size,
            {
                "seed": self.seed,
                "shuffle": self.shuffle,
                "tail": self.tail,
                "rank": self._rank,
                "ahead_bytes": self.ahead_bytes,
                "transform": self._transform,
            },
            self._position,
        )

    def __repr__(self) -> str:
        left_out = len(self.left_out)
        return (
            f"<Batches of {self.size}: {', '.join(self._recipe.fields)} of {len(self._recipe)} instances"
            f"{f', {left_out} left out' if left_out else ''}, at {self.library.url}>"
        )

    def __len__(self) -> int:
        """Return how many batches of this rank are left of the epoch, or are in the next one where none is left."""
        return step_count(len(self._recipe), size=self.size, rank=self.rank, tail=self.tail, done=self.following().done)

    @property
    def seed(self) -> int:
        """What order and draws depend on, beside the epoch."""
        return self._recipe.seed

    @property
    def rank(self) -> Rank:
        """Which of the processes that train together this one is."""
        return self._rank or current_rank()

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of the instances that have all that is asked for, in the library's order."""
        return self._recipe.ids

    @property
    def left_out(self) -> NDArray[np.int64]:
        """The ids of the library's other instances, which lack something of it."""
        return self._recipe.left_out

    @property
    def epoch(self) -> int:
        """The epoch of the last batch, or of the next one before there was any."""
        return self._position.epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        if epoch < 0:
            raise UsageError(f"epoch {epoch}: allowed is 0 or more")
        self.move_to(Position(epoch))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the ids in the order of an epoch, of all ranks together."""
        return self.ids[self._order(epoch)]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self._recipe.rows, seed=self.seed, epoch=epoch, shuffle=self.shuffle)

    def state_dict(self) -> dict[str, Any]:
        """Return where this stream is, as JSON types: the same on all ranks after the same number of batches."""
        where = self.following()
        window = self.shuffle.window if self.shuffle else 0
        return {
            "epoch": where.epoch,
            "done": where.done,
            "seed": self.seed,
            "window": window,
            "instances": self._recipe.digest,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where another stream of the same instances was; no instance of its epoch is repeated or lost.

        Raises
        ------
        UsageError
            The state is of other instances, another seed or another shuffle, so that its order is another one; or it is
            no state.
        """
        own = self.state_dict()
        missing = [name for name in own if name not in state]
        if missing:
            raise UsageError(
                f"this is no state of batches: it lacks {', '.join(missing)}; give what state_dict returned"
            )
        for name, what in (("seed", "seed"), ("window", "shuffle"), ("instances", "set of instances")):
            if state.get(name) != own[name]:
                raise UsageError(
                    f"this state is of another {what} ({name}: {state.get(name)!r}, here {own[name]!r}), and its epoch "
                    "has another order; make the batches as those were made that the state is of"
                )
        epoch, done = int(state["epoch"]), int(state["done"])
        if epoch < 0 or not 0 <= done <= len(self._recipe):
            raise UsageError(
                f"this state is at instance {done} of epoch {epoch}; allowed are 0 to {len(self._recipe)}, and epochs "
                "from 0 on: it was damaged or changed"
            )
        self.move_to(Position(epoch, done))

    def following(self) -> Position:
        """Return the position of the next batch: at the end of an epoch, the beginning of the next."""
        left = step_count(
            len(self._recipe), size=self.size, rank=Rank(0, self.rank.world), tail=self.tail, done=self._position.done
        )
        return self._position if left else Position(self._position.epoch + 1)

    def delivered(self, position: Position) -> None:
        """Say that a batch was delivered that ends at a position, for those who run these batches themselves."""
        self.move_to(position)
        self._tell(position)

    def _tell(self, position: Position) -> None:
        if self._progress is not None:
            self._progress(position.done, len(self._recipe))

    def move_to(self, position: Position) -> None:
        """Go to a position; an iteration that is under way ends."""
        self._position = position
        self._run = None

    @property
    def stats(self) -> Throughput:
        """What the batches of this process have cost so far."""
        return self._stats

    def __iter__(self) -> Iterator[Any]:
        """Yield what is left of the epoch."""
        start = self.following()
        self.move_to(start)
        self._run = run = object()
        waiting = Waiting()
        base, fetched = self._stats, Fetched(self.library)
        began = time.perf_counter()
        delivered = instances = 0
        batches = self.run(start, self.rank, waiting=waiting)
        try:
            for step, batch in batches:
                if self._run is not run:
                    raise UsageError(f"{self!r}: another iteration has begun, or moved it; iterate once at a time")
                self._position = replace(start, done=step.done)
                delivered, instances = delivered + 1, instances + step.stop - step.start
                self._stats = Throughput(
                    base.batches + delivered,
                    base.instances + instances,
                    base.seconds + time.perf_counter() - began,
                    base.wait_s + waiting.seconds,
                    base.requests + fetched.requests,
                    base.bytes + fetched.bytes,
                    max(base.held_bytes, waiting.most_bytes),
                )
                self._tell(self._position)
                yield batch
        finally:
            batches.close()
        if self._run is run:
            self.move_to(Position(start.epoch + 1))

    def run(
        self,
        start: Position,
        rank: Rank,
        *,
        worker: int = 0,
        workers: int = 1,
        waiting: Waiting | None = None,
    ) -> Generator[tuple[Step, Any], None, None]:
        """Yield (step, batch) from a position to the end of its epoch, without moving this stream.

        Parameters
        ----------
        start : Position
            Where to begin.
        rank : Rank
            Whose batches.
        worker, workers : int
            Of these batches every `workers`-th, from the `worker`-th on; each worker may read ahead its share.
        waiting : Waiting, optional
            Counts the time spent waiting for batches.
        """
        order = self._order(start.epoch)
        mine = list(steps(len(order), size=self.size, rank=rank, tail=self.tail, done=start.done))[worker::workers]
        limit = self.ahead_bytes // workers
        with ThreadPoolExecutor(max(1, _cores() // workers), thread_name_prefix="msl-compute") as executor:

            def read(group: Sequence[tuple[Step, NDArray[np.int64]]]) -> list[Any]:
                chosen = np.concatenate([own for _, own in group]).tolist()
                samples = iter(self._recipe.samples(chosen, epoch=start.epoch, executor=executor))
                made = [self._recipe.batch(own.tolist(), [next(samples) for _ in own]) for _, own in group]
                return made if self._transform is None else [self._transform(batch) for batch in made]

            jobs = self._jobs([(step, order[step.start : step.stop]) for step in mine], limit)
            groups = done_ahead(jobs, read, threads=READS_AT_ONCE, limit_bytes=limit, waiting=waiting or Waiting())
            following = iter(mine)
            try:
                for group in groups:
                    group.reverse()
                    while group:
                        yield next(following), group.pop()
            finally:
                groups.close()

    def _jobs(
        self, taken: Sequence[tuple[Step, NDArray[np.int64]]], limit: int
    ) -> Iterator[Job[list[tuple[Step, NDArray[np.int64]]]]]:
        """Yield what to read at once: one batch first, then so many that a read is worth its round trips."""
        group: list[tuple[Step, NDArray[np.int64]]] = []
        instances = nbytes = 0
        for number, (step, own) in enumerate(taken):
            more = self._recipe.nbytes(own)
            full = instances + len(own) > READ_INSTANCES or nbytes + more > limit // READS_AT_ONCE
            if group and (number == 1 or full):
                yield Job(group, nbytes)
                group, instances, nbytes = [], 0, 0
            group.append((step, own))
            instances, nbytes = instances + len(own), nbytes + more
        if group:
            yield Job(group, nbytes)


def _cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reopened(
    library: Library, fields: Mapping[str, Form], size: int, options: dict[str, Any], position: Position
) -> Batches:
    batches = Batches(library, fields, size, **options)
    batches.move_to(position)
    return batches
