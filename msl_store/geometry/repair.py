"""Make a triangle mesh closed, with faces outwards, as far as that is possible without guessing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh
from msl_store.geometry.holes import filled
from msl_store.geometry.orientation import consistent, edges_of, outwards, pieces
from msl_store.geometry.surface import area
from msl_store.geometry.topology import topology_of_faces
from msl_store.geometry.touching import separated

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LARGEST_HOLE = 100
"""Edges around a hole that is still filled: more, and the shape of what is missing would be guessed."""

FLAKE = 0.01
"""Share of the area below which a piece that cannot be closed is taken for a leftover, such as an island in a hole."""


@dataclass(frozen=True)
class Repair:
    """What `repaired` did to a mesh, and what is still wrong with it.

    Attributes
    ----------
    merged_vertex_count : int
        Vertices that lay exactly where another one lies.
    dropped_face_count : int
        Faces that named a vertex twice or were given twice, walls between two solids that share them, and flakes.
    turned_face_count : int
        Faces that look the other way now.
    filled_hole_count, added_face_count : int
        Holes that were filled, and the faces that they were filled with.
    problems : tuple of str
        What could not be repaired; empty where the mesh is watertight.
    """

    merged_vertex_count: int = 0
    dropped_face_count: int = 0
    turned_face_count: int = 0
    filled_hole_count: int = 0
    added_face_count: int = 0
    problems: tuple[str, ...] = ()

    @property
    def watertight(self) -> bool:
        """Every edge is shared by exactly two faces, which use it in opposite directions."""
        return not self.problems

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        done = self.merged_vertex_count, self.dropped_face_count, self.turned_face_count, self.filled_hole_count
        return any(done)


def repaired(
    vertices: ArrayLike, faces: ArrayLike, *, largest_hole: int = LARGEST_HOLE
) -> tuple[NDArray[np.float64], NDArray[np.int64], Repair]:
    """Close a mesh and turn its faces outwards.

    A watertight mesh keeps its vertices and faces as they are, but for their orientation. Of any other:

    1. Vertices at exactly the same position become one, and those that no face names are left out.
    2. Faces that then name a vertex twice are dropped, of faces with the same corners one is kept. Two that look in
       opposite directions are both dropped where the faces around them go on without them: they are a wall between two
       solids.
    3. Faces are turned until neighbours across an edge agree, each piece by turning the fewest.
    4. Holes of up to `largest_hole` edges are filled by a fan around their mean point, unless that takes more than two
       thirds of the area that the piece has.
    5. Pieces that are still open and have less than `FLAKE` of all area are dropped, where anything else is left.

    Then, in every case, solids that touch at a vertex or along an edge get one each, and pieces look outwards; a piece
    that lies within one other piece is the wall of a cavity and looks into it, one within two others looks outwards
    again, and so on. Faces that cross each other stay so.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions, in any unit.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices.
    largest_hole : int
        Edges of the largest hole to fill; 0 fills none.

    Returns
    -------
    vertices : ndarray of float64, shape (m_vertex, 3)
        Those of the input, in its order, and after them the middles of the filled holes.
    faces : ndarray of int64, shape (m_face, 3)
        Those of the input, in its order, and after them the fillings.
    repair : Repair
        What was done, and what is still wrong.

    Raises
    ------
    UsageError
        Where the arrays are not a mesh, or the largest hole is negative.
    """
    points, corners = checked_mesh(vertices, faces)
    if largest_hole < 0:
        raise UsageError(f"holes of up to {largest_hole} edges were to be filled; allowed is 0 or more")
    done = Repair()
    joined = topology_of_faces(len(points), corners)
    if not (0 < len(corners) == joined.face_count and joined.watertight):
        points, corners, merged = _merged(points, corners)
        unlike = _without_repeats(corners)
        agreeing, turned = consistent(unlike)
        points, closed, holes = filled(points, agreeing, largest_hole)
        whole = _without_flakes(points, closed)
        done = Repair(
            merged_vertex_count=merged,
            dropped_face_count=len(corners) - len(unlike) + len(closed) - len(whole),
            turned_face_count=turned,
            filled_hole_count=holes,
            added_face_count=len(closed) - len(agreeing),
        )
        named, corners = np.unique(whole, return_inverse=True)
        points, corners = points[named], corners.reshape(-1, 3)
        joined = topology_of_faces(len(points), corners)
    corners, turned = outwards(points, corners)
    if not joined.manifold:
        # Which side is solid decides what comes apart, and apart a piece may turn out to be the wall of a cavity.
        points, corners = separated(points, corners)
        corners, again = outwards(points, corners)
        turned, joined = turned + again, topology_of_faces(len(points), corners)
    problems = () if joined.watertight and len(corners) else _problems(corners)
    return points, corners, replace(done, turned_face_count=done.turned_face_count + turned, problems=problems)


def _merged(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Give every position that faces name one vertex, in the order of the first ones; return how many were merged."""
    named, faces = np.unique(faces, return_inverse=True)
    # Adding zero makes no difference between -0.0 and 0.0.
    _, first, same = np.unique(vertices[named] + 0.0, axis=0, return_index=True, return_inverse=True)
    kept = np.sort(first)
    number = np.searchsorted(kept, first)[same.reshape(-1)]
    return vertices[named[kept]], number[faces.reshape(-1, 3)], len(named) - len(kept)


