"""What a subset holds: the rows and arrays that it takes of a library, and the layout that it gets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.contents import INDEX_COLUMNS, NEEDED, Contents, refuse_text
from msl_store.errors import UsageError
from msl_store.layout import FIXED_SIZES, Layout
from msl_store.schema import BLOCK, GROUPS, SPECS, ArraySpec
from msl_store.store import MISSING, StoredShard, Want

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from msl_store.contents import Instance
    from msl_store.library import Library
    from msl_store.store import Store, StoredArray

OPTIONAL = ("point_cloud/normals",)
"""Arrays that may be left out of a group whose others are taken."""

NARROWED = ("microscope", "view")
"""Dimensions that a subset may take part of."""

SIZED_BLOCKS = 128
"""Blocks of a library whose shards' indexes are read to tell a size; of more, so many stand for all."""

LENGTHS = ("instance", "vertex", "face", "text_byte")
"""Dimensions whose extent is the subset's own."""


@dataclass(frozen=True)
class Size:
    """How many bytes of stored chunks something takes; columns, metadata and what is stored a block come on top.

    Attributes
    ----------
    by_array : mapping of str to int
        The bytes of every array's chunks.
    exact : bool
        Whether every chunk was counted; else it was estimated from some of the library's blocks.
    """

    by_array: Mapping[str, int]
    exact: bool

    @property
    def stored_bytes(self) -> int:
        """The bytes of all."""
        return sum(self.by_array.values())


@dataclass(frozen=True, eq=False)
class Extract:
    """Some rows of a library and some of its arrays.

    Attributes
    ----------
    store : Store
        The library's.
    rows : ndarray of int64, shape (instance,)
        The rows, in the order that they get.
    arrays : mapping of str to ArraySpec
        The arrays by path, as the subset has them.
    positions : mapping of str to ndarray of int64
        The positions taken of the dimensions `NARROWED`, of those that the arrays have.
    left_out : tuple of str
        What of the library is not taken, as ``mesh``, ``point_cloud/normals`` or ``microscope conf1``.
    """

    store: Store
    rows: NDArray[np.int64]
    arrays: Mapping[str, ArraySpec]
    positions: Mapping[str, NDArray[np.int64]]
    left_out: tuple[str, ...] = field(default=())

    def instance_rows(self, dim: str) -> NDArray[np.int64]:
        """Return the start and the count of every row in the ragged arrays of a dimension, shape (2, instance)."""
        names = [f"mesh/{dim}_start", f"mesh/{dim}_count"]
        return np.stack([column[self.rows] for column in self.store.columns(names).values()])

    @property
    def contents(self) -> Contents:
        """What each row of the library has."""
        return Contents(self.store)

    @property
    def layout(self) -> Layout:
        """The layout of the subset."""
        sizes: dict[str, int] = {}
        for path in self.arrays:
            array = self.store.array(path)
            extents = dict(zip(array.dims, array.shape, strict=True))
            sizes.update({dim: n for dim, n in extents.items() if dim not in LENGTHS and dim not in FIXED_SIZES})
        sizes.update({dim: len(taken) for dim, taken in self.positions.items()})
        counts: dict[str, tuple[int, ...]] = {"vertex": (), "face": ()}
        for dim in counts:
            if f"mesh/{dim}_count" in self.arrays:
                counts[dim] = tuple(self.instance_rows(dim)[1].tolist())
        return Layout(len(self.rows), sizes, counts["vertex"], counts["face"], tuple(self.arrays.values()))

    def of_kind(self, *kinds: str) -> list[str]:
        """Return the paths of the arrays of some kinds."""
        return [path for path, spec in self.arrays.items() if spec.kind in kinds]

    def has(self, path: str) -> NDArray[np.bool_]:
        """Return which of the rows have anything of an array that is no column, shape (instance,)."""
        if path.startswith("images/"):
            return np.asarray(self.images_present.any(axis=(1, 2)))
        return np.asarray(self.contents.has(NEEDED.get(path, path.partition("/")[0]))[self.rows])

    @property
    def images_present(self) -> NDArray[np.bool_]:
        """Which images the rows have of those taken, shape (instance, microscope, view)."""
        return self.narrowed(self.contents.images_present[self.rows], ("instance", "microscope", "view"))

    def narrowed(self, values: NDArray[Any], dims: Sequence[str]) -> NDArray[Any]:
        """Return the positions taken of an array with some dimensions."""
        for axis, dim in enumerate(dims):
            if dim in self.positions:
                values = values.take(self.positions[dim], axis=axis)
        return values

    def assembled(self, place: int, values: Mapping[str, NDArray[Any]]) -> Instance:
        """Return one row, by its place in the subset, as an instance of what was taken of it, by path."""
        found = self.contents.assembled(int(self.rows[place]), values)
        return found if found.present is None else replace(found, present=self.images_present[place])

    def want(self, path: str, place: int) -> Want:
        """Return what one row, by its place in the subset, takes of an array that is no column."""
        row = int(self.rows[place])
        array = self.store.array(path)
        if self.arrays[path].kind == "ragged":
            start, count = self.instance_rows(array.dims[0])[:, place].tolist()
            return Want(path, (slice(start, start + count),))
        rest = (self.positions.get(dim, slice(None)) for dim in array.dims[1:])
        present = self.contents.images_present if path.startswith("images/") else None
        return Want(path, (slice(row, row + 1), *rest), present)


