"""Holes in a triangle mesh: their rims, and fans of faces that fill them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msl_store.geometry.orientation import edges_of, pieces
from msl_store.geometry.surface import area

if TYPE_CHECKING:
    from numpy.typing import NDArray


MOST_OF_PIECE = 2 / 3
"""Share of a piece's area that a filling may have: half closes half a ball, one would give a flat patch its back."""


def rims(faces: NDArray[np.int64]) -> list[list[int]]:
    """Return the vertices around each hole, in the direction in which faces that fill it would run.

    A rim never passes a vertex twice: where two holes meet at a vertex, they are told apart. Edges of three faces or
    more are no rims, and a rim that does not close is left out.

    Parameters
    ----------
    faces : ndarray of int64, shape (n_face, 3)
        Vertex indices, neighbours looking the same way.
    """
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edge = edges_of(faces)[0].ravel()
    free = np.flatnonzero(np.bincount(edge)[edge] == 1)
    onwards: dict[int, list[int]] = {}
    for u, v in zip(end[free].tolist(), start[free].tolist(), strict=True):
        onwards.setdefault(u, []).append(v)
    found = []
    for begin in list(onwards):
        while onwards[begin]:
            path, place = [begin], {begin: 0}
            while onwards.get(path[-1]):
                vertex = onwards[path[-1]].pop()
                if vertex in place:
                    loop = path[place[vertex] :]
                    found.append(loop)
                    for passed in loop[1:]:
                        del place[passed]
                    del path[place[vertex] + 1 :]
                else:
                    place[vertex] = len(path)
                    path.append(vertex)
    return found


def filled(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], largest: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Fill holes of up to `largest` edges by fans around their mean points, or by one face where three edges do.

    A hole whose filling has more than `MOST_OF_PIECE` of the area of the piece that it is in stays open.

    Returns
    -------
    vertices : ndarray of float64, shape (m_vertex, 3)
        With the new middles at the end.
    faces : ndarray of int64, shape (m_face, 3)
        With the fillings at the end.
    count : int
        How many holes were filled.
    """
    middles: list[NDArray[np.float64]] = []
    fans: list[NDArray[np.int64]] = []
    for part in pieces(faces) if len(faces) else []:
        most = MOST_OF_PIECE * area(vertices, faces[part])
        for rim in rims(faces[part]):
            if not 3 <= len(rim) <= largest:
                continue
            ring = np.array(rim)
            if len(ring) == 3:
                fan = ring[np.newaxis]
                covered = area(vertices[ring], [[0, 1, 2]])
            else:
                middle = vertices[ring].mean(axis=0)
                covered = area(np.vstack([vertices[ring], middle]), _fan(np.arange(len(ring)), len(ring)))
                fan = _fan(ring, len(vertices) + len(middles))
            if covered <= most:
                fans.append(fan)
                if len(ring) > 3:
                    middles.append(middle)
    return np.vstack([vertices, *middles]), np.vstack([faces, *fans]), len(fans)


def _fan(ring: NDArray[np.int64], middle: int) -> NDArray[np.int64]:
    """Return the faces between a ring of vertices and one in its middle."""
    return np.stack([ring, np.roll(ring, -1), np.full(len(ring), middle)], axis=1)
