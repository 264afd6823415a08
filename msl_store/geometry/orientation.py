"""Which way the faces of a mesh look: the same as their neighbours', and outwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.geometry.inside import winding_number
from msl_store.geometry.nearest import nearest
from msl_store.geometry.topology import topology_of_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray


TOUCHING = 1e-9
"""Distance from another piece, as a share of its own extent, below which a part of a piece may lie on either side."""


def edges_of(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Give every edge of some faces a number, the same in both directions.

    Parameters
    ----------
    faces : ndarray of int64, shape (n_face, 3)
        Vertex indices.

    Returns
    -------
    edge : ndarray of int64, shape (n_face, 3)
        The number of the edge from each corner to the next, from 0 on.
    forwards : ndarray of bool, shape (n_face, 3)
        Whether the face uses it from the lower to the higher vertex.
    """
    start, end = faces, np.roll(faces, -1, axis=1)
    key = np.minimum(start, end) * (int(faces.max(initial=0)) + 1) + np.maximum(start, end)
    edge = np.unique(key, return_inverse=True)[1].reshape(faces.shape)
    return edge.astype(np.int64, copy=False), start < end


def consistent(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Turn faces until any two that share an edge alone use it in opposite directions, as far as the surface allows.

    A closed mesh stays as it is. In every piece, the fewer faces are turned; which way the whole piece looks is for
    `outwards` to decide. A surface with one side only, such as a Möbius strip, keeps a line of disagreement.

    Returns
    -------
    faces : ndarray of int64, shape (n_face, 3)
        In the same order.
    turned : int
        How many look the other way now.
    """
    if not len(faces) or topology_of_faces(int(faces.max()) + 1, faces).closed:
        return faces, 0
    edge, forwards = edges_of(faces)
    order = np.argsort(edge, axis=None, kind="stable")
    uses = np.bincount(edge.ravel())
    last = np.cumsum(uses)[uses == 2] - 1
    first, second = order[last - 1], order[last]
    differ = forwards.ravel()[first] == forwards.ravel()[second]
    piece, turn = _agree(len(faces), first // 3, second // 3, differ)
    share = np.bincount(piece, turn) / np.bincount(piece, minlength=int(piece.max()) + 1).clip(1)
    turn ^= (share > 0.5)[piece]
    return np.where(turn[:, np.newaxis], faces[:, ::-1], faces), int(turn.sum())


@numba.njit(cache=True, nogil=True)
def _agree(
    count: int, first: NDArray[np.int64], second: NDArray[np.int64], differ: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Join faces in pairs; return the piece that each belongs to, and whether it is to be turned to agree with it."""
    parent, odd = np.arange(count), np.zeros(count, np.bool_)
    path = np.empty(count, np.int64)
    for pair in range(len(first)):
        f, g = first[pair], second[pair]
        a, b = _piece(parent, odd, path, f), _piece(parent, odd, path, g)
        if a != b:
            parent[b], odd[b] = a, odd[f] ^ odd[g] ^ differ[pair]
    for f in range(count):
        _piece(parent, odd, path, f)
    return parent, odd


@numba.njit(cache=True, nogil=True)
def _piece(parent: NDArray[np.int64], odd: NDArray[np.bool_], path: NDArray[np.int64], face: int) -> int:
    """Return a face's piece, and let all faces on the way there point to it, `odd` where they disagree with it."""
    length = 0
    while parent[face] != face:
        path[length] = face
        face, length = parent[face], length + 1
    parity = False
    for i in range(length - 1, -1, -1):
        parity ^= odd[path[i]]
        parent[path[i]], odd[path[i]] = face, parity
    return face


def outwards(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Turn whole pieces of a mesh so that they look outwards, and walls of cavities into these.

    Pieces are joined by edges. One is the wall of a cavity where it lies within an odd number of others.
    An open piece is turned so that what it encloses together with a cone to its middle is positive.

    Returns
    -------
    faces : ndarray of int64, shape (n_face, 3)
        In the same order.
    turned : int
        How many look the other way now.
    """
    if not len(faces):
        return faces, 0
    edge, forwards = edges_of(faces)
    unpaired = np.bincount(edge.ravel(), np.where(forwards, 1, -1).ravel()) != 0
    parts = pieces(faces)
    shut = np.array([not unpaired[edge[part]].any() for part in parts])
    low = np.array([vertices[faces[part]].min(axis=(0, 1)) for part in parts])
    high = np.array([vertices[faces[part]].max(axis=(0, 1)) for part in parts])
    turn = np.zeros(len(faces), np.bool_)
    for n, part in enumerate(parts):
        around = np.flatnonzero(shut & (low <= low[n]).all(axis=1) & (high >= high[n]).all(axis=1))
        depth = sum(_within(vertices, faces[part], faces[parts[m]]) for m in around if m != n)
        a, b, c = (vertices[faces[part, k]] - (low[n] + high[n]) / 2 for k in range(3))
        volume = float(np.einsum("ij,ij->", a, np.cross(b, c)))
        turn[part] = volume != 0 and (volume < 0) != (depth % 2 == 1)
    return np.where(turn[:, np.newaxis], faces[:, ::-1], faces), int(turn.sum())


def _within(vertices: NDArray[np.float64], faces: NDArray[np.int64], around: NDArray[np.int64]) -> bool:
    """Say whether a piece lies within a closed one, which it may touch."""
    own = np.concatenate([vertices[np.unique(faces)], vertices[faces].mean(axis=1)])
    touching = TOUCHING * float(np.ptp(own, axis=0).max())
    clear = np.isinf(nearest(vertices, around, own, within=touching)[0])
    return bool(clear.any() and (winding_number(vertices, around, own[clear]) != 0).all())


def pieces(faces: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the indices of the faces of each piece, joined through edges; at least one face must be given."""
    flat = edges_of(faces)[0].ravel()
    order = np.argsort(flat, kind="stable")
    same = np.flatnonzero(flat[order][1:] == flat[order][:-1])
    first, second = order[same] // 3, order[same + 1] // 3
    piece, _ = _agree(len(faces), first, second, np.zeros(len(first), np.bool_))
    order = np.argsort(piece, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(piece[order])) + 1)