def extract(
    library: Library,
    *,
    arrays: Sequence[str] | None = None,
    microscopes: Sequence[str] | None = None,
    views: Sequence[str] | None = None,
) -> Extract:
    """Return what a subset of a library takes; see `msl_store.subset` for the arguments.

    Raises
    ------
    UsageError
        A name is unknown, images are narrowed that are not taken, there are no instances, or an edition is joined.
    """
    refuse_text(arrays=arrays, microscopes=microscopes, views=views)
    if library.edition is not None:
        raise UsageError(
            f"{library.url}: {library.edition.url} is joined to it; allowed is one library at a time: make a subset of "
            "each, then join those with Library.with_edition"
        )
    if not len(library):
        raise UsageError(f"{library.url}: the selection has no instances; allowed is one or more")
    stored = {path: array for path, array in library.store.arrays.items() if path.partition("/")[0] in GROUPS}
    paths, named = _chosen(library, stored, arrays)
    if named and microscopes is not None:
        raise UsageError("microscopes: named in arrays too (images:...); allowed is one of the two")
    names = {
        "microscope": (named or microscopes, [microscope["name"] for microscope in library.microscopes]),
        "view": (views, library.views),
    }
    positions = {}
    left_out = sorted({_left_out(path, paths) for path in library.store.arrays if path not in paths})
    for dim, (wanted, there) in names.items():
        if wanted is None:
            continue
        unknown = [name for name in wanted if name not in there]
        if unknown or not wanted or "images/present" not in paths:
            raise UsageError(
                f"{dim}s: {', '.join(unknown) + ' unknown' if unknown else 'no images are taken'}; "
                f"allowed: {', '.join(there) or 'none'}"
                f"{'' if 'images/present' in paths else ', with images among the arrays'}"
            )
        positions[dim] = np.flatnonzero(np.isin(there, list(wanted)))
        left_out += [f"{dim} {name}" for name in there if name not in wanted]
    specs = {path: _spec(array) for path, array in stored.items() if path in paths}
    library.store.columns(list({*INDEX_COLUMNS, *(path for path, spec in specs.items() if spec.kind == "column")}))
    return Extract(library.store, library.rows_of(library.ids), specs, positions, tuple(left_out))


