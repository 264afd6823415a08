"""How the order of an epoch is divided: into steps over all ranks, a step into ranks, a rank's batches into workers.

Step by step the ranks together take the next ``world * size`` instances of the epoch's order, rank 0 the first `size`
of them. After any step a prefix of the order is done, so that one number says where an epoch is, whoever goes on from
there and in how many processes.

At the end fewer instances than a step may be left. ``tail="keep"`` divides them evenly: batches are shorter, by at
most one instance between the ranks, and where fewer are left than there are ranks, the last ranks have no batch in this
step, one batch fewer than the others. ``tail="drop"`` leaves them out, another choice of them every epoch: all ranks
have as many batches, each of the full size, as collective operations and compiled models want it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Tail = Literal["keep", "drop"]


@dataclass(frozen=True)
class Rank:
    """One of `world` processes that train together: number `number`, counted from 0."""

    number: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.world:
            raise UsageError(f"rank {self.number} of {self.world}: allowed is 0 to {self.world - 1}, and a world of 1")


@dataclass(frozen=True)
class Step:
    """A rank's part of one step.

    Attributes
    ----------
    start, stop : int
        The instances of this rank: places in the epoch's order.
    done : int
        How many instances of the epoch all ranks together have taken after this step.
    """

    start: int
    stop: int
    done: int


def current_rank() -> Rank:
    """Return this process's rank in `torch.distributed`, or the only one where that is not in use."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return Rank()
    return Rank(distributed.get_rank(), distributed.get_world_size())


def steps(count: int, *, size: int, rank: Rank, tail: Tail, done: int = 0) -> Iterator[Step]:
    """Yield a rank's steps through an epoch.

    Parameters
    ----------
    count : int
        Instances of the epoch.
    size : int
        Instances that each rank takes in a step.
    rank : Rank
        Whose steps.
    tail : {"keep", "drop"}
        What becomes of the instances that do not fill a step.
    done : int
        How many instances of the epoch were taken before.
    """
    whole = size * rank.world
    while count - done >= whole:
        start = done + size * rank.number
        done += whole
        yield Step(start, start + size, done)
    rest = count - done
    short, longer = divmod(rest, rank.world)
    if tail == "keep" and (short or rank.number < longer):
        start = done + short * rank.number + min(rank.number, longer)
        yield Step(start, start + short + (rank.number < longer), count)


def step_count(count: int, *, size: int, rank: Rank, tail: Tail, done: int = 0) -> int:
    """Return how many steps `steps` yields."""
    whole, rest = divmod(count - done, size * rank.world)
    return whole + (tail == "keep" and rest > rank.number)
