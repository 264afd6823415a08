"""Procedural mitochondria of the paper's six kinds, for demonstrations, tests and benchmarks.

The shapes are made up, not measured. Their sizes follow the literature: mitochondria 0.3 to 1 um wide and up to 10 um
long; nanotunnels 40 to 200 nm wide (Vincent et al., Trends Cell Biol. 27, 787, 2017), of which we draw the wider ones,
since an EM voxel is 24 nm. All lengths below are in voxels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.implicit import Bumps, Tube, mesh_of_tubes
from msl_store.errors import MSLError, UsageError
from msl_store.geometry.topology import topology

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from msl_store.shapes import Mesh

KINDS = ("rod", "dot", "donut", "network", "nanotunnel", "megamitochondrion")
"""The kinds of mitochondria that the 3DMSL paper names."""

ATTEMPTS = 20
"""Draws until a shape has the topology of its kind; nearly always the first has."""


def shape(kind: str, rng: np.random.Generator) -> Mesh:
    """Draw a mitochondrion.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    rng : numpy.random.Generator
        Its state decides the shape.

    Returns
    -------
    Mesh
        In voxels of 24 nm; watertight, in one piece, faces outwards. A donut has genus 1, a network 1 or more, all
        others 0.

    Raises
    ------
    UsageError
        Where there is no such kind.
    """
    if kind not in _DRAWN:
        raise UsageError(f"there is no kind {kind!r}; allowed are {', '.join(KINDS)}")
    for _ in range(ATTEMPTS):
        mesh = _DRAWN[kind](rng)
        joined = topology(mesh.vertices, mesh.faces)
        fits = joined.genus >= 1 if kind == "network" else joined.genus == (kind == "donut")
        if joined.component_count == 1 and fits:
            return mesh
    raise MSLError(f"no {kind} came out right in {ATTEMPTS} draws; take another seed")


def instance(kind: str, number: int, seed: int) -> Mesh:
    """Draw the mitochondrion that belongs to an instance's id and a seed (both 0 or more), the same every time."""
    return shape(kind, np.random.default_rng([seed, number]))


def _rod(rng: np.random.Generator) -> Mesh:
    width = rng.uniform(7, 12)
    line = _wander(rng, length=np.exp(rng.uniform(np.log(60), np.log(240))), bend=0.35)
    return mesh_of_tubes([_tube(rng, line, width)], rng, bumps=_unevenness(width))


def _dot(rng: np.random.Generator) -> Mesh:
    width = rng.uniform(9, 18)
    line = _wander(rng, length=width * rng.uniform(0.1, 0.9), bend=0.2)
    return mesh_of_tubes([_tube(rng, line, width, wobble=0.0)], rng, bumps=_unevenness(width))


def _donut(rng: np.random.Generator) -> Mesh:
    width = rng.uniform(5.5, 10)
    ring = width * rng.uniform(2.3, 3.6)
    angle = np.linspace(0, 2 * np.pi, 73)
    phase = rng.uniform(0, 2 * np.pi, 3)
    radius = ring * (1 + 0.12 * np.cos(2 * angle + phase[0]) + 0.05 * np.cos(3 * angle + phase[1]))
    flat = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.2 * ring * np.cos(2 * angle + phase[2])], axis=1)
    radii = width * (1 + 0.15 * np.cos(angle + phase[1]) + 0.06 * np.cos(3 * angle + phase[0]))
    return mesh_of_tubes([Tube(flat @ _rotation(rng), radii)], rng, bumps=_unevenness(width))


