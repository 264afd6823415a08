"""One block of a library from its records: arrays into shards, and what goes into the columns."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.kind import PUBLISHED_KIND, LibraryKind
from msl_store import schema
from msl_store.digest import instance_digest
from msl_store.geometry.morphometrics import measure
from msl_store.shapes import Mesh
from msl_store.store import BlockWriter, commit_block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.record import Entry, Record, Source
    from msl_store.layout import Layout
    from msl_store.store import Objects

MORPHOMETRICS = ("volume_um3", "area_um2", "sphericity", "elongation", "euler_number", "genus", "component_count")


def ingest_block(
    source: Source,
    entries: Sequence[Entry],
    origins: Sequence[str],
    layout: Layout,
    target: Objects,
    block: int,
    kind: LibraryKind = PUBLISHED_KIND,
) -> int:
    """Read one block's entries from the source and write the block's objects; return the bytes written."""
    writer = BlockWriter(layout, block)
    columns: dict[str, list[Any]] = {}
    findings: list[dict[str, Any]] = []
    unknown = _unknown(layout)
    for row, entry, record in zip(layout.rows(block), entries, source.records(entries), strict=True):
        for path, value in {
            **unknown,
            **_write_record(writer, row, record, kind),
            "instances/origin": origins.index(entry.origin),
        }.items():
            columns.setdefault(path, []).append(value)
        findings += [asdict(finding) for finding in record.findings]
    return commit_block(target, block, writer, {"columns": columns, "findings": findings})


def _unknown(layout: Layout) -> dict[str, Any]:
    """Return what stands in the columns that only some libraries have, for an instance without a value there."""
    further = {spec.path for spec in schema.FURTHER_ARRAYS if spec.kind == "column"}
    return {
        spec.path: np.full(layout.array(spec).shape[1:], spec.fill, spec.dtype).tolist()
        for spec in layout.arrays
        if spec.path in further
    }


def _write_record(writer: BlockWriter, row: int, record: Record, kind: LibraryKind) -> dict[str, Any]:
    """Hand one record's arrays to the block's writer and return its columns."""
    mesh = record.mesh
    if mesh is not None:
        mesh = Mesh(np.ascontiguousarray(mesh.vertices, np.float32), mesh.faces)
        writer.put("mesh/vertices", row, mesh.vertices)
        writer.put("mesh/faces", row, mesh.faces)
    cloud = record.point_cloud
    if cloud is not None:
        writer.put("point_cloud/points", row, cloud.points)
        if cloud.normals is not None:
            writer.put("point_cloud/normals", row, cloud.normals)
    occupancy = record.occupancy
    if occupancy is not None:
        writer.put("occupancy/points", row, occupancy.points)
        writer.put("occupancy/inside_bits", row, occupancy.inside_bits)
        writer.put("occupancy/loc", row, occupancy.loc)
        writer.put("occupancy/scale", row, np.asarray(occupancy.scale, np.float64))
    images = record.images
    present = np.zeros((len(schema.MICROSCOPES), len(schema.VIEWS)), np.bool_)
    if images is not None and images.present.any():
        present = images.present
        writer.put("images/counts", row, images.counts, present=present)
    if record.sdf is not None:
        writer.put("sdf/distance", row, record.sdf)
    for edge, grid in (record.voxel_grid or {}).items():
        writer.put(f"voxel_grid/inside_{edge}", row, np.packbits(grid))
    parts = {
        "mesh": mesh is not None,
        "point_cloud": cloud is not None,
        "occupancy": occupancy is not None,
        "images": bool(present.all()),
        "sdf": record.sdf is not None,
        "voxel_grid": record.voxel_grid is not None,
    }
    whole = all(there for group, there in parts.items() if group in kind.groups)
    status = "complete" if whole else "partial" if any(parts.values()) or present.any() else "set_aside"
    return {
        "instances/id": record.id,
        "instances/status": schema.STATUS.index(status),
        "instances/has_mesh": parts["mesh"],
        "instances/has_point_cloud": parts["point_cloud"],
        "instances/has_normals": cloud is not None and cloud.normals is not None,
        "instances/has_occupancy": parts["occupancy"],
        "instances/has_images": parts["images"],
        "instances/has_sdf": parts["sdf"],
        "instances/has_voxel_grid": parts["voxel_grid"],
        **_morphometrics(record.mesh, kind.voxel_um),
        **{f"instances/{name}": value for name, value in record.columns.items()},
        "instances/digest": list(
            instance_digest(
                mesh=mesh,
                point_cloud=cloud,
                occupancy=occupancy,
                images=images.counts if images is not None and present.any() else None,
                present=present if present.any() else None,
                sdf=record.sdf,
                voxel_grid=record.voxel_grid,
            )
        ),
        "mesh/vertex_count": 0 if mesh is None else len(mesh.vertices),
        "mesh/face_count": 0 if mesh is None else len(mesh.faces),
        "images/present": present.tolist(),
    }


def _morphometrics(mesh: Mesh | None, voxel_um: float) -> dict[str, Any]:
    if mesh is None:
        nothing = {f"instances/{name}": math.nan for name in MORPHOMETRICS}
        return {**nothing, "instances/extent_um": [math.nan] * 3, "instances/watertight": False}
    found = measure(mesh.vertices, mesh.faces, voxel_um=voxel_um)
    return {
        **{f"instances/{name}": float(getattr(found, name)) for name in MORPHOMETRICS},
        "instances/extent_um": list(found.extent_um),
        "instances/watertight": found.watertight,
    }
