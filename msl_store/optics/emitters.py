"""Fluorophore positions: how many a surface carries, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msl_store.geometry.surface import area, sample_surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

NM2_PER_EMITTER = 389.71143
"""Surface in nm^2 for each emitter of the published simulation (recovered from its emitter counts)."""


def emitter_count(vertices_um: NDArray[Any], faces: NDArray[Any], per_um2: float = 1e6 / NM2_PER_EMITTER) -> int:
    """Return how many emitters a surface carries: its area times their density, rounded.

    Parameters
    ----------
    vertices_um : ndarray, shape (n_vertex, 3)
        Positions in um.
    faces : ndarray of int, shape (n_face, 3)
        Vertex indices.
    per_um2 : float
        Emitters per um^2; those of the published simulation where it is not given.

    Returns
    -------
    int
        The count.
    """
    return round(area(vertices_um, faces) * per_um2)


def sample_emitters(
    vertices_um: NDArray[Any], faces: NDArray[Any], rng: np.random.Generator, count: int | None = None
) -> NDArray[np.float64]:
    """Place emitters independently and uniformly on a surface, as `msl_store.geometry.surface.sample_surface` does.

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
        Positions in um in the frame of the vertices, ordered by face: neighbours are imaged together.

    Raises
    ------
    UsageError
        The arrays have the wrong shape, a face names a vertex that is not there, the count is negative, or the
        surface has no area to carry emitters.
    """
    count = emitter_count(vertices_um, faces) if count is None else count
    if count == 0:
        return np.empty((0, 3))
    points, _ = sample_surface(vertices_um, faces, count, rng, ordered=True)
    return points
