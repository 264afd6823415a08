"""A source into a library: plan first, then blocks in any order, then the columns and the root metadata."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial as bound
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.block import ingest_block
from ingest.kind import PUBLISHED_KIND, LibraryKind
from ingest.record import Entry, Finding, Listing, Source
from msl_store import schema
from msl_store.blockwise import run_blocks
from msl_store.digest import joint_digest
from msl_store.errors import MissingError, UsageError
from msl_store.layout import Layout, library_sizes
from msl_store.splits import RULE, SPLITS, split_of
from msl_store.store import Publication, joined
from msl_store.version import software

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from msl_store.blockwise import Scheduler
    from msl_store.store import Objects

PUBLISHED = {
    "title": "3D Mitochondria Shape Library for Optical Microscopy (3DMSL)",
    "license": "CC BY-NC 4.0",
    "license_url": "https://creativecommons.org/licenses/by-nc/4.0/",
    "citation": "Punnakkal, A. R., Jadhav, S. S., Celeste, A. V., Horsch, A., Agarwal, K. and Prasad, D. K. (2024): "
    "3DMSL - 3D Mitochondria Shape Library for Optical Microscopy, DataverseNO, V1",
    "doi": "10.18710/JX6JXF",
}
"""What the root of a library made from the published archives says of the data."""


@dataclass(frozen=True)
class Report:
    """What an ingest did.

    Attributes
    ----------
    state : str
        ``published`` where there was nothing to do, ``resumed`` or ``new``.
    instances, complete, partial, set_aside : int
        Rows of the library by their status.
    stored_bytes : int
        Bytes that this run wrote into blocks.
    seconds : float
        Wall time of this run.
    findings : tuple of Finding
        Everything that was wrong with the source.
    """

    state: str
    instances: int
    complete: int = 0
    partial: int = 0
    set_aside: int = 0
    stored_bytes: int = 0
    seconds: float = 0.0
    findings: tuple[Finding, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON types."""
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}


@dataclass(frozen=True)
class Progress:
    """How far an ingest is: blocks and instances done out of how many, bytes written, and all before compression."""

    blocks: int
    all_blocks: int
    instances: int
    all_instances: int
    stored_bytes: int
    all_bytes: int


def select_entries(listing: Listing, *, ids: Sequence[int] | None = None, limit: int | None = None) -> Listing:
    """Return a listing narrowed to some ids and to at most `limit` instances.

    Raises
    ------
    MissingError
        An id is not in the source.
    UsageError
        The limit is not positive.
    """
    entries = listing.entries
    if ids is not None:
        by_id = {entry.id: entry for entry in entries}
        missing = sorted(set(ids) - set(by_id))
        if missing:
            raise MissingError(f"the source has no instance {', '.join(map(str, missing[:5]))}; it has {len(entries)}")
        entries = tuple(by_id[instance] for instance in sorted(set(ids)))
    if limit is not None:
        if limit < 1:
            raise UsageError(f"limit {limit}: allowed is 1 or more")
        entries = entries[:limit]
    return replace(listing, entries=entries)


