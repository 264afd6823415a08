"""How far points lie from a triangle surface, and which face is nearest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh, checked_points
from msl_store.geometry.boxtree import BOX_ROWS, FACE_ROWS, LANES, box_tree

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FINEST = 7
"""Points are sorted into at most 2^(3 * 7) cells, which takes 8 MB."""

SPREAD = np.array([sum((n >> bit & 1) << 3 * bit for bit in range(FINEST)) for n in range(1 << FINEST)])
"""The bits of a cell's number along one axis, two apart."""

# Rows as offsets: unsigned, since a signed index may be negative, which the compiler would have to look after.
_R = tuple(np.uint64(row * LANES) for row in range(FACE_ROWS))
_LANES, _PACKET, _NODE = np.uint64(LANES), np.uint64(FACE_ROWS * LANES), np.uint64(BOX_ROWS * LANES)


def nearest(
    vertices: ArrayLike, faces: ArrayLike, points: ArrayLike, *, within: float = math.inf
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return how far each point is from a surface, and its nearest face.

    The distance is exact up to rounding: that of the point from the nearest point of any face, be it in the face's
    middle, on an edge or at a corner. The mesh may be open, and its faces may look any way, cross each other or have no
    area. Points are taken in the order of a space-filling curve, so that the face nearest to the last one bounds the
    search for the next.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, in any unit.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices.
    points : array_like, shape (n, 3)
        Queries, in the frame and unit of the vertices.
    within : float
        Look no farther than this; a small value makes it faster.

    Returns
    -------
    distance : ndarray of float64, shape (n,)
        In the unit of the vertices, 0 or more; infinite where no face is nearer than `within`, NaN where a point is not
        finite.
    face : ndarray of int64, shape (n,)
        One of the nearest faces; -1 where the distance is not finite.

    Raises
    ------
    UsageError
        Where the arrays are not a mesh and points, or `within` is negative or NaN.
    """
    positions, corners = checked_mesh(vertices, faces)
    queries = checked_points(points)
    if not within >= 0:
        raise UsageError(f"distances within {within} were asked for; allowed is 0 or more")
    distance, face = np.full(len(queries), math.inf), np.full(len(queries), -1)
    finite = np.isfinite(queries).all(axis=1)
    if not finite.all():
        distance[~finite] = math.nan
        distance[finite], face[finite] = nearest(positions, corners, queries[finite], within=within)
    elif len(queries) and len(corners):
        tree = box_tree(positions, corners)
        order = _along_curve(queries)
        squared, place = _search(queries, order, tree.packets, tree.boxes, tree.child, float(within) ** 2)
        distance = np.sqrt(squared)
        found = place >= 0
        # Places beyond the last face repeat it.
        face[found] = tree.face[np.minimum(place[found], len(corners) - 1)]
    return distance, face


def _along_curve(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an order of points in which neighbours mostly lie close together: that of their cells in a Z-curve."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = float((high / 2 - low / 2).max()) * 2
    if not 0 < side < math.inf:
        return np.arange(len(points))
    bits = min(math.ceil(math.log2(len(points)) / 3), FINEST)
    return np.asarray(_sorted_by_cell(points, low, (1 << bits) / side, bits, SPREAD))


@numba.njit(cache=True, nogil=True)
def _sorted_by_cell(
    points: NDArray[np.float64], low: NDArray[np.float64], per_unit: float, bits: int, spread: NDArray[np.int64]
) -> NDArray[np.int64]:
    last = (1 << bits) - 1
    cell = np.empty(len(points), np.int64)
    start = np.zeros((1 << 3 * bits) + 1, np.int32)
    for n in range(len(points)):
        code = 0
        for k in range(3):
            code |= spread[min(int((points[n, k] - low[k]) * per_unit), last)] << k
        cell[n] = code
        start[code + 1] += 1
    for code in range(1 << 3 * bits):
        start[code + 1] += start[code]
    order = np.empty(len(points), np.int64)
    for n in range(len(points)):
        order[start[cell[n]]] = n
        start[cell[n]] += 1
    return order


@numba.njit(nogil=True, inline="always")
def _to_boxes(
    boxes: NDArray[np.float64], node: np.uint64, x: float, y: float, z: float, squared: NDArray[np.float64]
) -> None:
    """Write the squared distances of a point from the boxes of a node."""
    at = node * _NODE
    for j in range(_LANES):
        i = at + j
        u = boxes[i + _R[3]] * x + boxes[i + _R[4]] * y + boxes[i + _R[5]] * z
        v = boxes[i + _R[6]] * x + boxes[i + _R[7]] * y + boxes[i + _R[8]] * z
        w = boxes[i + _R[9]] * x + boxes[i + _R[10]] * y + boxes[i + _R[11]] * z
        u = abs(u - boxes[i]) - boxes[i + _R[12]]
        v = abs(v - boxes[i + _R[1]]) - boxes[i + _R[13]]
        w = abs(w - boxes[i + _R[2]]) - boxes[i + _R[14]]
        u = max(0.0, u)
        v = max(0.0, v)
        w = max(0.0, w)
        squared[j] = u * u + v * v + w * w


@numba.njit(nogil=True, inline="always")
def _to_faces(
    packets: NDArray[np.float64], packet: np.uint64, px: float, py: float, pz: float, squared: NDArray[np.float64]
) -> None:
    """Write the squared distances of a point from the faces of a packet.

    Where the point's foot lies within the face, that is the distance from its plane, else that from the nearest of
    its three edges.
    """
    at = packet * _PACKET
    for j in range(_LANES):
        i = at + j
        x, y, z = px - packets[i], py - packets[i + _R[1]], pz - packets[i + _R[2]]
        u0, u1, u2 = packets[i + _R[3]], packets[i + _R[4]], packets[i + _R[5]]
        v0, v1, v2 = packets[i + _R[6]], packets[i + _R[7]], packets[i + _R[8]]
        along_u = x * packets[i + _R[9]] + y * packets[i + _R[10]] + z * packets[i + _R[11]]
        along_v = x * packets[i + _R[12]] + y * packets[i + _R[13]] + z * packets[i + _R[14]]
        above = x * packets[i + _R[15]] + y * packets[i + _R[16]] + z * packets[i + _R[17]]

        t = (x * u0 + y * u1 + z * u2) * packets[i + _R[18]]
        t = max(0.0, t)
        t = min(1.0, t)
        e0, e1, e2 = x - t * u0, y - t * u1, z - t * u2
        least = e0 * e0 + e1 * e1 + e2 * e2

        t = (x * v0 + y * v1 + z * v2) * packets[i + _R[19]]
        t = max(0.0, t)
        t = min(1.0, t)
        e0, e1, e2 = x - t * v0, y - t * v1, z - t * v2
        other = e0 * e0 + e1 * e1 + e2 * e2
        least = min(least, other)

        v0, v1, v2 = v0 - u0, v1 - u1, v2 - u2
        x, y, z = x - u0, y - u1, z - u2
        t = (x * v0 + y * v1 + z * v2) * packets[i + _R[20]]
        t = max(0.0, t)
        t = min(1.0, t)
        e0, e1, e2 = x - t * v0, y - t * v1, z - t * v2
        other = e0 * e0 + e1 * e1 + e2 * e2
        least = min(least, other)

        within = (along_u >= 0.0) & (along_v >= 0.0) & (along_u + along_v <= 1.0)
        squared[j] = above * above if within else least


@numba.njit(cache=True, nogil=True)
def _search(
    points: NDArray[np.float64],
    order: NDArray[np.int64],
    packets: NDArray[np.float64],
    boxes: NDArray[np.float64],
    child: NDArray[np.int64],
    farthest: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each point's squared distance and the place of the nearest face in the packets, -1 where none is near.

    Nodes are taken nearest first, and left out where they are farther than the nearest face so far.
    """
    packet_count = np.uint64(len(packets)) // _PACKET
    root = packet_count + np.uint64(len(boxes)) // _NODE - np.uint64(1)
    distance, face = np.empty(len(points)), np.empty(len(points), np.int64)
    # Sixteen nodes of each level wait at most, and no tree in memory has more levels than this has room for.
    waiting, how_far = np.empty(16 * LANES, np.uint64), np.empty(16 * LANES)
    squared = np.empty(LANES)
    last = np.uint64(0)
    for n in order:
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        best, place = farthest, np.int64(-1)
        _to_faces(packets, last, x, y, z, squared)
        for j in range(LANES):
            if squared[j] < best:
                best, place = squared[j], np.int64(last) * LANES + j
        tried = last
        waiting[0], how_far[0] = root, 0.0
        top = 1
        while top > 0:
            top -= 1
            node = waiting[top]
            if how_far[top] >= best or node == tried:
                continue
            if node < packet_count:
                _to_faces(packets, node, x, y, z, squared)
                for j in range(LANES):
                    if squared[j] < best:
                        best, place, last = squared[j], np.int64(node) * LANES + j, node
                continue
            _to_boxes(boxes, node - packet_count, x, y, z, squared)
            floor, first = top, child[node - packet_count]
            for j in range(LANES):
                if squared[j] < best:
                    i = top
                    while i > floor and how_far[i - 1] < squared[j]:
                        waiting[i], how_far[i] = waiting[i - 1], how_far[i - 1]
                        i -= 1
                    waiting[i], how_far[i] = np.uint64(first + j), squared[j]
                    top += 1
        distance[n], face[n] = (best, place) if place >= 0 else (np.inf, -1)
    return distance, face
