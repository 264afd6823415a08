"""Time the geometry of one instance side by side with trimesh + embreex, libigl, pysdf, PyMCubes, where installed.

``python tests/benchmarks/geometry.py [--json] [--mesh raw_mesh.off] [--repeat 7] [--making]``; the meshes are the
published instance 1, where it lies beside the checkout, and procedural mitochondria near the published average of
18,600 vertices. Figures are ms of processor time on one thread, best and median of the repeats, taken in turn; whatever
a call has to build is built in it. "wrong" counts answers: of the inside test those unlike the exact ones, of distances
those off by more than a thousandth of a voxel. With --making, the making of procedural shapes, their clouds and queries
too.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["IGL_NUM_THREADS"] = "1"

from benchmarks.measuring import Goal, ratio, show, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from msl_store.shapes import Mesh

INSTANCE = Path(__file__).parents[3] / "shared" / "data" / "3dmsl" / "1"
COUNT = 100_000
OFF = 1e-3
"""An error of a distance that counts as wrong, in voxels."""

OWN = "msl_store"


def inside_tests(mesh: Mesh, points: NDArray[np.float64]) -> dict[str, Callable[[], NDArray[np.bool_]]]:
    """Return what tells the points inside a mesh, by library."""
    from msl_store.geometry.inside import inside

    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    chosen: dict[str, Callable[[], NDArray[np.bool_]]] = {OWN: lambda: inside(vertices, faces, points)}
    if importlib.util.find_spec("trimesh") and importlib.util.find_spec("embreex"):
        import trimesh

        chosen["trimesh + embreex"] = lambda: trimesh.Trimesh(vertices, faces, process=False).contains(points)
    if importlib.util.find_spec("igl"):
        import igl

        chosen["igl fast winding number"] = lambda: igl.fast_winding_number(vertices, faces, points) >= 0.5
    if importlib.util.find_spec("pysdf"):
        import pysdf

        low, corners, asked = mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32), points.astype(np.float32)
        chosen["pysdf"] = lambda: pysdf.SDF(low, corners).contains(asked, n_threads=1).ravel()
    return chosen


def distances(mesh: Mesh, points: NDArray[np.float64]) -> dict[str, Callable[[], NDArray[np.floating[Any]]]]:
    """Return what takes the signed distances of points from a mesh, negative inside, by library."""
    from msl_store.geometry.sdf import signed_distance

    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    chosen: dict[str, Callable[[], NDArray[np.floating[Any]]]] = {OWN: lambda: signed_distance(vertices, faces, points)}
    if importlib.util.find_spec("igl"):
        import igl

        kinds = {"pseudonormals": igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL, "no sign": igl.SIGNED_DISTANCE_TYPE_UNSIGNED}
        for name, kind in kinds.items():
            chosen[f"igl, {name}"] = lambda kind=kind: igl.signed_distance(points, vertices, faces, sign_type=kind)[0]
    if importlib.util.find_spec("pysdf"):
        import pysdf

        low, corners, asked = mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32), points.astype(np.float32)
        chosen["pysdf"] = lambda: -pysdf.SDF(low, corners)(asked, n_threads=1).ravel()
    return chosen


def others(mesh: Mesh, points: NDArray[np.float64]) -> dict[str, Callable[[], object]]:
    """Return the other functions that one instance goes through, by name."""
    from msl_store.geometry.decimate import decimated
    from msl_store.geometry.inside import inside
    from msl_store.geometry.meshing import mesh_of_mask
    from msl_store.geometry.morphometrics import measure, measure_solid
    from msl_store.geometry.occupancy import occupied
    from msl_store.geometry.repair import repaired
    from msl_store.geometry.skeleton import skeleton_of_mesh
    from msl_store.geometry.surface import sample_surface
    from msl_store.geometry.topology import topology
    from msl_store.geometry.voxels import voxel_centres, voxel_grid, voxelise
    from msl_store.shapes import normalize

    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    loc, scale = mesh.box()
    asked = normalize(points, loc, scale)
    grid = voxel_grid(vertices, faces)
    axes = voxel_centres(grid.low, grid.edge * grid.scale, (64, 64, 64))
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    low = np.floor(vertices.min(axis=0)) - 5
    shape = np.ceil(vertices.max(axis=0) - low + 5).astype(int).tolist()
    mask = voxelise(vertices, faces, low=low, edge=1.0, shape=shape)
    rng = np.random.default_rng(0)
    chosen: dict[str, Callable[[], object]] = {
        "published labels 100k": lambda: occupied(vertices, faces, asked, loc=loc, scale=scale, labels="published"),
        "surface points 100k": lambda: sample_surface(vertices, faces, COUNT, rng),
        "voxel grid 64^3": lambda: voxel_grid(vertices, faces),
        "  by the inside test": lambda: inside(vertices, faces, centres),
        "measure": lambda: measure(vertices, faces),
        "measure_solid": lambda: measure_solid(vertices, faces),
        "topology": lambda: topology(vertices, faces),
        "skeleton_of_mesh": lambda: skeleton_of_mesh(vertices, faces),
        "repaired": lambda: repaired(vertices, faces),
        "decimated to a tenth": lambda: decimated(vertices, faces, ratio=0.1),
        "mesh of its mask, fast": lambda: mesh_of_mask(mask),
        "mesh of its mask, published recipe": lambda: mesh_of_mask(mask, smoothing="constrained"),
    }
    if importlib.util.find_spec("mcubes"):
        import mcubes

        chosen["  by PyMCubes"] = lambda: mcubes.marching_cubes(mcubes.smooth_constrained(mask), 0.5)
    if importlib.util.find_spec("trimesh"):
        import trimesh

        chosen["  surface points by trimesh"] = lambda: trimesh.sample.sample_surface(
            trimesh.Trimesh(vertices, faces, process=False), COUNT, seed=0
        )
    return chosen


def making() -> dict[str, Callable[[], object]]:
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


def timed(actions: dict[str, Callable[[], Any]], repeat: int) -> dict[str, list[float]]:
    """Return the processor time of some actions in s, once each has run and so compiled what it needs."""
    for action in actions.values():
        action()
    return side_by_side({name: lambda a=a: a for name, a in actions.items()}, repeat, clock=time.process_time)


def figures(subject: str, action: str, seconds: list[float]) -> dict[str, Any]:
    """Return a row of the table."""
    best, median = min(seconds) * 1e3, float(np.median(seconds)) * 1e3
    return {"subject": subject, "action": action, "best_ms": best, "median_ms": median}


def compare(
    subject: str, what: str, actions: dict[str, Callable[[], Any]], wrong: dict[str, int], repeat: int
) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Time the same work by several libraries; the goal is to be at least as fast as the best of them."""
    seconds = timed(actions, repeat)
    rows = [{**figures(subject, f"{what}: {name}", seconds[name]), "wrong": wrong[name]} for name in actions]
    rivals = {name: ratio(seconds, OWN, name) for name in actions if name != OWN}
    if not rivals:
        return rows, []
    best = max(rivals, key=lambda name: rivals[name])
    return rows, [Goal(f"{what}, {subject}, times as long as {best}", rivals[best], 1.0)]


