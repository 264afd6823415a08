"""What one whole instance of an EM volume costs, in core-seconds, by stage.

``python tests/benchmarks/em_instance.py [--json] [--size 384] [--instances 32]``

A made-up segmentation becomes a library in one thread, once by each recipe: every object is cropped, meshed, repaired,
measured, and gets its cloud, occupancy, signed distances and 18 images; all of it is compressed and written. The time
is that of the processor (all threads of the process), so that other programs on the machine do not count; compiled
functions have been loaded before. Stages are timed by wrapping the functions that do them; the work itself is that of
``msl-ingest em``. Finding the objects is a row of its own: its cost goes with the voxels, not with the objects.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import Goal, fresh, show

GOAL_S = 1.0
WARM = 3
"""Instances that are made before the clock runs."""


def core_seconds(recipe: str, size: int, count: int) -> dict[str, float]:
    """Return the core-seconds an instance of every stage, and of everything."""
    import ingest.block as block
    from ingest.em import meshing, source
    from ingest.em.library import Plan, ingest_volume
    from ingest.em.objects import Place, Segmentation
    from ingest.em.synthetic import SampleVolume
    from msl_store.store import locate, writing

    taken: dict[str, float] = {}
    running: list[str] = []

    def wrap(owner: Any, name: str, stage: str) -> None:
        original = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            if running:  # within another stage, which it belongs to
                return original(*arguments, **options)
            running.append(stage)
            began = time.process_time()
            try:
                return original(*arguments, **options)
            finally:
                taken[stage] = taken.get(stage, 0.0) + time.process_time() - began
                running.clear()

        setattr(owner, name, timed)

    for owner, name, stage in (
        (Place, "crop", "crop"),
        (meshing.Meshing, "solid", "fill voids"),
        (meshing, "mesh_of_mask", "smooth, marching cubes"),
        (meshing, "repaired", "check, repair"),
        (meshing, "measure_solid", "principal axes"),
        (meshing, "skeleton_of_mesh", "skeleton"),
        (source, "point_cloud", "point cloud, normals"),
        (source, "signed_occupancy", "occupancy, distances"),
        (source, "_images", "18 images"),
        (block, "measure", "volume, area, genus, ..."),
        (block, "instance_digest", "SHA-256"),
        (writing, "encode_chunk", "blosc, CRC-32C"),
    ):
        wrap(owner, name, stage)
    folder = Path(tempfile.mkdtemp(prefix="em-instance-"))
    volume = SampleVolume((size, size, size))
    plan = Plan(Segmentation(border="drop"), meshing.Recipe(recipe))
    marks: dict[str, float] = {}

    def progress(stage: str, done: int, _everything: int) -> None:
        if done == 0:
            marks.setdefault(stage, time.process_time())

    try:
        options: dict[str, Any] = {"scheduler": "synchronous", "work": locate(folder / "work")}
        ingest_volume(volume, locate(folder / "warm.zarr"), plan, limit=WARM, **options)
        shutil.rmtree(folder / "work")
        taken.clear()
        began = time.process_time()
        report = ingest_volume(volume, locate(folder / "cold.zarr"), plan, limit=count, progress=progress, **options)
        everything = time.process_time() - marks["meshes"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # Labels and meshes are compressed too: what is left of the objects' search is the difference of the marks.
    found = {stage: seconds / report.instances for stage, seconds in taken.items()}
    return {
        **found,
        "the rest": everything / report.instances - sum(found.values()),
        "one instance": everything / report.instances,
        "instances": report.instances,
        "finding the objects, in all": marks["meshes"] - began,
    }


def main() -> None:
    """Measure both recipes, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--instances", type=int, default=32)
    options = parser.parse_args()
    found = {recipe: fresh(core_seconds, recipe, options.size, options.instances) for recipe in ("fast", "paper")}
    rows = [
        {"stage": stage, **{f"{recipe}, core s": found[recipe].get(stage, 0.0) for recipe in found}}
        for stage in found["fast"]
    ]
    goals = [
        Goal(f"core-seconds of a whole instance, {recipe} recipe", found[recipe]["one instance"], GOAL_S)
        for recipe in found
    ]
    show(f"one instance of a {options.size}^3 volume", rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
