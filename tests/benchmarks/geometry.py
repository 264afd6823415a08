"""Time the geometry of one instance side by side with trimesh and libigl (where installed).

``python tests/benchmarks/geometry.py [--json] [--mesh raw_mesh.off] [--repeat 7]``; without a mesh, procedural
mitochondria near the published average of 18,600 vertices are taken. Figures are ms of processor time: best and median
of the repeats, and the first call, which compiles or loads the compiled code. Every repeat of "make a" makes another
shape, so there only the median tells.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from msl_store.shapes import Mesh

COUNT = 100_000


def timed(action: Callable[[], object], repeat: int) -> dict[str, float]:
    """Return the best, the median and the first time of an action in ms."""
    took = []
    for _ in range(repeat + 1):
        start = time.process_time()
        action()
        took.append((time.process_time() - start) * 1e3)
    return {"best_ms": min(took[1:]), "median_ms": float(np.median(took[1:])), "first_ms": took[0]}


def actions(mesh: Mesh) -> dict[str, Callable[[], object]]:
    """Return what to time on a mesh, by name."""
    from msl_store.geometry.inside import inside
    from msl_store.geometry.morphometrics import measure
    from msl_store.geometry.surface import sample_surface
    from msl_store.geometry.topology import topology

    vertices, faces = mesh.vertices, mesh.faces
    rng = np.random.default_rng(0)
    loc, scale = mesh.box()
    points = loc + scale * rng.uniform(-0.55, 0.55, (COUNT, 3))
    chosen: dict[str, Callable[[], object]] = {
        "inside 100k": lambda: inside(vertices, faces, points),
        "sample 100k": lambda: sample_surface(vertices, faces, COUNT, rng),
        "measure": lambda: measure(vertices, faces),
        "topology": lambda: topology(vertices, faces),
    }
    if importlib.util.find_spec("trimesh"):
        import trimesh

        def theirs() -> trimesh.Trimesh:
            return trimesh.Trimesh(vertices, faces.astype(np.int64), process=False)

        def measured() -> object:
            body = theirs()
            return body.volume, body.area, body.euler_number, body.is_watertight, body.body_count, body.extents

        chosen["trimesh sample 100k"] = lambda: trimesh.sample.sample_surface(theirs(), COUNT, seed=0)
        chosen["trimesh measures"] = measured
        if importlib.util.find_spec("rtree") or importlib.util.find_spec("embreex"):
            chosen["trimesh contains 1k"] = lambda: theirs().contains(points[:1000])
    if importlib.util.find_spec("igl"):
        import igl

        corners = faces.astype(np.int64)
        chosen["igl fast_winding_number 100k"] = lambda: igl.fast_winding_number(vertices, corners, points)
    return chosen


def procedural_actions() -> dict[str, Callable[[], object]]:
    """Return the making of each kind of mitochondrion, and of its clouds and queries, by name."""
    from ingest.procedural import KINDS, instance
    from ingest.sampling import occupancy, point_cloud

    numbers = iter(range(1_000_000))
    rod = instance("rod", 0, 0)
    chosen: dict[str, Callable[[], object]] = {
        f"make a {kind}": lambda kind=kind: instance(kind, next(numbers), 0) for kind in KINDS
    }
    chosen["point_cloud"] = lambda: point_cloud(rod, np.random.default_rng(0))
    chosen["occupancy"] = lambda: occupancy(rod, np.random.default_rng(0))
    return chosen


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mesh", type=Path)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    if options.mesh:
        from ingest.formats import read_off

        meshes = {options.mesh.name: read_off(options.mesh.read_bytes())}
    else:
        from ingest.procedural import instance

        meshes = {"rod": instance("rod", 4, 1), "network": instance("network", 2, 1)}
    rows = []
    for name, mesh in meshes.items():
        subject = f"{name} ({len(mesh.vertices)} vertices)"
        for action, run in actions(mesh).items():
            rows.append({"subject": subject, "action": action, **timed(run, options.repeat)})
    for action, run in procedural_actions().items():
        rows.append({"subject": "procedural", "action": action, **timed(run, options.repeat)})
    if options.json:
        json.dump(rows, sys.stdout, indent=1)
        return
    print(f"{'':58} {'best':>9} {'median':>9} {'first':>9}  ms")
    for row in rows:
        figures = " ".join(f"{row[name]:9.2f}" for name in ("best_ms", "median_ms", "first_ms"))
        print(f"{row['subject']:28} {row['action']:29} {figures}")


if __name__ == "__main__":
    main()
