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
from msl_store.layout import Layout
from msl_store.schema import BLOCK
from msl_store.store import BlockWriter, Publication, commit_block, joined, locate
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
        As `msl_store.simulate` returns it, or a selection of it; dims (instance, view, [z,] y, x).
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
    if not isinstance(provenance, dict) or images.dims[:2] != ("instance", "view") or images.chunks is None:
        raise UsageError(
            "images: no provenance, or dims other than (instance, view, [z,] y, x), or not lazy; allowed is what "
            "msl_store.simulate returns, and selections of it"
        )
    stored = images.transpose("instance", "view", *(("z",) if "z" in images.dims else ()), "y", "x")
    blocks = stored.data.rechunk({0: BLOCK, **dict.fromkeys(range(1, stored.ndim), -1)})
    layout = _layout(stored)
    chosen = [provenance["views"].index(view) for view in stored["view"].values.tolist()]
    plan = _plan(stored, provenance)
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

        ids = stored["instance"].values
        present = stored["present"].transpose("instance", "view").values
        tasks = {
            block: partial(
                _write_block,
                blocks.blocks[block],
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
        columns = _columns(layout, publication.records(), np.array(provenance["rotations"])[chosen])
        publication.publish(columns, _attributes(stored, provenance, columns), _groups(stored, provenance, columns))
    return Written(state, layout.instances, counted, time.perf_counter() - began)


def _layout(images: xr.DataArray) -> Layout:
    sizes = {str(dim): int(extent) for dim, extent in images.sizes.items() if dim != "instance"}
    specs = schema.edition_arrays(planes="z" in images.dims, dtype=str(images.dtype))
    return Layout(images.sizes["instance"], {"microscope": 1, **sizes}, arrays=specs)


def _plan(images: xr.DataArray, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the edition depends on; dask's name of the images stands for their whole computation."""
    labels = {name: images[name].values.tolist() for name in ("instance", "view", "z") if name in images.coords}
    text = json.dumps([schema.SCHEMA_VERSION, images.data.name, labels, provenance], sort_keys=True)
    return {"images": hashlib.sha256(text.encode()).hexdigest(), "provenance": dict(provenance)}


def _write_block(
    images: Any, ids: NDArray[np.int64], present: NDArray[np.bool_], layout: Layout, target: Objects, block: int
) -> int:
    """Compute one block in this thread and write it; return the bytes written."""
    values = images.compute(scheduler="synchronous")
    writer = BlockWriter(layout, block)
    (spec,) = (spec for spec in layout.arrays if spec.kind == "rows")
    columns: dict[str, list[Any]] = {}
    for row, instance, image, there in zip(layout.rows(block), ids.tolist(), values, present, strict=True):
        writer.put(spec.path, row, image[None], present=there[None])
        status = "complete" if there.all() else "partial" if there.any() else "set_aside"
        for path, value in {
            "instances/id": instance,
            "instances/status": schema.STATUS.index(status),
            "instances/has_images": bool(there.all()),
            "instances/digest": list(instance_digest(images=image[None], present=there[None])),
            "images/present": [there.tolist()],
        }.items():
            columns.setdefault(path, []).append(value)
    return commit_block(target, block, writer, {"columns": columns})


def _columns(layout: Layout, records: list[dict[str, Any]], rotations: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {
        "instances/findings": np.frombuffer(b"[]", np.uint8),
        "images/rotation": rotations[None],
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
        "title": f"Images simulated with {provenance['microscope']['name']} ({provenance['mode']})",
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
    planes = {"z_um": images["z"].values.tolist()} if "z" in images.dims else {}
    return {
        "instances": schema.instance_attributes(columns["instances/id"], columns["instances/status"]),
        "images": {
            "microscopes": [provenance["microscope"]],
            "views": images["view"].values.tolist(),
            **planes,
        },
    }
