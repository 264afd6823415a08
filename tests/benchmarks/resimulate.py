"""Re-simulate a whole library, 18 images an instance, from S3 to S3 on a dask cluster: what an image costs.

Everything counts: reading meshes, labelling, making plans, imaging, noise, compression, writing, dask. The S3 server of
the tests runs on the same cores and is counted apart. Goals: at most 15 core-milliseconds an image, so that the 490,896
images of 3DMSL take an hour on two cores; two worker processes at least 1.8 times as fast as one.

    python tests/benchmarks/resimulate.py [--instances 528] [--json]
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, show
from servers.cluster import Cluster
from servers.s3 import S3Server
from shapes_source import ShapesSource

import msl_store as msl
from ingest.procedural import KINDS
from ingest.repack import ingest
from msl_store.edition import write_edition
from msl_store.schema import MICROSCOPES
from msl_store.store import locate

PUBLISHED_IMAGES = 27_272 * 18

STAGES = {
    "read meshes": ("/library.py", "instances"),
    "label": ("/exposure.py", "emitters_of"),
    "make plans": ("/plan.py", "make_plan"),
    "spread and transform": ("/batch.py", "_modes"),
    "finish images": ("/batch.py", "_image"),
    "noise": ("/exposure.py", "_counts"),
    "compress": ("/writing.py", "put"),
    "digests": ("/digest.py", "instance_digest"),
    "store objects": ("/publication.py", "commit_block"),
}
"""Functions, by file and name, whose cumulative time is a stage's; none calls another of them."""


def run(instances: int) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Return a row a run and the goals."""
    rows = []
    with S3Server() as server:
        bucket = server.create_bucket("resimulate")
        options = bucket.storage_options
        target = locate(f"{bucket.url}/library.zarr", options)
        ingest(ShapesSource(instances, KINDS), target, attributes={"title": "shapes", "license": "CC0-1.0"})
        library = msl.open(target.url, options)
        images = msl.simulate(library, MICROSCOPES, seed=7)
        count = int(images.present.sum())
        for workers in (1, 2):
            with Cluster(workers) as cluster, cluster.client() as client:
                client.run(_warm_up)
                others = {"workers": list(cluster.worker_pids().values()), "server": [server.process.pid]}
                before, began = _cpu_s(others), time.perf_counter()
                write_edition(images, f"{bucket.url}/on-{workers}.zarr", options, scheduler=client)
                wall, after = time.perf_counter() - began, _cpu_s(others)
            spent = {who: after[who] - before[who] for who in after}
            rows.append(
                {
                    "run": f"{workers} worker process{'es' if workers > 1 else ''}",
                    "instances": int(library.has_part("mesh").sum()),
                    "images": count,
                    "wall_s": wall,
                    "images_per_s": count / wall,
                    "core_ms_per_image": 1000 * (spent["workers"] + spent["client"]) / count,
                    "of_that_client": 1000 * spent["client"] / count,
                    "server_core_ms": 1000 * spent["server"] / count,
                }
            )
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            profile = pool.submit(_profile, target.url, options, f"{bucket.url}/alone.zarr").result()
    one, two = rows
    cost = max(one["core_ms_per_image"], two["core_ms_per_image"])
    goals = [
        Goal("core-ms an image, all included", cost, 15),
        Goal("the whole of 3DMSL, hours on two cores", PUBLISHED_IMAGES * cost / 2 / 3.6e6, 1.03),
        Goal("two worker processes over one", one["wall_s"] / two["wall_s"], 1.8, at_least=True),
    ]
    return [*rows, *profile], goals


def _cpu_s(others: dict[str, list[int]]) -> dict[str, float]:
    """Return the processor time used so far, of this process (client and scheduler) and of others."""
    spent = {who: sum(_used(pid) for pid in pids) for who, pids in others.items()}
    return {**spent, "client": _used(psutil.Process().pid)}


def _used(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _profile(url: str, options: dict[str, Any], target: str) -> list[dict[str, Any]]:
    """Profile the first four blocks in this process; return a row a stage."""
    _warm_up()
    images = msl.simulate(msl.open(url, options).select(first=256), MICROSCOPES, seed=7)
    count = int(images.present.sum())
    profiler = cProfile.Profile()
    profiler.enable()
    write_edition(images, target, options, scheduler="synchronous")
    profiler.disable()
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    rows, rest = [], total
    for stage, (file, function) in STAGES.items():
        spent = sum(
            cumulative for (path, _, name), (_, _, _, cumulative, _) in stats.items()
            if path.endswith(file) and name == function
        )  # fmt: skip
        rest -= spent
        rows.append(
            {"run": f"profile, one process: {stage}", "images": count, "wall_s": spent, "ms": spent * 1e3 / count}
        )
    return [*rows, {"run": "profile, one process: rest", "images": count, "wall_s": rest, "ms": rest * 1e3 / count}]


def _warm_up() -> None:
    """Load what a worker needs, so that the figures are not those of the first import."""
    import msl_store.edition
    import msl_store.simulation  # noqa: F401


def main() -> None:
    """Print the figures; exit with 1 where a goal is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=528)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows, goals = run(arguments.instances)
    show("Re-simulate a library from S3 to S3", rows, goals, as_json=arguments.json)


if __name__ == "__main__":
    main()
