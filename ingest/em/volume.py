"""What a volume of labels is to this package, and boxes of voxels.

Axes are (0, 1, 2) in the order of the stored array, which is (z, y, x) for slices, TIFF stacks and most others. They
become the axes (0, 1, 2) of the meshes.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from msl_store.errors import FormatError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

Triple = tuple[int, int, int]
Edges = tuple[float, float, float]
"""Edges of a voxel along the axes, in nm."""


@dataclass(frozen=True)
class Box:
    """Some voxels: from `start` up to, not including, `stop`."""

    start: Triple
    stop: Triple

    @property
    def shape(self) -> Triple:
        """Extents."""
        return _triple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Voxels."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index."""
        first, second, third = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return first, second, third

    def scaled(self, factor: Triple) -> Box:
        """Return the same box in voxels that are smaller by integer factors."""
        return Box(
            _triple(a * f for a, f in zip(self.start, factor, strict=True)),
            _triple(b * f for b, f in zip(self.stop, factor, strict=True)),
        )

    def common(self, other: Box) -> Box:
        """Return what two boxes share; empty boxes have a shape of zeros."""
        start = _triple(map(max, zip(self.start, other.start, strict=True)))
        stop = _triple(max(a, min(b, c)) for a, b, c in zip(start, self.stop, other.stop, strict=True))
        return Box(start, stop)

    def seen_from(self, origin: Sequence[int]) -> Box:
        """Return the box in coordinates that start at a voxel."""
        return Box(
            _triple(a - o for a, o in zip(self.start, origin, strict=True)),
            _triple(b - o for b, o in zip(self.stop, origin, strict=True)),
        )


@dataclass(frozen=True)
class Grid:
    """A volume cut into blocks, those at the upper ends smaller where the extents are no multiples.

    Attributes
    ----------
    shape, block : tuple of 3 ints
        Extents of the volume and of a block.
    """

    shape: Triple
    block: Triple

    @property
    def counts(self) -> Triple:
        """Blocks along each axis."""
        return _triple(-(-extent // side) for extent, side in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    def place(self, number: int) -> Triple:
        """Return where a block lies among the blocks."""
        return _triple(np.unravel_index(number, self.counts))

    def number(self, place: Sequence[int]) -> int:
        """Return a block's number, blocks counted along the last axis first."""
        return int(np.ravel_multi_index(tuple(place), self.counts))

    def box(self, number: int) -> Box:
        """Return a block's voxels."""
        start = _triple(at * side for at, side in zip(self.place(number), self.block, strict=True))
        stops = (min(a + side, end) for a, side, end in zip(start, self.block, self.shape, strict=True))
        return Box(start, _triple(stops))

    def blocks_of(self, box: Box) -> Iterator[int]:
        """Yield the numbers of the blocks that a box touches."""
        ranges = [range(a // side, -(-b // side)) for a, b, side in zip(box.start, box.stop, self.block, strict=True)]
        return (self.number(place) for place in product(*ranges))


class Volume(Protocol):
    """A volume of labels, wherever it lies. Volumes pickle, so that a worker can read its own blocks."""

    @property
    def name(self) -> str:
        """What provenance calls it: a path or URL."""

    @property
    def shape(self) -> Triple:
        """Extents in voxels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels: bool or integers; 0 is outside."""

    @property
    def chunk(self) -> Triple:
        """Extents of what is decoded at the least."""

    @property
    def voxel_nm(self) -> Edges | None:
        """Edges of a voxel in nm, where the volume's metadata has them."""

    @property
    def digest(self) -> str:
        """Changes when the volume's metadata or size does."""

    def read(self, box: Box) -> NDArray[Any]:
        """Return the labels in a box."""


def checked_labels(name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[Triple, np.dtype[Any]]:
    """Return a volume's extents and type, or raise `FormatError` where they are no volume of labels."""
    if len(shape) != 3 or min(shape) < 1:
        raise FormatError(
            f"{name}: has the shape {tuple(shape)}; allowed is a volume of three axes (others of extent 1 only): name "
            "one channel and one time point"
        )
    if dtype.kind not in "bui":
        raise FormatError(
            f"{name}: holds {dtype}, and labels are bool or integers, 0 outside; threshold or segment the volume first"
        )
    return _triple(shape), dtype


def voxel_size(volume: Volume, given: Sequence[float] | None = None) -> Edges:
    """Return the edges of a volume's voxels in nm: those given, or else those of its metadata.

    Raises
    ------
    UsageError
        There are none, or they are not positive.
    """
    edges = volume.voxel_nm if given is None else tuple(given)
    if edges is None:
        raise UsageError(
            f"{volume.name}: its metadata has no voxel size; give the edges in nm along axes 0, 1, 2 (z, y, x), as in "
            "--voxel-size 8,8,8"
        )
    if len(edges) != 3 or not all(math.isfinite(edge) and edge > 0 for edge in edges):
        raise UsageError(f"{volume.name}: voxel size {edges}: allowed are three positive lengths in nm")
    return (float(edges[0]), float(edges[1]), float(edges[2]))


def digest_of(*parts: Any) -> str:
    """Return a digest of JSON values and bytes."""
    state = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        state.update(f"{len(data)}:".encode())
        state.update(data)
    return state.hexdigest()


def _triple(values: Any) -> Triple:
    first, second, third = (int(value) for value in values)
    return first, second, third
