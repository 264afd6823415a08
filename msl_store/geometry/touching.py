"""Take apart what only touches: solids that share a vertex or an edge of a mesh, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.geometry.orientation import edges_of
from msl_store.geometry.topology import root

if TYPE_CHECKING:
    from numpy.typing import NDArray


def separated(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give a vertex once for every group of its faces that hang together through edges.

    Faces hang together where two share an edge. Of four or more that share one, each is taken with the one on the
    other side of the solid between them, so that solids which touch along the edge come apart; where as many do not use
    it in one direction as in the other, all stay together. A closed mesh becomes a manifold, but for edges both ends of
    which hang together by another way round as well: they keep their four faces.

    Returns
    -------
    vertices : ndarray of float64, shape (m_vertex, 3)
        Those of the input, and after them those that were given again.
    faces : ndarray of int64, shape (n_face, 3)
        In the same order.
    """
    if not len(faces):
        return vertices, faces
    edge, forwards = edges_of(faces)
    flat, direction = edge.ravel(), np.where(forwards.ravel(), 1, -1)
    order = np.argsort(flat, kind="stable")
    uses = np.bincount(flat)
    stop = np.cumsum(uses)
    twice = uses == 2
    pairs = [np.stack([order[stop[twice] - 2], order[stop[twice] - 1]], axis=1)]
    for shared in np.flatnonzero(uses > 2):
        around = order[stop[shared] - uses[shared] : stop[shared]]
        if direction[around].sum() == 0:
            pairs.append(_across_solid(vertices, faces, around, direction[around]))
        else:
            pairs.append(np.stack([around[:-1], around[1:]], axis=1))
    corner = _corners(faces.ravel(), np.concatenate(pairs))
    groups, number = np.unique(corner, return_inverse=True)
    vertex = faces.ravel()[groups]
    # The first group of each vertex keeps its place.
    _, first = np.unique(vertex, return_index=True)
    place = np.full(len(groups), -1)
    place[first] = vertex[first]
    others = np.flatnonzero(place < 0)
    place[others] = len(vertices) + np.arange(len(others))
    return np.concatenate([vertices, vertices[vertex[others]]]), place[number.reshape(-1)].reshape(faces.shape)


def _across_solid(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], around: NDArray[np.int64], direction: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Pair the half-edges of one edge, (n, 2), whose faces have solid between them.

    A face that uses the edge forwards has the solid at smaller angles about it, one that uses it backwards at larger
    ones; so each of these is paired with the next of those, as brackets are.
    """
    face, corner = around // 3, around % 3
    ends = np.sort([faces[face[0], corner[0]], faces[face[0], (corner[0] + 1) % 3]])
    start, along = vertices[ends[0]], vertices[ends[1]] - vertices[ends[0]]
    first = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    second = np.cross(along, first) / max(float(np.linalg.norm(along)), np.finfo(float).tiny)
    away = vertices[faces[face, (corner + 2) % 3]] - start
    turn = np.argsort(np.arctan2(away @ second, away @ first), kind="stable")
    # From behind the lowest point of the running sum on, no bracket closes that was not opened.
    lowest = int(np.cumsum(-direction[turn]).argmin())
    waiting: list[int] = []
    pairs = []
    for n in np.roll(turn, -lowest - 1):
        if direction[n] < 0:
            waiting.append(int(around[n]))
        else:
            pairs.append((waiting.pop(), int(around[n])))
    return np.array(pairs)


@numba.njit(cache=True, nogil=True)
def _corners(flat: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the corners of faces at both ends of every pair of half-edges; return each corner's representative."""
    parent = np.arange(len(flat))
    for pair in range(len(pairs)):
        h, other = pairs[pair]
        for a in (h, h - 2 if h % 3 == 2 else h + 1):
            for b in (other, other - 2 if other % 3 == 2 else other + 1):
                if flat[a] == flat[b]:
                    one, two = root(parent, a), root(parent, b)
                    parent[max(one, two)] = min(one, two)
    for h in range(len(flat)):
        parent[h] = root(parent, h)
    return parent