def ingest(
    source: Source,
    target: Objects,
    *,
    ids: Sequence[int] | None = None,
    limit: int | None = None,
    attributes: Mapping[str, Any] = PUBLISHED,
    kind: LibraryKind = PUBLISHED_KIND,
    scheduler: Scheduler = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Write a source into a library, or go on where an earlier run of the same thing stopped.

    Parameters
    ----------
    source : Source
        Where instances come from.
    target : Objects
        Where the library goes.
    ids, limit
        Narrow the source to these ids, or to its first instances.
    attributes : mapping
        What the library's root says of the data: title, license, citation.
    kind : LibraryKind
        Which arrays the library has, and what it says of them.
    scheduler : str, distributed.Client or None
        As `msl_store.blockwise.run_blocks` takes it.
    overwrite : bool
        Replace another library at the target.
    progress : callable
        Called with a `Progress` when the plan is made and after every block.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        The target holds a library of something else, or the source has changed since the first run.
    BusyError
        Another run is writing to the target.
    MissingError
        The source has no instances, or not those asked for.
    """
    began = time.perf_counter()
    listing = select_entries(source.listing(), ids=ids, limit=limit)
    entries = listing.entries
    if not entries:
        reasons = "; ".join(map(str, listing.findings[:3]))
        raise MissingError(f"{source.name}: holds no instances{': ' + reasons if reasons else ''}; check the location")
    layout = library_layout(entries, kind.arrays)
    plan = _plan(entries, attributes)
    publication = Publication(target, layout, plan, plan["source_digest"])
    origins = sorted({entry.origin for entry in entries})
    with publication.claimed(overwrite=overwrite) as state:
        if state == "published":
            return Report("published", len(entries), seconds=time.perf_counter() - began)
        finished = publication.finished_blocks()
        todo = [block for block in range(layout.blocks) if block not in finished]
        tally = _Tally(layout, len(finished), sum(len(layout.rows(block)) for block in finished), progress)
        tally.say()
        tasks = {
            block: bound(ingest_block, source, _mine(entries, layout, block), origins, layout, target, block, kind)
            for block in todo
        }
        run_blocks(tasks, scheduler=scheduler, done=lambda outcome: tally.add(outcome.block, outcome.value))
        records = publication.records()
        findings = _findings(listing, records)
        columns = _columns(layout, records, findings, kind)
        publication.publish(
            columns, {**_root_attributes(origins, columns, plan, kind), **attributes}, _groups(origins, columns, kind)
        )
    complete, partial, set_aside = np.bincount(columns["instances/status"], minlength=len(schema.STATUS)).tolist()
    seconds = time.perf_counter() - began
    return Report(state, len(entries), complete, partial, set_aside, tally.stored_bytes, seconds, tuple(findings))


class _Tally:
    """Counts what is done and reports it."""

    def __init__(self, layout: Layout, blocks: int, instances: int, report: Callable[[Progress], None]) -> None:
        self._layout = layout
        self._blocks = blocks
        self._instances = instances
        self._report = report
        self._all_bytes = layout.nbytes
        self.stored_bytes = 0

    def add(self, block: int, stored: int | None) -> None:
        """Count one block."""
        if stored is None:
            return
        self._blocks += 1
        self._instances += len(self._layout.rows(block))
        self.stored_bytes += stored
        self.say()

    def say(self) -> None:
        """Report."""
        self._report(
            Progress(
                self._blocks,
                self._layout.blocks,
                self._instances,
                self._layout.instances,
                self.stored_bytes,
                self._all_bytes,
            )
        )


def library_layout(entries: Sequence[Entry], arrays: tuple[schema.ArraySpec, ...] = schema.ARRAYS) -> Layout:
    """Return the layout of a library of some entries."""
    return Layout(
        len(entries),
        library_sizes(),
        tuple(entry.vertex_count for entry in entries),
        tuple(entry.face_count for entry in entries),
        arrays,
    )


def _mine(entries: Sequence[Entry], layout: Layout, block: int) -> Sequence[Entry]:
    rows = layout.rows(block)
    return entries[rows.start : rows.stop]


def _plan(entries: Sequence[Entry], attributes: Mapping[str, Any]) -> dict[str, Any]:
    state = hashlib.sha256(json.dumps([schema.SCHEMA_VERSION, dict(attributes)], sort_keys=True).encode())
    for entry in entries:
        state.update(f"{entry.id} {entry.vertex_count} {entry.face_count} {entry.digest}\n".encode())
    return {"source_digest": state.hexdigest(), "instances": len(entries), "attributes": dict(attributes)}


def _findings(listing: Listing, records: Sequence[Mapping[str, Any]]) -> list[Finding]:
    found = [Finding(**finding) for record in records for finding in record["findings"]]
    return sorted({*listing.findings, *found}, key=lambda finding: (finding.place, finding.reason))


def _columns(
    layout: Layout, records: Sequence[Mapping[str, Any]], findings: Sequence[Finding], kind: LibraryKind
) -> dict[str, np.ndarray[Any, Any]]:
    """Return every column of the library by path."""
    text = json.dumps([asdict(finding) for finding in findings]).encode()
    columns: dict[str, np.ndarray[Any, Any]] = {
        "instances/findings": np.frombuffer(text, np.uint8),
        "mesh/vertex_start": layout.starts("mesh/vertices")[0],
        "mesh/face_start": layout.starts("mesh/faces")[0],
        "images/rotation": np.array(kind.rotations),
    }
    for spec in layout.arrays:
        if spec.kind == "column" and spec.path not in {*columns, "instances/split"}:
            columns[spec.path] = joined(records, spec.path, spec.dtype)
    columns["instances/split"] = split_of(columns["instances/id"].tolist())
    return columns


def _root_attributes(
    origins: Sequence[str], columns: Mapping[str, np.ndarray[Any, Any]], plan: Mapping[str, Any], kind: LibraryKind
) -> dict[str, Any]:
    digests = (digest.tobytes() for digest in columns["instances/digest"])
    return {
        "msl_schema_version": schema.SCHEMA_VERSION,
        "edition": kind.edition,
        "voxel_um": kind.voxel_um,
        "source": ", ".join(origins),
        "source_digest": plan["source_digest"],
        "digest": joint_digest(columns["instances/id"].tolist(), digests),
        "software": software(),
        **kind.provenance,
    }


def _groups(
    origins: Sequence[str], columns: Mapping[str, np.ndarray[Any, Any]], kind: LibraryKind
) -> dict[str, dict[str, Any]]:
    return {
        "instances": {
            "origins": list(origins),
            "splits": list(SPLITS),
            "split_rule": RULE,
            **schema.instance_attributes(columns["instances/id"], columns["instances/status"]),
        },
        "images": kind.attributes_of_images(),
    }
