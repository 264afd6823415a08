"""Voxels whose centres lie inside a closed triangle mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh
from msl_store.geometry.inside import refuse_open
from msl_store.geometry.rays import height, passes, turned_to_rays
from msl_store.shapes import QUERY_EXTENT, Mesh

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """A shape as voxels of the cube [-0.55, 0.55]^3 of the normalized frame, which occupancy queries fill too.

    Voxel (i, j, k) is centred on ``-0.55 + (index + 0.5) * edge`` along the axes 0, 1, 2. The cube is 5 % of the
    shape's longest side wider than its box on both ends of every axis, so the outermost voxels are outside (from 10
    voxels on).

    Attributes
    ----------
    inside_bits : ndarray of uint8, shape (ceil(size^3 / 8),)
        The answers of all voxels in C order, packed as by ``numpy.packbits`` (big bit order).
    size : int
        Voxels along each axis.
    loc : ndarray of float64, shape (3,)
        Centre of the raw mesh's bounding box, in the mesh's unit: ``normalized = (raw - loc) / scale``.
    scale : float
        Longest side of that box.
    """

    inside_bits: NDArray[np.uint8]
    size: int
    loc: NDArray[np.float64]
    scale: float

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which voxels' centres are inside, shape (size, size, size)."""
        bits = np.unpackbits(self.inside_bits, count=self.size**3)
        return bits.astype(np.bool_).reshape(self.size, self.size, self.size)

    @property
    def edge(self) -> float:
        """Edge of a voxel in the normalized frame; times `scale`, in the mesh's unit."""
        return 2 * QUERY_EXTENT / self.size

    @property
    def low(self) -> NDArray[np.float64]:
        """The cube's lower corner in the mesh's unit, shape (3,)."""
        return np.asarray(self.loc - QUERY_EXTENT * self.scale)


def voxel_grid(vertices: ArrayLike, faces: ArrayLike, size: int = 64) -> VoxelGrid:
    """Voxelise a mesh in its normalized frame (see `VoxelGrid`).

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, in any unit.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices; together they must enclose space.
    size : int
        Voxels along each axis of the cube.

    Raises
    ------
    UsageError
        Where the mesh is open or has no extent, or the size is not positive.
    """
    positions, corners = checked_mesh(vertices, faces)
    if size < 1:
        raise UsageError(f"a grid of {size} voxels an axis was asked for; allowed is 1 or more")
    if not len(positions):
        raise UsageError("a mesh without vertices has no frame; leave it out")
    loc, scale = Mesh(positions, corners.astype(np.uint32)).box()
    if not scale > 0:
        raise UsageError("all vertices of the mesh lie at one point, so it has no frame; leave it out")
    edge = 2 * QUERY_EXTENT * scale / size
    solid = voxelise(positions, corners, low=loc - QUERY_EXTENT * scale, edge=edge, shape=(size, size, size))
    return VoxelGrid(np.packbits(solid), size, loc, scale)


def voxel_centres(low: ArrayLike, edge: ArrayLike, shape: Sequence[int]) -> list[NDArray[np.float64]]:
    """Return where voxel centres lie along the axes 0, 1, 2: ``low + (index + 0.5) * edge``."""
    lows, edges = np.broadcast_to(np.asarray(low, np.float64), 3), np.broadcast_to(np.asarray(edge, np.float64), 3)
    return [lows[k] + (np.arange(shape[k]) + 0.5) * edges[k] for k in range(3)]


def voxelise(
    vertices: ArrayLike, faces: ArrayLike, *, low: ArrayLike, edge: ArrayLike, shape: Sequence[int]
) -> NDArray[np.bool_]:
    """Say which voxels of a box have their centres inside a closed mesh.

    One ray a column of voxels instead of one a centre; the answers are those of `msl_store.geometry.inside.inside` on
    the centres, on every one of them, since rays and tests are the same.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices; together they must enclose space.
    low : array_like, shape (3,)
        Lower corner of voxel (0, 0, 0), in the frame and unit of the vertices; its centre is half an edge farther.
    edge : float, or array_like of shape (3,)
        Edge of a voxel, in the unit of the vertices.
    shape : sequence of 3 ints
        Voxels along the axes 0, 1, 2.

    Returns
    -------
    ndarray of bool, of the given shape

    Raises
    ------
    UsageError
        Where the mesh is open, the edge is not positive, the shape is not three sizes, or the arrays are not a mesh.
    """
    size, edges = tuple(int(n) for n in shape), np.asarray(edge, np.float64)
    if len(size) != 3 or min(size) < 0:
        raise UsageError(f"the voxels have the shape {size}; allowed are three sizes, 0 or more")
    if edges.shape not in ((), (3,)) or not (np.isfinite(edges).all() and (edges > 0).all()):
        raise UsageError(f"a voxel's edge is {edges.tolist()}; allowed is a positive length, or one for each axis")
    if np.shape(low) not in ((), (3,)) or not np.isfinite(np.asarray(low, np.float64)).all():
        raise UsageError(f"the voxels' lower corner is {np.asarray(low).tolist()}; allowed are three coordinates")
    return inside_at(vertices, faces, voxel_centres(low, edges, size))


