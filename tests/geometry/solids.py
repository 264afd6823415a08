"""Closed meshes, faces outwards, as (vertices, faces): analytic solids, grid-aligned staircases, an exact reference."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Solid = tuple["NDArray[np.float64]", "NDArray[np.int64]"]


def box(sides: Sequence[float] = (1, 1, 1), corner: Sequence[float] = (0, 0, 0)) -> Solid:
    """Return a box of 8 vertices and 12 faces."""
    return staircase(np.ones((1, 1, 1), bool), np.asarray(sides, float), np.asarray(corner, float))


def sphere(radius: float, level: int, centre: Sequence[float] = (0, 0, 0)) -> Solid:
    """Return an octahedron whose faces were split in four `level` times, vertices on the sphere."""
    vertices = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(level):
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2)
        edges, which = np.unique(sides, axis=0, return_inverse=True)
        middle = len(vertices) + which.reshape(-1, 3)
        vertices = np.concatenate([vertices, vertices[edges].sum(axis=1)])
        vertices /= np.linalg.norm(vertices, axis=1, keepdims=True)
        (a, b, c), (ab, bc, ca) = faces.T, middle.T
        faces = np.concatenate([np.stack(f, axis=1) for f in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return radius * vertices + np.asarray(centre, float), faces


def torus(ring: float, tube: float, around: int, across: int) -> Solid:
    """Return a torus about axis 2."""
    u, v = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    a, b = 2 * np.pi * u / around, 2 * np.pi * v / across
    distance = ring + tube * np.cos(b)
    vertices = np.stack([distance * np.cos(a), distance * np.sin(a), tube * np.sin(b)], axis=-1).reshape(-1, 3)
    here, on = u * across + v, (u + 1) % around * across + v
    up, both = u * across + (v + 1) % across, (u + 1) % around * across + (v + 1) % across
    faces = np.stack([np.stack([here, on, both], -1), np.stack([here, both, up], -1)], axis=2)
    return vertices, faces.reshape(-1, 3)


def staircase(mask: NDArray[np.bool_], sides: Any = 1.0, corner: Any = 0.0) -> Solid:
    """Return the faces of a mask's voxels towards voxels outside; voxel (i, j, k) spans i to i + 1 and so on."""
    padded = np.pad(mask, 1)
    quads = []
    for axis in range(3):
        for step in (-1, 1):
            border = padded & ~np.roll(padded, -step, axis)
            base = np.argwhere(border) - 1
            j, k = np.eye(3, dtype=int)[(axis + 1) % 3], np.eye(3, dtype=int)[(axis + 2) % 3]
            base = base + (np.eye(3, dtype=int)[axis] if step == 1 else 0)
            around = [base, base + j, base + j + k, base + k]
            quads.append(np.stack(around if step == 1 else around[::-1], axis=1))
    corners = np.concatenate(quads)
    vertices, named = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    named = named.reshape(-1, 4)
    faces = np.concatenate([named[:, [0, 1, 2]], named[:, [0, 2, 3]]])
    return vertices * sides + corner, faces


def together(*parts: Solid) -> Solid:
    """Return several solids as one mesh."""
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in parts[:-1]])
    return (
        np.concatenate([vertices for vertices, _ in parts]),
        np.concatenate([faces + offset for (_, faces), offset in zip(parts, offsets, strict=True)]),
    )


def exact_winding(vertices: NDArray[Any], faces: NDArray[Any], point: NDArray[Any]) -> int | None:
    """Return the winding number in rational arithmetic, along a direction unlike any other; None on the surface."""
    direction = (Fraction(1), Fraction(10_007, 9_001), Fraction(-1_000_003, 700_001))
    origin = [Fraction(float(x)) for x in point]
    total = 0
    for face in faces:
        a, b, c = ([Fraction(float(x)) - o for x, o in zip(vertices[i], origin, strict=True)] for i in face)
        normal = cross([q - p for p, q in zip(a, b, strict=True)], [q - p for p, q in zip(a, c, strict=True)])
        height, rise = dot(normal, a), dot(normal, direction)
        if height == 0 and all(dot(normal, cross(p, q)) >= 0 for p, q in ((a, b), (b, c), (c, a))):
            return None
        sides = [dot(direction, cross(p, q)) for p, q in ((a, b), (b, c), (c, a))]
        if (min(sides) > 0 or max(sides) < 0) and height * rise > 0:
            total += 1 if rise > 0 else -1
    return total


def cross(u: Sequence[Fraction], v: Sequence[Fraction]) -> list[Fraction]:
    """Return the vector product."""
    return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]


def dot(u: Sequence[Fraction], v: Sequence[Fraction]) -> Fraction:
    """Return the scalar product."""
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


def exact_squared_distance(vertices: NDArray[Any], faces: NDArray[Any], point: NDArray[Any]) -> Fraction:
    """Return the squared distance of a point from the nearest of all faces in rational arithmetic."""
    origin = [Fraction(float(x)) for x in point]
    found = []
    for face in faces:
        a, b, c = ([Fraction(float(x)) - o for x, o in zip(vertices[i], origin, strict=True)] for i in face)
        found += [_to_segment(p, q) for p, q in ((a, b), (b, c), (c, a))]
        normal = cross([q - p for p, q in zip(a, b, strict=True)], [q - p for p, q in zip(a, c, strict=True)])
        if any(normal) and all(dot(normal, cross(p, q)) >= 0 for p, q in ((a, b), (b, c), (c, a))):
            found.append(dot(normal, a) ** 2 / dot(normal, normal))
    return min(found)


def _to_segment(start: Sequence[Fraction], end: Sequence[Fraction]) -> Fraction:
    """Return the squared distance of the origin from a segment."""
    along = [q - p for p, q in zip(start, end, strict=True)]
    length = dot(along, along)
    part = min(max(-dot(start, along) / length, Fraction(0)), Fraction(1)) if length else Fraction(0)
    nearest = [p + part * d for p, d in zip(start, along, strict=True)]
    return dot(nearest, nearest)
