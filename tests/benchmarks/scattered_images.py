"""Time 256 scattered images over a network of 30 ms a request, against xarray, tensorstore and bare ranges.

``python tests/benchmarks/scattered_images.py [--json] [--instances 1024] [--count 256] [--delay-ms 30] [--repeat 5]``

The library has the six views of three microscopes for every instance, and lies on nginx behind a proxy that delays
every answer. Each action reads one view under one microscope of the same random instances, every time from a freshly
opened library whose opening does not count. `bare ranges` are `obstore.get_ranges` of exactly the same chunks, in the
shards' order, their places known beforehand; nothing is decoded. Its best coalescing distance is used.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.image_library import add_options, chosen_library
from benchmarks.measuring import Goal, ratio, show, side_by_side
from servers.proxy import DelayProxy
from servers.web import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from obstore.store import HTTPStore

    from msl_store.store import Store

MICROSCOPE, VIEW = 1, 1
COALESCE_BYTES = (0, 128 * 1024, 1024 * 1024)
OPENING = ("instances/digest", "instances/has_images", "images/present", "images/rotation")
"""Columns that `bare ranges` asks for before, so that it has open connections as a library that was opened has."""

XARRAY_GOAL, RAW_GOAL = 15.0, 1.3


def http_store(url: str) -> HTTPStore:
    """Return a fresh obstore store, without connections."""
    from obstore.store import HTTPStore

    return HTTPStore.from_url(url, client_options={"allow_http": True, "timeout": timedelta(minutes=5)})


def ours(url: str) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    """Open the library as its users do."""
    import msl_store

    images = msl_store.open(url).images.sel(microscope="conf2", view="x90")
    return lambda rows: images.isel(instance=rows).values


def xarrays(store: Any) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    """Open the library with xarray alone: a zarr store or a URL, eager, without dask."""
    import xarray as xr

    counts = xr.open_zarr(store, group="images", consolidated=True, zarr_format=3, chunks=None)["counts"]
    return lambda rows: counts.isel(instance=rows, microscope=MICROSCOPE, view=VIEW).values


def tensorstores(url: str) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    """Open the array with tensorstore; the shards' indexes stay in its cache."""
    import tensorstore

    context = {
        "http_request_concurrency": {"limit": 256},
        "data_copy_concurrency": {"limit": 2},
        "cache_pool": {"total_bytes_limit": 10**8},
    }
    kvstore = {"driver": "http", "base_url": f"{url}/images/counts/"}
    spec = {"driver": "zarr3", "kvstore": kvstore, "recheck_cached_metadata": False, "recheck_cached_data": False}
    array = tensorstore.open(spec, context=tensorstore.Context(context), read=True, open=True).result()
    return lambda rows: np.asarray(array.oindex[rows, MICROSCOPE, VIEW].read().result())


def shards_of(store: Store, rows: NDArray[np.int64]) -> dict[str, list[int]]:
    """Return which chunks of which objects hold some rows, in the objects' order."""
    array = store.array("images/counts")
    wanted: dict[str, list[int]] = {}
    for row in np.sort(rows).tolist():
        path, number = array.object_of([row, MICROSCOPE, VIEW, 0, 0])
        wanted.setdefault(path, []).append(number)
    return wanted


def ranges_of(folder: Path, wanted: dict[str, list[int]]) -> dict[str, list[tuple[int, int]]]:
    """Return where those chunks lie, read from the library's folder."""
    ranges = {}
    for path, numbers in wanted.items():
        index = np.fromfile(folder / path, "<u8", 2 * (max(numbers) + 1)).reshape(-1, 2)
        ranges[path] = [(int(index[n, 0]), int(index[n].sum())) for n in numbers]
    return ranges


def fetch(store: HTTPStore, ranges: dict[str, list[tuple[int, int]]], coalesce: int) -> list[Any]:
    """Fetch ranges of several objects at the same time, as bytes."""
    import obstore

    async def everything() -> list[Any]:
        calls = (
            obstore.get_ranges_async(store, path, starts=starts, ends=ends, coalesce=coalesce)
            for path, (starts, ends) in ((path, zip(*pairs, strict=True)) for path, pairs in ranges.items())
        )
        return await asyncio.gather(*calls)

    return asyncio.run(everything())


