"""Open a library's Zarr hierarchy in one request, and read any rows of many arrays at once.

Reading takes at most two round trips however many arrays, shards and rows are asked for: the indexes of the shards
that are not known yet, then all chunks, near ones coalesced into one request.
"""

from __future__ import annotations

import json
import math
import os
import pickle
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store import schema
from msl_store.errors import FormatError, IntegrityError, MissingError, UsageError
from msl_store.store.objects import local_path, locate
from msl_store.store.pieces import Piece, StoredArray, Want, axes_of, pieces_of
from msl_store.store.sharding import MISSING, decode_chunk, decode_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.store.caching import CacheChoice
    from msl_store.store.objects import Objects, Parts, Request
    from msl_store.store.pieces import Cut, StoredShard

ROOT = "zarr.json"
CACHE_VARIABLE = "MSL_CACHE"
"""Environment variable that names the folder of a cache for libraries that are not on this machine's disk."""

UNPUBLISHED = "_unpublished"
"""Folder of an ingest's plan, claim and finished blocks; gone once the library is published."""


class Store:
    """An open library: its attributes, its arrays' metadata, and `read`. Pickles as its URL and options."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        document = _root_document(objects)
        self.attributes: dict[str, Any] = document.get("attributes", {})
        self.nodes: dict[str, Any] = document["consolidated_metadata"]["metadata"]
        """The metadata document of every group and array by path, as the root has it."""
        self.groups, self.arrays = _nodes(self.nodes)
        schema.check(objects.url, self.attributes, {path: array.dims for path, array in self.arrays.items()})
        self._indexes: dict[str, NDArray[np.uint64] | None] = {}
        self._columns: dict[str, NDArray[Any]] = {}

    def __reduce__(self) -> tuple[Any, tuple[bytes, str]]:
        return _reopened, (pickle.dumps(self.objects), self.digest)

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
    def column_paths(self) -> list[str]:
        """The arrays that are columns, each one object."""
        return [
            path
            for path, array in self.arrays.items()
            if array.shard is None and (path not in schema.SPECS or schema.SPECS[path].kind == "column")
        ]

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
            near = sorted(name for name in self.arrays if name.startswith(f"{path.partition('/')[0]}/"))
            there = near or sorted({f"{name.partition('/')[0]}/..." for name in self.arrays})
            raise MissingError(f"{self.url}: has no array {path}; it has {', '.join(there)}") from None

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
        placed: list[tuple[Piece, NDArray[Any]]] = []
        for want in wants:
            out = self.empty(want)
            outs.append(out)
            placed.extend((piece, out) for piece in self.pieces(want))
        self._fetch(placed)
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
        placed: list[tuple[Piece, Any]] = []
        for place, cut in enumerate(cuts):
            array = self.array(cut.path)
            placed.append((Piece(array, *array.object_of(cut.chunk), place, cut.take), outs))
        self._fetch(placed)
        return outs

    def empty(self, want: Want) -> NDArray[Any]:
        """Return an array for what is wanted, NaN (0 in integers) everywhere."""
        array = self.array(want.path)
        missing = np.nan if array.dtype.kind == "f" else 0
        return np.full([len(axis) for axis in axes_of(array, want.index)], missing, array.dtype)

    def pieces(self, want: Want) -> list[Piece]:
        """Return the chunks that a want touches; nothing is read."""
        array = self.array(want.path)
        return list(pieces_of(array, axes_of(array, want.index), want.present))

    def index(self, path: str) -> NDArray[np.uint64] | None:
        """Return a shard's index as `decode_index` does; None where there is none, or `learn` was not asked for it."""
        return self._indexes.get(path)

    def learn(self, shards: Iterable[StoredShard]) -> dict[str, IntegrityError]:
        """Fetch the indexes of some shards, those that are not known yet, in one round trip.

        Returns
        -------
        dict of str to IntegrityError
            The shards whose index is damaged, or that are shorter than their index, by the object's path.
        """
        unknown = self._unknown(shards)
        try:
            answers = self._ask(unknown)
        except IntegrityError:  # one of them is too short: ask one by one which
            answers = []
            faults = {}
            for path, size in unknown.items():
                try:
                    answers += self._ask({path: size})
                except IntegrityError as error:
                    faults[path] = error
            unknown = {path: size for path, size in unknown.items() if path not in faults}
            return {**faults, **self._keep(unknown, answers)}
        return self._keep(unknown, answers)

    def _ask(self, shards: Mapping[str, int]) -> list[Parts | None]:
        return self.objects.find_many([(path, [(0, size)]) for path, size in shards.items()])

    def _unknown(self, shards: Iterable[StoredShard]) -> dict[str, int]:
        """Return the shards whose indexes are not known, each with its index's size in bytes."""
        return {s.path: s.array.shard_index_bytes for s in shards if s.array.shard and s.path not in self._indexes}

    def _keep(self, paths: Iterable[str], answers: Sequence[Parts | None]) -> dict[str, IntegrityError]:
        """Keep the indexes that came, and return what is wrong with the others."""
        faults = {}
        for path, parts in zip(paths, answers, strict=True):
            try:
                self._indexes[path] = decode_index(parts[0], f"{self.url}/{path}") if parts else None
            except IntegrityError as error:
                faults[path] = error
        return faults

    def _fetch(self, placed: Sequence[tuple[Piece, Any]]) -> None:
        """Fetch and decode chunks: the unknown shard indexes and whole objects first, then all chunks of shards."""
        whole = [(piece, out) for piece, out in placed if piece.array.shard is None]
        sharded = [(piece, out) for piece, out in placed if piece.array.shard is not None]
        unknown = self._unknown(piece for piece, _ in sharded)
        wholes = list(dict.fromkeys(piece.path for piece, _ in whole))
        requests: list[Request] = [(path, None) for path in wholes]
        requests += [(path, [(0, size)]) for path, size in unknown.items()]
        answers = self.objects.find_many(requests)
        found = dict(zip(wholes, answers, strict=False))
        for piece, out in whole:
            parts = found[piece.path]
            self._place(piece, out, parts[0] if parts else None)
        for fault in self._keep(unknown, answers[len(wholes) :]).values():
            raise fault

        def place(number: int, data: memoryview | None) -> None:
            self._place(*sharded[number], data)

        self.fetch([piece for piece, _ in sharded], place)

    def fetch(self, pieces: Sequence[Piece], each: Callable[[int, memoryview | None], None]) -> None:
        """Fetch chunks, near ones in one request, all under way at the same time; `learn` must know their shards.

        Parameters
        ----------
        pieces : sequence of Piece
            The chunks.
        each : callable
            Called with every chunk's place in `pieces` and its bytes as they are stored, unchecked, None where the
            object is not there; in threads, as they come.

        Raises
        ------
        IntegrityError
            An index lacks a chunk, or an object is shorter than its index says.
        """
        by_object: dict[str, list[int]] = {}
        for number, piece in enumerate(pieces):
            by_object.setdefault(piece.path, []).append(number)
        groups = list(by_object.values())
        requests: list[Request] = [
            (path, [self.range_of(pieces[number]) for number in group] if pieces[group[0]].array.shard else None)
            for path, group in by_object.items()
        ]

        def answered(place: int, parts: Parts | None) -> None:
            for part, number in enumerate(groups[place]):
                each(number, parts[part if len(parts) > 1 else 0] if parts else None)  # a whole object is one part

        self.objects.find_many(requests, answered)

    def range_of(self, piece: Piece) -> tuple[int, int]:
        """Return the bytes of its shard that a chunk takes; `IntegrityError` where the shard's index lacks it."""
        index = self._indexes[piece.path]
        if index is None or index[piece.number, 0] == MISSING:
            raise self.missing(piece)
        start, length = (int(value) for value in index[piece.number])
        return start, start + length

    def place_of(self, piece: Piece) -> str:
        """Return what messages call a chunk."""
        return f"{self.url}/{piece.path} chunk {piece.number}"

    def _place(self, piece: Piece, out: Any, data: memoryview | None) -> None:
        if data is None:
            raise self.missing(piece)
        out[piece.to] = self.decoded(piece, data)[piece.take]

    def decoded(self, piece: Piece, data: memoryview) -> NDArray[Any]:
        """Return a chunk's values; `IntegrityError` where its bytes are damaged."""
        return decode_chunk(data, piece.array.chunk, piece.array.dtype, self.place_of(piece))

    def missing(self, piece: Piece) -> IntegrityError:
        """Return the error that a chunk is not there."""
        return IntegrityError(
            f"{self.url}/{piece.path}: chunk {piece.number} is missing, though the library says that its instance has "
            "that part; copy or ingest this library again"
        )


