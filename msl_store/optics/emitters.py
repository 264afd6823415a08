"""Fluorophore positions: how many a surface carries, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NM2_PER_EMITTER = 389.71143
"""Surface in nm^2 for each emitter of the published simulation (recovered from its emitter counts)."""


def face_areas(vertices_um: NDArray[Any], faces: NDArray[Any]) -> NDArray[np.float64]:
    """Return the area of every face in um^2, shape (n_face,).

    Raises
    ------
    UsageError
        The arrays have the wrong shape, or a face names a vertex that is not there.
    """
    first, second, third = _corners(vertices_um, faces)
    normal = np.cross(second - first, third - first)
    areas: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", normal, normal)) / 2
    return areas


def emitter_count(vertices_um: NDArray[Any], faces: NDArray[Any]) -> int:
    """Return how many emitters the published simulation would place: the area over `NM2_PER_EMITTER`, rounded.

    Parameters
    ----------
    vertices_um : ndarray, shape (n_vertex, 3)
        Positions in um.
    faces : ndarray of int, shape (n_face, 3)
        Vertex indices.

    Returns
    -------
    int
        The count.
    """
    return round(float(face_areas(vertices_um, faces).sum()) * 1e6 / NM2_PER_EMITTER)


def sample_emitters(
    vertices_um: NDArray[Any], faces: NDArray[Any], rng: np.random.Generator, count: int | None = None
) -> NDArray[np.float64]:
    """Place emitters independently and uniformly on a surface.

    A face is drawn in proportion to its area, a point in it by the square-root rule (R. Osada et al., "Shape
    distributions", ACM Trans. Graph. 21, 807-832 (2002), equation 1).

    Parameters
    ----------
    vertices_um : ndarray, shape (n_vertex, 3)
        Positions in um.
    faces : ndarray of int, shape (n_face, 3)
        Vertex indices.
    rng : numpy.random.Generator
        Where the randomness comes from.
    count : int, optional
        How many; `emitter_count` where it is not given.

    Returns
    -------
    ndarray of float64, shape (count, 3)
        Positions in um in the frame of the vertices, ordered by face.

    Raises
    ------
    UsageError
        The arrays have the wrong shape, a face names a vertex that is not there, the count is negative, or the
        surface has no area to carry emitters.
    """
    areas = face_areas(vertices_um, faces)
    cumulative = np.cumsum(areas)
    total = float(cumulative[-1]) if len(cumulative) else 0.0
    if count is None:
        count = round(total * 1e6 / NM2_PER_EMITTER)
    if count < 0:
        raise UsageError(f"count is {count}, but must not be negative")
    if count == 0:
        return np.empty((0, 3))
    if not 0 < total < np.inf:
        raise UsageError(f"the surface has an area of {total:g} um^2 and cannot carry {count} emitters")
    draws = rng.random((3, count))
    face = np.searchsorted(cumulative, np.sort(draws[0]) * total, side="right")
    first, second, third = _corners(vertices_um, np.asarray(faces)[np.minimum(face, len(areas) - 1)])
    root, mix = np.sqrt(draws[1])[:, None], draws[2][:, None]
    points: NDArray[np.float64] = first * (1 - root) + second * (root * (1 - mix)) + third * (root * mix)
    return points


def _corners(vertices_um: NDArray[Any], faces: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    vertices, faces = np.asarray(vertices_um, np.float64), np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise UsageError(f"vertices {vertices.shape} and faces {faces.shape} must have the shapes (n, 3) and (m, 3)")
    if faces.size and (int(faces.min()) < 0 or int(faces.max()) >= len(vertices)):
        allowed = f"0 to {len(vertices) - 1}"
        raise UsageError(f"a face names vertex {faces.max()} or {faces.min()}, but the mesh has {allowed}")
    return vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
