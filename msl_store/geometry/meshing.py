"""Surfaces of volumes: closed triangle meshes with outward faces from implicit values or from voxel masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numba
import numpy as np

from msl_store.errors import UsageError
from msl_store.geometry.arrays import checked_mask
from msl_store.shapes import Mesh

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Smoothing: TypeAlias = Literal["gaussian", "constrained"]

GAUSSIAN_SIGMA = 1.0
"""Standard deviation of the fast smoothing, in voxels."""

CONSTRAINED_ISO = 0.5
"""Level of the constrained signed distance, in voxels inside the labels' border, at which the published meshes lie."""


def mesh_of_field(field: ArrayLike, *, iso: float = 0.0, origin: tuple[float, float, float] = (0, 0, 0)) -> Mesh:
    """Mesh the surface on which implicit values equal `iso`, by marching cubes.

    The mesh is watertight: where the inside reaches the border of the volume, it is closed there.

    Parameters
    ----------
    field : array_like, shape (n_0, n_1, n_2)
        Values at voxel centres, greater than `iso` inside.
    iso : float
        The level.
    origin : tuple of 3 floats
        Coordinates of the first voxel's centre, in voxels.

    Returns
    -------
    Mesh
        Vertices float64 in voxels, coordinates in the order of the volume's axes; two of three coordinates of nearly
        every vertex lie on voxel centres, as in the published meshes.

    Raises
    ------
    UsageError
        Where the array is not a volume, or no surface runs through it.
    """
    from skimage.measure import marching_cubes

    values = np.asarray(field, dtype=np.float32)
    if values.ndim != 3:
        raise UsageError(f"the field has the shape {values.shape}; allowed is a volume with three axes")
    lowest, highest = (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)
    if not (highest > iso and np.isfinite(highest) and np.isfinite(lowest)):
        raise UsageError(
            f"no surface: values run from {lowest:g} to {highest:g}, and none is above the level {iso:g}; choose a "
            "level between them (values must be finite)"
        )
    shift = np.asarray(origin, dtype=np.float64)
    if any((values.take([0, -1], axis=axis) >= iso).any() for axis in range(3)):
        # As far below the level as the greatest value is above it.
        values = np.pad(values, 1, constant_values=2 * iso - highest)
        shift = shift - 1
    # The classic table is watertight for any values, where the default ("lewiner") fails on ties and on masks; and
    # for values that rise inwards, the default direction ("descent") winds the faces clockwise seen from outside.
    vertices, faces, _, _ = marching_cubes(values, iso, gradient_direction="ascent", method="lorensen")  # type: ignore[no-untyped-call]
    return Mesh(vertices.astype(np.float64) + shift, faces.astype(np.uint32))


def mesh_of_mask(
    mask: ArrayLike, *, smoothing: Smoothing = "gaussian", origin: tuple[float, float, float] = (0, 0, 0)
) -> Mesh:
    """Mesh the border of the voxels that belong to one object.

    Parameters
    ----------
    mask : array_like of bool, shape (n_0, n_1, n_2)
        True inside. The object may touch the border of the volume; it is closed there.
    smoothing : {"gaussian", "constrained"}
        ``gaussian``: blur with a standard deviation of one voxel, level 0.5; fast, but wears away what is thinner
        than about three voxels. ``constrained``: `constrained_distance` at the level at which the published meshes
        lie, some ten times slower.
    origin : tuple of 3 floats
        Coordinates of the first voxel's centre, in voxels.

    Returns
    -------
    Mesh
        As from `mesh_of_field`.

    Raises
    ------
    UsageError
        Where the array is not a volume of bool, or nothing is left inside.
    """
    solid = checked_mask(mask)
    if smoothing not in ("gaussian", "constrained"):
        raise UsageError(f"smoothing {smoothing!r} is not known; allowed are 'gaussian' and 'constrained'")
    margin = 5
    padded = np.pad(solid, margin)
    corner = (origin[0] - margin, origin[1] - margin, origin[2] - margin)
    if smoothing == "constrained":
        return mesh_of_field(constrained_distance(padded), iso=CONSTRAINED_ISO, origin=corner)
    from scipy import ndimage

    blurred = ndimage.gaussian_filter(padded.astype(np.float32), GAUSSIAN_SIGMA, mode="constant", truncate=margin - 1)
    return mesh_of_field(blurred, iso=0.5, origin=corner)


