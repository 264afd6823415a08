"""Count the requests, round trips and bytes of a cold start: the tree, and everything of one instance.

``python tests/benchmarks/cold_open.py [--json] [--delay-ms 30] [--rows 27272]``

A sample is ingested, served by nginx, and read through a proxy that delays and counts. Then the same at the published
library's size: all columns have that many rows, and only the block that is read from is stored. Every figure is that
of a new process that opens the library and does one thing; ``stored`` are the bytes of exactly the chunks of one
instance, in the shards that hold them, and all bytes of the process are compared with them, its metadata included.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, fresh, show
from benchmarks.sample_archives import add_options, sample
from servers.proxy import DelayProxy
from servers.request_log import round_trips
from servers.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from msl_store.store import Store

BLOCK = 200
"""The block that is stored of the library of the published size."""

SHARDED = (
    "mesh/vertices", "mesh/faces", "point_cloud/points", "point_cloud/normals", "occupancy/points",
    "occupancy/inside_bits", "images/counts",
)  # fmt: skip


def opened(url: str, _row: int) -> str:
    """Open a library."""
    import msl_store

    return repr(msl_store.open(url))


def opened_tree(url: str, _row: int) -> str:
    """Open a library's tree and look at it."""
    import msl_store

    return repr(msl_store.open(url).tree)


def opened_instance(url: str, row: int) -> str:
    """Open a library and read everything of one instance."""
    import msl_store

    library = msl_store.open(url)
    instance = library.instance(int(library.ids[row]))
    if any(part is None for part in (instance.mesh, instance.point_cloud, instance.occupancy, instance.images)):
        raise AssertionError(f"row {row} is not a whole instance")
    return f"{instance.id}"


def zarr_tree(url: str, _row: int) -> str:
    """Open the same tree with xarray and zarr alone."""
    return repr(_datatree(url))


def zarr_instance(url: str, row: int) -> str:
    """Read the same instance with xarray and zarr alone."""
    tree = _datatree(url)
    mesh = tree["mesh"].to_dataset()
    for name, dim in (("vertices", "vertex"), ("faces", "face")):
        start, count = int(mesh[f"{dim}_start"][row]), int(mesh[f"{dim}_count"][row])
        mesh[name].isel({dim: slice(start, start + count)}).load()
    for group in ("point_cloud", "occupancy", "images"):
        tree[group].to_dataset().isel(instance=row).load()
    return f"{int(tree['instances']['id'][row])}"


def _datatree(url: str) -> Any:
    import xarray as xr
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    store = ObjectStore(HTTPStore.from_url(url, client_options={"allow_http": True}), read_only=True)
    return xr.open_datatree(store, engine="zarr", consolidated=True, zarr_format=3, chunks=None)  # type: ignore[arg-type]


