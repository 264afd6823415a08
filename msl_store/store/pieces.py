"""What is wanted of an array, and the chunks that it takes: nothing here reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError
from msl_store.layout import object_of
from msl_store.store.sharding import index_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

Index = Any
"""A slice, or an integer array: positions along one dimension."""

Axis = Any
"""The same after checking: a range, or a non-negative integer array."""

Place = Any
"""Positions within a chunk or an output: a slice with a start and a stop, or a non-negative integer array."""


@dataclass(frozen=True)
class StoredArray:
    """One array's metadata, as its zarr.json has it."""

    path: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(hash=False, compare=False)

    @cached_property
    def chunks_per_shard(self) -> tuple[int, ...]:
        """Chunks of a shard in each dimension."""
        return tuple(s // c for s, c in zip(self.shard or self.chunk, self.chunk, strict=True))

    @cached_property
    def shard_index_bytes(self) -> int:
        """Size of the index at the start of each shard."""
        return index_bytes(self.chunks_per_shard)

    def object_of(self, chunk: Sequence[int]) -> tuple[str, int]:
        """Return the object that holds a chunk, and the chunk's number in it."""
        return object_of(self.path, self.chunks_per_shard, chunk)


@dataclass(frozen=True)
class StoredShard:
    """A stored object of an array: a shard, or a chunk that is an object of its own.

    Attributes
    ----------
    array : StoredArray
        Whose values it holds.
    path : str
        Where it lies below the library's URL.
    """

    array: StoredArray
    path: str


@dataclass(frozen=True)
class Want:
    """What to read of one array: an index for every dimension (the outer product of them is read).

    Attributes
    ----------
    path : str
        The array.
    index : tuple of slice or ndarray of int
        One entry a leading dimension; what is left out is read whole.
    present : ndarray of bool, optional
        Over the chunks of the leading dimensions: which the library has. The rest is returned as NaN (0 in integers)
        without asking for it; a chunk that should be there and is not is an `IntegrityError` always.
    """

    path: str
    index: tuple[Index, ...] = ()
    present: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Cut:
    """What to take of one chunk; for those who know the layout, and read a little of very many instances.

    Attributes
    ----------
    path : str
        The array.
    chunk : tuple of int
        The chunk's position in the grid of chunks, one number a dimension.
    take : tuple of int, slice or ndarray of int
        numpy's index into the chunk's values.
    """

    path: str
    chunk: tuple[int, ...]
    take: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Piece(StoredShard):
    """A chunk that a `Want` or a `Cut` touches.

    Attributes
    ----------
    array, path
        The object that holds it.
    number : int
        Its number in that object.
    to, take : tuple of slice or ndarray of int
        Where its values go in what the want returns (for a cut, a position in a list), and which of its values these
        are.
    """

    number: int
    to: Any
    take: tuple[Place, ...]


def axes_of(array: StoredArray, index: Sequence[Index]) -> list[Axis]:
    """Return the positions wanted along every dimension, a slice's as a range.

    Raises
    ------
    UsageError
        One of them is outside the array.
    """
    full = (*index, *(slice(None),) * (len(array.shape) - len(index)))
    axes: list[Axis] = []
    for extent, dim, wanted in zip(array.shape, array.dims, full, strict=True):
        if isinstance(wanted, slice):
            axes.append(range(*wanted.indices(extent)))
            continue
        axis = np.asarray(wanted, np.int64)
        if len(axis) and (axis.min() < 0 or axis.max() >= extent):
            raise UsageError(f"{array.path}: {dim} {int(axis.max())} is out of range; allowed: 0 to {extent - 1}")
        axes.append(axis)
    return axes


def pieces_of(array: StoredArray, axes: Sequence[Axis], present: NDArray[np.bool_] | None) -> Iterator[Piece]:
    """Yield the chunks that the outer product of some positions touches, but those that are not present."""
    grouped = [list(_by_chunk(axis, extent)) for axis, extent in zip(axes, array.chunk, strict=True)]
    for groups in product(*grouped):
        coordinates = [number for number, _, _ in groups]
        if present is not None and not present[tuple(coordinates[: present.ndim])]:
            continue
        path, number = array.object_of(coordinates)
        to, take = _outer([to for _, to, _ in groups]), _outer([take for _, _, take in groups])
        yield Piece(array, path, number, to, take)


def _by_chunk(axis: Axis, extent: int) -> Iterable[tuple[int, Place, Place]]:
    """Yield, for every chunk that an axis touches: its number, places in the output, places in the chunk."""
    if isinstance(axis, range):
        if axis.step == 1:
            for number in range(axis.start // extent, -(-axis.stop // extent) if axis else 0):
                first, last = max(axis.start, number * extent), min(axis.stop, (number + 1) * extent)
                corner = number * extent
                yield number, slice(first - axis.start, last - axis.start), slice(first - corner, last - corner)
            return
        axis = np.asarray(axis, np.int64)
    numbers = axis // extent
    order = np.argsort(numbers, kind="stable")
    edges = np.flatnonzero(np.diff(numbers[order], prepend=-1, append=-1))
    for first, last in pairwise(edges.tolist()):
        to = order[first:last]
        number = int(numbers[to[0]])
        yield number, _compact(to), _compact(axis[to] - number * extent)


def _compact(places: NDArray[np.int64]) -> Place:
    """Return a slice where the places are a run, which numpy copies faster."""
    if len(places) == 1 or (np.diff(places) == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _outer(places: Sequence[Place]) -> tuple[Place, ...]:
    """Return an index for the outer product of some places."""
    if all(isinstance(place, slice) for place in places):
        return tuple(places)
    return np.ix_(*(np.arange(p.start, p.stop) if isinstance(p, slice) else p for p in places))
