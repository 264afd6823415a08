"""What every function of this package asks of the arrays it gets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LARGEST = 1e60
"""The largest coordinate: the products of four and squares of areas that measures need stay finite."""


def checked_mesh(vertices: ArrayLike, faces: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a triangle mesh as contiguous float64 vertices and int64 faces.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, any real type; none beyond `LARGEST`.
    faces : array_like of integers, shape (n_face, 3)
        Indices of vertices.

    Raises
    ------
    UsageError
        Where a shape or type is wrong, a coordinate is not finite or beyond `LARGEST`, or a face names a vertex
        that does not exist.
    """
    points = np.ascontiguousarray(vertices, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise UsageError(f"vertices have the shape {points.shape}; allowed is (n_vertex, 3)")
    named: NDArray[Any] = np.asarray(faces)
    if named.ndim != 2 or named.shape[1] != 3:
        raise UsageError(f"faces have the shape {named.shape}; allowed is (n_face, 3): triangulate the mesh first")
    if named.dtype.kind not in "iu":
        raise UsageError(f"faces have the type {named.dtype}; allowed are integers, which index vertices")
    if len(named) and (named.min() < 0 or named.max() >= len(points)):
        worst = int(np.flatnonzero(((named < 0) | (named >= len(points))).any(axis=1))[0])
        raise UsageError(
            f"face {worst} names the vertices {named[worst].tolist()}, but the mesh has {len(points)} "
            f"(0 to {len(points) - 1}); check that faces count from 0"
        )
    allowed = np.abs(points) <= LARGEST
    if not allowed.all():
        bad = int(np.flatnonzero(~allowed.all(axis=1))[0])
        raise UsageError(f"vertex {bad} is at {points[bad].tolist()}; allowed are coordinates up to {LARGEST:g}")
    return points, np.ascontiguousarray(named, dtype=np.int64)


def checked_points(points: ArrayLike) -> NDArray[np.float64]:
    """Return positions as a contiguous float64 array of shape (n, 3), or raise `UsageError`."""
    positions = np.ascontiguousarray(points, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] != 3:
        raise UsageError(f"points have the shape {positions.shape}; allowed is (n, 3)")
    return positions


def checked_mask(mask: ArrayLike) -> NDArray[np.bool_]:
    """Return the voxels of an object as an array of bool with three axes, or raise `UsageError`."""
    solid: NDArray[Any] = np.asarray(mask)
    if solid.ndim != 3 or solid.dtype != np.bool_:
        raise UsageError(
            f"the mask is {solid.dtype} of shape {solid.shape}; allowed is bool with three axes: compare the labels "
            "with the one wanted"
        )
    if not solid.any():
        raise UsageError("no voxel of the mask is inside; leave the object out")
    return solid


def checked_voxel(voxel_um: float) -> float:
    """Return the edge of a voxel, or raise `UsageError` where it is not a positive length."""
    if not (voxel_um > 0 and math.isfinite(voxel_um)):
        raise UsageError(f"a voxel's edge is {voxel_um} um; allowed is a positive length")
    return voxel_um
