"""Turn rows of arrays into a block's shards, columns into objects, and a layout into Zarr metadata."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from msl_store import schema
from msl_store.errors import IntegrityError
from msl_store.store.sharding import LEVEL, encode_chunk, encode_shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from msl_store.layout import ArrayLayout, Layout
    from msl_store.schema import ArraySpec, Packing


class BlockWriter:
    """The shards of one block, built row by row; only compressed chunks are kept.

    Parameters
    ----------
    layout : Layout
        Of the whole library.
    block : int
        Which block.
    """

    def __init__(self, layout: Layout, block: int) -> None:
        self._layout = layout
        self._block = block
        self._rows = layout.rows(block)
        self._arrays = {spec.path: layout.array(spec) for spec in layout.arrays if spec.kind != "column"}
        self._starts = {spec.path: layout.starts(spec.path)[0] for spec in layout.arrays if spec.kind == "ragged"}
        self._objects: dict[str, list[bytes | None]] = {}
        self._values: dict[str, NDArray[Any]] = {}

    def put(self, path: str, row: int, values: NDArray[Any], *, present: NDArray[np.bool_] | None = None) -> None:
        """Add one instance's values.

        Parameters
        ----------
        path : str
            A rows or ragged array.
        row : int
            The instance's row in the library; one of this block's.
        values : ndarray
            Without the instance dimension; for a ragged array, the instance's rows.
        present : ndarray of bool, optional
            Over the first dimensions of `values`, whose chunks have extent 1: which chunks to write.

        Raises
        ------
        IntegrityError
            An instance's rows of a ragged array are not as many as planned.
        """
        if row not in self._rows:
            raise IndexError(f"row {row} is not of this block ({self._rows.start} to {self._rows.stop - 1})")
        array = self._arrays[path]
        expected = array.shape[1:]
        if array.spec.kind == "ragged":
            planned = self._layout.counts(path)[row]
            if len(values) != planned:
                raise IntegrityError(
                    f"{path}: row {row} of the library was planned with {planned} rows, {len(values)} came: the source "
                    "has changed since it was listed; run this again"
                )
            expected = (planned, *expected)
        if values.shape != expected or values.dtype != np.dtype(array.spec.dtype):
            raise ValueError(
                f"{path}: an instance has {array.spec.dtype} {expected}, not {values.dtype} {values.shape}"
            )
        if array.spec.kind == "block":
            held = self._values.setdefault(path, np.full(array.chunk, array.spec.fill, array.spec.dtype))
            held[row - self._rows.start] = values
            return
        if array.spec.kind == "ragged":
            corner, body = (int(self._starts[path][row]), *(0,) * (values.ndim - 1)), values
        else:
            corner, body = (row, *(0,) * values.ndim), values[None]
        for origin, chunk in chunks_of(body, array.chunk):
            if present is not None and not present[origin[1 : 1 + present.ndim]]:
                continue
            position = [(c + o * n) // n for c, o, n in zip(corner, origin, array.chunk, strict=True)]
            self._add(array, position, encode_chunk(chunk, array.spec.packing))

    def _add(self, array: ArrayLayout, chunk: list[int], data: bytes) -> None:
        path, number = array.object_of(chunk)
        shard = self._objects.setdefault(path, [None] * math.prod(array.chunks_per_shard))
        shard[number] = data

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """Yield, and forget, every stored object as (path, bytes); one that would hold no instance is not made.

        It must be whole: all of its instances that are there have been put.
        """
        for path in sorted(self._values):
            values = self._values.pop(path)
            inner = "/0" * (values.ndim - 1)
            yield f"{path}/c/{self._block}{inner}", encode_chunk(values)
        for path in sorted(self._objects):
            yield path, encode_shard(self._objects.pop(path))


def chunks_of(body: NDArray[Any], chunk: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
    """Yield (chunk number, values of the chunk's full extent) over some values; beyond their edge are zeros."""
    counts = [-(-extent // n) for extent, n in zip(body.shape, chunk, strict=True)]
    for origin in np.ndindex(*counts):
        part = body[tuple(slice(o * n, (o + 1) * n) for o, n in zip(origin, chunk, strict=True))]
        if part.shape != chunk:
            full = np.zeros(chunk, body.dtype)
            full[tuple(slice(0, extent) for extent in part.shape)] = part
            part = full
        yield origin, part


def column_object(array: ArrayLayout, values: NDArray[Any]) -> tuple[str, bytes]:
    """Return the one object that holds a column, as (path, bytes)."""
    full = np.full(array.chunk, array.spec.fill, array.spec.dtype)
    full[tuple(slice(0, extent) for extent in values.shape)] = values
    return f"{array.spec.path}/c/{'/'.join('0' * len(array.chunk))}", encode_chunk(full)


def compressors(dtype: np.dtype[Any], packing: Packing = "zstd bits") -> list[Any]:
    """Return zarr's codecs for what `encode_chunk` does to values of a type."""
    from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

    compressor, unit = packing.split()
    shuffle = {"bits": BloscShuffle.bitshuffle, "bytes": BloscShuffle.shuffle}[unit]
    blosc = BloscCodec(typesize=dtype.itemsize, cname=cast("Any", compressor), clevel=LEVEL, shuffle=shuffle)
    return [blosc, Crc32cCodec()]


def metadata(
    layout: Layout,
    lengths: Mapping[str, int],
    attributes: Mapping[str, Any],
    group_attributes: Mapping[str, Mapping[str, Any]],
) -> dict[str, bytes]:
    """Return every ``zarr.json`` of a library by path, the root's with all others consolidated in it.

    Parameters
    ----------
    layout : Layout
        Which arrays, at what size.
    lengths : mapping of str to int
        Length of the arrays whose length the layout does not know (the findings' text).
    attributes : mapping
        The root's attributes.
    group_attributes : mapping of str to mapping
        More attributes of some groups.
    """
    import zarr
    from zarr.storage import MemoryStore

    memory: dict[str, Any] = {}
    store = MemoryStore(memory)
    root = zarr.create_group(store, zarr_format=3, attributes=dict(attributes))
    groups = {
        name: root.create_group(name, attributes={"description": schema.GROUPS[name], **group_attributes.get(name, {})})
        for name in dict.fromkeys(spec.group for spec in layout.arrays)
    }
    for spec in layout.arrays:
        _create(groups[spec.group], spec, layout.array(spec, length=lengths.get(spec.path)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        zarr.consolidate_metadata(store, zarr_format=3)
    return {path: data.to_bytes() for path, data in memory.items()}


def _create(group: Any, spec: ArraySpec, array: ArrayLayout) -> None:
    """Create one array's metadata in a zarr group."""
    group.create_array(
        spec.path.partition("/")[2],
        shape=array.shape,
        dtype=spec.dtype,
        chunks=array.chunk,
        shards=None if array.shard is None else {"shape": array.shard, "index_location": "start"},
        compressors=compressors(np.dtype(spec.dtype), spec.packing),
        fill_value=spec.fill,
        dimension_names=spec.dims,
        attributes=spec.attributes,
    )
