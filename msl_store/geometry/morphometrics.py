"""The measures of one shape that a library keeps in its ``instances`` table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mesh
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
    points, corners = checked_mesh(vertices, faces)
    if not len(corners):
        raise UsageError("a mesh without faces has nothing to measure; leave it out")
    if not (voxel_um > 0 and math.isfinite(voxel_um)):
        raise UsageError(f"a voxel's edge is {voxel_um} um; allowed is a positive length")
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
