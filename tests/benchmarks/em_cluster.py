"""A volume on S3 becomes a library on S3 by two dask worker processes, killed and resumed on the way.

``python tests/benchmarks/em_cluster.py [--json] [--size 384] [--dust 500] [--seed 0]``

`msl-ingest em` runs against a dask cluster of two processes, both volume and library in a bucket. It gets SIGKILL
(``kill -9``) while it labels, while it meshes and while it writes the library, each time once some of that is done; in
between a worker is killed, which dask replaces. After each kill the library must not open, and the same command goes
on. In the end all objects of the library are compared, by name and content, with those of a run that nobody disturbed,
and nothing else may be left at the target.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, show
from servers.cluster import Cluster
from servers.s3 import S3Server

import msl_store as msl
from ingest.em.synthetic import write_sample_volume
from msl_store.console import PARTIAL_EXIT
from msl_store.errors import MissingError
from msl_store.store import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from servers.s3 import Bucket

    from msl_store.store import Objects

MAIN = "from ingest.cli import main; main()"
WAIT_S = 280.0
"""Longer than any stage takes."""

KILLS = {"labels": 3, "meshes": 5, "blocks": 1}
"""What is killed, and after how many pieces of it are done."""


def started(bucket: Bucket, name: str, scheduler: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start an ingest in a process group of its own."""
    there = bucket.storage_options
    given = [
        f"{flag}={key}={json.dumps(value)}" for flag in ("--option", "--source-option") for key, value in there.items()
    ]
    command = [sys.executable, "-c", MAIN, "-q", "em", f"{bucket.url}/volume.zarr", f"{bucket.url}/{name}"]
    return subprocess.Popen(
        [*command, "--scheduler", scheduler, *options, *given],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait until an ingest has ended by itself; an error that it ends with is raised."""
    _, said = process.communicate(timeout=WAIT_S)
    if process.returncode not in (0, PARTIAL_EXIT):
        raise RuntimeError(f"msl-ingest em ended with {process.returncode}: {said.decode()[-2000:]}")


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill an ingest as ``kill -9`` does, and wait until it is gone."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def done(target: Objects, stage: str) -> int:
    """Return how many pieces of a stage a target has."""
    if stage == "blocks":
        return len(target.list("_unpublished/blocks"))
    return sum(f"/em/{stage}-" in path and "/done/" in path for path, _ in target.list("_unpublished/em"))


def opens(target: Objects) -> bool:
    """Whether there is a library at a target."""
    try:
        msl.open(target.url, target.storage_options)
    except MissingError:
        return False
    return True


def contents(target: Objects) -> dict[str, str]:
    """Return the SHA-256 of every object at a target by its name."""
    return {path: hashlib.sha256(target.get(path)).hexdigest() for path, _ in target.list()}


def run(size: int, options: Sequence[str], *, seed: int = 0, kills: dict[str, int] = KILLS) -> dict[str, Any]:
    """Make the volume, disturb a run, leave another alone, and compare."""
    with S3Server() as server, Cluster(2) as cluster:
        bucket = server.create_bucket("em-cluster")
        place = locate(f"{bucket.url}/volume.zarr", bucket.storage_options)
        write_sample_volume(place, (size, size, size), seed=seed, scheduler="threads")
        disturbed = locate(f"{bucket.url}/disturbed.zarr", bucket.storage_options)
        rows: list[dict[str, Any]] = []
        for stage, count in kills.items():
            process = started(bucket, "disturbed.zarr", cluster.address, options)
            deadline = time.monotonic() + WAIT_S
            while done(disturbed, stage) < count and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            ended = process.poll() is not None
            kill(process) if not ended else finish(process)
            rows.append(
                {
                    "killed while": stage,
                    "done": done(disturbed, stage),
                    "opens": opens(disturbed),
                    "ended before": ended,
                }
            )
            if stage == "meshes":
                cluster.kill_worker()
        began = time.perf_counter()
        finish(started(bucket, "disturbed.zarr", cluster.address, options))
        resumed_s = time.perf_counter() - began
        began = time.perf_counter()
        finish(started(bucket, "alone.zarr", cluster.address, options))
        whole_s = time.perf_counter() - began
        alone = locate(f"{bucket.url}/alone.zarr", bucket.storage_options)
        found, expected = contents(disturbed), contents(alone)
        library = msl.open(disturbed.url, disturbed.storage_options)
        return {
            "kills": rows,
            "instances": len(library),
            "objects": len(expected),
            "differing objects": sum(found.get(path) != expected.get(path) for path in {*found, *expected}),
            "left over": sum(path.startswith("_unpublished") for path in found),
            "last run s": resumed_s,
            "undisturbed run s": whole_s,
        }


def main() -> None:
    """Print the figures; exit with 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--dust", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = run(given.size, ["--block", "128", "--dust", str(given.dust)], seed=given.seed)
    goals = [
        Goal("kills that came in time", sum(not row["ended before"] for row in found["kills"]), 3, at_least=True),
        Goal("unfinished libraries that open", sum(row["opens"] for row in found["kills"]), 0),
        Goal("objects that differ from those of an undisturbed run", found["differing objects"], 0),
        Goal("objects left over", found["left over"], 0),
    ]
    sums = {name: value for name, value in found.items() if name != "kills"}
    show("killed and resumed, S3 to S3", [*found["kills"], sums], goals, as_json=given.json)


if __name__ == "__main__":
    main()
