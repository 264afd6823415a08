"""Write simulated images as a library of their own, an edition: block by block, resumable, with provenance."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store import schema
from msl_store.blockwise import Outcome, run_blocks
from msl_store.digest import instance_digest, joint_digest
from msl_store.errors import UsageError
from msl_store.layout import Layout, blocks_of
from msl_store.store import BlockWriter, Publication, commit_block, joined, locate, put_shards
from msl_store.version import software

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    import xarray as xr
    from numpy.typing import NDArray

    from msl_store.blockwise import Scheduler
    from msl_store.store import Objects


@dataclass(frozen=True)
class Written:
    """What a write did: ``state`` (``new``, ``resumed``, or ``published`` where there was nothing to do) and sizes."""

    state: str
    instances: int
    stored_bytes: int
    seconds: float


def write_edition(
    images: xr.DataArray,
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    scheduler: Scheduler = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Written:
    """Compute simulated images and write them as an edition, or go on where an earlier run stopped.

    Parameters
    ----------
    images : xarray.DataArray
        As `msl_store.simulate` returns it, or a selection of it; dims (instance,
        [microscope,] view, [frame,] [z,] y, x).
    url, storage_options
        Where the edition goes, as `msl_store.open` takes them.
    scheduler : str, distributed.Client or None
        ``"threads"``, ``"processes"``, ``"synchronous"``, a cluster's address or a client. With None, the client in
        force if there is one, else threads. Workers read the source and write the edition themselves.
    overwrite : bool
        Replace another library at the target.
    progress : callable
        Called with the blocks done and the number of blocks.

    Returns
    -------
    Written

    Raises
    ------
    UsageError
        The images do not say how they were made, or the target holds something else.
    BusyError
        Another run is writing to the target.
    """
    began = time.perf_counter()
    provenance = images.attrs.get("provenance")
    if not isinstance(provenance, dict) or not {"instance", "view"} <= set(images.dims) or images.chunks is None:
        raise UsageError(
            "images: no provenance, or dims other than (instance, [microscope,] view, [frame,] [z,] y, x), or not lazy;"
            " allowed is what msl_store.simulate returns, and selections of it"
        )
    stored = _by_microscope(images)
    layout = _layout(stored)
    parts = _parts(stored, layout)
    plan = _plan(images, provenance)
    target = locate(url, storage_options)
    publication = Publication(target, layout, plan, plan["images"])
    counted = 0
    with publication.claimed(overwrite=overwrite) as state:
        if state == "published":
            return Written("published", layout.instances, 0, time.perf_counter() - began)
        finished = publication.finished_blocks()
        done = len(finished)
        progress(done, layout.blocks)

        def tell(outcome: Outcome[int]) -> None:
            nonlocal counted, done
            if outcome.value is not None:
                counted += outcome.value
                done += 1
                progress(done, layout.blocks)

        ids, present = stored["instance"].values, stored["present"].values
        tasks = {
            block: partial(
                _write_block,
                parts[block],
                ids[list(layout.rows(block))],
                present[list(layout.rows(block))],
                layout,
                target,
                block,
            )
            for block in range(layout.blocks)
            if block not in finished
        }
        run_blocks(tasks, scheduler=scheduler, done=tell)
        columns = _columns(layout, publication.records(), _rotations(stored, provenance))
        publication.publish(columns, _attributes(stored, provenance, columns), _groups(stored, provenance, columns))
    return Written(state, layout.instances, counted, time.perf_counter() - began)


def _by_microscope(images: xr.DataArray) -> xr.DataArray:
    """Return images, and whether they are present, with the dimensions that an edition has."""
    if "microscope" not in images.dims:
        present = images["present"].drop_vars("microscope").expand_dims(microscope=[images["microscope"].item()])
        images = images.drop_vars("present").expand_dims("microscope").assign_coords(present=present)
    lead = ("instance", "microscope", "view")
    between = [dim for dim in ("frame", "z") if dim in images.dims]
    present = images["present"].transpose(*lead)
    return images.transpose(*lead, *between, "y", "x").assign_coords(present=(lead, present.values))


def _layout(images: xr.DataArray) -> Layout:
    sizes = {str(dim): int(extent) for dim, extent in images.sizes.items() if dim != "instance"}
    specs = schema.edition_arrays(planes="z" in sizes, frames="frame" in sizes, dtype=str(images.dtype))
    return Layout(images.sizes["instance"], sizes, arrays=specs)


def _parts(images: xr.DataArray, layout: Layout) -> list[list[Any]]:
    """Return every block's images as dask arrays, one a shard."""
    (shard,) = (layout.array(spec).shard for spec in layout.arrays if spec.kind == "rows")
    rows = shard[0] if shard else 1
    lazy = images.data.rechunk({0: blocks_of(layout.instances, rows), **dict.fromkeys(range(1, images.ndim), -1)})
    return [
        [lazy.blocks[row // rows] for row in range(block.start, block.stop, rows)]
        for block in map(layout.rows, range(layout.blocks))
    ]


def _plan(images: xr.DataArray, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the edition depends on; dask's name of the images stands for their whole computation."""
    names = ("instance", "microscope", "view", "frame", "z")
    labels = {name: images[name].values.tolist() for name in names if name in images.coords}
    text = json.dumps([schema.SCHEMA_VERSION, images.data.name, labels, provenance], sort_keys=True)
    return {"images": hashlib.sha256(text.encode()).hexdigest(), "provenance": dict(provenance)}


def _write_block(
    parts: list[Any], ids: NDArray[np.int64], present: NDArray[np.bool_], layout: Layout, target: Objects, block: int
) -> int:
    """Compute one block in this thread and write it, a shard at a time; return the bytes written."""
    writer = BlockWriter(layout, block)
    (spec,) = (spec for spec in layout.arrays if spec.kind == "rows")
    columns: dict[str, list[Any]] = {}
    rows = zip(layout.rows(block), ids.tolist(), present, strict=True)
    written = 0
    for part in parts:
        for image, (row, instance, there) in zip(part.compute(scheduler="synchronous"), rows, strict=False):
            writer.put(spec.path, row, image, present=there)
            status = "complete" if there.all() else "partial" if there.any() else "set_aside"
            for path, value in {
                "instances/id": instance,
                "instances/status": schema.STATUS.index(status),
                "instances/has_images": bool(there.all()),
                "instances/digest": list(instance_digest(images=image, present=there)),
                "images/present": there.tolist(),
            }.items():
                columns.setdefault(path, []).append(value)
        written += put_shards(target, writer)
    return written + commit_block(target, block, writer, {"columns": columns})


def _rotations(images: xr.DataArray, provenance: Mapping[str, Any]) -> NDArray[np.float64]:
    microscopes = [microscope["name"] for microscope in _microscopes(images, provenance)]
    every = [microscope["name"] for microscope in provenance["microscopes"]]
    views = [provenance["views"].index(view) for view in images["view"].values.tolist()]
    return np.array(provenance["rotations"])[[every.index(name) for name in microscopes]][:, views]


def _microscopes(images: xr.DataArray, provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    by_name = {microscope["name"]: microscope for microscope in provenance["microscopes"]}
    return [by_name[name] for name in images["microscope"].values.tolist()]


def _columns(layout: Layout, records: list[dict[str, Any]], rotations: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "instances/findings": np.frombuffer(b"[]", np.uint8),
        "images/rotation": rotations,
    }
    for spec in layout.arrays:
        if spec.kind == "column" and spec.path not in columns:
            columns[spec.path] = joined(records, spec.path, spec.dtype)
    return columns


def _attributes(
    images: xr.DataArray, provenance: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    digests = (digest.tobytes() for digest in columns["instances/digest"])
    return {
        "msl_schema_version": schema.SCHEMA_VERSION,
        "title": f"Images simulated with {', '.join(images['microscope'].values)} ({provenance['mode']})",
        "edition": "simulated",
        "license": images.attrs.get("license", ""),
        "citation": images.attrs.get("citation", ""),
        "source_digest": provenance["source_digest"],
        "provenance": dict(provenance),
        "digest": joint_digest(columns["instances/id"].tolist(), digests),
        "software": software(),
    }


def _groups(
    images: xr.DataArray, provenance: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]
) -> dict[str, dict[str, Any]]:
    places = {
        name: images[coordinate].values.tolist()
        for name, coordinate in (("z_um", "z"), ("frames", "frame"), ("time_s", "time_s"))
        if coordinate in images.coords and images[coordinate].ndim
    }
    return {
        "instances": schema.instance_attributes(columns["instances/id"], columns["instances/status"]),
        "images": {
            "microscopes": _microscopes(images, provenance),
            "views": images["view"].values.tolist(),
            **places,
        },
    }