@lru_cache(maxsize=16)
def _reopened(objects: bytes, digest: str) -> Store:
    """Open the library that a task was sent, once a process."""
    store = Store(pickle.loads(objects))
    if store.digest != digest:
        raise IntegrityError(
            f"{store.url}: the library has changed since it was opened (digest {store.digest}, was {digest}); "
            "open it again"
        )
    return store


def open_store(
    url: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None, *, cache: CacheChoice = None
) -> Store:
    """Open a library in one request, to be read by way of a cache where one is given, or the environment names one.

    Raises
    ------
    MissingError
        There is nothing at the URL, or a library that is not finished.
    FormatError
        What is there is no library, or one of a newer schema.
    """
    if cache is None and os.environ.get(CACHE_VARIABLE) and local_path(os.fspath(url)) is None:
        from msl_store.store.caching import Cache

        cache = Cache.from_environment()
    if cache and not hasattr(cache, "locate"):
        raise UsageError(
            f"cache={cache!r}: allowed is Cache(folder), as in Cache('cache', limit='20 GB'); False for none"
        )
    return Store(cache.locate(url, storage_options) if cache else locate(url, storage_options))


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
        raise FormatError(
            f"{objects.url}/{ROOT}: has no consolidated metadata; name the root of a library, or ingest it again"
        )
    return document


def _why_not_there(objects: Objects) -> str:
    if objects.exists(f"{UNPUBLISHED}/plan.json"):
        return (
            f"{objects.url}: this library is not finished: its writing is under way or was stopped; "
            "the command that began it (msl-ingest, msl subset, msl simulate, ...) finishes it"
        )
    check = "the URL and the credentials" if objects.path is None else "the path"
    return f"{objects.url}: there is no library here ({ROOT} is missing); check {check}"


def _nodes(documents: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, StoredArray]]:
    """Return every group's attributes and every array's metadata from the consolidated metadata."""
    groups: dict[str, dict[str, Any]] = {}
    arrays: dict[str, StoredArray] = {}
    for path, node in documents.items():
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
