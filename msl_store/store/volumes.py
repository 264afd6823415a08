"""Volumes in Zarr: boxes of any array of version 2 or 3, read from anywhere, and arrays written block by block."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import FormatError, IntegrityError, MissingError, MSLError
from msl_store.store.sharding import encode_chunk, encode_shard
from msl_store.store.writing import chunks_of, compressors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.store.objects import Objects

ROOT = "zarr.json"


@dataclass(frozen=True)
class ZarrNode:
    """What lies at a path of a Zarr hierarchy.

    Attributes
    ----------
    kind : {"array", "group"}
        Which of the two.
    attributes : mapping
        Its attributes.
    document : bytes
        The metadata as stored.
    """

    kind: str
    attributes: Mapping[str, Any]
    document: bytes


def zarr_node(objects: Objects, path: str = "") -> ZarrNode | None:
    """Return what lies at a path, of Zarr version 3 or 2; None where there is no Zarr metadata.

    Raises
    ------
    FormatError
        The metadata is no JSON.
    """
    base = f"{path}/" if path else ""
    try:
        whole = _document(objects, f"{base}{ROOT}")
        if whole is not None:
            return ZarrNode(str(whole[1].get("node_type", "group")), whole[1].get("attributes", {}), whole[0])
        for name, kind in ((".zarray", "array"), (".zgroup", "group")):
            found = _document(objects, base + name)
            if found is not None:
                attributes = _document(objects, f"{base}.zattrs") or (b"", {})
                return ZarrNode(kind, attributes[1], found[0] + attributes[0])
    except ValueError as error:
        raise FormatError(f"{objects.url}/{base}: its Zarr metadata is no JSON ({error}); fetch it again") from error
    return None


def _document(objects: Objects, path: str) -> tuple[bytes, dict[str, Any]] | None:
    try:
        raw = objects.get(path)
    except MissingError:
        return None
    found = json.loads(raw)
    return raw, found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class ZarrArray:
    """One Zarr array, read by boxes; opens at first use in each process, and pickles.

    Parameters
    ----------
    objects : Objects
        The place that holds it.
    path : str
        Its path there, '' for an array that is the place itself.
    """

    objects: Objects
    path: str = ""

    def __reduce__(self) -> tuple[type[ZarrArray], tuple[Objects, str]]:
        return type(self), (self.objects, self.path)

    @property
    def url(self) -> str:
        """Where it lies."""
        return f"{self.objects.url}/{self.path}".rstrip("/")

    @cached_property
    def _array(self) -> Any:
        import zarr

        from msl_store.store.zarr_store import ReadOnlyObjects

        try:
            return zarr.open_array(ReadOnlyObjects(self.objects), path=self.path, mode="r")
        except MSLError:
            raise
        except FileNotFoundError as error:
            raise MissingError(f"{self.url}: there is no Zarr array here; check the path") from error
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(
                f"{self.url}: cannot be opened ({error}); name a Zarr array, not the group that holds it"
            ) from error

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        found: np.dtype[Any] = np.dtype(self._array.dtype)
        return found

    @property
    def chunk(self) -> tuple[int, ...]:
        """Extents of a chunk: what is decoded at the least."""
        return tuple(self._array.chunks)

    def read(self, box: Sequence[slice | int]) -> NDArray[Any]:
        """Return the values in a box; a chunk that was never written holds the fill value.

        Raises
        ------
        IntegrityError
            A chunk is damaged.
        NetworkError
            The server cannot be reached.
        """
        try:
            return np.asarray(self._array[tuple(box)])
        except MSLError:
            raise
        except (ValueError, RuntimeError, TypeError, OSError, zlib.error) as error:
            where = ", ".join(f"{s.start}:{s.stop}" if isinstance(s, slice) else str(s) for s in box)
            raise IntegrityError(f"{self.url}: [{where}] cannot be decoded ({error}); fetch the array again") from error


@dataclass(frozen=True)
class BlockArray:
    """A Zarr array of version 3 that is written a block at a time; no two blocks share an object.

    Parameters
    ----------
    objects : Objects
        Where it goes.
    path : str
        Its path there.
    shape : tuple of int
        Extents.
    dtype : str
        numpy's name of its type.
    block : tuple of int
        Extents of a block, one stored object.
    chunk : tuple of int
        Extents of a chunk, which divide the block's; what is read at the least.
    """

    objects: Objects
    path: str
    shape: tuple[int, ...]
    dtype: str
    block: tuple[int, ...]
    chunk: tuple[int, ...]

    def create(self, dims: Sequence[str], group_attributes: Mapping[str, Any] | None = None) -> None:
        """Write the metadata: of the array, and of its group (the place itself) where there are attributes for it."""
        import zarr
        from zarr.storage import MemoryStore

        memory: dict[str, Any] = {}
        shards: Any = None if self.block == self.chunk else {"shape": self.block, "index_location": "start"}
        store = MemoryStore(memory)
        zarr.create_array(
            store,
            name=self.path,
            shape=self.shape,
            dtype=self.dtype,
            chunks=self.chunk,
            shards=shards,
            compressors=compressors(np.dtype(self.dtype)),
            fill_value=0,
            dimension_names=dims,
            zarr_format=3,
        )
        self.objects.put(f"{self.path}/{ROOT}", memory[f"{self.path}/{ROOT}"].to_bytes())
        if group_attributes is not None:
            group = {"zarr_format": 3, "node_type": "group", "attributes": dict(group_attributes)}
            self.objects.put(ROOT, json.dumps(group).encode())

    def put(self, number: Sequence[int], values: NDArray[Any]) -> int:
        """Write one block, that at the array's end cut to the array; return the bytes written.

        Chunks that are all zero are left out of a block of several, which readers take for zeros.
        """
        counts = [n // c for n, c in zip(self.block, self.chunk, strict=True)]
        chunks: list[bytes | None] = [None] * math.prod(counts)
        whole = counts == [1] * len(counts)
        for origin, part in chunks_of(values.astype(self.dtype, copy=False), self.chunk):
            if whole or part.any():
                chunks[int(np.ravel_multi_index(origin, counts))] = encode_chunk(part)
        data = chunks[0] if whole and chunks[0] is not None else encode_shard(chunks)
        self.objects.put(f"{self.path}/c/{'/'.join(map(str, number))}", data)
        return len(data)

    def reading(self) -> ZarrArray:
        """Return the array for reading."""
        return ZarrArray(self.objects, self.path)
