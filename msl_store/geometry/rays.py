"""Rays along one axis through a triangle mesh, and on which side of an edge or a face they pass.

Every test acts as if the point that the ray starts from had been moved by infinitesimal amounts (Edelsbrunner & Mücke,
"Simulation of simplicity: a technique to cope with degenerate cases in geometric algorithms", ACM Trans. Graph. 9, 66,
1990), so a ray never meets an edge or a vertex, and all faces that share an edge agree on the side that it passes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLAT = 1e-100
"""A mesh thinner than this encloses nothing; also keeps divisions by its sides finite."""


def turned_to_rays(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """Turn a mesh so that rays run along axis 2, the shortest side of its box; None where it encloses nothing.

    Returns the order of the axes, the turned vertices, the lowest and the highest corners of the faces' boxes
    (n_face, 3) and of the mesh's (2, 3).
    """
    if not len(faces):
        return None
    box = _box(vertices, faces)
    sides = box[1] - box[0]
    if not (sides > FLAT).all():
        return None
    shortest = int(np.argmin(sides))
    # A cyclic order of the axes keeps the faces' orientation.
    order = [(shortest + 1) % 3, (shortest + 2) % 3, shortest]
    turned = np.ascontiguousarray(vertices[:, order])
    return order, turned, *_boxes(turned, faces), box[:, order]


@numba.njit(cache=True, nogil=True)
def _box(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lowest and the highest corner of the box of all faces, (2, 3)."""
    box = np.empty((2, 3))
    for k in range(3):
        low, high = np.inf, -np.inf
        for f in range(len(faces)):
            for corner in range(3):
                low = min(low, vertices[faces[f, corner], k])
                high = max(high, vertices[faces[f, corner], k])
        box[0, k], box[1, k] = low, high
    return box


@numba.njit(cache=True, nogil=True)
def _boxes(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest corner of each face's box, (n_face, 3) each."""
    low, high = np.empty((len(faces), 3)), np.empty((len(faces), 3))
    for f in range(len(faces)):
        a, b, c = faces[f]
        for k in range(3):
            low[f, k] = min(vertices[a, k], vertices[b, k], vertices[c, k])
            high[f, k] = max(vertices[a, k], vertices[b, k], vertices[c, k])
    return low, high


@numba.njit(cache=True, nogil=True)
def passes(vertices: NDArray[np.float64], a: int, b: int, x: float, y: float) -> int:
    """Return +1 where the edge from a to b goes up across the ray from (x, y) towards +x, -1 where down, else 0.

    The point counts as moved by +d0 in x and by a far smaller +d1 in y. The edge is always computed from its lower
    end, so that both faces that share it come to the same result.
    """
    up = vertices[a, 1] <= y < vertices[b, 1]
    if not up and not vertices[b, 1] <= y < vertices[a, 1]:
        return 0
    foot, head = (a, b) if up else (b, a)
    x0, y0, x1, y1 = vertices[foot, 0], vertices[foot, 1], vertices[head, 0], vertices[head, 1]
    if x >= max(x0, x1):
        return 0
    if x >= min(x0, x1) and (x - x0) * (y1 - y0) >= (x1 - x0) * (y - y0):
        return 0
    return 1 if up else -1


@numba.njit(cache=True, nogil=True)
def height(vertices: NDArray[np.float64], a: int, b: int, c: int, x: float, y: float, z: float) -> float:
    """Return the scalar product of a face's normal with (x, y, z) - a: its sign tells the side of the face's plane."""
    u0, u1, u2 = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    v0, v1, v2 = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    return float(
        (u1 * v2 - u2 * v1) * (x - vertices[a, 0])
        + (u2 * v0 - u0 * v2) * (y - vertices[a, 1])
        + (u0 * v1 - u1 * v0) * (z - vertices[a, 2])
    )
