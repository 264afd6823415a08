"""The measures of one shape: those that a library keeps in its ``instances`` table, and those of the solid within."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh, checked_voxel
from msl_store.geometry.topology import topology_of_faces
from msl_store.shapes import VOXEL_UM

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Morphometrics:
    """What `measure` finds; NaN stands where a measure is not defined for the mesh.

    Attributes
    ----------
    volume_um3 : float
        Enclosed volume in um^3, negative where the faces look inwards; NaN where the surface is open.
    area_um2 : float
        Surface area in um^2.
    sphericity : float
        Area of the sphere of the same volume over the area, ``pi^(1/3) (6 V)^(2/3) / A``: 1 for a sphere, less for
        everything else (Wadell, J. Geol. 43, 250, 1935); NaN where the surface is open or has no area.
    elongation : float
        Longest over second radius of the ellipsoid with the surface's second moments, 1 or more: the definition of
        the 3D ImageJ Suite (Ollion et al., Bioinformatics 29, 1840, 2013), but with the moments of the surface in
        place of the volume's, so that open meshes have one too; NaN where the surface has no area.
    extent_um : tuple of 3 floats
        Sides of the bounding box along axes 0, 1, 2 in um.
    euler_number : int
        Vertices minus edges plus faces.
    genus : float
        Handles of all components together, a whole number; NaN where the surface is open or not a manifold.
    component_count : int
        Pieces that share no vertex.
    watertight : bool
        Every edge is shared by exactly two faces, which use it in opposite directions.
    """

    volume_um3: float
    area_um2: float
    sphericity: float
    elongation: float
    extent_um: tuple[float, float, float]
    euler_number: int
    genus: float
    component_count: int
    watertight: bool


@dataclass(frozen=True)
class SolidMorphometrics:
    """What `measure_solid` finds; NaN stands where the surface is open or encloses nothing.

    Attributes
    ----------
    centroid_um : tuple of 3 floats
        Centre of mass of the enclosed solid in um, in the frame of the vertices.
    axes : tuple of 3 tuples of 3 floats
        Unit vectors along the solid's principal axes, the longest first, at right angles to each other; of the two
        directions of an axis, that in which its largest coordinate is positive.
    axis_lengths_um : tuple of 3 floats
        Whole axes in um, the longest first, of the ellipsoid with the same second moments as the solid: a semi-axis is
        the square root of five times the variance along it. An ellipsoid has its own.
    mean_radius_um : float
        Mean distance of the surface from the centroid, each part by its area, in um.
    max_radius_um : float
        Greatest distance of the surface from the centroid in um.
    """

    centroid_um: tuple[float, float, float]
    axes: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    axis_lengths_um: tuple[float, float, float]
    mean_radius_um: float
    max_radius_um: float


def measure(vertices: ArrayLike, faces: ArrayLike, *, voxel_um: float = VOXEL_UM) -> Morphometrics:
    """Measure a mesh.

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions in voxels.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices; at least one face. Vertices that no face names do not count.
    voxel_um : float
        Edge of a voxel in um.

    Returns
    -------
    Morphometrics

    Raises
    ------
    UsageError
        Where the arrays are not a mesh with faces, or the voxel's edge is not positive.
    """
    points, corners = _measurable(vertices, faces, voxel_um)
    joined = topology_of_faces(len(points), corners)
    low, high, total, volume, variances = _moments(points, corners)
    if not joined.closed:
        volume = math.nan
    elongation = math.nan
    if total > 0:
        _, second, first = np.sqrt(np.maximum(np.linalg.eigvalsh(variances), 0.0))
        elongation = float(first / second) if second > 0 else math.inf
    extent = (high - low) * voxel_um
    return Morphometrics(
        volume_um3=volume * voxel_um**3,
        area_um2=total * voxel_um**2,
        sphericity=math.pi ** (1 / 3) * (6 * abs(volume)) ** (2 / 3) / total if total > 0 else math.nan,
        elongation=elongation,
        extent_um=(float(extent[0]), float(extent[1]), float(extent[2])),
        euler_number=joined.euler_number,
        genus=joined.genus,
        component_count=joined.component_count,
        watertight=joined.watertight,
    )


def measure_solid(vertices: ArrayLike, faces: ArrayLike, *, voxel_um: float = VOXEL_UM) -> SolidMorphometrics:
    """Measure what a mesh encloses, exactly, by summing over tetrahedra from its faces to a common point.

    The measures are those of the 3D ImageJ Suite (Ollion et al., Bioinformatics 29, 1840, 2013): moments of the volume,
    distances of the surface from the centroid. The mean distance is integrated by a rule that is exact for polynomials
    of degree 5 on each face (Radon, Monatsh. Math. 52, 286, 1948).

    Parameters
    ----------
    vertices : array_like, shape (n_vertex, 3)
        Positions in voxels.
    faces : array_like of integers, shape (n_face, 3)
        Vertex indices; at least one face. All may look inwards.
    voxel_um : float
        Edge of a voxel in um.

    Raises
    ------
    UsageError
        Where the arrays are not a mesh with faces, or the voxel's edge is not positive.
    """
    points, corners = _measurable(vertices, faces, voxel_um)
    named = points[corners[:, 0]]
    middle = (named.min(axis=0) + named.max(axis=0)) / 2
    volume, first, second = _solid_moments(points - middle, corners)
    if not topology_of_faces(len(points), corners).closed or volume == 0:
        nothing = (math.nan, math.nan, math.nan)
        return SolidMorphometrics(nothing, (nothing, nothing, nothing), nothing, math.nan, math.nan)
    centroid = first / volume
    variances, vectors = np.linalg.eigh(second / volume - np.outer(centroid, centroid))
    lengths = 2 * np.sqrt(5 * np.maximum(variances[::-1], 0.0))
    axes = vectors.T[::-1]
    axes = axes * np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, np.newaxis]
    mean, most = _radii(points - middle - centroid, corners)
    return SolidMorphometrics(
        centroid_um=_three((middle + centroid) * voxel_um),
        axes=(_three(axes[0]), _three(axes[1]), _three(axes[2])),
        axis_lengths_um=_three(lengths * voxel_um),
        mean_radius_um=mean * voxel_um,
        max_radius_um=most * voxel_um,
    )


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _measurable(
    vertices: ArrayLike, faces: ArrayLike, voxel_um: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Check what is to be measured, and return it as `checked_mesh` does."""
    points, corners = checked_mesh(vertices, faces)
    if not len(corners):
        raise UsageError("a mesh without faces has nothing to measure; leave it out")
    checked_voxel(voxel_um)
    return points, corners


