"""A PyTorch DataLoader on S3 with 0, 2 and 4 workers, forked, spawned and by a fork server: order, memory, time.

``python tests/benchmarks/stream_workers.py [--json] [--instances 40] [--epochs 150] [--timeout 120]``

Every arrangement loads the same epochs of meshes from one bucket, with workers that persist. Its order must be that of
the stream alone; a worker without a batch for `timeout` seconds counts as hanging and ends the run. After every fifth
epoch the memory that belongs to the process and its workers alone (USS) is taken; its slope is the median of those
between all pairs of looks after the fiftieth epoch. For comparison: the same batches by the stream, without PyTorch.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, show
from servers.s3 import S3Server
from small_library import build, made_record

import msl_store as msl
from msl_store.stream import Batches, Loader, Meshes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


ARRANGEMENTS = [(0, None), (2, "fork"), (4, "fork"), (2, "spawn"), (4, "spawn"), (2, "forkserver")]
SIZE = 16
SETTLED = 50
"""Epochs after which memory should not grow: by then threads that come and go have filled the allocator's arenas."""

EVERY = 5
"""Epochs from one look at the memory to the next, which takes longer than an epoch."""

SLOPE_MB = 0.5
"""Growth an epoch and process that counts as none; an epoch decodes a hundred times as much."""


def own_memory_mb() -> float:
    """Return the memory that this process and its children have to themselves."""
    gc.collect()
    me = psutil.Process()
    return sum(process.memory_full_info().uss for process in [me, *me.children(recursive=True)]) / 1e6


def slope_of(values: Sequence[float]) -> float:
    """Return the median of the slopes between all pairs (Theil and Sen), which a single step does not move.

    Forked workers have such steps, when Python's collector first touches the memory that they share with their parent.
    """
    return float(np.median([(values[j] - values[i]) / (j - i) for j in range(len(values)) for i in range(j)]))


def run(batches: Iterable[Any], epochs: int) -> tuple[list[list[int]], list[float], float]:
    """Return the ids of some epochs in their order, the memory after some, and the seconds an epoch once warm."""
    orders, memory, seconds = [], [], []
    for epoch in range(epochs):
        began = time.perf_counter()
        orders.append([instance for batch in batches for instance in batch["id"].tolist()])
        seconds.append(time.perf_counter() - began)
        if epoch % EVERY == 0:
            memory.append(own_memory_mb())
    return orders, memory, float(np.median(seconds[1:]))


def measure(options: argparse.Namespace, url: str, storage: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Run every arrangement."""
    library = msl.open(url, storage)

    def fresh() -> Batches:
        return Batches(library, {"mesh": Meshes("packed")}, SIZE, seed=1)

    arrangements: dict[str, Any] = {"no PyTorch": fresh}
    for workers, context in ARRANGEMENTS:
        keep: dict[str, Any] = {"timeout": options.timeout, "persistent_workers": True} if workers else {}

        def loader(workers: int = workers, context: str | None = context, keep: Any = keep) -> Loader:
            return Loader(fresh(), workers=workers, context=context, **keep)

        arrangements[f"{workers} workers" + (f", {context}" if context else "")] = loader
    expected = [fresh().order(epoch).tolist() for epoch in range(options.epochs)]
    table, goals, same = [], [], 0
    for name, make in arrangements.items():
        batches = make()
        orders, memory, seconds = run(batches, options.epochs)
        processes = 1 + (batches.num_workers if isinstance(batches, Loader) else 0)
        del batches
        gc.collect()
        slope = slope_of(memory[SETTLED // EVERY :]) / EVERY
        same += orders == expected
        goals.append(Goal(f"MB of memory an epoch and process, {name}", slope / processes, SLOPE_MB))
        table.append(
            {
                "arrangement": name,
                "same order": "yes" if orders == expected else "NO",
                "s an epoch": seconds,
                "MB after epoch 1": memory[0],
                "MB at the end": memory[-1],
                "MB an epoch": slope,
            }
        )
    goals.insert(0, Goal("arrangements with the stream's order", same, len(arrangements), at_least=True))
    return table, goals


def main() -> None:
    """Build the library, put it into a bucket, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--instances", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--timeout", type=float, default=1500.0)
    options = parser.parse_args()
    if options.epochs <= SETTLED + EVERY:
        parser.error(
            f"--epochs {options.epochs}: allowed is more than {SETTLED + EVERY}, to see a slope after {SETTLED}"
        )
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    with tempfile.TemporaryDirectory() as scratch, S3Server() as s3:
        folder = Path(scratch) / "meshes.zarr"
        build([made_record(number, parts="m", vertices=3000) for number in range(1, options.instances + 1)], folder)
        bucket = s3.create_bucket("bucket-of-meshes")
        rows, goals = measure(options, bucket.upload(folder), bucket.storage_options)
    title = f"{options.epochs} epochs of {options.instances} meshes from S3 in batches of {SIZE}, PyTorch's DataLoader"
    show(title, rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
