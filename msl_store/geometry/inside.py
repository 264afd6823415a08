"""Which points lie inside a triangle mesh: exactly for a closed one, by solid angles for one with holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh, checked_points
from msl_store.geometry.rays import height, passes, turned_to_rays
from msl_store.geometry.topology import topology_of_faces

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

CELLS_PER_FACE = 1.0
"""Cells of the grid for each face: finer grids take longer to fill, coarser ones longer to search."""

ENTRIES_PER_FACE = 16
"""The grid is coarsened until it lists each face at most this often on average, which bounds its memory."""

HALF = 0.5
"""The solid angle, in units of the full one, from which a point counts as inside an open mesh."""


def inside(vertices: ArrayLike, faces: ArrayLike, points: ArrayLike, *, open_ok: bool = False) -> NDArray[np.bool_]:
    """Say which points lie inside a closed mesh: those with a winding number other than zero.

    Where closed surfaces overlap, their union is inside. A cavity whose faces look into it is outside. Which way the
    faces of the whole mesh look makes no difference.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices; together they must enclose space (see `winding_number`).
    points : array_like, shape (n, 3)
        Queries, in the frame and unit of the vertices. A point that is not finite is outside.
    open_ok : bool
        Answer for an open mesh as `inside_open` does, instead of refusing it. A closed one is answered exactly.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    UsageError
        Where the mesh is open and `open_ok` is not set, or the arrays are not a mesh and points.
    """
    if open_ok:
        positions, corners = checked_mesh(vertices, faces)
        if not closed(positions, corners):
            return inside_open(positions, corners, points)
    return np.asarray(winding_number(vertices, faces, points) != 0)


def inside_open(vertices: ArrayLike, faces: ArrayLike, points: ArrayLike) -> NDArray[np.bool_]:
    """Say which points lie inside a mesh with holes: those from which half of all directions or more end on its inside.

    The generalized winding number (Jacobson et al., "Robust inside-outside segmentation using generalized winding
    numbers", ACM Trans. Graph. 32, 33, 2013) is the solid angle that the faces fill, in units of the full one; libigl
    sums it over clusters of far faces (Barill et al., "Fast winding numbers for soups and clouds", ACM Trans. Graph.
    37, 43, 2018). On a closed mesh it is the whole number that `winding_number` counts; across a hole it changes
    gradually, and its level 0.5 closes the hole.

    Its absolute value is taken, so a mesh turned inside out as a whole gives the same answer. Faces that are turned
    singly count against the others: with a share t of them turned at random, the number inside falls to about 1 - 2 t,
    and near a turned face the answer may be wrong. Make the orientation consistent first
    (`msl_store.geometry.repair.repaired`).

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices. Most must look the same way, outwards or inwards.
    points : array_like, shape (n, 3)
        Queries, in the frame and unit of the vertices. A point that is not finite is outside.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    UsageError
        Where the arrays are not a mesh and points.
    """
    import igl

    positions, corners = checked_mesh(vertices, faces)
    queries = checked_points(points)
    found = np.zeros(len(queries), np.bool_)
    finite = np.isfinite(queries).all(axis=1)
    if len(corners) and finite.any():
        found[finite] = np.abs(igl.fast_winding_number(positions, corners, queries[finite])) >= HALF
    return found


def closed(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> bool:
    """Say whether a mesh that `checked_mesh` has passed encloses space, by vertex index or by vertex position."""
    if topology_of_faces(len(vertices), faces).closed:
        return True
    merged, same = np.unique(vertices, axis=0, return_inverse=True)
    return topology_of_faces(len(merged), same.reshape(-1)[faces]).closed


def winding_number(vertices: ArrayLike, faces: ArrayLike, points: ArrayLike) -> NDArray[np.int32]:
    """Count how often a closed surface winds around each point: +1 inside a surface whose faces look outwards.

    A ray runs from each point along the shortest side of the mesh's box, and the faces that it leaves through count
    +1, those that it enters through -1. Only the faces that share the point's cell of a two-dimensional grid are
    looked at.

    Rays through edges and vertices need no special care: every test acts as if the point had been moved by
    infinitesimal amounts (Edelsbrunner & Mücke, "Simulation of simplicity", 1990), so that a ray never meets an edge,
    and two faces that share an edge always agree on the side that the ray passes on, rounding included. So the count
    is exact wherever the coordinate differences and their products are (as they are for integers), and elsewhere
    for all points farther from the surface than rounding. A point exactly on the surface counts as on one of its sides.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices. The mesh must be closed: each edge used as often in one direction as in the other, after
        vertices at the same position are taken as one.
    points : array_like, shape (n, 3)
        Queries, in the frame and unit of the vertices. A point that is not finite has winding number 0.

    Returns
    -------
    ndarray of int32, shape (n,)

    Raises
    ------
    UsageError
        Where the mesh is open, so that a ray's count depends on its direction, or the arrays are not a mesh and points.
    """
    positions, corners = checked_mesh(vertices, faces)
    queries = checked_points(points)
    refuse_open(positions, corners)
    turned = turned_to_rays(positions, corners)
    if turned is None:
        return np.zeros(len(queries), np.int32)
    order, along, low, high, box = turned
    asked = np.ascontiguousarray(queries[:, order])
    return np.asarray(_wind(along, corners, asked, low, high, box, *_grid(low, high, box)))


def refuse_open(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> None:
    """Raise `UsageError` unless the mesh is `closed`."""
    if not closed(vertices, faces):
        raise UsageError(
            f"a mesh of {len(faces)} faces is open: some edge is not used equally often in both directions, so no "
            "point is inside it; close the holes and make the faces' orientation consistent "
            "(msl_store.geometry.repair.repaired), or accept an estimate (inside with open_ok=True)"
        )


def _grid(
    low: NDArray[np.float64], high: NDArray[np.float64], box: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Lay square cells over axes 0 and 1.

    Takes the lowest and highest corners of the faces' boxes (n_face, 3) and of the mesh's (2, 3). Returns the first and
    the last cell along both axes that each face touches (2, n_face), cells per unit of length (2,), and how many (2,).
    """
    sides = (box[1] - box[0])[:2]
    wanted = CELLS_PER_FACE * len(low)
    while True:
        cells = np.clip(np.sqrt(wanted * sides / sides[::-1]), 1, wanted + 1).astype(np.int64)
        per_unit = cells / sides
        first, last = (
            np.stack([((ends[:, k] - box[0, k]) * per_unit[k]).astype(np.int64) for k in range(2)])
            for ends in (low, high)
        )
        last = np.minimum(last, cells[:, np.newaxis] - 1)
        first = np.minimum(first, last)
        if ((last - first + 1).prod(axis=0)).sum() <= ENTRIES_PER_FACE * len(low):
            return first, last, per_unit, cells
        wanted /= 4


@numba.njit(cache=True, nogil=True)
def _wind(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    points: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    box: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    per_unit: NDArray[np.float64],
    cells: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Return the winding number of each point, by rays along axis 2; boxes and cells are those of `_grid`."""
    rows = cells[1]
    start = np.zeros(cells[0] * rows + 1, np.int64)
    for f in range(len(faces)):
        for i in range(first[0, f], last[0, f] + 1):
            for cell in range(i * rows + first[1, f], i * rows + last[1, f] + 1):
                start[cell + 1] += 1
    start = np.cumsum(start)
    fill = start[:-1].copy()
    listed = np.empty(start[-1], np.int64)
    for f in range(len(faces)):
        for i in range(first[0, f], last[0, f] + 1):
            for cell in range(i * rows + first[1, f], i * rows + last[1, f] + 1):
                listed[fill[cell]] = f
                fill[cell] += 1

    winding = np.zeros(len(points), np.int32)
    for n in range(len(points)):
        x, y, z = points[n]
        # Half-open boxes, as in `passes`: a point on the upper side is past it. NaN is in no box.
        if not (box[0, 0] <= x < box[1, 0] and box[0, 1] <= y < box[1, 1] and box[0, 2] <= z < box[1, 2]):
            continue
        column = min(int((x - box[0, 0]) * per_unit[0]), cells[0] - 1)
        cell = column * rows + min(int((y - box[0, 1]) * per_unit[1]), rows - 1)
        for entry in range(start[cell], start[cell + 1]):
            f = listed[entry]
            if x < low[f, 0] or x >= high[f, 0] or y < low[f, 1] or y >= high[f, 1] or z >= high[f, 2]:
                continue
            a, b, c = faces[f]
            turn = passes(vertices, a, b, x, y) + passes(vertices, b, c, x, y) + passes(vertices, c, a, x, y)
            if turn != 0 and (z < low[f, 2] or turn * height(vertices, a, b, c, x, y, z) < 0):
                winding[n] += turn
    return winding
