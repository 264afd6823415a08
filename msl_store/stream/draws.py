"""Random numbers that depend on (seed, epoch, instance, purpose) alone, and what is drawn with them.

The numbers come from Philox, a counter-based generator (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC '11, 2011): the seed and the instance are its key, the epoch and the purpose the high words of its counter. So
nothing depends on what was drawn before, in which process, or beside which other instance. Orders are sorted from the
generator's raw words, which numpy keeps the same in all versions; other draws are the same for one version of numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ORDERS = 2**32
"""Purposes from here on are orders; below they are checksums of fields' names."""

_WORD = 2**64 - 1


@dataclass(frozen=True)
class Draw:
    """The source of everything random about one instance in one epoch."""

    seed: int
    epoch: int
    instance: int

    def stream(self, name: str) -> np.random.Generator:
        """Return the random numbers of one field; fields of other names have independent ones."""
        return np.random.Generator(_philox(self.seed, self.instance, self.epoch, crc32(name.encode())))


def random_order(count: int, *, seed: int, epoch: int, purpose: int) -> NDArray[np.int64]:
    """Return a uniformly random permutation of 0 to ``count - 1``: the order of as many random 64-bit words."""
    words = _philox(seed, 0, epoch, _ORDERS + purpose).random_raw(count)
    return np.asarray(np.argsort(words, kind="stable"))


def _philox(seed: int, instance: int, epoch: int, purpose: int) -> np.random.Philox:
    key = np.array([seed & _WORD, instance & _WORD], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, epoch, purpose], np.uint64))


@dataclass(frozen=True)
class Sampling:
    """Which of many stored points to read: `count` of `stored`, from as few chunks as may be, or from `spread` chunks.

    `chosen` draws without replacement. Every stored point is equally likely to be drawn, with the probability
    ``count / stored``, whatever the order in which the points are stored. Where that order carries no information (it
    is exchangeable, as with the occupancy queries, which are independent of each other), the drawn points are
    distributed as any `count` of the stored ones are: a chunk is a sample as uniform as the whole. Where the order does
    carry some, the points of one chunk may lie together, and one draw says less than `count` independent points would;
    a larger `spread` reads more chunks for it. With all of them the draw is a stratified sample with proportional
    shares, whose sums vary no more than those of a simple random sample (W. G. Cochran, Sampling Techniques, 3rd
    edition, Wiley 1977, section 5.6).

    Attributes
    ----------
    stored, chunk : int
        Stored points of an instance, and points of a chunk.
    count : int
        How many to draw.
    spread : int
        At least how many chunks to draw from.
    """

    stored: int
    chunk: int
    count: int
    spread: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.count <= self.stored:
            raise UsageError(f"{self.count} points were asked for; allowed is 1 to {self.stored}, which are stored")
        if not 1 <= self.spread <= self.chunks:
            raise UsageError(f"spread {self.spread}: allowed is 1 to {self.chunks}, the chunks of an instance")

    @property
    def chunks(self) -> int:
        """Chunks of an instance."""
        return -(-self.stored // self.chunk)

    @property
    def chunks_read(self) -> int:
        """Chunks that a draw touches at most."""
        if self.stored % self.chunk:
            return min(2, self.chunks) if self._fits_one else self.chunks
        return max(self.spread, -(-self.count // self.chunk))

    @property
    def _fits_one(self) -> bool:
        return self.spread == 1 and self.count <= self.chunk

    def chosen(self, rng: np.random.Generator) -> list[tuple[int, NDArray[np.int64]]]:
        """Draw points, as (number of a chunk, places in the chunk in ascending order) for every chunk touched."""
        if self.stored % self.chunk:
            return self._of_uneven(rng)
        numbers = rng.choice(self.chunks, self.chunks_read, replace=False, shuffle=True).tolist()
        share, more = divmod(self.count, len(numbers))
        return [
            (number, _subset(rng, self.chunk, share + (place < more)))
            for place, number in enumerate(numbers)
            if share or place < more
        ]

    def taken(self, places: NDArray[np.int64]) -> NDArray[np.int64] | slice:
        """Return numpy's index for some places of a chunk: a slice where they are all of it, which copies nothing."""
        return slice(None) if len(places) == self.chunk else places

    def _of_uneven(self, rng: np.random.Generator) -> list[tuple[int, NDArray[np.int64]]]:
        # a short last chunk counts as part of the one before it, and a unit is drawn by its size
        first, size = 0, self.stored
        if self._fits_one:
            units = max(1, self.chunks - 1)
            unit = min(int(rng.integers(self.stored)) // self.chunk, units - 1)
            first = unit * self.chunk
            size = self.chunk if unit < units - 1 else self.stored - first
        points = first + _subset(rng, size, self.count)
        return [
            (int(number), points[points // self.chunk == number] - number * self.chunk)
            for number in np.unique(points // self.chunk)
        ]


def _subset(rng: np.random.Generator, size: int, count: int) -> NDArray[Any]:
    if count == size:
        return np.arange(size)
    return np.sort(rng.choice(size, count, replace=False, shuffle=False))