def _without_repeats(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop faces that name a vertex twice, all but one of those with the same corners, and walls between solids."""
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    if not len(faces):
        return faces
    lowest = faces.argmin(axis=1)
    rolled = np.take_along_axis(faces, (lowest[:, np.newaxis] + np.arange(3)) % 3, axis=1)
    sign = np.where(rolled[:, 1] < rolled[:, 2], 1, -1)
    _, first, group = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    total = np.zeros(len(first), np.int64)
    np.add.at(total, group, sign)
    agreeing = sign * total[group] > 0
    # The first of each group that looks as most of it do; of those that cancel, the first for now.
    eligible = np.flatnonzero(agreeing | (total[group] == 0))
    _, chosen = np.unique(group[eligible], return_index=True)
    chosen = eligible[chosen]
    cancelling = chosen[total[group[chosen]] == 0]
    certain = np.setdiff1d(chosen, cancelling)
    edge, _ = edges_of(faces)
    uses = np.bincount(edge[certain].ravel(), minlength=int(edge.max()) + 1)
    walls = cancelling[(uses[edge[cancelling]] >= 2).all(axis=1)]
    kept: NDArray[np.int64] = faces[np.setdiff1d(chosen, walls)]
    return kept


def _without_flakes(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Drop small pieces that are open, and keep the order of the others."""
    if not len(faces):
        return faces
    edge, _ = edges_of(faces)
    rim = np.bincount(edge.ravel()) == 1
    least = FLAKE * area(vertices, faces)
    kept = [part for part in pieces(faces) if not rim[edge[part]].any() or area(vertices, faces[part]) >= least]
    return faces[np.sort(np.concatenate(kept))] if kept else faces


def _problems(faces: NDArray[np.int64]) -> tuple[str, ...]:
    """Tell what keeps a mesh from being watertight."""
    if not len(faces):
        return ("no faces are left",)
    edge, forwards = edges_of(faces)
    uses = np.bincount(edge.ravel())
    balance = np.bincount(edge.ravel(), np.where(forwards, 1, -1).ravel())
    counts = {
        "edges of one face (holes too large to fill, or whose rim does not close)": (uses == 1).sum(),
        "edges of three faces or more": (uses > 2).sum(),
        "edges of two faces that cannot be made to look the same way": ((uses == 2) & (balance != 0)).sum(),
    }
    return tuple(f"{what}: {count}" for what, count in counts.items() if count)
