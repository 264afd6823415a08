"""Point clouds and occupancy queries of a mesh, drawn as the published ones were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh
from msl_store.geometry.inside import refuse_open
from msl_store.geometry.occupancy import PUBLISHED_INFLATION, Labels, occupied
from msl_store.geometry.sdf import signed_distance
from msl_store.geometry.surface import face_normals, sample_surface
from msl_store.shapes import QUERY_EXTENT, Mesh, Occupancy, PointCloud, denormalize, normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_COUNT = 100_000
"""Points of a published point cloud."""

QUERY_COUNT = 100_000
"""Query points of a published occupancy file."""


def point_cloud(mesh: Mesh, rng: np.random.Generator, *, count: int = SAMPLE_COUNT) -> PointCloud:
    """Draw points on a mesh, independent and uniform by area, with the normals of their faces.

    Parameters
    ----------
    mesh : Mesh
        In the raw frame.
    rng : numpy.random.Generator
        Its state decides the points.
    count : int
        How many.

    Returns
    -------
    PointCloud
        In the normalized frame.

    Raises
    ------
    UsageError
        Where the mesh has no area.
    """
    points, face = sample_surface(mesh.vertices, mesh.faces, count, rng)
    loc, scale = mesh.box()
    normals = face_normals(mesh.vertices, mesh.faces)[face]
    return PointCloud(normalize(points, loc, scale).astype(np.float32), normals.astype(np.float32))


def occupancy(mesh: Mesh, rng: np.random.Generator, *, count: int = QUERY_COUNT, labels: Labels = "exact") -> Occupancy:
    """Draw query points, independent and uniform in [-0.55, 0.55]^3, and tell which are inside a mesh.

    The answers belong to the points as they are stored, that is rounded to float16.

    Parameters
    ----------
    mesh : Mesh
        Closed, in the raw frame.
    rng : numpy.random.Generator
        Its state decides the points.
    count : int
        How many.
    labels : {"exact", "published"}
        As of `msl_store.geometry.occupancy.occupied`.

    Returns
    -------
    Occupancy
        With the frame of the mesh's bounding box.

    Raises
    ------
    UsageError
        Where the mesh is open, or has no extent.
    """
    drawn, loc, scale = _queries(mesh, rng, count)
    answers = occupied(mesh.vertices, mesh.faces, drawn, loc=loc, scale=scale, labels=labels)
    return Occupancy(drawn, np.packbits(answers), loc, scale)


def signed_occupancy(
    mesh: Mesh, rng: np.random.Generator, *, count: int = QUERY_COUNT, labels: Labels = "exact"
) -> tuple[Occupancy, NDArray[np.float16]]:
    """Draw query points as `occupancy` does, and tell how far each is from the surface too.

    The occupancy is that of `occupancy` for the same generator.

    Parameters
    ----------
    mesh, rng, count, labels
        As of `occupancy`.

    Returns
    -------
    occupancy : Occupancy
    distance : ndarray of float16, shape (count,)
        Signed distance of every query point in the normalized frame, negative inside the mesh (also where `labels` are
        the published, inflated ones).

    Raises
    ------
    UsageError
        Where the mesh is open, or has no extent.
    """
    refuse_open(*checked_mesh(mesh.vertices, mesh.faces))
    drawn, loc, scale = _queries(mesh, rng, count)
    distance = signed_distance(mesh.vertices, mesh.faces, denormalize(drawn, loc, scale)) / scale
    answers = np.signbit(distance)
    if labels == "published":
        answers |= distance < PUBLISHED_INFLATION
    return Occupancy(drawn, np.packbits(answers), loc, scale), distance.astype(np.float16)


def _queries(
    mesh: Mesh, rng: np.random.Generator, count: int
) -> tuple[NDArray[np.float16], NDArray[np.float64], float]:
    """Return query points in the normalized frame of a mesh, with the frame's centre and scale."""
    loc, scale = mesh.box()
    if not scale > 0:
        raise UsageError("all vertices of the mesh lie at one point, so it has no frame; leave it out")
    drawn: NDArray[np.float16] = rng.uniform(-QUERY_EXTENT, QUERY_EXTENT, (count, 3)).astype(np.float16)
    return drawn, loc, scale
