"""Open a library's Zarr hierarchy in one request, and read any rows of many arrays at once.

Reading takes at most two round trips however many arrays, shards and rows are asked for: the indexes of the shards
that are not known yet, then all chunks, near ones coalesced into one request.
"""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store import schema
from msl_store.errors import FormatError, IntegrityError, MissingError, UsageError
from msl_store.store.objects import locate
from msl_store.store.sharding import MISSING, decode_chunk, decode_index, index_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.store.objects import Objects, Parts, Request

ROOT = "zarr.json"
UNPUBLISHED = "_unpublished"
"""Folder of an ingest's plan, claim and finished blocks; gone once the library is published."""

Index = Any
"""A slice, or an integer array: positions along one dimension."""

Place = Any
"""The same after checking: a slice with a start and a stop, or a non-negative integer array."""


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

    @property
    def chunks_per_shard(self) -> tuple[int, ...]:
        """Chunks of a shard in each dimension."""
        return tuple(s // c for s, c in zip(self.shard or self.chunk, self.chunk, strict=True))

    @property
    def shard_index_bytes(self) -> int:
        """Size of the index at the start of each shard."""
        return index_bytes(self.chunks_per_shard)

    def object_of(self, chunk: Sequence[int]) -> tuple[str, int]:
        """Return the object that holds a chunk, and the chunk's number in it."""
        per_shard = self.chunks_per_shard
        where = "/".join(str(c // n) for c, n in zip(chunk, per_shard, strict=True))
        inner = [c % n for c, n in zip(chunk, per_shard, strict=True)]
        return f"{self.path}/c/{where}", int(np.ravel_multi_index(inner, per_shard))


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
class _Piece:
    """A chunk, and where its values go."""

    array: StoredArray
    out: Any
    to: Any
    take: tuple[Place, ...]
    path: str
    number: int


class Store:
    """An open library: its attributes, its arrays' metadata, and `read`. Pickles as its URL and options."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        document = _root_document(objects)
        self.attributes: dict[str, Any] = document.get("attributes", {})
        self.groups, self.arrays = _nodes(document)
        schema.check(objects.url, self.attributes, {path: array.dims for path, array in self.arrays.items()})
        self._indexes: dict[str, NDArray[np.uint64] | None] = {}
        self._columns: dict[str, NDArray[Any]] = {}

    def __reduce__(self) -> tuple[Any, tuple[str, bytes, str]]:
        return _reopened, (self.objects.url, pickle.dumps(self.objects.storage_options), self.digest)

    @property
    def digest(self) -> str:
        """Digest of the library's content."""
        return str(self.attributes.get("digest", ""))

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """The id of every row, shape (instance,), from the metadata: no request is made for it."""
        runs = np.asarray(self.groups["instances"]["id_runs"], np.int64).reshape(-1, 2)
        return np.concatenate([np.arange(first, last + 1) for first, last in runs]) if len(runs) else runs[:, 0]

    def columns(self, paths: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return whole columns, those not read before in one round trip; paths that the library lacks are left out."""
        there = [path for path in paths if path in self.arrays]
        new = [path for path in there if path not in self._columns]
        if new:
            self._columns.update(zip(new, self.read([Want(path) for path in new]), strict=True))
        return {path: self._columns[path] for path in there}

    @property
    def url(self) -> str:
        """Where the library lies."""
        return self.objects.url

    @property
    def uncompressed_bytes(self) -> int:
        """Size of all arrays as numpy would hold them; the gaps of ragged arrays count too."""
        return sum(math.prod(array.shape) * array.dtype.itemsize for array in self.arrays.values())

    def array(self, path: str) -> StoredArray:
        """Return one array's metadata; `MissingError` where the library has no such array."""
        try:
            return self.arrays[path]
        except KeyError:
            raise MissingError(f"{self.url}: has no array {path}; it has {', '.join(sorted(self.arrays))}") from None

    def read(self, wants: Sequence[Want]) -> list[NDArray[Any]]:
        """Read from many arrays at once.

        Returns
        -------
        list of ndarray
            One array a want, of the extents its index has.

        Raises
        ------
        IntegrityError
            A chunk is missing, shorter than it should be, or fails its checksum; the message names it.
        """
        outs: list[NDArray[Any]] = []
        pieces: list[_Piece] = []
        for want in wants:
            array = self.array(want.path)
            axes = _axes(array, want.index)
            missing = np.nan if array.dtype.kind == "f" else 0
            out = np.full([len(axis) for axis in axes], missing, array.dtype)
            outs.append(out)
            pieces.extend(_pieces(array, axes, out, want.present))
        self._fetch(pieces)
        return outs

    def cut(self, cuts: Sequence[Cut]) -> list[NDArray[Any]]:
        """Read parts of chunks of many arrays at once, as `read` does but with hardly any arithmetic on the way.

        A part that numpy's index leaves a view stays one, and keeps its chunk in memory.

        Raises
        ------
        IntegrityError
            A chunk is missing, shorter than it should be, or fails its checksum; the message names it.
        """
        outs: list[Any] = [None] * len(cuts)
        pieces = []
        for place, cut in enumerate(cuts):
            array = self.array(cut.path)
            pieces.append(_Piece(array, outs, place, cut.take, *array.object_of(cut.chunk)))
        self._fetch(pieces)
        return outs

    def _fetch(self, pieces: Sequence[_Piece]) -> None:
        """Fetch and decode chunks: the unknown shard indexes and whole objects first, then all chunks of shards."""
        whole = [piece for piece in pieces if piece.array.shard is None]
        sharded = [piece for piece in pieces if piece.array.shard is not None]
        unknown = {p.path: p.array.shard_index_bytes for p in sharded if p.path not in self._indexes}
        wholes = dict.fromkeys(piece.path for piece in whole)
        requests: list[Request] = [(path, None) for path in wholes]
        requests += [(path, [(0, size)]) for path, size in unknown.items()]
        answers = self.objects.find_many(requests)
        found = dict(zip(wholes, answers, strict=False))
        for piece in whole:
            parts = found[piece.path]
            self._place(piece, parts[0] if parts else None)
        for path, parts in zip(unknown, answers[len(wholes) :], strict=True):
            self._indexes[path] = decode_index(parts[0], f"{self.url}/{path}") if parts else None
        by_object: dict[str, list[_Piece]] = {}
        for piece in sharded:
            by_object.setdefault(piece.path, []).append(piece)
        chunk_requests: list[Request] = [
            (path, [self._range(piece) for piece in group]) for path, group in by_object.items()
        ]
        groups = list(by_object.values())

        def decode(place: int, parts: Parts | None) -> None:
            for number, piece in enumerate(groups[place]):
                self._place(piece, parts[number] if parts else None)

        self.objects.find_many(chunk_requests, decode)

    def _range(self, piece: _Piece) -> tuple[int, int]:
        index = self._indexes[piece.path]
        if index is None or index[piece.number, 0] == MISSING:
            raise IntegrityError(self._missing(piece))
        start, length = (int(value) for value in index[piece.number])
        return start, start + length

    def _place(self, piece: _Piece, data: memoryview | None) -> None:
        if data is None:
            raise IntegrityError(self._missing(piece))
        place = f"{self.url}/{piece.path} chunk {piece.number}"
        values = decode_chunk(data, piece.array.chunk, piece.array.dtype, place)
        piece.out[piece.to] = values[piece.take]

    def _missing(self, piece: _Piece) -> str:
        return (
            f"{self.url}/{piece.path}: chunk {piece.number} is missing, though the library says that its instance has "
            "that part; copy or ingest this library again"
        )


@lru_cache(maxsize=16)
def _reopened(url: str, options: bytes, digest: str) -> Store:
    """Open the library that a task was sent, once a process."""
    store = Store(locate(url, pickle.loads(options)))
    if store.digest != digest:
        raise IntegrityError(
            f"{url}: the library has changed since it was opened (digest {store.digest}, was {digest}); open it again"
        )
    return store


def open_store(url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Store:
    """Open a library in one request.

    Raises
    ------
    MissingError
        There is nothing at the URL, or a library that is not finished.
    FormatError
        What is there is no library, or one of a newer schema.
    """
    return Store(locate(url, storage_options))


def _root_document(objects: Objects) -> dict[str, Any]:
    try:
        raw = objects.get(ROOT)
    except MissingError:
        raise MissingError(_why_not_there(objects)) from None
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise FormatError(f"{objects.url}/{ROOT}: {error}; a Zarr v3 hierarchy was expected") from error
    if not isinstance(document, dict) or document.get("zarr_format") != 3 or document.get("node_type") != "group":
        raise FormatError(f"{objects.url}/{ROOT}: is no Zarr v3 group; name the folder or prefix that msl-ingest wrote")
    if not document.get("consolidated_metadata"):
        raise FormatError(f"{objects.url}/{ROOT}: has no consolidated metadata; ingest or copy the library again")
    return document


def _why_not_there(objects: Objects) -> str:
    if objects.exists(f"{UNPUBLISHED}/plan.json"):
        return (
            f"{objects.url}: this library is not finished: an ingest is under way or was stopped; "
            "the same msl-ingest command finishes it"
        )
    return f"{objects.url}: there is no library here ({ROOT} is missing); check the URL and the credentials"


def _nodes(document: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, StoredArray]]:
    """Return every group's attributes and every array's metadata from the consolidated metadata."""
    groups: dict[str, dict[str, Any]] = {}
    arrays: dict[str, StoredArray] = {}
    for path, node in document["consolidated_metadata"]["metadata"].items():
        if node["node_type"] == "group":
            groups[path] = node.get("attributes", {})
            continue
        grid = tuple(node["chunk_grid"]["configuration"]["chunk_shape"])
        codec = node["codecs"][0]
        sharded = codec["name"] == "sharding_indexed"
        chunk = tuple(codec["configuration"]["chunk_shape"]) if sharded else grid
        arrays[path] = StoredArray(
            path=path,
            dims=tuple(node.get("dimension_names") or ()),
            shape=tuple(node["shape"]),
            chunk=chunk,
            shard=grid if sharded else None,
            dtype=np.dtype(node["data_type"]).newbyteorder("<"),
            attributes=node.get("attributes", {}),
        )
    return groups, arrays


def _axes(array: StoredArray, index: Sequence[Index]) -> list[NDArray[np.int64]]:
    """Return the positions wanted along every dimension, checked against the array's extent."""
    full = (*index, *(slice(None),) * (len(array.shape) - len(index)))
    axes = []
    for extent, dim, wanted in zip(array.shape, array.dims, full, strict=True):
        # Not np.arange(extent)[wanted]: the rows of mesh/vertices are a billion, its gaps among them.
        axis = np.arange(*wanted.indices(extent)) if isinstance(wanted, slice) else np.asarray(wanted, np.int64)
        if len(axis) and (axis.min() < 0 or axis.max() >= extent):
            raise UsageError(f"{array.path}: {dim} {int(axis.max())} is out of range; allowed: 0 to {extent - 1}")
        axes.append(axis)
    return axes


def _pieces(
    array: StoredArray, axes: Sequence[NDArray[np.int64]], out: NDArray[Any], present: NDArray[np.bool_] | None
) -> Iterator[_Piece]:
    """Cut what is wanted into chunks."""
    grouped = [list(_by_chunk(axis, extent)) for axis, extent in zip(axes, array.chunk, strict=True)]
    for groups in product(*grouped):
        coordinates = [number for number, _, _ in groups]
        if present is not None and not present[tuple(coordinates[: present.ndim])]:
            continue
        path, number = array.object_of(coordinates)
        to, take = _outer([to for _, to, _ in groups]), _outer([take for _, _, take in groups])
        yield _Piece(array, out, to, take, path, number)


def _by_chunk(axis: NDArray[np.int64], extent: int) -> Iterable[tuple[int, Place, Place]]:
    """Yield, for every chunk that an axis touches: its number, places in the output, places in the chunk."""
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