def stored_bytes(folder: Path, store: Store, row: int) -> int:
    """Return the size of exactly the chunks of one instance in the shards."""
    index = store.columns([f"mesh/{name}_{what}" for name in ("vertex", "face") for what in ("start", "count")])
    total = 0
    for path in SHARDED:
        array = store.array(path)
        first, count = row, 1
        if array.dims[0] in {"vertex", "face"}:
            first, count = (int(index[f"mesh/{array.dims[0]}_{what}"][row]) for what in ("start", "count"))
        rows = range(first // array.chunk[0], (first + count - 1) // array.chunk[0] + 1)
        inner = [-(-extent // chunk) for extent, chunk in zip(array.shape[1:], array.chunk[1:], strict=True)]
        for chunk in rows:
            for place in np.ndindex(*inner):
                name, number = array.object_of([chunk, *place])
                total += int(np.fromfile(folder / name, "<u8", 2, offset=16 * number)[1])
    return total


def write_published_size(zips: list[Path], folder: Path, rows: int) -> None:
    """Write a library of the published size with the sample's first block in its middle, and columns for all."""
    from ingest.archive import open_source
    from ingest.repack import ingest_block, library_layout
    from msl_store import schema
    from msl_store.layout import Layout
    from msl_store.store import Publication, joined, locate

    source = open_source([str(path) for path in zips])
    entries = source.listing().entries[: schema.BLOCK]
    least = (BLOCK + 1) * schema.BLOCK
    if len(entries) < schema.BLOCK or rows < least:
        raise SystemExit(f"--instances {len(entries)} --rows {rows}: allowed are {schema.BLOCK} and {least} or more")
    layout = library_layout(entries)
    rng = np.random.default_rng(0)
    spread = rng.lognormal(0, 0.5, rows)
    here = slice(BLOCK * schema.BLOCK, (BLOCK + 1) * schema.BLOCK)
    counts = []
    for known in (layout.vertex_counts, layout.face_counts):
        drawn = np.maximum(np.mean(known) * spread, 100).astype(int)
        drawn[here] = known
        counts.append(tuple(drawn.tolist()))
    layout = Layout(rows, layout.sizes, *counts)
    target = locate(folder)
    publication = Publication(target, layout, {"rows": rows}, f"published size {rows}")
    with publication.claimed():
        ingest_block(source, entries, sorted({entry.origin for entry in entries}), layout, target, BLOCK)
        record = publication.objects.get(f"_unpublished/blocks/{BLOCK:06d}.json")
        columns = _columns(layout, record, joined, rng)
        groups = {
            "instances": {
                "origins": [f"part{n}.zip" for n in range(10)],
                **schema.instance_attributes(columns["instances/id"], columns["instances/status"]),
            },
            "images": {"microscopes": [{"name": name} for name in schema.MICROSCOPES], "views": list(schema.VIEWS)},
        }
        publication.publish(columns, {"msl_schema_version": schema.SCHEMA_VERSION, "title": "published size"}, groups)


def _columns(layout: Any, record: bytes, joined: Callable[..., Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return columns for all rows: those of the one block again and again, where rows do not differ by nature.

    One id in twenty is not there.
    """
    import json

    columns: dict[str, Any] = {
        "instances/id": np.sort(rng.choice(np.arange(1, layout.instances * 21 // 20), layout.instances, replace=False)),
        "instances/split": np.zeros(layout.instances, np.uint8),
        "instances/digest": rng.integers(0, 256, (layout.instances, 32), np.uint8),
        "instances/findings": np.frombuffer(b"[]", np.uint8),
        "images/rotation": np.zeros((3, 6, 3, 3)),
    }
    for name, counts in (("vertex", layout.vertex_counts), ("face", layout.face_counts)):
        columns[f"mesh/{name}_count"] = np.array(counts)
        columns[f"mesh/{name}_start"] = layout.starts("mesh/vertices" if name == "vertex" else "mesh/faces")[0]
    for spec in layout.arrays:
        if spec.kind == "column" and spec.path not in columns:
            block = joined([json.loads(record)], spec.path, spec.dtype)
            columns[spec.path] = np.resize(block, (layout.instances, *block.shape[1:]))
    return columns


def count(proxy: DelayProxy, work: Callable[[str, int], str], url: str, row: int) -> dict[str, Any]:
    """Do one thing in a new process and say what it asked for."""
    proxy.reset()
    fresh(work, url, row)
    # A request is written down when its answer has gone out, which may be a moment after the client has read it.
    time.sleep(0.1)
    log = proxy.requests()
    return {"requests": len(log), "round_trips": round_trips(log), "bytes": sum(r.sent for r in log)}


def library_rows(proxy: DelayProxy, label: str, folder: Path, rows: list[int]) -> list[dict[str, Any]]:
    """Count what each step takes on one library."""
    import msl_store

    url = f"{proxy.url}/{folder.name}"
    store = msl_store.open(folder).store
    found = [
        {"library": label, "step": name, **count(proxy, work, url, 0)}
        for name, work in (("open", opened), ("tree", opened_tree), ("tree, xarray and zarr", zarr_tree))
    ]
    for row in rows:
        stored = stored_bytes(folder, store, row)
        for name, work in (("instance", opened_instance), ("instance, xarray and zarr", zarr_instance)):
            counted = count(proxy, work, url, row)
            found.append(
                {"library": label, "step": f"{name} (row {row})", **counted, "over stored": counted["bytes"] / stored}
            )
    return found


def goals_of(rows: list[dict[str, Any]]) -> list[Goal]:
    """Judge the counts."""

    def worst(step: str, what: str) -> float:
        return max(float(row[what]) for row in rows if row["step"].startswith(f"{step} (") or row["step"] == step)

    return [
        Goal("requests until the library is open", worst("open", "requests"), 1),
        Goal("requests until its tree is open", worst("tree", "requests"), 1),
        Goal("round trips until an instance is in memory", worst("instance", "round_trips"), 5),
        Goal("bytes until then over the instance's stored bytes", worst("instance", "over stored"), 1.2),
    ]


def main() -> None:
    """Build, serve, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--delay-ms", type=float, default=30.0)
    parser.add_argument("--rows", type=int, default=27_272, help="instances of the larger library")
    add_options(parser, instances=72, archives=2)
    options = parser.parse_args()
    with ExitStack() as held:
        zips, work = held.enter_context(sample(options))
        fresh(partial(_ingest, [str(path) for path in zips], str(work / "sample.zarr"), options.instances))
        fresh(write_published_size, zips, work / "published_size.zarr", options.rows)
        web = held.enter_context(WebServer(work))
        proxy = held.enter_context(DelayProxy(web.url, delay_s=options.delay_ms / 1e3))
        kinds = list(range(6))  # the sample's kinds of shape come in turn: their sizes differ most
        rows = library_rows(proxy, f"{options.instances} rows", work / "sample.zarr", kinds)
        there = [BLOCK * 64 + kind for kind in kinds]
        rows += library_rows(proxy, f"{options.rows} rows", work / "published_size.zarr", there)
    show("cold start, each in a new process", rows, goals_of(rows), as_json=options.json)


def _ingest(zips: list[str], library: str, limit: int) -> None:
    from ingest.archive import open_source
    from ingest.repack import ingest
    from msl_store.store import locate

    ingest(open_source(zips), locate(library), limit=limit)


if __name__ == "__main__":
    main()
