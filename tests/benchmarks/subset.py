"""The first hundred of a thousand instances: `msl.subset` against downloading the zips, xarray, and a raw copy.

``python tests/benchmarks/subset.py [--json] [--instances 1000] [--first 100] [--sample 24] [--delay-ms 30]
[--repeat 3] [--work FOLDER]``

A thousand instances, a sample's over and over, lie on nginx behind a proxy that delays every answer: as a library, and
as ten zips in the published format. `zips` downloads all of them, `first zip` the one that holds the first hundred
(with ten zips of a hundred it is exactly these: the best case there is); nothing is unpacked. `xarray` is what a user
of xarray and zarr does: open each group, select, write. `raw copy` downloads the finished subset's own objects, ten at
a time, and checks nothing: the speed of the line. Then the same subset is made from the disk to the disk, against
``cp -r`` of its own files. Every action starts from a freshly opened library and writes to an empty folder; ``cpu s``
is this process's time. Data that is read is in the page cache, and nothing is synced.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, ratio, show, side_by_side
from benchmarks.repeated import write_repeated_library, write_repeated_zips
from servers.proxy import DelayProxy
from servers.request_log import round_trips
from servers.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable

STREAMS = 10
"""Objects that a raw copy and the download of zips fetch at the same time."""

ZIPS = 10
"""How many zips hold the published instances, and these."""

BYTES_GOAL, RAW_GOAL, LOCAL_GOAL = 1.1, 1.25, 2.0
"""Bytes moved over bytes stored of the hundred; time over that of a raw copy, from afar and on the disk."""


@dataclass(frozen=True)
class Place:
    """The library and the zips, on the disk and by HTTP, and how many instances to take."""

    folder: Path
    library: Path
    zips: list[Path]
    proxy: DelayProxy
    first: int

    @property
    def url(self) -> str:
        """The library by HTTP."""
        return f"{self.proxy.url}/{self.library.name}"

    def fresh(self, name: str) -> Path:
        """Return a folder's path where nothing is."""
        target = self.folder / "targets" / name
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        return target


def subset_of(source: str, target: Path, first: int) -> None:
    """Make the subset as a user does."""
    import msl_store

    msl_store.subset(msl_store.open(source), target, first=first)


def downloaded(base: str, names: list[str], target: Path) -> None:
    """Download files by their names, some at the same time, to the disk."""
    import obstore
    from obstore.store import HTTPStore

    store = HTTPStore.from_url(base, client_options={"allow_http": True, "timeout": "10 minutes"})

    def one(name: str) -> None:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for part in obstore.get(store, name).stream(min_chunk_size=1 << 20):
                file.write(part)

    with ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(one, names))