def _chosen(
    library: Library, stored: Mapping[str, StoredArray], names: Sequence[str] | None
) -> tuple[set[str], list[str] | None]:
    """Return the arrays that some names mean, and the microscopes where they name some (``images:conf2``)."""
    if names is None:
        return set(stored), None
    groups = {path.partition("/")[0] for path in stored} - {"instances"}
    chosen = {path for path in stored if path.startswith("instances/")}
    microscopes: list[str] = []
    for name in names:
        group, _, detail = name.partition(":")
        without = {f"{path.partition('/')[0]}/points": path for path in OPTIONAL if path in stored}
        if group in groups and (not detail or group == "images"):
            chosen |= {path for path in stored if path.startswith(f"{group}/")}
            microscopes += [detail] if detail else []
        elif name in without:
            chosen |= {path for path in stored if path.startswith(f"{name.partition('/')[0]}/")} - {without[name]}
        else:
            allowed = [*sorted(groups), *sorted(without)]
            microscopes = [f"images:{microscope['name']}" for microscope in library.microscopes]
            raise UsageError(f"arrays: {name!r} unknown; allowed: {', '.join([*allowed, *microscopes])}")
    return chosen, microscopes or None


def _left_out(path: str, taken: Collection[str]) -> str:
    """Return what to call an array that is not taken: its group, where nothing of that is."""
    group = path.partition("/")[0]
    return path if any(other.startswith(f"{group}/") for other in taken) else group


def _spec(array: StoredArray) -> ArraySpec:
    """Return an array as the schema has it, with the chunks that it is stored with."""
    known = SPECS.get(array.path)
    if known is not None and known.dims == array.dims:
        return known if known.kind in {"column", "block"} else replace(known, chunk=array.chunk)
    units, note = (str(array.attributes.get(name, "")) for name in ("units", "long_name"))
    if array.shard is None:
        return ArraySpec(array.path, "column", array.dims, array.dtype.name, (0,) * len(array.dims), units, note)
    return ArraySpec(array.path, "rows", array.dims, array.dtype.name, array.chunk, units, note)


def stored_size(taken: Extract) -> Size:
    """Return how many bytes of stored chunks a subset takes, from the indexes of the shards that hold its instances."""
    of_block = taken.rows // BLOCK
    blocks = np.unique(of_block)
    counted = blocks
    if len(blocks) > SIZED_BLOCKS:
        counted = blocks[np.linspace(0, len(blocks) - 1, SIZED_BLOCKS).astype(np.int64)]
    places = np.flatnonzero(np.isin(of_block, counted))
    slots = {path: _slots(taken, path, places) for path in taken.of_kind("rows", "ragged")}
    faults = taken.store.learn(
        StoredShard(taken.store.array(path), shard) for path, shards in slots.items() for shard in shards
    )
    by_array = {}
    for path, shards in slots.items():
        found = 0
        for shard, numbers in shards.items():
            index = taken.store.index(shard)
            if index is not None:
                lengths = index[numbers, 1]
                found += int(lengths[lengths != MISSING].sum())
        by_array[path] = round(found * len(taken.rows) / len(places))
    return Size(by_array, exact=len(counted) == len(blocks) and not faults)


def _slots(taken: Extract, path: str, places: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return where the chunks of some rows lie: the shards' paths, and the chunks' numbers in each."""
    array = taken.store.array(path)
    per_shard = array.chunks_per_shard
    rows = taken.rows[places[taken.has(path)[places]]]
    if taken.arrays[path].kind == "ragged":
        start, count = taken.instance_rows(array.dims[0])[:, places[taken.has(path)[places]]]
        first, last = start // array.chunk[0], -(-(start + count) // array.chunk[0])
        chunks = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)]) if len(rows) else first
        inner = np.zeros(1, np.int64)
    else:
        chunks = rows // array.chunk[0]
        taken_of = [
            taken.positions.get(dim, np.arange(n)) for dim, n in zip(array.dims[1:], per_shard[1:], strict=True)
        ]
        inner = np.ravel_multi_index(np.ix_(*taken_of), per_shard[1:]).ravel()
    found = {}
    for shard in np.unique(chunks // per_shard[0]).tolist():
        here = chunks[chunks // per_shard[0] == shard] % per_shard[0]
        name, _ = array.object_of([shard * per_shard[0], *[0] * (len(per_shard) - 1)])
        found[name] = (here[:, None] * math.prod(per_shard[1:]) + inner).ravel()
    return found
