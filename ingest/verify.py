"""A library against its source, bit for bit."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.record import Finding
from ingest.repack import select_entries
from msl_store.blockwise import Outcome, run_blocks
from msl_store.errors import MSLError
from msl_store.schema import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ingest.record import Entry, Record, Source
    from msl_store.blockwise import Scheduler
    from msl_store.contents import Instance
    from msl_store.library import Library


@dataclass(frozen=True)
class Comparison:
    """What `verify` found.

    Attributes
    ----------
    instances : int
        How many were compared.
    differences : tuple of Finding
        Every difference: the library's place and what differs. Empty where all is equal.
    """

    instances: int
    differences: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON types."""
        return {"instances": self.instances, "differences": [asdict(finding) for finding in self.differences]}


def verify(
    source: Source,
    library: Library,
    *,
    ids: Sequence[int] | None = None,
    limit: int | None = None,
    scheduler: Scheduler = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Comparison:
    """Compare every array of every instance with what the source holds, bit for bit.

    Mesh vertices are compared as float32, the form in which a library holds them; everything else as published.

    Parameters
    ----------
    source : Source
        What the library was made from.
    library : Library
        A whole library.
    ids, limit
        Compare only these, or only the first.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it.
    progress : callable
        Called with the blocks compared and the number of blocks.
    """
    listing = select_entries(source.listing(), ids=ids, limit=limit)
    everything = library.with_set_aside()
    differences: list[Finding] = []
    if ids is None and limit is None:
        in_source = {entry.id for entry in listing.entries}
        differences += [
            Finding(f"{library.url}: {instance}", "is in the library but not in the source", instance)
            for instance in everything.ids.tolist()
            if instance not in in_source
        ]
    groups = [listing.entries[start : start + BLOCK] for start in range(0, len(listing.entries), BLOCK)]
    done = 0

    def tell(outcome: Outcome[list[Finding]]) -> None:
        nonlocal done
        done += 1
        differences.extend(outcome.value or [])
        progress(done, len(groups))

    tasks = {number: partial(_compare_block, source, group, everything) for number, group in enumerate(groups)}
    run_blocks(tasks, scheduler=scheduler, done=tell)
    return Comparison(len(listing.entries), tuple(sorted(differences, key=_turn)))


def _compare_block(source: Source, entries: Sequence[Entry], library: Library) -> list[Finding]:
    differences = []
    for entry, record in zip(entries, source.records(entries), strict=True):
        place = f"{library.url}: {entry.id}"
        if entry.id not in library:
            differences.append(Finding(place, f"is in {entry.origin} but not in the library", entry.id))
            continue
        try:
            instance = library.instance(entry.id)
        except MSLError as error:
            differences.append(Finding(place, str(error), entry.id))
            continue
        differences += [Finding(place, reason, entry.id) for reason in _differences(record, instance, library)]
    return differences


def _turn(found: Finding) -> tuple[int, str]:
    """Return what to sort differences by: those of no instance first, then by id."""
    return -1 if found.instance is None else found.instance, str(found)


def _differences(record: Record, instance: Instance, library: Library) -> Iterator[str]:
    pairs = dict(_pairs(record, instance))
    for name, (published, stored) in pairs.items():
        if (published is None) != (stored is None):
            yield f"{name}: {'missing from the source' if published is None else 'missing from the library'}"
        elif published is not None and stored is not None:
            difference = _difference(published, stored)
            if difference:
                yield f"{name}: {difference}"
    if instance.digest != library.stored_digest(instance.id).tobytes():
        yield "instances/digest: is not the digest of the stored arrays"


def _pairs(record: Record, instance: Instance) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield (name, (published array, stored array)); None where there is none."""
    for part, fields in (
        ("mesh", ("vertices", "faces")),
        ("point_cloud", ("points", "normals")),
        ("occupancy", ("points", "inside_bits", "loc", "scale")),
    ):
        published, stored = getattr(record, part), getattr(instance, part)
        for name in fields:
            source_array = getattr(published, name, None)
            if name == "vertices" and source_array is not None:
                source_array = np.asarray(source_array, np.float32)
            yield f"{part}/{name}", (source_array, getattr(stored, name, None))
    images = record.images
    has_images = images is not None and images.present.any()
    yield "images/counts", (images.counts if images is not None and has_images else None, instance.images)
    yield "images/present", (images.present if images is not None and has_images else None, instance.present)
    yield "sdf/distance", (record.sdf, instance.sdf)
    own, grids = record.voxel_grid or {}, instance.voxel_grid or {}
    for edge in sorted({*own, *grids}):
        yield f"voxel_grid/inside_{edge}", (own.get(edge), grids.get(edge))


def _difference(published: Any, stored: Any) -> str:
    """Return how two arrays differ, '' where they are the same bits."""
    a, b = np.asarray(published), np.asarray(stored)
    if a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
        return f"has type {b.dtype}, the source {a.dtype}"
    if a.shape != b.shape:
        return f"has shape {b.shape}, the source {a.shape}"
    if a.tobytes() == b.tobytes():
        return ""
    places = np.argwhere(a != b)
    return f"differs in {len(places)} of {a.size} values, first at {tuple(places[0].tolist()) if len(places) else '?'}"