def by_xarray(url: str, target: Path, first: int) -> None:
    """Select and write every group with xarray and zarr, meshes by the rows that the first instances have."""
    import dask
    import xarray as xr
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    store: Any = ObjectStore(HTTPStore.from_url(url, client_options={"allow_http": True}), read_only=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    for number, group in enumerate(("instances", "mesh", "point_cloud", "occupancy", "images")):
        data = xr.open_zarr(store, group=group, consolidated=True, zarr_format=3, chunks=None)
        data = data.drop_vars("findings", errors="ignore").isel(instance=slice(first))
        if group == "mesh":
            for dim in ("vertex", "face"):
                end = int(data[f"{dim}_start"][-1] + data[f"{dim}_count"][-1])
                data = data.isel({dim: slice(end)})
        for array in data.variables.values():  # columns in memory; the others in chunks that are shards, in parallel
            if shards := array.encoding.get("shards"):
                array.data = array.chunk(dict(zip(array.dims, shards, strict=True))).data
            else:
                array.load().encoding.pop("chunks")
        with dask.config.set(scheduler="threads"):
            data.to_zarr(target, group=group, mode="a" if number else "w", zarr_format=3, consolidated=False)


def measured(place: Place, name: str, action: Callable[[Path], None]) -> dict[str, Any]:
    """Run an action once by HTTP; return its seconds, processor time, requests, round trips and bytes."""
    target = place.fresh(name)
    place.proxy.reset()
    cpu, began = time.process_time(), time.perf_counter()
    action(target)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    requests = place.proxy.requests()
    return {
        "": name,
        "s": seconds,
        "cpu s": cpu,
        "requests": len(requests),
        "round trips": round_trips(requests),
        "MB": place.proxy.bytes() / 1e6,
        "MB/s": place.proxy.bytes() / 1e6 / seconds,
    }


def remote(place: Place) -> tuple[list[dict[str, Any]], int]:
    """Measure every way from afar once; return a row each, and the bytes of the finished subset."""
    base = place.proxy.url
    rows = [measured(place, "msl.subset", lambda target: subset_of(place.url, target, place.first))]
    finished = place.folder / "targets" / "msl.subset"
    names = [path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()]
    stored = sum((finished / name).stat().st_size for name in names)
    copy = place.folder / "finished"
    shutil.rmtree(copy, ignore_errors=True)
    finished.rename(copy)  # where the web server finds it
    rows.append(measured(place, "raw copy", lambda target: downloaded(f"{base}/{copy.name}", names, target)))
    zips = [f"zips/{path.name}" for path in place.zips]
    rows.append(measured(place, "first zip", lambda target: downloaded(base, zips[:1], target)))
    rows.append(measured(place, "zips", lambda target: downloaded(base, zips, target)))
    rows.append(measured(place, "xarray", lambda target: by_xarray(place.url, target, place.first)))
    return rows, stored


def timed(place: Place, repeat: int) -> dict[str, list[float]]:
    """Time subset and raw copy side by side, from afar and on the disk."""
    finished = place.folder / "finished"
    names = [path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()]

    def prepared(name: str, action: Callable[[Path], object]) -> Callable[[], Callable[[], object]]:
        def prepare() -> Callable[[], object]:
            target = place.fresh(name)
            os.sync()  # what the action before has written is not written during this one
            return lambda: action(target)

        return prepare

    def copy(target: Path) -> None:
        subprocess.run(["cp", "-r", finished, target], check=True)

    url = f"{place.proxy.url}/{finished.name}"
    return side_by_side(
        {
            "remote subset": prepared("a", lambda target: subset_of(place.url, target, place.first)),
            "remote raw copy": prepared("b", lambda target: downloaded(url, names, target)),
            "disk subset": prepared("c", lambda target: subset_of(str(place.library), target, place.first)),
            "disk cp -r": prepared("d", copy),
        },
        repeat,
    )


def prepared_place(options: argparse.Namespace, folder: Path, held: ExitStack) -> Place:
    """Make the library and the zips, and serve them."""
    from ingest.archive import open_source
    from ingest.repack import ingest
    from ingest.sample import write_sample
    from msl_store.library import open_library
    from msl_store.store import locate

    sample = folder / "sample"
    if not sample.is_dir():
        write_sample(sample / "zips", instances=options.sample, archives=2)
        ingest(open_source([str(sample / "zips")]), locate(sample / "library.zarr"))
    if not (folder / "library.zarr").is_dir():
        write_repeated_library(open_library(sample / "library.zarr"), folder / "library.zarr", options.instances)
    if not (folder / "zips").is_dir():
        write_repeated_zips(sorted((sample / "zips").glob("*.zip")), folder / "zips", options.instances, ZIPS)
    web = held.enter_context(WebServer(folder))
    proxy = held.enter_context(DelayProxy(web.url, delay_s=options.delay_ms / 1e3))
    zips = sorted((folder / "zips").glob("*.zip"), key=lambda path: int(path.stem.removeprefix("part")))
    return Place(folder, folder / "library.zarr", zips, proxy, options.first)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--sample", type=int, default=24)
    parser.add_argument("--delay-ms", type=float, default=30)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder whose data is taken, or left there, and the disk to measure")
    options = parser.parse_args()
    with ExitStack() as held:
        folder = options.work or Path(held.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        place = prepared_place(options, folder, held)
        rows, stored = remote(place)
        seconds = timed(place, options.repeat)
        shutil.rmtree(folder / "targets")
        rows += [
            {"": name, "s": statistics.median(found), "MB/s": stored / 1e6 / statistics.median(found)}
            for name, found in seconds.items()
        ]
    by_name = {row[""]: row for row in rows}
    ours = by_name["msl.subset"]
    goals = [
        Goal("bytes moved over the bytes of the subset", ours["MB"] * 1e6 / stored, BYTES_GOAL),
        Goal("time over a raw copy's, from afar", ratio(seconds, "remote subset", "remote raw copy"), RAW_GOAL),
        Goal("time over cp's, on the disk", ratio(seconds, "disk subset", "disk cp -r"), LOCAL_GOAL),
        Goal("times as fast as all zips", by_name["zips"]["s"] / ours["s"], 5, at_least=True),
        Goal("times as fast as xarray", by_name["xarray"]["s"] / ours["s"], 1, at_least=True),
    ]
    title = (
        f"the first {options.first} of {options.instances} instances, {stored / 1e6:.0f} MB stored, "
        f"{options.delay_ms:g} ms a request, medians of {options.repeat} rounds below"
    )
    show(title, rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