def _network(rng: np.random.Generator) -> Mesh:
    """Join scattered nodes by a minimum spanning tree, some more of their Delaunay edges, and dead ends."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import Delaunay

    width = rng.uniform(5, 7.5)
    apart = width * rng.uniform(7, 9)
    nodes = _scatter(rng, count=int(rng.integers(5, 13)), apart=apart)
    sides = Delaunay(nodes[:, :2]).simplices[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges = np.unique(np.sort(sides, axis=1), axis=0)
    lengths = np.linalg.norm(nodes[edges[:, 0]] - nodes[edges[:, 1]], axis=1)
    count = len(nodes)
    tree = minimum_spanning_tree(coo_array((lengths, edges.T), shape=(count, count))).tocoo()
    kept = {(min(i, j), max(i, j)) for i, j in zip(tree.row.tolist(), tree.col.tolist(), strict=True)}
    spare = [(i, j) for i, j in edges[np.argsort(lengths)].tolist() if (i, j) not in kept]
    kept |= set(spare[: int(rng.integers(1, 4))])
    lines = [_span(rng, nodes[i], nodes[j], bow=0.12) for i, j in sorted(kept)]
    for node in rng.choice(count, size=int(rng.integers(1, 4)), replace=False):
        outwards = nodes[node] - nodes.mean(axis=0)
        tip = nodes[node] + outwards / max(np.linalg.norm(outwards), 1.0) * apart * rng.uniform(0.4, 0.9)
        lines.append(_span(rng, nodes[node], tip, bow=0.15))
    turn = _rotation(rng, tilt=0.4)
    tubes = [_tube(rng, line @ turn, width * rng.uniform(0.85, 1.15)) for line in lines]
    return mesh_of_tubes(tubes, rng, blend=0.4, bumps=_unevenness(width))


def _nanotunnel(rng: np.random.Generator) -> Mesh:
    turn = _rotation(rng)
    gap = rng.uniform(60, 150)
    ends = np.array([[0, 0, -gap / 2], [0, 0, gap / 2]])
    tunnel = _span(rng, ends[0], ends[1], bow=0.15)
    tubes = [_tube(rng, tunnel @ turn, rng.uniform(2.2, 4.2), wobble=0.06)]
    widths = rng.uniform(8, 13, 2)
    for end, width, outwards in zip(ends, widths, (-1, 1), strict=True):
        length = width * rng.uniform(0.5, 5)
        sideways = rng.normal([0, 0, outwards], 0.5)
        tip = end + length * sideways / np.linalg.norm(sideways)
        tubes.append(_tube(rng, _span(rng, end, tip, bow=0.1) @ turn, width, wobble=0.1))
    return mesh_of_tubes(tubes, rng, blend=0.3, bumps=_unevenness(float(widths.mean())))


def _megamitochondrion(rng: np.random.Generator) -> Mesh:
    width = rng.uniform(24, 38)
    core = _wander(rng, length=width * rng.uniform(0.2, 1.6), bend=0.3)
    tubes = [_tube(rng, core, width, wobble=0.0)]
    for _ in range(int(rng.integers(1, 4))):
        outwards = rng.normal(size=3)
        outwards *= width * rng.uniform(0.6, 0.9) / np.linalg.norm(outwards)
        line = np.stack([0.5 * outwards, outwards])
        tubes.append(_tube(rng, line, width * rng.uniform(0.5, 0.75), wobble=0.0))
    return mesh_of_tubes(tubes, rng, blend=0.5, bumps=[Bumps(0.7 * width, 0.09), Bumps(0.3 * width, 0.03)])


_DRAWN: dict[str, Callable[[np.random.Generator], Mesh]] = {
    "rod": _rod,
    "dot": _dot,
    "donut": _donut,
    "network": _network,
    "nanotunnel": _nanotunnel,
    "megamitochondrion": _megamitochondrion,
}


def _unevenness(width: float) -> list[Bumps]:
    return [Bumps(1.3 * width, 0.08), Bumps(0.6 * width, 0.04)]


def _tube(rng: np.random.Generator, line: NDArray[np.float64], width: float, *, wobble: float = 0.15) -> Tube:
    """Put a tube of varying radius on a line; `wobble` is the radius' relative standard deviation."""
    from scipy.ndimage import gaussian_filter1d

    along = np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    smooth = 2 * width * len(line) / max(along, 1.0)
    noise = gaussian_filter1d(rng.normal(size=len(line)), smooth, mode="nearest")
    spread = noise.std() if len(line) > 2 else 0.0
    # Short tubes vary less: a radius that changes faster than the line advances leaves creases.
    wobble *= min(1.0, along / (6 * width))
    relative = wobble * (noise - noise.mean()) / spread if spread > 1e-9 else np.zeros(len(line))
    return Tube(line, width * np.exp(np.clip(relative, -2 * wobble, 2 * wobble)))


def _wander(rng: np.random.Generator, *, length: float, bend: float) -> NDArray[np.float64]:
    """Draw a smooth line of a given length whose direction drifts; `bend` in radians per 30 voxels."""
    legs = max(2, round(length / 30))
    direction = rng.normal(size=3)
    knots = [np.zeros(3)]
    for _ in range(legs):
        direction = direction / np.linalg.norm(direction) + rng.normal(0, bend, 3)
        knots.append(knots[-1] + direction / np.linalg.norm(direction) * length / legs)
    return _spline(np.array(knots))


def _span(
    rng: np.random.Generator, start: NDArray[np.float64], end: NDArray[np.float64], *, bow: float
) -> NDArray[np.float64]:
    """Draw a smooth line between two points; `bow` is its sideways deviation relative to their distance."""
    part = np.linspace(0, 1, 5)[:, np.newaxis]
    knots = start + part * (end - start)
    knots[1:-1] += rng.normal(0, bow / 2 * np.linalg.norm(end - start), (3, 3))
    return _spline(knots)


def _spline(knots: NDArray[np.float64], step: float = 3.0) -> NDArray[np.float64]:
    """Run a cubic spline through some knots and return points about `step` voxels apart."""
    from scipy.interpolate import CubicSpline

    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    return np.asarray(CubicSpline(along, knots)(np.linspace(0, along[-1], max(3, round(along[-1] / step)))))


def _scatter(rng: np.random.Generator, *, count: int, apart: float) -> NDArray[np.float64]:
    """Throw points on a flat slab, none closer in the plane than `apart`."""
    side = apart * np.sqrt(count) * 1.1
    points: list[NDArray[np.float64]] = []
    while len(points) < count:
        point = rng.uniform([0, 0, 0], [side, side, 0.5 * apart])
        if all(np.linalg.norm((point - other)[:2]) >= apart * 0.8 for other in points):
            points.append(point)
        else:
            side *= 1.002
    return np.array(points)


def _rotation(rng: np.random.Generator, *, tilt: float | None = None) -> NDArray[np.float64]:
    """Draw a rotation matrix: uniform, or, with `tilt`, about axis 2 and then up to `tilt` radians off it."""
    from scipy.spatial.transform import Rotation

    if tilt is None:
        return np.asarray(Rotation.random(rng=rng).as_matrix())
    turned, tilted = rng.uniform(0, 2 * np.pi), rng.uniform(0, tilt)
    return np.asarray(Rotation.from_euler("zx", [turned, tilted]).as_matrix())