def inside_at(vertices: ArrayLike, faces: ArrayLike, axes: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Say which points of a rectilinear grid lie inside a closed mesh, as `voxelise` does.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices; together they must enclose space.
    axes : sequence of 3 ndarrays
        The points' coordinates along the axes 0, 1, 2, each ascending.

    Returns
    -------
    ndarray of bool, shape (n_0, n_1, n_2)

    Raises
    ------
    UsageError
        Where the mesh is open, or the arrays are not a mesh.
    """
    positions, corners = checked_mesh(vertices, faces)
    refuse_open(positions, corners)
    solid = np.zeros([len(axis) for axis in axes], np.bool_)
    turned = turned_to_rays(positions, corners)
    if turned is None:
        return solid
    order, along, lowest, highest, _ = turned
    x, y, z = (axes[axis] for axis in order)
    # The first centre in each face's half-open box, and the first beyond it.
    first = np.stack([np.searchsorted(c, lowest[:, k]) for k, c in enumerate((x, y, z))])
    last = np.stack([np.searchsorted(c, highest[:, k]) for k, c in enumerate((x, y, z))])
    _fill_columns(solid.transpose(order), along, corners, x, y, z, first, last)
    return solid


@numba.njit(cache=True, nogil=True)
def _fill_columns(
    solid: NDArray[np.bool_],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> None:
    """Set the voxels with another winding number than zero, one plane of columns at a time."""
    start, listed = _by_plane(len(x), first, last)
    # change[j, k] is how much the winding number of column j rises from voxel k - 1 to voxel k.
    change = np.zeros((len(y), len(z) + 1), np.int32)
    for i in range(len(x)):
        if start[i] == start[i + 1]:
            continue
        for entry in range(start[i], start[i + 1]):
            f = listed[entry]
            a, b, c = faces[f]
            for j in range(first[1, f], last[1, f]):
                turn = passes(vertices, a, b, x[i], y[j])
                turn += passes(vertices, b, c, x[i], y[j]) + passes(vertices, c, a, x[i], y[j])
                if turn != 0:
                    _leave(change[j], turn, vertices, a, b, c, x[i], y[j], z, first[2, f], last[2, f])
        for j in range(len(y)):
            winding = 0
            for k in range(len(z)):
                winding += change[j, k]
                change[j, k] = 0
                solid[i, j, k] = winding != 0
            change[j, len(z)] = 0


@numba.njit(cache=True, nogil=True)
def _by_plane(
    planes: int, first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the faces whose boxes hold centres of each plane: plane i has ``listed[start[i] : start[i + 1]]``."""
    start = np.zeros(planes + 1, np.int64)
    for f in range(first.shape[1]):
        if first[1, f] < last[1, f]:
            for i in range(first[0, f], last[0, f]):
                start[i + 1] += 1
    start = np.cumsum(start)
    fill = start[:-1].copy()
    listed = np.empty(start[-1], np.int64)
    for f in range(first.shape[1]):
        if first[1, f] < last[1, f]:
            for i in range(first[0, f], last[0, f]):
                listed[fill[i]] = f
                fill[i] += 1
    return start, listed


@numba.njit(cache=True, nogil=True)
def _leave(
    change: NDArray[np.int32],
    turn: int,
    vertices: NDArray[np.float64],
    a: int,
    b: int,
    c: int,
    x: float,
    y: float,
    z: NDArray[np.float64],
    first: int,
    last: int,
) -> None:
    """Count a face for the voxels of a column whose rays leave through it: those below the face.

    Voxels before `first` lie below the face's box, those from `last` on above it. Between them rounding keeps the
    order of heights, so the border is found by bisection, unless rounding has turned the face over, which happens to
    faces that are nearly upright: there each voxel is asked.
    """
    change[0] += turn
    upright = (vertices[b, 0] - vertices[a, 0]) * (vertices[c, 1] - vertices[a, 1])
    upright -= (vertices[b, 1] - vertices[a, 1]) * (vertices[c, 0] - vertices[a, 0])
    if turn * upright >= 0:
        while first < last:
            middle = (first + last) // 2
            if turn * height(vertices, a, b, c, x, y, z[middle]) < 0:
                first = middle + 1
            else:
                last = middle
        change[first] -= turn
        return
    change[first] -= turn
    for k in range(first, last):
        if turn * height(vertices, a, b, c, x, y, z[k]) < 0:
            change[k] += turn
            change[k + 1] -= turn
