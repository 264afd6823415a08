"""Two processes share a cache under its limit, one is killed again and again; then a warm cache is timed.

``python tests/benchmarks/cache_shared.py [--json] [--kills 40] [--limit "12 MB"] [--instances 512] [--count 256]
[--delay-ms 30] [--repeat 5] [--seed 0]``

The library has the six views of three microscopes for every instance, about ten times the cache's limit, and lies on
nginx. Two processes read random images of it without end and compare each with what the library's folder holds. At
random moments one of them gets SIGKILL and is started again. Between the kills both are stopped (SIGSTOP) wherever
they are, also in the middle of a write, and the blocks of all files and folders of the cache are counted; then they go
on. In the end others' files, which lie among the cache's, must be as they were, every piece of the cache be sound, and
both readers get through once more.

For the times, one view under one microscope of the same scattered instances is read from freshly opened libraries,
whose opening does not count: from a folder, from a warm cache with the server behind 30 ms a request, from that server
without a cache, and with xarray by zarr's own cache of it, also warm. (fsspec's caches do not work below zarr 3.1 over
HTTP: RuntimeError, "Timeout context manager should be used inside a task".)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.image_library import add_options, chosen_library
from benchmarks.measuring import Goal, ratio, show, side_by_side
from disk_usage import used_bytes
from servers.proxy import DelayProxy
from servers.web import WebServer

from msl_store.cache.sizes import byte_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

MICROSCOPE, VIEW = 1, 1
FOREIGN = ("notes.txt", "libraries/mine.pack", "urls/mine.json")
SAMPLES_A_KILL = 8
LONGEST_LIFE_S = 1.5
STUCK_S = 60.0
LOCAL_GOAL, REMOTE_GOAL = 1.3, 3.0


def read_without_end(url: str, folder: str, cache: str, seed: int, told: Connection) -> None:
    """Read random images by way of a cache, and tell of every batch how many differ from the library's folder."""
    import msl_store

    rng = np.random.default_rng(seed)
    truth = msl_store.open(folder).images
    images = msl_store.open(url, cache=msl_store.Cache(cache)).images
    while True:
        rows = rng.choice(images.shape[0], int(rng.integers(1, 40)), replace=False)
        chosen = {"microscope": int(rng.integers(3)), "view": int(rng.integers(6))}
        found, expected = images.isel(instance=rows, **chosen).values, truth.isel(instance=rows, **chosen).values
        told.send((len(rows), int((found != expected).any(axis=(1, 2)).sum())))