@numba.njit(cache=True, nogil=True)
def _moments(  # noqa: C901
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float, NDArray[np.float64]]:
    """Return the box's ends (3,), area, enclosed volume, and the surface's covariance (3, 3).

    With corners a, b, c about any origin and s = a + b + c, a triangle adds a . (b x c) / 6 to the volume (divergence
    theorem) and area / 12 (aa' + bb' + cc' + ss') to the second moment. The box's middle is taken as the origin, so
    that no digits are lost to its distance.
    """
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for f in range(len(faces)):
        for k in range(3):
            for i in range(3):
                x = vertices[faces[f, k], i]
                low[i], high[i] = min(low[i], x), max(high[i], x)
    middle = (low + high) / 2
    area, volume = 0.0, 0.0
    mean, second = np.zeros(3), np.zeros((3, 3))
    corner, crossed = np.empty((4, 3)), np.empty(3)
    for f in range(len(faces)):
        for i in range(3):
            corner[3, i] = 0.0
            for k in range(3):
                corner[k, i] = vertices[faces[f, k], i] - middle[i]
                corner[3, i] += corner[k, i]
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            crossed[i] = (corner[1, j] - corner[0, j]) * (corner[2, k] - corner[0, k])
            crossed[i] -= (corner[1, k] - corner[0, k]) * (corner[2, j] - corner[0, j])
        size = np.sqrt(crossed[0] ** 2 + crossed[1] ** 2 + crossed[2] ** 2) / 2
        area += size
        for i in range(3):
            volume += corner[0, i] * crossed[i] / 6
            mean[i] += size * corner[3, i] / 3
            for j in range(3):
                for k in range(4):
                    second[i, j] += size * corner[k, i] * corner[k, j] / 12
    if area > 0:
        mean /= area
        second /= area
    for i in range(3):
        for j in range(3):
            second[i, j] -= mean[i] * mean[j]
    return low, high, area, volume, second


@numba.njit(cache=True, nogil=True)
def _solid_moments(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the enclosed volume and its first (3,) and second (3, 3) moments about the origin.

    With corners a, b, c, s = a + b + c and v = a . (b x c), the tetrahedron to the origin adds v / 6 to the volume,
    v / 24 s to the first moment and v / 120 (aa' + bb' + cc' + ss') to the second.
    """
    volume, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    corner = np.empty((4, 3))
    for f in range(len(faces)):
        for i in range(3):
            for k in range(3):
                corner[k, i] = vertices[faces[f, k], i]
            corner[3, i] = corner[0, i] + corner[1, i] + corner[2, i]
        size = 0.0
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            size += corner[0, i] * (corner[1, j] * corner[2, k] - corner[1, k] * corner[2, j])
        volume += size / 6
        for i in range(3):
            first[i] += size / 24 * corner[3, i]
            for j in range(3):
                for k in range(4):
                    second[i, j] += size / 120 * corner[k, i] * corner[k, j]
    return volume, first, second


@numba.njit(cache=True, nogil=True)
def _radii(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[float, float]:
    """Return the mean distance of the surface from the origin, by area, and that of its farthest vertex."""
    root = np.sqrt(15.0)
    near, far = (6 - root) / 21, (6 + root) / 21
    weights = np.array([9 / 40] + [(155 - root) / 1200] * 3 + [(155 + root) / 1200] * 3)
    places = np.empty((7, 3))
    places[0] = 1 / 3
    for k in range(3):
        places[1 + k], places[4 + k] = near, far
        places[1 + k, k], places[4 + k, k] = 1 - 2 * near, 1 - 2 * far
    total, weighted, most = 0.0, 0.0, 0.0
    corner, crossed = np.empty((3, 3)), np.empty(3)
    for f in range(len(faces)):
        for k in range(3):
            squared = 0.0
            for i in range(3):
                corner[k, i] = vertices[faces[f, k], i]
                squared += corner[k, i] ** 2
            most = max(most, squared)
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            crossed[i] = (corner[1, j] - corner[0, j]) * (corner[2, k] - corner[0, k])
            crossed[i] -= (corner[1, k] - corner[0, k]) * (corner[2, j] - corner[0, j])
        size = np.sqrt(crossed[0] ** 2 + crossed[1] ** 2 + crossed[2] ** 2)
        total += size
        for n in range(7):
            squared = 0.0
            for i in range(3):
                x = places[n, 0] * corner[0, i] + places[n, 1] * corner[1, i] + places[n, 2] * corner[2, i]
                squared += x * x
            weighted += size * weights[n] * np.sqrt(squared)
    return weighted / total, np.sqrt(most)
