"""A dask cluster of separate worker processes simulates straight from a library on S3 and writes to S3.

Shows that its bits are those of the synchronous scheduler, also with a worker killed midway (`resimulate.py` times).

    python tests/benchmarks/cluster.py [--instances 256] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from servers.cluster import Cluster
from servers.s3 import S3Server
from shapes_source import ShapesSource

import msl_store as msl
from ingest.procedural import KINDS
from ingest.repack import ingest
from msl_store.edition import write_edition
from msl_store.store import locate


def run(instances: int) -> dict[str, Any]:
    """Return the figures."""
    with S3Server() as server, tempfile.TemporaryDirectory() as folder:
        bucket = server.create_bucket("cluster")
        options = bucket.storage_options
        target = locate(f"{bucket.url}/library.zarr", options)
        ingest(ShapesSource(instances, KINDS), target, attributes={"title": "shapes", "license": "CC0-1.0"})
        library = msl.open(target.url, options)
        images = msl.simulate(library, "conf2", seed=7)
        seconds = {}
        began = time.perf_counter()
        write_edition(images, Path(folder) / "alone.zarr", scheduler="synchronous")
        seconds["synchronous"] = time.perf_counter() - began
        killed: list[int] = []
        for workers in (1, 2):
            with Cluster(workers) as cluster, cluster.client() as client:
                client.run(_warm_up)
                began = time.perf_counter()
                write_edition(images, f"{bucket.url}/on-{workers}.zarr", options, scheduler=client)
                seconds[f"{workers} worker processes"] = time.perf_counter() - began
        with Cluster(2) as cluster, cluster.client() as client:
            timer = threading.Timer(seconds["2 worker processes"] / 2, lambda: killed.append(cluster.kill_worker()))
            timer.start()
            write_edition(images, f"{bucket.url}/killed.zarr", options, scheduler=client)
            timer.join()
        reference = _objects(Path(folder) / "alone.zarr")
        same = {
            name: _objects(f"{bucket.url}/{name}.zarr", options) == reference for name in ("on-1", "on-2", "killed")
        }
    count = images.size // (128 * 128)
    return {
        "instances": len(library),
        "blocks": len(images.chunks[0]),
        "images": count,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "workers_killed": len(killed),
        "objects_identical_to_synchronous": same,
    }


def _objects(url: str | Path, options: dict[str, Any] | None = None) -> dict[str, bytes]:
    place = locate(url, options)
    return {path: place.get(path) for path, _ in place.list()}


def _warm_up() -> None:
    """Load what a worker needs, so that the figures are not those of the first import."""
    import msl_store.simulation  # noqa: F401


def main() -> None:
    """Print the figures; exit with 1 where a bit differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = run(arguments.instances)
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:>34}  {value}")
    sys.exit(0 if all(figures["objects_identical_to_synchronous"].values()) and figures["workers_killed"] else 1)


if __name__ == "__main__":
    main()
