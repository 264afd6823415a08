"""Streaming a library against the formats that people train from: bytes a step, time to the first batch, samples/s.

The same instances as this library, as the published files unpacked, as uncompressed npz files, and in the shards of
webdataset, mosaicml-streaming and litdata; all from one web server, 30 ms a request, then once more from what each has
cached. The shards are made twice: of whole instances, which is what a library holds, and for the one case that is read
("own"), which is the best that a user can do who knows beforehand what training will read. Loaders run with 0 and
with 2 workers, others twice (plain files, the slowest, once); the better counts, figure by figure.

The peers need an environment of their own, whose Python is given (nothing else of this project is needed there):

    python3 -m venv peers && peers/bin/pip install webdataset mosaicml-streaming litdata torch tifffile trimesh
    python tests/benchmarks/stream_peers.py --peers peers/bin/python [--instances 96] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import sample_archives
from benchmarks.measuring import Goal, show
from servers.proxy import DelayProxy
from servers.web import WebServer

import msl_store as msl
from ingest.archive import open_source
from ingest.repack import ingest
from msl_store.schema import MICROSCOPES, VIEWS
from msl_store.store import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DELAY_S = 0.030
BATCH = 16
STEP_BYTES = 90_000

CASES = {
    "images": ["conf2"],
    "points + image": ["conf2", "points", "inside"],
    "meshes": ["vertices", "faces"],
    "whole": ["images", "points", "inside", "cloud", "vertices", "faces"],
}
"""What a step reads, and which arrays shards made for it hold: any of conf2's views; 2,048 queries of 100,000; all."""

SHARDED = ("webdataset", "mosaicml-streaming", "litdata", "unzipped npz")
EVERYTHING = ["conf2", *CASES["whole"]]
FORMATS = Path(__file__).with_name("peer_formats.py")


