"""Areas, normals and random points of a triangle surface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def area_vectors(vertices: ArrayLike, faces: ArrayLike) -> NDArray[np.float64]:
    """Return each face's normal times its area, float64 (n_face, 3), in the squared unit of the vertices.

    The vector points to the side from which the corners run counter-clockwise: outwards on a published mesh.
    """
    points, corners = checked_mesh(vertices, faces)
    a, b, c = points[corners[:, 0]], points[corners[:, 1]], points[corners[:, 2]]
    b -= a
    c -= a
    crossed = np.empty_like(a)
    for axis in range(3):
        j, k = (axis + 1) % 3, (axis + 2) % 3
        crossed[:, axis] = 0.5 * (b[:, j] * c[:, k] - b[:, k] * c[:, j])
    return crossed


def triangle_areas(vertices: ArrayLike, faces: ArrayLike) -> NDArray[np.float64]:
    """Return the area of each face, float64 (n_face,), in the squared unit of the vertices."""
    return np.asarray(_areas(*checked_mesh(vertices, faces)))


def area(vertices: ArrayLike, faces: ArrayLike) -> float:
    """Return the surface area, in the squared unit of the vertices.

    >>> area([[0, 0, 0], [2, 0, 0], [0, 3, 0]], [[0, 1, 2]])
    3.0
    """
    return float(triangle_areas(vertices, faces).sum())


def face_normals(vertices: ArrayLike, faces: ArrayLike) -> NDArray[np.float64]:
    """Return the unit normal of each face, float64 (n_face, 3); zero for a face without area.

    Index it with the faces that `sample_surface` returns to get the normals of points on the surface.
    """
    crossed = area_vectors(vertices, faces)
    length = np.sqrt(np.einsum("ij,ij->i", crossed, crossed))
    return np.asarray(crossed / np.where(length > 0, length, 1.0)[:, np.newaxis])


def sample_surface(
    vertices: ArrayLike, faces: ArrayLike, count: int, rng: np.random.Generator, *, ordered: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw independent points, uniform on the surface.

    A face is drawn with a probability proportional to its area, and a point in it by folding a uniform point of the
    parallelogram that two of its sides span (Turk, "Generating random points in triangles", Graphics Gems, 1990).

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, in any unit.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices.
    count : int
        How many points.
    rng : numpy.random.Generator
        Its state decides the points.
    ordered : bool
        In the order of the faces, which is twice as fast; else any run of the points is a sample by itself.

    Returns
    -------
    points : ndarray of float64, shape (count, 3)
        In the unit of the vertices.
    face_index : ndarray of int64, shape (count,)
        The face that each point lies on.

    Raises
    ------
    UsageError
        Where the arrays are not a mesh, the count is negative, or the surface has no area.
    """
    points, corners = checked_mesh(vertices, faces)
    if count < 0:
        raise UsageError(f"{count} points were asked for; allowed is 0 or more")
    cumulative = np.cumsum(triangle_areas(points, corners))
    if not (len(cumulative) and cumulative[-1] > 0):
        raise UsageError(f"a mesh of {len(corners)} faces has no area to draw points from; give one that has")
    uniform = rng.random((count, 3))
    if ordered:
        uniform[:, 0].sort()
    drawn, picked = _draw(points, corners, cumulative, uniform)
    return drawn, picked


@numba.njit(cache=True, nogil=True)
def _areas(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the area of each face: half the length of the product of two sides."""
    areas = np.empty(len(faces))
    for f in range(len(faces)):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        x = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        y = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
        z = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        areas[f] = 0.5 * np.sqrt(x * x + y * y + z * z)
    return areas


@numba.njit(cache=True, nogil=True)
def _draw(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    cumulative: NDArray[np.float64],
    uniform: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Turn rows of three uniform numbers into points on faces whose areas add up to `cumulative`."""
    total = cumulative[-1]
    # The last face with any area also takes the draws that rounding puts at the very end.
    last = np.searchsorted(cumulative, total)
    points = np.empty((len(uniform), 3))
    picked = np.empty(len(uniform), np.int64)
    for n in range(len(uniform)):
        f = min(np.searchsorted(cumulative, uniform[n, 0] * total, side="right"), last)
        u, v = uniform[n, 1], uniform[n, 2]
        if u + v > 1:
            u, v = 1 - u, 1 - v
        a, b, c = faces[f]
        for i in range(3):
            origin = vertices[a, i]
            points[n, i] = origin + u * (vertices[b, i] - origin) + v * (vertices[c, i] - origin)
        picked[n] = f
    return points, picked
