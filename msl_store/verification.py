"""A library against itself: every checksum, every digest, and whether all objects are there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store import schema
from msl_store.blockwise import Outcome, run_blocks
from msl_store.contents import INDEX_COLUMNS
from msl_store.digest import column_digest, joint_digest
from msl_store.errors import IntegrityError, UsageError
from msl_store.library import refuse_no_library
from msl_store.schema import BLOCK
from msl_store.soundness import BlockState, Damage, check_block, size_damage
from msl_store.splits import RULE, split_of
from msl_store.store import ROOT, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from msl_store.blockwise import Scheduler
    from msl_store.library import Library
    from msl_store.store import Store

Columns = dict[str, "NDArray[Any]"]

ORTHOGONAL = 1e-9
"""Largest entry of R R^T - 1 for a rotation matrix R in float64."""


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes
    ----------
    instances : int
        Rows of the library, those that were set aside included.
    chunks : int
        Chunks looked at, or, where `quick`, looked for.
    quick : bool
        Whether nothing but columns, indexes and sizes was read.
    unlisted : str
        Why the library's objects could not be listed, so that objects which do not belong to it were not looked for;
        '' where they were.
    damages : tuple of Damage
        Everything that is wrong.
    """

    instances: int
    chunks: int
    quick: bool
    unlisted: str
    damages: tuple[Damage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the verification as JSON types."""
        return {**asdict(self), "damages": [asdict(damage) for damage in self.damages]}


def verify(
    library: Library,
    *,
    quick: bool = False,
    scheduler: Scheduler = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Verification:
    """Look for everything that is wrong with a library, by itself: no source is needed.

    The whole library is looked at, whatever was selected of it: every array's metadata, every column against its
    digest and the others, every shard's index against what the instances should have, every chunk's checksum, every
    instance against its digest, the joint digest, and, where the server can list, objects that are missing or extra.

    Parameters
    ----------
    library : Library
        Wherever it lies.
    quick : bool
        Read columns and indexes and compare sizes, but read no chunks.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it.
    progress : callable
        Called with the blocks done and the number of blocks.

    Raises
    ------
    NetworkError
        The server cannot be reached or refuses.
    UsageError
        The library was opened with a cache that is offline.
    """
    refuse_no_library(library)
    if library.store.objects.offline:
        raise UsageError(
            f"{library.url}: was opened offline, and what lies at the server is to be checked; open it without "
            "offline=True, or check what the cache holds: Cache.verify, msl cache verify"
        )
    store = open_store(library.url, library.store.objects.storage_options, cache=False)  # what lies there counts alone
    listing, unlisted = store.objects.listing()
    columns, damages = _read_columns(store)
    found = [*damages, *_node_damages(store), *_column_damages(store, columns)]
    states: list[BlockState] = []
    if set(INDEX_COLUMNS).intersection(store.arrays) <= set(columns):
        blocks = -(-len(store.ids) // BLOCK)

        def tell(outcome: Outcome[BlockState]) -> None:
            if outcome.value is not None:
                states.append(outcome.value)
            progress(len(states), blocks)

        how = {
            "read": not quick,
            "digests": "instances/digest" in columns,
            "ask_sizes": quick and listing is None,
        }
        tasks = {block: partial(check_block, store, block, **how) for block in range(blocks)}
        run_blocks(tasks, scheduler=scheduler, done=tell)
        if listing is not None:
            found += _object_damages(store, listing, states)
    else:
        found.append(Damage("instances", "were not looked at: the columns that say where their data lies are damaged"))
    found += [damage for state in states for damage in state.damages]
    chunks = sum(state.chunks for state in states)
    return Verification(len(store.ids), chunks, quick, unlisted, tuple(sorted(set(found))))


def _read_columns(store: Store) -> tuple[Columns, list[Damage]]:
    """Return the columns that can be read, and what is wrong with the others."""
    try:
        return store.columns(store.column_paths), []
    except IntegrityError:
        pass
    columns: Columns = {}
    damages = []
    for path in store.column_paths:
        try:
            columns.update(store.columns([path]))
        except IntegrityError as error:
            damages.append(Damage(path, str(error).removeprefix(f"{store.url}/")))
    return columns, damages


def _node_damages(store: Store) -> Iterator[Damage]:
    """Yield what is wrong with the metadata documents of groups and arrays, which other Zarr readers use."""
    paths = sorted(store.nodes)
    for path, parts in zip(paths, store.objects.find_many([(f"{p}/{ROOT}", None) for p in paths]), strict=True):
        place = f"{path}/{ROOT}"
        if parts is None:
            yield Damage(place, "the object is missing")
            continue
        try:
            document = json.loads(bytes(parts[0]))
        except ValueError as error:
            yield Damage(place, f"is no JSON: {error}")
            continue
        if any(store.nodes[path].get(name) != value for name, value in document.items()):
            yield Damage(place, f"differs from what {ROOT} of the root says of it")


def _object_damages(store: Store, listing: Mapping[str, int], states: list[BlockState]) -> Iterator[Damage]:
    """Yield what is wrong with the objects at the library's place."""
    known = {damage.place for state in states for damage in state.damages}
    expected = {ROOT, *(f"{path}/{ROOT}" for path in store.nodes)}
    expected |= {f"{path}/c/{'/'.join('0' * len(store.array(path).dims))}" for path in store.column_paths}
    for state in states:
        expected |= set(state.sizes)
        for path, size in state.sizes.items():
            damage = None if path in known else size_damage(path, listing.get(path), size)
            if damage is not None:
                yield damage
    for path in sorted(set(listing) - expected):
        yield Damage(path, "is no object of the library; delete it if nobody needs it")


def _column_damages(store: Store, columns: Columns) -> Iterator[Damage]:
    """Yield what is wrong with the columns that can be read."""
    digests = store.attributes.get("column_digests", {})
    for path, values in columns.items():
        if path in digests and column_digest(values) != digests[path]:
            yield Damage(path, "does not have the digest that the root's column_digests has: it was changed")
    for check in (_identity_damages, _status_damages, _count_damages, _ragged_damages, _image_damages):
        yield from check(store, columns)


def _identity_damages(store: Store, columns: Columns) -> Iterator[Damage]:
    ids, digests = columns.get("instances/id"), columns.get("instances/digest")
    if ids is None:
        return
    if not np.array_equal(ids, store.ids):
        yield Damage("instances/id", "differs from the ids in the attributes of the group instances")
    if len(np.unique(ids)) != len(ids):
        yield Damage("instances/id", "has an id twice")
    if digests is not None and joint_digest(ids.tolist(), (digest.tobytes() for digest in digests)) != store.digest:
        yield Damage("instances/digest", "its ids and digests do not have the library's digest")
    split = columns.get("instances/split")
    by_rule = store.groups["instances"].get("split_rule") == RULE
    if split is not None and by_rule and not np.array_equal(split, split_of(ids.tolist())):
        yield Damage("instances/split", "is not what the group's split_rule says of the ids")


def _status_damages(store: Store, columns: Columns) -> Iterator[Damage]:
    status = columns.get("instances/status")
    aside = store.groups["instances"].get("set_aside", [])
    if status is not None:
        if (status >= len(schema.STATUS)).any():
            yield Damage("instances/status", f"has a number that means nothing; allowed: 0 to {len(schema.STATUS) - 1}")
        if np.flatnonzero(status == schema.STATUS.index("set_aside")).tolist() != list(aside):
            yield Damage("instances/status", "sets others aside than the attributes of the group instances")
    origin = columns.get("instances/origin")
    if origin is not None and len(origin) and origin.max() >= len(store.groups["instances"].get("origins", [])):
        yield Damage("instances/origin", f"has {int(origin.max())}, which is no position in origins")
    findings = columns.get("instances/findings")
    if findings is not None:
        try:
            json.loads(findings.tobytes() or b"[]")
        except ValueError as error:
            yield Damage("instances/findings", f"is no JSON: {error}")


def _count_damages(store: Store, columns: Columns) -> Iterator[Damage]:
    try:
        found = schema.counts(columns)
    except ValueError:  # findings that are no JSON are named already
        return
    for name, count in store.attributes.get("counts", {}).items():
        if found.get(name, count) != count:
            yield Damage("instances", f"{name} counts {found[name]}, the root's counts say {count}")


def _ragged_damages(store: Store, columns: Columns) -> Iterator[Damage]:
    """Yield what is wrong with where instances lie in the ragged arrays."""
    has_mesh = columns.get("instances/has_mesh")
    for path, dim in (("mesh/vertices", "vertex"), ("mesh/faces", "face")):
        start, count = columns.get(f"mesh/{dim}_start"), columns.get(f"mesh/{dim}_count")
        if start is None or count is None or path not in store.arrays:
            continue
        array = store.array(path)
        if has_mesh is not None and ((count > 0) != has_mesh).any():
            row = int(np.flatnonzero((count > 0) != has_mesh)[0])
            yield Damage(f"mesh/{dim}_count", f"contradicts has_mesh for instance {store.ids[row]}")
        used = np.flatnonzero(count > 0)
        order = used[np.argsort(start[used], kind="stable")]
        if (start % array.chunk[0]).any():
            yield Damage(f"mesh/{dim}_start", f"has a start that is no multiple of {array.chunk[0]}")
        if (start < 0).any() or (count < 0).any() or (start + count > array.shape[0]).any():
            yield Damage(f"mesh/{dim}_start", f"leaves {path}, which has {array.shape[0]} rows")
        if (start[order][1:] < (start + count)[order][:-1]).any():
            yield Damage(f"mesh/{dim}_start", "has instances that overlap")


def _image_damages(store: Store, columns: Columns) -> Iterator[Damage]:
    present, has_images = columns.get("images/present"), columns.get("instances/has_images")
    if present is not None and has_images is not None and (present.all(axis=(1, 2)) != has_images).any():
        row = int(np.flatnonzero(present.all(axis=(1, 2)) != has_images)[0])
        yield Damage("images/present", f"contradicts instances/has_images for instance {store.ids[row]}")
    rotation = columns.get("images/rotation")
    if rotation is not None:
        excess = rotation @ np.swapaxes(rotation, -1, -2) - np.eye(3)
        if not (np.abs(excess) < ORTHOGONAL).all():
            yield Damage("images/rotation", "has a matrix that is no rotation")
