"""How a mesh is joined together: closed or open, how many pieces, how many handles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.geometry.arrays import checked_mesh

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Topology:
    """The topology of a triangle mesh; faces that name a vertex twice have no area and are left out.

    Attributes
    ----------
    vertex_count, edge_count, face_count : int
        What the faces use; an edge is counted once for both directions.
    component_count : int
        Pieces that share no vertex.
    closed : bool
        Every edge is used as often in one direction as in the other: the surface has no boundary, so that
        "inside" and the volume mean something, even where pieces touch along an edge.
    watertight : bool
        Every edge is shared by exactly two faces, which use it in opposite directions.
    manifold : bool
        Watertight, and the faces around every vertex form one fan.
    """

    vertex_count: int
    edge_count: int
    face_count: int
    component_count: int
    closed: bool
    watertight: bool
    manifold: bool

    @property
    def euler_number(self) -> int:
        """Vertices minus edges plus faces."""
        return self.vertex_count - self.edge_count + self.face_count

    @property
    def genus(self) -> float:
        """Handles of all components together, from ``euler_number = 2 components - 2 genus``; NaN unless manifold."""
        return self.component_count - self.euler_number / 2 if self.manifold else math.nan


def topology(vertices: ArrayLike, faces: ArrayLike) -> Topology:
    """Count what a mesh is made of and how it is joined.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, in any unit. Vertices count as the same where their index is the same, wherever they lie.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices.

    Raises
    ------
    UsageError
        Where the arrays do not describe a triangle mesh.
    """
    points, corners = checked_mesh(vertices, faces)
    return topology_of_faces(len(points), corners)


def topology_of_faces(vertex_count: int, faces: NDArray[np.int64]) -> Topology:
    """Do the work of `topology` on faces that `checked_mesh` has passed."""
    a, b, c = faces.T
    distinct = (a != b) & (b != c) & (c != a)
    kept = faces if distinct.all() else np.ascontiguousarray(faces[distinct])
    vertices, edges, components, fans, closed, paired = _count(kept, vertex_count)
    return Topology(
        vertex_count=vertices,
        edge_count=edges,
        face_count=len(kept),
        component_count=components,
        closed=closed,
        watertight=closed and paired,
        manifold=closed and paired and fans == vertices,
    )


@numba.njit(cache=True, nogil=True)
def root(parent: NDArray[np.int64], node: int) -> int:
    """Return the representative of a node's piece, halving the path on the way (Tarjan & van Leeuwen, 1984)."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@numba.njit(cache=True, nogil=True)
def _next(half_edge: int) -> int:
    return half_edge - 2 if half_edge % 3 == 2 else half_edge + 1


@numba.njit(cache=True, nogil=True)
def _previous(half_edge: int) -> int:
    return half_edge + 2 if half_edge % 3 == 0 else half_edge - 1


@numba.njit(cache=True, nogil=True)
def _count(faces: NDArray[np.int64], vertex_count: int) -> tuple[int, int, int, int, bool, bool]:  # noqa: C901
    """Return used vertices, edges, components, fans around vertices, whether closed, whether edges come in pairs.

    Half-edge h = 3 face + k runs from corner k of its face to the next. Its partners are found among the corners of
    whichever end has fewer of them, so that a vertex shared by very many faces costs no more than others.
    """
    half_edges = 3 * len(faces)
    flat = faces.ravel()
    start = np.zeros(vertex_count + 1, np.int64)
    for h in range(half_edges):
        start[flat[h] + 1] += 1
    for v in range(vertex_count):
        start[v + 1] += start[v]
    # Grouped by corner: the next vertex, the one before, and the corner itself.
    fill = start[:-1].copy()
    after = np.empty(half_edges, np.int64)
    before = np.empty(half_edges, np.int64)
    corner = np.empty(half_edges, np.int64)
    for f in range(len(faces)):
        for k in range(3):
            n, p = (k + 1) % 3, (k + 2) % 3
            i = fill[faces[f, k]]
            after[i], before[i], corner[i] = faces[f, n], faces[f, p], 3 * f + k
            fill[faces[f, k]] = i + 1

    parent = np.arange(vertex_count)
    twin = np.empty(half_edges, np.int64)
    edges, closed, paired = 0, True, True
    for h in range(half_edges):
        u, v = flat[h], flat[_next(h)]
        near, far = (u, v) if start[u + 1] - start[u] <= start[v + 1] - start[v] else (v, u)
        first, same, opposite, last_opposite = h, 0, 0, h
        for i in range(start[near], start[near + 1]):
            if after[i] == far:
                found, along = corner[i], near == u
            elif before[i] == far:
                found, along = _previous(corner[i]), near == v
            else:
                continue
            first = min(first, found)
            if along:
                same += 1
            else:
                opposite += 1
                last_opposite = found
        edges += first == h
        closed &= same == opposite
        paired &= same == 1
        twin[h] = last_opposite
        root_u, root_v = root(parent, u), root(parent, v)
        if root_u != root_v:
            parent[max(root_u, root_v)] = min(root_u, root_v)

    used, components = 0, 0
    for v in range(vertex_count):
        if start[v + 1] > start[v]:
            used += 1
            components += parent[v] == v

    fans = 0
    if closed and paired:
        # Turning about a vertex from one half-edge that leaves it to the next runs through one fan and returns.
        seen = np.zeros(half_edges, np.bool_)
        for h in range(half_edges):
            if not seen[h]:
                fans += 1
                turn = h
                while not seen[turn]:
                    seen[turn] = True
                    turn = _next(twin[turn])
    return used, edges, components, fans, closed, paired
