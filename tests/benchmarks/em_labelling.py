"""A segmentation larger than memory into objects: how much memory, how exact, how fast.

``python tests/benchmarks/em_labelling.py [--json] [--size 1024] [--part 512] [--limit-mb 2000] [--objects 128]``

1. A made-up instance segmentation of ``size`` cubed voxels (four bytes each) becomes a library with ``msl-ingest em``:
   labels of all, every form of the first objects. It runs in a control group whose memory is limited to less than the
   volume has bytes, so that more would be killed; where this machine lets nobody make one, the limit is only compared
   with. What the whole process tree holds is sampled besides (proportional set size), and compared with the bound that
   is stated: for every thread a block or a crop, and a block of 64 instances.
2. The objects of a smaller volume, of one byte a voxel, are compared, voxel by voxel, with connected components found
   in memory by cc3d.
3. The same one is labelled by dask-image, on the same Zarr array with the same blocks and threads, and written to Zarr
   as ours is. Each is a process of its own; the interpreter's start does not count, imports and compilation do not
   either.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, fresh, show

from msl_store.console import PARTIAL_EXIT

MAIN = "from ingest.cli import main; main()"

GROUPS = {
    Path("/sys/fs/cgroup/memory"): "memory.limit_in_bytes",
    Path("/sys/fs/cgroup"): "memory.max",
}
"""Where control groups lie, versions 1 and 2, and the file of their limit."""

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE_MB = 300
"""What a process has with all libraries loaded and compiled functions read."""

INSTANCE_MB = 5
"""What a thread holds of each instance of a block until that is written: compressed chunks, and their shards."""


class Peak:
    """The most memory that a process and its children held together, sampled while the context lasts."""

    def __init__(self, pid: int, every_s: float = 0.05) -> None:
        self.pid, self.every_s, self.most = pid, every_s, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        root = psutil.Process(self.pid)
        while not self._stop.wait(self.every_s):
            held = 0
            try:
                for process in (root, *root.children(recursive=True)):
                    held += process.memory_full_info().pss
            except psutil.Error:
                continue
            self.most = max(self.most, held)


@contextmanager
def control_group(limit_mb: int) -> Iterator[Path | None]:
    """Make a control group with a limit on memory; None where that is not allowed."""
    for parent, name in GROUPS.items():
        group = parent / f"em-labelling-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / name).write_text(str(limit_mb * 10**6))
        except OSError:
            group.rmdir()
            continue
        yield group
        with suppress(OSError):
            group.rmdir()
        return
    yield None


def make_volume(folder: Path, size: int, labelled: bool) -> None:
    """Write the volume."""
    from ingest.em.synthetic import write_sample_volume
    from msl_store.store import locate

    write_sample_volume(locate(folder), (size, size, size), labelled=labelled)


def limited(volume: Path, target: Path, limit_mb: int, options: list[str]) -> dict[str, Any]:
    """Make a library under a memory limit; return the figures."""
    command = [sys.executable, "-c", MAIN, "-q", "em", str(volume), str(target), "--json", *options]
    with control_group(limit_mb) as group:
        if group is not None:
            command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
        before, began = sum(os.times()[2:4]), time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with Peak(process.pid) as peak:
            said, wrong = process.communicate()
        seconds = time.perf_counter() - began
    if process.returncode not in (0, PARTIAL_EXIT):
        raise RuntimeError(f"msl-ingest em ended with {process.returncode}: {wrong.decode()[-2000:]}")
    report = json.loads(said)
    used = sum(os.times()[2:4]) - before
    return {
        "limit": "set" if group else "not set",
        "peak MB": peak.most / 1e6,
        "wall s": seconds,
        "core s": used,
        "instances": report["instances"],
        "set aside": report["set_aside"],
    }


def segmented(folder: str, block: int, scheduler: str, work: str) -> tuple[float, float]:
    """Return the wall and core seconds of finding the objects of a volume."""
    from ingest.em.objects import Segmentation, segment
    from ingest.em.opening import open_volume
    from ingest.em.synthetic import SampleVolume
    from msl_store.store import locate

    segment(SampleVolume((64, 64, 64)), locate("memory://warm"), Segmentation(block=64), scheduler="synchronous")
    volume = open_volume(folder)
    began, core = time.perf_counter(), time.process_time()
    segment(volume, locate(work), Segmentation(block=block), scheduler=scheduler)
    return time.perf_counter() - began, time.process_time() - core


def by_dask_image(folder: str, block: int, scheduler: str, work: str) -> tuple[float, float]:
    """Return the wall and core seconds of dask-image for the same."""
    import dask
    import dask.array as da
    from dask_image.ndmeasure import label

    near = np.ones((3, 3, 3))
    dask.compute(label(da.zeros((8, 8, 8), chunks=4), near), scheduler="synchronous")
    began, core = time.perf_counter(), time.process_time()
    values = da.from_zarr(f"{folder}/labels", chunks=(block,) * 3)
    labels, count = label(values, near)
    dask.compute(labels.to_zarr(work, compute=False), count, scheduler=scheduler)
    return time.perf_counter() - began, time.process_time() - core


def differing_voxels(folder: str, work: str, block: int) -> tuple[int, int]:
    """Return how many objects a volume has, and how many voxels are in another object than in memory."""
    import cc3d

    from ingest.em.objects import Segmentation, segment
    from ingest.em.opening import open_volume
    from ingest.em.volume import Box
    from msl_store.store import locate

    volume = open_volume(folder)
    found = segment(volume, locate(work), Segmentation(dust=0, block=block))
    whole = Box((0, 0, 0), volume.shape)
    own = np.zeros(volume.shape, np.uint32)
    stored, grid = found.labels, found.labelling.grid
    object_of: dict[int, dict[int, int]] = {}
    for row, number in enumerate(found.components.ids.tolist()):
        for piece_block, label in found.components.pieces(row):
            object_of.setdefault(piece_block, {})[label] = number
    for piece_block, named in object_of.items():
        part = grid.box(piece_block).slices
        numbers = np.zeros(max(named) + 1, np.uint32)
        numbers[list(named)] = list(named.values())
        own[part] = numbers[stored.read(part)]
    expected = cc3d.connected_components(volume.read(whole), connectivity=26)
    # Ours count by the first voxel; give those of cc3d the same numbers.
    labels, first = np.unique(expected.ravel(), return_index=True)
    rank = np.zeros(len(labels), np.uint32)
    rank[labels[labels > 0][np.argsort(first[labels > 0])]] = np.arange(1, (labels > 0).sum() + 1)
    return int(expected.max()), int(np.count_nonzero(rank[expected] != own))


def main() -> None:
    """Make the volume, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--part", type=int, default=512)
    parser.add_argument("--limit-mb", type=int, default=2000)
    parser.add_argument("--objects", type=int, default=128)
    parser.add_argument("--block", type=int, default=256)
    options = parser.parse_args()
    from ingest.em.meshing import BYTES_A_VOXEL as CROP_BYTES
    from ingest.em.meshing import SKELETON_VOXELS
    from ingest.em.objects import BYTES_A_VOXEL
    from msl_store.schema import BLOCK

    threads, largest = os.cpu_count() or 1, 16_000_000
    work_mb = max(BYTES_A_VOXEL * options.block**3, CROP_BYTES["fast"] * largest, 50 * SKELETON_VOXELS) / 1e6
    # Freed memory is not always given back, so what two stages take adds up.
    bound_mb = BASE_MB + threads * (work_mb + INSTANCE_MB * BLOCK)
    volume_mb = 4 * options.size**3 / 1e6
    folder = Path(tempfile.mkdtemp(prefix="em-labelling-"))
    try:
        volume, part = folder / "volume.zarr", folder / "part.zarr"
        fresh(make_volume, volume, options.size, True)
        fresh(make_volume, part, options.part, False)
        some = ["--limit", str(options.objects), "--block", str(options.block), "--largest", str(largest)]
        run = limited(volume, folder / "library.zarr", options.limit_mb, [*some, "--scheduler", "threads"])
        objects, differing = fresh(differing_voxels, str(part), str(folder / "compared"), options.block)
        ours = fresh(segmented, str(part), options.block, "threads", str(folder / "ours"))
        theirs = fresh(by_dask_image, str(part), options.block, "threads", str(folder / "theirs.zarr"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        {"what": f"library of {options.size}^3, {run['instances']} instances", **run},
        {"what": f"labelling {options.part}^3 ({objects} objects), here", "wall s": ours[0], "core s": ours[1]},
        {"what": f"labelling {options.part}^3, dask-image", "wall s": theirs[0], "core s": theirs[1]},
    ]
    goals = [
        Goal("the volume's bytes over the limit on memory", volume_mb / options.limit_mb, 1.0, at_least=True),
        Goal(f"peak memory of the run in MB, against the bound for {threads} threads", run["peak MB"], bound_mb),
        Goal("voxels in another object than in memory", differing, 0),
        Goal("dask-image's wall time over ours", theirs[0] / ours[0], 8.0, at_least=True),
    ]
    show(f"objects of a segmentation, {threads} threads", rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