class Reader:
    """A process that reads until it is killed."""

    def __init__(self, url: str, folder: Path, cache: Path, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.told, telling = context.Pipe(duplex=False)
        self.process = context.Process(
            target=read_without_end, args=(url, str(folder), str(cache), seed, telling), daemon=True
        )
        self.process.start()
        telling.close()

    def news(self) -> list[tuple[int, int]]:
        """Return what it has told since this was called last: of every batch, images read and images wrong."""
        batches = []
        try:
            while self.told.poll():
                batches.append(self.told.recv())
        except EOFError:
            pass
        return batches

    def stop(self) -> None:
        """Stop it where it is, and wait until it has."""
        os.kill(self.process.pid or 0, signal.SIGSTOP)
        while psutil.Process(self.process.pid).status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
            time.sleep(0.0002)

    def go_on(self) -> None:
        """Let it run again."""
        os.kill(self.process.pid or 0, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, as by ``kill -9``."""
        self.process.kill()
        self.process.join()


@dataclass
class Trial:
    """What became of a cache under two readers.

    Attributes
    ----------
    kills, samples, images, wrong : int
        Kills, times that the cache was counted, images read, and those that were wrong.
    most : int
        The most bytes that were counted.
    ended : list of str
        Readers that ended by themselves, files of others that changed, damage: none of it should be.
    """

    kills: int = 0
    samples: int = 0
    images: int = 0
    wrong: int = 0
    most: int = 0
    ended: list[str] = field(default_factory=list)


def torment(url: str, folder: Path, cache: Path, limit: str | int, *, kills: int, seed: int) -> Trial:
    """Let two processes share a cache, kill one again and again, and count the cache all the while."""
    import msl_store

    rng = random.Random(seed)
    made = msl_store.Cache(cache, limit)
    msl_store.open(url, cache=made)
    foreign = [cache / name for name in FOREIGN]
    for path in foreign:
        path.write_text("mine")
    trial = Trial()
    readers = [Reader(url, folder, cache, seed + number) for number in range(2)]
    try:
        while trial.kills < kills:
            for _ in range(SAMPLES_A_KILL):
                time.sleep(rng.uniform(0, LONGEST_LIFE_S / SAMPLES_A_KILL))
                sample(trial, readers, cache, foreign)
            victim = rng.randrange(2)
            readers[victim].kill()
            trial.kills += 1
            trial.most = max(trial.most, used_bytes(cache, but=foreign))
            gather(trial, readers[victim])
            readers[victim] = Reader(url, folder, cache, seed + 2 + trial.kills)
            if trial.kills % 4:  # else the next kill may come while it starts
                readers[victim].told.poll(STUCK_S)
        wait_for_news(trial, readers)
    finally:
        for reader in readers:
            reader.kill()
            gather(trial, reader)
    trial.most = max(trial.most, used_bytes(cache, but=foreign))
    trial.ended += [f"{path} has changed" for path in foreign if path.read_text() != "mine"]
    trial.ended += [str(damage) for damage in made.verify()]
    return trial


def sample(trial: Trial, readers: list[Reader], cache: Path, foreign: list[Path]) -> None:
    """Count the cache while nobody moves."""
    for reader in readers:
        if not reader.process.is_alive():
            trial.ended.append(f"a reader ended with {reader.process.exitcode}")
            raise RuntimeError(trial.ended[-1])
        reader.stop()
    trial.samples += 1
    trial.most = max(trial.most, used_bytes(cache, but=foreign))
    for reader in readers:
        reader.go_on()
        gather(trial, reader)


def gather(trial: Trial, reader: Reader) -> None:
    """Add up what a reader has told."""
    for images, wrong in reader.news():
        trial.images += images
        trial.wrong += wrong


def wait_for_news(trial: Trial, readers: list[Reader]) -> None:
    """Wait until every reader has got through once more: nobody is stuck behind one that was killed."""
    for reader in readers:
        gather(trial, reader)
        if not reader.told.poll(STUCK_S):
            trial.ended.append("a reader is stuck")


# --- times


def ours(url: str | Path, cache: Any = None) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    """Open the library as its users do."""
    import msl_store

    images = msl_store.open(url, cache=cache).images.isel(microscope=MICROSCOPE, view=VIEW)
    return lambda rows: images.isel(instance=rows).values


def zarrs(url: str, folder: Path) -> Callable[[NDArray[np.int64]], NDArray[Any]]:
    """Open the library with xarray by zarr's own cache; the ranges that this keeps are in this process's memory."""
    import obstore
    import xarray as xr
    from zarr.experimental.cache_store import CacheStore
    from zarr.storage import LocalStore, ObjectStore

    remote = ObjectStore(obstore.store.from_url(url, client_options={"allow_http": True}), read_only=True)
    store = CacheStore(remote, cache_store=LocalStore(folder), max_size=10**9)
    counts = xr.open_zarr(store, group="images", consolidated=True, zarr_format=3, chunks=None)["counts"]
    return lambda rows: counts.isel(instance=rows, microscope=MICROSCOPE, view=VIEW).values


def measure(options: argparse.Namespace, folder: Path, url: str, work: Path) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Time every way of reading the same images."""
    import msl_store

    rows = np.random.default_rng(options.seed).choice(options.instances, options.count, replace=False)
    cache = msl_store.Cache(work / "warm", "1 GB")
    expected = ours(folder)(rows)
    zarr_cached = zarrs(url, work / "zarr")
    ways: dict[str, Callable[[], Callable[[NDArray[np.int64]], NDArray[Any]]]] = {
        "local folder": lambda: ours(folder),
        "warm cache": lambda: ours(url, cache),
        "remote": lambda: ours(url),
        "zarr CacheStore, warm in memory": lambda: zarr_cached,
    }
    for name, way in ways.items():
        if not np.array_equal(way()(rows), expected):
            sys.exit(f"{name} read other values")
    cpu: dict[str, list[float]] = {name: [] for name in ways}

    def prepared(name: str) -> Callable[[], object]:
        read = ways[name]()

        def timed() -> None:
            began = time.process_time()
            read(rows)
            cpu[name].append(time.process_time() - began)

        return timed

    seconds = side_by_side({name: partial(prepared, name) for name in ways}, options.repeat)
    table = [
        {
            "way": name,
            "median_s": statistics.median(taken),
            "best_s": min(taken),
            "cpu_s": statistics.median(cpu[name]),
            "over local": ratio(seconds, name, "local folder"),
            "over warm cache": ratio(seconds, name, "warm cache"),
        }
        for name, taken in seconds.items()
    ]
    return table, [
        Goal("time of a warm cache over a local folder", ratio(seconds, "warm cache", "local folder"), LOCAL_GOAL),
        Goal("times faster than the server", ratio(seconds, "remote", "warm cache"), REMOTE_GOAL, at_least=True),
    ]


def main() -> None:
    """Write the library, share, kill, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--limit", default="12 MB")
    add_options(parser, instances=512)
    options = parser.parse_args()
    with ExitStack() as held:
        work = Path(held.enter_context(tempfile.TemporaryDirectory()))
        folder = chosen_library(options, work)
        web = held.enter_context(WebServer(folder.parent))
        trial = torment(
            f"{web.url}/{folder.name}", folder, work / "cache", options.limit, kills=options.kills, seed=options.seed
        )
        proxy = held.enter_context(DelayProxy(web.url, delay_s=options.delay_ms / 1e3))
        rows, goals = measure(options, folder, f"{proxy.url}/{folder.name}", work)
        limit = byte_count(options.limit)
    for text in trial.ended:
        print(text, file=sys.stderr)
    title = (
        f"{trial.kills} kills of two readers; {trial.images} images read, {trial.samples} samples of {limit} bytes "
        f"allowed; then one view of {options.count} of {options.instances} instances, {options.delay_ms:g} ms a request"
    )
    goals = [
        Goal("kills", trial.kills, options.kills, at_least=True),
        Goal("most bytes on the disk over the limit", trial.most / limit, 1.0),
        Goal("images read wrong", trial.wrong, 0),
        Goal("readers stuck or ended, files of others changed, damage in the end", len(trial.ended), 0),
        *goals,
    ]
    show(title, rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
