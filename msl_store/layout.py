"""The schema at a library's real size: shapes, chunks, shards, blocks, and where ragged rows start."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from msl_store.schema import ARRAYS, BLOCK, GRID_EDGES, IMAGE_SHAPE, MICROSCOPES, RAGGED_SHARD_CHUNKS, SAMPLES, VIEWS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.schema import ArraySpec


PART_BYTES = 2**28
"""Instances of a block take at most this much together, before compression, if one alone does not take more."""


@dataclass(frozen=True)
class ArrayLayout:
    """An array of the schema at its real size.

    Attributes
    ----------
    spec : ArraySpec
        What it is.
    shape, chunk : tuple of int
        Extents of the array and of a chunk.
    shard : tuple of int or None
        Extent of a shard, a multiple of the chunk's in every dimension; None where each chunk is an object.
    """

    spec: ArraySpec
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None

    @property
    def chunks_per_shard(self) -> tuple[int, ...]:
        """Chunks of a shard in each dimension."""
        shard = self.shard or self.chunk
        return tuple(s // c for s, c in zip(shard, self.chunk, strict=True))

    def object_of(self, chunk: Sequence[int]) -> tuple[str, int]:
        """Return the object that holds a chunk, and the chunk's number in it."""
        return object_of(self.spec.path, self.chunks_per_shard, chunk)


@dataclass(frozen=True)
class Layout:
    """The layout of one library, all of it known before any body is read.

    Attributes
    ----------
    instances : int
        How many rows the library has.
    sizes : mapping of str to int
        Extents of the other dimensions: ``microscope``, ``view``, ``y``, ``x``, ``z``, ``sample``, ``query``.
    vertex_counts, face_counts : tuple of int
        Of every instance's mesh, 0 where it has none; empty where the library has no meshes.
    arrays : tuple of ArraySpec
        Which arrays it has.
    """

    instances: int
    sizes: Mapping[str, int]
    vertex_counts: tuple[int, ...] = ()
    face_counts: tuple[int, ...] = ()
    arrays: tuple[ArraySpec, ...] = field(default=ARRAYS)

    @property
    def blocks(self) -> int:
        """How many blocks the library has."""
        return -(-self.instances // BLOCK)

    @property
    def nbytes(self) -> int:
        """Bytes of all values before compression, the gaps of ragged arrays left out."""
        total = 0
        for spec in self.arrays:
            extents = self.array(spec).shape
            if spec.kind == "ragged":
                extents = (sum(self.vertex_counts if spec.dims[0] == "vertex" else self.face_counts), *extents[1:])
            total += math.prod(extents) * np.dtype(spec.dtype).itemsize
        return total

    def rows(self, block: int) -> range:
        """Return the rows of a block."""
        return range(block * BLOCK, min((block + 1) * BLOCK, self.instances))

    def counts(self, path: str) -> tuple[int, ...]:
        """Return how many rows every instance has in a ragged array."""
        return self.vertex_counts if self.spec(path).dims[0] == "vertex" else self.face_counts

    def spec(self, path: str) -> ArraySpec:
        """Return one of the arrays by its path."""
        return next(spec for spec in self.arrays if spec.path == path)

    def starts(self, path: str) -> tuple[NDArray[np.int64], int]:
        """Return the first row of every instance in a ragged array, and that array's length, both in rows."""
        counts = np.asarray(self.counts(path), np.int64)
        chunk = self.spec(path).chunk[0]
        shard = chunk * RAGGED_SHARD_CHUNKS
        padded = -(-counts // chunk) * chunk
        starts = np.zeros(self.instances, np.int64)
        position = 0
        for block in range(self.blocks):
            rows = slice(self.rows(block).start, self.rows(block).stop)
            starts[rows] = position + np.concatenate(([0], np.cumsum(padded[rows])[:-1]))
            position += -(-int(padded[rows].sum()) // shard) * shard
        return starts, max(position, shard)

    def array(self, spec: ArraySpec, *, length: int | None = None) -> ArrayLayout:
        """Return one array at its real size; `length` is that of a dimension the layout does not know."""
        known = {"instance": self.instances, **FIXED_SIZES, **self.sizes}
        if spec.kind == "ragged":
            known[spec.dims[0]] = self.starts(spec.path)[1]
        shape = tuple(known.get(dim, length or 0) for dim in spec.dims)
        whole = tuple(max(1, extent) for extent in shape)
        chunk = tuple(c or extent for c, extent in zip(spec.chunk, whole, strict=True))
        shard: tuple[int, ...] | None = None
        if spec.kind == "ragged":
            shard = (chunk[0] * RAGGED_SHARD_CHUNKS, *chunk[1:])
        elif spec.kind == "rows":
            inner = tuple(-(-extent // c) * c for extent, c in zip(whole[1:], chunk[1:], strict=True))
            shard = (part_rows(math.prod(inner) * np.dtype(spec.dtype).itemsize), *inner)
        return ArrayLayout(spec, shape, chunk, shard)


def object_of(path: str, chunks_per_shard: Sequence[int], chunk: Sequence[int]) -> tuple[str, int]:
    """Return the object that holds a chunk of an array, and the chunk's number in it.

    >>> object_of("images/counts", (64, 3, 6, 1, 1), (65, 1, 2, 0, 0))
    ('images/counts/c/1/0/0/0/0', 26)
    """
    name, number = f"{path}/c", 0
    for c, n in zip(chunk, chunks_per_shard, strict=True):
        name += f"/{c // n}"
        number = number * n + c % n
    return name, number


FIXED_SIZES: Mapping[str, int] = {
    "axis": 3,
    "principal": 3,
    "corner": 3,
    "row": 3,
    "col": 3,
    "digest_byte": 32,
    **{f"byte_{edge}": edge**3 // 8 for edge in GRID_EDGES},
}


def library_sizes(
    *,
    microscopes: int = len(MICROSCOPES),
    views: int = len(VIEWS),
    image_shape: tuple[int, int] = IMAGE_SHAPE,
    samples: int = SAMPLES,
    queries: int = SAMPLES,
) -> dict[str, int]:
    """Return the extents of a library of shapes and images, the published library's by default."""
    return {
        "microscope": microscopes,
        "view": views,
        "y": image_shape[0],
        "x": image_shape[1],
        "sample": samples,
        "query": queries,
        "byte": -(-queries // 8),
    }


def part_rows(row_bytes: int) -> int:
    """Return how many instances of a block make up a shard, and are in memory together: a power of two, at most all.

    >>> part_rows(2**20), part_rows(2**24), part_rows(2**40)
    (64, 16, 1)
    """
    rows = BLOCK
    while rows > 1 and rows * row_bytes > PART_BYTES:
        rows //= 2
    return rows


def blocks_of(rows: int, size: int = BLOCK) -> tuple[int, ...]:
    """Return the sizes of the blocks, or of the parts of blocks, that cover some rows.

    >>> blocks_of(130), blocks_of(70, 32)
    ((64, 64, 2), (32, 32, 6))
    """
    edges = [*range(0, rows, size), rows]
    return tuple(b - a for a, b in pairwise(edges))