def _reading(
    way: Callable[[], Callable[[NDArray[np.int64]], NDArray[Any]]], rows: NDArray[np.int64]
) -> Callable[[], object]:
    """Open a library now and return what reads from it."""
    return partial(way(), rows)


def measure(options: argparse.Namespace, folder: Path, url: str) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Time every way of reading the same images."""
    from zarr.storage import ObjectStore

    import msl_store

    rows = np.random.default_rng(options.seed).choice(options.instances, options.count, replace=False)
    store = msl_store.open(folder).store
    wanted = shards_of(store, rows)
    ranges = ranges_of(folder, wanted)
    indexes = {path: [(0, store.array("images/counts").shard_index_bytes)] for path in wanted}
    expected = ours(str(folder))(rows)
    opened: dict[str, Callable[[], Callable[[NDArray[np.int64]], NDArray[Any]]]] = {
        "msl_store": lambda: ours(url),
        "tensorstore": lambda: tensorstores(url),
        "xarray isel, obstore": lambda: xarrays(ObjectStore(http_store(url), read_only=True)),
        "xarray isel, fsspec": lambda: xarrays(url),
    }
    for name, way in opened.items():
        if not np.array_equal(way()(rows), expected):
            sys.exit(f"{name} read other values")

    columns = {f"{path}/c/{'/'.join('0' * len(store.array(path).shape))}": [(0, 4)] for path in OPENING}

    def bare(coalesce: int, *, with_indexes: bool = False) -> Callable[[], Callable[[], object]]:
        def fresh_store() -> Callable[[], object]:
            http = http_store(url)
            fetch(http, columns, coalesce)
            head = [indexes] if with_indexes else []
            return lambda: [fetch(http, part, coalesce) for part in (*head, ranges)]

        return fresh_store

    distances = {f"{coalesce // 1024} KiB": bare(coalesce) for coalesce in COALESCE_BYTES}
    tried = side_by_side(distances, 3)
    best = min(tried, key=lambda name: statistics.median(tried[name]))
    coalesce = COALESCE_BYTES[list(distances).index(best)]
    actions: dict[str, Callable[[], Callable[[], object]]] = {
        name: partial(_reading, way, rows) for name, way in opened.items()
    }
    actions[f"bare ranges ({best})"] = bare(coalesce)
    actions[f"bare indexes, then ranges ({best})"] = bare(coalesce, with_indexes=True)
    seconds = side_by_side(actions, options.repeat)
    *_, raw, raw_with_indexes = actions
    table = [
        {
            "way": name,
            "median_s": statistics.median(taken),
            "best_s": min(taken),
            "over bare ranges": ratio(seconds, name, raw),
            "over msl_store": ratio(seconds, name, "msl_store"),
        }
        for name, taken in seconds.items()
    ]
    quickest = min(("xarray isel, obstore", "xarray isel, fsspec"), key=lambda name: statistics.median(seconds[name]))
    goals = [
        Goal(f"times faster than {quickest}", ratio(seconds, quickest, "msl_store"), XARRAY_GOAL, at_least=True),
        Goal("time over bare ranges", ratio(seconds, "msl_store", raw), RAW_GOAL),
        Goal("time over bare indexes, then ranges", ratio(seconds, "msl_store", raw_with_indexes), RAW_GOAL),
    ]
    return table, goals


def main() -> None:
    """Build the library, serve it, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    add_options(parser, instances=1024)
    options = parser.parse_args()
    with ExitStack() as held:
        folder = chosen_library(options, Path(held.enter_context(tempfile.TemporaryDirectory())))
        web = held.enter_context(WebServer(folder.parent))
        proxy = held.enter_context(DelayProxy(web.url, delay_s=options.delay_ms / 1e3))
        rows, goals = measure(options, folder, f"{proxy.url}/{folder.name}")
    title = (
        f"one view of one microscope of {options.count} in {options.instances} instances, {options.delay_ms:g} ms "
        f"a request, {options.repeat} rounds"
    )
    show(title, rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