def run(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Return a row for every case and way of reading, and the goals."""
    rows: list[dict[str, Any]] = []
    with sample_archives.sample(options) as (zips, work):
        served = work / "served"
        ingest(open_source([str(path) for path in zips]), locate(served / "library.zarr"), scheduler="threads")
        _unpack(zips, served / "plain-files")
        _as_npz(msl.open(served / "library.zarr"), work / "npz")
        with WebServer(served) as web, DelayProxy(web.url, delay_s=DELAY_S) as proxy:
            for case, keys in CASES.items():
                ours = [_measured(proxy, partial(_ours, proxy.url, case)) for _ in range(2)]
                rows.append(_row(case, "this project", "library", ours))
                read = partial(_peer, options.peers, "plain files", case, f"{proxy.url}/plain-files", 0)
                rows.append(_row(case, "plain files", "published", [_measured(proxy, read)]))
                for name in SHARDED:
                    for content in ("whole", "own") if case != "whole" else ("whole",):
                        place = served / f"{name}-{content}".replace(" ", "-")
                        if content == "own" or not place.exists():
                            _write(options.peers, name, work / "npz", place, keys if content == "own" else EVERYTHING)
                        url = f"{proxy.url}/{place.name}"
                        readers = [
                            partial(_peer, options.peers, name, case, url, workers) for workers in _workers(name)
                        ]
                        runs = [found for read in readers if (found := _tried(proxy, read)) is not None]
                        rows.append(_row(case, name, content, runs))
                        print(rows[-1], file=sys.stderr)
    return rows, list(_goals(rows))


def _workers(name: str) -> tuple[int, ...]:
    """Return the numbers of loader workers to try; files are read in threads, whatever the number."""
    return (0, 0) if name == "unzipped npz" else (0, 2)


def _tried(proxy: DelayProxy, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
    """Run a peer's reader; a second time where it fails, for one fails now and then with two workers."""
    for _ in range(2):
        try:
            return _measured(proxy, read)
        except RuntimeError as error:
            print(error, file=sys.stderr)
    return None


def _measured(proxy: DelayProxy, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Run a reader with an empty cache folder, and add the bytes and requests of its first epoch."""
    with tempfile.TemporaryDirectory() as cache:
        proxy.reset()
        found = read(Path(cache))
    requests = [request for request in proxy.requests() if request.start <= found["cold"]["ended"]]
    return {**found, "bytes": sum(request.sent for request in requests), "requests": len(requests)}


def _ours(url: str, case: str, cache: Path) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_read_ours, f"{url}/library.zarr", case, str(cache)).result()


def _read_ours(url: str, case: str, cache: str) -> dict[str, Any]:
    """Stream two epochs, the second from the cache."""
    import obstore  # noqa: F401 - before the clock starts, as the peers' libraries are
    from benchmarks.peer_formats import timed

    from msl_store.store import cached, object_stores  # noqa: F401 - the same
    from msl_store.stream import Batches, Cloud, Images, Meshes, Queries

    fields = {
        "images": {"image": Images("conf2")},
        "points + image": {"image": Images("conf2"), "points": Queries(2048)},
        "meshes": {"mesh": Meshes("list")},
        "whole": {
            "points": Queries(100_000, dtype="float16"),
            "cloud": Cloud(100_000),
            "mesh": Meshes("list"),
            **{name: Images(name, VIEWS) for name in MICROSCOPES},
        },
    }[case]
    began = time.perf_counter()
    library = msl.open(url, cache=msl.Cache(cache, limit="20 GB"))
    batches = Batches(library, fields, BATCH)
    cold = timed(batches, began)
    # What the random choice of views and points leaves out of the first epoch is read before the second is timed.
    batches.set_epoch(0)
    return {"cold": cold, "warm": timed(batches, time.perf_counter())}


def _peer(python: str, name: str, case: str, url: str, workers: int, cache: Path) -> dict[str, Any]:
    command = [python, str(FORMATS), "read", name, case, url, str(cache), str(BATCH), str(workers)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    if ran.returncode:
        raise RuntimeError(f"{name}: {ran.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.strip().rpartition("\n")[2])
    return found


def _write(python: str, name: str, source: Path, to: Path, keys: list[str]) -> None:
    command = [python, str(FORMATS), "write", name, str(source), str(to), ",".join(keys)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    if ran.returncode:
        raise RuntimeError(f"{name}: {ran.stderr[-2000:]}")


def _row(case: str, name: str, content: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row with the best that any of the runs did, figure by figure."""
    samples = runs[0]["cold"]["samples"]
    return {
        "case": case,
        "read from": name,
        "content": content,
        "samples": samples,
        "kB_a_sample": min(found["bytes"] for found in runs) / samples / 1000,
        "requests": min(found["requests"] for found in runs),
        "first_batch_s": min(found["cold"]["first_s"] for found in runs),
        "samples_per_s": max(samples / found["cold"]["seconds"] for found in runs),
        "warm_first_batch_s": min(found["warm"]["first_s"] for found in runs),
        "warm_samples_per_s": max(samples / found["warm"]["seconds"] for found in runs),
    }


def _goals(rows: list[dict[str, Any]]) -> Iterator[Goal]:
    """Yield: 90 kB a step; ahead of every peer on parts of samples, at least equal on whole ones."""
    for case in CASES:
        (ours,) = (row for row in rows if row["case"] == case and row["read from"] == "this project")
        peers = [row for row in rows if row["case"] == case and row["read from"] != "this project"]
        if case == "points + image":
            yield Goal("kB of an occupancy-network step", ours["kB_a_sample"], STEP_BYTES / 1000)
        same = [row for row in peers if row["content"] != "own"]
        for content, rivals in {"of whole instances": same, "made for this": peers}.items():
            if content == "made for this" and case == "whole":
                continue
            for figure in ("samples_per_s", "warm_samples_per_s", "first_batch_s", "warm_first_batch_s"):
                rate = figure.endswith("samples_per_s")
                best = (max if rate else min)(rivals, key=lambda row: row[figure])
                claim = f"{case}: {figure} over the best peer's {content} ({best['read from']})"
                yield Goal(claim, ours[figure] / best[figure], 1, at_least=rate)


def _unpack(zips: list[Path], to: Path) -> None:
    """Unpack the published archives, with an index, which a web server's listing would be."""
    for path in zips:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(to)
    folders = [path.parent.relative_to(to).as_posix() for path in to.rglob("raw_mesh.off")]
    complete = [folder for folder in folders if len(list((to / folder).rglob("*.*"))) >= 3 + 18]
    (to / "index.json").write_text(json.dumps(complete))


def _as_npz(library: msl.Library, to: Path) -> None:
    """Write every whole instance as an uncompressed npz, which the peers' writers read."""
    to.mkdir()
    for one in library.instances():
        if one.mesh is None or one.occupancy is None or one.point_cloud is None or one.images is None:
            continue
        np.savez(
            to / f"{one.id}.npz",
            conf2=one.images[1],
            images=one.images,
            points=one.occupancy.points,
            inside=one.occupancy.inside_bits,
            cloud=one.point_cloud.points,
            vertices=one.mesh.vertices,
            faces=one.mesh.faces,
        )


def main() -> None:
    """Print the figures; exit with 1 where a goal is not reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sample_archives.add_options(parser, instances=96, archives=1)
    parser.add_argument("--peers", required=True, help="the Python of the peers' environment")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows, goals = run(arguments)
    show("Streaming, 30 ms a request", rows, goals, as_json=arguments.json)


if __name__ == "__main__":
    main()
