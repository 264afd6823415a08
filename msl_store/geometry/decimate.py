"""Meshes of fewer faces with nearly the same shape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh
from msl_store.geometry.topology import Topology, topology_of_faces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FEWEST = 4
"""Faces of the smallest closed mesh, a tetrahedron."""

CONCESSION = 1.25
"""How many times as many faces are kept when the surface does not stay whole with fewer."""


def decimated(
    vertices: ArrayLike, faces: ArrayLike, *, target_faces: int | None = None, ratio: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a mesh of fewer faces.

    Edges are collapsed where that moves the surface least, by the quadric error of Garland & Heckbert, "Surface
    simplification using quadric error metrics" (SIGGRAPH 1997), in the library fast-simplification. The library does
    not look after the topology, so that is checked: a watertight mesh stays watertight and keeps its number of pieces,
    its Euler number, and, where it has one, its genus. Where the wanted number of faces does not allow that, a quarter
    more are kept, and again, if need be up to all. Faces may cross each other where parts lie very close together.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, in any unit.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices.
    target_faces : int, optional
        How many faces to keep, 4 or more. A mesh that has no more is returned as it is.
    ratio : float, optional
        Share of the faces to keep, above 0 and at most 1; give one of the two.

    Returns
    -------
    vertices : ndarray of float64, shape (m_vertex, 3)
    faces : ndarray of int64, shape (m_face, 3)
        About as many as wanted, or more (see above).

    Raises
    ------
    UsageError
        Where the arrays are not a mesh, or not exactly one of `target_faces` and `ratio` is given, or it is out of
        range.
    """
    points, corners = checked_mesh(vertices, faces)
    if (target_faces is None) == (ratio is None):
        raise UsageError("either target_faces or ratio is needed, and not both")
    if ratio is not None and not 0 < ratio <= 1:
        raise UsageError(f"a share of {ratio} of the faces was to be kept; allowed is more than 0 and at most 1")
    if target_faces is not None and target_faces < FEWEST:
        raise UsageError(f"{target_faces} faces were to be kept; allowed is {FEWEST} or more")
    wanted = max(round(ratio * len(corners)), FEWEST) if ratio is not None else int(target_faces or 0)
    before = topology_of_faces(len(points), corners)
    while wanted < len(corners):
        found, named = _collapsed(points, corners, wanted)
        if not before.watertight or _alike(before, topology_of_faces(len(found), named)):
            return found, named
        wanted = math.ceil(wanted * CONCESSION)
    return points, corners


def _alike(before: Topology, after: Topology) -> bool:
    """Say whether a mesh is as well joined as the one it was made from."""
    return (
        after.watertight
        and after.manifold >= before.manifold
        and (after.component_count, after.euler_number) == (before.component_count, before.euler_number)
    )


def _collapsed(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], kept: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    import fast_simplification

    points, corners = fast_simplification.simplify(vertices, faces, target_count=kept)
    return np.ascontiguousarray(points, np.float64), np.ascontiguousarray(corners, np.int64)
