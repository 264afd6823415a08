"""The order of an epoch: a pure function of the instances, the seed and the epoch.

Instances are shuffled in two steps. The blocks of 64, whose chunks share stored objects, come in a random order; of the
row of instances that this makes, every `window` in a row are shuffled among each other, uniformly. So neighbours come
from random blocks of the whole library, but a reader meets the objects of a window's blocks only (with the default of
4,096 instances those of 64 blocks): their indexes are fetched when the window begins, and a read that covers much of a
window finds chunks that lie near each other. `mixing` measures what that costs in randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError
from msl_store.schema import BLOCK
from msl_store.stream.draws import random_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCKS, _WITHIN = range(2)


@dataclass(frozen=True)
class Shuffle:
    """How instances are shuffled.

    Attributes
    ----------
    window : int or None
        Instances that are shuffled among each other after their blocks were; None shuffles all, uniformly.
    """

    window: int | None = 4096

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise UsageError(f"window {self.window}: allowed is 1 or more instances, or None for all")


def epoch_order(rows: NDArray[np.int64], *, seed: int, epoch: int, shuffle: Shuffle | None) -> NDArray[np.int64]:
    """Return the order in which an epoch takes instances.

    Parameters
    ----------
    rows : ndarray of int, shape (instance,)
        The stored row of every instance; no two alike.
    seed, epoch : int
        What the order depends on.
    shuffle : Shuffle or None
        None keeps the order of `rows`; with a shuffle the order of `rows` does not matter.

    Returns
    -------
    ndarray of int64, shape (instance,)
        Places in `rows`, every one once.
    """
    count = len(rows)
    if shuffle is None:
        return np.arange(count)
    stored = np.argsort(rows, kind="stable")
    if shuffle.window is not None and shuffle.window < count:
        _, block = np.unique(rows[stored] // BLOCK, return_inverse=True)
        turn = random_order(int(block[-1]) + 1, seed=seed, epoch=epoch, purpose=_BLOCKS)
        stored = stored[np.argsort(np.argsort(turn)[block], kind="stable")]
    within = np.empty(count, np.int64)
    within[random_order(count, seed=seed, epoch=epoch, purpose=_WITHIN)] = np.arange(count)
    window = np.arange(count) // (shuffle.window or max(count, 1))
    return np.asarray(stored[np.lexsort((within, window))])


@dataclass(frozen=True)
class Mixing:
    """How well an order is mixed.

    Attributes
    ----------
    block_bits : float
        Entropy, in bits, of the blocks that the instances of a batch come from, averaged over the batches of the order.
    uniform_bits : float
        The same for a uniformly random order of as many blocks, by its expectation.
    distance : float
        Mean distance in stored rows of instances that follow each other, as a fraction of what a uniformly random order
        has, a third of the number of instances. Near 1 where nothing of the stored order is left.
    """

    block_bits: float
    uniform_bits: float
    distance: float


def mixing(rows: NDArray[np.int64], *, batch: int = 64) -> Mixing:
    """Measure an order: `rows` are the stored rows of the instances, in the order to measure.

    Of fewer instances than a batch, all are taken for one.

    >>> mixing(np.arange(6400)).block_bits
    0.0
    """
    count = len(rows)
    if count < 2 or batch < 1:
        raise UsageError(
            f"an order of {count} in batches of {batch}: allowed are 2 instances or more, and batches of 1"
        )
    batch = min(batch, count)
    _, block = np.unique(rows // BLOCK, return_inverse=True)
    batches = block[: count - count % batch].reshape(-1, batch)
    bits = [_entropy(np.unique(one, return_counts=True)[1]) for one in batches]
    generator = np.random.default_rng(0)
    drawn = [_entropy(np.unique(generator.choice(block, batch, replace=False), return_counts=True)[1]) for _ in bits]
    ranks = np.argsort(np.argsort(rows))
    distance = float(np.abs(np.diff(ranks)).mean()) / ((count + 1) / 3)
    return Mixing(float(np.mean(bits)), float(np.mean(drawn)), distance)


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0