def constrained_distance(
    mask: NDArray[np.bool_], *, band: int = 4, rounds: int = 500, tolerance: float = 1e-6
) -> NDArray[np.float64]:
    """Smooth a mask's signed distance as far as the voxels allow.

    Second differences are made as small as they get while every voxel keeps its side of the surface, to within the
    voxels next to it: Lempitsky, "Surface extraction from binary volumes with higher-order smoothness" (CVPR 2010), by
    the damped Jacobi iteration of PyMCubes' ``smooth_constrained``, which the published meshes were made with, and
    with its settings.

    Parameters
    ----------
    mask : ndarray of bool, shape (n_0, n_1, n_2)
        True inside; False on its border.
    band : int
        Voxels on either side of the surface that take part.
    rounds : int
        Iterations at most.
    tolerance : float
        Relative fall of the energy in one iteration below which it stops.

    Returns
    -------
    ndarray of float64, shape (n_0, n_1, n_2)
        Signed distance in voxels, positive inside; smooth within the band.
    """
    from scipy import ndimage

    distance = np.where(mask, ndimage.distance_transform_edt(mask) - 0.5, 0.5 - ndimage.distance_transform_edt(~mask))
    taking_part = np.abs(distance) <= band
    number = np.full(np.array(mask.shape) + 2, -1, np.int64)
    inner = number[1:-1, 1:-1, 1:-1]
    inner[taking_part] = np.arange(np.count_nonzero(taking_part))
    own = inner[taking_part]
    neighbours = np.empty((len(own), 3, 2), np.int32)
    at = np.argwhere(taking_part) + 1
    for axis in range(3):
        for side, step in enumerate((-1, 1)):
            there = at.copy()
            there[:, axis] += step
            named = number[tuple(there.T)]
            # Outside the band a voxel stands in for its neighbour: no slope across the band's end.
            neighbours[:, axis, side] = np.where(named >= 0, named, own)

    start = distance[taking_part]
    least = np.where(start > 0, np.where(start < 1, 0.0, start), -np.inf)
    most = np.where(start < 0, np.where(start > -1, 0.0, start), np.inf)
    distance[taking_part] = _relaxed(start, least, most, neighbours, rounds, tolerance)
    return np.asarray(distance)


CHECKED_EVERY = 10
"""Iterations after which the energy is looked at."""


@numba.njit(cache=True, nogil=True)
def _relaxed(
    start: NDArray[np.float64],
    least: NDArray[np.float64],
    most: NDArray[np.float64],
    neighbours: NDArray[np.int32],
    rounds: int,
    tolerance: float,
) -> NDArray[np.float64]:
    """Lower the sum of squared second differences along the axes by damped Jacobi steps, within bounds.

    `neighbours` (n, 3, 2) names the voxels before and after each along each axis, itself where there is none.
    """
    value, pull, bend = start.copy(), np.empty(len(start)), np.empty((3, len(start)))
    before = np.inf
    for done in range(rounds + 1):
        energy = 0.0
        for n in range(len(value)):
            for axis in range(3):
                lower, upper = neighbours[n, axis]
                bend[axis, n] = value[lower] + value[upper] - 2 * value[n]
        for n in range(len(value)):
            pull[n] = 0.0
            for axis in range(3):
                lower, upper = neighbours[n, axis]
                pull[n] += bend[axis, lower] + bend[axis, upper] - 2 * bend[axis, n]
            energy += value[n] * pull[n]
        if done % CHECKED_EVERY == 0:
            if before - energy < (1 - (1 - tolerance) ** CHECKED_EVERY) * before and done:
                break
            before = energy
        if done == rounds:
            break
        for n in range(len(value)):
            diagonal = 0
            for axis in range(3):
                real = (neighbours[n, axis, 0] != n) + (neighbours[n, axis, 1] != n)
                diagonal += real * (real + 1)
            value[n] = min(max(value[n] - 0.5 * pull[n] / diagonal, least[n]), most[n])
    return value
