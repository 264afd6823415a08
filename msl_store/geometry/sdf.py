"""Signed distances from a triangle mesh: the fourth shape form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msl_store.geometry.arrays import checked_mesh, checked_points
from msl_store.geometry.inside import inside
from msl_store.geometry.nearest import nearest

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def signed_distance(vertices: ArrayLike, faces: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Return how far each point is from a surface, negative inside.

    The magnitude is that of `msl_store.geometry.nearest.nearest`, exact up to rounding; the sign comes from
    `msl_store.geometry.inside.inside`, so the two never depend on each other. On a closed mesh the sign is exact: where
    closed surfaces overlap, their union is inside (and the distance is still that from the nearest face, also one
    within the union), a cavity whose faces look into it is outside, and turning the whole mesh inside out changes
    nothing. On an open mesh the sign is that of `msl_store.geometry.inside.inside_open`: from the level of one half of
    the generalized winding number it jumps where a hole is, since there the distance is that from the hole's rim.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, in any unit.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices.
    points : array_like, shape (n, 3)
        Queries, in the frame and unit of the vertices.

    Returns
    -------
    ndarray of float64, shape (n,)
        In the unit of the vertices; infinite where the mesh has no faces, NaN where a point is not finite.

    Raises
    ------
    UsageError
        Where the arrays are not a mesh and points.
    """
    positions, corners = checked_mesh(vertices, faces)
    queries = checked_points(points)
    distance, _ = nearest(positions, corners, queries)
    within = inside(positions, corners, queries, open_ok=True)
    return np.negative(distance, out=distance, where=within)
