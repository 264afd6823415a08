"""Time an ingest against unpacking the same zips with the loop of the paper's repository.

``python tests/benchmarks/ingest_speed.py [--json] [--instances 300] [--archives 4] [--zips FOLDER] [--repeat 3]``

The loop is ``shutil.unpack_archive`` of one zip after the other; it leaves files. The ingest checks, converts,
measures and compresses the same instances into a library, with dask's threads and with its processes. All write to
the same disk, nobody calls fsync in between, and the zips have been read once before, so they come from memory. An
interpreter's start counts: each run is a process of its own. The last rows say where one core's time goes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, fresh, ratio, show, side_by_side
from benchmarks.sample_archives import add_options, sample

if TYPE_CHECKING:
    from collections.abc import Callable

UNPACK = "import shutil, sys\nfor path in sys.argv[2:]: shutil.unpack_archive(path, sys.argv[1])"
INGEST = "from ingest.cli import main; main()"
SCHEDULERS = ("threads", "processes")
PROFILED = 24
"""Instances of which one core's time is told."""


def disk_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def ready(target: Path) -> None:
    """Make room, and let the disk finish what it was given before, so that no run pays for another."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()


def actions_of(zips: list[Path], work: Path) -> dict[str, Callable[[], Callable[[], object]]]:
    """Return what to time: the loop, and the ingest with each scheduler."""
    names = [str(path) for path in zips]

    def unpacking() -> Callable[[], object]:
        ready(work / "unpacked")
        return lambda: subprocess.run([sys.executable, "-c", UNPACK, str(work / "unpacked"), *names], check=True)

    def ingesting(scheduler: str) -> Callable[[], object]:
        target = work / f"{scheduler}.zarr"
        ready(target)
        command = [sys.executable, "-c", INGEST, "-q", "zips", *names, str(target), "--scheduler", scheduler]
        return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    ours = {f"msl-ingest, {scheduler}": partial(ingesting, scheduler) for scheduler in SCHEDULERS}
    return {"shutil.unpack_archive": unpacking, **ours}


def core_time(zips: list[str], count: int) -> list[dict[str, Any]]:
    """Return the milliseconds of one core that each step of an ingest takes an instance.

    The steps are timed by wrapping the functions that do them; the work itself is that of an ingest.
    """
    import ingest.archive as archive
    import ingest.block as block
    import ingest.repack as repack
    from msl_store import store
    from msl_store.store import writing

    entries = archive.open_source(zips).listing().entries[:count]
    source = archive.open_source(zips)
    layout = repack.library_layout(entries)
    taken: dict[str, float] = {}

    def wrap(module: Any, name: str, step: str) -> None:
        original = getattr(module, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            result = original(*arguments, **options)
            taken[step] = taken.get(step, 0.0) + time.thread_time() - began
            return result

        setattr(module, name, timed)

    for module, name, step in (
        (archive, "unpack", "inflate, CRC-32"),
        (archive, "read_off", "parse OFF"),
        (archive, "read_ply", "parse PLY"),
        (archive, "read_npz", "parse NPZ"),
        (archive, "read_tiff", "decode TIFF"),
        (block, "measure", "morphometrics"),
        (block, "instance_digest", "SHA-256"),
        (writing, "encode_chunk", "blosc, CRC-32C"),
        (block, "commit_block", "join shards, write"),
    ):
        wrap(module, name, step)
    memory = store.locate("memory://core-time")
    block.ingest_block(source, entries, sorted({entry.origin for entry in entries}), layout, memory, 0)  # compiles
    taken.clear()
    began, began_wall = time.process_time(), time.perf_counter()
    block.ingest_block(source, entries, sorted({entry.origin for entry in entries}), layout, memory, 0)
    everything, wall = time.process_time() - began, time.perf_counter() - began_wall
    steps = {**taken, "the rest": everything - sum(taken.values()), "all (wall)": wall}
    return [{"step": step, "ms an instance": seconds / len(entries) * 1e3} for step, seconds in steps.items()]


def main() -> None:
    """Make the zips, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    add_options(parser, instances=300, archives=4)
    options = parser.parse_args()
    with sample(options) as (zips, work):
        zipped = sum(len(path.read_bytes()) for path in zips)  # reads them: from now on they come from memory
        actions = actions_of(zips, work)
        seconds = side_by_side(actions, options.repeat)
        targets = ["unpacked", *(f"{scheduler}.zarr" for scheduler in SCHEDULERS)]
        loop, *ours = actions
        rows: list[dict[str, Any]] = [
            {
                "way": name,
                "median_s": statistics.median(seconds[name]),
                "best_s": min(seconds[name]),
                "over the loop": ratio(seconds, name, loop),
                "MB": disk_bytes(work / target) / 1e6,
                "over the zips": disk_bytes(work / target) / zipped,
            }
            for name, target in zip(actions, targets, strict=True)
        ]
        steps = fresh(core_time, [str(path) for path in zips], PROFILED)
    goals = [
        Goal("wall time of the better scheduler over the loop's", min(ratio(seconds, n, loop) for n in ours), 1.0),
        Goal("bytes of the library over the zips'", max(row["over the zips"] for row in rows[1:]), 1.0),
    ]
    title = f"{options.instances} instances in {len(zips)} zips of {zipped / 1e6:.0f} MB, {os.cpu_count()} cores"
    show(title, [*rows, *steps], goals, as_json=options.json)


if __name__ == "__main__":
    main()