def of_one(subject: str, mesh: Mesh, repeat: int) -> tuple[list[dict[str, Any]], list[Goal]]:
    """Return the rows and goals of one mesh."""
    loc, scale = mesh.box()
    points = loc + scale * np.random.default_rng(0).uniform(-0.55, 0.55, (COUNT, 3))
    subject = f"{subject} ({len(mesh.vertices)} vertices)"
    tests, signed = inside_tests(mesh, points), distances(mesh, points)
    exact = tests[OWN]()
    rows, goals = compare(
        subject, "inside 100k", tests, {name: int((test() != exact).sum()) for name, test in tests.items()}, repeat
    )
    expected = np.abs(signed["igl, no sign"]()) if "igl, no sign" in signed else np.abs(signed[OWN]())
    wrong = {name: int((np.abs(np.abs(take()) - expected) > OFF).sum()) for name, take in signed.items()}
    more, others_goals = compare(subject, "signed distance 100k", signed, wrong, repeat)
    single = timed(others(mesh, points), min(repeat, 3))
    return (
        [*rows, *more, *(figures(subject, name, seconds) for name, seconds in single.items())],
        [*goals, *others_goals],
    )


def published_labels(folder: Path) -> Goal:
    """Compare the published labels of an instance with ours."""
    from ingest.formats import read_off
    from msl_store.geometry.occupancy import occupied

    mesh = read_off((folder / "raw_mesh.off").read_bytes())
    with np.load(folder / "occupancies.npz") as stored:
        points, loc, scale = stored["points"], stored["loc"], float(stored["scale"])
        labels = np.unpackbits(stored["occupancies"], count=len(points)).astype(bool)
    found = occupied(mesh.vertices, mesh.faces, points, loc=loc, scale=scale, labels="published")
    return Goal(
        "share of the published labels of instance 1 that are met", float((found == labels).mean()), 0.9995, True
    )


def main() -> None:
    """Print a table and the goals, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--mesh", type=Path)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--making", action="store_true")
    options = parser.parse_args()
    from ingest.formats import read_off
    from ingest.procedural import instance

    goals: list[Goal] = []
    if options.mesh:
        meshes = {options.mesh.name: read_off(options.mesh.read_bytes())}
    else:
        meshes = {kind: instance(kind, 4, 1) for kind in ("rod", "network", "megamitochondrion", "dot")}
        if INSTANCE.is_dir():
            meshes = {"instance 1": read_off((INSTANCE / "raw_mesh.off").read_bytes()), **meshes}
            goals.append(published_labels(INSTANCE))
    rows: list[dict[str, Any]] = []
    for name, mesh in meshes.items():
        more, reached = of_one(name, mesh, options.repeat)
        rows += more
        goals += reached
    if options.making:
        rows += [figures("procedural", name, seconds) for name, seconds in timed(making(), options.repeat).items()]
    show("Geometry of one instance, ms of processor time on one thread", rows, goals, as_json=options.json)


if __name__ == "__main__":
    main()
